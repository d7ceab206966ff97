//! Finding and ending the processes below one.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Child;

/// A line of the process table.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    zombie: bool,
}

/// Ends a child and all of its process group at once.
pub(super) fn kill_group(child: &Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Gone already is as good.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// All that live below a process, in its group, or in its session, without itself.
pub(super) fn below(root: i32) -> BTreeSet<i32> {
    select(&table(), root)
}

/// Of these processes and all below them or below `root`, those that still run.
pub(super) fn alive(pids: &BTreeSet<i32>, root: i32) -> BTreeSet<i32> {
    let table = table();
    let running: BTreeSet<i32> = table.iter().filter(|p| !p.zombie).map(|p| p.pid).collect();
    let mut wanted = select(&table, root);
    for pid in pids {
        wanted.insert(*pid);
        wanted.extend(children(&table, *pid));
    }
    &wanted & &running
}

/// Sends a signal to each; those that are gone do not matter.
pub(super) fn signal_all(pids: impl IntoIterator<Item = i32>, signal: Signal) {
    for pid in pids.into_iter().filter(|pid| *pid > 1).filter_map(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// The tree below a process.
fn children(table: &[Process], root: i32) -> BTreeSet<i32> {
    descend(table, vec![root])
}

fn select(table: &[Process], root: i32) -> BTreeSet<i32> {
    let member = |p: &&Process| p.group == root || p.session == root;
    let roots = table.iter().filter(member).map(|p| p.pid).chain([root]).collect();
    let mut found = descend(table, roots);
    let zombies: BTreeSet<i32> = table.iter().filter(|p| p.zombie).map(|p| p.pid).collect();
    found.remove(&root);
    &found - &zombies
}

/// These processes and all below them.
fn descend(table: &[Process], mut ahead: Vec<i32>) -> BTreeSet<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in table {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found: BTreeSet<i32> = BTreeSet::new();
    while let Some(pid) = ahead.pop() {
        if found.insert(pid) {
            ahead.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

fn table() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| parse(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)).collect()
}

/// Reads `pid (name) state parent group session ...`; the name may hold anything, also `)`.
fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
    let after = stat.iter().rposition(|b| *b == b')')? + 1;
    let text = std::str::from_utf8(&stat[after..]).ok()?;
    let mut fields = text.split_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let mut number = || fields.next()?.parse().ok();
    Some(Process { pid, parent: number()?, group: number()?, session: number()?, zombie })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_the_group_and_the_session() {
        let p =
            |pid, parent, group, session| Process { pid, parent, group, session, zombie: false };
        let table = [
            p(10, 1, 10, 10),
            p(11, 10, 10, 10),
            p(12, 11, 12, 12), // left with setsid, still a grandchild
            p(13, 1, 10, 10),  // lost its parent, still of the group
            p(14, 13, 14, 14),
            p(15, 1, 15, 10), // job of its own in the session
            p(20, 1, 20, 20),
            Process { zombie: true, ..p(16, 10, 10, 10) },
        ];
        assert_eq!(select(&table, 10), BTreeSet::from([11, 12, 13, 14, 15]));
    }

    #[test]
    fn odd_names() {
        let process = parse(7, b"7 (a) b) S 3 4 5 0").unwrap();
        assert_eq!(process, Process { pid: 7, parent: 3, group: 4, session: 5, zombie: false });
    }
}
