//! Where agents keep their conversations, so that one nobody ever had is found out before anything is sent.

use super::Kind;

/// Variables that move an agent's conversations somewhere else.
fn variables(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Opencode => &["HOME", "XDG_DATA_HOME", "OPENCODE_DB"],
        Kind::Claude => &["HOME", "CLAUDE_CONFIG_DIR"],
        Kind::Codex => &["HOME", "CODEX_HOME"],
        Kind::Gemini => &["HOME", "GEMINI_CLI_HOME"],
        Kind::Qwen => &["HOME", "QWEN_HOME", "QWEN_RUNTIME_DIR"],
        Kind::Command => &[],
    }
}

/// Shell words for the files and folders in the sandbox in which the id of every conversation of the agent
/// is found as text. `None` if that cannot be said, because `given`, the names of variables the agent gets,
/// move them.
pub fn places(kind: Kind, given: &[String]) -> Option<&'static str> {
    if variables(kind).iter().any(|name| given.iter().any(|g| g == name)) {
        return None;
    }
    match kind {
        // a database, which has ids as they are; folders of JSON before that
        Kind::Opencode => Some(
            r#""${XDG_DATA_HOME:-$HOME/.local/share}"/opencode/opencode*.db* "${XDG_DATA_HOME:-$HOME/.local/share}"/opencode/storage"#,
        ),
        Kind::Claude => Some(r#""${CLAUDE_CONFIG_DIR:-$HOME/.claude}"/projects"#),
        Kind::Codex => Some(r#""${CODEX_HOME:-$HOME/.codex}"/sessions"#),
        Kind::Gemini => Some(r#""${GEMINI_CLI_HOME:-$HOME}"/.gemini/tmp"#),
        Kind::Qwen => Some(r#""${QWEN_RUNTIME_DIR:-${QWEN_HOME:-$HOME/.qwen}}"/projects"#),
        Kind::Command => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_places_that_a_given_variable_moves() {
        let given = |name: &str| places(Kind::Codex, &[name.to_owned()]);
        assert!(given("CODEX_API_KEY").is_some());
        assert!(given("CODEX_HOME").is_none() && given("HOME").is_none());
    }
}
