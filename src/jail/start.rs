//! The hidden subcommand `__sandbox-init`: monitor outside, builder and reaper inside.
//!
//! The monitor reads the specification, binds the toolbox's socket, creates the namespaces and waits until
//! the sandbox ends; it has a session of its own and survives the server. The builder is pid 1 of the
//! sandbox: it makes the new root, gives everything up, then executes our binary anew as the reaper, so
//! that nothing of the monitor's memory or command line can be read inside. The toolbox is the reaper's
//! child.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use rustix::thread::set_thread_groups;

use super::identity::{map_user, stand_in, take_identity};
use super::life::{identify, take_lock};
use super::mounts::{self, OrFail, Sources};
use super::spec::{
    Answer, BINARY, Failure, Holder, Isolation, LISTENER_FD, Network, Spec, Stage, home_dir,
    run_dir, socket_path, tmp_dir,
};
use super::sys::{self, Cloned};
use super::{limits, seccomp, socket};

/// The argument that makes us the reaper.
const REAPER: &str = "reaper";

/// Where the reaper finds the pipe on which it says that the first program runs.
const STATUS_FD: i32 = 4;

/// Longest host name Linux takes, in bytes.
const HOST_NAME_MAX: usize = 64;

/// The word it says.
const RUNNING: &[u8] = b"running";

/// The hidden subcommand `__sandbox-init`.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(2);
    match args.next() {
        Some(word) if word == REAPER => reaper(args.collect()),
        _ => monitor(),
    }
}

// --- outside

