//! The daemon inside a sandbox: files, commands, sessions, terminals, ports.
//!
//! It speaks the wire of Daytona's toolbox, old (0.190) and new generation, on a unix socket that the
//! server hands over. There is no authentication here: whoever reaches the socket may do everything the
//! sandbox's user may, and so may the agent itself. The proxy in front checks credentials.
//!
//! The wire is Daytona's, its mistakes are not. What differs on purpose: every refusal has a JSON body, a
//! terminal's whole output comes before its end is told, a session survives `exit N` in a command far
//! enough to report N, a follower is always closed, uploads replace a file in one step, a directory is
//! never moved into itself, and nothing waits for a background child that keeps a pipe open.

mod absent;
mod body;
mod download;
mod environment;
mod error;
mod file_info;
mod files;

mod info;
mod moving;
mod multipart_out;
mod paths;
mod ports;
mod process;
mod processes;
mod proxy;
mod pty;
mod ranges;
mod search;
mod server;
mod sessions;
mod staging;
mod upload;
mod websocket;

use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

pub use server::{Setup, router, serve};
pub use sessions::marks::{Demux, Stream};

/// The number of the listening socket a parent hands over.
const LISTENER: i32 = 3;

/// The hidden subcommand `__toolbox`: serves on the listening unix socket that is open as descriptor 3.
/// The home directory, the work directory and the environment of all commands are this process's own.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            tracing::error!(%err, "the toolbox ended");
            ExitCode::FAILURE
        }
    }
}

fn run() -> std::io::Result<()> {
    // Not even a process of the same user may look into this one's memory or descriptors.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    let listener = inherited_listener()?;
    let setup = Setup::from_environment()?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(
        async {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let mut ended =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                served = serve(listener, setup) => served,
                _ = ended.recv() => Ok(()),
            }
        },
    )
}

#[expect(unsafe_code, reason = "an inherited descriptor is known by its number only")]
fn inherited_listener() -> std::io::Result<UnixListener> {
    // SAFETY: nothing else in this process has opened a descriptor that it believes to own as 3: this
    // runs first, and an unopened 3 is refused by the system call below.
    let fd = unsafe { OwnedFd::from_raw_fd(LISTENER) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    let listener = UnixListener::from(fd);
    listener.set_nonblocking(true)?;
    Ok(listener)
}
