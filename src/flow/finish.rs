//! From the end of a run to the end of its command: its verdict, its work, the clean-up.

use super::follow::Followed;
use super::home::{self, Homecoming};
use super::open::Open;
use super::sandbox::Ready;
use super::service::Service;
use super::{Context, Signal, Summary, awake, safety};
use crate::agent::{Kind, Verdict};
use crate::error::Failure;
use crate::event::{AgentDone, AgentState, Event, Phase};
use crate::exit::{ErrorCode, Exit};
use crate::run::outcome::{self, End, RunVerdict};
use crate::state::RunRecord;
use crate::wire::sandbox::SandboxState;
use crate::worktree::upkeep;

/// The hint of a run that is over because somebody's terminal went away; others go on without one.
pub const WENT_TOO: &str =
    "the run ended with it or was never started; `sandbox-coder pull` fetches what there is";

/// A run that has ended, however.
pub struct Ended {
    /// How.
    pub followed: Followed,
    /// Which agent.
    pub kind: Kind,
    /// How long we watched it.
    pub seconds: f64,
}

/// From the end of the agent to the end of the command: its verdict, its work, the clean-up.
pub async fn finish(
    cx: &Context,
    open: &mut Open,
    service: &Service,
    ready: &Ready,
    record: &mut RunRecord,
    ended: Ended,
) -> anyhow::Result<Summary> {
    let Ended { followed, kind, seconds } = ended;
    if followed.signal == Some(Signal::Hangup) {
        awake::keep(cx, service, &ready.sandbox, &open.memory).await;
        return Err(super::ended_by(Signal::Hangup));
    }
    let verdict = followed.parser.map(|p| p.finish(outcome::ended(followed.end, followed.stop)));
    let judged = outcome::judge(followed.end, followed.stop, verdict.as_ref());
    tell_agent(cx, kind, &judged, verdict.as_ref(), seconds).await;
    record.agent_exit = judged.agent_exit;
    record.agent_session = verdict.as_ref().and_then(|v| v.session.clone());
    record.exit = Some(judged.exit.code());
    open.memory.save_run(record)?;
    cx.resume_with(&["pull"]);
    let id = if record.id == cx.run { cx.run.clone() } else { format!("{}-{}", record.id, cx.run) };
    let home = match fetch(cx, open, ready, followed.signal, &id).await {
        Ok(home) => home,
        Err(error) => {
            record.ended_at = Some(super::now());
            record.exit = Some(crate::error::diagnose(&error).exit().code());
            open.memory.save_run(record)?;
            return Err(error);
        }
    };
    record.applied += home.as_ref().map_or(0, |h| h.applied);
    record.ended_at = Some(super::now());
    let surely_over = matches!(followed.end, End::Exit(_));
    if surely_over {
        awake::release(service, &open.memory, &mut ready.sandbox.clone(), &record.id).await;
        clean_up(cx, open, service, ready, home.as_ref(), &judged).await;
    } else if home.is_some() {
        // Nobody saw the run end: what it does from here on is not here.
        home::mark_unpulled(cx, open, &ready.sandbox.id, true)?;
    }
    let result = conclude(cx, &judged, verdict.as_ref(), home.as_ref());
    let code = match &result {
        Ok(summary) => summary.code,
        Err(error) => crate::error::diagnose(error).exit().code(),
    };
    record.exit = Some(code);
    open.memory.save_run(record)?;
    let _ = open.memory.prune();
    result
}

/// Brings the work home. After a signal there is only the grace for it; what does not make it stays in
/// the sandbox, and `None` says so.
pub async fn fetch(
    cx: &Context,
    open: &mut Open,
    ready: &Ready,
    signal: Option<Signal>,
    run: &str,
) -> anyhow::Result<Option<Homecoming>> {
    let options = home::Options::of(cx)?;
    let bringing = home::bring(cx, open, ready, &options, run);
    match signal {
        None => {
            tokio::pin!(bringing);
            tokio::select! {
                home = &mut bringing => home.map(Some),
                // What is under way is finished if the grace allows: an apply is never left behind.
                signal = cx.signals.first() => {
                    match tokio::time::timeout(cx.config.grace, &mut bringing).await {
                        Ok(home) => home.and(Err(super::ended_by(signal))),
                        Err(_) => Err(super::ended_by(signal)),
                    }
                }
            }
        }
        Some(_) => match tokio::time::timeout(cx.time_left(cx.config.grace), bringing).await {
            Ok(home) => home.map(Some),
            Err(_) => Ok(None),
        },
    }
}

