//! A sandbox that means harm: hundreds of results, none of which reaches beyond the worktree.

use std::collections::BTreeMap;

use sandbox_coder::sync::merge::{self, Inputs, Policy};
use sandbox_coder::sync::threats::{self, Claim};
use sandbox_coder::tree::{Entry, Tree};
use sandbox_coder::worktree::apply::{Objects, Plan};
use sandbox_coder::worktree::strangers::Strangers;

use super::ground::{Files, Ground, Node, f, files, p};

/// Names that refuse the whole result, each alone and at several depths.
const COMPONENTS: &[&[u8]] = &[
    b".",
    b"..",
    b"",
    b".git",
    b".GIT",
    b".Git",
    b".gIT",
    b".git ",
    b".git.",
    b".git..",
    b".git. .",
    b".git  ",
    b"git~1",
    b"GIT~1",
    b"Git~1",
    b"git~2",
    b"git~10",
    b".git:",
    b".git::$INDEX_ALLOCATION",
    b".GIT::$INDEX_ALLOCATION",
    b".git:x",
    b"git~1:x",
    b"git~1.",
    b"git~1 ",
    b".g\xe2\x80\x8cit",
    b".\xe2\x80\x8dgit",
    b".gi\xe2\x80\x8et",
    b".git\xe2\x80\x8f",
    b"\xe2\x80\xaa.git",
    b".g\xe2\x80\xabit",
    b".g\xe2\x80\xacit",
    b".g\xe2\x80\xadit",
    b".g\xe2\x80\xaeit",
    b".g\xe2\x81\xaait",
    b".g\xe2\x81\xabit",
    b".g\xe2\x81\xacit",
    b".g\xe2\x81\xadit",
    b".g\xe2\x81\xaeit",
    b".g\xe2\x81\xafit",
    b"\xef\xbb\xbf.git",
    b".GI\xef\xbb\xbfT",
    b".git\xe2\x80\x8c ",
    b"a\\b",
    b"\\",
    b"..\\x",
    b".git\\hooks",
    b"C:\\x",
    b"\\\\?\\C:",
    b"a\0b",
    b"\0",
];

const LONG: usize = 256;

fn bad_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = vec![
        b"/".to_vec(),
        b"/etc/passwd".to_vec(),
        b"//x".to_vec(),
        b"a/".to_vec(),
        b"a//b".to_vec(),
        vec![b'x'; LONG],
    ];
    names.push(vec!["y".repeat(200); 21].join("/").into_bytes());
    names.push(vec!["d"; 129].join("/").into_bytes());
    for component in COMPONENTS {
        for [before, after] in [
            [&b""[..], &b""[..]],
            [b"a/", b""],
            [b"", b"/config"],
            [b"a/b/", b"/hooks/x"],
            [b"known/", b"/c"],
            [b"../guard/", b""],
        ] {
            names.push([before, component, after].concat());
        }
    }
    names
}

struct Hostile {
    ground: Ground,
    base: Files,
}

impl Hostile {
    fn new() -> Self {
        let base = files([
            ("known/f", f("f")),
            ("tracked", f("t")),
            ("link", Node::Link(b"known".to_vec())),
        ]);
        let ground = Ground::with(&base);
        std::fs::write(ground.path(".env"), "SECRET").unwrap();
        std::os::unix::fs::symlink(ground.root().join("guard"), ground.path("out")).unwrap();
        std::os::unix::fs::symlink("../guard/secret", ground.path("leak")).unwrap();
        Self { ground, base }
    }

    /// Takes a result the whole way, with everything allowed that a user can allow. Whether it was refused.
    fn take(&self, n: usize, claims: &[Claim]) -> bool {
        let base: Tree = self.ground.store.tree(&self.base);
        let content = |id: &_| self.ground.store.read(id);
        let options = threats::Options { allow_risky: true, ..threats::Options::default() };
        let review = threats::review(&base, &base, claims, &content, &options).unwrap();
        let Ok(review) = review.accept() else { return true };
        let strangers = Strangers::new(&self.ground.top(), &base).unwrap();
        let disk = |path: &_| strangers.at(path);
        let inputs = Inputs {
            base: &base,
            local: &base,
            theirs: &review.theirs,
            held: &review.held,
            content: &content,
            disk: &disk,
        };
        let options = merge::Options { policy: Policy::Theirs, allow_mass_delete: true };
        let plan = merge::plan(inputs, options).unwrap();
        let run = format!("r{n}");
        self.ground
            .apply(&Plan {
                run: run.clone(),
                steps: plan.steps,
                asides: plan.asides,
                ..Plan::default()
            })
            .unwrap();
        self.check();
        if self.ground.root().join(format!("state/journal/{run}.done")).exists() {
            self.ground.undo(Some(&run), &format!("u{n}")).unwrap();
        }
        false
    }

    fn check(&self) {
        self.ground.assert_clean();
        let now = self.ground.files();
        assert_eq!(now[&p(".env")], f("SECRET"));
        for link in ["out", "leak"] {
            assert!(matches!(now[&p(link)], Node::Link(_)), "{link} was replaced");
        }
    }

