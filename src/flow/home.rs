//! The result comes home: asked for, fetched, verified, judged, merged, applied, settled.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::open::{Open, with_site};
use super::safety;
use super::sandbox::Ready;
use super::{Context, blocking};
use crate::daytona::Command;
use crate::daytona::script::Script;
use crate::error::Failure;
use crate::event::{Direction, Event, EventPath, FileOp, Phase};
use crate::exit::{ErrorCode, Exit};
use crate::rel_path::{RelPath, escape};
use crate::state::record::Held;
use crate::sync::merge::{self, MergePlan, Policy};
use crate::sync::pull::{self, Answer, Offer};
use crate::sync::records::Limits;
use crate::sync::threats::{self, Flag, Review};
use crate::tree::{Change, Oid};
use crate::worktree::apply::{self, Applied, CONFLICTS};
use crate::worktree::strangers::Strangers;
use crate::worktree::{Repo, Store, capture, patch};

/// One question over there.
const STEP: Duration = Duration::from_secs(58);
/// How long another sync over there is waited out.
const BUSY: Duration = Duration::from_secs(30);

/// The way out when the agreed state is not known here.
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
                ..threats::Options::default()
            },
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
    let Some(mut offer) = ask(cx, ready).await? else {
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
    let base = agreed_base(open, &ready.sandbox.id, &offer)?;
    if offer.tree == base {
        tell_notes(cx, &offer).await;
        phase.end(None).await;
        tell_sync(cx, 0, 0, 0).await;
        if open.record.held.as_ref().is_some_and(|h| h.sandbox_id == id) {
            open.record.held = None;
            open.save()?;
        }
        return finish(cx, open, ready, &offer, Homecoming::nothing()).await;
    }
    let records =
        pull::records(&ready.toolbox, &mut offer, base, &Limits::default(), &open.repo, STEP)
            .await
            .context("fetch the result")?;
    cx.told().bytes += offer.size;
    tell_notes(cx, &offer).await;
    phase.end(None).await;
    let deleted = records.claims.iter().filter(|c| c.after.is_none()).count() as u64;
    tell_sync(cx, records.claims.len() as u64 - deleted, deleted, offer.size).await;
    let tree = records.tree;
    let theirs = Theirs { base, tree, claims: records.claims };
    let home = settle(cx, open, ready.sandbox.id.clone(), theirs, options, run).await?;
    if home.settled && offer.can_settle() && move_base(open, ready, base, tree, offer.tree).await? {
        return finish(cx, open, ready, &offer, home).await;
    }
    Ok(home)
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
        let failure =
            Some((ErrorCode::SyncIncomplete, "files in the sandbox could not be read".to_owned()));
        return Ok(Homecoming { exit: Exit::Incomplete, failure, ..home });
    }
    let whole = offer.trouble.is_empty() && offer.nested.is_empty() && !offer.moving;
    let quiet = safety::living(open, &ready.toolbox, &ready.home, &cx.run).await?.is_none();
    if whole && quiet {
        mark_unpulled(cx, open, &ready.sandbox.id, false)?;
    }
    Ok(home)
}

/// Fetches and merges, and applies nothing: the trees of now and of then, if they differ.
pub async fn look(
    cx: &Context,
    open: &mut Open,
    ready: &Ready,
    options: &Options,
) -> anyhow::Result<Option<(Oid, Oid)>> {
    let Some(mut offer) = ask(cx, ready).await? else { return Ok(None) };
    let base = agreed_base(open, &ready.sandbox.id, &offer)?;
    if offer.tree == base {
        return Ok(None);
    }
    let records =
        pull::records(&ready.toolbox, &mut offer, base, &Limits::default(), &open.repo, STEP)
            .await
            .context("fetch the result")?;
    // Conflicts are shown as they would be taken: theirs against ours.
    let wanted = Options { policy: Policy::Theirs, ..options.clone() };
    let (repo, capture_options) = (open.repo.clone(), open.capture_options(cx));
    let decision = blocking(move || {
        let theirs = Theirs { base, tree: records.tree, claims: records.claims };
        decide(&repo, &theirs, &wanted, &capture_options)
    })
    .await?;
    Ok(Some((decision.local, decision.result)))
}

