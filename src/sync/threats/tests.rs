//! Table of threats, row by row, on whole sets of claims.

use std::collections::HashMap;

use super::*;
use crate::worktree::found::blob_id;

#[derive(Default)]
struct World {
    contents: HashMap<Oid, Vec<u8>>,
    base: Tree,
    local: Option<Tree>,
    claims: Vec<Claim>,
    options: Options,
}

fn p(name: &str) -> RelPath {
    RelPath::parse(name.as_bytes()).unwrap()
}

impl World {
    fn entry(&mut self, mode: Mode, text: &str) -> Entry {
        let id = blob_id(text.as_bytes());
        self.contents.insert(id, text.as_bytes().to_vec());
        Entry { mode, id }
    }

    fn base(mut self, path: &str, mode: Mode, text: &str) -> Self {
        let entry = self.entry(mode, text);
        self.base.insert(p(path), entry);
        self
    }

    fn local(mut self, path: &str, mode: Mode, text: &str) -> Self {
        let entry = self.entry(mode, text);
        self.local.get_or_insert_with(|| self.base.clone()).insert(p(path), entry);
        self
    }

    fn claim(mut self, path: &str, mode: Mode, text: &str) -> Self {
        let after = Some(self.entry(mode, text));
        let before = RelPath::parse(path.as_bytes()).ok().and_then(|p| self.base.get(&p).copied());
        self.claims.push(Claim { path: path.into(), before, after });
        self
    }

