//! What a sandbox shall be, as one value: written by the server, read by `__sandbox-init`.
//!
//! It travels as JSON on standard input and never as arguments, which every process may read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The home directory inside an isolated sandbox.
pub const HOME: &str = "/home/daytona";

/// Where the sandbox sees our own binary.
pub const BINARY: &str = "/run/sandbox-coder";

/// The uid and gid everything inside runs as.
pub const INSIDE_ID: u32 = 1000;

/// The descriptor on which the toolbox inherits its listening socket.
pub const LISTENER_FD: i32 = 3;

/// First of the host uids used when we run as root; no distribution hands these out.
const ROOT_MODE_FIRST_UID: u32 = 0x7000_0000;

/// How strongly a sandbox is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Linux namespaces, mounts, system-call filter.
    Namespaces,
    /// An ordinary process of the same user. Only when asked for by name.
    None,
}

impl Isolation {
    /// The name used on the command line and in output.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::Namespaces => "namespaces",
            Isolation::None => "none",
        }
    }
}

impl std::str::FromStr for Isolation {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "namespaces" => Ok(Isolation::Namespaces),
            "none" => Ok(Isolation::None),
            _ => Err(format!("unknown isolation `{word}`; known are `namespaces` and `none`")),
        }
    }
}

/// What of the network a sandbox sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The host's own network: for trusted work only, local services are reachable.
    #[default]
    Host,
    /// Nothing but a loopback interface of its own.
    None,
}

impl Network {
    /// The name used on the command line and in output.
    pub fn name(self) -> &'static str {
        match self {
            Network::Host => "host",
            Network::None => "none",
        }
    }
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "host" => Ok(Network::Host),
            "none" => Ok(Network::None),
            _ => Err(format!("unknown network `{word}`; known are `host` and `none`")),
        }
    }
}

/// A host path that is visible inside, always read-only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bind {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where the sandbox sees it.
    pub target: PathBuf,
}

impl Bind {
    /// A path that is seen inside where it is outside.
    pub fn same(path: impl Into<PathBuf>) -> Self {
        let source = path.into();
        Bind { target: source.clone(), source }
    }
}

/// Limits of one sandbox. CPU and memory are not among them: they need a delegated cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processes and threads alive at once.
    pub processes: u64,
    /// Open descriptors of one process (hard limit).
    pub files: u64,
    /// Largest file, in bytes; `None` for no limit.
    pub file_size: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { processes: 8192, files: 65536, file_size: None }
    }
}

/// All that `__sandbox-init` needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The sandbox's id, for messages.
    pub id: String,
    /// How it is kept apart.
    pub isolation: Isolation,
    /// Holds `home/`, `tmp/` and `run/`; created when missing, mode 0700.
    pub dir: PathBuf,
    /// Our own binary on the host.
    pub binary: PathBuf,
    /// What runs inside as the first process after the reaper; empty means the toolbox.
    #[serde(default)]
    pub argv: Vec<String>,
    /// Its complete environment.
    pub env: BTreeMap<String, String>,
    /// The host name inside.
    pub hostname: String,
    /// Host paths visible inside besides the system's own directories.
    #[serde(default)]
    pub binds: Vec<Bind>,
    /// Paths inside whose content is hidden, although a bind would show it.
    #[serde(default)]
    pub masks: Vec<PathBuf>,
    /// What of the network is visible.
    #[serde(default)]
    pub network: Network,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
    /// The unprivileged host uid (and gid) used when the server is root; ignored otherwise.
    #[serde(default)]
    pub root_mode_uid: Option<u32>,
}

impl Spec {
    /// A sandbox in `dir` with the host's network and default limits.
    pub fn new(id: &str, isolation: Isolation, dir: &Path, binary: &Path) -> Self {
        Spec {
            id: id.to_owned(),
            isolation,
            dir: dir.to_owned(),
            binary: binary.to_owned(),
            argv: Vec::new(),
            env: BTreeMap::new(),
            hostname: "sandbox".to_owned(),
            binds: Vec::new(),
            masks: Vec::new(),
            network: Network::default(),
            limits: Limits::default(),
            root_mode_uid: Some(root_mode_uid(id)),
        }
    }

    /// The sandbox's home directory as seen from inside.
    pub fn home_inside(&self) -> PathBuf {
        match self.isolation {
            Isolation::Namespaces => PathBuf::from(HOME),
            Isolation::None => home_dir(&self.dir),
        }
    }
}

/// The home directory of the sandbox in `dir`, as seen by the host.
pub fn home_dir(dir: &Path) -> PathBuf {
    dir.join("home")
}

