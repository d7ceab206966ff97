//! The main job: send the worktree, run the agent, bring its work home, say what happened.

use anyhow::Context as _;

use super::awake;
use super::conversation::Wanted;
use super::follow::{self, Watch, follow};
use super::home::{self, Homecoming};
use super::open::Open;
use super::reader::Reader;
use super::safety;
use super::sandbox::{self, Ready};
use super::send::{self, Sent};
use super::service::Service;
use super::{Context, Signal, Summary, finish, lent};
use crate::agent::credentials::Credentials;
use crate::agent::{Kind, Launch, LaunchRequest, Parser, launch};
use crate::error::Failure;
use crate::event::{AgentState, Event, Phase};
use crate::exit::{ErrorCode, Exit};
use crate::run::outcome::Stop;
use crate::run::start::{self, RunSpec, What};
use crate::run::view::Ahead;
use crate::run::{Offsets, RunRef};
use crate::secret;
use crate::state::{RunKind, RunRecord};

/// The width agents are given: wide enough that nothing they print is wrapped.
pub const COLUMNS: u16 = 500;
/// The height agents are given.
pub const ROWS: u16 = 50;

/// What `run` is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// What the agent shall do.
    pub prompt: Vec<u8>,
    /// The conversation to continue.
    pub session: Option<String>,
}

/// `sandbox-coder run`
pub async fn run(cx: &Context, request: Request) -> anyhow::Result<Summary> {
    let kind = Kind::parse(&cx.config.agent)?;
    cx.told().not_started = true;
    check_request(cx, kind, &request)?;
    lent::mask_given(cx).await?;
    let mut open = Open::locked(cx, "run").await?;
    let name = open.sandbox_name(cx);
    open.announce(cx, "run", &name, request.session.clone()).await;
    let credentials = lent::lend(cx, kind).await;
    let service = cx.until_signal(Service::connect_isolated(cx)).await?;
    if cx.config.dry_run {
        send::preview(cx, &open).await?;
        return Ok(Exit::Ok.into());
    }
    let conversation = Wanted::of(cx, kind, request.session.as_deref());
    if let Some(wanted) = &conversation {
        wanted.refuse_without_sandbox(cx, &open, &service).await?;
    }
    refuse_fresh_over_work(cx, &mut open, &service).await?;
    let ready = cx.until_signal(sandbox::obtain(cx, &mut open, &service)).await?;

    let run_ref = RunRef::of(&ready.home, &cx.run);
    let launch = prepare(cx, kind, &request, &ready, &run_ref, &credentials)?;
    let start = start::plan(&spec(&launch, &credentials, cx, &request, &run_ref)?)?;
    match &conversation {
        Some(wanted) => wanted.refuse_unknown(cx, &open, &ready).await?,
        None => safety::refuse_beside(&open, &ready.toolbox, &ready.home, &cx.run).await?,
    }
    set_up(cx, &mut open, &ready).await?;
    let mut record = record(cx, kind, &request, &ready);
    record.lent = lent::prints(credentials.secrets.iter().chain(&lent::given_secrets(cx)?));
    let ahead = launch_run(cx, &mut open, &ready, &start, &mut record, !cx.config.detach).await?;
    let told = Event::Agent {
        state: AgentState::Started,
        agent: kind.name().into(),
        agent_session: None,
        exit_code: None,
    };
    cx.reporter.event(told).await;
    if cx.config.detach {
        awake::keep(cx, &service, &ready, &open.memory).await;
        return Ok(detached(cx).await);
    }

    let phase = cx.phase(Phase::Agent).await;
    let began = std::time::Instant::now();
    let parser = Parser::new(kind, request.session.as_deref());
    let reader = Reader::new(
        kind.name(),
        Some(parser),
        launch.json_output,
        cx.config.raw,
        Offsets::default(),
    );
    let watch = Watch { ahead, ..Watch::of(cx, &ready, run_ref, true) };
    let followed = follow(cx, watch, reader).await?;
    phase.end(None).await;
    finish::finish(
        cx,
        &mut open,
        &service,
        &ready,
        &mut record,
        finish::Ended { followed, kind, seconds: began.elapsed().as_secs_f64() },
    )
    .await
}

