//! The other side of a sync without a server: a home folder, the scripts run in it by a chosen shell with
//! chosen tools, as an ordinary user.

#![allow(dead_code, reason = "each area uses its own part")]

use std::io::Write;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sandbox_coder::daytona::script::Script;
use sandbox_coder::sync::excludes::Excludes;
use sandbox_coder::sync::pack::Link;
use sandbox_coder::sync::records::{Limits, Records};
use sandbox_coder::sync::{plain, pull, push};
use sandbox_coder::tree::{Oid, Tree};
use sandbox_coder::worktree::capture::{Options, capture};
use sandbox_coder::worktree::{Repo, Store};

/// Nobody in particular: as root every permission check would pass.
const USER: u32 = 65534;

/// What the sandbox has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tools {
    /// The machine's own, with this shell as `sh`.
    Shell(&'static str),
    /// Busybox and git, nothing else.
    Busybox,
    /// Busybox alone: neither git nor flock.
    Bare,
    /// The machine's own without the named program.
    Without(&'static str),
}

/// One sandbox.
pub struct Far {
    dir: tempfile::TempDir,
    tools: Tools,
    /// What the user ignores, where that is said with every step.
    pub excludes: Option<Excludes>,
}

impl Far {
    /// A sandbox with the machine's tools.
    pub fn new() -> Self {
        Self::with(Tools::Shell("sh")).expect("every machine has a shell")
    }

    /// A sandbox with these tools; `None` where the machine lacks them.
    pub fn with(tools: Tools) -> Option<Self> {
        Self::within(tempfile::tempdir().unwrap(), tools)
    }

    /// The same in a folder of the caller's choice.
    pub fn within(dir: tempfile::TempDir, tools: Tools) -> Option<Self> {
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::create_dir(dir.path().join("home")).unwrap();
        match tools {
            Tools::Shell(shell) => symlink(which(shell)?, bin.join("sh")).unwrap(),
            Tools::Busybox | Tools::Bare => {
                let busybox = which("busybox")?;
                let list = Command::new(&busybox).arg("--list").output().unwrap().stdout;
                for applet in String::from_utf8(list).unwrap().lines().filter(|a| *a != "flock") {
                    symlink(&busybox, bin.join(applet)).unwrap();
                }
                if tools == Tools::Busybox {
                    symlink(which("git")?, bin.join("git")).unwrap();
                }
            }
            Tools::Without(missing) => {
                for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap()) {
                    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                        if entry.file_name() != missing {
                            let _ = symlink(entry.path(), bin.join(entry.file_name()));
                        }
                    }
                }
            }
        }
        if rustix::process::geteuid().is_root() {
            for path in [dir.path(), &dir.path().join("home")] {
                chown(path, Some(USER), Some(USER)).unwrap();
            }
        }
        Some(Self { dir, tools, excludes: None })
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn workspace(&self) -> PathBuf {
        self.home().join("workspace")
    }

    pub fn state(&self) -> PathBuf {
        self.home().join(".sandbox-coder/sync")
    }

    /// Whether it has git.
    pub fn has_git(&self) -> bool {
        !matches!(self.tools, Tools::Bare | Tools::Without("git"))
    }

    /// The folder that comes first in its search path.
    pub fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    /// A command in the sandbox.
    pub fn command(&self, program: &str) -> Command {
        let mut path = self.bin().into_os_string();
        if matches!(self.tools, Tools::Shell(_)) {
            path.push(":");
            path.push(std::env::var_os("PATH").unwrap());
        }
        let program = self.bin().join(program);
        let program = if program.exists() { program } else { program.file_name().unwrap().into() };
        let mut command = Command::new(program);
        command.env_clear().env("PATH", path).env("HOME", self.home()).current_dir(self.home());
        if rustix::process::geteuid().is_root() {
            command.uid(USER).gid(USER);
        }
        command
    }

    /// Runs shell text in the workspace, as the agent would; a failure ends the test.
    #[track_caller]
    pub fn agent(&self, text: &str) {
        let text = format!(
            "cd workspace\nexport GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b\n\
             export GIT_CONFIG_NOSYSTEM=1\nset -e\n{text}"
        );
        let out = self.command("sh").args(["-c", &text]).output().unwrap();
        assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    }

    /// Starts a script in a process group of its own, the way the service does: the text is the shell's input.
    pub fn start(&self, script: &Script) -> Child {
        let mut text = tempfile::tempfile().unwrap();
        text.write_all(script.command().as_bytes()).unwrap();
        std::io::Seek::rewind(&mut text).unwrap();
        self.command("sh")
            .stdin(text)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap()
    }

    /// Runs a script to its end and returns what it printed.
    pub fn run(&self, script: &Script) -> String {
        let out = self.start(script).wait_with_output().unwrap();
        let mut text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&out.stderr));
        text
    }

    /// The step of a push, its archive laid down first where it is a large one.
    pub fn script_of(&self, push: &push::Push) -> Script {
        self.script_after(push, |_| ())
    }

    /// The same after what `before` adds.
    pub fn script_after(&self, push: &push::Push, before: impl FnOnce(&mut Script)) -> Script {
        let uploaded = push.spooled().map(|file| {
            let path = self.state().join("in.uploaded.tar.gz");
            for dir in [self.home().join(".sandbox-coder"), self.state()] {
                if !dir.exists() {
                    std::fs::create_dir(&dir).unwrap();
                    self.own(&dir);
                }
            }
            let mut from = file.try_clone().unwrap();
            std::io::Seek::rewind(&mut from).unwrap();
            std::io::copy(&mut from, &mut std::fs::File::create(&path).unwrap()).unwrap();
            self.own(&path);
            path.into_os_string().into_string().unwrap()
        });
        let mut script = Script::new();
        self.excludes.iter().for_each(|excludes| excludes.add_to(&mut script));
        before(&mut script);
        push.add_to(&mut script, uploaded.as_deref());
        script
    }

    /// The script that asks for the work.
    pub fn question(&self) -> Script {
        let mut script = Script::new();
        pull::add_to(&mut script, &Limits::default());
        script
    }

    /// Gives a path made by the test to the sandbox's user.
    pub fn own(&self, path: &Path) {
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(path, Some(USER), Some(USER)).unwrap();
        }
    }

    pub fn push(&self, push: &push::Push) -> push::Pushed {
        let said = self.run(&self.script_of(push));
        push::heard(&said).unwrap_or_else(|e| panic!("{e}\n{said}"))
    }

    pub fn ask(&self) -> pull::Answer {
        let said = self.run(&self.question());
        pull::heard(&said).unwrap_or_else(|e| panic!("{e}\n{said}"))
    }
}

