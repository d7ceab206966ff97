//! The result comes home: asked for, fetched, verified, judged, merged, applied, settled.

pub mod common;
mod decide;
pub mod held;
pub mod settle;
mod shown;
pub(super) mod tell;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::open::Open;
use super::safety;
use super::sandbox::Ready;
use super::{Context, blocking};
use crate::daytona::Patience;
use crate::daytona::script::Script;
use crate::error::Failure;
use crate::event::Phase;
use crate::exit::{ErrorCode, Exit};
use crate::sync::merge::Policy;
use crate::sync::pull::{self, Answer, Offer};
use crate::sync::records::Limits;
use crate::sync::threats;
use crate::tree::Oid;
use crate::worktree::Store;
use decide::Theirs;
pub use shown::Shown;

/// How long another sync over there is waited out.
const BUSY: Duration = Duration::from_secs(30);

/// The way out of a sync that another host began.
pub const RESYNC: &str = "go on where it was used last; or `sandbox-coder pull --force-resync` brings all of it home, each difference as a conflict";

/// What to do with a result.
#[derive(Debug, Clone)]
pub struct Options {
    /// What happens to conflicts.
    pub policy: Policy,
    /// Take it although most of the tree disappears.
    pub allow_mass_delete: bool,
    /// Fetch and keep it, but change nothing.
    pub no_apply: bool,
    /// Write it as a patch, too.
    pub patch: Option<PathBuf>,
    /// What the user allows.
    pub threats: threats::Options,
    /// How much is accepted.
    pub limits: Limits,
}

impl Options {
    /// As the settings say.
    pub fn of(cx: &Context) -> anyhow::Result<Options> {
        let config = &cx.config;
        let policy = match config.on_conflict.as_str() {
            "hold" => Policy::Hold,
            "keep-both" => Policy::KeepBoth,
            "merge" => Policy::Merge,
            "ours" => Policy::Ours,
            "theirs" => Policy::Theirs,
            other => {
                return Err(Failure::new(
                    ErrorCode::ConfigInvalid,
                    format!("`{other}` is no way to settle conflicts"),
                )
                .into());
            }
        };
        Ok(Options {
            policy,
            allow_mass_delete: config.allow_mass_delete,
            no_apply: config.no_apply || config.dry_run,
            patch: config.patch.clone().map(|p| cx.cwd.join(p)),
            threats: threats::Options {
                block_risky: config.block_risky,
                allow_risky: config.allow_risky,
                allow_external_links: config.allow_external_links,
                ..threats::Options::default()
            },
            limits: Limits::of(
                config.max_result_size,
                config.max_result_file,
                config.max_result_files,
            ),
        })
    }
}

/// How a result came home.
#[derive(Debug, Clone)]
pub struct Homecoming {
    /// `Ok`, or `Conflict`.
    pub exit: Exit,
    /// Why not `Ok`.
    pub failure: Option<(ErrorCode, String)>,
    /// Paths that were changed here.
    pub applied: u64,
    /// All of it is here, in the worktree or put aside: both sides may agree on it.
    pub settled: bool,
}

impl Homecoming {
    fn nothing() -> Self {
        Self { exit: Exit::Ok, failure: None, applied: 0, settled: false }
    }
}

/// Fetches what differs from the base and applies it under the run id `run`.
pub async fn bring(
    cx: &Context,
    open: &mut Open,
    ready: &Ready,
    options: &Options,
    run: &str,
) -> anyhow::Result<Homecoming> {
    let phase = cx.phase(Phase::SyncOut).await;
    let id = ready.sandbox.id.clone();
    mark_unpulled(cx, open, &id, true)?;
    open.memory.untouch(&id);
    let Some((mut offer, base)) = offered(cx, open, ready, options).await? else {
        phase.end(None).await;
        if open.repo.base(&id)?.is_some() {
            let message = "the sandbox has lost what was agreed with it; its files are still there";
            return Err(Failure::new(ErrorCode::SyncIncomplete, message)
                .hint("`sandbox-coder exec --no-sync -- ls -la` looks; the next `run` puts them aside and sends the whole tree")
                .into());
        }
        mark_unpulled(cx, open, &id, false)?;
        return Ok(Homecoming::nothing());
    };
    let dealt_with = held::dealt_with(open, &id, base);
    if offer.tree == base || Some(offer.tree) == dealt_with {
        tell::notes(cx, &offer).await;
        phase.end(None).await;
        tell::sync(cx, 0, 0, 0).await;
        let agreed = offer.tree == offer.base && open.repo.base(&id)? == Some(offer.tree);
        if !agreed && !move_base(open, ready, &offer, offer.tree).await? {
            return Ok(Homecoming::nothing());
        }
        return finish(cx, open, ready, &offer, Homecoming::nothing()).await;
    }
    let (theirs, counts) = fetch(open, ready, &mut offer, base, dealt_with, options).await?;
    cx.told().bytes += offer.size;
    tell::notes(cx, &offer).await;
    phase.end(None).await;
    tell::sync(cx, counts.files, counts.deleted, offer.size).await;
    let tree = theirs.tree;
    let home = settle::settle(cx, open, id, theirs, options, run).await?;
    if home.settled && offer.can_settle() && move_base(open, ready, &offer, tree).await? {
        return finish(cx, open, ready, &offer, home).await;
    }
    Ok(home)
}

