//! Runs over a real toolbox of this process, followed to their end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Json;
use axum::routing::{get, post};
use sandbox_coder::daytona::retry::Policy;
use sandbox_coder::daytona::script::Script;
use sandbox_coder::daytona::{Client, Credential, Endpoint, Limits, Toolbox};
use sandbox_coder::run::start::{Kind, RunSpec, Started, What, heard, plan};
use sandbox_coder::run::view::{Seen, View, ViewOptions, follow};
use sandbox_coder::run::{Offsets, RunRef, Stream};
use sandbox_coder::secret::Secret;
use sandbox_coder::wire::sandbox::{Sandbox, SandboxState};
use sha2::{Digest as _, Sha256};

const ID: &str = "11111111-2222-3333-4444-555555555555";

/// One sandbox: a real toolbox in a directory of its own, and the answer to "how is it".
pub struct Place {
    pub home: tempfile::TempDir,
    pub addr: SocketAddr,
}

impl Place {
    /// Serves until the runtime ends.
    pub async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut variables: BTreeMap<_, _> =
            std::env::vars_os().filter(|(k, _)| k == "PATH").collect();
        variables.insert("HOME".into(), home.path().into());
        let (home_dir, work_dir) = (home.path().to_owned(), home.path().to_owned());
        let setup = sandbox_coder::toolbox::Setup { home: home_dir, work_dir, variables };
        let sandbox = || async {
            Json(Sandbox { id: ID.into(), state: SandboxState::Started, ..Sandbox::default() })
        };
        let router = axum::Router::new()
            .nest(&format!("/toolbox/{ID}"), sandbox_coder::toolbox::router(setup))
            .route(&format!("/api/sandbox/{ID}"), get(sandbox))
            .route(&format!("/api/sandbox/{ID}/last-activity"), post(|| async {}));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { home, addr }
    }

    /// A client of it that repeats soon.
    pub async fn toolbox(&self, through: SocketAddr) -> Toolbox {
        let endpoint = Endpoint {
            api_url: format!("http://{through}/api"),
            credential: Credential::Key(Secret::new("dtn_0123456789")),
            target: None,
        };
        let retry = Policy { base: Duration::from_millis(10), tries: 8, ..Policy::default() };
        let client = Client::with_limits(endpoint, Limits { retry, ..Limits::default() }).unwrap();
        let toolbox_proxy_url = format!("http://{through}/toolbox");
        let sandbox = Sandbox { id: ID.into(), toolbox_proxy_url, ..Sandbox::default() };
        client.toolbox(&sandbox).await.unwrap()
    }

    /// A run of this shell text.
    pub fn spec(&self, text: &str) -> RunSpec {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let dir = format!("{}/.sandbox-coder/runs/{id}", self.home.path().display());
        RunSpec {
            run: RunRef { id, dir },
            kind: Kind::Exec { tty: None },
            command: What::Shell(text.into()),
            cwd: None,
            env: Vec::new(),
            stdin: None,
            files: Vec::new(),
            forget: Vec::new(),
            limits: Default::default(),
        }
    }
}

/// Starts a run.
pub async fn start(toolbox: &Toolbox, spec: &RunSpec) -> Started {
    let start = plan(spec).unwrap();
    start.upload(toolbox).await.unwrap();
    let mut script = Script::new();
    start.add_to(&mut script);
    let answer = toolbox.run_script(&script, Duration::from_secs(30)).await.unwrap();
    heard(&answer.result).unwrap_or_else(|| panic!("{}", answer.result))
}

/// All that was heard of a run.
#[derive(Default)]
pub struct Followed {
    out: Vec<u8>,
    err: Vec<u8>,
    pub exit: Option<i32>,
    /// How often the live view was lost.
    pub losses: u32,
}

/// Follows to the end; every piece must join the one before.
pub async fn follow_all(toolbox: &Toolbox, run: &RunRef, options: ViewOptions) -> Followed {
    take_all(follow(toolbox, run, Offsets::default(), options)).await
}

/// Takes all that a view tells, and closes it.
pub async fn take_all(mut view: View) -> Followed {
    let mut followed = Followed::default();
    while let Some(seen) = view.next().await {
        match seen.unwrap() {
            Seen::Bytes { stream, offset, bytes } => {
                let all = if stream == Stream::Out { &mut followed.out } else { &mut followed.err };
                assert_eq!(offset, all.len() as u64, "a gap or a double");
                all.extend_from_slice(&bytes);
            }
            Seen::Trouble { .. } => followed.losses += 1,
            Seen::Gap { .. } => panic!("nothing was given up"),
            Seen::End { exit, sizes, .. } => {
                let told =
                    Offsets { out: followed.out.len() as u64, err: followed.err.len() as u64 };
                assert_eq!(sizes, told);
                followed.exit = exit;
            }
        }
    }
    view.close().await;
    followed
}

/// Insists on every recorded byte, once, and on the exit status.
#[track_caller]
pub fn assert_whole(followed: &Followed, run: &RunRef, exit: i32) {
    let recorded = |name| Sha256::digest(std::fs::read(format!("{}/{name}", run.dir)).unwrap());
    assert_eq!(followed.exit, Some(exit));
    assert!(Sha256::digest(&followed.out) == recorded("out"), "standard output differs");
    assert!(Sha256::digest(&followed.err) == recorded("err"), "standard error differs");
}
