//! The command line: definitions, help, dispatch.
//!
//! `--help`, `--version`, completions and the manual touch no network, no repository and no runtime.

pub mod args;
pub mod generate;
mod lists;
mod runs;
mod serve;
mod stdin;
pub mod tree;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;

use crate::config::{Config, Sources};
use crate::error::diagnose;
use crate::event::{Done, Event};
use crate::exit::Exit;
use crate::ui;

/// Parses the process arguments, runs the command and returns its exit code.
pub fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    match std::env::args_os().nth(1).as_deref().and_then(|a| a.to_str()) {
        // What runs inside a sandbox starts before any thread or runtime exists.
        Some("__sandbox-init") => return crate::jail::main(),
        Some("__toolbox") => return crate::toolbox::main(),
        Some(crate::server::daemon::COMMAND) => return crate::server::daemon::main(),
        _ => {}
    }
    let names = tree::names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some((word, meant)) = args::slip(&words, &names) {
        return ExitCode::from(tell_usage(misspelt(&word, &meant), &words));
    }
    let words = args::complete(words, &names);
    match tree::command().try_get_matches_from(&words) {
        Ok(matches) => ExitCode::from(dispatch(&matches)),
        Err(error) => ExitCode::from(refused(&error, &words)),
    }
}

/// One line for each command.
fn dispatch(matches: &ArgMatches) -> u8 {
    let (name, args) = matches.subcommand().expect("a command is required");
    match name {
        "run" => runs::run(args),
        "exec" => runs::exec(args),
        "pull" => runs::pull(args),
        "attach" => runs::attach(args),
        "logs" => runs::logs(args),
        "diff" => lists::diff(args),
        "undo" => runs::undo(args),
        "status" => lists::status(args),
        "ls" => lists::ls(args),
        "stop" => lists::stop(args),
        "rm" => lists::rm(args),
        "preview" => lists::preview(args),
        "snapshot" => {
            lists::snapshots(args.subcommand_matches("list").expect("the only one, and required"))
        }
        "serve" => serve::serve(args),
        "doctor" => lists::doctor(args),
        "config" => lists::config(args),
        "completions" => {
            let shell = args.get_one::<clap_complete::Shell>("shell").expect("required");
            ui::print(&generate::completions(*shell)).code()
        }
        "man" => generate::man().map_or(Exit::Internal, |page| ui::print(&page)).code(),
        other => unreachable!("`{other}` is not in the tree of commands"),
    }
}

/// Help and version are answers; everything else the parser says is a usage error, told like any other.
fn refused(error: &clap::Error, words: &[OsString]) -> u8 {
    use clap::error::ErrorKind::*;
    match error.kind() {
        DisplayHelp | DisplayVersion => {
            let help = error.render();
            let help = match ui::terminal::stdout_colour() {
                true => help.ansi().to_string(),
                false => help.to_string(),
            };
            return ui::print(help.as_bytes()).code();
        }
        DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            return Exit::Usage.code();
        }
        _ => {}
    }
    tell_usage(wrong_words(error), words)
}

/// Tells what is wrong with the words of this invocation, which nobody has parsed.
fn tell_usage(diagnosis: crate::error::Diagnosis, words: &[OsString]) -> u8 {
    if words.iter().any(|w| w == "--json") {
        fail_json(diagnosis);
    } else {
        ui::terminal::err(&diagnosis.text(ui::terminal::colour()));
    }
    Exit::Usage.code()
}

fn misspelt(word: &str, meant: &str) -> crate::error::Diagnosis {
    let mut diagnosis = crate::error::Diagnosis::usage(format!("there is no command `{word}`"));
    diagnosis.hint = format!(
        "did you mean `sandbox-coder {meant}`? as a prompt, `sandbox-coder run {word} …` takes it"
    );
    diagnosis
}

