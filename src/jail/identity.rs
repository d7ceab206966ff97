//! Who the sandbox's one user is on the host.
//!
//! For an ordinary user it is that user. Root never maps itself: an unprivileged uid that belongs to nobody
//! stands in, one for each sandbox, so that a file made inside is never root's outside.

use std::fs;
use std::io;

use rustix::process::{Pid, Signal, set_parent_process_death_signal};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use super::mounts::OrFail;
use super::spec::{Failure, INSIDE_ID, Isolation, Spec, Stage, root_mode_uid};

/// The uid (and gid) that stands in for root; `None` for an ordinary user.
pub(super) fn stand_in(spec: &Spec) -> Option<u32> {
    if !rustix::process::geteuid().is_root() || spec.isolation != Isolation::Namespaces {
        return None;
    }
    let wanted = spec.root_mode_uid.unwrap_or_else(|| root_mode_uid(&spec.id));
    choose(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default(), wanted)
}

/// `wanted`, or where root is only a container's and knows fewer uids, the last it knows. Knowing none but
/// itself, it is an ordinary user by another name.
fn choose(uid_map: &str, wanted: u32) -> Option<u32> {
    let ranges = uid_map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().ok());
        let (first, _outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(first..first + count)
    });
    let ranges: Vec<_> = ranges.collect();
    if ranges.iter().any(|range| range.contains(&u64::from(wanted))) {
        return Some(wanted);
    }
    let last = ranges.iter().map(|range| range.end.saturating_sub(1)).max()?;
    u32::try_from(last).ok().filter(|last| *last != 0)
}

/// Maps the one user the sandbox has.
pub(super) fn map_user(init: Pid, uid: u32, stand_in: Option<u32>) -> Result<(), Failure> {
    let gid = stand_in.unwrap_or(rustix::process::getegid().as_raw());
    let maps = [
        ("setgroups", "deny".to_owned()),
        ("gid_map", format!("{INSIDE_ID} {gid} 1")),
        ("uid_map", format!("{INSIDE_ID} {uid} 1")),
    ];
    for (name, line) in maps {
        fs::write(format!("/proc/{}/{name}", init.as_raw_nonzero()), line)
            .or_fail(Stage::UserMap, name)?;
    }
    Ok(())
}

/// Becomes that user, inside.
pub(super) fn take_identity() -> io::Result<()> {
    let gid = rustix::fs::Gid::from_raw(INSIDE_ID);
    let uid = rustix::fs::Uid::from_raw(INSIDE_ID);
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    // After the change, which clears it. A monitor that died before leaves us with another parent.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_represented_by_somebody_else() {
        let wanted = root_mode_uid("a");
        let table = [
            ("         0          0 4294967295\n", Some(wanted)),
            ("         0     100000      65536\n", Some(65535)),
            ("0 1000 1\n1 100000 65536\n", Some(65536)),
            ("         0       1000          1\n", None),
            ("", None),
        ];
        for (map, chosen) in table {
            assert_eq!(choose(map, wanted), chosen, "{map:?}");
        }
    }
}