    fn delete(mut self, path: &str) -> Self {
        self.claims.push(Claim {
            path: path.into(),
            before: self.base.get(&p(path)).copied(),
            after: None,
        });
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    fn review(&self) -> Review {
        let content = |id: &Oid| Ok(self.contents[id].clone());
        review(
            &self.base,
            self.local.as_ref().unwrap_or(&self.base),
            &self.claims,
            &content,
            &self.options,
        )
        .unwrap()
    }

    #[track_caller]
    fn rejected(self) {
        let review = self.review();
        assert!(!review.rejected.is_empty(), "{review:?}");
        assert_eq!(review.accept().unwrap_err().code(), ErrorCode::PathUnsafe);
    }

    #[track_caller]
    fn held(self, path: &str) {
        let review = self.review();
        assert!(review.rejected.is_empty(), "{review:?}");
        assert!(review.held.contains_key(&p(path)), "{review:?}");
    }

    /// The classes of the flags, nothing rejected or held.
    #[track_caller]
    fn flags(self) -> Vec<Class> {
        let review = self.review();
        assert!(review.rejected.is_empty() && review.held.is_empty(), "{review:?}");
        review.flags.iter().map(|f| f.class).collect()
    }
}

fn new() -> World {
    World::default()
}

use Mode::{Exec, File, Gitlink, Link};

#[test]
fn names_refuse_the_whole_result_and_all_are_listed() {
    let world = new()
        .claim("../x", File, "")
        .claim(".git/config", File, "")
        .claim("a\\b", File, "")
        .claim("fine", File, "");
    let offenders = world.review().accept().unwrap_err();
    assert_eq!(offenders.offenders.len(), 3);
    assert!(offenders.to_string().contains("`.git/config`"));
}

#[test]
fn names_the_base_has_are_the_users_own() {
    assert_eq!(new().base("a\\b", File, "1").claim("a\\b", File, "2").flags(), []);
    assert_eq!(new().base("nul.txt", File, "1").claim("nul.txt", File, "2").flags(), []);
    assert_eq!(new().base("a\\b", File, "1").delete("a\\b").flags(), []);
    new().base("x", File, "1").claim("a\\b", File, "2").rejected();
}

#[test]
fn odd_names_are_flagged() {
    for name in ["a\nb", "nul", "a:b", "x. ", "\u{202e}txt"] {
        assert_eq!(new().claim(name, File, "").flags(), [Class::Name], "{name:?}");
    }
}

#[test]
fn modules_and_gits_own_files() {
    new().claim(".gitmodules", Link, "x").rejected();
    new().claim("sub/.gitattributes", Link, "x").rejected();
    new().claim(".GITIGNORE", Link, "x").rejected();
    new().claim("gitmod~1", Link, "x").rejected();
    new().claim(".mailmap", Link, "x").rejected();
    new().claim(".gitmodules", File, "[submodule \"../x\"]\n path = a\n").rejected();
    assert_eq!(
        new().claim(".gitmodules", File, "[submodule \"x\"]\n path = a\n").flags(),
        [Class::Git]
    );
}

#[test]
fn a_bare_repository_is_told() {
    let world =
        new().claim("d/HEAD", File, "x").claim("d/objects/y", File, "").claim("d/refs/z", File, "");
    assert_eq!(world.flags(), [Class::BareRepository]);
    assert_eq!(new().claim("d/HEAD", File, "x").claim("d/refs/z", File, "").flags(), []);
    assert_eq!(
        new()
            .claim("HEAD", File, "x")
            .claim("objects/y", File, "")
            .claim("refs/z", File, "")
            .flags(),
        [Class::BareRepository]
    );
}

#[test]
fn links() {
    new().claim("l", Link, "/etc/passwd").held("l");
    new().claim("d/l", Link, "../../x").held("d/l");
    new().claim("l", Link, ".git/hooks").held("l");
    new().claim("l", Link, "").rejected();
    new().claim("l", Link, "a\0b").rejected();
    assert_eq!(new().claim("l", Link, "a/b").flags(), [Class::Link]);
    assert_eq!(
        new().claim("l", Link, "/etc").with(|o| o.allow_external_links = true).flags(),
        [Class::Link]
    );
    new().claim("l", Link, ".git/x").with(|o| o.allow_external_links = true).held("l");
    // Through a link that is only here.
    new().local("out", Link, "/etc").claim("l", Link, "out/passwd").held("l");
    // Through a link that comes with the same result.
    new().claim("x", Link, "y/../f").claim("y", Link, ".").held("x");
}

#[test]
fn nothing_is_written_through_a_link_or_below_a_file() {
    new().claim("l", Link, "d").claim("l/x", File, "").rejected();
    new().base("l", Link, "/etc").claim("l/x", File, "").rejected();
    new().claim("a", File, "").claim("a/b/c", File, "").rejected();
    assert_eq!(new().base("l", Link, "d").delete("l").claim("l/x", File, "").flags(), []);
    // What is already below counts, too.
    for mode in [File, Exec, Link] {
        new().base("d/x", File, "1").base("d-y", File, "1").claim("d", mode, "e").rejected();
    }
    let moved = new().base("d/x", File, "1").base("d-y", File, "1");
    assert_eq!(moved.claim("d", File, "").delete("d/x").flags(), []);
}

#[test]
fn order_and_agreement() {
    new().claim("b", File, "").claim("a", File, "").rejected();
    new().claim("a", File, "1").claim("a", File, "2").rejected();
    new().base("a", File, "1").claim("a", File, "1").rejected();
    let mut world = new().base("a", File, "1").claim("a", File, "2");
    world.claims[0].before = None;
    world.rejected();
    let mut world = new();
    world.claims.push(Claim { path: b"ghost".to_vec(), before: None, after: None });
    world.rejected();
}

#[test]
fn names_that_are_one_on_some_disk() {
    let pairs = [("README", "readme"), ("d/x", "D/y"), ("\u{fc}", "u\u{308}")];
    for (a, b) in pairs {
        let world = || new().local(a, File, "1").claim(b, File, "2");
        assert!(world().flags().contains(&Class::Name), "{a} {b}");
        world().with(|o| o.case_insensitive = true).rejected();
    }
    let both = || new().claim("A", Link, "d").claim("a/x", File, "");
    assert!(both().flags().contains(&Class::Name));
    both().with(|o| o.case_insensitive = true).rejected();
    // A rename by case alone clashes with what is still here.
    assert_eq!(new().claim("a", File, "").claim("b", File, "").flags(), []);
}

#[test]
fn what_runs_later_is_flagged_held_or_allowed() {
    assert_eq!(new().claim("tool", Exec, "#!/bin/sh").flags(), [Class::Executable]);
    assert_eq!(new().base("tool", Exec, "1").claim("tool", Exec, "2").flags(), []);
    assert_eq!(new().claim("a.out", File, "\u{7f}ELF").flags(), [Class::Executable]);
    let script = || new().base("run", Exec, "#!/bin/sh").base("l", Link, "run");
    assert_eq!(script().claim("run", Exec, "\u{7f}ELF").flags(), [Class::Executable]);
    assert_eq!(script().claim("run", Exec, "#!/bin/sh\n").flags(), []);
    let program = new().base("a.out", Exec, "\u{7f}ELF");
    assert_eq!(program.claim("a.out", Exec, "\u{7f}ELF2").flags(), []);
    assert_eq!(
        new().claim("package.json", File, r#"{"scripts":{"x":"y"}}"#).flags(),
        [Class::Build]
    );
    assert_eq!(
        new()
            .base("package.json", File, "{}")
            .claim("package.json", File, r#"{"version":"2"}"#)
            .flags(),
        []
    );
    assert_eq!(new().claim("Makefile", File, "").flags(), [Class::Build]);
    new().claim("Makefile", File, "").with(|o| o.block_risky = true).held("Makefile");
    new().claim(".envrc", File, "").held(".envrc");
    assert_eq!(
        new().claim(".envrc", File, "").with(|o| o.allow_risky = true).flags(),
        [Class::Editor]
    );
    new()
        .claim("hooks/pre-commit", File, "")
        .with(|o| o.hooks = vec![p("hooks")])
        .held("hooks/pre-commit");
    assert_eq!(new().base(".envrc", File, "").delete(".envrc").flags(), []);
    // A link in the place of a folder brings the same under another name.
    let behind = || new().claim(".vscode", Link, "cfg").claim("cfg/tasks.json", File, "");
    behind().held(".vscode");
    let allowed = behind().with(|o| o.allow_risky = true).flags();
    assert_eq!(allowed, [Class::Editor, Class::Link, Class::Editor]);
    // So does a link of the user's own.
    let mine = || new().base(".vscode", Link, "cfg").base("sub/.envrc", Link, "../env/./sh");
    mine().claim("cfg/tasks.json", File, "").held("cfg/tasks.json");
    mine().claim("env/sh", File, "").held("env/sh");
    assert_eq!(mine().claim("cfg/other", File, "").claim("env/other", File, "").flags(), []);
    assert_eq!(
        mine().claim("env/sh", File, "").with(|o| o.allow_risky = true).flags(),
        [Class::Editor]
    );
    new().claim("hooks", Link, "x").with(|o| o.hooks = vec![p("hooks/git")]).held("hooks");
}

#[test]
fn repositories_inside_are_listed_only() {
    let review = new().base("sub", Gitlink, "1").claim("sub", Gitlink, "2").review();
    assert_eq!(review.skipped, [p("sub")]);
    assert!(review.rejected.is_empty() && review.held.is_empty() && review.flags.is_empty());
    assert_eq!(new().claim("clone", Gitlink, "1").review().skipped, [p("clone")]);
}

#[test]
fn the_accepted_tree_is_the_base_with_the_claims() {
    let world = new()
        .base("a", File, "1")
        .base("b", File, "1")
        .claim("a", File, "2")
        .delete("b")
        .claim("c", File, "3");
    let review = world.review().accept().unwrap();
    assert_eq!(review.theirs.keys().map(ToString::to_string).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(crate::tree::changes(&world.base, &review.theirs), review.changes);
}
