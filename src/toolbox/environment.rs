//! What every command starts with: variables, directory, shell.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Variables of a command, over the daemon's own.
pub(super) type Variables = BTreeMap<OsString, OsString>;

/// Shells in the order Daytona looks for them in `/etc/shells`.
const PREFERRED: [&str; 4] = ["/usr/bin/zsh", "/bin/zsh", "/usr/bin/bash", "/bin/bash"];

/// The shell for commands, chosen anew for each: the first preferred one that `/etc/shells` names and that
/// exists, else `$SHELL`, else `sh`.
pub(super) fn shell(variables: &Variables) -> PathBuf {
    let listed = std::fs::read_to_string("/etc/shells").unwrap_or_default();
    choose(&listed, variables.get(&OsString::from("SHELL")).map(Path::new), Path::is_file)
}

fn choose(listed: &str, own: Option<&Path>, exists: impl Fn(&Path) -> bool) -> PathBuf {
    let names = || listed.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let preferred = PREFERRED.iter().map(Path::new);
    let found = preferred
        .filter(|shell| names().any(|name| Path::new(name) == *shell))
        .chain(own)
        .find(|shell| exists(shell));
    found.unwrap_or(Path::new("sh")).to_owned()
}

/// Whether a shell can hold it as a variable.
pub(super) fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_are_chosen_like_daytona_chooses_them() {
        let all = |_: &Path| true;
        assert_eq!(
            choose("/bin/sh\n/bin/bash\n/usr/bin/bash\n", None, all),
            Path::new("/usr/bin/bash")
        );
        assert_eq!(choose("# /bin/zsh\n/bin/bash\n", None, all), Path::new("/bin/bash"));
        assert_eq!(choose("/bin/bash\n/bin/zsh\n", None, all), Path::new("/bin/zsh"));
        assert_eq!(choose("", Some(Path::new("/bin/fish")), all), Path::new("/bin/fish"));
        assert_eq!(choose("/bin/zsh", None, |_| false), Path::new("sh"));
    }

    #[test]
    fn names() {
        assert!(is_name("_A1"));
        for bad in ["", "1A", "A-B", "A=B", "Ä"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
