//! Whether this machine can run isolated sandboxes, and if not, what stands in the way.
//!
//! Only a real start tells: some systems let a namespace be created and then refuse all that it is for.

use std::path::Path;

use super::life::{self, LifeError};
use super::spec::{Failure, Isolation, Spec, Stage};

/// What the machine refuses, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is refused, in one sentence.
    pub what: String,
    /// What the reader can do.
    pub hint: String,
    /// Nothing was refused: this machine or process has no file handles left to try.
    pub exhausted: bool,
}

impl Refusal {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into(), exhausted: false }
    }

    /// Whether `errno` says that no more files can be opened.
    fn exhausts(errno: i32) -> bool {
        matches!(errno, libc::EMFILE | libc::ENFILE)
    }

    fn exhausted(failure: &dyn std::fmt::Display) -> Self {
        let what = format!("no more files can be opened ({failure})");
        Self { exhausted: true, ..Self::new(what, "`ulimit -n 1024` or more allows them") }
    }
}

/// Starts a real sandbox once, with every step, and explains the first refusal. `binary` is our own.
pub fn probe(binary: &Path) -> Result<(), Refusal> {
    let exhausted = |error: &std::io::Error| error.raw_os_error().is_some_and(Refusal::exhausts);
    let dir = tempfile::tempdir().map_err(|error| match exhausted(&error) {
        true => Refusal::exhausted(&error),
        false => Refusal::new(
            format!("no temporary directory can be made: {error}"),
            "make the directory named by TMPDIR writable",
        ),
    })?;
    let mut spec = Spec::new("probe", Isolation::Namespaces, &dir.path().join("p"), binary);
    spec.argv = vec!["/bin/true".to_owned()];
    let outcome = life::launch(&spec);
    // It ends by itself; waiting for that makes the directory removable.
    let _ = life::destroy(&spec.dir);
    match outcome {
        Ok(_) => Ok(()),
        Err(LifeError::Start { failure, .. }) => Err(explain(&failure, &Machine::look())),
        Err(LifeError::Io(error)) if exhausted(&error) => Err(Refusal::exhausted(&error)),
        Err(other) => {
            Err(Refusal::new(other.to_string(), "this is not about permissions; please report it"))
        }
    }
}

/// What of the machine decides how a refusal is explained.
#[derive(Debug, Clone, Default)]
struct Machine {
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1.
    apparmor: bool,
    /// `user.max_user_namespaces` is 0.
    no_namespaces: bool,
    /// `kernel.unprivileged_userns_clone` is 0.
    no_clone: bool,
    /// We are inside a container already.
    container: bool,
}

impl Machine {
    fn look() -> Self {
        let setting =
            |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
        let environment = std::fs::read("/proc/1/environ").unwrap_or_default();
        Machine {
            apparmor: setting("kernel/apparmor_restrict_unprivileged_userns").trim() == "1",
            no_namespaces: setting("user/max_user_namespaces").trim() == "0",
            no_clone: setting("kernel/unprivileged_userns_clone").trim() == "0",
            container: ["/.dockerenv", "/run/.containerenv"]
                .iter()
                .any(|mark| Path::new(mark).exists())
                || environment
                    .split(|b| *b == 0)
                    .any(|variable| variable.starts_with(b"container=")),
        }
    }
}

const OTHERWISE: &str = "`--provider docker` uses a container engine instead";

fn explain(failure: &Failure, machine: &Machine) -> Refusal {
    if Refusal::exhausts(failure.errno) {
        return Refusal::exhausted(failure);
    }
    let refusal = |what: &str, hint: String| Refusal::new(format!("{what} ({failure})"), hint);
    let denied = matches!(failure.errno, libc::EPERM | libc::EACCES);
    let early = matches!(
        failure.stage,
        Stage::Clone
            | Stage::UserMap
            | Stage::Source
            | Stage::Loopback
            | Stage::Private
            | Stage::Root
    );
    if failure.errno == libc::ENOSPC && failure.stage == Stage::Clone || machine.no_namespaces {
        return refusal(
            "user namespaces are switched off",
            format!("`sudo sysctl user.max_user_namespaces=16384` allows them; {OTHERWISE}"),
        );
    }
    if denied && machine.no_clone {
        return refusal(
            "user namespaces are for root only here",
            format!("`sudo sysctl kernel.unprivileged_userns_clone=1` allows them; {OTHERWISE}"),
        );
    }
    if denied && early && machine.apparmor {
        return refusal(
            "this system blocks user namespaces for programs without an AppArmor profile",
            format!(
                "give this program a profile with `userns,` and `flags=(unconfined)`, or allow all with \
                 `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`; {OTHERWISE}"
            ),
        );
    }
    if failure.stage == Stage::Proc
        || machine.container && (denied || failure.errno == libc::ENOSYS)
    {
        return refusal(
            "we are already inside a container, which may not make new ones",
            "ask for `--isolation none` if this container is protection enough, or start it with looser \
             security options (Docker: `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`)"
                .to_owned(),
        );
    }
    if failure.errno == libc::ENOSYS {
        return refusal(
            "this kernel is too old",
            format!("Linux 5.12 or newer has all that is needed; {OTHERWISE}"),
        );
    }
    refusal("the start of a sandbox was refused", OTHERWISE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_explained() {
        let plain = Machine::default();
        let ubuntu = Machine { apparmor: true, ..plain.clone() };
        let debian = Machine { no_clone: true, ..plain.clone() };
        let docker = Machine { container: true, ..plain.clone() };
        let table = [
            (Stage::Clone, libc::ENOSPC, &plain, "max_user_namespaces"),
            (Stage::Clone, libc::EPERM, &debian, "unprivileged_userns_clone"),
            (Stage::UserMap, libc::EPERM, &ubuntu, "AppArmor"),
            (Stage::Private, libc::EACCES, &ubuntu, "apparmor_restrict_unprivileged_userns"),
            (Stage::Clone, libc::ENOSYS, &docker, "--isolation none"),
            (Stage::Clone, libc::EPERM, &docker, "seccomp=unconfined"),
            (Stage::Proc, libc::EPERM, &plain, "container"),
            (Stage::Source, libc::ENOSYS, &plain, "5.12"),
            (Stage::Bind, libc::EINVAL, &plain, "--provider docker"),
            (Stage::Source, libc::EMFILE, &docker, "ulimit -n"),
        ];
        for (stage, errno, machine, word) in table {
            let told = explain(&Failure { stage, errno, detail: String::new() }, machine);
            assert!(
                format!("{} {}", told.what, told.hint).contains(word),
                "{stage:?} {errno}: {told:?}"
            );
        }
    }
}
