//! What `pull` would change, without changing anything.

use super::home::{self, Options, held};
use super::open::Open;
use super::service::Service;
use super::{Context, blocking, pull};
use crate::tree::Oid;
use crate::worktree::patch::{self, Form};

/// `sandbox-coder diff`: a diff as text for people.
pub async fn diff(cx: &Context, wanted: Option<&str>, colour: bool) -> anyhow::Result<Vec<u8>> {
    let mut open = Open::locked(cx, "diff").await?;
    let options = Options { no_apply: true, patch: None, ..Options::of(cx)? };
    let Some((local, result)) = look(cx, &mut open, wanted, &options).await? else {
        return Ok(Vec::new());
    };
    let git = open.repo.private_git();
    blocking(move || {
        let mut text = Vec::new();
        patch::write(git, local, result, Form::Text { color: colour }, &mut text)?;
        Ok(text)
    })
    .await
}

/// The worktree's tree now and after a `pull`, if they differ.
async fn look(
    cx: &Context,
    open: &mut Open,
    wanted: Option<&str>,
    options: &Options,
) -> anyhow::Result<Option<(Oid, Oid)>> {
    // What waits here comes first in a `pull`, and is shown without asking anybody.
    if let Some(waits) = held::waiting(open, wanted) {
        return held::look(cx, open, &waits, options).await.map(Some);
    }
    let service = cx.until_signal(Service::connect(cx)).await?;
    let ready = cx.until_signal(pull::reach(cx, open, &service, wanted)).await?;
    home::look(cx, open, &ready, options).await
}
