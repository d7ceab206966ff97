//! The repository's own set-up, once per sandbox and text.

use super::open::Open;
use super::sandbox::Ready;
use super::send::{self, Sent};
use super::{Context, exec, finish, follow, start};
use crate::error::Failure;
use crate::event::Phase;
use crate::exit::ErrorCode;
use crate::run::RunRef;
use crate::run::outcome::End;
use crate::run::start::{Kind, RunSpec, What, plan};
use crate::secret;

/// Sends the worktree and runs its set-up command there, unless this sandbox has seen the same before.
pub async fn set_up(cx: &Context, open: &mut Open, ready: &Ready) -> anyhow::Result<()> {
    let Some(setup) = &cx.config.setup else { return Ok(()) };
    let print = secret::fingerprint(setup);
    if open.record.sandbox.as_ref().and_then(|s| s.setup.as_ref()) == Some(&print) {
        return Ok(());
    }
    if let Sent::Clash(home) = send::send(cx, open, ready, None).await? {
        return Err(finish::clash(cx, &home));
    }
    let phase = cx.phase(Phase::Setup).await;
    cx.told().not_started = false;
    carry_out(cx, ready, setup).await?;
    phase.end(None).await;
    if let Some(sandbox) = &mut open.record.sandbox {
        sandbox.setup = Some(print);
    }
    open.save()
}

/// Insists on the command's success.
async fn carry_out(cx: &Context, ready: &Ready, text: &str) -> anyhow::Result<()> {
    let id = format!("{}setup", cx.run);
    let run = RunRef::of(&ready.home, &id);
    let spec = RunSpec {
        run: run.clone(),
        kind: Kind::Exec { tty: None },
        command: What::Shell(text.to_owned()),
        cwd: Some(ready.workspace()),
        env: Vec::new(),
        stdin: None,
        files: Vec::new(),
        forget: Vec::new(),
        limits: follow::limits(cx),
    };
    start::alone(ready, &plan(&spec)?).await?;
    let (followed, _) = exec::watch(cx, ready, run, None).await?;
    match (followed.end, followed.signal) {
        (End::Exit(0), None) => Ok(()),
        (_, Some(signal)) => Err(super::ended_by(signal)),
        (End::Exit(code), None) => Err(Failure::new(
            ErrorCode::AgentInstallFailed,
            format!("the setup command ended with status {code}"),
        )
        .into()),
        (End::Lost, None) => {
            Err(Failure::new(ErrorCode::SandboxLost, "the setup command is gone").into())
        }
    }
}
