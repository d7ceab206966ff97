//! The main job: send the worktree, run the agent, bring its work home, say what happened.

use std::path::PathBuf;

use anyhow::Context as _;

use super::awake;
use super::conversation::Wanted;
use super::follow::{self, Followed, Watch, follow};
use super::home::{self, Homecoming};
use super::open::Open;
use super::reader::Reader;
use super::safety;
use super::sandbox::{self, Ready};
use super::send::{self, Sent};
use super::service::Service;
use super::{Context, Signal, Summary};
use crate::agent::credentials::{self, Credentials, Host, Need};
use crate::agent::{Kind, Launch, LaunchRequest, Parser, Verdict, launch};
use crate::error::Failure;
use crate::event::{AgentDone, AgentState, Event, Phase};
use crate::exit::{ErrorCode, Exit};
use crate::run::outcome::{self, End, RunVerdict, Stop};
use crate::run::start::{self, RunSpec, What};
use crate::run::view::Ahead;
use crate::run::{Offsets, RunRef};
use crate::secret::{self, Print, Secret};
use crate::state::{RunKind, RunRecord};
use crate::wire::sandbox::SandboxState;

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
    mask_given(cx).await?;
    let mut open = Open::locked(cx, "run").await?;
    let name = open.sandbox_name(cx);
    open.announce(cx, "run", &name, request.session.clone()).await;
    let credentials = lend(cx, kind).await;
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

    let run_ref = RunRef {
        id: cx.run.clone(),
        dir: format!("{}/.sandbox-coder/runs/{}", ready.home, cx.run),
    };
    let launch = prepare(cx, kind, &request, &ready, &run_ref, &credentials)?;
    let start = start::plan(&spec(&launch, &credentials, cx, &request, &run_ref)?)?;
    match &conversation {
        Some(wanted) => wanted.refuse_unknown(cx, &open, &ready).await?,
        None => safety::refuse_beside(&open, &ready.toolbox, &ready.home, &cx.run).await?,
    }
    set_up(cx, &mut open, &ready).await?;
    let mut record = record(cx, kind, &request, &ready);
    record.lent = prints(credentials.secrets.iter().chain(&given_secrets(cx)?));
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
    finish(
        cx,
        &mut open,
        &service,
        &ready,
        &mut record,
        Ended { followed, kind, seconds: began.elapsed().as_secs_f64() },
    )
    .await
}

/// Sends the worktree and starts the run. From before the first byte leaves, the sandbox counts as holding
/// work: the agent may be started by a request whose answer is lost. For a run that will be `followed` a
/// terminal is opened meanwhile, unless so much is sent that it would wait for long.
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
    let soon = followed && open.repo.base(&ready.sandbox.id)?.is_some();
    let ahead = soon.then(|| Ahead::open(&ready.toolbox));
    let failure = match send::send(cx, open, ready, Some(start)).await {
        Ok(Sent::Yes) => return Ok(ahead),
        Ok(Sent::Clash(home)) => {
            resume_with(cx, &["pull"]);
            clash(cx, home)
        }
        Err(error) => error,
    };
    if let Some(ahead) = ahead {
        cx.later(follow::LAST, ahead.close());
    }
    // A start whose answer was lost, or that is still on its way: remember what is true, and if we were asked
    // to leave see to it that nothing works on unseen.
    let run = RunRef {
        id: cx.run.clone(),
        dir: format!("{}/.sandbox-coder/runs/{}", ready.home, cx.run),
    };
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
        awake::keep(cx, service, ready, &open.memory).await;
        return Err(super::ended_by(Signal::Hangup));
    }
    let verdict = followed.parser.map(|p| p.finish(outcome::ended(followed.end, followed.stop)));
    let judged = outcome::judge(followed.end, followed.stop, verdict.as_ref());
    tell_agent(cx, kind, &judged, verdict.as_ref(), seconds).await;
    record.agent_exit = judged.agent_exit;
    record.agent_session = verdict.as_ref().and_then(|v| v.session.clone());
    record.exit = Some(judged.exit.code());
    open.memory.save_run(record)?;
    resume_with(cx, &["pull"]);
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
    let clash = home.and_then(|h| h.failure.clone());
    let home_exit = home.map_or(Exit::Ok, |h| h.exit);
    let exit = judged.exit.worse(home_exit);
    if exit == Exit::Ok {
        cx.told().resume.clear();
        return Ok(Exit::Ok.into());
    }
    let (code, message) = match (&judged.code, clash) {
        (_, Some((code, message))) if exit == Exit::Conflict => (code, message),
        (Some(code), _) => (*code, judged.message.clone()),
        (None, Some((code, message))) => (code, message),
        (None, None) => (ErrorCode::Internal, "the run ended without a verdict".to_owned()),
    };
    let mut failure = Failure::new(code, message);
    if exit != Exit::Conflict {
        failure.tail = verdict.map(|v| v.tail.clone()).unwrap_or_default();
    } else if home.is_some_and(|h| h.settled) {
        failure = decided(cx, failure);
    }
    if home.is_some() && exit != Exit::Conflict {
        cx.told().resume.clear();
        if matches!(code, ErrorCode::RunInterrupted | ErrorCode::RunTerminated) {
            failure.hint = Some("what the agent did until then is here".into());
        }
    }
    Err(failure.into())
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

