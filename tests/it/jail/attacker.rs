//! This test binary once more, inside a sandbox: it tries what must be refused and prints what it got.
#![expect(unsafe_code, reason = "raw system calls are what is tried")]
#![expect(clippy::print_stdout, reason = "this is how the attacker tells what it got")]

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

/// The command line that runs `attack` inside.
pub fn command(attack: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!(
        "ATTACK='{attack}' {} jail::attacker::inside --exact --nocapture --test-threads=1",
        program.display()
    )
}

/// Does nothing in an ordinary test run.
#[test]
fn inside() {
    let Ok(attack) = std::env::var("ATTACK") else { return };
    match attack.split_once(':') {
        Some(("abstract", name)) => {
            let address = SocketAddr::from_abstract_name(name).unwrap();
            report("abstract socket", UnixStream::connect_addr(&address).map(drop));
        }
        _ if attack == "syscalls" => syscalls(),
        #[cfg(target_arch = "x86_64")]
        _ if attack == "int80" => int80(),
        _ => panic!("unknown attack {attack}"),
    }
}

fn report(what: &str, outcome: std::io::Result<()>) {
    match outcome {
        Ok(()) => println!("\ngot {what}"),
        Err(error) => println!("\ntried {what}: {error}"),
    }
}

fn call(nr: i64, args: [u64; 6]) -> std::io::Result<()> {
    // SAFETY: the arguments are numbers, or pointers to memory that outlives the call.
    let got = unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if got == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

fn syscalls() {
    let text = |s: &'static std::ffi::CStr| s.as_ptr() as u64;
    let scratch = Box::leak(Box::new([0_u8; 4096])).as_mut_ptr() as u64;
    let root = text(c"/");
    let here = libc::AT_FDCWD as u64;
    let new_user = libc::CLONE_NEWUSER as u64;
    let tries: &[(&str, i64, [u64; 6])] = &[
        ("mount", libc::SYS_mount, [text(c"none"), text(c"/tmp"), text(c"tmpfs"), 0, 0, 0]),
        ("remount", libc::SYS_mount, [0, text(c"/usr"), 0, libc::MS_REMOUNT | libc::MS_BIND, 0, 0]),
        ("umount", libc::SYS_umount2, [text(c"/proc/sys"), libc::MNT_DETACH as u64, 0, 0, 0, 0]),
        ("pivot_root", libc::SYS_pivot_root, [root, root, 0, 0, 0, 0]),
        ("chroot", libc::SYS_chroot, [root, 0, 0, 0, 0, 0]),
        ("open_tree", libc::SYS_open_tree, [here, root, 1, 0, 0, 0]),
        ("fsopen", libc::SYS_fsopen, [text(c"tmpfs"), 0, 0, 0, 0, 0]),
        ("fspick", libc::SYS_fspick, [here, root, 0, 0, 0, 0]),
        ("mount_setattr", libc::SYS_mount_setattr, [here, root, 0, scratch, 32, 0]),
        ("unshare user", libc::SYS_unshare, [new_user, 0, 0, 0, 0, 0]),
        ("unshare mounts", libc::SYS_unshare, [libc::CLONE_NEWNS as u64, 0, 0, 0, 0, 0]),
        ("clone user", libc::SYS_clone, [new_user | libc::SIGCHLD as u64, 0, 0, 0, 0, 0]),
        (
            "clone net",
            libc::SYS_clone,
            [libc::CLONE_NEWNET as u64 | libc::SIGCHLD as u64, 0, 0, 0, 0, 0],
        ),
        ("clone3", libc::SYS_clone3, [scratch, 64, 0, 0, 0, 0]),
        ("setns", libc::SYS_setns, [0, 0, 0, 0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [0, (-3_i64) as u64, 1, 0, 0, 0]),
        ("add_key", libc::SYS_add_key, [text(c"user"), text(c"k"), scratch, 4, (-3_i64) as u64, 0]),
        ("bpf", libc::SYS_bpf, [0, scratch, 64, 0, 0, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, [scratch, 0, u64::MAX, u64::MAX, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, scratch, 0, 0, 0, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [here, scratch, 0, 0, 0, 0]),
        ("init_module", libc::SYS_init_module, [scratch, 4, text(c""), 0, 0, 0]),
        ("finit_module", libc::SYS_finit_module, [0, text(c""), 0, 0, 0, 0]),
        ("kexec_load", libc::SYS_kexec_load, [0, 0, 0, 0, 0, 0]),
        ("swapon", libc::SYS_swapon, [root, 0, 0, 0, 0, 0]),
        ("acct", libc::SYS_acct, [0, 0, 0, 0, 0, 0]),
        ("syslog", libc::SYS_syslog, [10, 0, 0, 0, 0, 0]),
        ("settimeofday", libc::SYS_settimeofday, [scratch, 0, 0, 0, 0, 0]),
        ("setuid", libc::SYS_setuid, [0, 0, 0, 0, 0, 0]),
        ("setgid", libc::SYS_setgid, [0, 0, 0, 0, 0, 0]),
        ("ptrace init", libc::SYS_ptrace, [libc::PTRACE_ATTACH as u64, 1, 0, 0, 0, 0]),
        ("ptrace toolbox", libc::SYS_ptrace, [libc::PTRACE_ATTACH as u64, 2, 0, 0, 0, 0]),
        ("vsock", libc::SYS_socket, [libc::AF_VSOCK as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0]),
        ("packet", libc::SYS_socket, [libc::AF_PACKET as u64, libc::SOCK_RAW as u64, 0, 0, 0, 0]),
        ("alg", libc::SYS_socket, [libc::AF_ALG as u64, libc::SOCK_SEQPACKET as u64, 0, 0, 0, 0]),
        ("raw", libc::SYS_socket, [libc::AF_INET as u64, libc::SOCK_RAW as u64, 1, 0, 0, 0]),
        (
            "netlink audit",
            libc::SYS_socket,
            [libc::AF_NETLINK as u64, libc::SOCK_RAW as u64, 9, 0, 0, 0],
        ),
        ("TIOCSTI", libc::SYS_ioctl, [0, libc::TIOCSTI, scratch, 0, 0, 0]),
        #[cfg(target_arch = "x86_64")]
        ("iopl", libc::SYS_iopl, [3, 0, 0, 0, 0, 0]),
        #[cfg(target_arch = "x86_64")]
        ("x32 getpid", 0x4000_0000 | libc::SYS_getpid, [0; 6]),
        #[cfg(target_arch = "x86_64")]
        ("x32 unshare", 0x4000_0000 | libc::SYS_unshare, [new_user, 0, 0, 0, 0, 0]),
    ];
    // What only a filter refuses has to be refused by it, with its own answer.
    for (what, nr, args) in tries {
        report(what, call(*nr, *args));
    }
}

/// The 32-bit door: system calls by another table of numbers.
#[cfg(target_arch = "x86_64")]
fn int80() {
    // SAFETY: `getpid` by the old door; the filter ends the process at it.
    unsafe { std::arch::asm!("int 0x80", inlateout("rax") 20_u64 => _) };
    println!("\ngot int80");
}
