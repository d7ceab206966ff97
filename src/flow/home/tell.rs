//! A result, as events.

use super::decide::Decision;
use crate::event::{Direction, Event, EventPath, FileOp};
use crate::flow::Context;
use crate::rel_path::{RelPath, escape};
use crate::sync::ignored::Ignored;
use crate::sync::merge::{Conflict, MergePlan};
use crate::sync::pull::Offer;
use crate::sync::threats::Flag;
use crate::tree::Change;
use crate::worktree::apply::{Applied, CONFLICTS, Late};

/// A transfer from over there.
pub async fn sync(cx: &Context, files: u64, deleted: u64, bytes: u64) {
    let event = Event::Sync {
        direction: Direction::Out,
        full: false,
        files,
        bytes,
        deleted,
        skipped: 0,
        planned: false,
    };
    cx.reporter.event(event).await;
}

/// What the sandbox said beside its result.
pub async fn notes(cx: &Context, offer: &Offer) {
    if offer.moving {
        cx.reporter
            .warn("sync.moving", "something in the sandbox still writes into the workspace", None)
            .await;
    }
    for path in &offer.nested {
        let message = format!(
            "`{}` is a repository of its own in the sandbox and is not fetched; `pull` brings its files once its `.git` is \
             moved away (`exec --no-sync -- …`)",
            escape(path.as_bytes())
        );
        cx.reporter.warn("sync.nested", message, None).await;
    }
    if let Some(message) = kept_back(&offer.ignored) {
        cx.reporter.warn("sync.ignored", message, None).await;
    }
    if let Some(line) = offer.trouble.lines().find(|l| !l.trim().is_empty()) {
        let message = format!("git in the sandbox complains: {}", escape(line.as_bytes()));
        cx.reporter.warn("sync.trouble", message, None).await;
    }
}

/// What stays in the sandbox because its ignore files were edited.
fn kept_back(ignored: &Ignored) -> Option<String> {
    const SHOWN: usize = 5;
    let name = |name: &Vec<u8>| format!("`{}`", escape(name));
    let names: Vec<String> = ignored.names.iter().take(SHOWN).map(name).collect();
    let more = match ignored.names.len() - names.len() {
        _ if names.is_empty() => return None,
        more if ignored.cut => format!(" and at least {more} more"),
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names = names.join(", ");
    Some(format!("an edited `.gitignore` keeps {names}{more} in the sandbox: not fetched"))
}

fn operation(change: &Change) -> FileOp {
    match (change.before, change.after) {
        (None, _) => FileOp::Add,
        (_, None) => FileOp::Delete,
        (Some(before), Some(after)) if before.id == after.id => FileOp::Mode,
        _ => FileOp::Modify,
    }
}

/// A change, with what was flagged at its path.
pub fn file_event(change: &Change, flags: &[Flag]) -> Event {
    let risks: Vec<&Flag> = flags.iter().filter(|f| f.path == change.path).collect();
    let reasons: Vec<&str> = risks.iter().map(|f| f.reason.as_str()).collect();
    Event::File {
        path: EventPath::from(&change.path),
        op: operation(change),
        bytes: None,
        id: change.after.map(|e| e.id.to_string()),
        risk: Some(reasons.join("; ")).filter(|words| !words.is_empty()),
        risk_classes: risks.iter().map(|f| f.class.name()).collect(),
    }
}

/// What would be done.
pub async fn plan(cx: &Context, decision: &Decision) {
    for change in &decision.plan.steps {
        cx.reporter.event(file_event(change, &decision.review.flags)).await;
    }
    conflicts(cx, &decision.plan, &[]).await;
}

/// What was done.
pub async fn applied(cx: &Context, decision: &Decision, applied: &Applied) {
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
    conflicts(cx, &decision.plan, &applied.asides).await;
    for late in &applied.late {
        cx.reporter.event(typed_over(late, "edited_meanwhile")).await;
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

/// What both sides changed, and where their version lies if it was put aside.
pub fn conflict_event(conflict: &Conflict, saved_to: Option<&RelPath>) -> Event {
    let id = |entry: Option<crate::tree::Entry>| entry.map(|e| e.id.to_string());
    Event::Conflict {
        path: EventPath::from(&conflict.path),
        kind: conflict.kind.name().to_owned(),
        reason: conflict.kind.reason().map(str::to_owned),
        base: id(conflict.base),
        local: id(conflict.local),
        theirs: id(conflict.theirs),
        saved_to: saved_to.map(RelPath::to_string),
    }
}

/// What both sides changed, and where the other version lies.
pub async fn conflicts(cx: &Context, plan: &MergePlan, asides: &[(RelPath, RelPath)]) {
    for conflict in &plan.conflicts {
        let saved_to = asides.iter().find(|(path, _)| *path == conflict.path).map(|(_, to)| to);
        cx.reporter.event(conflict_event(conflict, saved_to)).await;
    }
    if asides.iter().any(|(_, to)| to.as_bytes().starts_with(CONFLICTS.as_bytes())) {
        let message =
            format!("the sandbox's versions of conflicting files are below `{CONFLICTS}`");
        cx.reporter.warn("sync.aside", message, None).await;
    }
}

/// A path that somebody wrote to before a step of ours came to it.
pub fn typed_over(late: &Late, kind: &str) -> Event {
    Event::Conflict {
        path: EventPath::from(&late.step.path),
        kind: kind.to_owned(),
        reason: None,
        base: late.step.before.map(|e| e.id.to_string()),
        local: None,
        theirs: late.step.after.map(|e| e.id.to_string()),
        saved_to: late.saved_to.as_ref().map(ToString::to_string),
    }
}
