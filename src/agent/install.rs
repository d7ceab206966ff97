//! Shell text that finds an agent over there, or installs it at a pinned version.
//!
//! The agent is always run by an absolute path that was tried: an old one that comes first in `PATH`
//! cannot get in the way. What was found is remembered below `~/.sandbox-coder/agents`, so that the next
//! run asks nobody for a version. Installing needs `npm` and writes nothing but its own directory
//! there; it appears by a rename, complete or not at all.

use super::{Kind, sh};

/// Exit status: the agent is not there, and there is no `npm` to install it.
pub const EXIT_MISSING: i32 = 95;

/// Exit status: `npm` could not install the agent.
pub const EXIT_FAILED: i32 = 96;

/// Where an agent comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// The npm package.
    pub npm: &'static str,
    /// The program it brings.
    pub program: &'static str,
    /// The version installed if there is none: the newest that was tried.
    pub pinned: &'static str,
    /// The oldest whose command line and events are those we speak.
    pub oldest: &'static str,
}

/// The package of an agent; none for [`Kind::Command`].
pub fn package(kind: Kind) -> Option<Package> {
    let (npm, program, pinned, oldest) = match kind {
        Kind::Opencode => ("opencode-ai", "opencode", "1.18.33", "1.2.0"),
        Kind::Claude => ("@anthropic-ai/claude-code", "claude", "2.1.329", "2.1.0"),
        Kind::Codex => ("@openai/codex", "codex", "0.169.0", "0.160.0"),
        Kind::Gemini => ("@google/gemini-cli", "gemini", "0.61.0", "0.60.0"),
        Kind::Qwen => ("@qwen-code/qwen-code", "qwen", "0.15.10", "0.15.0"),
        Kind::Command => return None,
    };
    Some(Package { npm, program, pinned, oldest })
}

/// Shell text that leaves the absolute path of the agent in `$sbx_agent`, or ends the script with
/// [`EXIT_MISSING`] or [`EXIT_FAILED`].
///
/// It says `SBX1 agent found VERSION PATH`, `SBX1 agent installing NAME VERSION`,
/// `SBX1 agent missing NAME ...`, `SBX1 agent install-failed NAME VERSION`, `SBX1 agent note ...`.
/// With `version` no other version is taken; without, the first in `PATH` that is not too old.
pub fn ensure(kind: Kind, version: Option<&str>) -> String {
    let Some(package) = package(kind) else { return String::new() };
    let wanted = [
        ("sbx_name", kind.name()),
        ("sbx_npm", package.npm),
        ("sbx_program", package.program),
        ("sbx_exact", version.unwrap_or_default()),
        ("sbx_pinned", version.unwrap_or(package.pinned)),
        ("sbx_oldest", package.oldest),
    ];
    let variables: String =
        wanted.iter().map(|(name, value)| format!("{name}={}\n", sh::quote(value))).collect();
    format!("{variables}{}", include_str!("ensure.sh"))
}
