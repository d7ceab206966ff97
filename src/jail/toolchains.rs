//! Which of the host's tools a sandbox sees.
//!
//! What is installed for the whole machine is visible anyway. What a user installed below the own home comes
//! along when its programs are on the caller's `PATH` and its layout is in the table below: the table says
//! what of it is bound, read-only and at its own path. Nothing else of the home is ever bound, and files that
//! commonly hold credentials are hidden also where a bind would show them. What tools write (crates, npm and
//! pip caches) lives in the sandbox's home.

mod layouts;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::spec::Bind;
use layouts::{LAYOUTS, Layout};

/// The host's tools as a sandbox sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toolchains {
    /// What becomes visible, read-only.
    pub binds: Vec<Bind>,
    /// What of it is hidden all the same.
    pub masks: Vec<PathBuf>,
    /// The host directories of `PATH`, in the caller's order.
    pub path: Vec<PathBuf>,
    /// Variables the tools need.
    pub env: BTreeMap<String, Value>,
    /// The tools found, for `doctor` and `status`.
    pub tools: Vec<Tool>,
    /// Directories of `PATH` that no sandbox sees; `--tool-dir` adds one.
    pub left_out: Vec<PathBuf>,
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// As it stands.
    Is(String),
    /// A path below the sandbox's home.
    InHome(&'static str),
}

/// A toolchain that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its name in the table of known layouts, or `tool-dir`.
    pub name: String,
    /// Where it was found.
    pub at: PathBuf,
}

/// What discovery starts from: the caller's home, variables and wishes.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The caller's home directory.
    pub home: Option<PathBuf>,
    /// The caller's variables; `PATH` and the tools' own (`RUSTUP_HOME`, `NVM_DIR`, ...) are read.
    pub vars: BTreeMap<String, String>,
    /// Directories added with `--tool-dir`.
    pub tool_dirs: Vec<PathBuf>,
}

impl Caller {
    /// The process's own environment.
    pub fn from_process(tool_dirs: Vec<PathBuf>) -> Self {
        let vars: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        Caller { home: vars.get("HOME").map(PathBuf::from), vars, tool_dirs }
    }
}

/// The little of a file system that discovery looks at.
pub trait View {
    /// The path with every link followed, if it exists.
    fn real(&self, path: &Path) -> Option<PathBuf>;
    /// Whether it is a directory, links followed.
    fn is_dir(&self, path: &Path) -> bool;
    /// What a directory holds; empty when it cannot be read.
    fn list(&self, dir: &Path) -> Vec<PathBuf>;
    /// The text of a small file.
    fn read(&self, path: &Path) -> Option<String>;
}

/// The host's own file system.
#[derive(Debug, Clone, Copy)]
pub struct Host;

impl View for Host {
    fn real(&self, path: &Path) -> Option<PathBuf> {
        std::fs::canonicalize(path).ok()
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn list(&self, dir: &Path) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    }

    fn read(&self, path: &Path) -> Option<String> {
        std::fs::read_to_string(path).ok()
    }
}

/// Where a system keeps what all its users see; bound anyway.
const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/opt", "/lib", "/lib32", "/lib64", "/nix"];

/// Names that commonly hold credentials, or what was once typed. Hidden wherever a bind would show them.
const NEVER: [&str; 24] = [
    ".npmrc",
    "npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".pypirc",
    ".netrc",
    ".git-credentials",
    ".git",
    ".env",
    ".aws",
    ".ssh",
    ".docker",
    ".config",
    "auth.json",
    "credentials",
    "credentials.json",
    "credentials.toml",
    "hosts.yml",
    "token",
    "tokens",
    ".bash_history",
    ".zsh_history",
    ".python_history",
    ".node_repl_history",
];

/// Variables that name the machine's certificates: paths, not secrets, and without them TLS fails behind a
/// company's proxy.
const CERTIFICATES: [&str; 8] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
];

/// The tools on the caller's `PATH`, by the table of known layouts.
pub fn discover(caller: &Caller) -> Toolchains {
    discover_in(caller, &Host)
}

/// [`discover`] over any file system.
pub fn discover_in(caller: &Caller, view: &dyn View) -> Toolchains {
    let mut search = Search { caller, view, found: Toolchains::default(), binds: BTreeSet::new() };
    for dir in &caller.tool_dirs {
        search.tool_dir(dir);
    }
    for dir in caller.vars.get("PATH").map_or("", String::as_str).split(':') {
        search.path_dir(Path::new(dir));
    }
    search.variables();
    search.finish()
}

