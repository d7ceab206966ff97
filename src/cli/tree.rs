//! The tree of commands with their help.

use clap::{Arg, ArgAction, Command};

use super::args::{flag_of, with_globals, with_settings, with_settings_but};
use crate::config::settings::Group;

const EXAMPLES: &str = "\
Examples:
  sandbox-coder \"fix the login bug\"                 the main job: push, agent, pull, apply
  sandbox-coder --session ID \"and add a test\"       go on with that conversation
  sandbox-coder --agent claude \"review the API\"
  sandbox-coder exec -- cargo test                  any command instead of an agent
  sandbox-coder pull                                fetch and apply only, any number of times
  sandbox-coder undo                                put back what the last apply replaced

Without a Daytona key, sandboxes live on this machine. Every flag has a variable
SANDBOX_CODER_<FLAG> and a key of the same name in the configuration files.
Exit codes: `sandbox-coder man`, docs/exit-codes.md. JSON events: docs/json-events.md.";

/// The whole command line.
pub fn command() -> Command {
    let root = Command::new("sandbox-coder")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Run a coding agent on this git worktree inside an isolated sandbox and bring its changes home")
        .override_usage("sandbox-coder [OPTIONS] <PROMPT>...\n       sandbox-coder [OPTIONS] <COMMAND>")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .max_term_width(100)
        .subcommands([
            run(), exec(), pull(), attach(), logs(), diff(), undo(), status(), ls(), stop(), rm(), preview(),
            snapshot(), serve(), doctor(), config(), completions(), man(),
        ]);
    with_globals(root)
}

/// The names of the commands.
pub fn names() -> Vec<String> {
    command().get_subcommands().map(|c| c.get_name().to_owned()).collect()
}

fn run() -> Command {
    let command = Command::new("run")
        .about("Send the worktree, run the agent on the prompt, bring the changes home")
        .arg(
            Arg::new("prompt")
                .value_name("PROMPT")
                .num_args(0..)
                .help("What the agent shall do; `-` reads it from standard input"),
        )
        .arg(
            Arg::new("prompt-file")
                .long("prompt-file")
                .value_name("FILE")
                .conflicts_with("prompt")
                .help_heading("Agent")
                .help("Read the prompt from this file"),
        )
        .arg(
            Arg::new("session")
                .long("session")
                .value_name("ID")
                .help_heading("Agent")
                .help("Go on with this agent conversation"),
        );
    with_settings(command, &[Group::Agent, Group::Sandbox, Group::Sync, Group::Time])
}

fn exec() -> Command {
    let command = Command::new("exec")
        .about("Run any command in the worktree's sandbox, with the same journey of the files")
        .after_help("The exit code is the command's own, unless something of ours failed: the `done` line tells both.\nStandard input is passed on if something is piped in; the program before the `|` is waited for. A pipe that somebody merely left open and that says nothing is not passed on, and a warning says so; `--stdin` waits for any.\nWith `--tty` on a terminal every key goes to the command, Ctrl-C too; `~.` at the beginning of a line ends it from here.")
        .arg(Arg::new("stdin").short('i').long("stdin").action(ArgAction::SetTrue).help("Wait for standard input to end and pass it on"))
        .arg(Arg::new("no-sync").long("no-sync").action(ArgAction::SetTrue).help_heading("Files").help("Neither send nor fetch; any number may run side by side"))
        .arg(Arg::new("tty").short('t').long("tty").action(ArgAction::SetTrue).help("Give the command a terminal, yours if you are at one; what is said at yours is not recorded"))
        .arg(Arg::new("command").value_name("COMMAND").required(true).num_args(1..).trailing_var_arg(true).value_parser(clap::value_parser!(std::ffi::OsString)).help("The command and its arguments, byte for byte"))
        .arg(flag_of("env"));
    with_settings_but(
        command,
        &[Group::Sandbox, Group::Sync, Group::Time],
        &["fresh", "rm", "dry-run", "detach"],
    )
}

fn pull() -> Command {
    let command = Command::new("pull")
        .about("Fetch what changed in the sandbox and apply it, any number of times")
        .arg(sandbox_arg());
    with_settings(command, &[Group::Sync]).arg(flag_of("wait")).arg(flag_of("grace"))
}

fn attach() -> Command {
    let command = Command::new("attach")
        .about("Follow a run again, from where its output was lost, and bring its changes home")
        .arg(run_arg());
    with_settings(command, &[Group::Sync]).args([
        flag_of("timeout"),
        flag_of("idle-timeout"),
        flag_of("grace"),
        flag_of("wait"),
    ])
}

