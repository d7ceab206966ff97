//! Arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbox_coder::cli::main()
}
