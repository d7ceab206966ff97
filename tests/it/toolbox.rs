//! The toolbox on a socket of its own: what it does right where the wire leaves room for mistakes.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what fails here fails its test")]

mod commands;
mod files;
mod ports;
mod sessions;
mod terminals;

use serde_json::{Value, json};

use crate::support::toolbox::ToolboxUnderTest;
use crate::support::unix_http::Answer;

async fn execute(toolbox: &ToolboxUnderTest, body: Value) -> Answer {
    toolbox.http.post("/process/execute", body).await
}

async fn run(toolbox: &ToolboxUnderTest, command: &str) -> (i64, String) {
    let answer = execute(toolbox, json!({ "command": command })).await;
    assert_eq!(answer.status, 200, "{command}");
    let body = answer.json();
    (body["exitCode"].as_i64().unwrap(), body["result"].as_str().unwrap().to_owned())
}

/// A multipart body of named parts.
fn multipart(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend(head.as_bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--B--\r\n");
    body
}

const MULTIPART: (&str, &str) = ("content-type", "multipart/form-data; boundary=B");

async fn upload(toolbox: &ToolboxUnderTest, parts: &[(&str, &[u8])]) -> Answer {
    toolbox.http.call("POST", "/files/bulk-upload", &[MULTIPART], multipart(parts)).await
}
