//! HEAD's history goes along with the worktree. Nothing here fails a run: whatever goes wrong is one warning.

use std::time::Duration;

use super::open::Open;
use super::sandbox::Ready;
use super::{Context, blocking, send};
use crate::daytona::Patience;
use crate::daytona::script::Script;
use crate::sync::history::{self, Depth, History, Known, PACK_MAX, Said, UPLOADING, Wanted};
use crate::sync::push::Carried;
use crate::worktree::Repo;

/// Unpacking a large history over there. Longer than that nobody waits for a convenience.
const UNPACKING: Duration = Duration::from_secs(5 * 60);

/// The past that a sandbox shall have, on its way there.
#[derive(Debug)]
pub struct Past {
    sandbox: String,
    wanted: Wanted,
    known: Option<Known>,
    history: Option<History>,
    said: Option<Said>,
    /// What was asked for is held back because of `exclude`.
    excluded: bool,
}

impl Past {
    /// What this worktree's sandbox shall have, and what it is known to have.
    pub fn new(cx: &Context, open: &Open, sandbox: &str) -> Self {
        let asked = Depth::parse(&cx.config.history);
        // What is excluded must not travel in old commits either.
        let excluded = asked != Depth::None && !cx.config.exclude.is_empty();
        let depth = if excluded { Depth::None } else { asked };
        Self {
            sandbox: sandbox.to_owned(),
            wanted: Wanted::new(depth, &open.head),
            known: Known::load(&open.repo, sandbox),
            history: None,
            said: None,
            excluded,
        }
    }

    /// Packs what is due: nothing at all when the sandbox has what it shall have. A `full` push finds or
    /// makes an empty workspace, whatever was there before.
    pub async fn prepare(&mut self, cx: &Context, repo: &Repo, full: bool) -> anyhow::Result<()> {
        if full {
            self.known = None;
            self.history.take_if(|h| h.continues());
        }
        let due = self.known.as_ref().is_none_or(|known| !known.satisfies(&self.wanted));
        if !due || self.history.is_some() {
            return Ok(());
        }
        if self.excluded && full {
            let why = "`exclude` holds files back that old commits may have";
            warn(cx, "history.skipped", &format!("HEAD's history is not sent: {why}")).await;
        }
        let (repo, wanted, known) = (repo.clone(), self.wanted.clone(), self.known.clone());
        let link = send::link(&cx.config.provider);
        let planning =
            blocking(move || Ok(History::plan(&repo, &wanted, known.as_ref(), PACK_MAX, link)));
        let history = match cx.until_signal(planning).await? {
            Ok(history) => history,
            Err(error) => {
                let message = format!("HEAD's history is not sent: {error}");
                warn(cx, "history.skipped", &message).await;
                History::none(&self.wanted)
            }
        };
        if let Some((levels, why)) = &history.shortened {
            let message = format!("HEAD's history is sent only {levels} deep: {why}");
            warn(cx, "history.shortened", &message).await;
        }
        self.history = Some(history);
        Ok(())
    }

    /// What a whole tree need not bring once more. What is small may travel twice.
    pub fn carried(&self) -> Option<Carried> {
        self.history.as_ref().filter(|h| h.goes_ahead())?.carried()
    }

    /// Sends what a whole tree counts on ahead; says whether it got there.
    pub async fn carry(&mut self, cx: &Context, ready: &Ready) -> anyhow::Result<bool> {
        let Some(history) = &mut self.history else { return Ok(false) };
        let sending = async { Ok(history.upload(&ready.toolbox, &ready.home).await) };
        match cx.until_signal(sending).await? {
            Ok(bytes) => cx.told().bytes += bytes,
            Err(error) => self.give_up(cx, &format!("{:#}", anyhow::Error::from(error))).await,
        }
        Ok(self.carried().is_some())
    }

    /// Adds the step that unpacks what the push counts on.
    pub fn add_carry(&self, script: &mut Script) {
        if let Some(history) = &self.history {
            history.add_carry(script);
        }
    }

    /// The sandbox could not make use of it.
    pub fn carry_nothing(&mut self) {
        if let Some(history) = &mut self.history {
            history.carry_nothing();
        }
    }

    /// Packs what goes along with a whole tree and sends it ahead.
    pub async fn go_ahead(&mut self, cx: &Context, ready: &Ready) -> anyhow::Result<()> {
        let sending = async {
            self.send_ahead(cx, ready).await;
            Ok(())
        };
        cx.until_signal(sending).await
    }

    /// Sends a large history ahead and has it unpacked beside the workspace.
    pub async fn send_ahead(&mut self, cx: &Context, ready: &Ready) {
        let Some(history) = self.history.as_mut().filter(|h| h.goes_ahead()) else { return };
        let sending = async {
            let uploading = history.upload(&ready.toolbox, &ready.home);
            cx.told().bytes += tokio::time::timeout(UPLOADING, uploading)
                .await
                .map_err(|_| anyhow::anyhow!("it took longer than {}s", UPLOADING.as_secs()))??;
            let mut script = Script::new();
            history.add_take(&mut script);
            let patience = Patience { whole: UNPACKING, ..Patience::default() };
            let unpacked = ready.toolbox.run_long(&script, patience).await?;
            anyhow::Ok(history::heard(&unpacked.result))
        };
        let failed = match sending.await {
            Ok(Some(Said::Taken | Said::Put)) => return history.taken(),
            // Said again by the step that would put it in place.
            Ok(Some(Said::Kept | Said::Stale)) => return history.taken(),
            Ok(Some(Said::Failed(words))) => words,
            Ok(_) => "the sandbox gave no answer".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        self.give_up(cx, &failed).await;
    }

    async fn give_up(&mut self, cx: &Context, why: &str) {
        tell_failed(cx, why).await;
        self.history = Some(History::none(&self.wanted));
    }

    /// Bytes that travel or have travelled.
    pub fn bytes(&self) -> u64 {
        self.history.as_ref().map_or(0, History::bytes)
    }

    /// Adds the step that puts it in place.
    pub fn add_to(&self, script: &mut Script) {
        if let Some(history) = &self.history {
            history.add_to(script);
        }
    }

    /// Notes what the sandbox said.
    pub fn hear(&mut self, result: &str) {
        self.said = history::heard(result);
    }

    /// Remembers what the sandbox has now.
    pub async fn settle(&self, cx: &Context, repo: &Repo) {
        let (Some(history), Some(said)) = (&self.history, &self.said) else { return };
        if let Said::Failed(words) = said {
            tell_failed(cx, words).await;
        }
        history.outcome(&self.sandbox, said).save(repo);
    }
}

async fn tell_failed(cx: &Context, why: &str) {
    let message = format!("HEAD's history did not get into the sandbox: {why}");
    warn(cx, "history.failed", &message).await;
}

async fn warn(cx: &Context, code: &str, message: &str) {
    let hint = "the agent works without it; `--history none` sends none and says nothing";
    cx.reporter.warn(code, message, Some(hint.into())).await;
}
