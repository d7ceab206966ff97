//! The command line: definitions, help, dispatch.

use std::process::ExitCode;

/// Parses the process arguments, runs the command and returns its exit code.
pub fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    match std::env::args().nth(1).as_deref() {
        // What runs inside a sandbox starts before any thread or runtime exists.
        Some("__sandbox-init") => return crate::jail::main(),
        Some("__toolbox") => return crate::toolbox::main(),
        _ => {}
    }
    ExitCode::SUCCESS
}
