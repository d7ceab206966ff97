//! The worktree goes over: what differs from the agreed base, and with it the start of a run.

use std::time::Duration;

use anyhow::Context as _;

use super::history::Past;
use super::home::{self, Homecoming, common};
use super::open::Open;
use super::sandbox::Ready;
use super::{Context, blocking};
use crate::config::Provider;
use crate::daytona::script::Script;
use crate::daytona::{Patience, client};
use crate::error::Failure;
use crate::event::{Direction, Event, Phase};
use crate::exit::{ErrorCode, Exit};
use crate::rel_path::RelPath;
use crate::run::start::{self, Start};
use crate::sync::excludes::Excludes;
use crate::sync::pack::Link;
use crate::sync::push::{self, Push, Pushed};
use crate::tree::{Entry, Oid};
use crate::worktree::capture::{self, Note};
use crate::worktree::hidden::hidden;
use crate::worktree::{Repo, Store};

/// How long another sync over there is waited out.
const BUSY: Duration = Duration::from_secs(30);
/// Rounds of sending; each ends with a reason to send differently.
const ROUNDS: u32 = 8;

/// What came of sending.
#[derive(Debug)]
pub enum Sent {
    /// The workspace is the worktree, and the run, if one was to be started, is started.
    Yes,
    /// Work found over there clashes with the worktree; nothing was sent.
    Clash(Homecoming),
}

/// Sends the worktree and starts a run, in as few round trips as it takes. Work over there that was never
/// fetched comes home first.
pub async fn send(
    cx: &Context,
    open: &mut Open,
    ready: &Ready,
    run: Option<&Start>,
) -> anyhow::Result<Sent> {
    let id = ready.sandbox.id.clone();
    let phase = cx.phase(Phase::SyncIn).await;
    if cx.config.force_resync {
        home::forget(cx, ready).await?;
    }
    let mut base = open.repo.base(&id)?;
    let mut noted = false;
    let mut past = Past::new(cx, open, &id);
    let excludes = Excludes::of(&open.repo)?;
    for round in 0..ROUNDS {
        let (to, notes) = look(cx, open, base).await?;
        if !noted {
            noted = true;
            tell_notes(cx, &notes).await;
        }
        let push = match base {
            None => whole(cx, open, ready, to, &mut past).await?,
            Some(_) => pack(cx, open, base, to).await?,
        };
        past.prepare(cx, &open.repo, push.is_full()).await?;
        if push.from != Some(push.to) {
            common::sending(open, &id, push.to)?;
        }
        match deliver(cx, &excludes, ready, &push, &mut past, run).await? {
            Pushed::Ok { aside, .. } => {
                common::agree(open, &id, push.to)?;
                past.settle(cx, &open.repo).await;
                phase.end(None).await;
                let carried = if push.counts_on_more() { past.bytes() } else { 0 };
                tell(cx, &push, carried, &notes).await;
                tell_aside(cx, aside).await;
                return Ok(Sent::Yes);
            }
            Pushed::Stale(None) => {
                if base.is_some() {
                    cx.reporter
                        .warn(
                            "sync.full",
                            "the sandbox lost its state; the whole tree is sent",
                            None,
                        )
                        .await;
                }
                base = None;
            }
            Pushed::Stale(Some(theirs)) if common::is_ours(open, &id, theirs)? => {
                base = Some(theirs);
            }
            // What was agreed elsewhere is work that was not fetched here.
            Pushed::Stale(Some(_)) | Pushed::Dirty => {
                phase.wait("the sandbox holds work that was not fetched").await;
                let options = home::Options::of(cx)?;
                let before =
                    format!("{}-before{round}{}", cx.run, if run.is_some() { "" } else { "s" });
                let bringing = home::bring(cx, open, ready, &options, &before);
                let home = tokio::select! {
                    home = bringing => home?,
                    signal = cx.signals.first() => return Err(super::ended_by(signal)),
                };
                if home.exit != Exit::Ok {
                    return Ok(Sent::Clash(home));
                }
                if options.no_apply {
                    let message =
                        "the sandbox holds work that is not here, and `--no-apply` leaves it there";
                    return Err(Failure::new(ErrorCode::SandboxUnpulledWork, message).into());
                }
                base = open.repo.base(&id)?;
            }
            Pushed::Torn(which) => finish_torn(cx, open, ready, &which).await?,
            Pushed::Busy => {
                let message = "another sync is under way in the sandbox";
                return Err(Failure::new(ErrorCode::WorktreeBusy, message).into());
            }
            Pushed::Corrupt => {}
            Pushed::Lacking => past.carry_nothing(),
        }
    }
    let message = "the sandbox did not take the worktree after several tries";
    Err(Failure::new(ErrorCode::SyncVerifyFailed, message).into())
}

