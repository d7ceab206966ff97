//! Fetch and apply only, any number of times.

use super::home::{self, Homecoming, Options, held, settle};
use super::open::Open;
use super::sandbox::{self, Ready};
use super::service::Service;
use super::{Context, Summary, finish, labels, safety};
use crate::error::Failure;
use crate::event::Origin;
use crate::exit::{ErrorCode, Exit};
use crate::state::record::Held;
use crate::state::{RunKind, RunRecord, SandboxRecord};
use crate::wire::sandbox::Sandbox;

/// `sandbox-coder pull`
pub async fn pull(cx: &Context, wanted: Option<&str>) -> anyhow::Result<Summary> {
    let mut open = Open::locked(cx, "pull").await?;
    let options = Options::of(cx)?;
    let name = open.sandbox_name(cx);
    open.announce(cx, "pull", wanted.unwrap_or(&name), None).await;
    cx.resume_with(&["pull"]);
    // A new beginning brings all of the sandbox's work, what waits here among it.
    let waiting = held::waiting(&open, wanted).filter(|_| !cx.config.force_resync);
    let (home, sandbox_id) = match waiting {
        Some(waits) => {
            let home = settle::waiting(cx, &mut open, &waits, &options).await?;
            if home.settled {
                (since(cx, &mut open, &waits, &options, home).await?, waits.sandbox_id)
            } else {
                (home, waits.sandbox_id)
            }
        }
        None => {
            let service = cx.until_signal(Service::connect(cx)).await?;
            let ready = cx.until_signal(reach(cx, &mut open, &service, wanted)).await?;
            (fetch(cx, &mut open, &ready, &options).await?, ready.sandbox.id)
        }
    };
    if home.applied > 0 {
        open.memory.save_run(&record(cx, sandbox_id, &home))?;
    }
    if home.exit == Exit::Ok {
        cx.told().resume.clear();
        return Ok(Exit::Ok.into());
    }
    Err(finish::clash(cx, &home))
}

async fn fetch(
    cx: &Context,
    open: &mut Open,
    ready: &Ready,
    options: &Options,
) -> anyhow::Result<Homecoming> {
    let bringing = async {
        if cx.config.force_resync {
            home::forget(cx, ready).await?;
            held::let_go(open, &ready.sandbox.id)?;
        }
        home::bring(cx, open, ready, options, &cx.run).await
    };
    tokio::select! {
        home = bringing => home,
        signal = cx.signals.first() => Err(super::ended_by(signal)),
    }
}

/// After a result that waited is finished: what its sandbox did since, if it can be asked as it is. A sandbox
/// that is gone, sleeps or is out of reach takes nothing away from what is finished.
async fn since(
    cx: &Context,
    open: &mut Open,
    finished: &Held,
    options: &Options,
    home: Homecoming,
) -> anyhow::Result<Homecoming> {
    let why = match awake(cx, open, &finished.sandbox_id).await {
        Ok(Awake::Yes(ready)) => {
            let more = fetch(cx, open, &ready, options).await?;
            let applied = home.applied + more.applied;
            let worse = if more.exit == Exit::Ok { home } else { more };
            return Ok(Homecoming { applied, ..worse });
        }
        Ok(Awake::Gone) => {
            home::mark_unpulled(cx, open, &finished.sandbox_id, false)?;
            "its sandbox is gone".to_owned()
        }
        Ok(Awake::No(state)) => {
            format!("its sandbox is {state}: another `pull` starts it and fetches what is new")
        }
        Err(_) if cx.signals.seen().is_some() => {
            return Err(super::ended_by(cx.signals.first().await));
        }
        Err(error) => format!("its sandbox cannot be asked for anything new: {error:#}"),
    };
    let message = format!("the result of run `{}` is finished; {why}", finished.run);
    cx.reporter.warn("pull.held", message, None).await;
    Ok(home)
}

/// Whether a sandbox can be asked.
enum Awake {
    Yes(Box<Ready>),
    No(String),
    Gone,
}

async fn awake(cx: &Context, open: &mut Open, sandbox_id: &str) -> anyhow::Result<Awake> {
    let service = cx.until_signal(Service::connect(cx)).await?;
    let found = cx.until_signal(async { Ok(service.client.find(sandbox_id).await?) }).await?;
    match found {
        None => Ok(Awake::Gone),
        Some(found) if safety::answers(&found) => {
            let ready = cx.until_signal(wake(cx, open, &service, found)).await?;
            Ok(Awake::Yes(Box::new(ready)))
        }
        Some(found) => Ok(Awake::No(found.state.to_string())),
    }
}

/// The sandbox to fetch from: the worktree's own, or one that is named and belongs to it.
pub async fn reach(
    cx: &Context,
    open: &mut Open,
    service: &Service,
    wanted: Option<&str>,
) -> anyhow::Result<Ready> {
    let found = match wanted {
        Some(wanted) => service.client.find(wanted).await?,
        None => sandbox::existing(cx, open, service).await?,
    };
    let Some(found) = found else {
        let message = match wanted {
            Some(wanted) => format!("there is no sandbox `{wanted}`"),
            None => "this worktree has no sandbox: there is nothing to fetch".to_owned(),
        };
        return Err(Failure::new(ErrorCode::SandboxNotFound, message).into());
    };
    wake(cx, open, service, found).await
}

/// Brings a sandbox of this worktree to life and remembers it.
async fn wake(
    cx: &Context,
    open: &mut Open,
    service: &Service,
    found: Sandbox,
) -> anyhow::Result<Ready> {
    let theirs = found.labels.get(labels::WORKTREE);
    if theirs.is_none_or(|id| id != open.repo.worktree_id()) {
        let message = format!("sandbox `{}` belongs to another worktree", found.name);
        return Err(Failure::new(ErrorCode::SandboxNameTaken, message)
            .hint("only that worktree can fetch it; one that was moved or removed has to be put back first")
            .into());
    }
    let ready = sandbox::start(cx, open, service, found, Origin::Reused).await?;
    let same = open.record.sandbox.as_ref().is_some_and(|r| r.id == ready.sandbox.id);
    if !same {
        open.remember_sandbox(SandboxRecord {
            id: ready.sandbox.id.clone(),
            name: ready.sandbox.name.clone(),
            provider: service.provider.clone(),
            unpulled: true,
            home: Some(ready.home.clone()),
            setup: None,
        })?;
    }
    Ok(ready)
}

fn record(cx: &Context, sandbox_id: String, home: &Homecoming) -> RunRecord {
    RunRecord {
        id: cx.run.clone(),
        kind: RunKind::Pull,
        title: "pull".into(),
        sandbox_id,
        started_at: super::now(),
        ended_at: Some(super::now()),
        exit: Some(home.exit.code()),
        applied: home.applied,
        pid: std::process::id(),
        ..RunRecord::default()
    }
}
