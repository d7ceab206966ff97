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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;

    /// Runs the text with these directories before the system's in `PATH`.
    fn run(home: &Path, version: Option<&str>, dirs: &[&Path]) -> (i32, Vec<String>) {
        let script = ensure(Kind::Codex, version) + "echo \"run $sbx_agent\"\n";
        let dirs: Vec<_> = dirs
            .iter()
            .map(|d| d.display().to_string())
            .chain(["/usr/bin:/bin".to_owned()])
            .collect();
        let mut sh = Command::new("/bin/sh");
        sh.args(["-c", &script]).env_clear().env("HOME", home).env("PATH", dirs.join(":"));
        let output = sh.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        (output.status.code().unwrap(), said)
    }

    /// A program that counts its calls in `asked` and runs these words.
    fn program(dir: &Path, name: &str, words: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::create_dir_all(dir).unwrap();
        let path = dir.join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho x >>\"$HOME/asked\"\n{words}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn codex(dir: &Path, version: &str) -> String {
        program(dir, "codex", &format!("echo 'codex-cli {version}'")).display().to_string()
    }

    fn asked(home: &Path) -> usize {
        std::fs::read_to_string(home.join("asked")).map_or(0, |t| t.lines().count())
    }

    #[test]
    fn an_old_one_that_comes_first_is_passed_by() {
        let tmp = tempfile::tempdir().unwrap();
        let (home, a, b) = (tmp.path(), tmp.path().join("a b"), tmp.path().join("b"));
        codex(&a, "0.9.0");
        let good = codex(&b, "0.200.0");
        let expected = vec![format!("SBX1 agent found 0.200.0 {good}"), format!("run {good}")];
        assert_eq!(run(home, None, &[&a, &b]), (0, expected.clone()));
        // remembered: nobody is asked again
        let before = asked(home);
        assert_eq!(run(home, None, &[&a, &b]), (0, expected));
        assert_eq!(asked(home), before);
        // until the program changes
        codex(&b, "0.200.12345");
        assert_eq!(run(home, None, &[&a, &b]).1[1], format!("run {good}"));
        assert!(asked(home) > before);
    }

    #[test]
    fn a_version_that_is_asked_for_is_the_only_one_taken() {
        let tmp = tempfile::tempdir().unwrap();
        let (home, a, b) = (tmp.path(), tmp.path().join("a"), tmp.path().join("b"));
        codex(&a, "0.200.0");
        let old = codex(&b, "0.9.0");
        assert_eq!(
            run(home, Some("0.9.0"), &[&a, &b]).1[0],
            format!("SBX1 agent found 0.9.0 {old}")
        );
        assert_eq!(
            run(home, None, &[&a, &b]).1[0],
            format!("SBX1 agent found 0.200.0 {}", a.join("codex").display())
        );
    }

    #[test]
    fn what_is_missing_is_installed_by_npm_and_appears_whole() {
        let tmp = tempfile::tempdir().unwrap();
        let (home, bin) = (tmp.path(), tmp.path().join("bin"));
        // as npm does it: the package below the prefix, the program a link beside it
        program(
            &bin,
            "npm",
            "[ \"$1 $2\" = 'install --prefix' ] || exit 9\n\
             grep -q '\"allowScripts\":{\"@openai/codex\":true}' \"$3/package.json\" || exit 8\n\
             mkdir -p \"$3/node_modules/.bin\"\n\
             for last; do :; done\n\
             printf '#!/bin/sh\\necho %s\\n' \"${last##*@}\" >\"$3/node_modules/.bin/codex\"\n\
             chmod +x \"$3/node_modules/.bin/codex\"",
        );
        let own = home.join(".sandbox-coder/agents/codex-0.169.0/node_modules/.bin/codex");
        let (status, said) = run(home, None, &[&bin]);
        assert_eq!(status, 0, "{said:?}");
        assert_eq!(
            said,
            [
                "SBX1 agent installing codex 0.169.0".to_owned(),
                format!("SBX1 agent found 0.169.0 {}", own.display()),
                format!("run {}", own.display())
            ]
        );
        let names: Vec<_> = std::fs::read_dir(home.join(".sandbox-coder/agents"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.len(), 2, "the package and what was found: {names:?}");
    }

    #[test]
    fn an_old_one_is_better_than_none() {
        let tmp = tempfile::tempdir().unwrap();
        let (home, a) = (tmp.path(), tmp.path().join("a"));
        let old = codex(&a, "0.9.0");
        program(&a, "npm", "echo 'npm error 429'; exit 1");
        program(&a, "sleep", "");
        let (status, said) = run(home, None, &[&a]);
        assert_eq!(status, 0, "{said:?}");
        assert_eq!(said.last().unwrap(), &format!("run {old}"));
        assert!(
            said.iter().any(|l| l.starts_with("SBX1 agent note codex 0.9.0 is older")),
            "{said:?}"
        );
        let (status, said) = run(home, Some("0.169.0"), &[&a]);
        assert_eq!(status, EXIT_FAILED);
        assert_eq!(
            said,
            [
                "SBX1 agent installing codex 0.169.0",
                "npm error 429",
                "SBX1 agent install-failed codex 0.169.0"
            ]
        );
    }

    #[test]
    fn without_npm_the_agent_is_missing() {
        let tmp = tempfile::tempdir().unwrap();
        let bin = tmp.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for tool in ["sed", "head", "sort", "ls", "mkdir", "rm", "mv", "timeout"] {
            let real = ["/usr/bin", "/bin"]
                .iter()
                .map(|d| Path::new(d).join(tool))
                .find(|p| p.exists())
                .unwrap();
            std::os::unix::fs::symlink(real, bin.join(tool)).unwrap();
        }
        let script = ensure(Kind::Codex, None);
        let mut sh = Command::new("/bin/sh");
        let output = sh
            .args(["-c", &script])
            .env_clear()
            .env("HOME", tmp.path())
            .env("PATH", &bin)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(EXIT_MISSING));
        assert_eq!(output.stdout, b"SBX1 agent missing codex, and no npm to install it\n");
        assert_eq!(output.stderr, b"");
    }
}
