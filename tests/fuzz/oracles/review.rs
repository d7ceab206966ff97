//! The judge of a whole set of changes: what it lets pass can be written without leaving the worktree.

use std::collections::HashMap;

use sandbox_coder::rel_path::RelPath;
use sandbox_coder::sync::threats::{self, Claim, Options, names};
use sandbox_coder::tree::{Entry, Mode, Oid, Tree};

use super::bytes::Bytes;
use super::names::{inside, prints};
use super::stream::blob_id;

struct World {
    contents: HashMap<Oid, Vec<u8>>,
}

impl World {
    fn entry(&mut self, bytes: &mut Bytes<'_>) -> Entry {
        let mode = [Mode::File, Mode::Exec, Mode::Link, Mode::Gitlink][bytes.below(4)];
        let content = bytes.run().to_vec();
        let id = blob_id(&content);
        self.contents.insert(id, content);
        Entry { mode, id }
    }

    /// A tree as git could have made it: no entry below another.
    fn tree(&mut self, bytes: &mut Bytes<'_>) -> Tree {
        let mut tree = Tree::new();
        for _ in 0..bytes.below(6) {
            let (path, entry) = (RelPath::parse(bytes.run()), self.entry(bytes));
            let Ok(path) = path else { continue };
            let free = !path.ancestors().any(|dir| tree.contains_key(&dir))
                && !tree.keys().any(|p| p.is_below(&path));
            if free {
                tree.insert(path, entry);
            }
        }
        tree
    }
}

pub fn check(input: &[u8]) {
    let mut bytes = Bytes(input);
    let flags = bytes.byte();
    let options = Options {
        block_risky: flags & 1 != 0,
        allow_risky: flags & 2 != 0,
        allow_external_links: flags & 4 != 0,
        case_insensitive: flags & 8 != 0,
        hooks: RelPath::parse(b"hooks").ok().filter(|_| flags & 16 != 0).into_iter().collect(),
    };
    let mut world = World { contents: HashMap::new() };
    let base = world.tree(&mut bytes);
    let mut local = base.clone();
    for (path, entry) in world.tree(&mut bytes) {
        let free = !path.ancestors().any(|dir| local.contains_key(&dir))
            && !local.keys().any(|p| p.is_below(&path));
        if free {
            local.insert(path, entry);
        }
    }
    let mut claims = Vec::new();
    while !bytes.is_empty() && claims.len() < 32 {
        let kind = bytes.byte();
        let path = match base.keys().nth(usize::from(kind >> 4)) {
            Some(known) if kind & 4 != 0 => known.as_bytes().to_vec(),
            _ => bytes.run().to_vec(),
        };
        let known = RelPath::parse(&path).ok().and_then(|p| base.get(&p).copied());
        let before = if kind & 8 != 0 { None } else { known };
        let after = (kind & 1 == 0).then(|| world.entry(&mut bytes));
        claims.push(Claim { path, before, after });
    }
    if flags & 32 == 0 {
        claims.sort_by(|a, b| a.path.cmp(&b.path));
    }
    let content = |id: &Oid| Ok(world.contents[id].clone());
    let review = threats::review(&base, &local, &claims, &content, &options).unwrap();
    let review = match review.accept() {
        Ok(review) => review,
        Err(refused) => return prints_plainly(&refused.to_string()),
    };
    for path in review.theirs.keys().filter(|p| !base.contains_key(*p)) {
        inside(path);
        assert_eq!(names::check(path.as_bytes()).as_ref(), Ok(path));
        prints(path.as_bytes());
    }
    for change in &review.changes {
        // What is held back or listed only is not written.
        let left = review.held.contains_key(&change.path) || review.skipped.contains(&change.path);
        let taken = change.after.filter(|_| !left);
        for above in change.path.ancestors().filter(|_| change.after.is_some()) {
            let over = review.theirs.get(&above).map(|e| e.mode);
            assert!(matches!(over, None | Some(Mode::Gitlink)), "written through `{above}`");
        }
        if let Some(link) = taken.filter(|e| e.mode == Mode::Link) {
            link_stays_inside(&change.path, &world.contents[&link.id], &options);
        }
    }
    review.flags.iter().for_each(|flag| prints_plainly(&flag.reason));
}

/// By its letters alone, whatever other links there are.
fn link_stays_inside(path: &RelPath, target: &[u8], options: &Options) {
    assert!(!target.is_empty() && !target.contains(&0));
    if options.allow_external_links {
        return;
    }
    assert!(!target.starts_with(b"/"), "an absolute link");
    let mut depth = path.components().count() as isize - 1;
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => depth -= 1,
            part => {
                assert!(!names::is_dot_git(part), "a link into the repository's folder");
                depth += 1;
            }
        }
        assert!(depth >= 0, "a link out of the worktree");
    }
}

fn prints_plainly(words: &str) {
    assert!(!words.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}')));
}