/// What came with a result.
struct Counts {
    files: u64,
    deleted: u64,
}

/// Fetches and verifies an offer, and says how it differs from the base, or from what was dealt with already.
async fn fetch(
    open: &Open,
    ready: &Ready,
    offer: &mut Offer,
    base: Oid,
    dealt_with: Option<Oid>,
    options: &Options,
) -> anyhow::Result<(Theirs, Counts)> {
    let records = pull::records(&ready.toolbox, offer, &options.limits, &open.repo)
        .await
        .context("fetch the result")?;
    let deleted = records.claims.iter().filter(|c| c.after.is_none()).count() as u64;
    let counts = Counts { files: records.claims.len() as u64 - deleted, deleted };
    let theirs = Theirs { base: offer.from, tree: records.tree, claims: records.claims };
    let onto = dealt_with.unwrap_or(base);
    if onto == theirs.base {
        return Ok((theirs, counts));
    }
    let repo = open.repo.clone();
    let theirs = blocking(move || held::seen_from(&Store::open(&repo)?, theirs, onto)).await?;
    Ok((theirs, counts))
}

/// The one place that says that nothing in a sandbox is missing here: the result was complete, both sides
/// agree on it, and nothing works there any more.
async fn finish(
    cx: &Context,
    open: &mut Open,
    ready: &Ready,
    offer: &Offer,
    home: Homecoming,
) -> anyhow::Result<Homecoming> {
    if !offer.trouble.is_empty() && home.exit == Exit::Ok {
        let message = "files in the sandbox could not be read: git's words are in the warning above; \
                       `exec --no-sync` can move them away";
        let failure = Some((ErrorCode::SyncIncomplete, message.to_owned()));
        return Ok(Homecoming { exit: Exit::Incomplete, failure, ..home });
    }
    let whole = offer.trouble.is_empty() && offer.nested.is_empty() && !offer.moving;
    let asking = safety::look(
        &open.memory,
        &ready.toolbox,
        &ready.home,
        &cx.run,
        safety::Asker::Passer,
        None,
    );
    let quiet = asking.await.is_ok_and(|look| look.living.is_none());
    if whole && quiet {
        mark_unpulled(cx, open, &ready.sandbox.id, false)?;
    }
    Ok(home)
}

/// Fetches and merges, and applies nothing.
pub async fn look(
    cx: &Context,
    open: &Open,
    ready: &Ready,
    options: &Options,
) -> anyhow::Result<Shown> {
    let Some((mut offer, base)) = offered(cx, open, ready, options).await? else {
        return Ok(Shown::default());
    };
    let dealt_with = held::dealt_with(open, &ready.sandbox.id, base);
    if offer.tree == base || Some(offer.tree) == dealt_with {
        return Ok(Shown::default());
    }
    let (theirs, _) = fetch(open, ready, &mut offer, base, dealt_with, options).await?;
    let (repo, options) = (open.repo.clone(), options.clone());
    let capture_options = open.capture_options(cx);
    blocking(move || shown::shown(&repo, &theirs, &options, &capture_options)).await
}

