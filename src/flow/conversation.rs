//! The conversation that `--session` names has to exist before anything is sent for it.
//!
//! Conversations live in the sandbox. One that a run of ours had in this very sandbox is there; whether any
//! other is, for somebody may have talked to the agent by hand, only the sandbox can tell.

use std::collections::BTreeSet;

use super::open::Open;
use super::safety;
use super::sandbox::{self, Ready};
use super::service::Service;
use super::{Context, lent};
use crate::agent::{Kind, conversations};
use crate::error::Failure;
use crate::event::Origin;
use crate::exit::ErrorCode;
use crate::run::Conversation;

/// A conversation that is to be continued.
#[derive(Debug)]
pub struct Wanted {
    id: String,
    /// Where the sandbox can be asked for it, if it can be asked.
    places: Option<&'static str>,
}

impl Wanted {
    /// The conversation of this id, if one is asked for.
    pub fn of(cx: &Context, kind: Kind, session: Option<&str>) -> Option<Self> {
        let id = session?.to_owned();
        let given: Vec<String> = lent::given_names(cx).collect();
        Some(Self { id, places: conversations::places(kind, &given) })
    }

    /// Without the worktree's sandbox there is no conversation, and none is made for it.
    pub async fn refuse_without_sandbox(
        &self,
        cx: &Context,
        open: &Open,
        service: &Service,
    ) -> anyhow::Result<()> {
        let found = cx.until_signal(sandbox::existing(cx, open, service)).await?;
        if found.is_some() {
            return Ok(());
        }
        let message = match &open.record.sandbox {
            Some(record) if record.provider == service.provider => format!(
                "sandbox `{}` is gone, and with it the conversation `{}`",
                record.name, self.id
            ),
            _ => return self.refuse(open),
        };
        let hint = "leave out `--session` to begin anew in a new sandbox";
        Err(Failure::new(ErrorCode::AgentNoSession, message).hint(hint).into())
    }

    /// Looks whether it is in the sandbox, along with whether something else works there.
    pub async fn refuse_unknown(
        &self,
        cx: &Context,
        open: &Open,
        ready: &Ready,
    ) -> anyhow::Result<()> {
        if ready.origin == Origin::Created {
            return self.refuse(open);
        }
        let ours = known(open, Some(&ready.sandbox.id))?.contains(&self.id);
        let question = self.places.filter(|_| !ours);
        let question = question.map(|places| Conversation { id: &self.id, places });
        let looking = safety::look(
            &open.memory,
            &ready.toolbox,
            &ready.home,
            &cx.run,
            safety::Asker::Holder,
            question,
        );
        let look = cx.until_signal(looking).await?;
        match (look.living, look.kept) {
            (Some(record), _) => Err(safety::busy(&record)),
            // Not ours, and not there. Where nobody can tell, the agent will.
            (None, Some(false)) => self.refuse(open),
            (None, _) => Ok(()),
        }
    }

    /// Fails, and names the conversations that there are.
    fn refuse(&self, open: &Open) -> anyhow::Result<()> {
        let message = match known(open, None)?.contains(&self.id) {
            true => format!("the sandbox that held the conversation `{}` is gone", self.id),
            false => format!("no conversation `{}` is known in this worktree's sandbox", self.id),
        };
        let failure = Failure::new(ErrorCode::AgentNoSession, message);
        let there = match &open.record.sandbox {
            Some(sandbox) => known(open, Some(&sandbox.id))?,
            None => BTreeSet::new(),
        };
        let known: Vec<String> = there.into_iter().collect();
        Err(match known.is_empty() {
            true => failure,
            false => failure.hint(format!("known are: {}", known.join(", "))),
        }
        .into())
    }
}

/// The conversations that runs of this worktree had, in one sandbox or in any.
fn known(open: &Open, sandbox_id: Option<&str>) -> anyhow::Result<BTreeSet<String>> {
    let runs = open.memory.runs()?.into_iter();
    let there = runs.filter(|r| sandbox_id.is_none_or(|id| r.sandbox_id == id));
    Ok(there.filter_map(|r| r.agent_session).collect())
}
