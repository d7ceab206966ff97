//! Odd trees, there and back, byte for byte.

use crate::support::far::{Far, Pair, Tools};
use crate::support::repo::RepoBuilder;

/// The kinds of sandbox this machine can play.
pub fn everywhere(test: impl Fn(Far)) {
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

#[test]
fn every_change_of_kind_arrives() {
    everywhere(|far| {
        let repo = RepoBuilder::new();
        repo.odd();
        repo.file("file-to-dir", "f").file("dir-to-file/a/b", "1").file("dir-to-file/c", "2");
        repo.link("link-to-file", "nowhere").link("link-to-dir", "deep").file("file-to-link", "x");
        repo.file("dir-to-link/x", "x")
            .file("a/b", "below")
            .file("a-b", "beside")
            .file("a.b", "dot");
        repo.file("mode", "m").file("leaves/alone/f", "last one").link("absolute", "/etc/hosts");
        let deep = format!("{}/f", ["component-of-30-bytes-or-nearly"; 12].join("/"));
        repo.file(&deep, "deep")
            .file("n".repeat(255), "long")
            .file("t/".to_owned() + &"m".repeat(150), "x");
        let mut pair = Pair::new(repo, far);
        pair.push();
        pair.same();
        let repo = &pair.repo;
        repo.remove("file-to-dir").file("file-to-dir/now/a", "dir");
        repo.remove("dir-to-file").file("dir-to-file", "file");
        repo.remove("link-to-file").file("link-to-file", "file");
        repo.remove("link-to-dir").file("link-to-dir/x", "file");
        repo.remove("file-to-link").link("file-to-link", "mode");
        repo.remove("dir-to-link").link("dir-to-link", "a");
        repo.remove("a").remove("a-b").file("a", "now a file").remove("leaves");
        repo.exec("mode", "m").remove("tool.sh").remove("new\nline").file("new\nline", "other");
        repo.file(&deep, "deeper")
            .remove("n".repeat(255))
            .remove("absolute")
            .link("absolute", "/dev/null");
        repo.file(b"latin-\xff\xfe", "changed").remove("-rf").file("-rf", "again").remove("empty");
        pair.push();
        pair.same();
        assert!(!pair.far.workspace().join("leaves").exists(), "emptied folders go");
        assert_eq!(pair.differs(), [""; 0]);
    });
}

#[test]
fn what_the_agent_made_comes_back() {
    everywhere(|far| {
        let repo = RepoBuilder::new();
        repo.odd().file("d/x", "1").file("d/y", "2");
        let mut pair = Pair::new(repo, far);
        pair.push();
        pair.far.agent(
            "printf 'odd' > \"$(printf 'n\\nm')\"; rm -- -rf; rm -r d; printf x > d; chmod 755 '*'; chmod 644 tool.sh\n\
             rm link; ln -s elsewhere link; rm empty; mkdir empty; echo in > empty/in; printf '' > zero; mkdir -p e/m/p/t/y\n\
             head -c 300000 /dev/urandom > big",
        );
        let (offer, records, tree) = pair.pull();
        assert!(!offer.moving && offer.trouble.is_empty() && offer.nested.is_empty(), "{offer:?}");
        assert_eq!(sandbox_coder::worktree::store::tree_id(&tree), offer.tree);
        assert!(records.content >= 300_000);
        let names = pair.differs();
        assert_eq!(
            names,
            [
                "*", "-rf", "big", "d", "d/x", "d/y", "empty", "empty/in", "link", "n\\nm",
                "tool.sh", "zero"
            ]
        );
        let store = pair.store();
        for (path, entry) in &tree {
            let there = pair.far.workspace().join(path.as_path());
            let bytes = match std::fs::read_link(&there) {
                Ok(target) => std::os::unix::ffi::OsStringExt::into_vec(target.into_os_string()),
                Err(_) => std::fs::read(&there).unwrap(),
            };
            assert_eq!(store.read_blob(entry.id).unwrap(), bytes, "{path}");
        }
    });
}

#[test]
fn modes_do_not_hang_on_the_umask_or_on_what_the_agent_left() {
    use std::os::unix::fs::PermissionsExt;
    everywhere(|far| {
        let repo = RepoBuilder::new();
        repo.file("d/plain", "1")
            .exec("d/tool", "2")
            .file("ro/x", "1")
            .file("ro/y", "1")
            .file("k/z", "1");
        let mut pair = Pair::new(repo, far);
        let mode = |pair: &Pair, name: &str| {
            pair.far.workspace().join(name).metadata().unwrap().permissions().mode() & 0o7777
        };
        pair.push();
        let modes = ["d/plain", "d/tool", "d", ""].map(|name| mode(&pair, name));
        assert_eq!(modes, [0o644, 0o755, 0o755, 0o755]);
        pair.far.agent("chmod 700 k; chmod 555 ro");
        pair.repo
            .file("ro/x", "2")
            .remove("ro/y")
            .file("ro/new", "3")
            .file("k/z", "2")
            .file("k/sub/n", "2");
        pair.push();
        pair.same();
        assert_eq!(
            [mode(&pair, "k"), mode(&pair, "k/sub"), mode(&pair, "ro/new")],
            [0o700, 0o755, 0o644]
        );
    });
}

#[test]
fn what_does_not_shrink_travels_as_it_is() {
    let mut noise = vec![0; 3 << 20];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut noise)
        .unwrap();
    everywhere(|far| {
        let repo = RepoBuilder::new();
        repo.file("text", "the same line\n".repeat(300_000))
            .file("large.bin", &noise)
            .file("small.bin", &noise[..100_000])
            .file("after", "text again");
        let mut pair = Pair::new(repo, far);
        let sent = pair.push().bytes;
        let random = 3_145_728 + 100_000;
        assert!((random..random + 60_000).contains(&sent), "{sent} bytes");
        pair.same();
    });
}
