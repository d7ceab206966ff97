//! The file system a sandbox sees: an empty root, and in it what was chosen.
//!
//! Host paths are opened first, as detached copies of their mounts ([`Sources`]), and attached later. So
//! a server that is root can offer what only root can reach (its own toolchains below `/root`), while
//! everything made inside belongs to the sandbox's unprivileged user.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, move_mount, open_tree, unmount,
};

use super::spec::{BINARY, Bind, Failure, HOME, Network, Spec, Stage, home_dir, tmp_dir};
use super::sys;

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const NO_DEVICES: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// System directories that are seen as the host has them.
const SYSTEM: [&str; 9] =
    ["/usr", "/opt", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix"];

/// What of `/etc` is the host's own. All else in it is made here or missing.
const ETC: [&str; 27] = [
    "alternatives",
    "bash.bashrc",
    "bash_completion.d",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "locale.conf",
    "manpath.config",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "pki",
    "profile",
    "protocols",
    "services",
    "shells",
    "ssl",
    "terminfo",
];

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Files of `/proc` that tell about or reach the machine.
const PROC_MASKS: [&str; 7] =
    ["kcore", "keys", "key-users", "sysrq-trigger", "timer_list", "kmsg", "sched_debug"];

/// Host paths as detached mounts, ready to be attached inside.
pub(super) struct Sources {
    mounts: Vec<(PathBuf, OwnedFd)>,
    /// Opened here because the new root is mounted over a directory that may hide it.
    resolv_conf: Vec<u8>,
}

/// Opens every host path of `spec`. Needs the power to mount: root's, or that of a new namespace.
pub(super) fn open_sources(spec: &Spec) -> Result<Sources, Failure> {
    let mut mounts = Vec::new();
    for dir in SYSTEM.map(Path::new) {
        if fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir()) {
            mounts.push((dir.to_owned(), detached(dir, READ_ONLY | NO_DEVICES)?));
        }
    }
    for name in ETC {
        let path = Path::new("/etc").join(name);
        if path.exists() {
            mounts.push((path.clone(), detached(&path, READ_ONLY | NO_DEVICES)?));
        }
    }
    for name in DEVICES {
        let path = Path::new("/dev").join(name);
        mounts.push((
            path.clone(),
            detached(&path, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC)?,
        ));
    }
    mounts.push((PathBuf::from(HOME), detached(&home_dir(&spec.dir), NO_DEVICES)?));
    mounts.push((PathBuf::from("/tmp"), detached(&tmp_dir(&spec.dir), NO_DEVICES)?));
    mounts.push((PathBuf::from("/var/tmp"), detached(&tmp_dir(&spec.dir), NO_DEVICES)?));
    mounts.push((PathBuf::from(BINARY), detached(&spec.binary, READ_ONLY | NO_DEVICES)?));
    let mut binds: Vec<&Bind> = spec.binds.iter().collect();
    // Parents first, so that a bind within a bind stays visible.
    binds.sort_by_key(|bind| bind.target.components().count());
    for bind in binds {
        mounts.push((bind.target.clone(), detached(&bind.source, READ_ONLY | NO_DEVICES)?));
    }
    Ok(Sources { mounts, resolv_conf: fs::read("/etc/resolv.conf").unwrap_or_default() })
}

/// Builds the new root and enters it. The old one is gone afterwards.
pub(super) fn enter(spec: &Spec, sources: Sources) -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .or_fail(Stage::Private, "/")?;
    // Any directory every host has; whatever it holds was opened before or is not wanted.
    let root = "/tmp";
    mount_tmpfs(root, MountFlags::NOSUID | MountFlags::NODEV, c"size=16m,nr_inodes=8192,mode=755")
        .and_then(|()| std::env::set_current_dir(root))
        .or_fail(Stage::Root, root)?;
    skeleton().or_fail(Stage::Root, "")?;
    etc(spec, &sources.resolv_conf).or_fail(Stage::Etc, "")?;
    dev().or_fail(Stage::Dev, "")?;
    // Before the old root goes: the kernel shows a new /proc only to those who saw all of an old one.
    mount_proc().or_fail(Stage::Proc, "")?;
    pivot().or_fail(Stage::Pivot, "")?;
    // After it went: links an agent left in its home may only lead to places inside.
    for (target, source) in sources.mounts {
        attach(&source, &target).or_fail(Stage::Bind, &target)?;
    }
    for mask in &spec.masks {
        hide(mask).or_fail(Stage::Bind, mask)?;
    }
    PROC_MASKS
        .iter()
        .try_for_each(|name| hide(&Path::new("/proc").join(name)))
        .or_fail(Stage::Proc, "")?;
    end_nesting().or_fail(Stage::Nesting, "")?;
    seal().or_fail(Stage::Root, "")
}

fn detached(path: &Path, attributes: u64) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, path, flags).or_fail(Stage::Source, path)?;
    sys::set_mount_attributes(tree.as_fd(), attributes).or_fail(Stage::Source, path)?;
    Ok(tree)
}

