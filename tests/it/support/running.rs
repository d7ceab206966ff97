//! Commands of ours that a test acts on while they run.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};

use super::context::{Ran, TestContext};

/// A command under way: its lines are read as they come.
pub struct Running {
    pub child: Child,
    lines: mpsc::Receiver<String>,
    errors: std::thread::JoinHandle<String>,
    pub seen: Vec<String>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = std::io::Read::read_to_string(&mut err, &mut text);
            text
        });
        Self { child, lines, errors, seen: Vec::new() }
    }

    /// Waits for a line that holds `text`.
    #[track_caller]
    pub fn until(&mut self, text: &str) {
        loop {
            let line =
                self.lines.recv().unwrap_or_else(|_| panic!("no `{text}`: {:#?}", self.seen));
            self.seen.push(line);
            if self.seen.last().unwrap().contains(text) {
                return;
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        // A process that has just ended is fine: it is not waited for yet, so the number is still its own.
        let _ = kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal);
    }

    pub fn end(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        self.seen.extend(self.lines.iter());
        let stdout: String = self.seen.iter().map(|l| format!("{l}\n")).collect();
        let code = status.code().unwrap_or(-1);
        Ran { code, stdout, stderr: self.errors.join().unwrap() }
    }
}

/// The main job with a shell script as the agent, as events.
pub fn agent(cx: &TestContext, script: &str, more: &[&str]) -> Running {
    let mut command = cx.command(["run", "--json", "--agent-command", script]);
    command.args(more).arg("do it");
    Running::start(command)
}

/// Tries limits of more and more seconds until one was long enough for the agent to get to its point.
#[track_caller]
pub fn long_enough(reached: impl FnMut(&str) -> bool) {
    let limits = ["1", "4", "16", "64"];
    assert!(limits.into_iter().any(reached), "not even with the longest limit");
}
