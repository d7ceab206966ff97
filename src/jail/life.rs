//! A sandbox's life as the host sees it: launch, find, stop, destroy.
//!
//! Its monitor holds a lock in the sandbox's directory and writes there which processes hold it. A
//! lock cannot be stale, and a start time tells a process from a later one with its pid; so any
//! server, also a restarted one, finds what runs and ends exactly that.

use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fs_err as fs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::spec::{Answer, Failure, Holder, ProcessId, Spec, run_dir};

/// How long a start may take; it is milliseconds unless the machine is in trouble.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// How long a killed sandbox may take to vanish.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Longest answer of `__sandbox-init`, in bytes.
const ANSWER_MAX: u64 = 64 * 1024;

/// What can go wrong in a sandbox's life.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// A step of the start was refused.
    #[error("start sandbox `{id}`: {failure}")]
    Start {
        /// The sandbox.
        id: String,
        /// The step and the kernel's answer.
        failure: Failure,
    },
    /// `__sandbox-init` said nothing we understand.
    #[error("start sandbox `{id}`: no answer from the monitor{said}")]
    NoAnswer {
        /// The sandbox.
        id: String,
        /// What it said instead, may be empty.
        said: String,
    },
    /// It did not start in time.
    #[error("start sandbox `{0}`: not ready after {START_DEADLINE:?}")]
    StartTimeout(String),
    /// It did not end in time.
    #[error("stop the sandbox in `{0}`: still there after {STOP_DEADLINE:?}")]
    StopTimeout(PathBuf),
    /// The disk or a process call.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Starts a sandbox and returns when its first program runs. Leaves no child to wait for.
pub fn launch(spec: &Spec) -> Result<Holder, LifeError> {
    make_private(&spec.dir)?;
    make_private(&run_dir(&spec.dir))?;
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(run_dir(&spec.dir).join("toolbox.log"))?;
    let mut child = Command::new(&spec.binary)
        .arg("__sandbox-init")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log.into_parts().0)
        .spawn()?;
    let answer = converse(spec, &mut child);
    if answer.is_err() {
        // It may hang before it forked the monitor; the monitor itself ends with its own failure.
        let _ = child.kill();
    }
    child.wait()?;
    match answer? {
        Answer::Ready(holder) => Ok(holder),
        Answer::Failed(failure) => Err(LifeError::Start { id: spec.id.clone(), failure }),
    }
}

fn converse(spec: &Spec, child: &mut Child) -> Result<Answer, LifeError> {
    let mut stdin = child.stdin.take().expect("stdin was asked for as a pipe");
    let sent = serde_json::to_writer(&mut stdin, spec)
        .map_err(std::io::Error::from)
        .and_then(|()| stdin.flush());
    drop(stdin);
    let stdout = child.stdout.take().expect("stdout was asked for as a pipe");
    if !readable(&stdout, START_DEADLINE)? {
        return Err(LifeError::StartTimeout(spec.id.clone()));
    }
    let mut line = String::new();
    BufReader::new(stdout.take(ANSWER_MAX)).read_line(&mut line)?;
    match (serde_json::from_str(&line), sent) {
        (Ok(answer), _) => Ok(answer),
        (Err(_), Err(broken)) => Err(broken.into()),
        (Err(_), Ok(())) => {
            let said =
                if line.is_empty() { String::new() } else { format!(", but `{}`", line.trim()) };
            Err(LifeError::NoAnswer { id: spec.id.clone(), said })
        }
    }
}

/// Who holds the sandbox in `dir`; `None` when it does not run.
pub fn find(dir: &Path) -> Result<Option<Holder>, LifeError> {
    let Some(mut lock) = open_lock(dir)? else { return Ok(None) };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => return Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => {}
        Err(e) => return Err(std::io::Error::from(e).into()),
    }
    // Empty while a start is under way: not running yet.
    Ok(holder_in(&mut lock)?.filter(|holder| open_process(holder.init).is_some()))
}

