//! Put back what an apply replaced.

use super::home::tell::typed_over;
use super::open::{Open, with_site};
use super::{Context, Summary, blocking};
use crate::error::Failure;
use crate::event::{Event, EventPath, FileOp};
use crate::exit::{ErrorCode, Exit};
use crate::worktree::{Store, apply, seed, undo};

/// `sandbox-coder undo`
pub async fn undo(cx: &Context, wanted: Option<&str>) -> anyhow::Result<Summary> {
    let open = Open::locked(cx, "undo").await?;
    let (repo, run) = (open.repo.clone(), format!("{}-undo", cx.run));
    let wanted = wanted.map(str::to_owned);
    let applied = blocking(move || {
        let store = Store::open(&repo)?;
        let objects = (&repo, &store);
        let applied = with_site(&repo, &objects, |site| {
            let run_of = |word: String| -> Result<String, apply::Error> {
                Ok(undo::named(site, &word)?.unwrap_or(word))
            };
            undo::undo(site, wanted.map(run_of).transpose()?.as_deref(), &run)
        })?;
        seed::keep_modes(&repo, applied.changed.iter())?;
        Ok::<_, anyhow::Error>(applied)
    })
    .await?;
    for change in &applied.changed {
        let op = match (change.before, change.after) {
            (None, _) => FileOp::Add,
            (_, None) => FileOp::Delete,
            _ => FileOp::Modify,
        };
        {
            let mut told = cx.told();
            match op {
                FileOp::Add => told.files.added += 1,
                FileOp::Delete => told.files.deleted += 1,
                _ => told.files.modified += 1,
            }
        }
        cx.reporter
            .event(Event::File {
                path: EventPath::from(&change.path),
                op,
                bytes: None,
                id: None,
                risk: None,
                risk_classes: Vec::new(),
            })
            .await;
    }
    for late in &applied.late {
        cx.told().files.conflicts += 1;
        cx.reporter.event(typed_over(late, "edited_since")).await;
    }
    if applied.late.is_empty() {
        return Ok(Exit::Ok.into());
    }
    let message = format!("{} files were edited since and stay as they are", applied.late.len());
    Err(Failure::new(ErrorCode::SyncConflict, message)
        .hint("what is listed above was left alone; the rest is back")
        .into())
}
