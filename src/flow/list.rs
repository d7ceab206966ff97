//! What there is: this worktree's sandbox and runs, all of our sandboxes, the snapshots.

use serde::Serialize;

use super::home::held;
use super::moved::{self, Moved};
use super::open::Open;
use super::safety;
use super::sandbox;
use super::service::Service;
use super::{Context, awake, labels};
use crate::error::Failure;
use crate::exit::ErrorCode;
use crate::state::record::Held;
use crate::state::{RunRecord, Store as Memory};
use crate::wire::sandbox::{Sandbox, StringMap};
use crate::wire::snapshot::Snapshot;
use crate::worktree::{Repo, upkeep};

/// One sandbox in a list.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Listed {
    pub id: String,
    pub name: String,
    pub state: String,
    pub worktree: String,
    pub branch: String,
    pub labels: StringMap,
    pub snapshot: Option<String>,
    pub auto_stop_min: Option<i64>,
    pub created_at: Option<String>,
    pub last_activity_at: Option<String>,
}

impl From<Sandbox> for Listed {
    fn from(sandbox: Sandbox) -> Self {
        let label = |key: &str| sandbox.labels.get(key).cloned().unwrap_or_default();
        Self {
            worktree: label(labels::WORKTREE),
            branch: label(labels::BRANCH),
            state: sandbox.state.to_string(),
            id: sandbox.id,
            name: sandbox.name,
            labels: sandbox.labels,
            snapshot: sandbox.snapshot,
            auto_stop_min: sandbox.auto_stop_interval,
            created_at: sandbox.created_at,
            last_activity_at: sandbox.last_activity_at,
        }
    }
}

/// What `status` tells.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Status {
    pub worktree: String,
    pub branch: Option<String>,
    pub provider: String,
    pub isolation: String,
    pub network: String,
    pub sandbox_name: String,
    pub sandbox: Option<Listed>,
    /// The sandbox may hold work that is not here.
    pub unpulled: bool,
    /// A fetched result waits for a decision.
    pub held: bool,
    /// That result.
    pub held_result: Option<Held>,
    pub runs: Vec<RunRecord>,
    /// Bytes that are kept in `.git` for this worktree: for `undo`, and of what was agreed with its sandbox.
    pub kept_bytes: u64,
    /// Folders in `.git` of worktrees that are gone. What their sandboxes hold may be nowhere else.
    pub left_over: Vec<String>,
    /// What is left at the place where the worktree was before.
    pub moved: Option<Moved>,
    /// Why the sandbox is not told: its service could not be asked. Everything else lies on this side.
    pub unreachable: Option<String>,
}

/// All sandboxes of ours.
pub async fn sandboxes(cx: &Context) -> anyhow::Result<Vec<Listed>> {
    let service = Service::connect(cx).await?;
    let mut labels: StringMap = cx.config.labels.iter().cloned().collect();
    labels.insert(labels::OURS.into(), "1".into());
    let mut found = service.client.list(&labels).await?;
    for sandbox in &mut found {
        let worktree = sandbox.labels.get(labels::WORKTREE).cloned().unwrap_or_default();
        if worktree.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let memory = Memory::new(&cx.config.state_dir, &worktree);
            awake::release(&service, &memory, sandbox, &cx.run).await;
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found.into_iter().map(Listed::from).collect())
}

/// This worktree's state. When its service cannot be asked while a result waits here for a decision, that is told
/// alone: it needs nobody else.
pub async fn status(cx: &Context) -> anyhow::Result<Status> {
    let open = Open::unlocked(cx).await?;
    let (service, found, unreachable) = match there(cx, &open).await {
        Ok((service, found)) => (Some(service), found, None),
        Err(error) if open.record.held.is_some() => (None, None, Some(format!("{error:#}"))),
        Err(error) => return Err(error),
    };
    let record = open.record.sandbox.as_ref();
    let (provider, isolation, network) = match service {
        Some(service) => (service.provider, service.isolation, service.network),
        None => {
            (record.map(|r| r.provider.clone()).unwrap_or_default(), String::new(), String::new())
        }
    };
    let possible = found.is_some() || unreachable.is_some();
    Ok(Status {
        worktree: open.record.worktree.clone(),
        branch: open.head.branch.clone(),
        provider,
        isolation,
        network,
        sandbox_name: open.sandbox_name(cx),
        unpulled: possible && record.is_some_and(|r| r.unpulled || open.memory.is_touched(&r.id)),
        held: open.record.held.is_some(),
        held_result: open.record.held.clone(),
        sandbox: found.map(Listed::from),
        runs: open.memory.runs()?,
        kept_bytes: upkeep::bytes_below(open.repo.private_dir()),
        left_over: left_over(&open.repo),
        moved: open.moved,
        unreachable,
    })
}

/// The folders of worktrees that are gone, for people.
pub fn left_over(repo: &Repo) -> Vec<String> {
    let orphans = upkeep::orphans(repo).unwrap_or_default();
    orphans.into_iter().map(|orphan| orphan.dir.display().to_string()).collect()
}