/// Ends every process of the sandbox in `dir`. Its files stay.
pub fn stop(dir: &Path) -> Result<(), LifeError> {
    let Some(holder) = find(dir)? else { return Ok(()) };
    let init = open_process(holder.init);
    let monitor = open_process(holder.monitor);
    if let Some(init) = &init {
        end(init)?;
        if !readable(init, STOP_DEADLINE)? {
            return Err(LifeError::StopTimeout(dir.to_owned()));
        }
    }
    // The monitor leaves when all of its sandbox is gone; waiting for it makes "stopped" mean that.
    if let Some(monitor) = &monitor
        && !readable(monitor, STOP_DEADLINE)?
    {
        end(monitor)?;
        return Err(LifeError::StopTimeout(dir.to_owned()));
    }
    Ok(())
}

/// Stops the sandbox in `dir` and removes the directory with all that the sandbox left in it.
pub fn destroy(dir: &Path) -> Result<(), LifeError> {
    stop(dir)?;
    match std::fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(_) => {
            // Build caches are full of directories without write permission.
            unlock_directories(dir)?;
            Ok(fs::remove_dir_all(dir)?)
        }
    }
}

/// Identifies a live process; `None` when there is none with this pid.
pub(crate) fn identify(pid: u32) -> Option<ProcessId> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let start = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    Some(ProcessId { pid, start })
}

/// A handle on exactly this process; `None` when it ended, also if nobody has noticed yet.
pub(crate) fn open_process(id: ProcessId) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(id.pid).ok()?)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let same = identify(id.pid) == Some(id);
    let ended = readable(&handle, Duration::ZERO).unwrap_or(true);
    (same && !ended).then_some(handle)
}

/// Takes the lock of the sandbox in `dir` for as long as the file is open; `None` when it runs or starts.
/// One that is just ending is waited for.
pub(crate) fn take_lock(dir: &Path) -> std::io::Result<Option<File>> {
    let mut lock = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(lock_path(dir))?;
    loop {
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(lock)),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(e) => return Err(e.into()),
        }
        let ending = holder_in(&mut lock)?.filter(|holder| open_process(holder.init).is_none());
        let Some(monitor) = ending.map(|holder| open_process(holder.monitor)) else {
            return Ok(None);
        };
        if let Some(monitor) = monitor
            && !readable(&monitor, STOP_DEADLINE)?
        {
            return Ok(None);
        }
    }
}

fn holder_in(lock: &mut File) -> std::io::Result<Option<Holder>> {
    let mut text = String::new();
    lock.rewind()?;
    lock.read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text).ok())
}

fn lock_path(dir: &Path) -> PathBuf {
    run_dir(dir).join("monitor.lock")
}

fn open_lock(dir: &Path) -> Result<Option<File>, LifeError> {
    match File::open(lock_path(dir)) {
        Ok(lock) => Ok(Some(lock)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn end(process: &OwnedFd) -> std::io::Result<()> {
    match pidfd_send_signal(process, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Waits until `fd` has something to say; for a process handle, until the process ended.
fn readable(fd: impl AsFd, limit: Duration) -> std::io::Result<bool> {
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: 0 };
    loop {
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut fds, Some(&limit)) {
            Ok(n) => return Ok(n > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn make_private(dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

fn unlock_directories(dir: &Path) -> std::io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock_directories(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_runs_where_nothing_was_started() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path()).unwrap(), None);
        stop(dir.path()).unwrap();
        destroy(dir.path()).unwrap();
        destroy(dir.path()).unwrap();
        assert!(!dir.path().exists());
    }

    #[test]
    fn directories_without_permissions_can_be_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("home/a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("f"), "x").unwrap();
        std::fs::set_permissions(&deep, Permissions::from_mode(0o555)).unwrap();
        std::fs::set_permissions(deep.parent().unwrap(), Permissions::from_mode(0o000)).unwrap();
        destroy(dir.path()).unwrap();
        assert!(!dir.path().exists());
    }

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let me = identify(std::process::id()).unwrap();
        assert!(open_process(me).is_some());
        assert!(open_process(ProcessId { start: me.start + 1, ..me }).is_none());
    }
}
