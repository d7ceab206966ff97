//! Fetch and apply only, any number of times; or just look.

use super::home::{self, Homecoming, Options};
use super::open::Open;
use super::sandbox::{self, Ready};
use super::service::Service;
use super::{Context, Summary, blocking, run};
use crate::error::Failure;
use crate::event::Origin;
use crate::exit::{ErrorCode, Exit};
use crate::state::{RunKind, RunRecord, SandboxRecord};

/// `sandbox-coder pull`
pub async fn pull(cx: &Context, wanted: Option<&str>) -> anyhow::Result<Summary> {
    let mut open = Open::locked(cx, "pull").await?;
    let options = Options::of(cx)?;
    let name = open.sandbox_name(cx);
    open.announce(cx, "pull", wanted.unwrap_or(&name), None).await;
    let service = cx.until_signal(Service::connect(cx)).await?;
    let ready = cx.until_signal(reach(cx, &mut open, &service, wanted)).await?;
    run::resume_with(cx, &["pull"]);
    let fetching = fetch(cx, &mut open, &ready, &options);
    let home = tokio::select! {
        home = fetching => home?,
        signal = cx.signals.first() => return Err(super::ended_by(signal)),
    };
    if home.applied > 0 {
        open.memory.save_run(&record(cx, &ready, &home))?;
    }
    if home.exit == Exit::Ok {
        cx.told().resume.clear();
        return Ok(Exit::Ok.into());
    }
    Err(run::clash(home))
}

/// What was held back first, then what is new.
async fn fetch(
    cx: &Context,
    open: &mut Open,
    ready: &Ready,
    options: &Options,
) -> anyhow::Result<Homecoming> {
    if cx.config.force_resync {
        home::forget(cx, ready).await?;
        open.record.held = None;
    }
    let held = open.record.held.clone().filter(|h| h.sandbox_id == ready.sandbox.id);
    let mut applied = 0;
    if let Some(held) = held {
        let home =
            home::bring_held(cx, open, ready, &held, options, &format!("{}-held", cx.run)).await?;
        if home.exit != Exit::Ok || options.no_apply {
            return Ok(home);
        }
        applied = home.applied;
    }
    let home = home::bring(cx, open, ready, options, &cx.run).await?;
    Ok(Homecoming { applied: home.applied + applied, ..home })
}

/// The sandbox to fetch from: the worktree's own, or one that is named and belongs to it.
async fn reach(
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
    let theirs = found.labels.get(sandbox::LABEL_WORKTREE);
    if theirs.is_none_or(|id| id != open.repo.worktree_id()) {
        let message = format!("sandbox `{}` belongs to another worktree", found.name);
        return Err(Failure::new(ErrorCode::SandboxNameTaken, message)
            .hint("run `pull` in that worktree")
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

fn record(cx: &Context, ready: &Ready, home: &Homecoming) -> RunRecord {
    RunRecord {
        id: cx.run.clone(),
        kind: RunKind::Pull,
        title: "pull".into(),
        sandbox_id: ready.sandbox.id.clone(),
        started_at: super::now(),
        ended_at: Some(super::now()),
        exit: Some(home.exit.code()),
        applied: home.applied,
        pid: std::process::id(),
        ..RunRecord::default()
    }
}

/// What `pull` would change, as text for people. Changes nothing.
pub async fn diff(cx: &Context, wanted: Option<&str>, colour: bool) -> anyhow::Result<Vec<u8>> {
    let mut open = Open::locked(cx, "diff").await?;
    let service = cx.until_signal(Service::connect(cx)).await?;
    let ready = cx.until_signal(reach(cx, &mut open, &service, wanted)).await?;
    let options = Options { no_apply: true, patch: None, ..Options::of(cx)? };
    let seen = home::look(cx, &mut open, &ready, &options).await?;
    let Some((local, result)) = seen else { return Ok(Vec::new()) };
    let git = open.repo.private_git();
    blocking(move || {
        let mut text = Vec::new();
        crate::worktree::patch::write(
            git,
            local,
            result,
            crate::worktree::patch::Form::Text { color: colour },
            &mut text,
        )?;
        Ok(text)
    })
    .await
}