/// The service, and this worktree's sandbox as it says.
async fn there(cx: &Context, open: &Open) -> anyhow::Result<(Service, Option<Sandbox>)> {
    let service = Service::connect(cx).await?;
    let mut found = sandbox::existing(cx, open, &service).await?;
    if let Some(sandbox) = &mut found {
        awake::release(&service, &open.memory, sandbox, &cx.run).await;
    }
    Ok((service, found))
}

/// The snapshots, all of them.
pub async fn snapshots(
    cx: &Context,
    filter: Option<&str>,
    sort: &str,
) -> anyhow::Result<Vec<Snapshot>> {
    let service = Service::connect(cx).await?;
    let mut found = service.client.snapshots(filter).await?;
    match sort {
        "state" => found.sort_by(|a, b| a.state.cmp(&b.state).then_with(|| a.name.cmp(&b.name))),
        "lastUsedAt" => found.sort_by(|a, b| b.last_used_at.cmp(&a.last_used_at)),
        "createdAt" => found.sort_by(|a, b| b.created_at.cmp(&a.created_at)),
        _ => found.sort_by(|a, b| a.name.cmp(&b.name)),
    }
    Ok(found)
}

/// The sandbox a command is about: a named one, or this worktree's.
async fn target(
    cx: &Context,
    service: &Service,
    wanted: Option<&str>,
) -> anyhow::Result<(Sandbox, Option<Open>)> {
    let open = match Open::unlocked(cx).await {
        Ok(open) => Some(open),
        Err(_) if wanted.is_some() => None,
        Err(error) => return Err(error),
    };
    let found = match (wanted, &open) {
        (Some(wanted), _) => service.client.find(wanted).await?,
        (None, Some(open)) => sandbox::existing(cx, open, service).await?,
        (None, None) => None,
    };
    let Some(found) = found else {
        let message = wanted.map_or_else(
            || "this worktree has no sandbox".into(),
            |w| format!("there is no sandbox `{w}`"),
        );
        return Err(Failure::new(ErrorCode::SandboxNotFound, message).into());
    };
    if !found.labels.contains_key(labels::OURS) {
        let message = format!("sandbox `{}` was not made by sandbox-coder", found.name);
        return Err(Failure::new(ErrorCode::SandboxNameTaken, message).into());
    }
    let open = open.filter(|o| o.record.sandbox.as_ref().is_some_and(|r| r.id == found.id));
    Ok((found, open))
}

/// `sandbox-coder stop`
pub async fn stop(cx: &Context, wanted: Option<&str>) -> anyhow::Result<String> {
    let service = Service::connect(cx).await?;
    let (found, _) = target(cx, &service, wanted).await?;
    service.client.stop(&found.id).await?;
    Ok(found.name)
}

/// `sandbox-coder rm`
pub async fn remove(cx: &Context, wanted: Option<&str>, force: bool) -> anyhow::Result<String> {
    let service = Service::connect(cx).await?;
    let (found, _) = target(cx, &service, wanted).await?;
    let mine = match Open::locked(cx, "rm").await {
        Ok(open) => {
            Some(open).filter(|o| o.record.sandbox.as_ref().is_some_and(|r| r.id == found.id))
        }
        // With force, neither a run that holds the worktree nor a foreign directory is in the way.
        Err(_) if force => None,
        Err(error) if crate::error::diagnose(&error).code == ErrorCode::WorktreeBusy => {
            return Err(error);
        }
        Err(error) if wanted.is_none() => return Err(error),
        Err(_) => None,
    };
    if !force {
        safety::refuse_loss(&found, mine.as_ref())?;
        if let Some(open) = mine.as_ref().filter(|_| safety::answers(&found)) {
            let toolbox = service.client.toolbox(&found).await?;
            let home =
                open.record.sandbox.as_ref().and_then(|r| r.home.clone()).unwrap_or_default();
            safety::refuse_removal(open, &toolbox, &home, &cx.run).await?;
        }
    }
    service.client.delete(&found.id).await?;
    if let Some(repo) = &cx.repo {
        upkeep::deleted(repo, &found.id);
        moved::forget(repo, &cx.config.state_dir, &found.id);
    }
    if let Some(mut open) = mine {
        open.record.sandbox = None;
        let remembered = held::let_go(&mut open, &found.id);
        // It is deleted, and that is found out by the next command, too: a full disk is no reason to say otherwise.
        if !force {
            remembered?;
        }
    }
    Ok(found.name)
}

/// `sandbox-coder preview`
pub async fn preview(cx: &Context, port: u16) -> anyhow::Result<crate::wire::sandbox::PreviewUrl> {
    let service = Service::connect(cx).await?;
    let (found, _) = target(cx, &service, None).await?;
    Ok(service.client.preview_url(&found.id, port).await?)
}
