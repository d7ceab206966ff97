//! Qwen Code: Claude Code's stream without costs; errors of the API pass as an answer, exit status 0.
//!
//! Tried with 0.15.10.

use super::claude::Claude;
use super::gemini::NO_MCP_SERVERS;
use super::invocation::{Invocation, LaunchRequest};

pub(super) fn invocation(request: &LaunchRequest) -> Invocation {
    let mut args = vec!["-y".to_owned()];
    args.extend(NO_MCP_SERVERS.map(str::to_owned));
    args.extend(["--auth-type", "openai", "-o", "stream-json"].map(str::to_owned));
    if let Some(model) = &request.model {
        args.extend(["-m".to_owned(), model.clone()]);
    }
    if let Some(session) = &request.session {
        args.extend(["--resume".to_owned(), session.clone()]);
    }
    Invocation { args, env: Vec::new() }
}

pub(super) fn dialect() -> Claude {
    Claude::qwen()
}
