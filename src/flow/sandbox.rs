//! The worktree's own sandbox: found, or made, and brought to life.

use std::path::PathBuf;
use std::time::Duration;

use super::home::held;
use super::open::Open;
use super::service::Service;
use super::{Context, awake, labels};
use crate::daytona::Toolbox;
use crate::error::Failure;
use crate::event::{Event, Origin, Phase, SandboxDone};
use crate::exit::ErrorCode;
use crate::state::SandboxRecord;
use crate::wire::sandbox::{
    BuildInfo, CreateSandbox, HOST_TOOL_DIRS, Sandbox, SandboxState, StringMap,
};
use crate::worktree::upkeep;

/// From a known snapshot to `started`.
const START: Duration = Duration::from_secs(300);
/// From an image or an archive.
const SLOW_START: Duration = Duration::from_secs(600);

/// A sandbox that answers.
#[derive(Debug, Clone)]
pub struct Ready {
    /// As last seen.
    pub sandbox: Sandbox,
    /// Its files, commands and terminals.
    pub toolbox: Toolbox,
    /// How we came by it.
    pub origin: Origin,
    /// Its user's home directory.
    pub home: String,
    /// How long its service may be out of reach while a run is followed.
    pub patience: Duration,
}

impl Ready {
    /// The workspace's absolute path over there.
    pub fn workspace(&self) -> String {
        format!("{}/workspace", self.home)
    }
}

/// Finds the worktree's sandbox or makes it, and waits until it runs.
pub async fn obtain(cx: &Context, open: &mut Open, service: &Service) -> anyhow::Result<Ready> {
    let phase = cx.phase(Phase::Lookup).await;
    let known = known(open, service).await?;
    phase.end(None).await;
    held::refuse_other(open, known.as_ref().map(|s| s.id.as_str()))?;
    let (sandbox, origin) = match known {
        Some(sandbox) => (sandbox, Origin::Reused),
        None => create(cx, open, service).await?,
    };
    let ready = start(cx, open, service, sandbox, origin).await?;
    if ready.origin != Origin::Created {
        tell_missing_tools(cx, service, &ready.sandbox).await;
    }
    // A sandbox that was found and is not remembered may hold anything.
    let unpulled = match open.record.sandbox.as_ref().filter(|r| r.id == ready.sandbox.id) {
        Some(record) => record.unpulled,
        None => ready.origin != Origin::Created,
    };
    let setup = open
        .record
        .sandbox
        .as_ref()
        .filter(|r| r.id == ready.sandbox.id)
        .and_then(|r| r.setup.clone());
    open.remember_sandbox(SandboxRecord {
        id: ready.sandbox.id.clone(),
        name: ready.sandbox.name.clone(),
        provider: service.provider.clone(),
        unpulled,
        home: Some(ready.home.clone()),
        setup,
    })?;
    Ok(ready)
}

/// The worktree's sandbox if it has one; nothing is made.
pub async fn existing(
    cx: &Context,
    open: &Open,
    service: &Service,
) -> anyhow::Result<Option<Sandbox>> {
    if let Some(sandbox) = known(open, service).await? {
        return Ok(Some(sandbox));
    }
    let found = service.client.find(&open.sandbox_name(cx)).await?;
    Ok(found.filter(|s| is_ours(s, open)))
}

