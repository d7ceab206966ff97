//! A real server of the real binary, with a directory of its own.

#![allow(clippy::unwrap_used, reason = "a test ends where its assumption does")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The key of every test server.
pub const KEY: &str = "K-of-the-tests";

/// A running `sandbox-coder serve`. Dropping it ends the server and every sandbox it left.
pub struct TestServer {
    /// `http://127.0.0.1:PORT/api`.
    pub api_url: String,
    /// Host and port.
    pub addr: String,
    _dir: tempfile::TempDir,
    isolation: &'static str,
    data_dir: PathBuf,
    child: Option<Child>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl TestServer {
    /// A server without isolation, which works on every machine.
    pub fn start() -> Self {
        Self::start_with("none", "d")
    }

    /// A server of this isolation in this directory below one of its own.
    pub fn start_with(isolation: &'static str, data_dir: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join(data_dir);
        let (api_url, addr) = (String::new(), String::new());
        let mut server = Self { api_url, addr, _dir: dir, isolation, data_dir, child: None };
        server.run(&[]);
        server
    }

    /// The same calls to a server of this process.
    pub fn at(addr: std::net::SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (data_dir, addr) = (dir.path().to_owned(), addr.to_string());
        let api_url = format!("http://{addr}/api");
        Self { api_url, addr, _dir: dir, isolation: "none", data_dir, child: None }
    }

    fn run(&mut self, more: &[&str]) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sandbox-coder"))
            .args(["serve", "--listen", "127.0.0.1:0", "--api-key", KEY])
            .args(["--isolation", self.isolation])
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut value = |name: &str| {
            let line = lines.next().expect("two lines").unwrap();
            line.strip_prefix(name).unwrap_or_else(|| panic!("`{line}` is not {name}")).to_owned()
        };
        self.api_url = value("DAYTONA_API_URL=");
        assert_eq!(value("DAYTONA_API_KEY="), KEY);
        self.addr =
            self.api_url.strip_prefix("http://").unwrap().strip_suffix("/api").unwrap().to_owned();
        self.child = Some(child);
    }

    /// Where its records are.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }

    /// Kills the server, as a crash would, and starts another in the same directory.
    pub fn crash_and_restart(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.run(&[]);
    }

    /// Asks the server to end, waits until it has, and starts another in the same directory.
    pub fn end_and_restart(&mut self) {
        let mut child = self.child.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success());
        self.run(&[]);
    }

    /// One call with the key.
    pub fn call(&self, method: &str, target: &str, body: &str) -> Answer {
        let auth = format!("Authorization: Bearer {KEY}\r\n");
        self.raw(method, target, &format!("Host: {}\r\n{auth}", self.addr), body)
    }

    /// One call with these header lines, `Host` among them.
    pub fn raw(&self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        let kind = if body.is_empty() { "" } else { "application/json" };
        self.raw_with_type(method, target, headers, kind, body)
    }

    /// The same with a `Content-Type` of choice; none when empty.
    pub fn raw_with_type(
        &self,
        method: &str,
        target: &str,
        headers: &str,
        kind: &str,
        body: &str,
    ) -> Answer {
        let mut stream = TcpStream::connect(&self.addr).unwrap();
        let kind =
            if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\n{headers}{kind}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a whole head");
        let headers = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = headers.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap();
        let body = bytes.split_off(end + 4);
        let chunked = headers.to_lowercase().contains("transfer-encoding: chunked");
        Answer { status, headers, body: if chunked { unchunk(&body) } else { body } }
    }

    /// A new sandbox, as JSON.
    pub fn create(&self, body: &str) -> Value {
        let answer = self.call("POST", "/api/sandbox", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// What a command prints in a sandbox.
    pub fn execute(&self, id: &str, command: &str) -> String {
        let body = serde_json::json!({ "command": command }).to_string();
        let answer = self.call("POST", &format!("/toolbox/{id}/process/execute"), &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["result"].as_str().unwrap().to_owned()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Also when the test failed, and the server with it.
        for entry in std::fs::read_dir(self.data_dir.join("sandboxes")).into_iter().flatten() {
            let _ = entry.map(|entry| sandbox_coder::jail::life::destroy(&entry.path()));
        }
    }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size =
            usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        out.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    out
}

/// Whether no process has this directory in its environment or as its own.
pub fn nothing_runs_below(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return true };
    !entries.flatten().any(|entry| {
        std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir))
    })
}
