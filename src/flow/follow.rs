//! Watching a run: its output, its deadlines, the caller's signals, in one loop that owns the truth.

use std::time::Duration;

use super::deadlines::{Deadlines, since_boot};
use super::reader::Reader;
use super::sandbox::Ready;
use super::service::Service;
use crate::agent::Parser;
use crate::config::Provider;
use crate::daytona::Toolbox;
use crate::flow::{Context, Signal};
use crate::report::Reporter;
use crate::run::outcome::{End, Stop};
use crate::run::start::Limits;
use crate::run::view::{self, Ahead, Seen, ViewOptions};
use crate::run::{self, Offsets, RunRef};

/// An agent that said its last word gets this long to leave.
pub const LINGER: Duration = Duration::from_secs(30);
/// How long the deletion of a terminal over there may take.
pub const LAST: Duration = Duration::from_millis(1500);
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How long the sandbox may take to stop a run, beyond the grace.
const STOP_SLACK: Duration = Duration::from_secs(3);
/// Between TERM and KILL for a run whose time is up: nobody waits, and it may have something to save.
const LIMIT_GRACE: Duration = Duration::from_secs(10);
/// Bytes kept of each recorded stream: far more than anybody reads, and less than a small disk holds.
const LOG_MAX: u64 = 1 << 30;
/// The sandbox ends a run whose time is up by itself. If it does not, we do, so much later.
const NET: Duration = Duration::from_secs(20);
/// Once its run's time is up, a reader of ours that takes nothing for so long is given up.
const STUCK: Duration = Duration::from_secs(5);

/// How a followed run ended.
#[derive(Debug)]
pub struct Followed {
    /// The recorded end.
    pub end: End,
    /// Why it was stopped, if it was.
    pub stop: Option<Stop>,
    /// A signal that asked us to leave.
    pub signal: Option<Signal>,
    /// The agent's parser, for its verdict.
    pub parser: Option<Parser>,
}

/// What to follow and for how long.
#[derive(Debug)]
pub struct Watch<'w> {
    /// Where it runs.
    pub toolbox: &'w Toolbox,
    /// Which run.
    pub run: RunRef,
    /// It was started just now.
    pub fresh: bool,
    /// From where.
    pub from: Offsets,
    /// The whole time; `None` is for ever.
    pub timeout: Option<Duration>,
    /// The longest silence.
    pub idle: Option<Duration>,
    /// The sandbox holds the limits itself; ours are only the net below.
    pub net: Duration,
    /// Leave after a signal without stopping the run.
    pub leave: bool,
    /// Take what is recorded by now, and leave.
    pub once: bool,
    /// A terminal that was opened before the run was started.
    pub ahead: Option<Ahead>,
    /// How long the service may be out of reach. A server on this machine is started again meanwhile.
    pub patience: Duration,
}

impl<'w> Watch<'w> {
    /// A run from its beginning to its end. A fresh one carries the configured limits itself. One that is
    /// followed again still carries those of its start; only what was typed for this command is added.
    pub fn of(cx: &Context, ready: &'w Ready, run: RunRef, fresh: bool) -> Self {
        let asked = |key| fresh || cx.config.is_typed(key);
        Self {
            toolbox: &ready.toolbox,
            run,
            fresh,
            from: Offsets::default(),
            timeout: Some(cx.config.timeout).filter(|t| !t.is_zero() && asked("timeout")),
            idle: cx.config.idle_timeout.filter(|_| asked("idle-timeout")),
            net: if fresh { NET } else { Duration::ZERO },
            leave: false,
            once: false,
            ahead: None,
            patience: ready.patience,
        }
    }

    /// The same for one that only looks on.
    pub fn without_limits(self) -> Self {
        Self { timeout: None, idle: None, ..self }
    }
}

/// The limits that the sandbox holds for a run.
pub fn limits(cx: &Context) -> Limits {
    Limits {
        total: Some(cx.config.timeout).filter(|t| !t.is_zero()),
        idle: cx.config.idle_timeout,
        grace: LIMIT_GRACE,
        log: Some(LOG_MAX),
    }
}

