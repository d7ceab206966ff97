//! Folders that git takes for a repository although nobody made one.

use std::collections::HashSet;

use super::{Class, Flag, Review};
use crate::rel_path::RelPath;
use crate::tree::Tree;

/// A folder with `HEAD`, `objects` and `refs` is a repository to git, with a configuration of its own.
pub(super) fn flag_repositories(review: &mut Review) {
    let has = |tree: &Tree, dir: &str, name: &str| {
        let at = |end: &str| RelPath::parse(format!("{dir}{name}{end}").as_bytes());
        let below = at("/x").ok().and_then(|p| p.parent());
        at("").is_ok_and(|p| tree.contains_key(&p))
            || below.is_some_and(|dir| {
                tree.range(dir.clone()..)
                    .take_while(|(p, _)| p.as_bytes().starts_with(dir.as_bytes()))
                    .any(|(p, _)| p.is_below(&dir))
            })
    };
    let mut told = HashSet::new();
    let mut flags = Vec::new();
    for change in review.changes.iter().filter(|c| c.after.is_some()) {
        let bytes = change.path.as_bytes();
        let parts: Vec<&[u8]> = bytes.split(|&b| b == b'/').collect();
        let Some(at) = parts.iter().position(|p| {
            matches!(p.to_ascii_lowercase().as_slice(), b"head" | b"objects" | b"refs")
        }) else {
            continue;
        };
        let dir = if at == 0 { Vec::new() } else { [&parts[..at].join(&b'/')[..], b"/"].concat() };
        let Ok(dir) = String::from_utf8(dir) else { continue };
        if ["HEAD", "objects", "refs"].iter().all(|name| has(&review.theirs, &dir, name))
            && told.insert(dir)
        {
            flags.push(Flag {
                path: change.path.clone(),
                class: Class::BareRepository,
                reason: "git takes its folder for a repository".into(),
            });
        }
    }
    review.flags.extend(flags);
}