/// The sandbox's work, and the tree it is held against; `None` if nothing was ever sent there.
async fn offered(
    cx: &Context,
    open: &Open,
    ready: &Ready,
    options: &Options,
) -> anyhow::Result<Option<(Offer, Oid)>> {
    let Some(offer) = ask(cx, ready, options, None).await? else { return Ok(None) };
    let base = common::base(open, &ready.sandbox.id, offer.base)?;
    if base == offer.base {
        return Ok(Some((offer, base)));
    }
    let against = match base {
        Oid::EMPTY_TREE => "nothing: what differs is in conflict",
        _ => "what was last agreed with it here",
    };
    let message =
        format!("the sandbox was last used from elsewhere; its work is held against {against}");
    cx.reporter.warn("sync.elsewhere", message, None).await;
    let Some(offer) = ask(cx, ready, options, Some(base)).await? else { return Ok(None) };
    if offer.from != base && offer.from != Oid::EMPTY_TREE {
        return Err(crate::sync::Error::Inconsistent.into());
    }
    Ok(Some((offer, base)))
}

/// Asks the sandbox what differs from its base, or since an earlier one.
async fn ask(
    cx: &Context,
    ready: &Ready,
    options: &Options,
    since: Option<Oid>,
) -> anyhow::Result<Option<Offer>> {
    let began = std::time::Instant::now();
    loop {
        let mut script = Script::new();
        match since {
            None => pull::add_to(&mut script, &options.limits),
            Some(since) => pull::add_since(&mut script, &options.limits, since),
        }
        let asked = ready.toolbox.run_long(&script, Patience::default());
        let answer = asked.await.context("ask the sandbox what changed")?;
        match pull::heard(&answer.result)? {
            Answer::Out(offer) => return Ok(Some(*offer)),
            Answer::Stale(_) => return Ok(None),
            Answer::Busy if began.elapsed() < BUSY => {
                tokio::time::sleep(Duration::from_millis(300)).await
            }
            Answer::Busy => {
                let message = "another sync is under way in the sandbox";
                return Err(Failure::new(ErrorCode::WorktreeBusy, message).into());
            }
            Answer::Torn(_) => {
                cx.told().unpulled = true;
                let message = "a sync into the sandbox was cut short";
                return Err(Failure::new(ErrorCode::SyncIncomplete, message)
                    .hint("the next `sandbox-coder run` finishes it; if it came from elsewhere, `sandbox-coder pull --force-resync` brings all of it home, each difference as a conflict")
                    .into());
            }
        }
    }
}

/// Forgets over there what was agreed and what was cut short; the files stay as they are. What is asked for
/// next then is all of them, held against nothing: what differs from here clashes, and nothing is lost.
pub async fn forget(cx: &Context, ready: &Ready) -> anyhow::Result<()> {
    let mut script = Script::new();
    pull::add_forget(&mut script);
    let asked = ready.toolbox.run_long(&script, Patience::default());
    let answer = asked.await.context("forget the base in the sandbox")?;
    if let Some(aside) = pull::heard_forget(&answer.result)? {
        let message = format!("a sync that was cut short had put files aside in `{aside}`");
        cx.reporter.warn("sync.aside", message, None).await;
    }
    Ok(())
}

/// Both sides now agree on what was fetched. A sandbox that changed meanwhile keeps its old base; the next
/// fetch then brings the same again, and finds it already here.
async fn move_base(open: &mut Open, ready: &Ready, offer: &Offer, to: Oid) -> anyhow::Result<bool> {
    if to != offer.base {
        // Once the sandbox calls it the base, a power cut here must not take it away.
        let repo = open.repo.clone();
        let sync = move || -> anyhow::Result<()> { Ok(Store::open(&repo)?.sync_all()?) };
        blocking(sync).await?;
    }
    let mut script = Script::new();
    pull::add_settle(&mut script, offer.base, to, offer.tree);
    let asked = ready.toolbox.run_long(&script, Patience::default());
    let answer = asked.await.context("settle the result in the sandbox")?;
    let moved = pull::heard_settle(&answer.result);
    if moved {
        common::agree(open, &ready.sandbox.id, to)?;
    }
    Ok(moved)
}

/// Remembers whether the sandbox may hold work that is not here.
pub fn mark_unpulled(
    cx: &Context,
    open: &mut Open,
    sandbox_id: &str,
    unpulled: bool,
) -> anyhow::Result<()> {
    cx.told().unpulled = unpulled;
    if let Some(record) = &mut open.record.sandbox
        && record.id == sandbox_id
        && record.unpulled != unpulled
    {
        record.unpulled = unpulled;
        open.save()?;
    }
    Ok(())
}