/// Finishes a result that was fetched before and held back, without fetching it again.
pub async fn bring_held(
    cx: &Context,
    open: &mut Open,
    ready: &Ready,
    held: &Held,
    options: &Options,
    run: &str,
) -> anyhow::Result<Homecoming> {
    let (base, tree): (Oid, Oid) = (held.base.parse()?, held.theirs.parse()?);
    let repo = open.repo.clone();
    let claims = blocking(move || {
        let store = Store::open(&repo)?;
        let (from, to) = (store.read_tree(base)?, store.read_tree(tree)?);
        let claim = |c: Change| threats::Claim {
            path: c.path.as_bytes().to_vec(),
            before: c.before,
            after: c.after,
        };
        anyhow::Ok(crate::tree::changes(&from, &to).into_iter().map(claim).collect::<Vec<_>>())
    })
    .await?;
    let home =
        settle(cx, open, ready.sandbox.id.clone(), Theirs { base, tree, claims }, options, run)
            .await?;
    if home.settled {
        move_base(open, ready, base, tree, tree).await?;
    }
    Ok(home)
}

/// A verified result.
struct Theirs {
    base: Oid,
    tree: Oid,
    claims: Vec<threats::Claim>,
}

/// What was decided, and what is needed to tell and to do it.
struct Decision {
    review: Review,
    plan: MergePlan,
    local: Oid,
    result: Oid,
}

/// Judges, merges and applies a verified result.
async fn settle(
    cx: &Context,
    open: &mut Open,
    sandbox_id: String,
    theirs: Theirs,
    options: &Options,
    run: &str,
) -> anyhow::Result<Homecoming> {
    let phase = cx.phase(Phase::Apply).await;
    let (base, tree) = (theirs.base, theirs.tree);
    let (repo, wanted, capture_options) =
        (open.repo.clone(), options.clone(), open.capture_options(cx));
    let decision = blocking(move || decide(&repo, &theirs, &wanted, &capture_options)).await?;
    if let Some(file) = &options.patch {
        let (git, file) = (open.repo.private_git(), file.clone());
        let (local, result) = (decision.local, decision.result);
        blocking(move || patch::write_file(git, local, result, &file))
            .await
            .context("write the patch")?;
    }
    let held =
        Held { run: run.to_owned(), sandbox_id, base: base.to_string(), theirs: tree.to_string() };
    let home = if options.no_apply {
        tell_plan(cx, &decision).await;
        Homecoming::nothing()
    } else if let Some((code, message)) = stops(&decision.plan, options) {
        tell_conflicts(cx, &decision.plan, &[]).await;
        open.repo.write_ref(&format!("refs/held/{}", held.sandbox_id), tree)?;
        open.record.held = Some(held);
        open.save()?;
        cx.told().files.conflicts = decision.plan.conflicts.len() as u64;
        Homecoming {
            exit: Exit::Conflict,
            failure: Some((code, message)),
            applied: 0,
            settled: false,
        }
    } else {
        carry_out(cx, open, decision, options, run, held).await?
    };
    phase.end(None).await;
    Ok(home)
}

/// Everything that can be known before the first change, from three trees. Blocking.
fn decide(
    repo: &Repo,
    theirs: &Theirs,
    options: &Options,
    capture_options: &capture::Options,
) -> anyhow::Result<Decision> {
    repo.still_there()?;
    let store = Store::open(repo)?;
    let captured = capture::capture(repo, capture_options).context("read the worktree")?;
    let (base, local) = (store.read_tree(theirs.base)?, store.read_tree(captured.tree)?);
    // What is larger is neither text to merge nor a file of settings; its beginning says so.
    let most = merge::TEXT_MAX as u64 + 1;
    let content = |id: &Oid| store.read_start(*id, most).map_err(std::io::Error::other);
    let mut wanted = options.threats.clone();
    wanted.hooks = hooks_folder(repo)?;
    let review = threats::review(&base, &local, &theirs.claims, &content, &wanted)?.accept()?;
    if store.write_tree(&review.theirs)? != theirs.tree {
        return Err(crate::sync::Error::Inconsistent.into());
    }
    let strangers = Strangers::new(repo.top(), &local)?;
    let inputs = merge::Inputs {
        base: &base,
        local: &local,
        theirs: &review.theirs,
        held: &review.held,
        content: &content,
        disk: &|path: &RelPath| strangers.at(path),
    };
    let plan = merge::plan(
        inputs,
        merge::Options { policy: options.policy, allow_mass_delete: options.allow_mass_delete },
    )?;
    for (id, bytes) in &plan.merged {
        if store.write_blob(bytes)? != *id {
            return Err(crate::sync::Error::Inconsistent.into());
        }
    }
    let result = store.write_tree(&plan.result)?;
    Ok(Decision { review, plan, local: captured.tree, result })
}

/// The live hooks folder, if it lies in the worktree.
fn hooks_folder(repo: &Repo) -> anyhow::Result<Option<RelPath>> {
    use std::os::unix::ffi::OsStrExt;
    let Some(path) = repo.hooks_path()? else { return Ok(None) };
    let inside = path.strip_prefix(repo.top()).ok().map(|p| p.as_os_str().as_bytes().to_vec());
    Ok(inside.and_then(|raw| RelPath::parse(&raw).ok()))
}