fn monitor() -> ExitCode {
    // Nothing else the caller had open reaches the sandbox.
    let _ = sys::close_from(3);
    let Ok(mut answer_to) = sys::private_stdout() else { return ExitCode::FAILURE };
    let outcome =
        read_spec().and_then(|spec| match sys::clone_process(0).or_fail(Stage::Clone, "")? {
            // The server waits for this process only; the monitor is nobody's child.
            Cloned::Parent(_) => Ok(()),
            Cloned::Child => hold(&spec, &mut answer_to),
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&mut answer_to, &Answer::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

fn read_spec() -> Result<Spec, Failure> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).or_fail(Stage::Spec, "")?;
    let spec = serde_json::from_str(&text).map_err(io::Error::from).or_fail(Stage::Spec, "")?;
    let null = File::open("/dev/null").or_fail(Stage::Spec, "/dev/null")?;
    rustix::stdio::dup2_stdin(&null).or_fail(Stage::Spec, "stdin")?;
    rustix::stdio::dup2_stdout(&null).or_fail(Stage::Spec, "stdout")?;
    Ok(spec)
}

fn say(to: &mut File, answer: &Answer) {
    if let Ok(mut line) = serde_json::to_vec(answer) {
        line.push(b'\n');
        // A server that is gone hears nothing, and will find the lock instead.
        let _ = to.write_all(&line);
    }
}

/// Starts the sandbox, says so, and stays until it ended.
fn hold(spec: &Spec, answer_to: &mut File) -> Result<(), Failure> {
    rustix::process::setsid().or_fail(Stage::Identity, "session")?;
    make_directories(spec).or_fail(Stage::Directories, &spec.dir)?;
    let lock = take_lock(&spec.dir).or_fail(Stage::Lock, &spec.dir)?;
    let mut lock =
        lock.ok_or(io::Error::from_raw_os_error(libc::EBUSY)).or_fail(Stage::Lock, &spec.dir)?;
    let listener =
        socket::listen(&socket_path(&spec.dir)).or_fail(Stage::Socket, "toolbox.sock")?;
    let started = match spec.isolation {
        Isolation::Namespaces => start_isolated(spec, listener),
        Isolation::None => start_plain(spec, listener),
    };
    let init = match started {
        Ok(init) => init,
        Err(failure) => {
            end_descendants();
            let _ = fs::remove_file(socket_path(&spec.dir));
            return Err(failure);
        }
    };
    let holder = record(&mut lock, init).or_fail(Stage::Lock, "monitor.lock")?;
    say(answer_to, &Answer::Ready(holder));
    rustix::stdio::dup2_stdout(File::open("/dev/null").or_fail(Stage::Exec, "/dev/null")?)
        .or_fail(Stage::Exec, "")?;
    wait_for(init);
    end_descendants();
    let _ = fs::remove_file(socket_path(&spec.dir));
    Ok(())
}

fn make_directories(spec: &Spec) -> io::Result<()> {
    for dir in [home_dir(&spec.dir), tmp_dir(&spec.dir), run_dir(&spec.dir)] {
        fs::create_dir_all(&dir)?;
    }
    fs::set_permissions(&spec.dir, fs::Permissions::from_mode(0o700))?;
    fs::set_permissions(run_dir(&spec.dir), fs::Permissions::from_mode(0o700))?;
    if let Some(uid) = stand_in(spec) {
        chown(home_dir(&spec.dir), Some(uid), Some(uid))?;
        chown(tmp_dir(&spec.dir), Some(uid), Some(uid))?;
    }
    Ok(())
}

fn record(lock: &mut File, init: Pid) -> io::Result<Holder> {
    let known = |pid: u32| identify(pid).ok_or(io::Error::from_raw_os_error(libc::ESRCH));
    let holder = Holder {
        monitor: known(std::process::id())?,
        init: known(init.as_raw_nonzero().get().unsigned_abs())?,
    };
    lock.set_len(0)?;
    serde_json::to_writer(&mut *lock, &holder)?;
    Ok(holder)
}

fn wait_for(process: Pid) {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == process && !status.stopped() => return,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Kills what is left of a sandbox without namespaces. As their subreaper we are the parent of all whose
/// own parent is gone, so whoever survives a round is found in the next.
fn end_descendants() {
    loop {
        let children =
            fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id()));
        for child in children.unwrap_or_default().split_whitespace() {
            if let Some(pid) = child.parse().ok().and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn start_isolated(spec: &Spec, listener: UnixListener) -> Result<Pid, Failure> {
    let stand_in = stand_in(spec);
    if stand_in.is_some() {
        set_thread_groups(&[]).or_fail(Stage::Identity, "groups")?;
    }
    // Root opens the host's paths while it is root; anybody else can only inside the new namespaces.
    let sources = stand_in.map(|_| mounts::open_sources(spec)).transpose()?;
    let (mut status, mut status_in) = pipe().or_fail(Stage::Clone, "pipe")?;
    let (go, mut go_in) = pipe().or_fail(Stage::Clone, "pipe")?;
    match sys::clone_process(namespaces(spec.network)).or_fail(Stage::Clone, "")? {
        Cloned::Child => {
            drop((status, go_in));
            let failure = match build(spec, sources, go, &status_in, listener) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            say(&mut status_in, &Answer::Failed(failure));
            leave()
        }
        Cloned::Parent(init) => {
            drop((status_in, go, sources, listener));
            map_user(init, stand_in.unwrap_or(rustix::process::geteuid().as_raw()), stand_in)?;
            go_in.write_all(b"g").or_fail(Stage::Clone, "go")?;
            heard(&mut status).map(|()| init)
        }
    }
}

fn namespaces(network: Network) -> u64 {
    let always = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let flags = if network == Network::None { always | libc::CLONE_NEWNET } else { always };
    u64::from(flags as u32)
}

fn pipe() -> io::Result<(File, File)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((File::from(read), File::from(write)))
}

/// Waits for the word of the reaper, or the failure of the builder.
fn heard(status: &mut File) -> Result<(), Failure> {
    let mut said = Vec::new();
    status.read_to_end(&mut said).or_fail(Stage::Exec, "status")?;
    if said == RUNNING {
        return Ok(());
    }
    match serde_json::from_slice(&said) {
        Ok(Answer::Failed(failure)) => Err(failure),
        _ => Err(Failure {
            stage: Stage::Exec,
            errno: 0,
            detail: "pid 1 ended without a word".to_owned(),
        }),
    }
}

fn start_plain(spec: &Spec, listener: UnixListener) -> Result<Pid, Failure> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .or_fail(Stage::Identity, "subreaper")?;
    let (mut status, mut status_in) = pipe().or_fail(Stage::Clone, "pipe")?;
    match sys::clone_process(0).or_fail(Stage::Clone, "")? {
        Cloned::Child => {
            drop(status);
            let failure = match become_toolbox(spec, listener) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            say(&mut status_in, &Answer::Failed(failure));
            leave()
        }
        Cloned::Parent(toolbox) => {
            drop((status_in, listener));
            // Silence means that the program was executed: that closed the pipe.
            let mut said = Vec::new();
            status.read_to_end(&mut said).or_fail(Stage::Exec, "status")?;
            match serde_json::from_slice(&said) {
                Ok(Answer::Failed(failure)) => Err(failure),
                _ => Ok(toolbox),
            }
        }
    }
}

fn become_toolbox(spec: &Spec, listener: UnixListener) -> Result<Infallible, Failure> {
    rustix::process::setsid().or_fail(Stage::Identity, "session")?;
    set_parent_process_death_signal(Some(Signal::KILL)).or_fail(Stage::Identity, "parent")?;
    limits::resources(&super::spec::Limits { processes: u64::MAX, ..spec.limits })
        .or_fail(Stage::Limits, "")?;
    sys::place(listener.as_fd(), LISTENER_FD).or_fail(Stage::Exec, "listener")?;
    let argv = first_program(spec, &spec.binary);
    let error = command(&argv, spec).current_dir(home_dir(&spec.dir)).exec();
    Err(error).or_fail(Stage::Exec, &argv[0])
}

fn first_program(spec: &Spec, binary: &Path) -> Vec<String> {
    if spec.argv.is_empty() {
        vec![binary.to_string_lossy().into_owned(), "__toolbox".to_owned()]
    } else {
        spec.argv.clone()
    }
}

fn command(argv: &[String], spec: &Spec) -> Command {
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).env_clear().envs(&spec.env);
    command
}

