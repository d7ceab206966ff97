//! The local Daytona: control plane, proxy, and the registry of sandboxes.

pub mod backend;