/// Whether nothing may be applied.
fn stops(plan: &MergePlan, options: &Options) -> Option<(ErrorCode, String)> {
    if let Some(mass) = &plan.mass_delete {
        let message = format!(
            "the result deletes {} of {} files; nothing was applied",
            mass.deleted, mass.of
        );
        return Some((ErrorCode::SyncMassDelete, message));
    }
    if options.policy == Policy::Hold && !plan.conflicts.is_empty() {
        return Some((
            ErrorCode::SyncConflict,
            clash_words(plan.conflicts.len(), "nothing was applied"),
        ));
    }
    None
}

fn clash_words(count: usize, then: &str) -> String {
    let paths = if count == 1 { "1 path".to_owned() } else { format!("{count} paths") };
    format!("{paths} in conflict; {then}")
}

async fn carry_out(
    cx: &Context,
    open: &mut Open,
    decision: Decision,
    options: &Options,
    run: &str,
    held: Held,
) -> anyhow::Result<Homecoming> {
    let plan = apply::Plan {
        run: run.to_owned(),
        steps: decision.plan.steps.clone(),
        asides: decision.plan.asides.clone(),
        all_or_nothing: options.policy == Policy::Hold,
    };
    let repo = open.repo.clone();
    let applied = blocking(move || {
        repo.still_there()?;
        let store = Store::open(&repo)?;
        let objects = (&repo, &store);
        with_site(&repo, &objects, |site| apply::apply(site, &plan))
    })
    .await
    .context("apply the result")?;
    tell_applied(cx, &decision, &applied).await;
    let clashes = decision.plan.conflicts.len() + applied.late.len();
    cx.told().files.conflicts += clashes as u64;
    let count = applied.changed.len() as u64;
    if !applied.late.is_empty() {
        // Somebody typed while we applied: their bytes stay, the result waits.
        open.repo.write_ref(&format!("refs/held/{}", held.sandbox_id), held.theirs.parse()?)?;
        open.record.held = Some(held);
        open.save()?;
    } else {
        open.record.held = None;
        open.save()?;
    }
    let settled = applied.late.is_empty();
    if clashes > 0 {
        let then = if settled { "the sandbox's versions are aside" } else { "yours stayed" };
        let failure = Some((ErrorCode::SyncConflict, clash_words(clashes, then)));
        return Ok(Homecoming { exit: Exit::Conflict, failure, applied: count, settled });
    }
    Ok(Homecoming { exit: Exit::Ok, failure: None, applied: count, settled })
}

