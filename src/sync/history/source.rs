//! The user's commits, read through a throw-away repository that borrows their objects.
//!
//! The borrowed repository knows no remote, no promisor, no replacement and no setting of the user's, so
//! nothing is ever fetched for it and nothing of theirs is written. What it may see of the past is cut by
//! a `shallow` file of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::Error;
use crate::sync::pack::Link;
use crate::worktree::Repo;
use crate::worktree::git::git_command;
use crate::worktree::private::alternates_line;
use crate::worktree::repo::ObjectFormat;

/// Commits by id, each with its parents as they are written in it.
pub type Commits = BTreeMap<String, Vec<String>>;

/// What a pack may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes: a larger one is given up.
    pub size: u64,
    /// How long git may work on it.
    pub time: Duration,
    /// What it travels over.
    pub link: Link,
}

/// A pack that needs no other, and its index.
pub struct Whole {
    /// The pack.
    pub pack: std::fs::File,
    /// Its index.
    pub index: std::fs::File,
    /// What git calls both.
    pub name: String,
}

/// The borrowed repository; it goes away when dropped.
pub struct Source {
    dir: PathBuf,
    /// Commits whose parents the user's own repository does not have.
    pub cut: BTreeSet<String>,
}

impl Source {
    /// Makes it. The caller holds the worktree's lock, so one left behind is nobody's.
    pub fn open(repo: &Repo) -> Result<Self, Error> {
        repo.prepare().map_err(|e| Error::Git(e.to_string()))?;
        let dir = repo.state_dir().join("history.git");
        let io = |source| Error::Local { dir: dir.clone(), source };
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(io)?;
        }
        for part in ["objects/info", "refs"] {
            std::fs::create_dir_all(dir.join(part)).map_err(io)?;
        }
        let config = match repo.object_format() {
            ObjectFormat::Sha1 => "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
            ObjectFormat::Sha256 => {
                "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectFormat = sha256\n"
            }
        };
        std::fs::write(dir.join("HEAD"), "ref: refs/heads/none\n").map_err(io)?;
        std::fs::write(dir.join("config"), config).map_err(io)?;
        let line = alternates_line(&repo.common_dir().join("objects"));
        std::fs::write(dir.join("objects/info/alternates"), line).map_err(io)?;
        let cut = match std::fs::read_to_string(repo.common_dir().join("shallow")) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(e) => return Err(io(e)),
        };
        Ok(Self { dir, cut })
    }

    fn git(&self) -> Command {
        let mut git = git_command(&self.dir);
        git.env("GIT_DIR", &self.dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1");
        git
    }

    /// The commits from `head` down to some depth, HEAD counted, and at most about `most` of them. Those in
    /// `leave` are left out, those in `ends` and those the user's repository is cut at are not followed
    /// further; missing ones are left out.
    pub fn walk(
        &self,
        head: &str,
        depth: u32,
        most: usize,
        leave: &Commits,
        ends: &BTreeSet<String>,
    ) -> Result<Commits, Error> {
        let mut reader = CommitReader::start(self.git())?;
        let mut found = Commits::new();
        let mut level = vec![head.to_owned()];
        for _ in 0..depth {
            let mut next = Vec::new();
            for id in level {
                if found.contains_key(&id) || leave.contains_key(&id) {
                    continue;
                }
                let Some(parents) = reader.parents(&id)? else { continue };
                if !self.cut.contains(&id) && !ends.contains(&id) {
                    next.extend(parents.iter().cloned());
                }
                found.insert(id, parents);
            }
            level = next;
            if level.is_empty() || found.len() >= most {
                break;
            }
        }
        Ok(found)
    }

    /// Whether a commit is here.
    pub fn has(&self, id: &str) -> Result<bool, Error> {
        Ok(CommitReader::start(self.git())?.parents(id)?.is_some())
    }

    /// The tree of a commit, if both are here.
    pub fn tree(&self, commit: &str) -> Result<Option<String>, Error> {
        CommitReader::start(self.git())?.tree(commit)
    }

    fn packs(&self) -> PathBuf {
        self.dir.join("objects/pack")
    }

    /// Packs all that `head` needs, seen no deeper than `ends`, with an index.
    pub fn pack(
        &self,
        head: &str,
        ends: &BTreeSet<String>,
        limits: &Limits,
    ) -> Result<Whole, Error> {
        let dir = self.packs();
        let io = |source| Error::Local { dir: dir.clone(), source };
        // What an attempt that was given up has left behind.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).map_err(io)?;
        let mut git = self.packing(ends)?;
        // What lies packed is taken as it is; for the rest a search takes longer than its bytes do.
        if limits.link == Link::Near {
            git.args(["--window=0", "--compression=1"]);
        }
        git.arg(self.packs().join("pack"));
        let name = self.run(git, &format!("{head}\n"), limits, |out| {
            let mut name = String::new();
            out.read_to_string(&mut name).map_err(io)?;
            Ok(name.trim().to_owned())
        })?;
        let file = |kind| std::fs::File::open(dir.join(format!("pack-{name}.{kind}"))).map_err(io);
        let whole = Whole { pack: file("pack")?, index: file("idx")?, name: name.clone() };
        match whole.pack.metadata().map_err(io)?.len() {
            size if size > limits.size => Err(Error::TooLarge(limits.size)),
            _ => Ok(whole),
        }
    }

    /// Appends what `head` needs and `old` does not have to `out`, both seen no deeper than `ends`. Without the
    /// objects of `old` it is of no use.
    pub fn pack_since(
        &self,
        (head, old): (&str, &str),
        ends: &BTreeSet<String>,
        out: &mut dyn Write,
        limits: &Limits,
    ) -> Result<(), Error> {
        let io = |source| Error::Local { dir: self.dir.clone(), source };
        let mut git = self.packing(ends)?;
        git.args(["--stdout", "--thin"]);
        self.run(git, &format!("{head}\n^{old}\n"), limits, |from| {
            match io::copy(&mut from.take(limits.size + 1), out).map_err(io)? {
                size if size > limits.size => Err(Error::TooLarge(limits.size)),
                _ => Ok(()),
            }
        })
    }

    fn packing(&self, ends: &BTreeSet<String>) -> Result<Command, Error> {
        let io = |source| Error::Local { dir: self.dir.clone(), source };
        std::fs::write(self.dir.join("shallow"), lines(ends)).map_err(io)?;
        let mut git = self.git();
        // Nothing of it outlives the sending: the disk need not be waited for.
        git.args(["-c", "core.bigFileThreshold=8m", "-c", "core.fsync=none"]);
        git.args(["pack-objects", "--revs", "-q", "--delta-base-offset"]);
        Ok(git)
    }

    /// Runs a git that packs what is `asked` for and reads what it says.
    fn run<T>(
        &self,
        mut git: Command,
        asked: &str,
        limits: &Limits,
        read: impl FnOnce(&mut ChildStdout) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut child = spawn(&mut git)?;
        let mut stdin = child.stdin.take().expect("stdin was piped");
        let _ = stdin.write_all(asked.as_bytes());
        drop(stdin);
        let stderr = child.stderr.take().expect("stderr was piped");
        let complaint = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.take(2000).read_to_string(&mut text);
            text
        });
        let mut stdout = child.stdout.take().expect("stdout was piped");
        let guard = Guard::set(&child, self.packs(), *limits);
        let read = read(&mut stdout);
        let stopped = guard.lift();
        // A git that has more to say ends by its closed pipe.
        drop(stdout);
        let status = child.wait().map_err(|e| Error::Git(e.to_string()))?;
        if let Some(why) = stopped {
            return Err(why);
        }
        match read {
            Ok(_) if !status.success() => {
                Err(Error::Git(brief(&complaint.join().unwrap_or_default())))
            }
            read => read,
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Ids as a `shallow` file holds them.
pub fn lines(ids: &BTreeSet<String>) -> String {
    ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect()
}

fn spawn(git: &mut Command) -> Result<Child, Error> {
    git.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| Error::Git(e.to_string()))
}