/// Both sides of one worktree.
pub struct Pair {
    pub repo: super::repo::RepoBuilder,
    pub near: Repo,
    pub far: Far,
    pub base: Option<Oid>,
    spool: tempfile::TempDir,
}

impl Pair {
    pub fn new(repo: super::repo::RepoBuilder, far: Far) -> Self {
        let near = Repo::discover(repo.path()).unwrap();
        near.prepare().unwrap();
        let far = Far { excludes: Some(Excludes::of(&near).unwrap()), ..far };
        Self { repo, near, far, base: None, spool: tempfile::tempdir().unwrap() }
    }

    pub fn store(&self) -> Store {
        Store::open(&self.near).unwrap()
    }

    /// What lies here now.
    #[track_caller]
    pub fn look(&self) -> (Oid, Tree) {
        let store = self.store();
        let options = Options { max_size: u64::MAX, max_files: u64::MAX, ..Options::default() };
        let id = capture(&self.near, &options).unwrap().tree;
        (id, store.read_tree(id).unwrap())
    }

    /// The push that is due now.
    #[track_caller]
    pub fn plan(&self) -> push::Push {
        let (id, tree) = self.look();
        self.plan_to(id, &tree)
    }

    /// The push from the base to a tree.
    #[track_caller]
    pub fn plan_to(&self, id: Oid, tree: &Tree) -> push::Push {
        let store = self.store();
        let from = self.base.map(|id| (id, store.read_tree(id).unwrap()));
        let from = from.as_ref().map(|(id, tree)| (*id, tree));
        push::Push::plan(&store, from, (id, tree), self.spool.path(), Link::Far).unwrap()
    }

    /// The whole tree, but for what is carried by other means.
    #[track_caller]
    pub fn plan_beside(&self, carried: &push::Carried) -> push::Push {
        let (id, tree) = self.look();
        let (store, spool) = (self.store(), self.spool.path());
        push::Push::plan_beside(&store, carried, (id, &tree), spool, Link::Far).unwrap()
    }

