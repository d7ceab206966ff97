//! Sandboxes by Linux namespaces: the environment and mounts of one.

use super::StartOrder;
use crate::jail::spec::{HOME, Isolation, Spec};

/// The specification of one isolated sandbox.
pub(super) fn spec(order: StartOrder) -> Spec {
    let mut spec = Spec::new(&order.id, Isolation::Namespaces, &order.dir, &order.binary);
    spec.hostname = order.hostname;
    spec.network = order.network;
    spec.limits = order.limits;
    spec.env.extend(
        [
            ("HOME", HOME),
            ("USER", "daytona"),
            ("LOGNAME", "daytona"),
            ("SHELL", "/bin/bash"),
            ("LANG", "C.UTF-8"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned())),
    );
    spec.env.insert("PATH".to_owned(), order.toolchains.path_inside(HOME.as_ref()));
    spec.env.extend(order.toolchains.env_inside(HOME.as_ref()));
    spec.env.insert("DAYTONA_SANDBOX_ID".to_owned(), order.id);
    spec.env.extend(order.env);
    spec.binds = order.toolchains.binds;
    spec.masks = order.toolchains.masks;
    spec
}
