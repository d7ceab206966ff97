//! Commands that report as they go: run, exec, pull, attach, logs, undo.

use std::future::Future;
use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use clap::ArgMatches;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stdin::{self, Piped};
use super::{cwd, fail, output_options, resolve, runtime, start_logging};
use crate::error::{Failure, diagnose};
use crate::event::Event;
use crate::exit::{ErrorCode, Exit};
use crate::flow::{self, Context, Signal, Signals, Summary, Told};
use crate::report::Reporter;
use crate::ui;
use crate::worktree::Repo;

/// `run`
pub fn run(args: &ArgMatches) -> u8 {
    let prompt = match prompt(args) {
        Ok(prompt) => prompt,
        Err(error) => return fail(args, &error),
    };
    let session = args.get_one::<String>("session").cloned();
    report(
        args,
        |cx| async move { flow::run::run(&cx, flow::run::Request { prompt, session }).await },
    )
}

/// `exec`
pub fn exec(args: &ArgMatches) -> u8 {
    let argv =
        args.get_many::<std::ffi::OsString>("command").into_iter().flatten().cloned().collect();
    let piped = if args.get_flag("stdin") { stdin::to_its_end() } else { stdin::piped() };
    let (stdin, unheard) = match piped {
        Piped::Nothing => (None, false),
        Piped::Bytes(bytes) => (Some(bytes), false),
        Piped::Silent => (None, true),
    };
    let tty = args.get_flag("tty");
    let typed = tty && stdin.is_none() && !output_options(args).json && flow::converse::possible();
    let no_sync = args.get_flag("no-sync");
    let request = flow::exec::Request { argv, tty, typed, no_sync, stdin, unheard };
    report(args, |cx| async move { flow::exec::exec(&cx, request).await })
}

/// `pull`
pub fn pull(args: &ArgMatches) -> u8 {
    let sandbox = args.get_one::<String>("sandbox").cloned();
    report(args, |cx| async move { flow::pull::pull(&cx, sandbox.as_deref()).await })
}

/// `attach`
pub fn attach(args: &ArgMatches) -> u8 {
    let run = args.get_one::<String>("run").cloned();
    report(args, |cx| async move { flow::attach::attach(&cx, run.as_deref()).await })
}

/// `logs`
pub fn logs(args: &ArgMatches) -> u8 {
    let run = args.get_one::<String>("run").cloned();
    let (follow, from) =
        (args.get_flag("follow"), args.get_one::<u64>("from").copied().unwrap_or(0));
    report(args, |cx| async move { flow::attach::logs(&cx, run.as_deref(), follow, from).await })
}

/// `undo`
pub fn undo(args: &ArgMatches) -> u8 {
    let run = args.get_one::<String>("run").cloned();
    report(args, |cx| async move { flow::undo::undo(&cx, run.as_deref()).await })
}

/// Builds the context, runs the flow with a screen and signals, and tells how it ended.
fn report<F, Fut>(args: &ArgMatches, flow: F) -> u8
where
    F: FnOnce(Context) -> Fut,
    Fut: Future<Output = anyhow::Result<Summary>>,
{
    let began = Instant::now();
    start_logging(args);
    let prepared = cwd().and_then(|cwd| {
        let repo = Repo::discover(&cwd).ok();
        let config = resolve(args, repo.as_ref().map(Repo::top))?;
        Ok((cwd, repo, config, runtime().context("start the event loop")?))
    });
    let (cwd, repo, config, runtime) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return fail(args, &error),
    };
    let run = flow::new_run_id();
    let leaving = CancellationToken::new();
    let (reporter, reports) = Reporter::channel(256, leaving.clone());
    let screen = ui::start(output_options(args), run.clone(), reports);
    let (code, upkeep) = runtime.block_on(async {
        let (first, second, signals) = Signals::new();
        let seen = signals.clone();
        let told = Arc::<std::sync::Mutex<Told>>::default();
        let listening = tokio::spawn(listen(first, second.clone(), leaving.clone()));
        let cx = Context {
            config: Arc::new(config),
            run,
            cwd,
            repo,
            reporter: reporter.clone(),
            signals,
            told: told.clone(),
            clearing: TaskTracker::new(),
        };
        let clearing = cx.clearing.clone();
        let upkeep = flow::upkeep::Upkeep::of(&cx);
        let beating = cx.clone();
        let ended = tokio::select! {
            ended = flow(cx) => ended,
            () = flow::heartbeat::beat(&beating) => unreachable!("it beats until it is dropped"),
            () = second.cancelled() => Err(flow::ended_by(seen.seen().unwrap_or(Signal::Interrupt))),
        };
        clearing.close();
        tokio::select! {
            biased;
            () = second.cancelled() => {}
            () = clearing.wait() => {}
        }
        listening.abort();
        let known = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let code = tell_end(&reporter, ended, &known, began).await;
        (code, upkeep.filter(|_| seen.seen().is_none()))
    });
    // What still blocks (a half-read pipe, a stuck name server) must not hold up the end.
    runtime.shutdown_background();
    drop(reporter);
    let lost = finish_screen(screen, &leaving);
    if let Some(upkeep) = upkeep.filter(flow::upkeep::Upkeep::is_due)
        && let Ok(runtime) = self::runtime()
    {
        runtime.block_on(until_signal(upkeep.keep_up()));
        runtime.shutdown_background();
    }
    match lost {
        Some(lost) if code == Exit::Ok.code() => lost.code(),
        _ => code,
    }
}