fn brief(words: &str) -> String {
    let line = words.trim().lines().last().unwrap_or("git failed");
    let line = line.trim_start_matches("fatal: ").trim_start_matches("error: ");
    crate::rel_path::escape(line.chars().take(200).collect::<String>().as_bytes())
}

/// `git cat-file --batch`, asked for one commit after the other.
struct CommitReader {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl CommitReader {
    fn start(mut git: Command) -> Result<Self, Error> {
        let mut child = spawn(git.args(["cat-file", "--batch"]).stderr(Stdio::null()))?;
        let answers = BufReader::new(child.stdout.take().expect("stdout was piped"));
        Ok(Self { child, answers })
    }

    /// A commit's parents; `None` if there is no such commit here.
    fn parents(&mut self, id: &str) -> Result<Option<Vec<String>>, Error> {
        Ok(self.commit(id)?.map(|text| values(&text, "parent").collect()))
    }

    /// A commit's tree; `None` if there is no such commit here.
    fn tree(&mut self, id: &str) -> Result<Option<String>, Error> {
        Ok(self.commit(id)?.and_then(|text| values(&text, "tree").next()))
    }

    fn commit(&mut self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        self.ask(id).map_err(|e| Error::Git(e.to_string()))
    }

    /// A commit as it is written.
    fn ask(&mut self, id: &str) -> io::Result<Option<Vec<u8>>> {
        let stdin = self.child.stdin.as_mut().expect("stdin was piped");
        writeln!(stdin, "{id}")?;
        stdin.flush()?;
        let mut head = String::new();
        self.answers.read_line(&mut head)?;
        let mut words = head.split_whitespace().skip(1);
        let (kind, size) = (words.next(), words.next().and_then(|s| s.parse::<u64>().ok()));
        let Some(size) = size else { return Ok(None) };
        let mut text = Vec::new();
        (&mut self.answers).take(size + 1).read_to_end(&mut text)?;
        if text.len() as u64 != size + 1 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((kind == Some("commit")).then_some(text))
    }
}

impl Drop for CommitReader {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a raw commit says under a name: lines of its head, which ends with an empty line.
fn values<'c>(commit: &'c [u8], name: &'c str) -> impl Iterator<Item = String> + 'c {
    commit
        .split(|b| *b == b'\n')
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b" "))
        .map(|value| String::from_utf8_lossy(value).into_owned())
}

