//! A sandbox whose answers are made up: nothing is written here, inside the worktree or outside.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::support::between::{Act, Between};
use crate::support::context::{Ran, TestContext, write};
use crate::support::server::{KEY, TestServer};

/// One line of a result: path, mode, content.
type Claim<'c> = (&'c [u8], &'c str, &'c [u8]);

/// The id git gives a content.
fn blob_id(content: &[u8]) -> String {
    use sha1::Digest as _;
    let mut hash = sha1::Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hex::encode(hash.finalize())
}

/// A result that is right in every way but for what it says.
fn forged(base: &str, claims: &[Claim<'_>]) -> String {
    let (zero, tree) = ("0".repeat(40), "1".repeat(40));
    let mut list = Vec::new();
    let mut contents: Vec<&[u8]> = Vec::new();
    for (path, mode, content) in claims {
        write!(list, ":000000 {mode} {zero} {} A\0", blob_id(content)).unwrap();
        list.extend_from_slice(path);
        list.push(0);
        if !contents.contains(content) {
            contents.push(content);
        }
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    write!(packed, "SBXOUT1 {base} {tree} {}\0", list.len()).unwrap();
    packed.write_all(&list).unwrap();
    for content in contents {
        writeln!(packed, "{} blob {}", blob_id(content), content.len()).unwrap();
        packed.write_all(content).unwrap();
        packed.write_all(b"\n").unwrap();
    }
    let packed = packed.finish().unwrap();
    let hash = hex::encode(Sha256::digest(&packed));
    format!(
        "SBX1 out {base} {tree} {} {} {hash} /x\nSBX1 data {}\n",
        claims.len(),
        packed.len(),
        STANDARD.encode(&packed)
    )
}

type Lie = Box<dyn Fn(&str) -> String + Send>;

/// A worktree whose sandbox has work to fetch, behind a proxy that replaces it.
struct Liar {
    cx: TestContext,
    /// What is said instead of the answers to come, and how often.
    lie: Arc<Mutex<Option<(u32, Lie)>>>,
    _server: TestServer,
}

impl Liar {
    fn new() -> Self {
        let mut cx = TestContext::new(&[("a", "1\n"), ("sub/s", "s\n")]);
        write(&cx.root().join("guard/file"), b"guarded\n");
        let server = TestServer::start();
        let lie = Arc::<Mutex<Option<(u32, Lie)>>>::default();
        let lies = lie.clone();
        let between = Between::start(&server.addr, move |call| {
            if !call.name.contains("/process/execute") || !call.body.contains("SBXOUT1") {
                return Act::Pass;
            }
            let lies = lies.clone();
            Act::Change(Box::new(move |text| {
                let mut lies = lies.lock().unwrap();
                let Some((times, lie)) = lies.take() else { return text };
                let mut answer: serde_json::Value = serde_json::from_str(&text).unwrap();
                let said = answer["result"].as_str().unwrap().to_owned();
                let base = said.lines().find_map(|l| l.strip_prefix("SBX1 out ")).unwrap();
                answer["result"] = lie(base.split(' ').next().unwrap()).into();
                *lies = (times > 1).then_some((times - 1, lie));
                answer.to_string()
            }))
        });
        cx.set("DAYTONA_API_URL", &between.api_url());
        cx.set("DAYTONA_API_KEY", KEY);
        cx.agent("echo changed >a", &["--no-apply"]).exits(0);
        Self { cx, lie, _server: server }
    }

    /// A pull that is lied to; nothing may change by it.
    #[track_caller]
    fn pull(&self, words: &str, lie: impl Fn(&str) -> String + Send + 'static) -> Ran {
        self.pull_of(words, 1, lie)
    }

    /// A pull that is lied to so often.
    #[track_caller]
    fn pull_of(
        &self,
        words: &str,
        times: u32,
        lie: impl Fn(&str) -> String + Send + 'static,
    ) -> Ran {
        let before = picture(self.cx.root());
        *self.lie.lock().unwrap() = Some((times, Box::new(lie)));
        let ran = self.cx.run(["pull"]);
        assert!(self.lie.lock().unwrap().is_none(), "{words}: {}", ran.stderr);
        nothing_changed(self.cx.root(), &before, words);
        ran
    }
}

/// Everything below a folder but our own state, a line for each file: mode, time, content.
pub(super) fn picture(dir: &Path) -> BTreeSet<String> {
    // Git renews the time of an object that it would have written, so objects are told without it; a folder
    // in which our own state lies gets a new time when that is first written.
    let script = r#"ours="-path ./state -prune -o -name 'sandbox-coder*' -prune -o"
        eval find . $ours -path "'*/objects/*'" -prune -o -type f -printf "'%p %M %l %T@\n'"
        eval find . $ours ! -type f -printf "'%p %M %l\n'"
        eval find . $ours -type f -print0 | xargs -0 sha256sum"#;
    let out =
        std::process::Command::new("sh").args(["-c", script]).current_dir(dir).output().unwrap();
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Insists on the same picture as before.
#[track_caller]
pub(super) fn nothing_changed(dir: &Path, before: &BTreeSet<String>, words: &str) {
    let after = picture(dir);
    let changed: Vec<_> = after.symmetric_difference(before).collect();
    assert!(after.len() > 20 && changed.is_empty(), "{words}: {changed:#?}");
}

#[test]
fn a_forged_name_changes_nothing_anywhere() {
    let hostile: &[&[Claim<'static>]] = &[
        &[(b"../x", "100644", b"x")],
        &[(b"a/../../x", "100644", b"x")],
        &[(b"/etc/sbx-was-here", "100644", b"x")],
        &[(b".GIT/hooks/post-checkout", "100755", b"#!/bin/sh\n")],
        &[(b".git/config", "100644", b"[core]\n")],
        &[(b".git", "100644", b"gitdir: /tmp\n")],
        &[(b"sub/.git/config", "100644", b"[core]\n")],
        &[(b".g\xe2\x80\x8cit/config", "100644", b"[core]\n")],
        &[(b"git~1/config", "100644", b"[core]\n")],
        &[(b"link", "120000", b"/tmp"), (b"link/b", "100644", b"x")],
        &[(b"a/b", "100644", b"x")],
        &[(b"", "100644", b"x")],
        &[(b"..", "120000", b"x"), (b"n\x1b[2J", "100644", b"x")],
    ];
    let liar = Liar::new();
    for claims in hostile {
        let claims = claims.to_vec();
        let words = format!("{claims:?}");
        let ran = liar.pull(&words, move |base| forged(base, &claims)).exits(82);
        let errors = ran.stderr.lines().filter(|l| l.starts_with("error: ")).count();
        assert!(errors == 1 && !ran.stderr.contains('\x1b'), "{}", ran.stderr);
        // Refused for its name, not for what else is wrong with it.
        assert!(ran.stderr.contains("what is never written here"), "{words}: {}", ran.stderr);
    }
    // The truth is still fetched afterwards.
    liar.cx.run(["pull"]).exits(0);
    assert_eq!(liar.cx.read("a"), "changed\n");
}

#[test]
fn a_forged_content_or_a_damaged_result_changes_nothing() {
    let (tree, hash) = ("1".repeat(40), "0".repeat(64));
    let lines = move |base: &str, rest: &str| format!("SBX1 out {base} {tree} 1 {rest}\n");
    let (cut, huge) = (lines.clone(), lines);
    let (cut_hash, huge_hash) = (hash.clone(), hash);
    let new: Claim<'static> = (b"new", "100644", b"x");
    let lies: Vec<(&str, i32, Lie)> = vec![
        ("a tree that the names do not add up to", 82, Box::new(move |base| forged(base, &[new]))),
        ("another worktree's base", 82, Box::new(move |_| forged(&"2".repeat(40), &[new]))),
        (
            "an archive cut short",
            83,
            Box::new(move |base| cut(base, &format!("10 {cut_hash} /x\nSBX1 data AAAA"))),
        ),
        (
            "a size without end",
            65,
            Box::new(move |base| huge(base, &format!("99999999999999 {huge_hash} /dev/zero"))),
        ),
        ("no format", 69, Box::new(|_| "SBX1 out nonsense\n".to_owned())),
        ("silence", 69, Box::new(|_| String::new())),
    ];
    let liar = Liar::new();
    for (words, code, lie) in lies {
        // A base that is not known here is asked about once more.
        let ran = liar.pull_of(words, if words.contains("base") { 2 } else { 1 }, lie);
        assert_eq!(ran.code, code, "{words}: {}", ran.stderr);
    }
}
