//! System calls no crate wraps safely. All `unsafe` of the jail is here.
//!
//! Everything in this file runs in `__sandbox-init`, which has one thread.
#![expect(unsafe_code, reason = "the kernel's interface for namespaces has no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;

/// Which process we are after [`clone_process`].
pub(super) enum Cloned {
    /// The old one, with the new one's pid.
    Parent(Pid),
    /// The new one.
    Child,
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// `clone3` with the meaning of `fork`, into the namespaces of `flags`.
pub(super) fn clone_process(flags: u64) -> io::Result<Cloned> {
    let args = CloneArgs { flags, exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() };
    // SAFETY: without CLONE_VM the child has a copy of all memory, as after `fork`; this process has a
    // single thread, so no lock of the allocator or of libc can be held by a thread that is not copied.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => Ok(Cloned::Parent(Pid::from_raw(pid as i32).expect("a pid is positive"))),
    }
}

/// Sets mount attributes on a detached mount and all below it.
pub(super) fn set_mount_attributes(mount: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a terminated string and the structure's size is given with it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Brings the interface `lo` of this network namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: an all-zero `ifreq` is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is an `ifreq` with its name terminated and its flags set, as SIOCSIFFLAGS reads it.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor from `first` on. Only for the start of a program, before any is owned.
pub(super) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: no value owns a descriptor in that range yet.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends this process at once, running nothing of the program it was copied from.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// Makes `fd` also the descriptor `number`, which survives an exec.
pub(super) fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: the callers choose numbers that no value owns.
    let done = if fd.as_raw_fd() == number {
        // `dup2` onto itself would keep the close-on-exec flag.
        unsafe { libc::fcntl(number, libc::F_SETFD, 0) }
    } else {
        // SAFETY: as above.
        unsafe { libc::dup2(fd.as_raw_fd(), number) }
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The descriptor `number`, handed over by whoever executed us.
pub(super) fn inherited(number: RawFd) -> OwnedFd {
    // SAFETY: the executing side placed it there and nothing else in this process knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// A copy of standard output that no program we start inherits.
pub(super) fn private_stdout() -> io::Result<File> {
    Ok(File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 16)?))
}

/// Drops every capability from the bounding set, also those this version has no name for.
pub(super) fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64_u64 {
        // SAFETY: takes a number only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } == -1 {
            let error = io::Error::last_os_error();
            // The first number the kernel does not know.
            return if error.raw_os_error() == Some(libc::EINVAL) && capability > 0 {
                Ok(())
            } else {
                Err(error)
            };
        }
    }
    Ok(())
}