/// The screen gets the time it needs, unless its reader is stuck while we are asked to leave.
fn finish_screen(
    screen: std::thread::JoinHandle<Option<Exit>>,
    leaving: &CancellationToken,
) -> Option<Exit> {
    let began = Instant::now();
    while !screen.is_finished() {
        if leaving.is_cancelled() && began.elapsed() > std::time::Duration::from_millis(500) {
            return None;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    screen.join().ok().flatten()
}

async fn tell_end(
    reporter: &Reporter,
    ended: anyhow::Result<Summary>,
    told: &Told,
    began: Instant,
) -> u8 {
    let summary = match ended {
        Ok(summary) => summary,
        Err(error) => {
            let mut diagnosis = diagnose(&error);
            diagnosis.phase = told.phase;
            diagnosis.sandbox_id = told.sandbox.as_ref().map(|s| s.id.clone());
            if diagnosis.code != ErrorCode::SandboxNotFound {
                diagnosis.resume.clone_from(&told.resume);
            }
            if told.local && diagnosis.code == ErrorCode::NetUnreachable {
                diagnosis.hint =
                    "the local server went away; the next command starts it again".into();
            }
            let left = [ErrorCode::RunInterrupted, ErrorCode::RunTerminated, ErrorCode::RunHangup];
            if told.not_started && left.contains(&diagnosis.code) {
                diagnosis.hint = "nothing was started; the same command begins anew".into();
            } else if diagnosis.code == ErrorCode::RunHangup
                && told.resume.get(1).is_some_and(|word| word == "pull")
            {
                diagnosis.hint = "`sandbox-coder pull` fetches what is not here yet".into();
            }
            let exit = diagnosis.exit();
            reporter.event(Event::Error(Box::new(diagnosis.event()))).await;
            exit.into()
        }
    };
    let done = flow::done(&summary, told, began.elapsed().as_secs_f64());
    reporter.event(Event::Done(Box::new(done))).await;
    summary.code
}

/// When everything is told: any signal ends it, and what is half done then is harmless.
async fn until_signal(work: impl Future<Output = ()>) {
    let (first, second, signals) = Signals::new();
    let listening = tokio::spawn(listen(first, second, CancellationToken::new()));
    tokio::select! {
        biased;
        _ = signals.first() => {}
        () = work => {}
    }
    listening.abort();
}

/// Turns the process's signals into the flow's: the first asks, the second leaves at once.
async fn listen(
    first: watch::Sender<Option<Signal>>,
    second: CancellationToken,
    leaving: CancellationToken,
) {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(mut int), Ok(mut term), Ok(mut hup)] = kinds else { return };
    loop {
        let came = tokio::select! {
            _ = int.recv() => Signal::Interrupt,
            _ = term.recv() => Signal::Terminate,
            _ = hup.recv() => Signal::Hangup,
        };
        leaving.cancel();
        if first.borrow().is_some() {
            second.cancel();
            return;
        }
        let _ = first.send(Some(came));
    }
}

/// The prompt from wherever it is given. Only `-` and a file may hold more than a few words.
fn prompt(args: &ArgMatches) -> anyhow::Result<Vec<u8>> {
    let prompt = match args.get_one::<String>("prompt-file") {
        Some(file) => {
            std::fs::read(file).with_context(|| format!("read the prompt from `{file}`"))?
        }
        None => {
            let words: Vec<&str> = args
                .get_many::<String>("prompt")
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect();
            match words.as_slice() {
                ["-"] => {
                    let mut text = Vec::new();
                    std::io::stdin()
                        .read_to_end(&mut text)
                        .context("read the prompt from standard input")?;
                    text
                }
                words => words.join(" ").into_bytes(),
            }
        }
    };
    if prompt.trim_ascii().is_empty() {
        return Err(Failure::new(ErrorCode::EmptyPrompt, "the prompt is empty").into());
    }
    Ok(prompt)
}