/// Brings a sandbox to life and tells of it.
pub async fn start(
    cx: &Context,
    open: &Open,
    service: &Service,
    sandbox: Sandbox,
    origin: Origin,
) -> anyhow::Result<Ready> {
    let mut origin = origin;
    if origin == Origin::Reused && sandbox.state != SandboxState::Started {
        origin =
            if sandbox.state == SandboxState::Error { Origin::Recovered } else { Origin::Started };
    }
    let isolation = isolation_of(&sandbox, service)?;
    let slow = matches!(
        sandbox.state,
        SandboxState::Archived | SandboxState::Archiving | SandboxState::PendingBuild
    );
    let phase = cx.phase(Phase::Start).await;
    let within = if slow || cx.config.image.is_some() { SLOW_START } else { START };
    note(cx, &sandbox);
    let told = cx.told.clone();
    let starting = service.client.ensure_started(sandbox, within, move |seen| {
        let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = &mut told.sandbox {
            known.state = seen.state.to_string();
        }
    });
    let mut sandbox = tokio::select! {
        sandbox = starting => sandbox?,
        signal = cx.signals.first() => return Err(super::ended_by(signal)),
    };
    let toolbox = service.client.toolbox(&sandbox).await?;
    let remembered = open.record.sandbox.as_ref().filter(|r| r.id == sandbox.id);
    let home = match remembered.and_then(|r| r.home.clone()) {
        Some(home) => home,
        None => toolbox.home().await?,
    };
    awake::release(service, &open.memory, &mut sandbox, &cx.run).await;
    phase.end(None).await;
    note(cx, &sandbox);
    tell(cx, service, &sandbox, origin, isolation).await;
    Ok(Ready { sandbox, toolbox, origin, home, patience: service.patience() })
}

/// A sandbox keeps the isolation it was made with. A weaker one than asked for is never used silently.
fn isolation_of(sandbox: &Sandbox, service: &Service) -> anyhow::Result<String> {
    if !service.is_local() {
        return Ok(String::new());
    }
    let made =
        sandbox.labels.get(labels::ISOLATION).cloned().unwrap_or_else(|| service.isolation.clone());
    if made == "none" && service.isolation != "none" {
        let message = format!("sandbox `{}` was made with isolation `none`", sandbox.name);
        return Err(Failure::new(ErrorCode::IsolationUnavailable, message)
            .hint("`--isolation none` goes on with it; `--fresh` makes a new one after a `pull --isolation none`")
            .into());
    }
    Ok(made)
}

/// A sandbox sees the directories it was made with: others that are asked for later are not there.
async fn tell_missing_tools(cx: &Context, service: &Service, sandbox: &Sandbox) {
    if !service.is_local() {
        return;
    }
    let made = sandbox.labels.get(labels::TOOL_DIRS).map(String::as_str).unwrap_or_default();
    let made: Vec<PathBuf> = std::env::split_paths(made).collect();
    for dir in tool_dirs(cx).filter(|dir| !made.contains(dir)) {
        let message = format!("the sandbox was made without the tools of `{}`", dir.display());
        let hint = "`sandbox-coder rm` and the same command again make one that has them";
        cx.reporter.warn("sandbox.tool_dirs", message, Some(hint.into())).await;
    }
}

/// The directories of tools that are asked for, absolute.
fn tool_dirs(cx: &Context) -> impl Iterator<Item = PathBuf> {
    cx.config.tool_dirs.iter().map(|dir| cx.cwd.join(dir))
}

async fn tell(
    cx: &Context,
    service: &Service,
    sandbox: &Sandbox,
    origin: Origin,
    isolation: String,
) {
    let event = Event::Sandbox {
        id: sandbox.id.clone(),
        name: sandbox.name.clone(),
        state: sandbox.state.to_string(),
        origin,
        auto_stop_min: sandbox.auto_stop_interval,
        provider: service.provider.clone(),
        isolation,
        network: service.network.clone(),
    };
    cx.reporter.event(event).await;
}

/// Remembers the sandbox for the report, should anything fail from here on.
pub fn note(cx: &Context, sandbox: &Sandbox) {
    let mut told = cx.told();
    let seconds = told.sandbox.as_ref().map_or(0.0, |s| s.seconds);
    told.sandbox = Some(SandboxDone {
        id: sandbox.id.clone(),
        state: sandbox.state.to_string(),
        kept: true,
        seconds,
    });
}

/// The sandbox we remember, if it is still there.
async fn known(open: &Open, service: &Service) -> anyhow::Result<Option<Sandbox>> {
    let Some(record) = open.record.sandbox.as_ref().filter(|r| r.provider == service.provider)
    else {
        return Ok(None);
    };
    let found = service.client.find(&record.id).await?;
    let alive =
        |s: &Sandbox| !matches!(s.state, SandboxState::Destroying | SandboxState::Destroyed);
    let found = found.filter(alive);
    match &found {
        Some(sandbox) => upkeep::met(&open.repo, &sandbox.id),
        None => upkeep::unknown(&open.repo, &record.id),
    }
    Ok(found)
}