/// Sends the worktree and starts the run. From before the first byte leaves, the sandbox counts as holding
/// work: the agent may be started by a request whose answer is lost. For a run that will be `followed` a
/// terminal is opened meanwhile.
pub async fn launch_run(
    cx: &Context,
    open: &mut Open,
    ready: &Ready,
    start: &start::Start,
    record: &mut RunRecord,
    followed: bool,
) -> anyhow::Result<Option<Ahead>> {
    open.memory.save_run(record)?;
    home::mark_unpulled(cx, open, &ready.sandbox.id, true)?;
    cx.told().not_started = false;
    resume_with(cx, &["attach", &cx.run]);
    let ahead = followed.then(|| Ahead::open(&ready.toolbox));
    let failure = match send::send(cx, open, ready, Some(start)).await {
        Ok(Sent::Yes) => return Ok(ahead),
        Ok(Sent::Clash(home)) => {
            resume_with(cx, &["pull"]);
            clash(cx, &home)
        }
        Err(error) => error,
    };
    if let Some(ahead) = ahead {
        cx.later(follow::LAST, ahead.close());
    }
    // A start whose answer was lost, or that is still on its way: remember what is true, and if we were asked
    // to leave see to it that nothing works on unseen.
    let run = RunRef::of(&ready.home, &cx.run);
    let started = match cx.signals.seen().filter(|s| *s != Signal::Hangup) {
        Some(signal) => {
            let off = called_off(cx, ready, &run, follow::stop_of(signal)).await;
            let mut told = cx.told();
            told.not_started = off;
            if off {
                told.resume.clear();
            }
            !off
        }
        None => {
            let look = crate::run::state(&ready.toolbox, &run);
            matches!(tokio::time::timeout(cx.config.grace / 2, look).await, Ok(Ok(state)) if state.started)
        }
    };
    if !started {
        record.ended_at = Some(super::now());
        record.exit = Some(crate::error::diagnose(&failure).exit().code());
        open.memory.save_run(record)?;
    }
    Err(failure)
}

/// Whether a start that may still be on its way will surely never happen. A run that was started is ended.
async fn called_off(cx: &Context, ready: &Ready, run: &RunRef, why: Stop) -> bool {
    let asking = start::call_off(&ready.toolbox, run, why);
    if let Ok(Ok(true)) = tokio::time::timeout(cx.config.grace / 2, asking).await {
        return true;
    }
    let stopping = crate::run::stop::stop(&ready.toolbox, run, why, cx.config.grace / 4);
    let _ = tokio::time::timeout(cx.time_left(cx.config.grace / 2), stopping).await;
    false
}

/// What can be refused before anything is touched.
fn check_request(cx: &Context, kind: Kind, request: &Request) -> anyhow::Result<()> {
    let mut probe = LaunchRequest::new(kind, "/w", "/p");
    probe.model.clone_from(&cx.config.model);
    probe.session.clone_from(&request.session);
    probe.agent_command.clone_from(&cx.config.agent_command);
    launch(&probe)?;
    home::Options::of(cx)?;
    lent::given_variables(cx)?;
    Ok(())
}

fn prepare(
    cx: &Context,
    kind: Kind,
    request: &Request,
    ready: &Ready,
    run: &RunRef,
    credentials: &Credentials,
) -> anyhow::Result<Launch> {
    let mut wanted = LaunchRequest::new(kind, ready.workspace(), start::stdin_path(run));
    wanted.model.clone_from(&cx.config.model);
    wanted.session.clone_from(&request.session);
    wanted.agent_command.clone_from(&cx.config.agent_command);
    wanted.remove.clone_from(&credentials.cleanup);
    Ok(launch(&wanted)?)
}

