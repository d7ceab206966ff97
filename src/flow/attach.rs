//! A run is followed again after its first follower is gone; or its record is read.

use super::finish::{self, Ended};
use super::follow::{Watch, follow};
use super::open::Open;
use super::reader::Reader;
use super::sandbox::{self, Ready};
use super::service::Service;
use super::{Context, Summary, lent};
use crate::agent::{Kind, Parser};
use crate::error::Failure;
use crate::event::{Origin, Phase};
use crate::exit::{ErrorCode, Exit};
use crate::run::{Offsets, RunRef};
use crate::state::{RunKind, RunRecord};

/// `sandbox-coder attach`
pub async fn attach(cx: &Context, wanted: Option<&str>) -> anyhow::Result<Summary> {
    let mut open = Open::locked(cx, "attach").await?;
    let mut record = choose(&open, wanted, Meant::Unfinished)?;
    let name = open.sandbox_name(cx);
    open.announce(cx, "attach", &name, None).await;
    let service = cx.until_signal(Service::connect(cx)).await?;
    let ready = cx.until_signal(reach(cx, &open, &service, &record)).await?;
    cx.resume_with(&["attach", &record.id]);
    let kind = Kind::parse(&record.agent).unwrap_or(Kind::Command);
    let json = !matches!(kind, Kind::Command);
    lent::mask_lent(cx, &record).await;
    let parser = (record.kind == RunKind::Agent).then(|| Parser::new(kind, None));
    // All of it is read again: the agent's verdict needs every line, and nothing is stored twice here.
    let reader = Reader::new(kind.name(), parser, json, cx.config.raw, Offsets::default());
    let watch = Watch::of(cx, &ready, RunRef::of(&ready.home, &record.id), false);
    let phase = cx.phase(Phase::Agent).await;
    let began = std::time::Instant::now();
    let followed = follow(cx, watch, reader).await?;
    phase.end(None).await;
    let ended = Ended { followed, kind, seconds: began.elapsed().as_secs_f64() };
    finish::finish(cx, &mut open, &service, &ready, &mut record, ended).await
}

/// `sandbox-coder logs`
pub async fn logs(
    cx: &Context,
    wanted: Option<&str>,
    following: bool,
    from: u64,
) -> anyhow::Result<Summary> {
    let open = Open::unlocked(cx).await?;
    let record = choose(&open, wanted, Meant::Latest)?;
    let service = cx.until_signal(Service::connect(cx)).await?;
    let ready = cx.until_signal(reach(cx, &open, &service, &record)).await?;
    let run = RunRef::of(&ready.home, &record.id);
    lent::mask_lent(cx, &record).await;
    // A run that is over and was never begun has nothing to wait for.
    let waits = following && record.ended_at.is_none();
    if !waits && !crate::run::state(&ready.toolbox, &run).await?.started {
        let message = format!("nothing is recorded of run `{}`", record.id);
        return Err(Failure::new(ErrorCode::RunNotFound, message).into());
    }
    let from = Offsets { out: from, err: 0 };
    let reader = Reader::new("logs", None, false, true, from);
    let watch = Watch::of(cx, &ready, run, false).without_limits();
    let watch = Watch { from, leave: true, once: !following, ..watch };
    match follow(cx, watch, reader).await?.signal {
        Some(signal) => Err(super::ended_by(signal)),
        None => Ok(Exit::Ok.into()),
    }
}

/// Which run is meant when none is named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meant {
    /// The latest.
    Latest,
    /// The latest whose end nobody here has seen, if there is one: commands that ran beside it came later.
    Unfinished,
}

/// The run of that id or beginning of one; without a name the one that is meant. It has a record to read.
fn choose(open: &Open, wanted: Option<&str>, meant: Meant) -> anyhow::Result<RunRecord> {
    let record = find(open, wanted, meant)?;
    if !record.typed {
        return Ok(record);
    }
    let message = format!("nothing is recorded of run `{}`: somebody typed at it", record.id);
    let hint = "a command without a keyboard, `exec -t -- COMMAND </dev/null`, is recorded";
    Err(Failure::new(ErrorCode::RunNotFound, message).hint(hint).into())
}

fn find(open: &Open, wanted: Option<&str>, meant: Meant) -> anyhow::Result<RunRecord> {
    let fits = |r: &RunRecord| r.kind != RunKind::Pull && (wanted.is_some() || !r.typed);
    let mut runs: Vec<RunRecord> = open.memory.runs()?.into_iter().filter(fits).collect();
    if meant == Meant::Unfinished && wanted.is_none() {
        // Stable: the latest stays first among equals.
        runs.sort_by_key(|r| r.ended_at.is_some());
    }
    let mut fits = runs.iter().filter(|r| wanted.is_none_or(|w| r.id.starts_with(w)));
    match (fits.next(), fits.next(), wanted) {
        (Some(first), _, None) | (Some(first), None, Some(_)) => Ok(first.clone()),
        (Some(_), Some(_), Some(wanted)) => Err(Failure::new(
            ErrorCode::RunNotFound,
            format!("`{wanted}` begins more than one run's id"),
        )
        .into()),
        (None, _, Some(wanted)) => Err(Failure::new(
            ErrorCode::RunNotFound,
            format!("no run `{wanted}` is known in this worktree"),
        )
        .into()),
        (None, _, None) => {
            Err(Failure::new(ErrorCode::RunNotFound, "no run is known in this worktree").into())
        }
    }
}

async fn reach(
    cx: &Context,
    open: &Open,
    service: &Service,
    record: &RunRecord,
) -> anyhow::Result<Ready> {
    match service.client.find(&record.sandbox_id).await? {
        Some(found) => sandbox::start(cx, open, service, found, Origin::Reused).await,
        None => {
            let message = format!("the sandbox of run `{}` is gone", record.id);
            Err(Failure::new(ErrorCode::SandboxLost, message).into())
        }
    }
}
