//! Any command instead of an agent, with the same journey of the files.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

use super::awake;
use super::converse;
use super::follow::{self, Followed, Watch, follow};
use super::open::Open;
use super::reader::Reader;
use super::safety;
use super::sandbox::{self, Ready};
use super::service::Service;
use super::{Context, Signal, Summary, finish, home, lent, start};
use crate::error::Failure;
use crate::event::{AgentDone, Phase, Usage};
use crate::exit::{ErrorCode, Exit};
use crate::run::outcome::{self, End};
use crate::run::start::{Kind, RunSpec, What, plan};
use crate::run::view::Ahead;
use crate::run::{Offsets, RunRef};
use crate::state::{RunKind, RunRecord};

/// What `exec` is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// The command and its arguments, byte for byte.
    pub argv: Vec<OsString>,
    /// With a terminal.
    pub tty: bool,
    /// Somebody types at that terminal.
    pub typed: bool,
    /// Neither send nor fetch.
    pub no_sync: bool,
    /// What was piped in.
    pub stdin: Option<Vec<u8>>,
    /// Standard input is open and said nothing: the command gets none of it.
    pub unheard: bool,
}

/// `sandbox-coder exec`
pub async fn exec(cx: &Context, request: Request) -> anyhow::Result<Summary> {
    let mut open =
        if request.no_sync { Open::unlocked(cx).await? } else { Open::locked(cx, "exec").await? };
    cx.told().not_started = true;
    let name = open.sandbox_name(cx);
    open.announce(cx, "exec", &name, None).await;
    if request.unheard {
        let message = "standard input is open and says nothing: the command gets none of it";
        let hint = "`--stdin` waits for it, `</dev/null` says that there is none";
        cx.reporter.warn("exec.stdin", message, Some(hint.into())).await;
    }
    let mut env = lent::given_variables(cx)?;
    let typed = request.typed;
    if typed && !env.iter().any(|(name, _)| name == "TERM") {
        env.extend(std::env::var("TERM").ok().map(|kind| ("TERM".to_owned(), kind)));
    }
    lent::mask_given(cx).await?;
    let service = cx.until_signal(Service::connect_isolated(cx)).await?;
    let ready = match request.no_sync {
        true => reach(cx, &open, &service).await?,
        false => cx.until_signal(sandbox::obtain(cx, &mut open, &service)).await?,
    };
    let run_ref = RunRef::of(&ready.home, &cx.run);
    let words = request.argv.iter().map(|w| w.clone().into_vec()).collect();
    let spec = RunSpec {
        run: run_ref.clone(),
        kind: match typed {
            true => Kind::Typed,
            false => Kind::Exec { tty: request.tty.then_some((start::COLUMNS, start::ROWS)) },
        },
        command: What::Words(words),
        cwd: Some(directory(&open, &ready)),
        env,
        stdin: request.stdin.clone(),
        files: Vec::new(),
        forget: Vec::new(),
        limits: if typed { converse::limits(cx) } else { follow::limits(cx) },
    };
    let plan = plan(&spec)?;
    let mut record = record(cx, &request, &ready);
    record.lent = lent::prints(&lent::given_secrets(cx)?);
    let mut ahead = None;
    if request.no_sync {
        open.memory.save_run(&record)?;
        // Without the worktree's lock there is only this mark: what is done now is not here.
        open.memory.touch(&ready.sandbox.id)?;
        cx.told().not_started = false;
        start::alone(&ready, &plan).await?;
    } else {
        safety::refuse_beside(&open, &ready.toolbox, &ready.home, &cx.run).await?;
        ahead = start::with_worktree(cx, &mut open, &ready, &plan, &mut record, !typed).await?;
        cx.resume_with(&["pull"]);
    }
    let (followed, seconds) = match typed {
        true => {
            let began = Instant::now();
            let followed = converse::converse(cx, &ready, &run_ref).await?;
            (followed, began.elapsed().as_secs_f64())
        }
        false => watch(cx, &ready, run_ref, ahead).await?,
    };
    if followed.signal == Some(Signal::Hangup) && !typed {
        awake::keep(cx, &service, &ready.sandbox, &open.memory).await;
        cx.resume_with(&["attach", &cx.run]);
        return Err(super::ended_by(Signal::Hangup));
    }
    let judged = outcome::judge(followed.end, followed.stop, None);
    record.agent_exit = judged.agent_exit;
    told(cx, judged.agent_exit, seconds);
    let home = match request.no_sync {
        true => None,
        false => finish::fetch(cx, &mut open, &ready, followed.signal, &cx.run).await?,
    };
    record.applied = home.as_ref().map_or(0, |h| h.applied);
    record.ended_at = Some(super::now());
    let result = conclude(cx, &followed, &judged, home.as_ref());
    record.exit = Some(match &result {
        Ok(summary) => summary.code,
        Err(error) => crate::error::diagnose(error).exit().code(),
    });
    open.memory.save_run(&record)?;
    result
}

