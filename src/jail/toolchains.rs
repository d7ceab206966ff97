//! Which of the host's tools a sandbox sees.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::spec::Bind;

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
    /// Its name in the table of known layouts, or the directory given with `--tool-dir`.
    pub name: String,
    /// Where it was found.
    pub at: PathBuf,
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

/// The tools on the caller's `PATH`, by the table of known layouts.
pub fn discover(_caller: &Caller) -> Toolchains {
    Toolchains::default()
}