/// The temporary directory of the sandbox in `dir`, as seen by the host.
pub fn tmp_dir(dir: &Path) -> PathBuf {
    dir.join("tmp")
}

/// What only the host side sees of the sandbox in `dir`: socket, lock, log.
pub fn run_dir(dir: &Path) -> PathBuf {
    dir.join("run")
}

/// The toolbox's socket of the sandbox in `dir`.
pub fn socket_path(dir: &Path) -> PathBuf {
    run_dir(dir).join("toolbox.sock")
}

/// A host uid of its own for each sandbox, so that root's sandboxes share no files or limits.
pub fn root_mode_uid(id: &str) -> u32 {
    // FNV-1a: stable over versions, which the owner of files on disk has to be.
    let hash =
        id.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    ROOT_MODE_FIRST_UID + (hash & 0x00ff_ffff)
}

/// A step of the start, named in errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Reading the specification.
    Spec,
    /// Making the sandbox's directories.
    Directories,
    /// Another monitor holds this sandbox.
    Lock,
    /// Binding the toolbox's socket.
    Socket,
    /// Creating the namespaces.
    Clone,
    /// Mapping the user.
    UserMap,
    /// Opening a host path that shall be visible inside.
    Source,
    /// Taking the mapped identity.
    Identity,
    /// Bringing the loopback interface up.
    Loopback,
    /// Naming the host.
    Hostname,
    /// Making the mount tree private.
    Private,
    /// Making the new root.
    Root,
    /// Binding a host path.
    Bind,
    /// Making `/etc`.
    Etc,
    /// Making `/dev`.
    Dev,
    /// Mounting `/proc`.
    Proc,
    /// Entering the new root.
    Pivot,
    /// Ending nested user namespaces.
    Nesting,
    /// Setting limits.
    Limits,
    /// Giving up capabilities.
    Capabilities,
    /// Installing the system-call filter.
    Seccomp,
    /// Executing the first program.
    Exec,
}

/// Why a sandbox did not start: the step, the kernel's answer, and on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {}{}", self.stage.name(), std::io::Error::from_raw_os_error(self.errno), self.on())]
pub struct Failure {
    /// The step.
    pub stage: Stage,
    /// The error number, 0 when there is none.
    pub errno: i32,
    /// The path or value it happened on; may be empty.
    pub detail: String,
}

impl Failure {
    fn on(&self) -> String {
        if self.detail.is_empty() { String::new() } else { format!(" (`{}`)", self.detail) }
    }
}

impl Stage {
    /// The step in words, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Spec => "read the specification",
            Stage::Directories => "make the sandbox's directories",
            Stage::Lock => "take the sandbox's lock",
            Stage::Socket => "bind the toolbox's socket",
            Stage::Clone => "create the namespaces",
            Stage::UserMap => "map the user",
            Stage::Source => "open a host path",
            Stage::Identity => "take the mapped identity",
            Stage::Loopback => "bring the loopback interface up",
            Stage::Hostname => "set the host name",
            Stage::Private => "make the mounts private",
            Stage::Root => "make the new root",
            Stage::Bind => "bind a host path",
            Stage::Etc => "make /etc",
            Stage::Dev => "make /dev",
            Stage::Proc => "mount /proc",
            Stage::Pivot => "enter the new root",
            Stage::Nesting => "end nested user namespaces",
            Stage::Limits => "set limits",
            Stage::Capabilities => "give up capabilities",
            Stage::Seccomp => "install the system-call filter",
            Stage::Exec => "start the first program",
        }
    }
}

/// The one line `__sandbox-init` answers on standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The sandbox runs.
    Ready(Holder),
    /// It does not, and nothing of it is left.
    Failed(Failure),
}

/// The processes that hold a running sandbox, as recorded beside its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Stays outside; its death ends the sandbox.
    pub monitor: ProcessId,
    /// Pid 1 of the sandbox (with isolation `none`, the toolbox), by its host pid.
    pub init: ProcessId,
}

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The pid.
    pub pid: u32,
    /// Its start time in clock ticks since boot.
    pub start: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_survives_its_journey() {
        let spec = Spec::new(
            "a1",
            Isolation::Namespaces,
            Path::new("/x/a1"),
            Path::new("/usr/bin/sandbox-coder"),
        );
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
    }

    #[test]
    fn a_uid_of_root_mode_is_never_a_users() {
        for id in ["", "a", "0b9c", "ffffffff-ffff"] {
            let uid = root_mode_uid(id);
            assert!((0x7000_0000..0x8000_0000).contains(&uid), "{id}: {uid}");
        }
        assert_eq!(root_mode_uid("a1"), root_mode_uid("a1"));
    }
}
