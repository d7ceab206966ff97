//! Back again: the same engine with before and after swapped.
//!
//! So it overwrites nothing that was edited since, and can itself be undone.

use super::apply::{Applied, Error, Plan, Site, carry_out};
use super::journal::{Journal, Run, Shelf};
use crate::tree::Change;

/// The runs that changed files, the newest first.
pub fn runs(site: &Site<'_>) -> Result<Vec<Run>, Error> {
    Shelf::at(site.state).runs().map_err(|source| unreadable(site, source))
}

/// The full name of the run whose name begins with `word`, also of one that can no longer be undone.
pub fn named(site: &Site<'_>, word: &str) -> Result<Option<String>, Error> {
    let known = runs(site)?.into_iter().map(|run| run.run);
    let forgotten = Shelf::at(site.state).forgotten().into_iter().rev();
    Ok(known.chain(forgotten).find(|run| run.starts_with(word)))
}

/// Takes back what `run` changed (the newest run for `None`), as a run of its own named `new_run`.
/// Paths edited since stay as they are and are listed as late.
pub fn undo(site: &Site<'_>, run: Option<&str>, new_run: &str) -> Result<Applied, Error> {
    let of = match run {
        Some(run) => run.to_owned(),
        None => runs(site)?.into_iter().next().map(|r| r.run).ok_or(Error::NothingDone)?,
    };
    let journal = find(site, &of)?;
    let swap =
        |step: &Change| Change { path: step.path.clone(), before: step.after, after: step.before };
    let plan = Plan {
        run: new_run.to_owned(),
        steps: journal.steps.iter().map(swap).collect(),
        ..Plan::default()
    };
    carry_out(site, &plan, Some(of))
}

fn find(site: &Site<'_>, run: &str) -> Result<Journal, Error> {
    if !super::journal::is_run_id(run) {
        return Err(Error::NoRun(run.to_owned()));
    }
    let found = Shelf::at(site.state).finished(run).map_err(|source| unreadable(site, source))?;
    found.ok_or_else(|| match Shelf::at(site.state).forgotten().iter().any(|name| name == run) {
        true => Error::Forgotten(run.to_owned()),
        false => Error::NoRun(run.to_owned()),
    })
}

fn unreadable(site: &Site<'_>, source: std::io::Error) -> Error {
    Error::Io { doing: "read", path: site.state.join("journal").display().to_string(), source }
}
