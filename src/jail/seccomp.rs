//! The system-call filter: everything is allowed but what changes mounts, namespaces, keys, the kernel or
//! other people's terminals.
//!
//! It is the last step before the first program, and a program cannot take it off.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// Flags of `clone` that make a namespace.
const NEW_NAMESPACE: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    0x80, // CLONE_NEWTIME
];

/// Socket families that stay: the others reach the hypervisor, raw frames or rarely used kernel code.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Refused with EPERM whatever the arguments.
const DENIED: &[i64] = &[
    // mounts and roots
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    467, // open_tree_attr
    libc::SYS_open_by_handle_at,
    // namespaces
    libc::SYS_setns,
    libc::SYS_unshare,
    // keys
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // kernel code with a long history of holes
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // the machine
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_settimeofday,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// `ioctl` requests that type into a terminal as if its user did.
const TYPING: [u64; 2] = [libc::TIOCSTI, 0x541c]; // TIOCLINUX

/// The filter for this machine.
pub(super) fn program() -> Result<BpfProgram, seccompiler::Error> {
    let arch: TargetArch =
        std::env::consts::ARCH.try_into().map_err(seccompiler::Error::Backend)?;
    let filter = SeccompFilter::new(
        rules()?,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        arch,
    )?;
    let checks: BpfProgram = filter.try_into()?;
    Ok(unknown_calls().into_iter().chain(checks).collect())
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        DENIED.iter().map(|nr| (*nr, Vec::new())).collect();
    let clone =
        NEW_NAMESPACE.iter().map(|flag| one(0, SeccompCmpOp::MaskedEq(*flag as u64), *flag as u64));
    rules.insert(libc::SYS_clone, clone.collect::<Result<_, _>>()?);
    let ioctl = TYPING.iter().map(|request| one(1, SeccompCmpOp::Eq, *request));
    rules.insert(libc::SYS_ioctl, ioctl.collect::<Result<_, _>>()?);
    let family = |op, value: i32| SeccompCondition::new(0, Dword, op, value as u64);
    let foreign =
        FAMILIES.iter().map(|f| family(SeccompCmpOp::Ne, *f)).collect::<Result<Vec<_>, _>>()?;
    // Of netlink only routing (which addresses there are) is everyday.
    let netlink = vec![
        family(SeccompCmpOp::Eq, libc::AF_NETLINK)?,
        SeccompCondition::new(2, Dword, SeccompCmpOp::Ne, libc::NETLINK_ROUTE as u64)?,
    ];
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(foreign)?, SeccompRule::new(netlink)?]);
    Ok(rules)
}

fn one(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::Error> {
    Ok(SeccompRule::new(vec![SeccompCondition::new(argument, Dword, op, value)?])?)
}

/// Calls that answer ENOSYS, as on an older kernel.
///
/// `clone3` hides its flags in memory where a filter cannot look; told that it is missing, libc falls back
/// to `clone`. On x86-64 every call also exists under a second number with bit 30 set (x32), which a list
/// of numbers would not match.
fn unknown_calls() -> Vec<sock_filter> {
    const LOAD_NUMBER: sock_filter = sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    const RETURN_ENOSYS: sock_filter =
        sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | libc::ENOSYS as u32 };
    let jump_equal = |k, jt, jf| sock_filter { code: 0x15, jt, jf, k };
    let mut program = vec![LOAD_NUMBER];
    if cfg!(target_arch = "x86_64") {
        let jump_at_least = sock_filter { code: 0x35, jt: 1, jf: 0, k: 0x4000_0000 };
        program.push(jump_at_least);
    }
    program.push(jump_equal(libc::SYS_clone3 as u32, 0, 1));
    program.push(RETURN_ENOSYS);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter the way the kernel does, for one call.
    fn verdict(program: &[sock_filter], nr: u32, args: [u64; 6]) -> u32 {
        let arch: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        let mut data = Vec::new();
        data.extend(nr.to_ne_bytes());
        data.extend(arch.to_ne_bytes());
        data.extend(0_u64.to_ne_bytes());
        args.iter().for_each(|a| data.extend(a.to_ne_bytes()));
        let (mut at, mut acc) = (0, 0_u32);
        loop {
            let op = &program[at];
            at += 1;
            let taken = |yes: bool| usize::from(if yes { op.jt } else { op.jf });
            match op.code {
                0x20 => acc = u32::from_ne_bytes(data[op.k as usize..][..4].try_into().unwrap()),
                0x54 => acc &= op.k,
                0x05 => at += op.k as usize,
                0x15 => at += taken(acc == op.k),
                0x25 => at += taken(acc > op.k),
                0x35 => at += taken(acc >= op.k),
                0x06 => return op.k,
                code => panic!("unexpected instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn the_filter_answers() {
        const ALLOW: u32 = 0x7fff_0000;
        let refuse = |errno: i32| 0x0005_0000 | errno as u32;
        let program = program().unwrap();
        let none = [0; 6];
        let first = |a: i32| [a as u64, 0, 0, 0, 0, 0];
        let table = [
            (libc::SYS_read, none, ALLOW),
            (libc::SYS_execve, none, ALLOW),
            (libc::SYS_mount, none, refuse(libc::EPERM)),
            (libc::SYS_unshare, first(libc::CLONE_NEWUSER), refuse(libc::EPERM)),
            (libc::SYS_clone3, none, refuse(libc::ENOSYS)),
            (libc::SYS_clone, first(libc::CLONE_VM | libc::CLONE_THREAD | libc::SIGCHLD), ALLOW),
            (libc::SYS_clone, first(libc::CLONE_NEWUSER | libc::SIGCHLD), refuse(libc::EPERM)),
            (libc::SYS_clone, first(0x80), refuse(libc::EPERM)),
            (libc::SYS_socket, first(libc::AF_INET), ALLOW),
            (libc::SYS_socket, first(libc::AF_UNIX), ALLOW),
            (libc::SYS_socket, first(libc::AF_NETLINK), ALLOW),
            (libc::SYS_socket, [libc::AF_NETLINK as u64, 0, 4, 0, 0, 0], refuse(libc::EPERM)),
            (libc::SYS_socket, first(libc::AF_VSOCK), refuse(libc::EPERM)),
            (libc::SYS_socket, first(libc::AF_PACKET), refuse(libc::EPERM)),
            // The kernel looks at 32 bits of the family; so must we.
            (
                libc::SYS_socket,
                [1 << 32 | libc::AF_VSOCK as u64, 0, 0, 0, 0, 0],
                refuse(libc::EPERM),
            ),
            (libc::SYS_ioctl, [0, libc::TIOCSTI, 0, 0, 0, 0], refuse(libc::EPERM)),
            (libc::SYS_ioctl, [0, 1 << 32 | libc::TIOCSTI, 0, 0, 0, 0], refuse(libc::EPERM)),
            (libc::SYS_ioctl, [0, libc::TIOCGWINSZ, 0, 0, 0, 0], ALLOW),
        ];
        for (nr, args, wanted) in table {
            assert_eq!(verdict(&program, nr as u32, args), wanted, "call {nr} {args:x?}");
        }
        if cfg!(target_arch = "x86_64") {
            let x32 = 0x4000_0000 | libc::SYS_mount as u32;
            assert_eq!(verdict(&program, x32, none), refuse(libc::ENOSYS));
        }
    }
}