fn is_ours(sandbox: &Sandbox, open: &Open) -> bool {
    sandbox.labels.get(labels::WORKTREE).is_some_and(|id| id == open.repo.worktree_id())
}

async fn create(cx: &Context, open: &Open, service: &Service) -> anyhow::Result<(Sandbox, Origin)> {
    let phase = cx.phase(Phase::Create).await;
    let name = open.sandbox_name(cx);
    let creation = service.client.create(&request(cx, open, service, &name)).await?;
    phase.end(None).await;
    if creation.created {
        return Ok((creation.sandbox, Origin::Created));
    }
    if !is_ours(&creation.sandbox, open) {
        let message = format!("the name `{name}` belongs to a sandbox of somebody else");
        return Err(Failure::new(ErrorCode::SandboxNameTaken, message).into());
    }
    Ok((creation.sandbox, Origin::Adopted))
}

fn request(cx: &Context, open: &Open, service: &Service, name: &str) -> CreateSandbox {
    let config = &cx.config;
    let mut labels: StringMap = config.labels.iter().cloned().collect();
    labels.insert(labels::OURS.into(), "1".into());
    labels.insert(labels::WORKTREE.into(), open.repo.worktree_id().to_owned());
    if service.is_local() {
        labels.insert(labels::ISOLATION.into(), service.isolation.clone());
        if let Some(dirs) = joined_tool_dirs(cx) {
            labels.insert(labels::TOOL_DIRS.into(), dirs);
        }
    }
    if let Some(branch) = &open.head.branch {
        labels.insert(labels::BRANCH.into(), branch.clone());
    }
    let build_info = config.image.as_ref().map(|image| BuildInfo {
        dockerfile_content: Some(format!("FROM {image}\n")),
        context_hashes: None,
    });
    CreateSandbox {
        name: Some(name.to_owned()),
        snapshot: config.snapshot.clone().filter(|_| build_info.is_none()),
        labels,
        cpu: config.cpu,
        memory: config.memory,
        disk: config.disk,
        auto_stop_interval: Some(config.auto_stop),
        auto_archive_interval: Some(config.auto_archive),
        auto_delete_interval: Some(config.auto_delete),
        build_info,
        host_environment: service.is_local().then(|| host_environment(cx)),
        ..CreateSandbox::default()
    }
}

/// By what the local server finds this caller's tools. Nothing of it enters the sandbox's environment
/// as such, and nothing but places travels: no variable that may hold a secret.
fn host_environment(cx: &Context) -> StringMap {
    const PLACES: &[&str] = &[
        "PATH",
        "HOME",
        "RUSTUP_HOME",
        "CARGO_HOME",
        "RUSTUP_TOOLCHAIN",
        "NVM_DIR",
        "NVM_BIN",
        "FNM_DIR",
        "VOLTA_HOME",
        "PYENV_ROOT",
        "PYENV_VERSION",
        "GOROOT",
        "GOPATH",
        "SDKMAN_DIR",
        "JAVA_HOME",
        "BUN_INSTALL",
        "DENO_INSTALL",
        "PNPM_HOME",
        "UV_TOOL_DIR",
        "XDG_DATA_HOME",
        "NPM_CONFIG_PREFIX",
        "VIRTUAL_ENV",
    ];
    let mut places: StringMap = PLACES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    if let Some(dirs) = joined_tool_dirs(cx) {
        places.insert(HOST_TOOL_DIRS.into(), dirs);
    }
    places
}

fn joined_tool_dirs(cx: &Context) -> Option<String> {
    let dirs = std::env::join_paths(tool_dirs(cx)).ok()?;
    Some(dirs.to_string_lossy().into_owned()).filter(|dirs| !dirs.is_empty())
}