fn spec(
    launch: &Launch,
    credentials: &Credentials,
    cx: &Context,
    request: &Request,
    run: &RunRef,
) -> anyhow::Result<RunSpec> {
    let mut env = launch.env.clone();
    env.extend(credentials.env.clone());
    env.extend(lent::given_variables(cx)?);
    let mut forget = launch.cleanup.clone();
    forget.extend(credentials.cleanup.clone());
    let mut files = launch.files.clone();
    files.extend(credentials.files.clone());
    Ok(RunSpec {
        run: run.clone(),
        kind: start::Kind::Agent { cols: COLUMNS, rows: ROWS },
        command: What::Shell(launch.script.clone()),
        cwd: None,
        env,
        stdin: Some(request.prompt.clone()),
        files,
        forget,
        limits: follow::limits(cx),
    })
}

fn record(cx: &Context, kind: Kind, request: &Request, ready: &Ready) -> RunRecord {
    RunRecord {
        id: cx.run.clone(),
        kind: RunKind::Agent,
        agent: kind.name().into(),
        title: RunRecord::title_of(&String::from_utf8_lossy(&request.prompt)),
        sandbox_id: ready.sandbox.id.clone(),
        started_at: super::now(),
        pid: std::process::id(),
        ..RunRecord::default()
    }
}

/// `--fresh` gives up the old sandbox only when nothing in it can be lost.
async fn refuse_fresh_over_work(
    cx: &Context,
    open: &mut Open,
    service: &Service,
) -> anyhow::Result<()> {
    if !cx.config.fresh {
        return Ok(());
    }
    let Some(old) = sandbox::existing(cx, open, service).await? else { return Ok(()) };
    safety::refuse_loss(&old, Some(open))?;
    service.client.delete(&old.id).await.context("delete the old sandbox")?;
    open.record.sandbox = None;
    open.save()
}

/// The repository's own set-up, once per sandbox and text.
async fn set_up(cx: &Context, open: &mut Open, ready: &Ready) -> anyhow::Result<()> {
    let Some(setup) = &cx.config.setup else { return Ok(()) };
    let print = secret::fingerprint(setup);
    if open.record.sandbox.as_ref().and_then(|s| s.setup.as_ref()) == Some(&print) {
        return Ok(());
    }
    if let Sent::Clash(home) = send::send(cx, open, ready, None).await? {
        return Err(clash(cx, &home));
    }
    let phase = cx.phase(Phase::Setup).await;
    cx.told().not_started = false;
    super::exec::set_up(cx, ready, setup).await?;
    phase.end(None).await;
    if let Some(sandbox) = &mut open.record.sandbox {
        sandbox.setup = Some(print);
    }
    open.save()
}

async fn detached(cx: &Context) -> Summary {
    cx.told().unpulled = true;
    let message = format!("the agent works on; `sandbox-coder attach {}` follows it", cx.run);
    cx.reporter.warn("run.detached", message, None).await;
    Exit::Ok.into()
}

/// The command that goes on from here.
pub fn resume_with(cx: &Context, words: &[&str]) {
    cx.told().resume =
        std::iter::once("sandbox-coder").chain(words.iter().copied()).map(str::to_owned).collect();
}

/// The failure of a result that clashes with the worktree.
pub fn clash(cx: &Context, home: &Homecoming) -> anyhow::Error {
    let (code, message) = home
        .failure
        .clone()
        .unwrap_or((ErrorCode::SyncConflict, "both sides changed a file".into()));
    let failure = Failure::new(code, message);
    if !home.settled {
        return failure.into();
    }
    // The chosen policy has settled it: no command finishes it, somebody has to look.
    cx.told().resume.clear();
    failure.hint("look at what is listed above; nothing waits for another `pull`").into()
}
