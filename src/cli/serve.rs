//! The local Daytona in the foreground, or found and started in the background.

use std::time::Duration;

use anyhow::Context as _;
use clap::ArgMatches;
use clap::parser::ValueSource;

use super::{fail, resolve, start_logging};
use crate::config::duration;
use crate::error::Failure;
use crate::exit::ErrorCode;
use crate::ui::terminal;

/// `serve`
#[cfg(target_os = "linux")]
pub fn serve(args: &ArgMatches) -> u8 {
    start_logging(args);
    let served = if args.get_flag("background") { background(args) } else { foreground(args) };
    match served {
        Ok(()) => 0,
        Err(error) => fail(args, &error),
    }
}

#[cfg(target_os = "linux")]
fn foreground(args: &ArgMatches) -> anyhow::Result<()> {
    use crate::secret::Secret;
    use crate::server::{Clock, ServeOptions};
    let (data_dir, isolation, tool_dirs) = places(args)?;
    let listen = args.get_one::<String>("listen").expect("it has a default");
    let listen = listen.parse().map_err(|_| {
        Failure::new(
            ErrorCode::Usage,
            format!("`{listen}` is no address; expected one such as 127.0.0.1:3986"),
        )
    })?;
    // The key of this server is what the flag says. The variable names the key of another service.
    let typed = args.value_source("api-key") == Some(ValueSource::CommandLine);
    let api_key =
        args.get_one::<String>("api-key").filter(|_| typed).map(|k| Secret::new(k.clone()));
    let options = ServeOptions {
        listen,
        api_key,
        data_dir,
        isolation,
        binary: std::env::current_exe().context("find our own binary")?,
        tool_dirs,
        idle_exit: idle_exit(args)?,
        clock: Clock::System,
    };
    let runtime = tokio::runtime::Runtime::new().context("start the event loop")?;
    runtime.block_on(crate::server::serve(options, say))?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn background(args: &ArgMatches) -> anyhow::Result<()> {
    use crate::server::daemon::{DaemonOptions, ensure};
    let (data_dir, isolation, _) = places(args)?;
    let idle_exit = idle_exit(args)?.unwrap_or(crate::flow::service::LOCAL_IDLE);
    let binary = std::env::current_exe().context("find our own binary")?;
    let endpoint = super::runtime()?.block_on(ensure(DaemonOptions {
        data_dir,
        isolation,
        insist: true,
        binary,
        idle_exit,
    }))?;
    terminal::out(crate::server::lines(&endpoint.api_url, &endpoint.api_key).as_bytes())
        .context("write to standard output")
}

/// A server in the foreground serves also when nobody can be told where.
#[cfg(target_os = "linux")]
fn say(lines: &str) {
    let _ = terminal::out(lines.as_bytes());
}

#[cfg(target_os = "linux")]
type Places = (std::path::PathBuf, crate::server::Isolation, Vec<std::path::PathBuf>);

#[cfg(target_os = "linux")]
fn places(args: &ArgMatches) -> anyhow::Result<Places> {
    let config = resolve(args, None)?;
    let data_dir = match args.get_one::<String>("data-dir") {
        Some(dir) => std::path::absolute(dir).with_context(|| format!("find `{dir}`"))?,
        None => config.state_dir.join("local"),
    };
    let isolation = config.isolation.parse().map_err(|_| {
        Failure::new(
            ErrorCode::ConfigInvalid,
            format!("`{}` is no isolation level", config.isolation),
        )
    })?;
    Ok((data_dir, isolation, config.tool_dirs))
}

fn idle_exit(args: &ArgMatches) -> anyhow::Result<Option<Duration>> {
    let Some(text) = args.get_one::<String>("idle-exit") else { return Ok(None) };
    let parsed = duration::parse(text).ok_or_else(|| {
        Failure::new(
            ErrorCode::Usage,
            format!("`--idle-exit {text}`: expected a time such as `90s` or `15m`"),
        )
    })?;
    Ok(Some(parsed))
}

/// `serve` where there is nothing to serve with.
#[cfg(not(target_os = "linux"))]
pub fn serve(args: &ArgMatches) -> u8 {
    start_logging(args);
    fail(args, &Failure::new(ErrorCode::IsolationUnavailable, "local sandboxes need Linux").into())
}
