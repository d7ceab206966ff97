//! Commands on the caller's own terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::support::context::TestContext;

/// A terminal with somebody at it, and the command that was started on it.
struct Desk {
    child: Child,
    master: File,
    slave: OwnedFd,
    screen: Arc<(Mutex<String>, Condvar)>,
}

impl Desk {
    fn start(cx: &TestContext, args: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        resize(&master, 91, 33);
        assert!(echoes(&slave));
        let ours = cx.command(args);
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(ours.get_program()).args(ours.get_args());
        command.current_dir(ours.get_current_dir().unwrap()).env_clear().env("TERM", "vt100");
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let end = || slave.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = Arc::<(Mutex<String>, Condvar)>::default();
        let (mut reading, shown) = (File::from(master.try_clone().unwrap()), screen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reading.read(&mut buffer) {
                shown.0.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..n]));
                shown.1.notify_all();
            }
        });
        Self { child, master: master.into(), slave, screen }
    }

    fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is on the screen.
    #[track_caller]
    fn until(&self, text: &str) {
        let (lock, changed) = &*self.screen;
        let shown = lock.lock().unwrap();
        let long = Duration::from_secs(120);
        let (shown, late) = changed.wait_timeout_while(shown, long, |s| !s.contains(text)).unwrap();
        assert!(!late.timed_out(), "no `{text}` on the screen:\n{shown}");
    }

    /// The exit code; the terminal is as it was before.
    #[track_caller]
    fn end(mut self) -> i32 {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        assert!(
            echoes(&self.slave),
            "the terminal was left raw:\n{}",
            self.screen.0.lock().unwrap()
        );
        code
    }
}

/// Whether keys are shown, gathered into lines and may interrupt.
fn echoes(terminal: &OwnedFd) -> bool {
    let modes = tcgetattr(terminal).unwrap().local_modes;
    modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
}

fn resize(master: &OwnedFd, ws_col: u16, ws_row: u16) {
    tcsetwinsize(master, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

#[test]
fn keys_sizes_and_interrupts_reach_the_command() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let script = "echo \"size $(stty size) $TERM\"; read -r line; echo \"<$line>\"; echo $line >a; \
        trap 'echo \"now $(stty size)\"; sized=1' WINCH; trap 'echo caught; exit 9' INT; \
        echo ready; while :; do sleep 0.1; done";
    let mut desk = Desk::start(&cx, &["exec", "-t", "--", "sh", "-c", script]);
    desk.until("size 33 91 vt100");
    assert!(!echoes(&desk.slave), "keys are not passed on as they are");
    desk.keys("two words\r");
    desk.until("<two words>");
    desk.until("ready");
    resize(&OwnedFd::from(desk.master.try_clone().unwrap()), 120, 40);
    desk.until("now 40 120");
    desk.keys("\u{3}");
    desk.until("caught");
    assert_eq!(desk.end(), 9);
    assert_eq!(cx.read("a"), "two words\n");
    // What was said at a terminal is nobody else's: it is told, and what is recorded is found behind it.
    let status = cx.run(["status", "--json"]).exits(0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    for verb in ["logs", "attach"] {
        let ran = cx.run([verb, status["runs"][0]["id"].as_str().unwrap()]).exits(2);
        assert!(ran.stderr.contains("nothing is recorded"), "{ran:?}");
        assert!(cx.run([verb]).exits(2).stderr.contains("no run is known"));
    }
    // Somebody who wants to leave, and one who is asked to.
    let mut desk = Desk::start(&cx, &["exec", "--no-sync", "-t", "--", "sh", "-c", "echo up; cat"]);
    desk.until("up");
    desk.keys("hello\r~.");
    assert_eq!(desk.end(), 130);
    let desk = Desk::start(&cx, &["exec", "--no-sync", "-t", "--", "sh", "-c", "echo up; cat"]);
    desk.until("up");
    let ours = rustix::process::Pid::from_raw(desk.child.id() as i32).unwrap();
    rustix::process::kill_process(ours, rustix::process::Signal::TERM).unwrap();
    assert_eq!(desk.end(), 143);
    // No command outlives its terminal.
    let gone = "while ps ax | grep '[e]cho up; cat'; do sleep 0.1; done";
    cx.run(["exec", "--no-sync", "--", "sh", "-c", gone]).exits(0);
}

#[test]
fn a_terminal_for_a_command_whose_caller_has_none() {
    let cx = TestContext::new(&[]);
    let text = "[ -t 1 ] && echo terminal; cat";
    let ran = cx.run(["exec", "-t", "--", "sh", "-c", text]).exits(0);
    assert!(ran.stdout.starts_with("terminal"), "{}", ran.stdout);
    let mut command = cx.command(["exec", "--no-sync", "-t", "--", "sh", "-c", text]);
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"piped\n").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "terminal\npiped\n");
}
