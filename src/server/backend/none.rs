//! Sandboxes without isolation: the same toolbox as a plain process with a home of its own.

use std::path::Path;

use super::StartOrder;
use crate::jail::spec::{Isolation, Spec};

/// The specification of one sandbox that is only a directory and a process tree.
pub(super) fn spec(order: StartOrder) -> Spec {
    let mut spec = Spec::new(&order.id, Isolation::None, &order.dir, &order.binary);
    let home = spec.home_inside();
    spec.env.insert("HOME".to_owned(), home.to_string_lossy().into_owned());
    spec.env.insert("TMPDIR".to_owned(), order.dir.join("tmp").to_string_lossy().into_owned());
    for (name, value) in [("USER", "daytona"), ("LOGNAME", "daytona"), ("LANG", "C.UTF-8")] {
        spec.env.insert(name.to_owned(), value.to_owned());
    }
    let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    spec.env.insert("SHELL".to_owned(), shell.to_owned());
    spec.env.insert("PATH".to_owned(), order.toolchains.path_inside(&home));
    spec.env.extend(order.toolchains.env_inside(&home));
    spec.env.insert("DAYTONA_SANDBOX_ID".to_owned(), order.id);
    spec.env.extend(order.env);
    spec
}
