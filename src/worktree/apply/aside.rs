//! The place for versions that have none: `.sandbox-coder/conflicts/<run>/`.

use std::io::{self, Write};

use super::hands::Hands;
use super::{Error, failed};
use crate::rel_path::RelPath;
use crate::tree::{Entry, Mode};
use crate::worktree::confined::Dir;
use crate::worktree::found::blob_id;

/// Where versions are put aside, relative to the worktree. It holds a `.gitignore`, so no snapshot takes it in.
pub const CONFLICTS: &str = ".sandbox-coder/conflicts";

/// Makes sure that the place exists and git does not see it.
pub(super) fn prepare(hands: &Hands<'_>, asides: &[(RelPath, Entry)]) -> Result<(), Error> {
    if asides.is_empty() {
        return Ok(());
    }
    hide(hands)
}

fn hide(hands: &Hands<'_>) -> Result<(), Error> {
    let ignore =
        RelPath::parse(format!("{CONFLICTS}/.gitignore").as_bytes()).expect("a plain name");
    let write = || match hands.make_dir(ignore.parent())?.create(ignore.file_name(), 0o666) {
        Ok(mut file) => file.write_all(b"*\n"),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    };
    write().map_err(failed("create", &ignore))
}

/// Puts a version aside as a plain file (of a link, its target), and tells where. The same version
/// twice is one file.
pub(super) fn put(hands: &Hands<'_>, path: &RelPath, entry: Entry) -> Result<RelPath, Error> {
    hide(hands)?;
    for place in places(hands, path, "") {
        let put = || {
            let dir = hands.make_dir(place.parent())?;
            match dir.create(place.file_name(), 0o666) {
                Ok(mut file) => hands.fill(&mut file, entry).map(|()| true).inspect_err(|_| {
                    let _ = dir.unlink(place.file_name());
                }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    let there = dir.look(place.file_name())?.entry();
                    Ok(there.is_some_and(|t| t.mode != Mode::Link && t.id == entry.id))
                }
                Err(e) => Err(e),
            }
        };
        if put().map_err(failed("put aside", &place))? {
            return Ok(place);
        }
    }
    let full = io::Error::new(io::ErrorKind::AlreadyExists, "no free name");
    Err(failed("put aside", path)(full))
}

/// Moves a file that lost its place there, and tells where.
pub(super) fn keep(
    hands: &Hands<'_>,
    from: &Dir,
    name: &[u8],
    path: &RelPath,
) -> Result<RelPath, Error> {
    hide(hands)?;
    for place in places(hands, path, ".local") {
        let moved = hands
            .make_dir(place.parent())
            .and_then(|dir| from.move_new(name, &dir, place.file_name()));
        match moved {
            Ok(()) => return Ok(place),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(failed("keep", &place)(e)),
        }
    }
    let full = io::Error::new(io::ErrorKind::AlreadyExists, "no free name");
    Err(failed("keep", path)(full))
}

/// The path's place and its alternatives; a name too long for the disk gets a short one.
fn places(hands: &Hands<'_>, path: &RelPath, suffix: &str) -> impl Iterator<Item = RelPath> {
    let top = format!("{CONFLICTS}/{}/", hands.run);
    let too_long =
        path.file_name().len() + suffix.len() + 4 > 255 || top.len() + path.as_bytes().len() > 4000;
    let name = if too_long {
        blob_id(path.as_bytes()).to_string().into_bytes()
    } else {
        path.as_bytes().to_vec()
    };
    let place = [top.as_bytes(), &name, suffix.as_bytes()].concat();
    (0..100).map(move |n| {
        let end = if n == 0 { String::new() } else { format!(".{n}") };
        RelPath::parse(&[&place[..], end.as_bytes()].concat())
            .expect("a checked path below a plain one")
    })
}
