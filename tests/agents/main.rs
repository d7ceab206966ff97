//! Real agents, from their packages at pinned versions, against a scripted model on loopback.
//!
//! `cargo test --test agents` runs it; plain `cargo test` does not, since the packages come from the
//! network. They are kept below `target/agents`. An agent that cannot be installed is a failure.
//!
//! [`here`] starts each agent with our own start script in a fresh home directory on this machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod here;
mod installing;
#[path = "../it/support/model.rs"]
mod model;
mod packages;

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

fn wiring(kind: Kind, url: &str) -> Wiring {
    match kind {
        Kind::Opencode => {
            let provider = json!({
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": format!("{url}/v1"), "apiKey": "k"},
                "models": {"m": {"tool_call": true, "limit": {"context": 200_000, "output": 8000}}}
            });
            let config = json!({"small_model": "scripted/m", "provider": {"scripted": provider}});
            Wiring {
                model: Some("scripted/m"),
                env: vec![("OPENCODE_CONFIG_CONTENT", config.to_string())],
                args: vec![],
            }
        }
        Kind::Claude => Wiring {
            model: None,
            env: vec![
                ("ANTHROPIC_BASE_URL", url.to_owned()),
                ("ANTHROPIC_API_KEY", "k".to_owned()),
            ],
            args: vec![],
        },
        Kind::Codex => {
            let provider = format!(
                "model_providers.scripted={{name=\"scripted\",base_url=\"{url}/v1\",env_key=\"SCRIPTED_KEY\",wire_api=\"responses\"}}"
            );
            let args =
                ["-c", "model_provider=scripted", "-c", &provider].map(str::to_owned).to_vec();
            Wiring { model: Some("gpt-5-codex"), env: vec![("SCRIPTED_KEY", "k".to_owned())], args }
        }
        other => panic!("{other} is not among the agents tried here"),
    }
}
