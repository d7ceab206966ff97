//! Odd trees, there and back, byte for byte.

use crate::support::far::{Far, Pair, Tools};
use crate::support::repo::RepoBuilder;

/// The kinds of sandbox this machine can play.
fn everywhere(test: impl Fn(Far)) {
    for tools in [
        Tools::Shell("sh"),
        Tools::Shell("dash"),
        Tools::Shell("bash"),
        Tools::Shell("zsh"),
        Tools::Busybox,
    ] {
        match Far::with(tools) {
            Some(far) => test(far),
            None => eprintln!("skipped: this machine has no {tools:?}"),
        }
    }
}

#[test]
fn an_odd_tree_arrives_and_comes_back() {
    everywhere(|far| {
        let repo = RepoBuilder::new();
        repo.odd().commit();
        let mut pair = Pair::new(repo, far);
        pair.push();
        pair.same();
        assert_eq!(pair.differs(), [""; 0]);
        pair.push();
        pair.same();
    });
}
