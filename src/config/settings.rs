//! Every setting, once: its name as flag, variable and key, its kind, default and help.

/// How a setting's text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`; as a flag, its presence.
    Bool,
    /// A whole number.
    Int,
    /// Seconds, or a number with `s`, `m`, `h`, `d`; `off` is zero.
    Duration,
    /// A size in bytes, or with `K`, `M`, `G` (powers of 1024).
    Size,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any number of texts: the flag repeats, the variable separates by commas, the key is an array.
    List,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// `idle-timeout`: the flag is `--idle-timeout`, the variable `SANDBOX_CODER_IDLE_TIMEOUT`.
    pub key: &'static str,
    /// How its text is read.
    pub kind: Kind,
    /// The default; `None` means unset.
    pub default: Option<&'static str>,
    /// What a value is called in help.
    pub value_name: &'static str,
    /// One line for help and the manual.
    pub help: &'static str,
    /// Other variables that set it, in order after its own.
    pub aliases: &'static [&'static str],
    /// Whether the repository's own `.sandbox-coder.toml` may set it. Nothing that decides where a key
    /// or a file goes is allowed there: the repository may be hostile.
    pub repo: bool,
    /// Never printed.
    pub secret: bool,
    /// Under which heading it appears in help; the commands choose by it.
    pub group: Group,
}

/// Which commands take a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Which agent and how.
    Agent,
    /// Which sandbox and how large.
    Sandbox,
    /// What travels and what comes home.
    Sync,
    /// How long things may take.
    Time,
    /// Where the service is.
    Service,
    /// How this program talks.
    Output,
}

impl Setting {
    /// The environment variable's name.
    pub fn variable(&self) -> String {
        format!("SANDBOX_CODER_{}", self.key.to_uppercase().replace('-', "_"))
    }

    /// The setting of this name.
    pub fn by_key(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|s| s.key == key)
    }
}

const fn s(
    key: &'static str,
    group: Group,
    kind: Kind,
    value_name: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        key,
        kind,
        default: None,
        value_name,
        help,
        aliases: &[],
        repo: false,
        secret: false,
        group,
    }
}

impl Setting {
    const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }
    const fn alias(mut self, names: &'static [&'static str]) -> Self {
        self.aliases = names;
        self
    }
    const fn repo(mut self) -> Self {
        self.repo = true;
        self
    }
    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// The agents by name.
pub const AGENTS: &[&str] = &["opencode", "claude", "codex", "gemini", "qwen", "command"];

use Group::*;
use Kind::{Bool, Choice, Duration, Int, List, Size, Text};

