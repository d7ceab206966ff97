//! Everything a run needs, looked at one by one.

use std::path::PathBuf;

use serde::Serialize;

use super::service::Service;
use super::{Context, list};
use crate::agent::credentials::{self, Host};
use crate::config::Provider;
use crate::error::diagnose;
use crate::worktree::{Repo, upkeep};

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// `ok`, `warning`, `failed`, or `none` for what is absent and not asked for.
    pub state: &'static str,
    /// What was found.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Check {
    fn new(name: &str, state: &'static str, detail: impl Into<String>) -> Self {
        Self { name: name.into(), state, detail: detail.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Looks at everything. The first failure does not end it.
pub async fn doctor(cx: &Context) -> Vec<Check> {
    let mut checks = vec![Check::new("version", "ok", env!("CARGO_PKG_VERSION"))];
    checks.push(worktree(cx));
    checks.extend(kept(cx));
    checks.push(state_dir(cx));
    checks.push(isolation(cx));
    checks.extend(tools(cx));
    checks.push(service(cx).await);
    checks.extend(agents(cx));
    checks
}

fn worktree(cx: &Context) -> Check {
    match Repo::discover(&cx.cwd) {
        Ok(repo) => Check::new("worktree", "ok", repo.top().display().to_string()),
        Err(error) => {
            let diagnosis = diagnose(&error.into());
            Check::new("worktree", "warning", diagnosis.message).hint(diagnosis.hint)
        }
    }
}

/// What is kept inside the user's `.git`.
fn kept(cx: &Context) -> Option<Check> {
    let repo = cx.repo.as_ref().filter(|repo| repo.private_dir().exists())?;
    let folder = repo.common_dir().join("sandbox-coder");
    let mib = upkeep::bytes_below(&folder) as f64 / f64::from(1 << 20);
    let detail = format!("{mib:.1} MiB in {}", folder.display());
    let left_over = list::left_over(repo);
    if left_over.is_empty() {
        return Some(Check::new("kept in .git", "ok", detail));
    }
    let detail = format!("{detail}; of worktrees that are gone: {}", left_over.join(", "));
    let hint = "they go by themselves after a day when all of their sandboxes' work was fetched; otherwise put the \
                worktree back in its place and `pull` there, or delete the folder and `rm` the sandbox to give it up";
    Some(Check::new("kept in .git", "warning", detail).hint(hint))
}

fn state_dir(cx: &Context) -> Check {
    let dir = &cx.config.state_dir;
    let tried = std::fs::create_dir_all(dir).and_then(|()| tempfile::tempfile_in(dir));
    match tried {
        Ok(_) => Check::new("state directory", "ok", dir.display().to_string()),
        Err(error) => {
            Check::new("state directory", "failed", format!("{}: {error}", dir.display()))
                .hint("make it writable, or name another with --state-dir")
        }
    }
}

#[cfg(target_os = "linux")]
fn isolation(cx: &Context) -> Check {
    let name = "local sandboxes";
    if cx.config.isolation == "none" {
        return Check::new(name, "warning", "isolation `none`: the agent runs as you, unconfined");
    }
    let Ok(binary) = std::env::current_exe() else {
        return Check::new(name, "failed", "our own binary is gone");
    };
    match crate::jail::probe::probe(&binary) {
        Ok(()) => {
            Check::new(name, "ok", "isolation `namespaces` works here; the network is the host's")
        }
        Err(refusal) => {
            let state = if cx.config.provider == Provider::Local { "failed" } else { "warning" };
            Check::new(name, state, refusal.what).hint(refusal.hint)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn isolation(_: &Context) -> Check {
    Check::new("local sandboxes", "warning", "they need Linux")
        .hint("use Daytona: set DAYTONA_API_KEY")
}

#[cfg(target_os = "linux")]
fn tools(cx: &Context) -> Vec<Check> {
    use crate::jail::toolchains::{Caller, discover};
    if cx.config.provider != Provider::Local {
        return Vec::new();
    }
    let found = discover(&Caller::from_process(cx.config.tool_dirs.clone()));
    let names: Vec<String> = found.tools.iter().map(|t| t.name.to_string()).collect();
    let words = if names.is_empty() { "those in /usr only".to_owned() } else { names.join(", ") };
    let mut checks = vec![Check::new("tools in local sandboxes", "ok", words)];
    checks.extend(agent_program(&cx.config.agent, &found));
    checks
}

/// Where a local sandbox finds the chosen agent.
#[cfg(target_os = "linux")]
fn agent_program(agent: &str, found: &crate::jail::toolchains::Toolchains) -> Option<Check> {
    let package = crate::agent::install::package(agent.parse().ok()?)?;
    let among = |dirs: &[PathBuf], program: &str| {
        dirs.iter().map(|dir| dir.join(program)).find(|path| path.is_file())
    };
    let name = format!("program of {agent}");
    if let Some(path) = among(&found.path, package.program) {
        return Some(Check::new(&name, "ok", path.display().to_string()));
    }
    if let Some(hidden) = among(&found.left_out, package.program) {
        let dir = hidden.parent().unwrap_or(&hidden).display();
        let detail = format!("{} is where no sandbox sees it", hidden.display());
        return Some(
            Check::new(&name, "warning", detail).hint(format!("show it with `--tool-dir {dir}`")),
        );
    }
    let install = format!("npm install -g {}", package.npm);
    Some(match among(&found.path, "npm") {
        Some(_) => Check::new(&name, "warning", "not on PATH; each new sandbox installs it by npm")
            .hint(format!("`{install}` once serves all of them")),
        None => Check::new(&name, "warning", "not on PATH, and there is no npm to install it")
            .hint(format!("install npm, then `{install}`")),
    })
}

#[cfg(not(target_os = "linux"))]
fn tools(_: &Context) -> Vec<Check> {
    Vec::new()
}

async fn service(cx: &Context) -> Check {
    let asked = async {
        let service = Service::connect(cx).await?;
        service.client.check_key().await?;
        anyhow::Ok(service.provider)
    };
    match asked.await {
        Ok(provider) => Check::new("service", "ok", provider),
        Err(error) => {
            let diagnosis = diagnose(&error);
            Check::new("service", "failed", diagnosis.message).hint(diagnosis.hint)
        }
    }
}

fn agents(cx: &Context) -> Vec<Check> {
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else { return Vec::new() };
    let row = |(kind, found): (crate::agent::Kind, credentials::Credentials)| {
        let name = format!("credentials of {kind}");
        let wanted = kind.name() == cx.config.agent;
        match found.missing {
            Some(missing) => {
                let state = if wanted { "warning" } else { "none" };
                Check::new(&name, state, format!("there is no {missing}"))
            }
            None if !found.warnings.is_empty() => {
                Check::new(&name, "warning", found.warnings.join("; "))
            }
            None => Check::new(&name, "ok", found.found.join(", ")),
        }
    };
    credentials::survey(&Host::here(home)).into_iter().map(row).collect()
}
