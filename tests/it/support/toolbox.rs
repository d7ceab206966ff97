//! A toolbox on a temporary socket, with a home of its own.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::PathBuf;

use sandbox_coder::toolbox::{Setup, serve};

use super::unix_http::UnixHttp;

/// Serves until it is dropped.
pub struct ToolboxUnderTest {
    pub http: UnixHttp,
    pub home: PathBuf,
    _dir: tempfile::TempDir,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl ToolboxUnderTest {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("home");
        std::fs::create_dir(&home).unwrap();
        let socket = dir.path().join("s");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let variables = [
            ("PATH".into(), path),
            ("HOME".into(), home.clone().into_os_string()),
            ("LC_ALL".into(), "C.UTF-8".into()),
            ("HISTFILE".into(), "/dev/null".into()),
        ];
        let setup =
            Setup { home: home.clone(), work_dir: home.clone(), variables: variables.into() };
        let server = tokio::spawn(serve(listener, setup));
        Self { http: UnixHttp::new(&socket), home, _dir: dir, server }
    }

    /// An absolute path in the home.
    pub fn at(&self, name: &str) -> String {
        self.home.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for ToolboxUnderTest {
    fn drop(&mut self) {
        self.server.abort();
    }
}
