//! A sandbox without git, also one that is busybox and nothing else.

use sandbox_coder::rel_path::escape;
use sandbox_coder::sync::push::Pushed;
use sandbox_coder::worktree::store::tree_id;

use crate::support::far::{Far, Pair, Tools};
use crate::support::repo::{RepoBuilder, listing};

/// The kinds of sandbox without git that this machine can play.
fn without_git(test: impl Fn(Far)) {
    for tools in [Tools::Bare, Tools::Without("git")] {
        match Far::with(tools) {
            Some(far) => test(far),
            None => eprintln!("skipped: this machine has no {tools:?}"),
        }
    }
}

const ALREADY: Pushed = Pushed::Ok { already: true, aside: None };
const NOTHING: [&str; 0] = [];

#[test]
fn an_odd_tree_arrives_and_comes_back() {
    without_git(|far| {
        let repo = RepoBuilder::new();
        repo.odd()
            .file("newline at the end\n", "1")
            .file("\\n", "1")
            .file("a\\\nb\\\\\n\nc", "1")
            .file("\u{1}\r\t", "1");
        let mut pair = Pair::new(repo, far);
        pair.push();
        pair.same();
        assert_eq!(pair.differs(), NOTHING);
        assert_eq!(pair.far.push(&pair.plan()), ALREADY);
        // All of it changes, so all of it is told.
        pair.far.agent("find . -type f -exec sh -c 'for f do echo more >>\"$f\"; done' sh {} +; find . -type l -exec sh -c 'for f do rm \"$f\"; ln -s \"t\n$f\n\" \"$f\"; done' sh {} +");
        let (_, records, tree) = pair.pull();
        assert_eq!(records.claims.len(), listing(pair.repo.path()).len());
        assert_eq!(records.tree, tree_id(&tree));
        for (name, _, content) in listing(&pair.far.workspace()) {
            let path = sandbox_coder::rel_path::RelPath::parse(&name).unwrap();
            let entry = tree.get(&path).unwrap_or_else(|| panic!("{}", escape(&name)));
            assert_eq!(pair.store().read_blob(entry.id).unwrap(), content, "{}", escape(&name));
        }
    });
}