/// The command's own code, unless something of ours failed.
fn conclude(
    cx: &Context,
    followed: &Followed,
    judged: &outcome::RunVerdict,
    home: Option<&home::Homecoming>,
) -> anyhow::Result<Summary> {
    if let Some(failure) = finish::way_home_failed(cx, judged, home) {
        return Err(failure);
    }
    match followed.end {
        End::Exit(code) if followed.stop.is_none() => {
            cx.told().resume.clear();
            let exit = if code == 0 { Exit::Ok } else { Exit::AgentFailed };
            Ok(Summary { code: u8::try_from(code).unwrap_or(255), exit })
        }
        _ => {
            let code = judged.code.unwrap_or(ErrorCode::Internal);
            let mut failure = Failure::new(code, judged.message.clone());
            failure.hint = (code == ErrorCode::RunHangup).then(|| finish::WENT_TOO.into());
            Err(failure.into())
        }
    }
}

/// The sandbox for a command that does not sync: it has to be there.
async fn reach(cx: &Context, open: &Open, service: &Service) -> anyhow::Result<Ready> {
    match sandbox::existing(cx, open, service).await? {
        Some(found) => sandbox::start(cx, open, service, found, crate::event::Origin::Reused).await,
        None => {
            let message = "this worktree has no sandbox yet";
            Err(Failure::new(ErrorCode::SandboxNotFound, message)
                .hint("`sandbox-coder exec` without `--no-sync` makes one")
                .into())
        }
    }
}

/// The caller's directory, over there.
fn directory(open: &Open, ready: &Ready) -> String {
    match open.repo.prefix().and_then(|p| p.to_str().map(str::to_owned)) {
        Some(inner) => format!("{}/{inner}", ready.workspace()),
        None => ready.workspace(),
    }
}

/// Follows a command to its end, and how long that took in seconds.
pub async fn watch(
    cx: &Context,
    ready: &Ready,
    run: RunRef,
    ahead: Option<Ahead>,
) -> anyhow::Result<(Followed, f64)> {
    let phase = cx.phase(Phase::Agent).await;
    let began = Instant::now();
    let reader = Reader::new("command", None, false, true, Offsets::default());
    let watch = Watch { ahead, ..Watch::of(cx, ready, run, true) };
    let followed = follow(cx, watch, reader).await?;
    phase.end(None).await;
    Ok((followed, began.elapsed().as_secs_f64()))
}

fn told(cx: &Context, exit: Option<i32>, seconds: f64) {
    let mut told = cx.told();
    told.agent = Some(AgentDone {
        name: "exec".into(),
        exit_code: exit,
        session: None,
        duration_s: seconds,
        usage: Usage::default(),
    });
    if let Some(sandbox) = &mut told.sandbox {
        sandbox.seconds += seconds;
    }
}

fn record(cx: &Context, request: &Request, ready: &Ready) -> RunRecord {
    let words: Vec<_> = request.argv.iter().map(|w| w.to_string_lossy()).collect();
    RunRecord {
        id: cx.run.clone(),
        kind: RunKind::Exec,
        title: RunRecord::title_of(&words.join(" ")),
        sandbox_id: ready.sandbox.id.clone(),
        started_at: super::now(),
        typed: request.typed,
        pid: std::process::id(),
        ..RunRecord::default()
    }
}