/// Ends a child that takes too long or writes too much. It is lifted before the child is waited for, so its number
/// is still its own.
struct Guard {
    lifted: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<Option<Error>>,
}

impl Guard {
    /// How often it looks how much is written.
    const LOOKS: Duration = Duration::from_millis(100);

    fn set(child: &Child, dir: PathBuf, limits: Limits) -> Self {
        let (lifted, wait) = mpsc::channel::<()>();
        let pid = rustix::process::Pid::from_child(child);
        let by = Instant::now() + limits.time;
        let thread = std::thread::spawn(move || {
            let why = loop {
                match wait.recv_timeout(Self::LOOKS) {
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    _ => return None,
                }
                if Instant::now() >= by {
                    break Error::Slow(limits.time);
                }
                // An index is small beside its pack; what is exact is looked at in the end.
                if largest(&dir) > limits.size {
                    break Error::TooLarge(limits.size);
                }
            };
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            Some(why)
        });
        Self { lifted, thread }
    }

    /// Why it had to act, if it had to.
    fn lift(self) -> Option<Error> {
        drop(self.lifted);
        self.thread.join().unwrap_or(None)
    }
}

/// Bytes of the largest file of a folder.
fn largest(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|m| m.len()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_of_a_commit_is_read() {
        let commit = b"tree 1\nparent aa\nparent bb\nauthor x\n\nparent cc\ntree 2\n";
        let all = |name| values(commit, name).collect::<Vec<_>>();
        assert_eq!(all("parent"), ["aa", "bb"]);
        assert_eq!(all("tree"), ["1"]);
        assert!(values(b"tree 1\nauthor x\n\n", "parent").next().is_none());
    }
}
