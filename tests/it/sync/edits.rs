//! What either side does between two syncs, and what must not matter.

use super::trees::everywhere;
use crate::support::far::{Far, Pair};
use crate::support::repo::RepoBuilder;

fn pair(files: &[(&str, &str)]) -> Pair {
    let repo = RepoBuilder::new();
    for (name, content) in files {
        repo.file(name, content);
    }
    repo.commit();
    Pair::new(repo, Far::new())
}

#[test]
fn commits_resets_and_branches_send_only_what_they_change_on_disk() {
    let mut pair = pair(&[("a", "1"), ("b", "1"), ("c", "1")]);
    let sent = |pair: &mut Pair| {
        let push = pair.push();
        pair.same();
        (push.files, push.deleted)
    };
    assert_eq!(sent(&mut pair), (3, 0));
    pair.repo.file("a", "2");
    assert_eq!(sent(&mut pair), (1, 0), "an edit");
    pair.repo.commit();
    assert_eq!(sent(&mut pair), (0, 0), "a commit");
    pair.repo.git(&["reset", "-q", "--soft", "HEAD~1"]);
    assert_eq!(sent(&mut pair), (0, 0), "a soft reset");
    pair.repo.git(&["reset", "-q", "--hard"]);
    assert_eq!(sent(&mut pair), (1, 0), "a hard reset");
    pair.repo.git(&["switch", "-q", "-c", "side"]);
    pair.repo.file("d", "new").remove("b").commit();
    assert_eq!(sent(&mut pair), (1, 1), "a commit elsewhere");
    pair.repo.git(&["switch", "-q", "main"]);
    assert_eq!(sent(&mut pair), (1, 1), "a switch");
    pair.repo.git(&["merge", "-q", "side"]);
    assert_eq!(sent(&mut pair), (1, 1), "a merge");
    pair.repo.git(&["revert", "--no-edit", "HEAD"]);
    assert_eq!(sent(&mut pair), (1, 1), "a revert");
    pair.repo.file("loose", "x");
    assert_eq!(sent(&mut pair), (1, 0), "an untracked file");
    pair.repo.remove("loose");
    assert_eq!(sent(&mut pair), (0, 1), "and its end");
    pair.repo.git(&["mv", "a", "z"]);
    assert_eq!(sent(&mut pair), (1, 1), "a rename");
    pair.repo.git(&["rm", "-q", "--cached", "z"]);
    assert_eq!(sent(&mut pair), (0, 0), "unstaging what stays on the disk");
}

#[test]
fn an_edit_of_the_same_size_in_the_same_tick_travels() {
    let mut pair = pair(&[("a", "one"), ("b", "one")]);
    for n in 0..20 {
        pair.repo.file("a", format!("{n:03}"));
        pair.push();
        pair.repo.file("a", format!("{:03}", n + 500)).file("b", format!("{n:03}"));
        pair.push();
        pair.same();
    }
}

#[test]
fn the_agents_edit_of_the_same_size_in_the_same_tick_is_seen() {
    everywhere(|far| {
        let repo = RepoBuilder::new();
        repo.file("a", "000");
        let mut pair = Pair::new(repo, far);
        for n in 1..6 {
            pair.repo.file("a", format!("{n:03}"));
            pair.push();
            std::fs::write(pair.far.workspace().join("a"), format!("{:03}", n + 500)).unwrap();
            assert_eq!(pair.differs(), ["a"]);
            std::fs::write(pair.far.workspace().join("a"), format!("{n:03}")).unwrap();
            assert_eq!(pair.differs(), [""; 0]);
        }
    });
}

#[test]
fn ignored_files_are_neither_sent_nor_touched() {
    let mut pair = pair(&[("a", "1"), (".gitignore", ".env\nbuild/\nout\n")]);
    pair.repo.file(".env", "SECRET=1").file("build/x", "1");
    pair.push();
    assert!(!pair.far.workspace().join(".env").exists());
    pair.far.agent("echo theirs > .env; mkdir build; echo t > build/t; echo 2 > a");
    assert_eq!(pair.differs(), ["a"]);
    pair.far.agent("echo -n 1 > a");
    pair.repo.file("b", "2").remove("a");
    pair.push();
    assert_eq!(std::fs::read(pair.far.workspace().join(".env")).unwrap(), b"theirs\n");
    assert_eq!(std::fs::read(pair.far.workspace().join("build/t")).unwrap(), b"t\n");
    assert_eq!(std::fs::read(pair.repo.at(".env")).unwrap(), b"SECRET=1");
}

