//! From a request to the shell text, environment and files that start an agent without a human.

use super::invocation::{Invocation, Launch, LaunchRequest, and_remove, enter};
use super::{Error, Kind, claude, codex, command, gemini, install, opencode, qwen, sh};

/// An agent has a terminal, and nobody turns the pages of what it looks at there.
const NO_PAGER: [(&str, &str); 2] = [("PAGER", "cat"), ("GIT_PAGER", "cat")];

/// How to start the agent; fails only where the request makes no sense for it.
pub fn launch(request: &LaunchRequest) -> Result<Launch, Error> {
    let mut launch = match request.kind {
        Kind::Command => command::launch(request)?,
        _ => of_a_known_agent(request)?,
    };
    launch.env.extend(NO_PAGER.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Ok(launch)
}

fn of_a_known_agent(request: &LaunchRequest) -> Result<Launch, Error> {
    if let Some(session) = &request.session {
        check_session(request.kind, session)?;
    }
    if let Some(model) = &request.model {
        check_model(request.kind, model)?;
    }
    let Invocation { mut args, env } = match request.kind {
        Kind::Opencode => opencode::invocation(request),
        Kind::Claude => claude::invocation(request),
        Kind::Codex => codex::invocation(request),
        Kind::Gemini => gemini::invocation(request),
        Kind::Qwen | Kind::Command => qwen::invocation(request),
    };
    // codex reads its prompt from `-`, which has to stay last
    let last = args.pop_if(|a| a == "-");
    args.extend(request.extra.iter().cloned());
    args.extend(last);
    let script = format!(
        "{find}{enter}{agent}",
        find = install::ensure(request.kind, request.version.as_deref()),
        enter = enter(&request.workspace),
        agent = and_remove(&format!("\"$sbx_agent\" {}", sh::join(&args)), &request.remove),
    );
    Ok(Launch {
        script,
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        files: Vec::new(),
        cleanup: request.remove.clone(),
        json_output: true,
    })
}

/// Ids come from the agents and are passed back as arguments: letters, digits, `-` and `_` only.
fn check_session(agent: Kind, session: &str) -> Result<(), Error> {
    let bad = |why| Err(Error::BadSession { agent, session: session.to_owned(), why });
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if session.is_empty()
        || session.len() > 128
        || !session.chars().all(plain)
        || session.starts_with('-')
    {
        return bad("ids are made of letters, digits, `-` and `_`");
    }
    match agent {
        Kind::Opencode if !session.starts_with("ses_") => bad("its ids begin with `ses_`"),
        // codex starts a new thread, silently, for what is no uuid; gemini takes `latest` and numbers
        Kind::Claude | Kind::Codex | Kind::Gemini | Kind::Qwen
            if uuid::Uuid::try_parse(session).is_err() =>
        {
            bad("its ids are uuids")
        }
        _ => Ok(()),
    }
}

fn check_model(agent: Kind, model: &str) -> Result<(), Error> {
    let bad = |why| Err(Error::BadModel { agent, model: model.to_owned(), why });
    if model.is_empty() || model.starts_with('-') || model.chars().any(char::is_control) {
        return bad("it is empty, begins with `-` or holds control characters");
    }
    match agent {
        Kind::Opencode if !model.contains('/') => bad("it wants `provider/model`"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: Kind) -> LaunchRequest {
        LaunchRequest::new(kind, "/home/d/work space", "/home/d/prompt")
    }

    /// The last line of the script: the agent's own command line.
    fn command(request: &LaunchRequest) -> String {
        launch(request).unwrap().script.lines().last().unwrap().to_owned()
    }

    #[test]
    fn each_agent_is_started_without_a_human() {
        let lines: Vec<String> = Kind::ALL
            .into_iter()
            .flat_map(|kind| {
                let session = match kind {
                    Kind::Opencode => "ses_1",
                    _ => "00000000-0000-4000-8000-000000000000",
                };
                let plain =
                    LaunchRequest { agent_command: Some("cat 'x y'".into()), ..request(kind) };
                let model = Some("some/model".to_owned());
                let session = (kind != Kind::Command).then(|| session.to_owned());
                let full = LaunchRequest {
                    model,
                    session,
                    extra: vec!["--x".into(), "a b".into()],
                    ..plain.clone()
                };
                [command(&plain), command(&full)]
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn what_cannot_be_passed_on_is_refused() {
        let bad = |kind, session: Option<&str>, model: Option<&str>| {
            let session = session.map(str::to_owned);
            launch(&LaunchRequest { session, model: model.map(str::to_owned), ..request(kind) })
                .unwrap_err()
                .to_string()
        };
        let refusals = [
            bad(Kind::Opencode, Some("--help"), None),
            bad(Kind::Opencode, Some("abc"), None),
            bad(Kind::Codex, Some("nonsense"), None),
            bad(Kind::Claude, Some("a title"), None),
            bad(Kind::Gemini, Some("latest"), None),
            bad(Kind::Qwen, Some("1"), None),
            bad(Kind::Opencode, None, Some("gpt-5")),
            bad(Kind::Codex, None, Some("-x")),
            bad(Kind::Command, None, None),
        ];
        insta::assert_snapshot!(refusals.join("\n"));
    }
}
