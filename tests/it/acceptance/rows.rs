//! Every row of the merge of both sides, on real files: edited over there by an agent, here by hand, and
//! brought together by `pull`.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::context::{Ran, TestContext};

fn remove(cx: &TestContext, name: &str) {
    std::fs::remove_file(cx.work().join(name)).unwrap();
}

fn make_executable(cx: &TestContext, name: &str) {
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(cx.work().join(name), mode).unwrap();
}

/// A file as a word: `*` in front of what may be executed, `>` of a link, `-` where nothing is.
fn word(cx: &TestContext, name: &str) -> String {
    let path = cx.work().join(name);
    match path.symlink_metadata() {
        Err(_) => "-".into(),
        Ok(meta) if meta.is_symlink() => {
            format!(">{}", std::fs::read_link(path).unwrap().display())
        }
        Ok(meta) if meta.is_dir() => "folder".into(),
        Ok(meta) if meta.permissions().mode() & 0o100 != 0 => format!("*{}", cx.read(name)),
        Ok(_) => cx.read(name),
    }
}

/// All of the worktree but what is put aside.
fn picture(cx: &TestContext) -> BTreeMap<String, String> {
    let files = cx.files().into_iter().filter(|f| !f.starts_with(".sandbox-coder/"));
    files.map(|name| (name.clone(), word(cx, &name))).collect()
}

/// The conflicts that were told, by path.
fn conflicts(ran: &Ran) -> BTreeMap<String, String> {
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
    ran.of_type("conflict").iter().map(|e| (text(&e["path"]), text(&e["kind"]))).collect()
}

