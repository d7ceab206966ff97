//! The daemon inside a sandbox: files, processes, sessions, terminals, ports.

/// The hidden subcommand `__toolbox`.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
