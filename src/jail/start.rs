//! The hidden subcommand `__sandbox-init`.

/// The hidden subcommand `__sandbox-init`.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
