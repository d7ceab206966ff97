//! What `pull` would change, without changing anything.

use serde::Serialize;

use super::home::{self, Options, Shown, held};
use super::open::Open;
use super::service::Service;
use super::{Context, blocking, pull};
use crate::event::Event;
use crate::worktree::patch::{self, Form};

/// What a `pull` would change.
#[derive(Debug, Serialize)]
pub struct Diff {
    /// A `file` event for each change.
    pub files: Vec<Event>,
    /// A `conflict` event for each path that `pull` would ask about or hold back.
    pub conflicts: Vec<Event>,
    /// All of it as text for people, with the sandbox's version of what clashes.
    #[serde(rename = "diff", serialize_with = "lossy")]
    pub text: Vec<u8>,
}

fn lossy<S: serde::Serializer>(text: &[u8], out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&String::from_utf8_lossy(text))
}

/// `sandbox-coder diff`
pub async fn diff(cx: &Context, wanted: Option<&str>, colour: bool) -> anyhow::Result<Diff> {
    let mut open = Open::locked(cx, "diff").await?;
    let options = Options { no_apply: true, patch: None, ..Options::of(cx)? };
    let Shown { trees, files, conflicts } = look(cx, &mut open, wanted, &options).await?;
    let Some((now, then)) = trees else { return Ok(Diff { files, conflicts, text: Vec::new() }) };
    let git = open.repo.private_git();
    blocking(move || {
        let mut text = Vec::new();
        patch::write(git, now, then, Form::Text { color: colour }, &mut text)?;
        Ok(Diff { files, conflicts, text })
    })
    .await
}

/// What there is to see.
async fn look(
    cx: &Context,
    open: &mut Open,
    wanted: Option<&str>,
    options: &Options,
) -> anyhow::Result<Shown> {
    // What waits here comes first in a `pull`, and is shown without asking anybody.
    if let Some(waits) = held::waiting(open, wanted) {
        return held::look(cx, open, &waits, options).await;
    }
    let service = cx.until_signal(Service::connect(cx)).await?;
    let ready = cx.until_signal(pull::reach(cx, open, &service, wanted)).await?;
    home::look(cx, open, &ready, options).await
}