/// Captures the worktree: its tree, and what to know about it. What the snapshot leaves out of the base although
/// nobody removed it stays as it is over there: it is neither sent nor deleted.
async fn look(cx: &Context, open: &Open, base: Option<Oid>) -> anyhow::Result<(Oid, Vec<Note>)> {
    let (repo, options) = (open.repo.clone(), open.capture_options(cx));
    let work = move || {
        let captured = capture::capture(&repo, &options).context("read the worktree")?;
        let store = Store::open(&repo)?;
        let known = |base: &Oid| *base != captured.tree && store.has(*base);
        let tree = match base.filter(known) {
            Some(base) => keep_hidden(&repo, &store, base, captured.tree)?,
            None => captured.tree,
        };
        Ok((tree, captured.notes))
    };
    cx.until_signal(blocking(work)).await
}

/// The local tree, with what it hides of the base.
fn keep_hidden(repo: &Repo, store: &Store, base: Oid, local: Oid) -> anyhow::Result<Oid> {
    let (base, mut tree) = (store.read_tree(base)?, store.read_tree(local)?);
    let hidden = hidden(repo, &base, &tree)?;
    if hidden.is_empty() {
        return Ok(local);
    }
    tree.extend(hidden.into_iter().filter_map(|(path, _)| base.get_key_value(&path)).map(owned));
    Ok(store.write_tree(&tree)?)
}

fn owned((path, entry): (&RelPath, &Entry)) -> (RelPath, Entry) {
    (path.clone(), *entry)
}

/// Packs what leads from one tree to another.
async fn pack(cx: &Context, open: &Open, from: Option<Oid>, to: Oid) -> anyhow::Result<Push> {
    let (repo, link) = (open.repo.clone(), link(&cx.config.provider));
    let pack = move || {
        // An object may have been the user's and gone with a `git gc` there: the next capture stores it here.
        plan(&repo, &Store::open(&repo)?, from, to, link).inspect_err(|_| capture::forget(&repo))
    };
    cx.until_signal(blocking(pack)).await
}

/// Packs the whole tree. What HEAD's history brings goes ahead meanwhile, and does not travel twice.
async fn whole(
    cx: &Context,
    open: &Open,
    ready: &Ready,
    to: Oid,
    past: &mut Past,
) -> anyhow::Result<Push> {
    past.prepare(cx, &open.repo, true).await?;
    let Some(carried) = past.carried() else {
        // Packing and unpacking the one is no reason to wait with the other.
        return Ok(tokio::try_join!(pack(cx, open, None, to), past.go_ahead(cx, ready))?.0);
    };
    let (repo, link) = (open.repo.clone(), link(&cx.config.provider));
    let pack_rest = move || {
        let store = Store::open(&repo)?;
        let tree = store.read_tree(to)?;
        // HEAD's tree may be one that cannot be read.
        Ok(Push::plan_beside(&store, &carried, (to, &tree), &repo.state_dir(), link).ok())
    };
    let packing = cx.until_signal(blocking(pack_rest));
    if let (Some(push), true) = tokio::try_join!(packing, past.carry(cx, ready))? {
        return Ok(push);
    }
    pack(cx, open, None, to).await
}

/// A sandbox on this machine is as near as its disk; any other is taken for one behind a slow uplink.
pub fn link(provider: &Provider) -> Link {
    match provider {
        Provider::Local => Link::Near,
        Provider::Daytona { api_url, .. } if client::is_loopback(api_url) => Link::Near,
        Provider::Daytona { .. } => Link::Far,
    }
}

fn plan(
    repo: &Repo,
    store: &Store,
    from: Option<Oid>,
    to: Oid,
    link: Link,
) -> anyhow::Result<Push> {
    let from = from.filter(|id| *id == Oid::EMPTY_TREE || store.has(*id));
    let spool = repo.state_dir();
    // Nothing differs: no tree needs to be read.
    if from == Some(to) {
        let nothing = Default::default();
        return Ok(Push::plan(store, Some((to, &nothing)), (to, &nothing), &spool, link)?);
    }
    let before = from.map(|id| store.read_tree(id)).transpose()?;
    let after = store.read_tree(to)?;
    Ok(Push::plan(store, from.zip(before.as_ref()), (to, &after), &spool, link)?)
}

