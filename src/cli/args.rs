//! Flags made from the settings table, and the layer read back from them.

use std::ffi::OsString;

use clap::builder::PossibleValuesParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::layers::{Layer, Origin};
use crate::config::settings::{Group, Kind, SETTINGS, Setting};

/// Adds the flags of `groups` to a command.
pub fn with_settings(command: Command, groups: &[Group]) -> Command {
    with_settings_but(command, groups, &[])
}

/// Adds the flags of `groups` but those named in `not`.
pub fn with_settings_but(mut command: Command, groups: &[Group], not: &[&str]) -> Command {
    for setting in SETTINGS.iter().filter(|s| groups.contains(&s.group) && !not.contains(&s.key)) {
        command = command.arg(flag(setting));
    }
    command
}

/// The flags that every command takes.
pub fn with_globals(mut command: Command) -> Command {
    for setting in SETTINGS.iter().filter(|s| matches!(s.group, Group::Service | Group::Output)) {
        command = command.arg(flag(setting).global(true));
    }
    command
}

/// One named setting as a flag.
pub fn flag_of(key: &str) -> Arg {
    flag(Setting::by_key(key).expect("the caller names a setting of the table"))
}

fn flag(setting: &'static Setting) -> Arg {
    let heading = match setting.group {
        Group::Agent => "Agent",
        Group::Sandbox => "Sandbox",
        Group::Sync => "Files",
        Group::Time => "Time",
        Group::Service => "Service",
        Group::Output => "Output",
    };
    let mut help = setting.help.to_owned();
    if let Some(default) = setting.default {
        help.push_str(&format!(" [default: {default}]"));
    }
    let arg = Arg::new(setting.key).long(setting.key).help(help).help_heading(heading);
    let arg = match setting.key {
        "quiet" => arg.short('q'),
        "verbose" => arg.short('v'),
        _ => arg,
    };
    match setting.kind {
        Kind::Bool => arg.action(ArgAction::SetTrue),
        Kind::List => arg.action(ArgAction::Append).value_name(setting.value_name),
        Kind::Choice(words) => {
            arg.value_name(setting.value_name).value_parser(PossibleValuesParser::new(words))
        }
        _ => arg.value_name(setting.value_name).allow_hyphen_values(setting.kind == Kind::Int),
    }
}

/// What was typed, as the highest layer of settings.
pub fn layer(matches: &ArgMatches) -> Layer {
    let mut layer = Layer::new();
    for setting in SETTINGS {
        // A command that does not take the setting has no such id; asking for it would panic.
        if !matches.try_contains_id(setting.key).unwrap_or(false)
            || matches.value_source(setting.key) != Some(ValueSource::CommandLine)
        {
            continue;
        }
        let texts = match setting.kind {
            Kind::Bool => vec![matches.get_flag(setting.key).to_string()],
            _ => matches.get_many::<String>(setting.key).into_iter().flatten().cloned().collect(),
        };
        layer.insert(setting.key, (texts, Origin::Flag));
    }
    layer
}

/// Puts in the word a bare prompt leaves out: `sandbox-coder "fix it"` means `run`, `--pull` means `pull`.
pub fn complete(mut words: Vec<OsString>, commands: &[&str]) -> Vec<OsString> {
    let switches = ["--json", "--raw", "--quiet", "-q", "--verbose", "-v", "--debug"];
    let text = |w: &OsString| w.to_str().unwrap_or_default().to_owned();
    let Some(first) = words.iter().skip(1).map(text).find(|w| !switches.contains(&w.as_str()))
    else {
        return words;
    };
    let known = commands.contains(&first.as_str());
    if known || matches!(first.as_str(), "help" | "-h" | "--help" | "-V" | "--version") {
        return words;
    }
    let options_end = words.iter().position(|w| w == "--").unwrap_or(words.len());
    if let Some(at) = words[..options_end].iter().position(|w| w == "--pull") {
        words.remove(at);
        words.insert(1, "pull".into());
    } else {
        words.insert(1, "run".into());
    }
    words
}

/// A single word that looks like a misspelt command is more likely that than a prompt.
pub fn misspelt(prompt: &str, commands: &[&str]) -> Option<String> {
    if prompt.contains(char::is_whitespace) {
        return None;
    }
    let scored = commands.iter().map(|c| (strsim::jaro_winkler(prompt, c), *c));
    scored.filter(|(s, _)| *s > 0.84).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, c)| c.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_prompt_means_run_and_pull_is_also_a_flag() {
        let commands = ["run", "pull", "status"];
        let full = |words: &str| {
            let words = std::iter::once("sandbox-coder")
                .chain(words.split_whitespace())
                .map(OsString::from);
            complete(words.collect(), &commands)
                .into_iter()
                .skip(1)
                .map(|w| w.into_string().unwrap())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(full("fix"), "run fix");
        assert_eq!(full("--session s1 fix"), "run --session s1 fix");
        assert_eq!(full("--json fix"), "run --json fix");
        assert_eq!(full("--pull"), "pull");
        assert_eq!(full("--pull box"), "pull box");
        assert_eq!(full("--json --pull"), "pull --json");
        assert_eq!(full("status --json"), "status --json");
        assert_eq!(full("--json status"), "--json status");
        assert_eq!(full("--help"), "--help");
        assert_eq!(full("-- --pull"), "run -- --pull");
        assert_eq!(full(""), "");
    }

    #[test]
    fn a_misspelt_command_is_noticed() {
        let commands = ["status", "snapshot", "doctor", "stop"];
        assert_eq!(misspelt("stauts", &commands).as_deref(), Some("status"));
        assert_eq!(misspelt("refactor", &commands), None);
        assert_eq!(misspelt("fix the status page", &commands), None);
    }
}
