//! The kernel's side of a terminal: opening one, starting a program on it, reading and writing.
//!
//! By hand rather than with a crate: the master must be closed on exec from the first moment, or a command
//! started at the same time keeps a foreign terminal open; and ours is a few calls.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};

/// Columns and rows.
pub(super) type Size = (u16, u16);

/// The master side.
#[derive(Debug)]
pub(super) struct Master(AsyncFd<OwnedFd>);

/// The program's side. While it is open the master never looks ended, even if no program has it open.
#[derive(Debug)]
pub(super) struct Slave(#[expect(dead_code, reason = "held open, never used")] OwnedFd);

impl Master {
    /// Starts a program as the leader of a new session with a new terminal.
    pub(super) fn start(mut command: Command, size: Size) -> io::Result<(Self, Slave, Child)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        set_size(&master, size)?;
        command
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(Stdio::from(slave.try_clone()?));
        lead_session(&mut command);
        let child = command.spawn()?;
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok((Self(register(master)?), Slave(slave), child))
    }

    /// Reads what the program has written. An error is the end, once no program has the terminal.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.async_io(Interest::READABLE, |fd| Ok(rustix::io::read(fd, &mut *buffer)?)).await
    }

    /// Types all of it.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written =
                self.0.async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, bytes)?)).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    pub(super) fn resize(&self, size: Size) -> io::Result<()> {
        set_size(self.0.get_ref(), size)
    }
}

#[expect(unsafe_code, reason = "registration asks for a promise about the descriptor")]
fn register(master: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open file until it is dropped, and nothing here replaces it.
    Ok(unsafe { AsyncFd::register(master) }?)
}

fn set_size(fd: impl AsFd, (columns, rows): Size) -> io::Result<()> {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(fd, size)?)
}

#[expect(unsafe_code, reason = "only between fork and exec can a process take a terminal")]
fn lead_session(command: &mut Command) {
    let lead = || {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: two system calls on a descriptor that is open by then; nothing is allocated.
    unsafe { command.pre_exec(lead) };
}