async fn deliver(
    cx: &Context,
    excludes: &Excludes,
    ready: &Ready,
    push: &Push,
    past: &mut Past,
    run: Option<&Start>,
) -> anyhow::Result<Pushed> {
    let work = async {
        let uploaded =
            push.upload(&ready.toolbox, &ready.home).await.context("send the archive")?;
        if let Some(run) = run {
            run.upload(&ready.toolbox).await.context("send the prompt")?;
        }
        if !push.counts_on_more() {
            past.send_ahead(cx, ready).await;
        }
        let mut script = Script::new();
        if let Some(run) = run {
            run.guard(&mut script, &format!("ok {}", push.to));
        }
        excludes.add_to(&mut script);
        if push.counts_on_more() {
            past.add_carry(&mut script);
        }
        push.add_to(&mut script, uploaded.as_deref());
        past.add_to(&mut script);
        if let Some(run) = run {
            run.add_to(&mut script);
        }
        // Delivered twice it does no harm: the run's folder and the base are looked at first.
        let began = std::time::Instant::now();
        let (pushed, result) = loop {
            let answer = ready
                .toolbox
                .run_long(&script, Patience::default())
                .await
                .context("apply the worktree in the sandbox")?;
            let pushed = push::heard(&answer.result)?;
            if pushed != Pushed::Busy || began.elapsed() >= BUSY {
                break (pushed, answer.result);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        cx.told().bytes += push.bytes;
        past.hear(&result);
        if matches!(pushed, Pushed::Ok { .. }) && run.is_some() && start::heard(&result).is_none() {
            let tail: String = result.trim().chars().take(300).collect();
            let message = format!("the agent could not be started: {tail}");
            return Err(Failure::new(ErrorCode::SandboxErrored, message).into());
        }
        anyhow::Ok(pushed)
    };
    tokio::select! {
        done = work => done,
        signal = cx.signals.first() => Err(super::ended_by(signal)),
    }
}

/// Finishes a push that was cut short, as it was begun. What is in the worktree by now goes over afterwards.
async fn finish_torn(cx: &Context, open: &Open, ready: &Ready, which: &str) -> anyhow::Result<()> {
    let (from, to) = torn_push(open, which)?;
    let excludes = Excludes::of(&open.repo)?;
    let (repo, link) = (open.repo.clone(), link(&cx.config.provider));
    let finishing = async {
        let push = blocking(move || plan(&repo, &Store::open(&repo)?, from, to, link)).await?;
        let uploaded =
            push.upload(&ready.toolbox, &ready.home).await.context("send the archive")?;
        let mut script = Script::new();
        excludes.add_to(&mut script);
        push.add_to(&mut script, uploaded.as_deref());
        let asked = ready.toolbox.run_long(&script, Patience::default());
        let answer = asked.await.context("finish a sync that was cut short")?;
        anyhow::Ok(push::heard(&answer.result)?)
    };
    let pushed = cx.until_signal(finishing).await?;
    if let Pushed::Ok { aside, .. } = pushed {
        tell_aside(cx, aside).await;
    }
    // Whatever else it said, the next round hears it again.
    Ok(())
}

async fn tell_aside(cx: &Context, aside: Option<String>) {
    if let Some(aside) = aside {
        let message = format!("the sandbox held files without a base; they now lie in `{aside}`");
        cx.reporter.warn("sync.aside", message, None).await;
    }
}

fn torn_push(open: &Open, which: &str) -> anyhow::Result<(Option<Oid>, Oid)> {
    let parsed = which
        .trim()
        .split_once(' ')
        .and_then(|(from, to)| Some((from.parse().ok(), to.parse().ok()?)));
    if let Some((from, to)) = parsed {
        let known = |id| common::lies_here(open, id);
        if known(to)? && from.map_or(Ok(true), known)? {
            return Ok((from, to));
        }
    }
    let message = "a sync from elsewhere was cut short in the sandbox";
    Err(Failure::new(ErrorCode::SandboxUnpulledWork, message).hint(home::RESYNC).into())
}

async fn tell(cx: &Context, push: &Push, carried: u64, notes: &[Note]) {
    let event = Event::Sync {
        direction: Direction::In,
        full: push.is_full(),
        files: push.files,
        bytes: push.bytes + carried,
        deleted: push.deleted,
        skipped: notes.iter().filter(|note| note.is_left_out()).count() as u64,
        planned: cx.config.dry_run,
    };
    cx.reporter.event(event).await;
}

async fn tell_notes(cx: &Context, notes: &[Note]) {
    for note in notes {
        match note {
            Note::Repository(path) => {
                let message = format!("`{path}` is a repository of its own and is not sent");
                cx.reporter.warn("sync.submodule", message, None).await;
            }
            Note::NestedWithoutCommit(path) => {
                let message = format!("`{path}` is a repository without a commit and is not sent");
                cx.reporter.warn("sync.nested", message, None).await;
            }
            Note::Special(path) => {
                let message = format!("`{path}` is a pipe, socket or device and is not sent");
                cx.reporter.warn("sync.special", message, None).await;
            }
            Note::Unfinished(what) => {
                let message = format!("a {what} is under way here: files are sent as they are");
                let hint = Some("they may hold conflict markers".to_owned());
                cx.reporter.warn("sync.unfinished", message, hint).await;
            }
            Note::LooksSecret(path) => {
                let message =
                    format!("`{path}` looks like a secret, is not ignored by git, and is sent");
                let hint = Some("ignore it in git, or use `--exclude`".to_owned());
                cx.reporter.warn("sync.secret", message, hint).await;
            }
        }
    }
}

/// Says what would be sent, and sends nothing.
pub async fn preview(cx: &Context, open: &Open) -> anyhow::Result<()> {
    let base = match &open.record.sandbox {
        Some(sandbox) => open.repo.base(&sandbox.id)?,
        None => None,
    };
    let (to, notes) = look(cx, open, base).await?;
    let push = pack(cx, open, base, to).await?;
    tell_notes(cx, &notes).await;
    tell(cx, &push, 0, &notes).await;
    Ok(())
}
