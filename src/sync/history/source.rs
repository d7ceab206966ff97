//! The user's commits, read through a throw-away repository that borrows their objects.
//!
//! The borrowed repository knows no remote, no promisor, no replacement and no setting of the user's, so
//! nothing is ever fetched for it and nothing of theirs is written. What it may see of the past is cut by
//! a `shallow` file of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::Error;
use crate::worktree::Repo;
use crate::worktree::git::git_command;
use crate::worktree::private::alternates_line;
use crate::worktree::repo::ObjectFormat;

/// Commits by id, each with its parents as they are written in it.
pub type Commits = BTreeMap<String, Vec<String>>;

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

    /// Appends what `head` needs and `old` does not have to `out`, both seen no deeper than `ends`. A pack
    /// above `max` bytes, and one that takes longer than `patience`, is given up.
    pub fn pack(
        &self,
        (head, old): (&str, Option<&str>),
        ends: &BTreeSet<String>,
        out: &mut dyn Write,
        (max, patience): (u64, Duration),
    ) -> Result<(), Error> {
        let io = |source| Error::Local { dir: self.dir.clone(), source };
        std::fs::write(self.dir.join("shallow"), lines(ends)).map_err(io)?;
        let mut git = self.git();
        git.args(["-c", "core.bigFileThreshold=8m", "pack-objects", "--revs", "--stdout", "-q"]);
        git.args(["--delta-base-offset"]);
        if old.is_some() {
            git.arg("--thin");
        }
        let mut child = spawn(&mut git)?;
        let asked = match old {
            Some(old) => format!("{head}\n^{old}\n"),
            None => format!("{head}\n"),
        };
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
        let guard = Guard::set(&child, patience);
        let copied = io::copy(&mut (&mut stdout).take(max + 1), out);
        let slow = guard.lift();
        // A git that has more to say ends by its closed pipe.
        drop(stdout);
        let status = child.wait().map_err(io)?;
        let size = copied.map_err(io)?;
        if slow {
            return Err(Error::Slow(patience));
        }
        if size > max {
            return Err(Error::TooLarge(max));
        }
        if !status.success() {
            return Err(Error::Git(brief(&complaint.join().unwrap_or_default())));
        }
        Ok(())
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
    answers: BufReader<std::process::ChildStdout>,
}

impl CommitReader {
    fn start(mut git: Command) -> Result<Self, Error> {
        let mut child = spawn(git.args(["cat-file", "--batch"]).stderr(Stdio::null()))?;
        let answers = BufReader::new(child.stdout.take().expect("stdout was piped"));
        Ok(Self { child, answers })
    }

    /// A commit's parents; `None` if there is no such commit here.
    fn parents(&mut self, id: &str) -> Result<Option<Vec<String>>, Error> {
        self.ask(id).map_err(|e| Error::Git(e.to_string()))
    }

    fn ask(&mut self, id: &str) -> io::Result<Option<Vec<String>>> {
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
        Ok((kind == Some("commit")).then(|| parents_of(&text)))
    }
}

impl Drop for CommitReader {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The parents a raw commit names: lines of its head, which ends with an empty line.
fn parents_of(commit: &[u8]) -> Vec<String> {
    commit
        .split(|b| *b == b'\n')
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix(b"parent "))
        .map(|id| String::from_utf8_lossy(id).into_owned())
        .collect()
}

/// Ends a child that takes too long. It is lifted before the child is waited for, so its number is still its own.
struct Guard {
    lifted: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<bool>,
}

impl Guard {
    fn set(child: &Child, patience: Duration) -> Self {
        let (lifted, wait) = mpsc::channel::<()>();
        let pid = rustix::process::Pid::from_child(child);
        let thread = std::thread::spawn(move || {
            let slow = wait.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout);
            if slow {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            slow
        });
        Self { lifted, thread }
    }

    /// Whether it had to act.
    fn lift(self) -> bool {
        drop(self.lifted);
        self.thread.join().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_of_a_commit_names_parents() {
        let commit = b"tree 1\nparent aa\nparent bb\nauthor x\n\nparent cc\n";
        assert_eq!(parents_of(commit), ["aa", "bb"]);
        assert!(parents_of(b"tree 1\nauthor x\n\n").is_empty());
    }
}
