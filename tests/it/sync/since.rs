//! A sandbox that another host went on with tells what differs from a tree that came before its base.

use sandbox_coder::daytona::script::Script;
use sandbox_coder::sync::pull::{self, Answer, Offer};
use sandbox_coder::sync::records::Limits;
use sandbox_coder::tree::{Oid, Tree};

use crate::support::far::{Far, Pair, Tools};
use crate::support::repo::RepoBuilder;

/// A pair whose sandbox went on from the first tree to a second one, and was worked in since.
fn moved_on(far: Far) -> (Pair, Oid) {
    let repo = RepoBuilder::new();
    repo.file(".gitignore", "*.log\n").file("kept.log", "sent on purpose").git(&["add", "-f", "."]);
    repo.file("same", "s").file("changed", "1").file("gone", "g").link("link", "same");
    repo.file("folder/a", "a").exec("tool", "t").file("back", "b");
    let mut pair = Pair::new(repo, far);
    let first = pair.push().to;
    pair.repo.file("changed", "2").remove("gone").file("new", "n").exec("folder/a", "a");
    pair.repo.remove("link").file("link/is a\nfolder", "f").remove("back");
    pair.push();
    pair.far.agent("echo agent >made; echo b >back; printf b >back; rm tool; ln -s same tool");
    (pair, first)
}

fn ask(pair: &Pair, since: Oid) -> Offer {
    let mut script = Script::new();
    pull::add_since(&mut script, &Limits::default(), since);
    let said = pair.far.run(&script);
    match pull::heard(&said) {
        Ok(Answer::Out(offer)) => *offer,
        other => panic!("{other:?}\n{said}"),
    }
}

/// The sandbox's tree, from what it tells of the time since `since`, and how many paths it told.
fn told(pair: &Pair, since: Oid) -> (Oid, Tree, usize) {
    let mut offer = ask(pair, since);
    assert_eq!(Some(offer.base), pair.base);
    let records = pair.records(&mut offer);
    let store = pair.store();
    let tree = pull::theirs(&store.read_tree(offer.from).unwrap(), &records.claims).unwrap();
    for (path, entry) in &tree {
        assert!(store.has(entry.id), "the content of {path} did not come");
    }
    (offer.from, tree, records.claims.len())
}

#[test]
fn what_differs_from_an_earlier_tree_comes_with_its_contents() {
    for tools in [Tools::Shell("sh"), Tools::Busybox, Tools::Bare] {
        let Some(far) = Far::with(tools) else {
            eprintln!("skipped: this machine has no {tools:?}");
            continue;
        };
        let (pair, first) = moved_on(far);
        let (_, _, now) = pair.pull();
        let (from, tree, told) = told(&pair, first);
        assert_eq!((from, &tree), (first, &now), "{tools:?}");
        // changed, gone, new, link and what is below it, folder/a, made, tool; what came back is the same.
        assert_eq!(told, 8, "{tools:?}");
    }
}

#[test]
fn a_tree_that_the_sandbox_never_had_makes_it_tell_all_it_has() {
    let (pair, _) = moved_on(Far::new());
    let (_, _, now) = pair.pull();
    let (from, tree, told) = told(&pair, Oid([7; 20]));
    assert_eq!((from, &tree, told), (Oid::EMPTY_TREE, &now, now.len()));
}

#[test]
fn an_empty_workspace_differs_from_an_earlier_tree_by_all_of_it() {
    for tools in [Tools::Shell("sh"), Tools::Bare] {
        let Some(far) = Far::with(tools) else { continue };
        let (pair, first) = moved_on(far);
        pair.far.agent("rm -rf ./* .gitignore");
        let (from, tree, told) = told(&pair, first);
        assert_eq!((from, tree.len(), told), (first, 0, 9), "{tools:?}");
    }
}
