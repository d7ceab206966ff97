//! The shell texts, run directly in a directory that plays the sandbox.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process_group};
use sandbox_coder::agent::HomeFile;
use sandbox_coder::daytona::script::Script;
use sandbox_coder::run::outcome::Stop;
use sandbox_coder::run::start::{
    Kind, Limits, RunSpec, Started, What, call_off_step, heard, heard_call_off, plan,
};
use sandbox_coder::run::stop::{Signal, heard_signal, heard_stop, signal_step, stop_step};
use sandbox_coder::run::{RunRef, RunState, heard_state, state_step};

/// A home directory and a shell; what it started ends with it.
struct Place {
    home: tempfile::TempDir,
    shell: PathBuf,
    run: RunRef,
}

impl Place {
    fn new(shell: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(shell, bin.join("sh")).unwrap();
        let id = uuid::Uuid::new_v4().simple().to_string();
        let dir = home.path().join("runs").join(&id).to_str().unwrap().to_owned();
        Self { home, shell: shell.to_owned(), run: RunRef { id, dir } }
    }

    fn spec(&self, command: What) -> RunSpec {
        RunSpec {
            run: self.run.clone(),
            kind: Kind::Exec { tty: None },
            command,
            cwd: None,
            env: Vec::new(),
            stdin: None,
            files: Vec::new(),
            forget: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// What an execute does: the text on the shell's standard input.
    fn execute(&self, script: &Script) -> String {
        let mut child = self.shell();
        child.stdin.take().unwrap().write_all(script.command().as_bytes()).unwrap();
        String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
    }

    fn shell(&self) -> std::process::Child {
        let path = format!("{}/bin:{}", self.home.path().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(&self.shell);
        if self.shell.ends_with("busybox") {
            command.arg("sh");
        }
        command
            .env("HOME", self.home.path())
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn start(&self, spec: &RunSpec) -> Option<Started> {
        let start = plan(spec).unwrap();
        for (path, bytes) in &start.uploads {
            fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let mut script = Script::new();
        start.add_to(&mut script);
        heard(&self.execute(&script))
    }

    fn call_off(&self) -> Option<bool> {
        let mut script = Script::new();
        call_off_step(&mut script, &self.run, Stop::Interrupted);
        heard_call_off(&self.execute(&script))
    }

    fn state(&self) -> RunState {
        let mut script = Script::new();
        state_step(&mut script, &self.run);
        heard_state(&self.execute(&script)).unwrap()
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(Path::new(&self.run.dir).join(name)).unwrap_or_default()
    }

    /// Waits for the exit file, and gives up loudly.
    fn finish(&self) -> i32 {
        self.until("the exit status", || {
            String::from_utf8(self.file("exit")).unwrap().trim().parse().ok()
        })
    }

    fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(started.elapsed() < Duration::from_secs(120), "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(&self, grace: u64) -> (Option<i32>, bool) {
        let mut script = Script::new();
        stop_step(&mut script, &self.run, Stop::Terminated, Duration::from_secs(grace));
        let stopped = heard_stop(&self.execute(&script)).unwrap();
        (stopped.exit, stopped.left)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop(0);
    }
}

/// Tells the story in every shell this machine has.
fn in_every_shell(story: impl Fn(&Place)) {
    for shell in ["/usr/bin/dash", "/usr/bin/bash", "/bin/busybox", "/usr/bin/zsh"] {
        if Path::new(shell).exists() {
            story(&Place::new(Path::new(shell)));
        } else {
            eprintln!("skipped: no {shell} on this machine");
        }
    }
}

fn words(words: &[&[u8]]) -> What {
    What::Words(words.iter().map(|w| w.to_vec()).collect())
}

#[test]
fn a_command_keeps_its_status_and_its_two_streams() {
    in_every_shell(|place| {
        let spec = place.spec(What::Shell("echo out; echo err >&2; cat; exit 3".into()));
        assert_eq!(place.start(&spec), Some(Started::Now));
        assert_eq!(place.finish(), 3);
        assert_eq!((place.file("out"), place.file("err")), (b"out\n".into(), b"err\n".into()));
        let state = place.state();
        assert_eq!((state.exit, state.started), (Some(3), true));
        assert_eq!((state.sizes.out, state.sizes.err), (4, 4));
    });
}

#[test]
fn what_was_called_off_never_starts_and_what_started_is_not_called_off() {
    in_every_shell(|place| {
        assert_eq!((place.call_off(), place.call_off()), (Some(true), Some(false)));
        let spec = place.spec(What::Shell("echo here".into()));
        assert_eq!(place.start(&spec), Some(Started::Before));
        let state = place.state();
        assert_eq!(
            (state.exit, state.started, state.why),
            (Some(143), false, Some(Stop::Interrupted))
        );
    });
    in_every_shell(|place| {
        let spec = place.spec(What::Shell("echo here".into()));
        assert_eq!(place.start(&spec), Some(Started::Now));
        assert_eq!(place.call_off(), Some(false));
        assert_eq!((place.finish(), place.file("out")), (0, b"here\n".into()));
    });
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let odd: [&[u8]; 9] = [
        b"",
        b" ",
        b"a'b\"c",
        b"$HOME `id` \\",
        b"two\nlines\n",
        b"*",
        b"-n",
        b"\xff\xfe",
        b"\xc3\xa4\r",
    ];
    in_every_shell(|place| {
        let mut argv = vec![&b"/usr/bin/printf"[..], b"%s\\0"];
        argv.extend(odd);
        place.start(&place.spec(words(&argv)));
        assert_eq!(place.finish(), 0);
        let expected: Vec<u8> = odd.iter().flat_map(|w| w.iter().copied().chain([0])).collect();
        assert_eq!(place.file("out"), expected);
    });
}

#[test]
fn a_missing_program_is_127_and_a_builtin_does_not_stand_in() {
    in_every_shell(|place| {
        place.start(&place.spec(words(&[b"no-such-program-here"])));
        assert_eq!(place.finish(), 127);
        assert!(!place.file("err").is_empty());
    });
    in_every_shell(|place| {
        place.start(&place.spec(words(&[b"cd", b"/"])));
        assert_ne!(place.finish(), 0);
    });
}

#[test]
fn the_prompt_arrives_whole_whatever_is_in_it() {
    let hostile = b"'; rm -rf / #\n$(id) `id` \\\\ \"x\" %s\r\n\tno newline at the end".to_vec();
    let mut big = b"x y\n".repeat(300_000);
    big.extend_from_slice(b"\0\xff end");
    for prompt in [hostile, big, b"nul \0 and \xff".to_vec(), Vec::new()] {
        in_every_shell(|place| {
            let mut spec = place.spec(What::Shell("cat".into()));
            spec.stdin = Some(prompt.clone());
            place.start(&spec);
            assert_eq!(place.finish(), 0);
            assert!(place.file("out") == prompt, "{} bytes", prompt.len());
        });
    }
}

#[test]
fn environment_directory_files_and_their_removal() {
    in_every_shell(|place| {
        let work = place.home.path().join("a b'c");
        fs::create_dir(&work).unwrap();
        let text = "printf '%s|' \"$PWD\" \"$ODD\" \"$SANDBOX_CODER_RUN\"; umask; cat \"$HOME/.auth/$NAME\"";
        let mut spec = place.spec(What::Shell(text.into()));
        spec.cwd = Some(work.to_str().unwrap().into());
        spec.env = vec![("ODD".into(), "a'b\n\"c\" $d".into()), ("NAME".into(), "k$y".into())];
        let file = |path: &str, bytes: &[u8]| HomeFile {
            path: path.into(),
            bytes: bytes.into(),
            mode: 0o600,
        };
        spec.files = vec![file(".auth/k$y", b"secret"), file(".auth/raw", b"\0\xff")];
        spec.forget = vec![".auth/k$y".into()];
        place.start(&spec);
        assert_eq!(place.finish(), 0, "{}", String::from_utf8_lossy(&place.file("err")));
        let out = String::from_utf8(place.file("out")).unwrap();
        let odd = "a'b\n\"c\" $d";
        let (pwd, id) = (work.display(), &place.run.id);
        assert_eq!(out, format!("{pwd}|{odd}|{id}|0022\nsecret"));
        let auth = place.home.path().join(".auth");
        assert!(!auth.join("k$y").exists());
        assert_eq!(fs::read(auth.join("raw")).unwrap(), b"\0\xff");
        let mode = fs::metadata(auth.join("raw")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!Path::new(&place.run.dir).join("env").exists());
    });
}

#[test]
fn a_command_finds_the_locale_of_its_sandbox_and_not_that_of_our_scripts() {
    let place = Place::new(Path::new("/bin/sh"));
    place.start(&place.spec(What::Shell("echo \"${LC_ALL-unset} ${SBX_LC_ALL-unset}\"".into())));
    assert_eq!(place.finish(), 0);
    let here = std::env::var("LC_ALL").ok().filter(|v| !v.is_empty());
    let expected = format!("{} unset\n", here.as_deref().unwrap_or("unset"));
    assert_eq!(String::from_utf8(place.file("out")).unwrap(), expected);
}

#[test]
fn a_start_delivered_many_times_starts_once() {
    in_every_shell(|place| {
        let spec = place.spec(What::Shell("echo once >>\"$HOME/count\"; sleep 0.2".into()));
        let said: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(|| place.start(&spec))).collect();
            racers.into_iter().map(|r| r.join().unwrap()).collect()
        });
        let now = said.iter().filter(|s| **s == Some(Started::Now)).count();
        assert_eq!((now, said.len()), (1, 8), "{said:?}");
        assert!(said.iter().all(Option::is_some));
        assert_eq!(place.finish(), 0);
        assert_eq!(place.start(&spec), Some(Started::Before));
        assert_eq!(fs::read(place.home.path().join("count")).unwrap(), b"once\n");
    });
}

#[test]
fn an_agent_gets_a_terminal_of_its_size_and_its_prompt_on_standard_input() {
    in_every_shell(|place| {
        let text = "cat; stty size </dev/tty 2>/dev/null; [ -t 1 ] && echo terminal; exit 5";
        let mut spec = place.spec(What::Shell(text.into()));
        spec.kind = Kind::Agent { cols: 100, rows: 30 };
        spec.stdin = Some(b"the prompt\n".to_vec());
        place.start(&spec);
        assert_eq!(place.finish(), 5);
        let out = String::from_utf8(place.file("out")).unwrap();
        let has_script = Command::new("script").arg("--version").output();
        if has_script.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("util-linux")) {
            assert_eq!(out, "the prompt\n30 100\nterminal\n");
        } else {
            assert_eq!(out, "the prompt\n");
        }
    });
}

#[test]
fn a_sweep_ends_whatever_carries_the_marker() {
    in_every_shell(|place| {
        let deaf = "trap '' TERM; while :; do sleep 1; done";
        let text = format!(
            "setsid sh -c \"{deaf}\" & sh -c \"{deaf}\" & (setsid sh -c \"{deaf}\" &) ; echo up; {deaf}"
        );
        place.start(&place.spec(What::Shell(text)));
        place.until("the agent", || (place.file("out") == b"up\n").then_some(()));
        assert!(place.state().alive);
        let mut script = Script::new();
        signal_step(&mut script, &place.run, Signal::Hold);
        let held = heard_signal(&place.execute(&script)).unwrap();
        assert!(held >= 4, "{held}");
        let (exit, left) = place.stop(1);
        assert_eq!((exit, left), (Some(137), false));
        assert_eq!(place.stop(0), (Some(137), false));
        assert!(!place.state().alive);
    });
}

fn limits(total: Option<u64>, idle: Option<u64>, grace: u64) -> Limits {
    let seconds = |s: Option<u64>| s.map(Duration::from_secs);
    let grace = Duration::from_secs(grace);
    Limits { total: seconds(total), idle: seconds(idle), grace, log: None }
}

/// Tells the story in every shell, with a limit of more and more seconds until it came late enough.
fn with_a_limit(late_enough: impl Fn(&Place, u64) -> bool) {
    in_every_shell(|place| {
        let tell = |seconds| late_enough(&Place::new(&place.shell), seconds);
        assert!([1, 4, 16, 64].into_iter().any(tell), "the agent was never fast enough");
    });
}

const DEAF: &str = "trap '' TERM; echo up; while :; do sleep 0.2; done";

#[test]
fn a_limit_ends_a_run_that_nobody_follows() {
    with_a_limit(|place, seconds| {
        let mut spec = place.spec(What::Shell(format!("setsid sh -c \"{DEAF}\" & {DEAF}")));
        spec.limits = limits(Some(seconds), None, 1);
        place.start(&spec);
        let exit = place.finish();
        if place.file("out") != b"up\nup\n" {
            return false;
        }
        assert_eq!(exit, 137);
        let state = place.state();
        assert_eq!((state.exit, state.why), (Some(137), Some(Stop::Timeout)));
        assert_eq!(place.stop(0), (Some(137), false));
        true
    });
    with_a_limit(|place, seconds| {
        let mut spec = place.spec(What::Shell("echo up; sleep 1000".into()));
        spec.limits = limits(Some(1000), Some(seconds), 60);
        place.start(&spec);
        let exit = place.finish();
        if place.file("out") != b"up\n" {
            return false;
        }
        assert_eq!((exit, place.state().why), (143, Some(Stop::Silent)));
        true
    });
}

#[test]
fn who_talks_is_not_silent_and_who_ended_was_not_ended() {
    // A machine that is too busy lets nobody talk; then it is tried with more time.
    let talks = |silence: u64| {
        let place = Place::new(Path::new("/bin/sh"));
        let lines = (silence + 3) * 4;
        let talk = format!("for i in $(seq {lines}); do echo $i; sleep 0.25; done");
        let mut spec = place.spec(What::Shell(talk));
        spec.limits = limits(Some(1000), Some(silence), 1);
        place.start(&spec);
        if place.finish() != 0 {
            assert_eq!(place.state().why, Some(Stop::Silent));
            return false;
        }
        assert_eq!(place.state().why, None);
        assert_eq!(place.stop(0), (Some(0), false));
        assert_eq!(place.state().why, None, "a reason came after the end");
        true
    };
    assert!([3, 12, 48].into_iter().any(talks), "it talked and was taken for silent");
}

#[test]
fn a_run_that_was_stopped_is_no_success_whatever_its_status() {
    in_every_shell(|place| {
        // Some terminals' recorders end with 0 when they are ended.
        let mut spec =
            place.spec(What::Shell("trap 'exit 0' TERM; echo up; sleep 1000 & wait".into()));
        spec.kind = Kind::Agent { cols: 80, rows: 25 };
        place.start(&spec);
        place.until("the agent", || (place.file("out") == b"up\n").then_some(()));
        let (exit, left) = place.stop(60);
        assert_eq!((exit, left), (Some(0), false));
        assert_eq!(place.state().why, Some(Stop::Terminated));
        let mut script = Script::new();
        stop_step(&mut script, &place.run, Stop::Timeout, Duration::ZERO);
        let again = heard_stop(&place.execute(&script)).unwrap();
        assert_eq!(again.why, Some(Stop::Terminated), "the first reason stays");
    });
}

#[test]
fn the_limit_holds_for_an_agent_whose_runner_was_killed_alone() {
    with_a_limit(|place, seconds| {
        let mut spec = place.spec(What::Shell(DEAF.into()));
        spec.limits = limits(Some(3 * seconds), None, 1);
        place.start(&spec);
        let begun = || place.file("out") == b"up\n" || !place.file("exit").is_empty();
        place.until("the agent", || begun().then_some(()));
        let pid = String::from_utf8(place.file("pid")).unwrap();
        // It may be gone already, if its time is up.
        Command::new("kill").args(["-9", pid.trim()]).output().unwrap();
        let state = place.until("the end", || Some(place.state()).filter(|s| !s.alive));
        assert_eq!(state.why, Some(Stop::Timeout));
        state.exit.is_none()
    });
}

#[test]
fn the_guard_of_a_run_leaves_with_it() {
    in_every_shell(|place| {
        let guards = || {
            let wanted = format!("{}/guard.sh", place.run.dir);
            let lines = fs::read_dir("/proc").unwrap().flatten();
            let lines = lines.filter_map(|e| fs::read(e.path().join("cmdline")).ok());
            lines.filter(|l| String::from_utf8_lossy(l).contains(&wanted)).count()
        };
        let mut spec = place.spec(What::Shell("read go <\"$HOME/fifo\"; exit 7".into()));
        spec.limits = limits(Some(1000), Some(1000), 1);
        let fifo = place.home.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        place.start(&spec);
        place.until("the guard", || (guards() > 0).then_some(()));
        fs::write(&fifo, "go\n").unwrap();
        assert_eq!(place.finish(), 7);
        place.until("the guard's end", || (guards() == 0).then_some(()));
    });
}

#[test]
fn the_view_prints_the_record_from_any_offset() {
    in_every_shell(|place| {
        let text =
            "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo e >&2; exit 4";
        place.start(&place.spec(What::Shell(text.into())));
        assert_eq!(place.finish(), 4);
        let record = place.file("out");
        for from in [0, 1, 70_000.min(record.len() - 1), record.len()] {
            let view = format!("{}/view.sh", place.run.dir);
            let mut view = Command::new(place.home.path().join("bin/sh"))
                .arg(view)
                .args([&place.run.dir, &place.run.id, &from.to_string(), "0"])
                .stdout(Stdio::piped())
                .process_group(0)
                .spawn()
                .unwrap();
            let seen = seen_until(&mut view, &format!("SBXX 4 {} 2 -\n", record.len()));
            let (out, rest) = unframe(&seen, from);
            assert!(out == record[from..], "from {from}");
            assert_eq!(rest, format!("SBXX 4 {} 2 -", record.len()));
        }
    });
}

#[test]
fn bytes_that_vanish_while_a_frame_is_read_are_taken_back() {
    let place = Place::new(Path::new("/bin/sh"));
    place.start(&place.spec(What::Shell("yes 0123456 | head -c 400000; exit 4".into())));
    assert_eq!(place.finish(), 4);
    // The guard announces a hole after the view's look and before its read, and then makes it.
    let tools = tempfile::tempdir().unwrap();
    let dir = &place.run.dir;
    let wrapper = format!(
        "#!/bin/sh\ncase $* in *count=1)\n  [ -e {dir}/out.hole ] || {{ echo 65536 262144 >{dir}/out.hole\n    \
         /bin/dd if=/dev/zero of={dir}/out bs=65536 seek=1 count=3 conv=notrunc; }} ;;\nesac\nexec /bin/dd \"$@\"\n"
    );
    fs::write(tools.path().join("dd"), wrapper).unwrap();
    fs::set_permissions(tools.path().join("dd"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut view = Command::new("sh")
        .arg(format!("{dir}/view.sh"))
        .args([dir, &place.run.id, "131072", "0"])
        .env("PATH", format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap()))
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let seen = seen_until(&mut view, "SBXX 4 400000 0 -\n");
    let taken_back = b"SBXO 131072 65536\n".iter().chain([0; 65536].iter());
    let taken_back = taken_back.chain(b"SBXG 1 131072 196608\nSBXG 1 196608 262144\n");
    let (start, rest) = seen.split_at(seen.len() - unhurt(&seen).len());
    assert!(start.iter().eq(taken_back), "{}", String::from_utf8_lossy(start));
    let (out, _) = unframe(rest, 262_144);
    assert!(out == place.file("out")[262_144..]);
}

/// What a view printed behind its last gap.
fn unhurt(seen: &[u8]) -> &[u8] {
    let gap = memchr::memmem::rfind(seen, b"SBXG").expect("a gap is told");
    let line = seen[gap..].iter().position(|b| *b == b'\n').unwrap();
    &seen[gap + line + 1..]
}

/// What a view prints, up to its last line. It stays until its reader closes the terminal.
fn seen_until(view: &mut std::process::Child, end: &str) -> Vec<u8> {
    let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
    while !seen.ends_with(end.as_bytes()) {
        let n = view.stdout.as_mut().unwrap().read(&mut piece).unwrap();
        assert!(n > 0, "the view ended early");
        seen.extend_from_slice(&piece[..n]);
    }
    // What it sleeps with goes too.
    let group = Pid::from_child(view);
    kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    view.wait().unwrap();
    seen
}

/// Standard output and the last line of what a view printed.
fn unframe(mut wire: &[u8], from: usize) -> (Vec<u8>, String) {
    let mut out = Vec::new();
    loop {
        let end = wire.iter().position(|b| *b == b'\n').expect("a frame has a first line");
        let head = String::from_utf8(wire[..end].to_vec()).unwrap();
        wire = &wire[end + 1..];
        let words: Vec<&str> = head.split(' ').collect();
        match words[0] {
            "SBXX" => return (out, head),
            "SBXK" => continue,
            _ => {}
        }
        let size: usize = words[2].parse().unwrap();
        if words[0] == "SBXO" {
            assert_eq!(words[1].parse::<usize>().unwrap(), from + out.len());
            out.extend_from_slice(&wire[..size]);
        }
        wire = &wire[size..];
    }
}
