//! Trouble on the user's own machine: full disks, few handles, folders that vanish, others at work. Each time
//! one clear error with its documented exit code, nothing lost on either side, and a second try that heals.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sandbox_coder::worktree::Repo;

use crate::support::context::{Ran, TestContext, ran};
use crate::support::server::{KEY, TestServer};
use crate::support::small_disk::SmallDisk;

/// A worktree of these files, and a service that sees nothing of the trouble.
fn ground(files: &[(&str, &str)]) -> (TestContext, TestServer) {
    let server = TestServer::start();
    let mut cx = TestContext::new(files);
    cx.set("DAYTONA_API_KEY", KEY);
    cx.set("DAYTONA_API_URL", &server.api_url);
    (cx, server)
}

fn agent(cx: &TestContext, script: &str, more: &[&str]) -> Command {
    let mut command = cx.command(["run", "--json", "--agent-command", script]);
    command.args(more).arg("do it");
    command
}

/// Insists on exactly one error of this code, with a message and a hint, and the exit code that goes with it.
#[track_caller]
fn fails(ran: &Ran, exit: i32, code: &str) {
    assert_eq!(ran.code, exit, "stdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
    let errors = ran.of_type("error");
    assert_eq!(errors.len(), 1, "{}", ran.stdout);
    assert_eq!(errors[0]["code"], code, "{}", ran.stdout);
    assert!(!errors[0]["hint"].as_str().unwrap().is_empty());
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

/// Thirty files, and an agent that changes ten of them and adds fifty.
fn thirty() -> Vec<(String, String)> {
    (0..30).map(|n| (format!("f{n}"), format!("old {n}\n"))).collect()
}

const SIXTY: &str = "for n in $(seq 0 9); do echo \"new $n\" >f$n; done; for n in $(seq 0 49); do echo \"more $n\" >g$n; done";

/// Every file is as it was or as it shall be. How many of them are new.
#[track_caller]
fn whole(at: impl Fn(&str) -> PathBuf) -> usize {
    let mut new = 0;
    for n in 0..30 {
        let text = std::fs::read_to_string(at(&format!("f{n}"))).unwrap();
        assert!(text == format!("old {n}\n") || text == format!("new {n}\n"), "f{n}: {text:?}");
        new += usize::from(text.starts_with("new"));
    }
    for n in 0..50 {
        if let Ok(text) = std::fs::read_to_string(at(&format!("g{n}"))) {
            assert_eq!(text, format!("more {n}\n"), "g{n}");
            new += 1;
        }
    }
    new
}

/// Names of ours that were left lying about.
fn left_over(top: &Path) -> Vec<String> {
    let names = std::fs::read_dir(top).unwrap().map(|e| e.unwrap().file_name());
    names.map(|n| n.into_string().unwrap()).filter(|name| name.starts_with(".sbx-")).collect()
}

/// The context's worktree on a small disk of its own, its files checked out there.
fn on_small_disk(cx: &TestContext, options: &str) -> Option<SmallDisk> {
    let disk = SmallDisk::over(&cx.work(), options)?;
    let link = std::fs::read(cx.work().join(".git")).unwrap();
    std::fs::write(disk.path(".git"), link).unwrap();
    let mut git = Command::new("git");
    git.args(["checkout", "-q", "-f", "HEAD", "--", "."]).current_dir(cx.work());
    git.env("PATH", std::env::var_os("PATH").unwrap());
    assert!(disk.inside(&git).status().unwrap().success());
    Some(disk)
}

#[test]
fn a_worktree_whose_disk_runs_out_of_files_is_finished_later() {
    let files = thirty();
    let files: Vec<_> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    // The disk says no while the ten are staged; with more room, while the fifty are made.
    for (inodes, began) in [(38, false), (60, true)] {
        let (cx, _server) = ground(&files);
        let Some(disk) = on_small_disk(&cx, &format!("size=8m,nr_inodes={inodes}")) else { return };
        let run = ran(&mut disk.inside(&agent(&cx, SIXTY, &[])));
        fails(&run, 74, "host.io");
        assert_eq!(whole(|name| disk.path(name)) > 0, began, "{inodes}");
        disk.remount("remount,nr_inodes=500");
        let _ = ran(&mut disk.inside(&cx.command(["pull"]))).exits(0);
        assert_eq!(whole(|name| disk.path(name)), 60, "{inodes}");
        let _ = ran(&mut disk.inside(&cx.command(["undo"]))).exits(0);
        assert_eq!(whole(|name| disk.path(name)), 0, "{inodes}");
        assert_eq!(left_over(&disk.path(".")), [""; 0]);
    }
}

#[test]
fn a_worktree_whose_disk_is_full_is_not_touched() {
    let (cx, _server) = ground(&[("a", "1\n"), ("b", "1\n")]);
    let Some(disk) = on_small_disk(&cx, "size=8m") else { return };
    disk.fill(1 << 20);
    // The filler is the user's business alone.
    let script = "echo 2 >a; head -c 3000000 /dev/zero >big";
    let run = ran(&mut disk.inside(&agent(&cx, script, &["--exclude", "filler"])));
    fails(&run, 74, "host.io");
    let message = run.of_type("error")[0]["message"].to_string();
    assert!(message.contains("bytes") && message.contains("free"), "{message}");
    assert_eq!(run.of_type("done")[0]["unpulled"], true);
    assert_eq!(std::fs::read_to_string(disk.path("a")).unwrap(), "1\n");
    assert!(!disk.path("big").exists());
    disk.free();
    let _ = ran(&mut disk.inside(&cx.command(["pull", "--exclude", "filler"]))).exits(0);
    assert_eq!(std::fs::read_to_string(disk.path("a")).unwrap(), "2\n");
    assert_eq!(disk.path("big").metadata().unwrap().len(), 3_000_000);
}

/// Fills one of our own folders to the last byte, at three moments of a run.
fn own_folder_full(place: impl Fn(&TestContext) -> PathBuf) {
    for but in [0, 8 << 10, 64 << 10, 400 << 10] {
        let (cx, _server) = ground(&[("a", "1\n"), ("b", "1\n")]);
        cx.write("mine", "not committed\n");
        let place = place(&cx);
        std::fs::create_dir_all(&place).unwrap();
        let Some(disk) = SmallDisk::over(&place, "size=2m") else { return };
        disk.fill(but);
        let script = "echo 2 >a; head -c 600000 /dev/urandom >big";
        let run = ran(&mut disk.inside(&agent(&cx, script, &[])));
        fails(&run, 74, "host.io");
        assert_eq!(
            (cx.read("a"), cx.read("mine")),
            ("1\n".into(), "not committed\n".into()),
            "{but}"
        );
        assert!(!cx.work().join("big").exists(), "{but}");
        disk.free();
        // Where the agent had no chance to work, it has one now; what it did before comes home.
        let worked = run.stdout.contains("\"state\":\"exited\"");
        let again = match worked {
            true => ran(&mut disk.inside(&cx.command(["pull", "--json"]))),
            false => ran(&mut disk.inside(&agent(&cx, script, &[]))),
        };
        assert_eq!(again.code, 0, "{but}: {} {}", again.stdout, again.stderr);
        assert_eq!(
            (cx.read("a"), cx.read("mine")),
            ("2\n".into(), "not committed\n".into()),
            "{but}"
        );
        assert_eq!(cx.work().join("big").metadata().unwrap().len(), 600_000, "{but}");
    }
}

#[test]
fn a_full_private_repository_loses_nothing() {
    own_folder_full(|cx| cx.root().join("project/.git/sandbox-coder"));
}

#[test]
fn an_archive_that_finds_no_room_is_told_by_its_cause() {
    let (cx, _server) = ground(&[("a", "1\n")]);
    let mut noise = vec![0; 1_500_000];
    let mut source = std::fs::File::open("/dev/urandom").unwrap();
    source.read_exact(&mut noise).unwrap();
    std::fs::write(cx.work().join("noise"), noise).unwrap();
    let place = cx.root().join("project/.git/sandbox-coder");
    std::fs::create_dir_all(&place).unwrap();
    // Room for the object, and for half of the archive.
    let Some(disk) = SmallDisk::over(&place, "size=2500k") else { return };
    let run = ran(&mut disk.inside(&agent(&cx, "true", &[])));
    fails(&run, 74, "host.io");
    let message = run.of_type("error")[0]["message"].to_string();
    assert!(message.contains("No space left on device"), "{message}");
    disk.remount("remount,size=8m");
    let _ = ran(&mut disk.inside(&agent(&cx, "true", &[]))).exits(0);
}

#[test]
fn a_full_state_folder_loses_nothing() {
    let (cx, _server) = ground(&[("a", "1\n")]);
    std::fs::create_dir(cx.root().join("state")).unwrap();
    let Some(disk) = SmallDisk::over(&cx.root().join("state"), "size=1m") else { return };
    disk.fill(0);
    let run = ran(&mut disk.inside(&agent(&cx, "echo 2 >a", &[])));
    fails(&run, 74, "host.io");
    assert_eq!(cx.read("a"), "1\n");
    disk.free();
    let _ = ran(&mut disk.inside(&agent(&cx, "echo 2 >a", &[]))).exits(0);
    assert_eq!(cx.read("a"), "2\n");
}

#[test]
fn a_sandbox_is_removed_to_make_room_on_a_full_disk() {
    let mut cx = TestContext::new(&[("a", "1\n")]);
    cx.set("SANDBOX_CODER_ISOLATION", "none");
    // The records of both sides and the sandbox's files.
    std::fs::create_dir(cx.root().join("state")).unwrap();
    let Some(disk) = SmallDisk::over(&cx.root().join("state"), "size=4m") else { return };
    let _ = ran(&mut disk.inside(&agent(&cx, "echo 2 >a", &[]))).exits(0);
    let server = std::fs::read_to_string(disk.path("local/server.json")).unwrap();
    let _server = Ended(serde_json::from_str::<serde_json::Value>(&server).unwrap()["pid"].clone());
    disk.fill(0);
    let refused = ran(&mut disk.inside(&cx.command(["stop"])));
    assert_ne!(refused.code, 0, "nothing can be noted");
    let _ = ran(&mut disk.inside(&cx.command(["rm", "--force"]))).exits(0);
    let left = ran(&mut disk.inside(&cx.command(["ls"]))).exits(0);
    assert_eq!(left.stdout, "no sandboxes\n");
}

/// Ends a process with the test.
struct Ended(serde_json::Value);

impl Drop for Ended {
    fn drop(&mut self) {
        let pid = self.0.as_i64().and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
        let _ = rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::TERM);
    }
}

#[test]
fn a_worktree_that_turned_read_only_is_left_alone() {
    let (cx, _server) = ground(&[("a", "1\n")]);
    let Some(disk) = on_small_disk(&cx, "size=8m") else { return };
    let _ = ran(&mut disk.inside(&agent(&cx, "echo 2 >a; echo 2 >new", &["--no-apply"]))).exits(0);
    disk.remount("remount,ro");
    let pull = ran(&mut disk.inside(&cx.command(["pull", "--json"])));
    fails(&pull, 74, "host.io");
    disk.remount("remount,rw");
    let _ = ran(&mut disk.inside(&cx.command(["pull"]))).exits(0);
    let read = |name| std::fs::read_to_string(disk.path(name)).unwrap();
    assert_eq!((read("a"), read("new")), ("2\n".into(), "2\n".into()));
}

#[test]
fn too_few_handles_end_in_an_error_and_not_in_half_a_result() {
    let (cx, _server) = ground(&[("a", "1\n"), ("b", "1\n")]);
    for handles in [5, 8, 10, 12, 14, 16, 20, 28] {
        let line = format!("ulimit -n {handles}; exec \"$@\"");
        let run = agent(&cx, &format!("echo {handles} >a; echo {handles} >b"), &[]);
        let mut limited = Command::new("sh");
        limited.args(["-c", &line, "sh"]).arg(run.get_program()).args(run.get_args());
        limited.current_dir(cx.work()).env_clear();
        limited.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let run = ran(limited.stdin(Stdio::null()));
        let words = format!("{handles}: {} {}", run.stdout, run.stderr);
        assert!(!run.stderr.contains("panicked"), "{words}");
        // Below what the loader itself needs there is no program to say anything.
        assert!(matches!(run.code, 0 | 66 | 68 | 69 | 74 | 83 | 127), "{} {words}", run.code);
        let (a, b) = (cx.read("a"), cx.read("b"));
        if run.code == 0 {
            assert_eq!(a, format!("{handles}\n"), "{words}");
            assert_eq!(a, b, "{words}");
        }
    }
    cx.agent("echo last >a; echo last >b", &[]).exits(0);
    assert_eq!((cx.read("a"), cx.read("b")), ("last\n".into(), "last\n".into()));
}

/// An agent that has started and waits for [`Waiting::go`].
struct Waiting {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    text: String,
}

impl Waiting {
    /// `script` runs once the test lets it; the file `go` of the workspace is the sign.
    fn start(cx: &TestContext, script: &str) -> Self {
        let go = cx.root().join("go");
        let waiting =
            format!("echo started; until [ -e {} ]; do sleep 0.02; done; {script}", go.display());
        let mut command = agent(cx, &waiting, &[]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut waiting = Self { child, lines, text: String::new() };
        while !waiting.text.contains("\"data\":\"started\"") {
            let line = waiting.lines.next().expect("the agent starts").unwrap();
            waiting.text += &(line + "\n");
        }
        waiting
    }

    fn go(mut self, root: &Path) -> Ran {
        std::fs::write(root.join("go"), "").unwrap();
        for line in self.lines.by_ref() {
            self.text += &(line.unwrap() + "\n");
        }
        let out = self.child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        Ran { code: out.status.code().unwrap_or(-1), stdout: self.text, stderr }
    }
}

#[test]
fn a_worktree_that_is_removed_during_the_run_gets_its_result_when_it_is_back() {
    let (cx, _server) = ground(&[("a", "1\n")]);
    let run = Waiting::start(&cx, "echo 2 >a; echo 2 >new");
    let (work, project) = (cx.work(), cx.root().join("project"));
    std::fs::remove_dir_all(&work).unwrap();
    let run = run.go(cx.root());
    fails(&run, 66, "worktree.gone");
    assert!(!work.exists(), "nothing is made in the place of a folder that was removed");
    cx.git_in(&project, &["worktree", "prune"]);
    cx.git_in(&project, &["worktree", "add", "-q", work.to_str().unwrap(), "work"]);
    cx.run(["pull"]).exits(0);
    assert_eq!((cx.read("a"), cx.read("new")), ("2\n".into(), "2\n".into()));
}

#[test]
fn a_worktree_that_is_moved_during_the_run_gets_its_result_in_the_new_place() {
    let (cx, _server) = ground(&[("a", "1\n")]);
    let run = Waiting::start(&cx, "echo 2 >a; echo 2 >new");
    let (work, moved) = (cx.work(), cx.root().join("moved"));
    cx.git_in(
        &cx.root().join("project"),
        &["worktree", "move", work.to_str().unwrap(), moved.to_str().unwrap()],
    );
    let run = run.go(cx.root());
    fails(&run, 66, "worktree.gone");
    assert!(!work.exists());
    let mut pull = cx.command(["pull"]);
    let _ = ran(pull.current_dir(&moved)).exits(0);
    let read = |name| std::fs::read_to_string(moved.join(name)).unwrap();
    assert_eq!((read("a"), read("new")), ("2\n".into(), "2\n".into()));
    let _ = ran(cx.command(["rm", "--force"]).current_dir(&moved)).exits(0);
}

#[test]
fn a_branch_switched_during_the_run_is_merged_with_like_any_other_edit() {
    let (cx, _server) = ground(&[("a", "1\n"), ("b", "1\n"), ("c", "1\n")]);
    cx.git(&["switch", "-q", "-c", "other"]);
    cx.write("b", "other\n");
    cx.git(&["commit", "-qam", "other"]);
    cx.git(&["switch", "-q", "work"]);
    let run = Waiting::start(&cx, "echo 2 >a; echo 2 >new");
    cx.git(&["switch", "-q", "other"]);
    let _ = run.go(cx.root()).exits(0);
    let all = ["a", "b", "c", "new"].map(|name| cx.read(name));
    assert_eq!(all, ["2\n", "other\n", "1\n", "2\n"]);
    assert_eq!(cx.git(&["branch", "--show-current"]), "other\n");
    assert_eq!(cx.git(&["status", "--porcelain"]), " M a\n?? new\n");
}

#[test]
fn an_editor_that_saves_all_the_time_keeps_its_bytes_and_the_agent_keeps_its_own() {
    let (cx, _server) = ground(&[("typed", "0\n"), ("a", "1\n"), ("b", "1\n")]);
    let stop = AtomicBool::new(false);
    let (draft, typed) = (cx.root().join("draft"), cx.work().join("typed"));
    let (run, last) = std::thread::scope(|scope| {
        let editor = scope.spawn(|| {
            let mut n = 0_u64;
            while !stop.load(Ordering::Acquire) {
                n += 1;
                std::fs::write(&draft, format!("typed {n}\n")).unwrap();
                std::fs::rename(&draft, &typed).unwrap();
            }
            n
        });
        let run = ran(&mut agent(&cx, "echo agent >typed; echo 2 >a; echo 2 >new", &[]));
        stop.store(true, Ordering::Release);
        (run, editor.join().unwrap())
    });
    assert!(matches!(run.code, 81 | 74), "{} {} {}", run.code, run.stdout, run.stderr);
    assert_eq!(cx.read("typed"), format!("typed {last}\n"), "the last save is what lies there");
    let _ = cx.run(["pull", "--on-conflict", "keep-both"]);
    assert_eq!(cx.read("typed"), format!("typed {last}\n"));
    assert_eq!((cx.read("a"), cx.read("new")), ("2\n".into(), "2\n".into()));
    let aside = cx.files().into_iter().find(|f| f.ends_with("/typed")).expect("theirs is aside");
    assert_eq!(cx.read(&aside), "agent\n");
}

#[test]
fn two_at_one_worktree_are_told_apart_and_the_second_can_wait() {
    let (cx, _server) = ground(&[("a", "1\n")]);
    let repo = Repo::discover(&cx.work()).unwrap();
    let lock = repo.lock("a long lunch", Duration::ZERO).unwrap();
    for command in [vec!["pull", "--json"], vec!["undo", "--json"]] {
        let refused = cx.run(&command);
        fails(&refused, 75, "busy.worktree");
        let error = &refused.of_type("error")[0];
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("a long lunch"), "{message}");
        assert!(message.contains(&std::process::id().to_string()), "{message}");
        assert_eq!(error["retryable"], true);
    }
    fails(&ran(&mut agent(&cx, "echo 2 >a", &[])), 75, "busy.worktree");
    let mut waiting = agent(&cx, "echo 2 >a", &["--wait"]);
    let mut child = waiting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Once it has the lock's file open it waits, or has given up, which its exit code tells.
    let handles = format!("/proc/{}/fd", child.id());
    let waits = || {
        let open = std::fs::read_dir(&handles).into_iter().flatten().flatten();
        open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|to| to.ends_with("lock"))
    };
    while !waits() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(cx.read("a"), "1\n");
    drop(lock);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(cx.read("a"), "2\n");
}