impl Toolchains {
    /// `PATH` for a sandbox whose home is `home`: its own directories first, then the caller's.
    pub fn path_inside(&self, home: &Path) -> String {
        let own =
            [".local/bin", ".cargo/bin", "go/bin", ".npm-global/bin"].map(|dir| home.join(dir));
        let system =
            ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
                .map(PathBuf::from);
        let mut dirs: Vec<&PathBuf> = Vec::new();
        for dir in own.iter().chain(&self.path).chain(&system) {
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        dirs.iter().map(|d| d.to_string_lossy()).collect::<Vec<_>>().join(":")
    }

    /// The tools' variables for a sandbox whose home is `home`.
    pub fn env_inside(&self, home: &Path) -> BTreeMap<String, String> {
        let value = |v: &Value| match v {
            Value::Is(text) => text.clone(),
            Value::InHome(place) => home.join(place).to_string_lossy().into_owned(),
        };
        self.env.iter().map(|(name, v)| (name.clone(), value(v))).collect()
    }
}

struct Search<'a> {
    caller: &'a Caller,
    view: &'a dyn View,
    found: Toolchains,
    /// Real source and target, each once.
    binds: BTreeSet<Bind>,
}

impl Search<'_> {
    fn tool_dir(&mut self, dir: &Path) {
        if !self.view.is_dir(dir) {
            self.found.left_out.push(dir.to_owned());
            return;
        }
        self.bind(dir, 3);
        let bin = dir.join("bin");
        let programs = if self.view.is_dir(&bin) { bin } else { dir.to_owned() };
        self.on_path(programs);
        self.name("tool-dir", dir);
    }

    fn path_dir(&mut self, dir: &Path) {
        if !dir.is_absolute() || !self.view.is_dir(dir) {
            return;
        }
        let Some(real) = self.view.real(dir) else { return };
        if is_system(&real) {
            return self.on_path(if is_system(dir) { dir.to_owned() } else { real });
        }
        // A version manager may put a link on the path (fnm, sdkman); its layout is where the link leads.
        let known = LAYOUTS.iter().find_map(|layout| {
            let root = layout.root(self.caller)?;
            let matched = layout
                .matches(&root, dir, self.view)
                .or_else(|| layout.matches(&root, &real, self.view))?;
            Some((layout, root, matched))
        });
        match known {
            Some((layout, root, part)) => self.take(layout, &root, &part, &real),
            None => self.npm_prefix(dir, &real),
        }
    }

    fn take(&mut self, layout: &Layout, root: &Path, part: &str, real: &Path) {
        for place in layout.places(part) {
            let place: PathBuf = root.join(place).components().collect();
            if self.view.real(&place).is_some() {
                self.bind(&place, 1);
                self.follow_links(&place);
            }
        }
        if layout.name == "volta" {
            self.volta_default(root);
        }
        if layout.name == "rustup" {
            self.rustup();
        }
        if let Some(variable) = layout.sets {
            self.set(variable, Value::Is(root.to_string_lossy().into_owned()));
        }
        self.on_path(real.to_owned());
        self.name(layout.name, root);
    }

    /// `<prefix>/bin` beside `<prefix>/lib/node_modules`, wherever the user put it.
    fn npm_prefix(&mut self, dir: &Path, real: &Path) {
        let modules = real.parent().map(|prefix| prefix.join("lib/node_modules"));
        match modules {
            Some(modules) if dir.ends_with("bin") && self.view.is_dir(&modules) => {
                self.bind(real, 1);
                self.bind(&modules, 1);
                self.on_path(real.to_owned());
                self.name("npm prefix", dir);
            }
            _ => self.found.left_out.push(dir.to_owned()),
        }
    }

    /// Rustup's proxies in cargo's `bin` need the toolchains, and neither may be written.
    fn rustup(&mut self) {
        let home = self.caller.vars.get("RUSTUP_HOME").map(PathBuf::from);
        let Some(home) = home.or_else(|| Some(self.caller.home.as_ref()?.join(".rustup"))) else {
            return;
        };
        if self.view.is_dir(&home) {
            self.bind(&home, 1);
            self.set("RUSTUP_HOME", Value::Is(home.to_string_lossy().into_owned()));
            // A missing toolchain is told at once, not downloaded into a place that cannot be written.
            self.set("RUSTUP_AUTO_INSTALL", Value::Is("0".to_owned()));
        }
    }

    /// Volta's shims want to write beside themselves; the default versions behind them do not.
    fn volta_default(&mut self, root: &Path) {
        let Some(text) = self.view.read(&root.join("tools/user/platform.json")) else { return };
        let Ok(platform) = serde_json::from_str::<serde_json::Value>(&text) else { return };
        let node = platform.pointer("/node/runtime").and_then(|v| v.as_str());
        let yarn = platform.pointer("/yarn").and_then(|v| v.as_str());
        for (tool, version) in [("node", node), ("yarn", yarn)] {
            let bin = version.map(|v| root.join("tools/image").join(tool).join(v).join("bin"));
            if let Some(bin) = bin.filter(|bin| self.view.is_dir(bin)) {
                self.on_path(bin);
            }
        }
    }

    /// Programs in a `bin` directory are often links to where they are installed.
    fn follow_links(&mut self, dir: &Path) {
        for program in self.view.list(dir) {
            self.follow(&program);
        }
    }

    fn follow(&mut self, program: &Path) {
        let Some(real) = self.view.real(program) else { return };
        if is_system(&real) || self.is_bound(&real) {
            return;
        }
        let installed = installation(&real, self.caller.home.as_deref());
        self.bind(&installed, 1);
        // A virtual environment's interpreter is itself a link, to a Python somewhere else.
        self.follow(&installed.join("bin/python"));
    }

    fn variables(&mut self) {
        self.set("CARGO_HOME", Value::InHome(".cargo"));
        self.set("NPM_CONFIG_PREFIX", Value::InHome(".npm-global"));
        for name in CERTIFICATES.into_iter().chain(["JAVA_HOME", "GOROOT"]) {
            let Some(value) = self.caller.vars.get(name) else { continue };
            let visible = |real: PathBuf| {
                is_system(&real) || real.starts_with("/etc/ssl") || self.is_bound(&real)
            };
            if self.view.real(Path::new(value)).is_some_and(visible) {
                self.found.env.insert(name.to_owned(), Value::Is(value.clone()));
            }
        }
    }

    /// Makes a directory or file visible where it is and where its name leads, and hides what of it is nobody's
    /// business, `depth` levels down.
    fn bind(&mut self, place: &Path, depth: usize) {
        let Some(real) = self.view.real(place) else { return };
        if is_system(&real)
            || self.caller.home.as_deref().is_some_and(|home| home.starts_with(&real))
        {
            // The home itself, or all above it, is never bound, however it came to be on the path.
            return;
        }
        for target in [place, &real] {
            if !self.is_bound(target) {
                self.binds.insert(Bind { source: real.clone(), target: target.to_owned() });
                self.mask(target, depth);
            }
        }
    }

    fn mask(&mut self, dir: &Path, depth: usize) {
        if depth == 0 || !self.view.is_dir(dir) {
            return;
        }
        for entry in self.view.list(dir) {
            if entry.file_name().is_some_and(|name| NEVER.iter().any(|never| name == *never)) {
                self.found.masks.push(entry);
            } else if entry.ends_with("etc") {
                // The global npmrc of a Node installation.
                self.mask(&entry, 1);
            } else {
                self.mask(&entry, depth - 1);
            }
        }
    }

    fn is_bound(&self, path: &Path) -> bool {
        self.binds.iter().any(|bind| path.starts_with(&bind.target))
    }

    fn on_path(&mut self, dir: PathBuf) {
        if !self.found.path.contains(&dir) {
            self.found.path.push(dir);
        }
    }

    fn set(&mut self, name: &str, value: Value) {
        self.found.env.insert(name.to_owned(), value);
    }

    fn name(&mut self, name: &str, at: &Path) {
        let tool = Tool { name: name.to_owned(), at: at.to_owned() };
        if !self.found.tools.contains(&tool) {
            self.found.tools.push(tool);
        }
    }

    fn finish(mut self) -> Toolchains {
        self.found.binds = self.binds.into_iter().collect();
        self.found.masks.sort();
        self.found.masks.dedup();
        self.found
    }
}

fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

/// How much has to be visible for a program that is installed at `program`: its package or prefix, or it alone.
fn installation(program: &Path, home: Option<&Path>) -> PathBuf {
    let parts: Vec<_> = program.components().collect();
    let upto = |n: usize| parts[..n].iter().collect::<PathBuf>();
    // All packages side by side: one may need another.
    if let Some(at) = parts.iter().position(|part| part.as_os_str() == "node_modules") {
        return upto(at + 1);
    }
    if let Some(at) = parts.iter().rposition(|part| part.as_os_str() == "bin") {
        let prefix = upto(at);
        let too_much =
            home.is_some_and(|home| home.starts_with(&prefix) || prefix == home.join(".local"));
        if !too_much {
            return prefix;
        }
    }
    program.to_owned()
}

#[cfg(test)]
mod tests;