fn conclude(
    cx: &Context,
    judged: &RunVerdict,
    verdict: Option<&Verdict>,
    home: Option<&Homecoming>,
) -> anyhow::Result<Summary> {
    if let Some(failure) = way_home_failed(cx, judged, home) {
        return Err(failure);
    }
    let all_here = home.is_some_and(|h| h.exit == Exit::Ok);
    if all_here {
        cx.told().resume.clear();
    }
    let Some(code) = judged.code else { return Ok(Exit::Ok.into()) };
    let mut failure = Failure::new(code, judged.message.clone());
    failure.tail = verdict.map(|v| v.tail.clone()).unwrap_or_default();
    if all_here && matches!(code, ErrorCode::RunInterrupted | ErrorCode::RunTerminated) {
        failure.hint = Some("what the agent did until then is here".into());
    }
    if code == ErrorCode::RunHangup {
        failure.hint = Some(WENT_TOO.into());
    }
    Err(failure.into())
}

/// The failure on the way home, if it weighs more than what the run itself came to.
pub fn way_home_failed(
    cx: &Context,
    judged: &RunVerdict,
    home: Option<&Homecoming>,
) -> Option<anyhow::Error> {
    let sharper = |h: &&Homecoming| h.exit != Exit::Ok && judged.exit.worse(h.exit) == h.exit;
    home.filter(sharper).map(|home| clash(cx, home))
}

/// The failure of a result that clashes with the worktree.
pub fn clash(cx: &Context, home: &Homecoming) -> anyhow::Error {
    let (code, message) = home
        .failure
        .clone()
        .unwrap_or((ErrorCode::SyncConflict, "both sides changed a file".into()));
    let failure = Failure::new(code, message);
    if !home.settled || home.exit != Exit::Conflict {
        return failure.into();
    }
    // The chosen policy has settled it: no command finishes it, somebody has to look.
    cx.told().resume.clear();
    failure.hint("look at what is listed above; nothing waits for another `pull`").into()
}

async fn tell_agent(
    cx: &Context,
    kind: Kind,
    judged: &RunVerdict,
    verdict: Option<&Verdict>,
    seconds: f64,
) {
    let session = verdict.and_then(|v| v.session.clone());
    let event = Event::Agent {
        state: AgentState::Exited,
        agent: kind.name().into(),
        agent_session: session.clone(),
        exit_code: judged.agent_exit,
    };
    cx.reporter.event(event).await;
    {
        let mut told = cx.told();
        if let Some(sandbox) = &mut told.sandbox {
            sandbox.seconds += seconds;
        }
        told.agent = Some(AgentDone {
            name: kind.name().into(),
            exit_code: judged.agent_exit,
            session,
            duration_s: seconds,
            usage: verdict.map(|v| v.usage).unwrap_or_default(),
        });
    }
    if verdict.is_some_and(|v| v.exit_mismatch) {
        let message = "the agent's exit status and its own words disagree; its words were believed";
        cx.reporter.warn("agent.exit_mismatch", message, None).await;
    }
}

/// Deletes the sandbox if that is wanted and nothing in it can be lost.
async fn clean_up(
    cx: &Context,
    open: &mut Open,
    service: &Service,
    ready: &Ready,
    home: Option<&Homecoming>,
    judged: &RunVerdict,
) {
    let complete = home.is_some_and(|h| h.exit == Exit::Ok)
        && !cx.config.no_apply
        && safety::refuse_loss(&ready.sandbox, Some(open)).is_ok();
    if !cx.config.rm
        || !complete
        || judged.exit == Exit::Interrupted
        || judged.exit == Exit::Terminated
    {
        return;
    }
    let phase = cx.phase(Phase::Cleanup).await;
    match service.client.delete(&ready.sandbox.id).await {
        Ok(_) => {
            upkeep::deleted(&open.repo, &ready.sandbox.id);
            open.record.sandbox = None;
            let _ = open.save();
            if let Some(sandbox) = &mut cx.told().sandbox {
                sandbox.kept = false;
                sandbox.state = SandboxState::Destroyed.to_string();
            }
        }
        Err(error) => {
            let message = format!("sandbox `{}` could not be deleted: {error}", ready.sandbox.id);
            cx.reporter.warn("cleanup.failed", message, None).await;
        }
    }
    phase.end(None).await;
}