/// Asks the sandbox; `None` if nothing was ever sent there.
async fn ask(cx: &Context, ready: &Ready) -> anyhow::Result<Option<Offer>> {
    let began = std::time::Instant::now();
    loop {
        let mut script = Script::new();
        pull::add_to(&mut script, &Limits::default());
        let command = Command::new(script.command(), STEP).repeatable();
        let answer =
            ready.toolbox.execute(&command).await.context("ask the sandbox what changed")?;
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

/// The base of an offer, if it is one we know.
fn agreed_base(open: &Open, sandbox_id: &str, offer: &Offer) -> anyhow::Result<Oid> {
    let ours = open.repo.base(sandbox_id)?;
    if ours == Some(offer.base)
        || offer.base == Oid::EMPTY_TREE
        || Store::open(&open.repo)?.has(offer.base)
    {
        return Ok(offer.base);
    }
    let message = "the sandbox was last used from elsewhere, and that state is not known here";
    Err(Failure::new(ErrorCode::SandboxUnpulledWork, message).hint(RESYNC).into())
}

/// Forgets over there what was agreed and what was cut short; the files stay as they are. What is asked for
/// next then is all of them, held against nothing: what differs from here clashes, and nothing is lost.
pub async fn forget(cx: &Context, ready: &Ready) -> anyhow::Result<()> {
    let mut script = Script::new();
    pull::add_forget(&mut script);
    let command = Command::new(script.command(), STEP).repeatable();
    let answer = ready.toolbox.execute(&command).await.context("forget the base in the sandbox")?;
    if let Some(aside) = pull::heard_forget(&answer.result)? {
        let message = format!("a sync that was cut short had put files aside in `{aside}`");
        cx.reporter.warn("sync.aside", message, None).await;
    }
    Ok(())
}

/// Both sides now agree on what was fetched. A sandbox that changed meanwhile keeps its old base; the next
/// fetch then brings the same again, and finds it already here.
/// `seen` is what the sandbox calls it.
async fn move_base(
    open: &Open,
    ready: &Ready,
    from: Oid,
    to: Oid,
    seen: Oid,
) -> anyhow::Result<bool> {
    let mut script = Script::new();
    pull::add_settle(&mut script, from, to, seen);
    let command = Command::new(script.command(), STEP).repeatable();
    let answer =
        ready.toolbox.execute(&command).await.context("settle the result in the sandbox")?;
    let moved = pull::heard_settle(&answer.result);
    if moved {
        open.repo.set_base(&ready.sandbox.id, to)?;
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

async fn tell_sync(cx: &Context, files: u64, deleted: u64, bytes: u64) {
    let event =
        Event::Sync { direction: Direction::Out, full: false, files, bytes, deleted, skipped: 0 };
    cx.reporter.event(event).await;
}

async fn tell_notes(cx: &Context, offer: &Offer) {
    if offer.moving {
        cx.reporter
            .warn("sync.moving", "something in the sandbox still writes into the workspace", None)
            .await;
    }
    for path in &offer.nested {
        let message = format!(
            "`{}` is a repository of its own in the sandbox and is not fetched",
            escape(path.as_bytes())
        );
        cx.reporter.warn("sync.nested", message, None).await;
    }
    if let Some(line) = offer.trouble.lines().find(|l| !l.trim().is_empty()) {
        let message = format!("git in the sandbox complains: {}", escape(line.as_bytes()));
        cx.reporter.warn("sync.trouble", message, None).await;
    }
}

fn operation(change: &Change) -> FileOp {
    match (change.before, change.after) {
        (None, _) => FileOp::Add,
        (_, None) => FileOp::Delete,
        (Some(before), Some(after)) if before.id == after.id => FileOp::Mode,
        _ => FileOp::Modify,
    }
}

fn file_event(change: &Change, flags: &[Flag]) -> Event {
    let risk = flags.iter().find(|f| f.path == change.path).map(|f| f.reason.clone());
    Event::File {
        path: EventPath::from(&change.path),
        op: operation(change),
        bytes: None,
        id: change.after.map(|e| e.id.to_string()),
        risk,
    }
}

async fn tell_plan(cx: &Context, decision: &Decision) {
    for change in &decision.plan.steps {
        cx.reporter.event(file_event(change, &decision.review.flags)).await;
    }
    tell_conflicts(cx, &decision.plan, &[]).await;
}

async fn tell_applied(cx: &Context, decision: &Decision, applied: &Applied) {
    for change in &applied.changed {
        {
            let mut told = cx.told();
            match operation(change) {
                FileOp::Add => told.files.added += 1,
                FileOp::Delete => told.files.deleted += 1,
                FileOp::Modify | FileOp::Mode => told.files.modified += 1,
            }
        }
        cx.reporter.event(file_event(change, &decision.review.flags)).await;
    }
    tell_conflicts(cx, &decision.plan, &applied.asides).await;
    for late in &applied.late {
        let event = Event::Conflict {
            path: EventPath::from(&late.step.path),
            kind: "edited_meanwhile".into(),
            base: late.step.before.map(|e| e.id.to_string()),
            local: None,
            theirs: late.step.after.map(|e| e.id.to_string()),
            saved_to: late.saved_to.as_ref().map(ToString::to_string),
        };
        cx.reporter.event(event).await;
    }
    for path in &applied.rescued {
        let message = format!("what lay in the way is kept as `{path}`");
        cx.reporter.warn("apply.rescued", message, None).await;
    }
    for path in &decision.plan.skipped {
        let message = format!("the repository `{path}` differs and is left alone");
        cx.reporter.warn("sync.submodule", message, None).await;
    }
}

async fn tell_conflicts(cx: &Context, plan: &MergePlan, asides: &[(RelPath, RelPath)]) {
    for conflict in &plan.conflicts {
        let saved_to =
            asides.iter().find(|(path, _)| *path == conflict.path).map(|(_, to)| to.to_string());
        let id = |entry: Option<crate::tree::Entry>| entry.map(|e| e.id.to_string());
        let event = Event::Conflict {
            path: EventPath::from(&conflict.path),
            kind: conflict.kind.name().to_owned(),
            base: id(conflict.base),
            local: id(conflict.local),
            theirs: id(conflict.theirs),
            saved_to,
        };
        cx.reporter.event(event).await;
    }
    if asides.iter().any(|(_, to)| to.as_bytes().starts_with(CONFLICTS.as_bytes())) {
        let message =
            format!("the sandbox's versions of conflicting files are below `{CONFLICTS}`");
        cx.reporter.warn("sync.aside", message, None).await;
    }
}
