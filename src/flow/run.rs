//! The main job: send the worktree, run the agent, bring its work home, say what happened.

use anyhow::Context as _;

use super::awake;
use super::conversation::Wanted;
use super::follow::{self, Watch, follow};
use super::home;
use super::open::Open;
use super::reader::Reader;
use super::safety;
use super::sandbox::{self, Ready};
use super::send;
use super::service::Service;
use super::start::{COLUMNS, ROWS, with_worktree};
use super::{Context, Summary, finish, lent, setup};
use crate::agent::credentials::Credentials;
use crate::agent::{Kind, Launch, LaunchRequest, Parser, launch};
use crate::error::Failure;
use crate::event::{AgentState, Event, Phase};
use crate::exit::{ErrorCode, Exit};
use crate::run::start::{self, RunSpec, What};
use crate::run::{Offsets, RunRef};
use crate::state::{RunKind, RunRecord};
use crate::worktree::upkeep;

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
    let plan = start::plan(&spec(&launch, &credentials, cx, &request, &run_ref)?)?;
    match &conversation {
        Some(wanted) => wanted.refuse_unknown(cx, &open, &ready).await?,
        None => safety::refuse_beside(&open, &ready.toolbox, &ready.home, &cx.run).await?,
    }
    setup::set_up(cx, &mut open, &ready).await?;
    let mut record = record(cx, kind, &request, &ready);
    record.lent = lent::prints(credentials.secrets.iter().chain(&lent::given_secrets(cx)?));
    let ahead = with_worktree(cx, &mut open, &ready, &plan, &mut record, !cx.config.detach).await?;
    let told = Event::Agent {
        state: AgentState::Started,
        agent: kind.name().into(),
        agent_session: None,
        exit_code: None,
    };
    cx.reporter.event(told).await;
    if cx.config.detach {
        awake::keep(cx, &service, &ready.sandbox, &open.memory).await;
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

/// What can be refused before anything is touched.
fn check_request(cx: &Context, kind: Kind, request: &Request) -> anyhow::Result<()> {
    if let Some(session) = request.session.as_ref().filter(|_| cx.config.fresh) {
        let message = format!(
            "`--fresh` begins with a new sandbox, and the conversation `{session}` is kept in the present one"
        );
        let hint = "leave out `--fresh` to go on with it, or `--session` to begin anew";
        return Err(Failure::new(ErrorCode::Usage, message).hint(hint).into());
    }
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
    upkeep::deleted(&open.repo, &old.id);
    open.record.sandbox = None;
    open.save()
}

async fn detached(cx: &Context) -> Summary {
    cx.told().unpulled = true;
    let message = format!("the agent works on; `sandbox-coder attach {}` follows it", cx.run);
    cx.reporter.warn("run.detached", message, None).await;
    Exit::Ok.into()
}
