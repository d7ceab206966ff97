//! How a local sandbox starts: Linux namespaces, mounts, limits, system-call filter.

/// The hidden subcommand `__sandbox-init`.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
