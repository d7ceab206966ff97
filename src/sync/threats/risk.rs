//! Files other programs on this machine run or obey later, unasked.
//!
//! They cannot be refused without refusing the work itself, so they are told with their reason;
//! the few that run without anybody starting them are held back by default.

use serde_json::Value;

use crate::rel_path::RelPath;

/// Why a change deserves a look before anything is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Git reads it: attributes, modules, hooks.
    Git,
    /// A shell or an editor reads it when the folder is opened.
    Editor,
    /// A coding agent obeys it.
    Agent,
    /// The build server runs it.
    Ci,
    /// A build or a package manager runs it.
    Build,
    /// It may be executed and could not before.
    Executable,
    /// A new or changed symbolic link.
    Link,
    /// A name that reads or works differently elsewhere.
    Name,
    /// A folder that git takes for a repository.
    BareRepository,
}

impl Class {
    /// The stable name in the JSON report.
    pub fn name(self) -> &'static str {
        match self {
            Class::Git => "git",
            Class::Editor => "editor",
            Class::Agent => "agent",
            Class::Ci => "ci",
            Class::Build => "build",
            Class::Executable => "executable",
            Class::Link => "link",
            Class::Name => "name",
            Class::BareRepository => "bare_repository",
        }
    }
}

/// What a path's name says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Risk {
    /// Which kind.
    pub class: Class,
    /// Who runs or reads it.
    pub reason: &'static str,
    /// Held back unless allowed: it runs without anybody starting it.
    pub held: bool,
}

/// The risk a path has by its name. `hooks` are the names of the live hooks folder inside the worktree.
pub fn by_name(path: &RelPath, hooks: &[RelPath]) -> Option<Risk> {
    let lower = path.as_bytes().to_ascii_lowercase();
    let parts: Vec<&[u8]> = lower.split(|&b| b == b'/').collect();
    let (file, folders) = parts.split_last()?;
    let risk = |class, reason| Some(Risk { class, reason, held: false });
    let held = |class, reason| Some(Risk { class, reason, held: true });

    if hooks.iter().any(|h| path.is_below(h) || path == h) {
        return held(Class::Git, "a hook that git runs");
    }
    let parent = folders.last().copied().unwrap_or_default();
    match (parent, *file) {
        (_, b".envrc") => return held(Class::Editor, "direnv runs it when the folder is entered"),
        (b".claude", f) if f.starts_with(b"settings") && f.ends_with(b".json") => {
            return held(Class::Agent, "agent settings can hold hooks");
        }
        (_, b".mcp.json") => return held(Class::Agent, "agents start the servers it names"),
        (b".cursor", b"mcp.json") => {
            return held(Class::Agent, "the editor starts the servers it names");
        }
        (b".vscode", b"tasks.json" | b"settings.json" | b"mcp.json") => {
            return held(Class::Editor, "the editor runs what it names");
        }
        _ => {}
    }
    match *file {
        b".gitattributes" | b".gitmodules" | b".gitconfig" => {
            return risk(Class::Git, "git reads it");
        }
        b".pre-commit-config.yaml"
        | b"lefthook.yml"
        | b"lefthook.yaml"
        | b".lefthook.yml"
        | b".overcommit.yml" => {
            return risk(Class::Git, "a hook manager runs what it names");
        }
        b".editorconfig" | b".vimrc" | b".exrc" | b".nvimrc" | b".nvim.lua" | b".dir-locals.el" => {
            return risk(Class::Editor, "an editor reads it");
        }
        b"claude.md" | b"agents.md" | b"gemini.md" | b"qwen.md" | b".cursorrules"
        | b".windsurfrules" | b"opencode.json" | b"opencode.jsonc" => {
            return risk(Class::Agent, "coding agents obey it");
        }
        b".sandbox-coder.toml" => return risk(Class::Agent, "settings of later runs"),
        b".gitlab-ci.yml" | b"jenkinsfile" | b"azure-pipelines.yml" | b".travis.yml" => {
            return risk(Class::Ci, "the build server runs it");
        }
        b"package-lock.json"
        | b"npm-shrinkwrap.json"
        | b"yarn.lock"
        | b"pnpm-lock.yaml"
        | b"bun.lock"
        | b"bun.lockb"
        | b"cargo.lock"
        | b"poetry.lock"
        | b"uv.lock"
        | b"pipfile.lock"
        | b"gemfile.lock"
        | b"composer.lock"
        | b"go.sum" => {
            return risk(Class::Build, "decides which packages are installed");
        }
        b".npmrc"
        | b"setup.py"
        | b"conftest.py"
        | b"build.rs"
        | b"makefile"
        | b"gnumakefile"
        | b"justfile"
        | b"gradle-wrapper.jar"
        | b"gradle-wrapper.properties"
        | b"gradlew"
        | b"gradlew.bat"
        | b"rakefile"
        | b".pnpmfile.cjs"
        | b"sitecustomize.py" => {
            return risk(Class::Build, "a build or a package manager runs it");
        }
        f if f.starts_with(b".yarnrc")
            || f.starts_with(b"rust-toolchain")
            || ends(f, b".gradle")
            || ends(f, b".gradle.kts")
            || ends(f, b".pth") =>
        {
            return risk(Class::Build, "a build or a package manager runs it");
        }
        f if ends(f, b".code-workspace") => return risk(Class::Editor, "an editor reads it"),
        _ => {}
    }
    let under = |names: &[&[u8]]| folders.iter().any(|f| names.contains(f));
    let root = folders.first().copied().unwrap_or_default();
    if under(&[b".husky", b".githooks"]) {
        return risk(Class::Git, "a hook that git may run");
    }
    if under(&[b".claude", b".cursor", b".opencode", b".codex", b".gemini", b".qwen"]) {
        return risk(Class::Agent, "coding agents obey it");
    }
    if parent == b".github" && *file == b"copilot-instructions.md" {
        return risk(Class::Agent, "coding agents obey it");
    }
    if parent == b".vscode" && matches!(*file, b"launch.json" | b"extensions.json")
        || under(&[b".idea", b".devcontainer"])
    {
        return risk(Class::Editor, "an editor runs what it names");
    }
    if root == b".circleci"
        || root == b".github" && matches!(folders.get(1), Some(&b"workflows" | &b"actions"))
    {
        return risk(Class::Ci, "the build server runs it");
    }
    if under(&[b".mvn"]) || parent == b".cargo" && (*file == b"config" || *file == b"config.toml") {
        return risk(Class::Build, "a build runs what it names");
    }
    None
}

