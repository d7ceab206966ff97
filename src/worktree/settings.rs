//! The user's settings that ours have to follow, as git resolves them: asked once, all together.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::git::git_command;

/// Names in small letters with their values; a bare name has none.
#[derive(Debug, Default)]
pub(crate) struct Settings(BTreeMap<String, Option<String>>);

impl Settings {
    /// The question to git, for whoever stands in `dir`.
    pub(super) fn question(dir: &Path) -> Command {
        let mut git = git_command(dir);
        let keys = r"^core\.(filemode|symlinks|ignorecase|excludesfile)$";
        git.args(["config", "-z", "--get-regexp", keys]);
        git
    }

    /// What git answers to it. Of several values the last counts.
    pub(super) fn heard(answer: &[u8]) -> Self {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let pair = |pair: &[u8]| match memchr::memchr(b'\n', pair) {
            Some(cut) => (text(&pair[..cut]), Some(text(&pair[cut + 1..]))),
            None => (text(pair), None),
        };
        Self(answer.split(|&b| b == 0).filter(|pair| !pair.is_empty()).map(pair).collect())
    }

    /// Whether the setting is made.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What git takes the setting for; `None` if it is not made, or is no yes or no.
    pub(super) fn truth(&self, name: &str) -> Option<bool> {
        match self.0.get(name)?.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("true" | "yes" | "on") => Some(true),
            Some("false" | "no" | "off" | "") => Some(false),
            Some(number) => number.parse::<i64>().ok().map(|n| n != 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_git_reads_them() {
        let answer = b"core.filemode\ntrue\0core.symlinks\0core.filemode\nOff\0core.ignorecase\n12\0core.excludesfile\na\nb\0";
        let settings = Settings::heard(answer);
        assert_eq!(settings.truth("core.filemode"), Some(false));
        assert_eq!(settings.truth("core.symlinks"), Some(true));
        assert_eq!(settings.truth("core.ignorecase"), Some(true));
        assert_eq!(settings.truth("core.excludesfile"), None);
        assert!(settings.has("core.excludesfile") && !settings.has("core.editor"));
        assert_eq!(Settings::heard(b"").truth("core.filemode"), None);
    }
}