    /// Brings the sandbox up to date and returns the push.
    #[track_caller]
    pub fn push(&mut self) -> push::Push {
        let push = self.plan();
        let heard = self.far.push(&push);
        assert!(matches!(heard, push::Pushed::Ok { .. }), "{heard:?}");
        self.base = Some(push.to);
        push
    }

    /// What the sandbox offers, fetched and verified, with its whole tree.
    #[track_caller]
    pub fn pull(&self) -> (pull::Offer, Records, Tree) {
        // What a killed group still held is given back once the kernel has ended its last process.
        let mut asked = std::iter::repeat_with(|| self.far.ask()).take(1000);
        let mut offer = match asked.find(|answer| !matches!(answer, pull::Answer::Busy)) {
            Some(pull::Answer::Out(offer)) => offer,
            other => panic!("{other:?}"),
        };
        let base = self.base.unwrap_or(Oid::EMPTY_TREE);
        let store = self.store();
        if offer.tree == base {
            // Nothing differs, so there is no archive.
            let records = Records { tree: base, claims: Vec::new(), content: 0 };
            return (*offer, records, store.read_tree(base).unwrap());
        }
        let records = self.records(&mut offer);
        let tree = pull::theirs(&store.read_tree(base).unwrap(), &records.claims).unwrap();
        (*offer, records, tree)
    }

    /// What an offer holds, fetched and verified.
    #[track_caller]
    pub fn records(&self, offer: &mut pull::Offer) -> Records {
        if offer.is_plain() {
            return self.inquire(offer);
        }
        let (archive, store) = (self.fetch(offer), self.store());
        let base = store.read_tree(offer.from).unwrap();
        offer.ignored = offer.all_ignored.clone().since(&self.near, &store, &base).unwrap();
        pull::unpack(archive, offer, offer.from, &Limits::default(), &store).unwrap()
    }

    fn fetch(&self, offer: &pull::Offer) -> pull::Archive {
        let mut from = std::fs::File::open(offer.path()).unwrap();
        pull::Archive::read(offer, &mut from, self.spool.path()).unwrap()
    }

    /// Asks a sandbox without git until everything is known.
    #[track_caller]
    fn inquire(&self, offer: &mut pull::Offer) -> Records {
        let list = self.fetch(offer);
        let mut inquiry =
            plain::Inquiry::new(&self.near, offer.from, offer, list, &Limits::default()).unwrap();
        while let Some(names) = inquiry.ask().unwrap() {
            let mut script = Script::new();
            plain::add_to(&mut script, offer, &names);
            let said = self.far.run(&script);
            match pull::heard(&said) {
                Ok(pull::Answer::Out(answer)) => inquiry.take(self.fetch(&answer)).unwrap(),
                other => panic!("{other:?}\n{said}"),
            }
        }
        inquiry.finish(offer).unwrap()
    }

    /// Both sides agree on what was fetched; says whether the sandbox took it.
    #[track_caller]
    pub fn settle(&mut self, offer: &pull::Offer, tree: Oid) -> bool {
        let mut script = Script::new();
        pull::add_settle(&mut script, self.base.unwrap(), tree, offer.tree);
        let moved = pull::heard_settle(&self.far.run(&script));
        if moved {
            self.base = Some(tree);
        }
        moved
    }

    /// The names that differ over there.
    #[track_caller]
    pub fn differs(&self) -> Vec<String> {
        let (_, records, _) = self.pull();
        records.claims.iter().map(|c| sandbox_coder::rel_path::escape(&c.path)).collect()
    }

    /// Insists that both folders hold the same, byte for byte.
    #[track_caller]
    pub fn same(&self) {
        let (here, there) =
            (super::repo::listing(self.repo.path()), super::repo::listing(&self.far.workspace()));
        let brief = |all: &[(Vec<u8>, char, Vec<u8>)]| -> Vec<String> {
            all.iter()
                .map(|(n, k, _)| format!("{k} {}", sandbox_coder::rel_path::escape(n)))
                .collect()
        };
        assert_eq!(brief(&here), brief(&there));
        assert!(here == there, "same names, other contents");
    }
}

/// A program of this machine.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file())
}

/// Asks until there is an answer: a lock is free once the last process of a killed group is gone, which takes
/// the kernel a moment.
pub fn until_free<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let began = std::time::Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        let long = std::time::Duration::from_secs(120);
        assert!(began.elapsed() < long, "the lock is never given back");
    }
}
