//! What `exec` finds on standard input.
//!
//! Every filter waits for the program before its `|`, and so do we. But callers often leave a pipe open that never
//! says anything: a script runner, `ssh`, a parent that keeps the other end. Nobody waits for an end that never comes.

use std::fs;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;

/// What there is.
pub enum Piped {
    /// Nothing, or a terminal.
    Nothing,
    /// All of it, to its end.
    Bytes(Vec<u8>),
    /// It is open and says nothing, and nobody is seen who is about to.
    Silent,
}

/// How long a pipe of unknown origin may take to begin.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// What was piped in.
pub fn piped() -> Piped {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Piped::Nothing;
    }
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    // Looked at twice: whoever is just being started holds what its parent has open, for a moment.
    for _ in 0..2 {
        match poll(&mut fds, Some(&PATIENCE)) {
            Ok(0) if has_producer() => {}
            Ok(0) => return Piped::Silent,
            Ok(_) => break,
            Err(_) => return Piped::Nothing,
        }
    }
    to_its_end()
}

/// Standard input to its end. An empty or closed one is none.
pub fn to_its_end() -> Piped {
    let mut bytes = Vec::new();
    match std::io::stdin().read_to_end(&mut bytes) {
        Ok(_) if !bytes.is_empty() => Piped::Bytes(bytes),
        _ => Piped::Nothing,
    }
}

/// Whether standard input is the end of a pipeline: somebody of our own process group, as the shell puts it
/// together, holds the other end, and it is none of those who started us.
fn has_producer() -> bool {
    let Ok(pipe) = fs::read_link("/proc/self/fd/0") else { return false };
    if !pipe.to_string_lossy().starts_with("pipe:") {
        return false;
    }
    let group = getpgrp().as_raw_nonzero().get();
    let ours = ancestry();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| !ours.contains(pid))
        .filter(|pid| family(*pid).is_some_and(|(_, theirs)| theirs == group))
        .any(|pid| writes_into(pid, &pipe))
}

/// This process and those it descends from.
fn ancestry() -> Vec<i32> {
    let next = |pid: &i32| family(*pid).map(|(parent, _)| parent).filter(|parent| *parent > 0);
    std::iter::successors(i32::try_from(std::process::id()).ok(), next).collect()
}

/// A process's parent and group, see `proc_pid_stat(5)`.
fn family(pid: i32) -> Option<(i32, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything, brackets too.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn writes_into(pid: i32, pipe: &Path) -> bool {
    let handles = PathBuf::from(format!("/proc/{pid}/fd"));
    let open = fs::read_dir(&handles).into_iter().flatten().flatten();
    let mut to_it = open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == pipe));
    to_it.any(|fd| {
        let info = PathBuf::from(format!("/proc/{pid}/fdinfo")).join(fd.file_name());
        let text = fs::read_to_string(info).unwrap_or_default();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
        flags.is_some_and(|flags| flags & O_ACCMODE != 0)
    })
}

/// The bits that tell read-only (0) from the rest.
const O_ACCMODE: u32 = 3;