fn attach(source: &OwnedFd, target: &Path) -> io::Result<()> {
    let is_dir = rustix::fs::fstat(source).map(|s| s.st_mode & libc::S_IFMT == libc::S_IFDIR)?;
    if fs::metadata(target).is_err() {
        make_place(target, is_dir)?;
    }
    Ok(move_mount(source, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn make_place(target: &Path, is_dir: bool) -> io::Result<()> {
    if is_dir {
        return fs::create_dir_all(target);
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(target, "")
}

/// Covers a file with the null device, a directory with an empty one. Missing is hidden enough.
fn hide(target: &Path) -> io::Result<()> {
    match fs::symlink_metadata(target) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => {
            let flags =
                MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount_tmpfs(target, flags, c"size=4k,nr_inodes=2,mode=755")
        }
        Ok(_) => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let null = open_tree(CWD, "/dev/null", flags)?;
            Ok(move_mount(null, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
        }
    }
}

fn skeleton() -> io::Result<()> {
    for dir in [
        "etc",
        "dev",
        "proc",
        "sys",
        "run",
        "var/tmp",
        "var/lib",
        "var/cache",
        "tmp",
        "home",
        "root",
    ] {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    }
    for dir in SYSTEM.map(Path::new) {
        if let Ok(points_to) = fs::read_link(dir) {
            symlink(points_to, dir.strip_prefix("/").unwrap_or(dir))?;
        }
    }
    symlink("/run", "var/run")?;
    mount_tmpfs("run", MountFlags::NOSUID | MountFlags::NODEV, c"size=4m,mode=755")
}

fn etc(spec: &Spec, resolv_conf: &[u8]) -> io::Result<()> {
    let host = &spec.hostname;
    let shell = spec.env.get("SHELL").map_or("/bin/sh", String::as_str);
    fs::write(
        "etc/passwd",
        format!(
            "root:x:0:0:root:/root:/usr/sbin/nologin\n\
             daytona:x:1000:1000:daytona:{HOME}:{shell}\n\
             nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        ),
    )?;
    fs::write("etc/group", "root:x:0:\ntty:x:5:\ndaytona:x:1000:\nnogroup:x:65534:\n")?;
    fs::write(
        "etc/hosts",
        format!("127.0.0.1 localhost {host}\n::1 localhost ip6-localhost ip6-loopback\n"),
    )?;
    fs::write("etc/hostname", format!("{host}\n"))?;
    let resolv_conf = if spec.network == Network::None { b"" } else { resolv_conf };
    fs::write("etc/resolv.conf", resolv_conf)?;
    symlink("/proc/self/mounts", "etc/mtab")
}

fn dev() -> io::Result<()> {
    mount_tmpfs("dev", MountFlags::NOSUID | MountFlags::NOEXEC, c"size=64k,nr_inodes=64,mode=755")?;
    fs::create_dir("dev/pts")?;
    fs::create_dir("dev/shm")?;
    mount(
        "devpts",
        "dev/pts",
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        c"newinstance,ptmxmode=0666,mode=620",
    )?;
    mount_tmpfs("dev/shm", MountFlags::NOSUID | MountFlags::NODEV, c"size=512m,mode=1777")?;
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("fd/0", "stdin"),
        ("fd/1", "stdout"),
        ("fd/2", "stderr"),
    ];
    links.iter().try_for_each(|(to, name)| symlink(to, Path::new("dev").join(name)))
}

fn mount_proc() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("proc", "proc", "proc", flags, None)?)
}

fn pivot() -> io::Result<()> {
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}

/// This limit counts per user namespace, so it only ends nesting below this one.
fn end_nesting() -> io::Result<()> {
    fs::write("/proc/sys/user/max_user_namespaces", "0")?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let settings = open_tree(CWD, "/proc/sys", flags)?;
    sys::set_mount_attributes(settings.as_fd(), READ_ONLY)?;
    Ok(move_mount(settings, "", CWD, "/proc/sys", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// From here on nothing but home, the temporary directories, `/run` and `/dev/shm` can be written.
fn seal() -> io::Result<()> {
    fs::set_permissions("/tmp", fs::Permissions::from_mode(0o1777))?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID;
    rustix::mount::mount_remount("/dev", MountFlags::BIND | flags | MountFlags::NOEXEC, "")?;
    Ok(rustix::mount::mount_remount("/", MountFlags::BIND | flags | MountFlags::NODEV, "")?)
}

fn mount_tmpfs(
    target: impl AsRef<Path>,
    flags: MountFlags,
    options: &std::ffi::CStr,
) -> io::Result<()> {
    Ok(mount("tmpfs", target.as_ref(), "tmpfs", flags, options)?)
}

/// Names the step and the thing an error happened on.
pub(super) trait OrFail<T> {
    /// Turns the error into a [`Failure`] of `stage`.
    fn or_fail(self, stage: Stage, on: impl AsRef<Path>) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> OrFail<T> for Result<T, E> {
    fn or_fail(self, stage: Stage, on: impl AsRef<Path>) -> Result<T, Failure> {
        self.map_err(|error| {
            let error = error.into();
            let on = on.as_ref().to_string_lossy();
            let detail = if error.raw_os_error().is_none() {
                format!("{on} {error}")
            } else {
                on.into_owned()
            };
            Failure { stage, errno: error.raw_os_error().unwrap_or(0), detail }
        })
    }
}