#[test]
fn what_an_edited_ignore_file_keeps_over_there_is_named() {
    everywhere(|far| {
        let repo = RepoBuilder::new();
        repo.file(".gitignore", "old/\n*.o\n").file("a.log", "1").file("d/x", "1");
        let mut pair = Pair::new(repo, far);
        pair.push();
        let named = |pair: &Pair| -> Vec<String> {
            let (offer, _, _) = pair.pull();
            let names = offer.ignored.names.iter();
            names.map(|name| sandbox_coder::rel_path::escape(name)).collect()
        };
        pair.far.agent("mkdir old; echo 1 > old/x; echo 1 > b.o; echo 2 > d/x");
        assert_eq!(named(&pair), [""; 0], "no ignore file was edited");
        pair.far.agent(
            "printf 'old/\\n*.o\\n*.log\\nout/\\n' > .gitignore; mkdir -p out/deep obj; echo 1 > out/deep/x\n\
             echo 1 > \"$(printf 'n\\nm.log')\"; echo 2 > a.log; echo 1 > obj/x.o; echo 1 > obj/y.log",
        );
        assert_eq!(named(&pair), ["n\\nm.log", "obj/y.log", "out/"]);
        assert_eq!(pair.differs(), [".gitignore", "a.log", "d/x"]);
    });
}

#[test]
fn what_git_ignores_over_there_and_lies_in_the_way_is_put_aside() {
    everywhere(|far| {
        let repo = RepoBuilder::new();
        repo.file("a", "1")
            .file("d/x", "1")
            .file(".gitignore", "out\n.env\nd/cache/\nlinked\nsub/deep\n");
        let mut pair = Pair::new(repo, far);
        pair.push();
        pair.far.agent(
            "echo mine > .env; mkdir ../else; echo safe > ../else/x; ln -s ../else out; ln -s ../else/x linked\n\
             mkdir d/cache; echo c > d/cache/c; mkdir sub; echo file > sub/deep",
        );
        pair.repo
            .file(".gitignore", "")
            .file("out/x", "2")
            .file(".env", "ours")
            .file("linked", "ours");
        pair.repo.remove("d").file("d", "now a file").file("sub/deep/f", "folder");
        let push = pair.plan();
        let heard = pair.far.push(&push);
        let sandbox_coder::sync::push::Pushed::Ok { already: false, aside: Some(aside) } = heard
        else {
            panic!("{heard:?}")
        };
        pair.same();
        let aside = std::path::Path::new(&aside);
        let kept = |name: &str| std::fs::read_to_string(aside.join(name)).unwrap();
        assert_eq!(kept(".env"), "mine\n");
        assert_eq!(kept("d/cache/c"), "c\n");
        assert_eq!(kept("sub/deep"), "file\n");
        assert!(aside.join("out").is_symlink() && aside.join("linked").is_symlink());
        assert_eq!(std::fs::read_to_string(pair.far.home().join("else/x")).unwrap(), "safe\n");
    });
}

#[test]
fn repositories_of_the_agent_change_nothing() {
    everywhere(|far| {
        let repo = RepoBuilder::new();
        repo.file("a", "1").file("sub/f", "1").file("sub/g", "1");
        let mut pair = Pair::new(repo, far);
        pair.push();
        let nothing = [""; 0];
        pair.far.agent("git init -q; git add -A; git commit -qm one");
        pair.far.agent("echo 2 > a; git add -A; git commit -qm two");
        assert_eq!(pair.differs(), ["a"], "a commit hides nothing");
        pair.far.agent("git reset -q --hard HEAD~1");
        assert_eq!(pair.differs(), nothing, "a reset");
        pair.far.agent("git config core.autocrlf true; echo '* text eol=crlf' > .git/info/attributes; git switch -qc b");
        assert_eq!(pair.differs(), nothing, "settings");
        pair.far.agent("rm -rf .git");
        assert_eq!(pair.differs(), nothing, "no repository");
        pair.far.agent("git init -q; git init -q sub; cd sub; git add f; git commit -qm sub");
        assert_eq!(pair.differs(), nothing, "repositories anew, also in a folder that was sent");
        pair.far.agent("echo 2 > sub/f; git init -q unborn; echo x > unborn/x; echo new > zz");
        pair.far.agent("git init -q clone; cd clone; echo y > y; git add y; git commit -qm y");
        let (offer, _, _) = pair.pull();
        assert_eq!(offer.nested, ["clone", "unborn"]);
        assert_eq!(pair.differs(), ["sub/f", "zz"], "{}", offer.trouble);
        pair.far.agent("rm -rf unborn; mv clone 'in\nside'");
        let (offer, _, _) = pair.pull();
        assert_eq!((offer.nested, offer.trouble.as_str()), (vec!["in\nside".to_owned()], ""));
        pair.far.agent("mv 'in\nside' clone; git init -q unborn; echo x > unborn/x");
        pair.far.agent("printf 1 > sub/f; rm zz");
        pair.repo.file("a", "3");
        pair.push();
        assert!(
            pair.far.workspace().join("clone/y").exists()
                && pair.far.workspace().join("unborn/x").exists()
        );
    });
}

#[test]
fn a_link_to_itself_in_a_folders_place_is_no_trouble() {
    everywhere(|far| {
        let repo = RepoBuilder::new();
        repo.file("a", "1").file("d/e/z", "1").file("d/x", "1");
        let mut pair = Pair::new(repo, far);
        pair.push();
        pair.far.agent("rm -r d; ln -s d d");
        let (offer, _, _) = pair.pull();
        assert_eq!(offer.trouble, "");
        assert_eq!(pair.differs(), ["d", "d/e/z", "d/x"]);
    });
}