/// The risk of a link: what is read by its name may lie below it, too. A link in the place of a folder brings
/// files under names that nobody sees in the result.
pub fn of_link(path: &RelPath, hooks: &[RelPath]) -> Option<Risk> {
    /// What programs look for in the folders of the table.
    const BELOW: [&str; 7] = [
        "settings.json",
        "tasks.json",
        "mcp.json",
        "x",
        "config.toml",
        "workflows/x",
        "copilot-instructions.md",
    ];
    if hooks.iter().any(|hooks| hooks.is_below(path)) {
        let reason = "the hooks that git runs would lie behind it";
        return Some(Risk { class: Class::Git, reason, held: true });
    }
    let below = BELOW.iter().filter_map(|name| {
        let path = RelPath::parse(&[path.as_bytes(), b"/", name.as_bytes()].concat()).ok()?;
        by_name(&path, hooks)
    });
    let risks: Vec<Risk> = by_name(path, hooks).into_iter().chain(below).collect();
    risks.iter().find(|risk| risk.held).or(risks.first()).cloned()
}

fn ends(name: &[u8], end: &[u8]) -> bool {
    name.ends_with(end)
}

/// Whether a `package.json` differs in what a package manager runs or installs. What cannot be read counts as different.
pub fn package_changes(before: &[u8], after: &[u8]) -> bool {
    const PARTS: [&str; 10] = [
        "scripts",
        "dependencies",
        "devDependencies",
        "optionalDependencies",
        "peerDependencies",
        "bundledDependencies",
        "packageManager",
        "overrides",
        "resolutions",
        "workspaces",
    ];
    let Ok(after) = serde_json::from_slice::<Value>(after) else { return true };
    let before = serde_json::from_slice::<Value>(before).unwrap_or_default();
    PARTS.iter().any(|part| before.get(part) != after.get(part))
}