fn logs() -> Command {
    Command::new("logs")
        .about("Print the recorded output of a run")
        .arg(run_arg())
        .arg(
            Arg::new("follow")
                .short('f')
                .long("follow")
                .action(ArgAction::SetTrue)
                .help("Go on until the run ends"),
        )
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("BYTE")
                .value_parser(clap::value_parser!(u64))
                .help("Start at this offset"),
        )
}

fn diff() -> Command {
    Command::new("diff")
        .about("Show what pull would change, and change nothing")
        .arg(sandbox_arg())
        .arg(flag_of("wait"))
}

fn undo() -> Command {
    Command::new("undo")
        .about("Put back what an apply replaced; later edits are never overwritten")
        .arg(run_arg())
        .arg(flag_of("wait"))
}

fn status() -> Command {
    Command::new("status").about("Show this worktree's sandbox, its runs and conversations")
}

fn ls() -> Command {
    Command::new("ls")
        .about("List all sandboxes that belong to sandbox-coder")
        .arg(flag_of("label").help("Only those with this label"))
        .arg(flag_of("provider"))
}

fn stop() -> Command {
    Command::new("stop")
        .about("Stop the sandbox; its files stay")
        .arg(sandbox_arg())
        .arg(flag_of("provider"))
}

fn rm() -> Command {
    Command::new("rm")
        .about("Delete the sandbox; refused while it holds work that is not here")
        .arg(sandbox_arg())
        .arg(
            Arg::new("force")
                .long("force")
                .action(ArgAction::SetTrue)
                .help("Give up work that was not fetched"),
        )
        .arg(flag_of("provider"))
}

fn preview() -> Command {
    Command::new("preview")
        .about("Print the URL under which a port of the sandbox can be opened")
        .arg(
            Arg::new("port")
                .value_name("PORT")
                .required(true)
                .value_parser(clap::value_parser!(u16).range(1..))
                .help("The port a program in the sandbox listens on"),
        )
}

fn snapshot() -> Command {
    Command::new("snapshot")
        .about("The images sandboxes are made from")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("list")
                .about("List snapshots")
                .arg(
                    Arg::new("filter")
                        .long("filter")
                        .value_name("TEXT")
                        .help("Only those whose name contains this"),
                )
                .arg(
                    Arg::new("sort")
                        .long("sort")
                        .value_name("FIELD")
                        .value_parser(["name", "state", "lastUsedAt", "createdAt"])
                        .default_value("name")
                        .help("Order by"),
                )
                .arg(flag_of("provider")),
        )
}

fn serve() -> Command {
    Command::new("serve")
        .about("Serve a local Daytona-compatible API on this machine")
        .after_help("The first two lines on standard output can be evaluated by a shell:\n  DAYTONA_API_URL=http://127.0.0.1:PORT/api\n  DAYTONA_API_KEY=KEY\nOther commands start a server of their own when they need one.")
        .arg(Arg::new("listen").long("listen").value_name("ADDRESS").default_value("127.0.0.1:0").help("Loopback address and port; port 0 takes a free one"))
        .arg(Arg::new("data-dir").long("data-dir").value_name("DIR").help("Where sandboxes are kept [default: STATE-DIR/local]"))
        .arg(Arg::new("idle-exit").long("idle-exit").value_name("TIME").help("Leave after this long without requests and running sandboxes [default: never]"))
        .arg(Arg::new("background").long("background").action(ArgAction::SetTrue).help("Start it, or find the running one, print the two lines and leave"))
        .arg(flag_of("isolation"))
        .arg(flag_of("tool-dir"))
}

fn doctor() -> Command {
    Command::new("doctor").about("Check everything a run needs and say what is missing").args([
        flag_of("provider"),
        flag_of("agent"),
        flag_of("isolation"),
        flag_of("tool-dir"),
    ])
}

fn config() -> Command {
    with_settings(
        Command::new("config").about("Print every setting with its origin"),
        &[Group::Agent, Group::Sandbox, Group::Sync, Group::Time],
    )
}

fn completions() -> Command {
    Command::new("completions").about("Print shell completions").arg(
        Arg::new("shell")
            .value_name("SHELL")
            .required(true)
            .value_parser(clap::value_parser!(clap_complete::Shell))
            .help("Which shell"),
    )
}

fn man() -> Command {
    Command::new("man").about("Print the manual page (roff)")
}

fn sandbox_arg() -> Arg {
    Arg::new("sandbox").value_name("SANDBOX").help("Name or id; default: this worktree's")
}

fn run_arg() -> Arg {
    Arg::new("run").value_name("RUN").help("The run's id or its beginning; default: the latest")
}