/// Every setting, in the order of the manual.
pub const SETTINGS: &[Setting] = &[
    s("agent", Agent, Choice(AGENTS), "NAME", "The coding agent to run").default("opencode").repo(),
    s("agent-command", Agent, Text, "SH", "A shell command as the agent: it gets the prompt on standard input and in $SANDBOX_CODER_PROMPT_FILE (implies `--agent command`)"),
    s("model", Agent, Text, "MODEL", "The model, in the agent's own spelling").alias(&["SANDBOX_MODEL"]).repo(),
    s("env", Agent, List, "NAME[=VALUE]", "Give the agent this variable; without a value, yours"),
    s("setup", Agent, Text, "SH", "Run this in the workspace once per sandbox, before the first agent").repo(),
    s("provider", Sandbox, Choice(&["auto", "daytona", "local"]), "NAME", "Where sandboxes live; auto is daytona when there is a key, else local").default("auto"),
    s("snapshot", Sandbox, Text, "NAME", "Make the sandbox from this snapshot").alias(&["SANDBOX_SNAPSHOT"]).repo(),
    s("image", Sandbox, Text, "IMAGE", "Make the sandbox from this container image (daytona)").alias(&["SANDBOX_IMAGE"]).repo(),
    s("name", Sandbox, Text, "NAME", "The sandbox's name, instead of the worktree's own"),
    s("label", Sandbox, List, "KEY=VALUE", "Label the sandbox, for audits and lists"),
    s("cpu", Sandbox, Int, "CORES", "Cores (needs --image on daytona)").repo(),
    s("memory", Sandbox, Int, "GIB", "Memory in GiB (needs --image on daytona)").repo(),
    s("disk", Sandbox, Int, "GIB", "Disk in GiB (needs --image on daytona)").repo(),
    s("isolation", Sandbox, Choice(&["namespaces", "none"]), "LEVEL", "How local sandboxes are kept apart from this machine; `none` does not").default("namespaces"),
    s("tool-dir", Sandbox, List, "DIR", "Show this directory, read-only, to local sandboxes and put it on their PATH"),
    s("fresh", Sandbox, Bool, "", "Start with a new sandbox; refused while the old one holds work"),
    s("rm", Sandbox, Bool, "", "Delete the sandbox after everything came home"),
    s("auto-stop", Sandbox, Int, "MINUTES", "The platform stops the sandbox after so long without activity").default("60"),
    s("auto-archive", Sandbox, Int, "MINUTES", "The platform archives a stopped sandbox after so long").default("10080"),
    s("auto-delete", Sandbox, Int, "MINUTES", "The platform deletes a stopped sandbox after so long; -1 is never").default("-1"),
    s("include", Sync, List, "GLOB", "Send these although git ignores them").repo(),
    s("exclude", Sync, List, "GLOB", "Do not send these although git knows them").repo(),
    s("history", Sync, Choice(&["none", "shallow", "full"]), "DEPTH", "How much of HEAD's history the agent finds in the workspace's repository; shallow is 50 commits deep").default("shallow").repo(),
    s("max-size", Sync, Size, "BYTES", "Refuse to send more than this").default("2G"),
    s("max-files", Sync, Int, "COUNT", "Refuse to send more files than this").default("200000"),
    s("max-result-size", Sync, Size, "BYTES", "Refuse a result with more than this in changed files").default("2G"),
    s("max-result-file", Sync, Size, "BYTES", "Refuse a result with a changed file larger than this").default("512M"),
    s("max-result-files", Sync, Int, "COUNT", "Refuse a result with more changed files than this").default("100000"),
    s("on-conflict", Sync, Choice(&["hold", "keep-both", "merge", "ours", "theirs"]), "POLICY", "When both sides changed a file: hold applies nothing, keep-both puts theirs aside, merge writes markers").default("hold"),
    s("block-risky", Sync, Bool, "", "Hold back files that this machine may run unasked"),
    s("allow-risky", Sync, Bool, "", "Take also files that tools on this machine run unasked"),
    s("allow-external-links", Sync, Bool, "", "Take also symbolic links that lead out of the worktree"),
    s("allow-mass-delete", Sync, Bool, "", "Take the result although it deletes most of the tree"),
    s("force-resync", Sync, Bool, "", "Forget what was agreed with the sandbox: all of its work comes home, each difference as a conflict"),
    s("no-apply", Sync, Bool, "", "Fetch the result, but leave the worktree alone"),
    s("patch", Sync, Text, "FILE", "Also write the result as a patch that `git apply` takes; what clashes is not in it"),
    s("dry-run", Sync, Bool, "", "Show what would happen and touch nothing"),
    s("timeout", Time, Duration, "TIME", "Stop the agent after this long").default("2h").alias(&["DAYTONA_TIMEOUT"]).repo(),
    s("idle-timeout", Time, Duration, "TIME", "Stop the agent after this long without output").default("off").repo(),
    s("grace", Time, Duration, "TIME", "After a signal, how long the work may take to come home").default("5s"),
    s("wait", Time, Bool, "", "Wait while another run holds the worktree"),
    s("detach", Time, Bool, "", "Start the agent and leave; `attach` follows it"),
    s("api-url", Service, Text, "URL", "Daytona's API").alias(&["DAYTONA_API_URL"]).default("https://app.daytona.io/api"),
    s("api-key", Service, Text, "KEY", "Daytona's API key; others on this machine can read flags, so prefer the variable").alias(&["DAYTONA_API_KEY"]).secret(),
    s("jwt-token", Service, Text, "TOKEN", "A Daytona login token instead of a key; needs organization-id").alias(&["DAYTONA_JWT_TOKEN"]).secret(),
    s("organization-id", Service, Text, "ID", "The Daytona organization of the login token").alias(&["DAYTONA_ORGANIZATION_ID"]),
    s("target", Service, Text, "REGION", "Daytona's region").alias(&["DAYTONA_TARGET"]),
    s("state-dir", Service, Text, "DIR", "Where this program remembers runs and keeps local sandboxes"),
    s("json", Output, Bool, "", "Write events as JSON lines on standard output, and nothing else"),
    s("raw", Output, Bool, "", "Show the agent's output as it came"),
    s("quiet", Output, Bool, "", "Say only what failed"),
    s("verbose", Output, Bool, "", "Say more: our own steps"),
    s("debug", Output, Bool, "", "Log every request on standard error; keys are masked"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_is_used_once() {
        let mut names = HashSet::new();
        for setting in SETTINGS {
            assert!(names.insert(setting.variable()), "{}", setting.key);
            assert!(
                setting.aliases.iter().all(|a| names.insert((*a).to_owned())),
                "{}",
                setting.key
            );
            assert!(!setting.help.is_empty() && !setting.help.ends_with('.'), "{}", setting.key);
        }
    }

    #[test]
    fn a_repository_cannot_send_keys_or_variables_anywhere() {
        for key in [
            "api-url",
            "api-key",
            "jwt-token",
            "organization-id",
            "provider",
            "env",
            "state-dir",
            "isolation",
            "tool-dir",
            "allow-risky",
            "allow-external-links",
            "allow-mass-delete",
            "max-result-size",
            "agent-command",
        ] {
            assert!(!Setting::by_key(key).unwrap().repo, "{key}");
        }
    }
}