    fn claim(&self, path: impl AsRef<[u8]>, node: &Node) -> Claim {
        let entry: Entry = self.ground.store.entry(node);
        let before = sandbox_coder::rel_path::RelPath::parse(path.as_ref())
            .ok()
            .and_then(|p| self.base.get(&p))
            .map(|n| self.ground.store.entry(n));
        Claim { path: path.as_ref().to_vec(), before, after: Some(entry) }
    }

    fn assert_untouched(&self) {
        self.check();
        let mut wanted: BTreeMap<_, _> = self.base.clone();
        wanted.insert(p(".env"), f("SECRET"));
        let now: BTreeMap<_, _> = self
            .ground
            .files()
            .into_iter()
            .filter(|(path, _)| path != &p("out") && path != &p("leak"))
            .collect();
        assert_eq!(now, wanted);
    }
}

#[test]
fn no_bad_name_is_taken() {
    let hostile = Hostile::new();
    let names = bad_names();
    assert!(names.len() >= 300, "{}", names.len());
    for (n, name) in names.iter().enumerate() {
        let words = sandbox_coder::rel_path::escape(name);
        assert!(hostile.take(n, &[hostile.claim(name, &f("evil"))]), "{words}");
    }
    hostile.assert_untouched();
}

#[test]
fn no_bad_set_is_taken() {
    let hostile = Hostile::new();
    let link = |target: &str| Node::Link(target.into());
    let sets: Vec<Vec<(&str, Node)>> = vec![
        vec![("l", link("/etc")), ("l/x", f("evil"))],
        vec![("l", link("../guard")), ("l/secret", f("evil"))],
        vec![("l", link("known")), ("l/f", f("evil"))],
        vec![("link/f", f("evil"))],
        vec![("tracked/x", f("evil"))],
        vec![("a", f("1")), ("a", f("2"))],
        vec![("b", f("1")), ("a", f("2"))],
        vec![("a", f("1")), ("a/b", f("2"))],
        vec![("a", link(".git")), ("a/config", f("evil"))],
        vec![(".gitmodules", link("x"))],
        vec![("d/.gitattributes", link("/x"))],
        vec![(".gitignore", link("x"))],
        vec![(".mailmap", link("x"))],
        vec![(".gitmodules", f("[submodule \"a\"]\nurl = -u./x\n"))],
        vec![(".gitmodules", f("[submodule \"../../.git\"]\npath = a\n"))],
        vec![("e", link(""))],
        vec![("tracked", f("t"))],
    ];
    for (n, set) in sets.iter().enumerate() {
        let claims: Vec<_> = set.iter().map(|(path, node)| hostile.claim(path, node)).collect();
        assert!(hostile.take(n, &claims), "{set:?}");
    }
    let ghost = Claim {
        path: b"ghost".to_vec(),
        before: Some(hostile.ground.store.entry(&f("x"))),
        after: None,
    };
    assert!(hostile.take(900, &[ghost]), "it removes what was never there");
    hostile.assert_untouched();
}

#[test]
fn what_is_taken_stays_inside() {
    let hostile = Hostile::new();
    let link = |target: &str| Node::Link(target.into());
    let mut sets: Vec<Vec<(String, Node)>> = Vec::new();
    // Through links and over files that only this disk has.
    for path in ["out/secret", "out/new", "out/a/b", "leak", "leak/x", ".env", ".env/x", "out"] {
        sets.push(vec![(path.into(), f("evil"))]);
        sets.push(vec![(path.into(), link("known"))]);
    }
    for target in [
        "/",
        "/etc/passwd",
        "..",
        "../guard/secret",
        "../../..",
        "out/secret",
        "leak",
        ".git/config",
        ".GIT/hooks",
        "known/../../guard",
        "./../guard",
        "link/../../guard",
    ] {
        sets.push(vec![("new".into(), link(target))]);
        sets.push(vec![("known/f".into(), link(target))]);
        sets.push(vec![("deep/er/new".into(), link(target)), ("deep/er/other".into(), f("x"))]);
        sets.push(vec![("tracked".into(), link(target))]);
    }
    for name in [
        "a\nb",
        "\u{1b}[2J",
        "\u{202e}gnp.exe",
        "nul",
        "con.txt",
        "a:b",
        "-rf",
        "--",
        " ",
        "$(id)",
        "`id`",
        "a;b",
        "*",
        "~",
        "x. ",
    ] {
        sets.push(vec![
            (name.into(), f("x")),
            (format!("{name}/../").replace("/../", "z"), Node::Exec(b"x".to_vec())),
        ]);
    }
    for (n, set) in sets.iter_mut().enumerate() {
        set.sort();
        let claims: Vec<_> = set.iter().map(|(path, node)| hostile.claim(path, node)).collect();
        hostile.take(n, &claims);
        hostile.check();
    }
    assert!(sets.len() >= 75, "{}", sets.len());
    hostile.assert_untouched();
}