// --- inside

/// Pid 1 until it executes the reaper.
fn build(
    spec: &Spec,
    sources: Option<Sources>,
    mut go: File,
    status: &File,
    listener: UnixListener,
) -> Result<Infallible, Failure> {
    let mut word = [0];
    go.read_exact(&mut word).or_fail(Stage::UserMap, "go")?;
    // Before the identity changes: only the old one may pass the directories above the host's paths.
    let sources = sources.map_or_else(|| mounts::open_sources(spec), Ok)?;
    take_identity().or_fail(Stage::Identity, "")?;
    if spec.network == Network::None {
        sys::loopback_up().or_fail(Stage::Loopback, "lo")?;
    }
    let host = spec.hostname.as_bytes();
    rustix::system::sethostname(&host[..host.len().min(HOST_NAME_MAX)])
        .or_fail(Stage::Hostname, &spec.hostname)?;
    rustix::process::setsid().or_fail(Stage::Identity, "session")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let filter = seccomp::program().map_err(|error| Failure {
        stage: Stage::Seccomp,
        errno: 0,
        detail: error.to_string(),
    })?;
    mounts::enter(spec, sources)?;
    hand_over(status, &listener).or_fail(Stage::Exec, "descriptors")?;
    std::env::set_current_dir(super::spec::HOME).or_fail(Stage::Exec, super::spec::HOME)?;
    limits::resources(&spec.limits).or_fail(Stage::Limits, "")?;
    limits::capabilities().or_fail(Stage::Capabilities, "")?;
    limits::scopes();
    set_dumpable_behavior(DumpableBehavior::NotDumpable).or_fail(Stage::Identity, "dumpable")?;
    seccompiler::apply_filter(&filter).map_err(|error| Failure {
        stage: Stage::Seccomp,
        errno: 0,
        detail: error.to_string(),
    })?;
    let argv = first_program(spec, Path::new(BINARY));
    let mut reaper = vec![BINARY.to_owned(), "__sandbox-init".to_owned(), REAPER.to_owned()];
    reaper.extend(argv);
    Err(command(&reaper, spec).exec()).or_fail(Stage::Exec, BINARY)
}

/// Puts the two descriptors the reaper needs where it looks for them.
fn hand_over(status: &File, listener: &UnixListener) -> io::Result<()> {
    let status = rustix::io::fcntl_dupfd_cloexec(status, 16)?;
    let listener = rustix::io::fcntl_dupfd_cloexec(listener, 16)?;
    sys::place(listener.as_fd(), LISTENER_FD)?;
    sys::place(status.as_fd(), STATUS_FD)
}

/// Pid 1 of a running sandbox: starts the first program, takes in orphans, ends with the program.
fn reaper(argv: Vec<std::ffi::OsString>) -> ExitCode {
    let mut status = File::from(sys::inherited(STATUS_FD));
    match start_first(&argv, &status) {
        Ok(first) => {
            let _ = status.write_all(RUNNING);
            drop((status, sys::inherited(LISTENER_FD)));
            wait_for(first);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&mut status, &Answer::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

fn start_first(argv: &[std::ffi::OsString], status: &File) -> Result<Pid, Failure> {
    // Executing a program made us readable again.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).or_fail(Stage::Identity, "dumpable")?;
    let [program, args @ ..] = argv else {
        return Err(Failure { stage: Stage::Exec, errno: libc::EINVAL, detail: String::new() });
    };
    rustix::io::fcntl_setfd(status, rustix::io::FdFlags::CLOEXEC).or_fail(Stage::Exec, "status")?;
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .spawn()
        .or_fail(Stage::Exec, Path::new(program))?;
    Ok(Pid::from_raw(child.id() as i32).expect("a child has a pid"))
}

/// Leaves a forked copy without running what the original still wants to run.
fn leave() -> ! {
    sys::exit_now(1)
}