/// The parser's refusal in our form: what is wrong in one line, what is accepted as the hint.
fn wrong_words(error: &clap::Error) -> crate::error::Diagnosis {
    use clap::error::{ContextKind, ContextValue};
    let text = error.to_string();
    let paragraphs: Vec<String> =
        text.split("\n\n").map(|p| p.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let begins = |with: &str| paragraphs.iter().find_map(|p| p.strip_prefix(with));
    let message = begins("error: ").unwrap_or_default();
    // Possible values stand in square brackets behind the message itself.
    let (message, values) = match message.split_once(" [possible values: ") {
        Some((message, values)) => (message, Some(values.trim_end_matches(']'))),
        None => (message, None),
    };
    let mut diagnosis = crate::error::Diagnosis::usage(message.to_owned());
    if matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(arg)) if arg.starts_with("--agent <"))
    {
        diagnosis.code = crate::exit::ErrorCode::AgentUnknown;
    }
    let tip = begins("tip: ").map(|tips| tips.replace(" tip: ", "; "));
    let usage = || begins("Usage: ").map(|usage| format!("usage: `{usage}`"));
    let values = || values.map(|values| format!("possible values: {values}"));
    if let Some(hint) = tip.or_else(values).or_else(usage) {
        diagnosis.hint = hint;
    }
    diagnosis
}

/// Settings of one invocation.
fn resolve(
    args: &ArgMatches,
    worktree: Option<&std::path::Path>,
) -> Result<Config, crate::config::Error> {
    let variable = |name: &str| std::env::var(name).ok();
    Config::resolve(Sources { flags: args::layer(args), variable: &variable, worktree })
}

/// How this invocation talks, before any setting is resolved: a failure of the settings needs it too.
fn output_options(args: &ArgMatches) -> ui::Options {
    let on = |key: &'static str| {
        let variable =
            crate::config::settings::Setting::by_key(key).map(|s| s.variable()).unwrap_or_default();
        args.get_flag(key)
            || std::env::var(variable).is_ok_and(|v| matches!(v.trim(), "1" | "true" | "yes"))
    };
    ui::Options {
        json: on("json"),
        raw: on("raw"),
        quiet: on("quiet"),
        verbose: on("verbose") || on("debug"),
        terminal: ui::terminal::stderr_draws(),
        colour: ui::terminal::colour(),
    }
}

/// Tells a failure outside any run, as text or as the two JSON lines of a run that never began.
fn fail(args: &ArgMatches, error: &anyhow::Error) -> u8 {
    let diagnosis = diagnose(error);
    let exit = diagnosis.exit().code();
    if output_options(args).json {
        fail_json(diagnosis);
    } else {
        ui::terminal::err(&diagnosis.text(ui::terminal::colour()));
    }
    exit
}

fn fail_json(diagnosis: crate::error::Diagnosis) {
    let exit = diagnosis.exit();
    let mut json = ui::Lines::new(crate::flow::new_run_id());
    let lines = [
        json.line(&Event::Error(Box::new(diagnosis.event()))),
        json.line(&Event::Done(Box::new(Done::plain(exit)))),
    ];
    // The exit code says the same to a reader that gets neither.
    let _ = ui::terminal::out(lines.concat().as_bytes());
}

/// Logging on standard error: silent by default, `-v` our steps, `--debug` every request; a filter in
/// `SANDBOX_CODER_LOG` overrides.
fn start_logging(args: &ArgMatches) {
    let level = match (args.get_flag("debug"), args.get_flag("verbose")) {
        (true, _) => "sandbox_coder=debug",
        (false, true) => "sandbox_coder=info",
        _ => "sandbox_coder=error",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("SANDBOX_CODER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ui::terminal::colour())
        .with_target(false)
        .try_init();
}

/// The client needs one thread for the wire; blocking work has a pool of its own.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn cwd() -> anyhow::Result<PathBuf> {
    std::env::current_dir().map_err(|error| {
        crate::error::Failure::new(
            crate::exit::ErrorCode::WorktreeNone,
            format!("the current directory cannot be found: {error}"),
        )
        .into()
    })
}
