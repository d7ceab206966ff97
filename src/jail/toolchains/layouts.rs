//! The table of known layouts: how a version manager lays out what it installs.

use std::path::{Path, PathBuf};

use super::{Caller, View};

/// One way of installing tools below a home directory.
pub(super) struct Layout {
    /// The name people know it by.
    pub(super) name: &'static str,
    /// The variable that moves its root, if there is one.
    variable: Option<&'static str>,
    /// Its root below the home directory.
    below_home: &'static str,
    /// What is put on `PATH`, below the root; `*` stands for one component.
    on_path: &'static [&'static str],
    /// What has to be visible, below the root; `*` stands for the components `*` stood for.
    visible: &'static [&'static str],
    /// The variable that has to name the root inside.
    pub(super) sets: Option<&'static str>,
}

const fn layout(
    name: &'static str,
    variable: Option<&'static str>,
    below_home: &'static str,
    on_path: &'static [&'static str],
    visible: &'static [&'static str],
) -> Layout {
    Layout { name, variable, below_home, on_path, visible, sets: None }
}

/// Known layouts, the more particular first.
pub(super) const LAYOUTS: &[Layout] = &[
    // `bin` only: beside it lie `credentials.toml`, `config.toml` and a registry that must be writable.
    layout("rustup", Some("CARGO_HOME"), ".cargo", &["bin"], &["bin"]),
    layout("nvm", Some("NVM_DIR"), ".nvm", &["versions/node/*/bin"], &["versions/node/*"]),
    Layout {
        sets: Some("VOLTA_HOME"),
        ..layout("volta", Some("VOLTA_HOME"), ".volta", &["bin"], &["bin", "tools", "layout.v4"])
    },
    layout(
        "fnm",
        Some("FNM_DIR"),
        ".local/share/fnm",
        &["node-versions/*/installation/bin", "aliases/*/bin"],
        &["node-versions/*"],
    ),
    Layout {
        sets: Some("PYENV_ROOT"),
        ..layout(
            "pyenv",
            Some("PYENV_ROOT"),
            ".pyenv",
            &["shims", "bin", "plugins/*/shims", "plugins/*/bin"],
            &[""],
        )
    },
    layout("go sdk", None, "sdk", &["*/bin"], &["*"]),
    // What `go install` made; the module cache beside it is the sandbox's own.
    layout("go", Some("GOPATH"), "go", &["bin"], &["bin"]),
    layout("sdkman", Some("SDKMAN_DIR"), ".sdkman", &["candidates/*/*/bin"], &["candidates/*"]),
    layout("bun", Some("BUN_INSTALL"), ".bun", &["bin"], &["bin", "install/global/node_modules"]),
    layout("deno", Some("DENO_INSTALL"), ".deno", &["bin"], &["bin"]),
    layout("pnpm", Some("PNPM_HOME"), ".local/share/pnpm", &["", "bin"], &[""]),
    layout(
        "mise",
        Some("MISE_DATA_DIR"),
        ".local/share/mise",
        &["shims", "installs/*/*/bin"],
        &["shims", "installs"],
    ),
    Layout {
        sets: Some("ASDF_DATA_DIR"),
        ..layout(
            "asdf",
            Some("ASDF_DATA_DIR"),
            ".asdf",
            &["shims", "bin"],
            &["shims", "bin", "installs", "plugins"],
        )
    },
    Layout {
        sets: Some("RBENV_ROOT"),
        ..layout(
            "rbenv",
            Some("RBENV_ROOT"),
            ".rbenv",
            &["shims", "bin"],
            &["shims", "bin", "libexec", "versions", "version"],
        )
    },
    layout("uv", Some("UV_PYTHON_INSTALL_DIR"), ".local/share/uv/python", &["*/bin"], &["*"]),
    layout("opencode", None, ".opencode", &["bin"], &["bin"]),
    // Agents, uv, pipx and pip put programs or links here; each link's installation comes along.
    layout("~/.local/bin", None, ".local", &["bin"], &["bin"]),
    layout("~/bin", None, "bin", &[""], &[""]),
    layout(
        "npm prefix",
        Some("NPM_CONFIG_PREFIX"),
        ".npm-global",
        &["bin"],
        &["bin", "lib/node_modules"],
    ),
];

impl Layout {
    /// Where the caller has it.
    pub(super) fn root(&self, caller: &Caller) -> Option<PathBuf> {
        let named = self
            .variable
            .and_then(|name| caller.vars.get(name))
            .filter(|value| value.starts_with('/'));
        named.map(PathBuf::from).or_else(|| Some(caller.home.as_ref()?.join(self.below_home)))
    }

    /// What `dir` is below `root`, if this layout puts it on `PATH`.
    pub(super) fn matches(&self, root: &Path, dir: &Path, view: &dyn View) -> Option<String> {
        let below =
            |root: &Path| dir.strip_prefix(root).ok().and_then(Path::to_str).map(str::to_owned);
        let part = below(root).or_else(|| below(&view.real(root)?))?;
        self.on_path.iter().any(|pattern| fits(pattern, &part)).then_some(part)
    }

    /// What has to be visible when `part` is on `PATH`.
    pub(super) fn places(&self, part: &str) -> Vec<String> {
        let pattern =
            self.on_path.iter().find(|pattern| fits(pattern, part)).copied().unwrap_or_default();
        let stars = pattern
            .split('/')
            .zip(part.split('/'))
            .filter(|(star, _)| *star == "*")
            .map(|(_, name)| name);
        let stars: Vec<&str> = stars.collect();
        self.visible.iter().map(|place| filled(place, &stars)).collect()
    }
}

fn fits(pattern: &str, part: &str) -> bool {
    let (pattern, part): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), part.split('/').collect());
    pattern.len() == part.len()
        && pattern
            .iter()
            .zip(part)
            .all(|(want, have)| *want == have || *want == "*" && !have.is_empty())
}

fn filled(place: &str, stars: &[&str]) -> String {
    let mut stars = stars.iter();
    let parts = place
        .split('/')
        .map(|part| if part == "*" { stars.next().copied().unwrap_or(part) } else { part });
    parts.collect::<Vec<_>>().join("/")
}