/// Follows a run to its end, or to the reason to stop it. One loop owns the truth: output, deadlines and
/// signals are told to it, and nobody else decides.
///
/// While our own reader takes nothing, the rest of the output stays in the sandbox; deadlines and signals
/// go on.
pub async fn follow(
    cx: &Context,
    mut watch: Watch<'_>,
    mut reader: Reader,
) -> anyhow::Result<Followed> {
    let options = ViewOptions {
        fresh: watch.fresh,
        once: watch.once,
        budget: watch.patience,
        ..ViewOptions::default()
    };
    let ahead = watch.ahead.take();
    let mut view = view::follow_on(ahead, watch.toolbox, &watch.run, watch.from, options);
    let later = |limit: Option<Duration>| limit.map(|l| l + watch.net);
    let mut deadlines = Deadlines::new(later(watch.timeout), later(watch.idle), since_boot());
    if let Some(limit) = watch.timeout {
        tokio::spawn(give_up_stuck_reader(cx.reporter.clone(), since_boot() + limit));
    }
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut connected, mut over) = (true, false);
    let (end, stop, signal) = loop {
        tokio::select! {
            biased;
            signal = cx.signals.first() => {
                cx.leave_soon();
                let end = match signal {
                    // A terminal that went away takes nobody with it.
                    Signal::Hangup => End::Lost,
                    _ if watch.leave => End::Lost,
                    _ => end_it(cx, &watch, &mut view, &mut reader, stop_of(signal)).await.0,
                };
                break (end, Some(stop_of(signal)), Some(signal));
            }
            _ = tick.tick() => {
                let late = deadlines.look(since_boot(), connected && !reader.waits());
                let Some(stop) = late.or_else(|| overstays(&reader)).filter(|_| !over) else {
                    continue;
                };
                let (end, why) = end_it(cx, &watch, &mut view, &mut reader, stop).await;
                if matches!(end, End::Exit(_)) && why.is_none() {
                    // It had ended by itself: what it said is still to come.
                    over = true;
                    continue;
                }
                break (end, why.or(Some(stop)), None);
            }
            room = cx.reporter.room(), if reader.waits() => reader.pass(cx, room),
            seen = view.next(), if !reader.waits() => match seen {
                Some(Ok(Seen::Bytes { stream, bytes, .. })) => {
                    connected = true;
                    deadlines.heard();
                    reader.take(cx, stream, bytes);
                }
                Some(Ok(Seen::Gap { stream, from, to })) => {
                    deadlines.heard();
                    reader.gap(stream, from, to);
                }
                Some(Ok(Seen::Trouble { attempt, why })) => {
                    connected = false;
                    reader.trouble(attempt, &why);
                    revive(cx);
                }
                Some(Ok(Seen::End { exit, why, .. })) => {
                    break (exit.map_or(End::Lost, End::Exit), why, None);
                }
                Some(Err(error)) => return Err(error.into()),
                None => break (End::Lost, None, None),
            },
        }
    };
    reader.finish(cx).await;
    let limit = if signal.is_some() { LAST / 3 } else { LAST };
    cx.later(limit, view.close());
    Ok(Followed { end, stop, signal, parser: reader.into_parser() })
}

/// A local server that died is started again, in its old place: its sandboxes live on, and the view finds the
/// run where it was. Nothing happens to one that lives.
fn revive(cx: &Context) {
    if !matches!(cx.config.provider, Provider::Local) {
        return;
    }
    let cx = cx.clone();
    tokio::spawn(async move {
        if let Err(error) = Service::connect(&cx).await {
            tracing::debug!(%error, "the local server could not be started again");
        }
    });
}

/// Stops the run's whole tree and takes what it still said. Tells how it ended and the reason that the
/// sandbox remembers: none if it had ended by itself.
async fn end_it(
    cx: &Context,
    watch: &Watch<'_>,
    view: &mut view::View,
    reader: &mut Reader,
    stop: Stop,
) -> (End, Option<Stop>) {
    let all = cx.config.grace.min(Duration::from_secs(10));
    // After a signal the way home has to fit into the grace, too.
    let (grace, limit) = match cx.signals.seen() {
        Some(_) => (all * 2 / 5, all * 3 / 5),
        None => (all / 2, all / 2 + STOP_SLACK),
    };
    let stopping = run::stop::stop(watch.toolbox, &watch.run, stop, grace);
    let stopped = match tokio::time::timeout(limit, stopping).await {
        Ok(Ok(stopped)) => stopped,
        _ => return (End::Lost, Some(stop)),
    };
    let rest = async {
        reader.pour(cx).await;
        while let Some(Ok(seen)) = view.next().await {
            match seen {
                Seen::Bytes { stream, bytes, .. } => {
                    reader.take(cx, stream, bytes);
                    reader.pour(cx).await;
                }
                Seen::Gap { stream, from, to } => reader.gap(stream, from, to),
                Seen::End { .. } => return,
                Seen::Trouble { .. } => {}
            }
        }
    };
    if stopped.why.is_some() || cx.signals.seen().is_some() {
        let limit = cx.time_left(Duration::from_secs(3)) / 3;
        let _ = tokio::time::timeout(limit, rest).await;
    }
    (stopped.exit.map_or(End::Lost, End::Exit), stopped.why)
}

/// Why a run is stopped after a signal.
pub fn stop_of(signal: Signal) -> Stop {
    match signal {
        Signal::Interrupt => Stop::Interrupted,
        Signal::Terminate => Stop::Terminated,
        Signal::Hangup => Stop::Hangup,
    }
}

/// An agent that has nothing more to say and does not leave.
fn overstays(reader: &Reader) -> Option<Stop> {
    let lingers = reader.last_word.is_some_and(|at| at.elapsed() >= LINGER);
    (lingers || reader.hopeless()).then_some(Stop::Lingering)
}

/// The result is worth more than the rest of its output: when the run's time is up and our reader does not
/// read, nobody waits for that reader any longer.
async fn give_up_stuck_reader(reporter: Reporter, deadline: Duration) {
    while since_boot() < deadline {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    reporter.give_up_when_stuck(STUCK).await;
}