/// Whether the first bytes are those of a program a kernel starts.
pub fn is_program(head: &[u8]) -> bool {
    const MAGIC: [&[u8]; 8] = [
        b"\x7fELF",
        b"MZ",
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
        b"\0asm",
    ];
    MAGIC.iter().any(|magic| head.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<Risk> {
        by_name(&RelPath::parse(path.as_bytes()).unwrap(), &[RelPath::parse(b"ci/hooks").unwrap()])
    }

    #[test]
    fn every_row_of_the_table_of_classes() {
        let rows: &[(Class, &[&str])] = &[
            (
                Class::Git,
                &[
                    ".gitattributes",
                    "sub/.gitattributes",
                    ".gitmodules",
                    ".husky/pre-commit",
                    ".githooks/x",
                    ".pre-commit-config.yaml",
                    "lefthook.yml",
                ],
            ),
            (
                Class::Editor,
                &[
                    ".vscode/launch.json",
                    ".vscode/extensions.json",
                    ".idea/workspace.xml",
                    ".devcontainer/Dockerfile",
                    "a.code-workspace",
                    ".editorconfig",
                    ".vimrc",
                    ".exrc",
                    ".dir-locals.el",
                ],
            ),
            (
                Class::Agent,
                &[
                    "CLAUDE.md",
                    "sub/AGENTS.md",
                    "GEMINI.md",
                    ".claude/commands/x.md",
                    ".cursor/rules/a",
                    ".cursorrules",
                    ".github/copilot-instructions.md",
                    ".opencode/agent/x.md",
                    "opencode.json",
                    ".codex/config.toml",
                    ".sandbox-coder.toml",
                ],
            ),
            (
                Class::Ci,
                &[
                    ".github/workflows/ci.yml",
                    ".github/actions/a/action.yml",
                    ".gitlab-ci.yml",
                    ".circleci/config.yml",
                    "Jenkinsfile",
                    "azure-pipelines.yml",
                ],
            ),
            (
                Class::Build,
                &[
                    "package-lock.json",
                    "Cargo.lock",
                    ".npmrc",
                    ".yarnrc.yml",
                    ".yarnrc",
                    "setup.py",
                    "tests/conftest.py",
                    "build.rs",
                    ".cargo/config.toml",
                    "rust-toolchain.toml",
                    "rust-toolchain",
                    "Makefile",
                    "app/build.gradle",
                    "build.gradle.kts",
                    "gradle/wrapper/gradle-wrapper.jar",
                    ".mvn/jvm.config",
                ],
            ),
        ];
        for (class, paths) in rows {
            for path in *paths {
                let risk = of(path).unwrap_or_else(|| panic!("{path} is not flagged"));
                assert_eq!((risk.class, risk.held), (*class, false), "{path}");
            }
        }
        for path in [
            ".envrc",
            "sub/.envrc",
            ".claude/settings.json",
            ".claude/settings.local.json",
            ".mcp.json",
            ".cursor/mcp.json",
            ".vscode/tasks.json",
            ".vscode/settings.json",
            ".vscode/mcp.json",
            "ci/hooks/pre-commit",
            ".VSCODE/Tasks.json",
        ] {
            assert!(of(path).unwrap().held, "{path}");
        }
        for path in [
            "src/main.rs",
            "README.md",
            "package.json",
            ".github/ISSUE_TEMPLATE.md",
            "docs/claude.txt",
            "vscode/tasks.json",
            "ci/hooksx",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn a_link_is_as_risky_as_what_may_lie_behind_it() {
        let of = |path: &str| {
            let hooks = RelPath::parse(b"ci/hooks").unwrap();
            of_link(&RelPath::parse(path.as_bytes()).unwrap(), &[hooks])
        };
        for path in [".envrc", ".claude", ".cursor", ".vscode", "sub/.vscode", "ci", "ci/hooks"] {
            assert!(of(path).unwrap_or_else(|| panic!("{path}")).held, "{path}");
        }
        for (path, class) in [
            (".github", Class::Ci),
            (".github/workflows", Class::Ci),
            (".circleci", Class::Ci),
            (".husky", Class::Git),
            (".githooks", Class::Git),
            (".idea", Class::Editor),
            (".devcontainer", Class::Editor),
            (".codex", Class::Agent),
            (".opencode", Class::Agent),
            (".cargo", Class::Build),
            (".mvn", Class::Build),
            ("CLAUDE.md", Class::Agent),
            ("Makefile", Class::Build),
        ] {
            let risk = of(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((risk.class, risk.held), (class, false), "{path}");
        }
        for path in ["src", "docs/x", "vscode", "cix"] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn a_package_counts_only_where_something_runs_or_is_installed() {
        let before = br#"{"name":"a","version":"1","scripts":{"t":"x"}}"#;
        assert!(!package_changes(before, br#"{"name":"b","version":"2","scripts":{"t":"x"}}"#));
        assert!(package_changes(before, br#"{"name":"a","scripts":{"t":"x","postinstall":"y"}}"#));
        assert!(package_changes(
            before,
            br#"{"name":"a","scripts":{"t":"x"},"dependencies":{"l":"1"}}"#
        ));
        assert!(package_changes(before, br#"{"scripts":{"t":"x"},"packageManager":"yarn@x"}"#));
        assert!(package_changes(before, b"not json"));
        assert!(!package_changes(b"", b"{}"));
    }
}
