//! The command line: definitions, help, dispatch.

pub mod args;
pub mod generate;
pub mod tree;

use std::process::ExitCode;

/// Parses the process arguments, runs the command and returns its exit code.
pub fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    match std::env::args().nth(1).as_deref() {
        // What runs inside a sandbox starts before any thread or runtime exists.
        Some("__sandbox-init") => return crate::jail::main(),
        Some("__toolbox") => return crate::toolbox::main(),
        Some(crate::server::daemon::COMMAND) => return crate::server::daemon::main(),
        Some("serve") => return serve(),
        _ => {}
    }
    ExitCode::SUCCESS
}

/// `serve`, with the flags its tests need.
#[cfg(target_os = "linux")]
fn serve() -> ExitCode {
    use crate::server::{Clock, Isolation, ServeOptions};
    use std::io::Write;
    let words: Vec<String> = std::env::args().skip(2).collect();
    let flag = |name: &str| words.windows(2).find(|two| two[0] == name).map(|two| two[1].clone());
    let options = ServeOptions {
        listen: flag("--listen")
            .and_then(|t| t.parse().ok())
            .unwrap_or_else(|| ([127, 0, 0, 1], 0).into()),
        api_key: flag("--api-key").map(crate::secret::Secret::new),
        data_dir: flag("--data-dir").map_or_else(std::env::temp_dir, Into::into),
        isolation: flag("--isolation")
            .and_then(|t| t.parse().ok())
            .unwrap_or(Isolation::Namespaces),
        binary: std::env::current_exe().unwrap_or_default(),
        tool_dirs: Vec::new(),
        idle_exit: flag("--idle-exit")
            .and_then(|t| t.parse().ok())
            .map(std::time::Duration::from_secs),
        clock: Clock::System,
    };
    let say = |text: &str| {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    };
    let served =
        tokio::runtime::Runtime::new().map(|rt| rt.block_on(crate::server::serve(options, say)));
    match served {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(err)) => {
            let _ = writeln!(std::io::stderr(), "error: {err}");
            ExitCode::from(err.code().exit().code())
        }
        Err(_) => ExitCode::FAILURE,
    }
}
