//! Real agents, from their packages at pinned versions, against a scripted model on loopback.
//!
//! `cargo test --test agents` runs it; plain `cargo test` does not, since the packages come from the
//! network. They are kept below `target/agents`. An agent that cannot be installed is a failure.
//!
//! [`here`] starts each agent with our own start script in a fresh home directory on this machine;
//! [`sandbox`] lets the whole program run it in a sandbox of its own. What comes of each case there is
//! told in `docs/agents.md`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
#[path = "../it/support/context.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod context;
mod here;
mod installing;
#[path = "../it/support/model.rs"]
mod model;
mod packages;
mod sandbox;
mod secrets;

use std::sync::OnceLock;

use sandbox_coder::agent::Kind;
use serde_json::json;

/// The runtime in which the model answers while tests wait for processes.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().unwrap())
}

fn model() -> &'static model::Model {
    static MODEL: OnceLock<model::Model> = OnceLock::new();
    MODEL.get_or_init(|| runtime().block_on(model::Model::start()))
}

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

/// How an agent is told which model to use: its name, variables and arguments.
struct Wiring {
    model: Option<&'static str>,
    env: Vec<(&'static str, String)>,
    args: Vec<String>,
}

/// `key`: a key comes along; without, the agent has to have a login.
fn wiring(kind: Kind, url: &str, key: bool) -> Wiring {
    match kind {
        Kind::Opencode => {
            let mut options = json!({"baseURL": format!("{url}/v1")});
            if key {
                options["apiKey"] = json!("k");
            }
            let provider = json!({
                "npm": "@ai-sdk/openai-compatible",
                "options": options,
                "models": {"m": {"tool_call": true, "limit": {"context": 200_000, "output": 8000}}}
            });
            let config = json!({"small_model": "scripted/m", "provider": {"scripted": provider}});
            let env = vec![("OPENCODE_CONFIG_CONTENT", config.to_string())];
            Wiring { model: Some("scripted/m"), env, args: vec![] }
        }
        Kind::Claude => {
            let mut env = vec![("ANTHROPIC_BASE_URL", url.to_owned())];
            if key {
                env.push(("ANTHROPIC_API_KEY", "k".to_owned()));
            }
            Wiring { model: None, env, args: vec![] }
        }
        Kind::Codex => {
            let login = if key { "env_key=\"SCRIPTED_KEY\"" } else { "requires_openai_auth=true" };
            let provider = format!(
                "model_providers.scripted={{name=\"scripted\",base_url=\"{url}/v1\",{login},wire_api=\"responses\"}}"
            );
            let args =
                ["-c", "model_provider=scripted", "-c", &provider].map(str::to_owned).to_vec();
            let env = vec![("SCRIPTED_KEY", "k".to_owned())];
            Wiring { model: Some("gpt-5-codex"), env, args }
        }
        Kind::Gemini => {
            let mut env = vec![("GOOGLE_GEMINI_BASE_URL", url.to_owned())];
            if key {
                env.push(("GEMINI_API_KEY", "k".to_owned()));
            }
            Wiring { model: None, env, args: vec![] }
        }
        Kind::Qwen => {
            let mut env = vec![("OPENAI_BASE_URL", format!("{url}/v1"))];
            if key {
                env.push(("OPENAI_API_KEY", "k".to_owned()));
            }
            Wiring { model: Some("m"), env, args: vec![] }
        }
        Kind::Command => panic!("a command has no model"),
    }
}