#[test]
fn what_does_not_clash_is_brought_together() {
    let cx = TestContext::new(&[
        ("still", "1\n"),
        ("edit", "1\n"),
        ("gone", "1\n"),
        ("touched", "1\n"),
        ("to-link", "1\n"),
        ("tool", "1\n"),
        ("mine", "1\n"),
        ("twin", "1\n"),
        ("lines", "1\n2\n3\n4\n5\n"),
        ("mode-here", "1\n"),
        ("mode-there", "1\n"),
        ("lines-and-mode", "1\n2\n3\n4\n5\n"),
        ("bye", "1\n"),
        ("gone-here", "1\n"),
        ("grow", "1\n"),
        ("shrink/a", "1\n"),
        ("shrink/b/c", "1\n"),
        ("Case", "1\n"),
    ]);
    let script = r#"
        echo 2 >edit; rm gone touched bye; echo n >new; rm to-link; ln -s still to-link; chmod +x tool
        echo twin >twin; printf '1\n2\n3\n4\nfive\n' >lines; echo 2 >mode-here; chmod +x mode-there
        printf '1\n2\n3\n4\nfive\n' >lines-and-mode; printf 'a\n' >less; printf 'a\nb\n' >more
        rm grow; mkdir -p grow/deep; echo g >grow/x; echo g >grow/deep/y; rm -r shrink; echo s >shrink; mv Case case"#;
    cx.agent(script, &["--no-apply"]).exits(0);
    cx.write("mine", "2\n");
    cx.write("twin", "twin\n");
    cx.write("lines", "one\n2\n3\n4\n5\n");
    make_executable(&cx, "mode-here");
    cx.write("mode-there", "2\n");
    cx.write("lines-and-mode", "one\n2\n3\n4\n5\n");
    make_executable(&cx, "lines-and-mode");
    cx.write("less", "a\nb\n");
    cx.write("more", "b\n");
    cx.write("local", "l\n");
    remove(&cx, "bye");
    remove(&cx, "gone-here");
    let touched = std::fs::File::options().write(true).open(cx.work().join("touched")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let before = picture(&cx);
    let ran = cx.run(["pull", "--json"]).exits(0);
    let wanted = [
        ("case", "1\n"),
        ("edit", "2\n"),
        ("grow/deep/y", "g\n"),
        ("grow/x", "g\n"),
        ("less", "a\nb\n"),
        ("lines", "one\n2\n3\n4\nfive\n"),
        ("lines-and-mode", "*one\n2\n3\n4\nfive\n"),
        ("local", "l\n"),
        ("mine", "2\n"),
        ("mode-here", "*2\n"),
        ("mode-there", "*2\n"),
        ("more", "a\nb\n"),
        ("new", "n\n"),
        ("shrink", "s\n"),
        ("still", "1\n"),
        ("to-link", ">still"),
        ("tool", "*1\n"),
        ("twin", "twin\n"),
    ];
    let after: BTreeMap<_, _> = wanted.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    assert_eq!(picture(&cx), after);
    let told: BTreeMap<_, _> = ran
        .of_type("file")
        .iter()
        .map(|e| (e["path"].as_str().unwrap().to_owned(), e["op"].as_str().unwrap().to_owned()))
        .collect();
    let op = |name: &str| told.get(name).map(String::as_str);
    let of = ["edit", "gone", "new", "tool", "mode-there", "touched"].map(op);
    assert_eq!(of, ["modify", "delete", "add", "mode", "mode", "delete"].map(Some));
    assert_eq!(["mine", "twin", "bye", "still", "less", "local"].map(op), [None; 6]);
    // Both sides agree on it, and each step back and forth is whole.
    cx.run(["undo"]).exits(0);
    assert_eq!(picture(&cx), before);
    cx.run(["undo"]).exits(0);
    assert_eq!(picture(&cx), after);
    let ran = cx.agent("cat lines more; ls case mine local", &["--json"]).exits(0);
    assert_eq!(ran.of_type("sync")[0]["full"], false, "{}", ran.stdout);
}

/// Every way to clash at once. What both sides made of it lies where it was made.
fn clashing() -> TestContext {
    let cx = TestContext::new(&[
        (".gitignore", "secret\nkept/\n"),
        ("clean", "1\n"),
        ("text", "1\n2\n3\n"),
        ("bin", "1\0\n"),
        ("gone-here", "1\n"),
        ("gone-there", "1\n"),
        ("chmod-here", "1\n"),
        ("to-dir-here", "1\n"),
        ("to-dir-there", "1\n"),
        ("to-link-there", "1\n"),
        ("to-file/f", "1\n"),
        ("to-folder-link/f", "1\n"),
        ("full/f", "1\n"),
    ]);
    symlink("clean", cx.work().join("link")).unwrap();
    cx.git(&["add", "-A"]);
    cx.git(&["commit", "-qm", "a link"]);
    let script = r#"
        echo 2 >clean; printf '1\ntheirs\n3\n' >text; printf '2\0\n' >bin; echo theirs >gone-here; rm gone-there chmod-here
        echo theirs >added; echo theirs >to-dir-here; rm to-dir-there; mkdir to-dir-there; echo theirs >to-dir-there/x
        rm to-link-there; ln -s clean to-link-there; rm -r to-file; echo theirs >to-file
        rm -r to-folder-link; ln -s full to-folder-link; ln -sf text link; rm -r full; echo theirs >full
        echo kept/ >.gitignore; echo theirs >secret"#;
    cx.agent(script, &["--no-apply"]).exits(0);
    cx.write("text", "1\nmine\n3\n");
    cx.write("bin", "3\0\n");
    remove(&cx, "gone-here");
    cx.write("gone-there", "mine\n");
    make_executable(&cx, "chmod-here");
    cx.write("added", "mine\n");
    remove(&cx, "to-dir-here");
    cx.write("to-dir-here/x", "mine\n");
    cx.write("to-dir-there", "mine\n");
    cx.write("to-link-there", "mine\n");
    cx.write("to-file/kept/ignored", "mine\n");
    cx.write("to-folder-link/kept/ignored", "mine\n");
    cx.write("full/new", "mine\n");
    remove(&cx, "link");
    symlink("bin", cx.work().join("link")).unwrap();
    cx.write("secret", "mine\n");
    cx
}

const CLASHES: [(&str, &str); 18] = [
    ("added", "both_added"),
    ("bin", "binary"),
    ("chmod-here", "deleted_there"),
    ("full", "in_the_way"),
    ("full/f", "in_the_way"),
    ("gone-here", "deleted_here"),
    ("gone-there", "deleted_there"),
    ("link", "type"),
    ("secret", "untracked"),
    ("text", "text"),
    ("to-dir-here", "deleted_here"),
    ("to-dir-there", "deleted_there"),
    ("to-dir-there/x", "in_the_way"),
    ("to-file", "untracked"),
    ("to-file/f", "in_the_way"),
    ("to-folder-link", "untracked"),
    ("to-folder-link/f", "in_the_way"),
    ("to-link-there", "type"),
];

fn clashes() -> BTreeMap<String, String> {
    CLASHES.map(|(a, b)| (a.to_owned(), b.to_owned())).into()
}

#[test]
fn what_clashes_is_held_and_then_both_are_kept() {
    let cx = clashing();
    let mine = picture(&cx);
    let ran = cx.run(["pull", "--json"]).exits(81);
    assert_eq!(conflicts(&ran), clashes());
    assert_eq!(picture(&cx), mine, "nothing at all is applied");
    assert!(!cx.work().join(".sandbox-coder").exists());

    let ran = cx.run(["pull", "--json", "--on-conflict", "keep-both"]).exits(81);
    assert_eq!(conflicts(&ran), clashes());
    let mut wanted = mine.clone();
    wanted.insert("clean".into(), "2\n".into());
    wanted.insert(".gitignore".into(), "kept/\n".into());
    assert_eq!(picture(&cx), wanted, "what clashes stays as it is here");
    let aside: BTreeMap<String, String> = ran
        .of_type("conflict")
        .iter()
        .filter_map(|e| Some((e["path"].as_str()?.to_owned(), cx.read(e["saved_to"].as_str()?))))
        .collect();
    let theirs = [
        ("added", "theirs\n"),
        ("bin", "2\0\n"),
        ("full", "theirs\n"),
        ("gone-here", "theirs\n"),
        ("link", "text"),
        ("secret", "theirs\n"),
        ("text", "1\ntheirs\n3\n"),
        ("to-dir-here", "theirs\n"),
        ("to-dir-there/x", "theirs\n"),
        ("to-file", "theirs\n"),
        ("to-folder-link", "full"),
        ("to-link-there", "clean"),
    ];
    let theirs: BTreeMap<_, _> = theirs.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    assert_eq!(aside, theirs);
    // What is aside is seen by no git, travels nowhere, and its loss is nobody's.
    assert!(!cx.git(&["status", "--porcelain", "-uall"]).contains(".sandbox-coder"));
    let ran = cx.agent("ls -A; cat text", &[]).exits(0);
    assert!(!ran.stdout.contains(".sandbox-coder") && ran.stdout.contains("mine"), "{ran:?}");
}

#[test]
fn theirs_takes_what_can_be_taken_and_undo_gives_it_back() {
    let cx = clashing();
    let mine = picture(&cx);
    let ran = cx.run(["pull", "--json", "--on-conflict", "theirs"]).exits(81);
    // Folders that hold what the sandbox never saw stay, and so does what git ignores here.
    let stays =
        ["full", "full/f", "secret", "to-dir-here", "to-file", "to-file/f", "to-folder-link"];
    let mut stays: Vec<_> = stays.map(str::to_owned).into();
    stays.push("to-folder-link/f".into());
    let told: Vec<_> = conflicts(&ran).into_keys().collect();
    assert_eq!(told, stays);
    let now = picture(&cx);
    for (name, text) in [
        ("added", "theirs\n"),
        ("bin", "2\0\n"),
        ("gone-here", "theirs\n"),
        ("link", ">text"),
        ("text", "1\ntheirs\n3\n"),
        ("to-dir-there/x", "theirs\n"),
        ("to-link-there", ">clean"),
        ("full/new", "mine\n"),
        ("secret", "mine\n"),
        ("to-dir-here/x", "mine\n"),
        ("to-file/kept/ignored", "mine\n"),
        ("to-folder-link/kept/ignored", "mine\n"),
    ] {
        assert_eq!(now.get(name).map(String::as_str), Some(text), "{name}");
    }
    for gone in ["gone-there", "chmod-here", "to-dir-there"] {
        assert!(!now.contains_key(gone), "{gone}");
    }
    cx.run(["undo"]).exits(0);
    assert_eq!(picture(&cx), mine);
}

#[test]
fn ours_keeps_what_is_here_and_puts_the_rest_aside() {
    let cx = clashing();
    let mut wanted = picture(&cx);
    cx.run(["pull", "--on-conflict", "ours"]).exits(0);
    wanted.insert("clean".into(), "2\n".into());
    wanted.insert(".gitignore".into(), "kept/\n".into());
    assert_eq!(picture(&cx), wanted);
    let aside = cx.files().into_iter().filter(|f| f.starts_with(".sandbox-coder/conflicts/"));
    assert_eq!(aside.filter(|f| !f.ends_with(".gitignore")).count(), 12);
}

#[test]
fn markers_are_written_where_they_were_asked_for() {
    let cx = clashing();
    let mine = picture(&cx);
    let ran = cx.run(["pull", "--json", "--on-conflict", "merge"]).exits(81);
    assert_eq!(conflicts(&ran), clashes());
    let marked = "<<<<<<< local\nmine\n=======\ntheirs\n>>>>>>> sandbox\n";
    assert_eq!(cx.read("text"), format!("1\n{marked}3\n"));
    assert_eq!(cx.read("added"), marked);
    let mut now = picture(&cx);
    for name in ["text", "added", "clean", ".gitignore"] {
        now.insert(name.into(), mine[name].clone());
    }
    assert_eq!(now, mine);
}