/// What can be refused before anything is touched.
fn check_request(cx: &Context, kind: Kind, request: &Request) -> anyhow::Result<()> {
    let mut probe = LaunchRequest::new(kind, "/w", "/p");
    probe.model.clone_from(&cx.config.model);
    probe.session.clone_from(&request.session);
    probe.agent_command.clone_from(&cx.config.agent_command);
    launch(&probe)?;
    home::Options::of(cx)?;
    given_variables(cx)?;
    Ok(())
}

/// The names of the variables given.
pub fn given_names(cx: &Context) -> impl Iterator<Item = String> {
    cx.config.env.iter().map(|text| text.split('=').next().unwrap_or(text).to_owned())
}

/// The variables given by name, with their values.
pub fn given_variables(cx: &Context) -> anyhow::Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    for text in &cx.config.env {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => {
                let value = std::env::var(text).map_err(|_| {
                    Failure::new(
                        ErrorCode::Usage,
                        format!("`--env {text}`: there is no such variable here"),
                    )
                })?;
                (text.clone(), value)
            }
        };
        out.push((name, value));
    }
    Ok(out)
}

/// The secrets among the given variables.
pub fn given_secrets(cx: &Context) -> anyhow::Result<Vec<Secret>> {
    let given = given_variables(cx)?;
    Ok(given.iter().flat_map(|(name, value)| secret::in_variable(name, value)).collect())
}

/// Has the secrets among the given variables masked from here on.
pub async fn mask_given(cx: &Context) -> anyhow::Result<()> {
    for secret in given_secrets(cx)? {
        cx.reporter.secret(secret).await;
    }
    Ok(())
}

/// What a run's record keeps of the values it is lent.
pub fn prints<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Vec<Print> {
    secrets.into_iter().flat_map(Print::of).collect()
}

/// Has what a run was lent masked: for those who only read what it said.
pub async fn mask_lent(cx: &Context, record: &RunRecord) {
    for print in &record.lent {
        cx.reporter.print(print.clone()).await;
    }
}

/// The credentials the agent may have, and what to know about them.
async fn lend(cx: &Context, kind: Kind) -> Credentials {
    let credentials = find_credentials(cx, kind);
    for secret in &credentials.secrets {
        cx.reporter.secret(secret.clone()).await;
    }
    for warning in &credentials.warnings {
        cx.reporter.warn("agent.credentials", warning.clone(), None).await;
    }
    credentials
}

fn find_credentials(cx: &Context, kind: Kind) -> Credentials {
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else {
        return Credentials::default();
    };
    let given = given_names(cx).collect();
    let need = Need {
        model: cx.config.model.clone(),
        given,
        timeout_s: Some(match cx.config.timeout.as_secs() {
            0 => u64::MAX,
            limit => limit,
        }),
    };
    credentials::gather(kind, &need, &Host::here(home))
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
    env.extend(given_variables(cx)?);
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
        return Err(clash(cx, home));
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
pub fn clash(cx: &Context, home: Homecoming) -> anyhow::Error {
    let (code, message) =
        home.failure.unwrap_or((ErrorCode::SyncConflict, "both sides changed a file".into()));
    let failure = Failure::new(code, message);
    if home.settled { decided(cx, failure).into() } else { failure.into() }
}

/// A clash that the chosen policy has settled: no command finishes it, somebody has to look.
fn decided(cx: &Context, failure: Failure) -> Failure {
    cx.told().resume.clear();
    failure.hint("look at what is listed above; nothing waits for another `pull`")
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
