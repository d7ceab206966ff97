//! A command of ours under way, whose end is waited for with a limit.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::context::Ran;

/// Nothing takes longer than this, not even when several limits of the client add up.
const HANG: Duration = Duration::from_secs(400);

/// A child with its output collected as it comes.
pub struct Running {
    child: Child,
    out: JoinHandle<Vec<u8>>,
    err: JoinHandle<Vec<u8>>,
    began: Instant,
}

impl Running {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let began = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        Self { child, out, err, began }
    }

    /// Its process id.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal. A process that has just ended is fine: it is not waited for yet.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let _ = rustix::process::kill_process(self.pid(), signal);
    }

    /// Waits for the end; what hangs is an error.
    pub fn end(mut self) -> Result<(Ran, Duration), String> {
        while !self.ended() {
            if self.began.elapsed() > HANG {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return Err(format!("hung; stderr: {}", text(self.err)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = self.began.elapsed();
        let status = self.child.wait().unwrap();
        let code = status.code().unwrap_or(-1);
        Ok((Ran { code, stdout: text(self.out), stderr: text(self.err) }, took))
    }
}

/// A command's own words about a failure: its exit code, and what it said of itself.
pub fn brief(ran: &Ran) -> String {
    let own = |line: &&str| !line.starts_with("  ");
    let lines: Vec<&str> = ran.stderr.lines().filter(own).collect();
    format!("exit code {}\n{}", ran.code, lines.join("\n"))
}

/// Runs a command to its end.
pub fn finished(command: Command) -> Result<Ran, String> {
    Running::start(command).end().map(|(ran, _)| ran)
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = from.read_to_end(&mut all);
        all
    })
}

fn text(thread: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&thread.join().unwrap()).into_owned()
}
