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

/// Switches that may stand before the command and take no value.
const SWITCHES: [&str; 7] = ["--json", "--raw", "--quiet", "-q", "--verbose", "-v", "--debug"];

fn text(word: &OsString) -> String {
    word.to_str().unwrap_or_default().to_owned()
}

/// Puts in the word a bare prompt leaves out: `sandbox-coder "fix it"` means `run`, `--pull` means `pull`.
pub fn complete(mut words: Vec<OsString>, commands: &[&str]) -> Vec<OsString> {
    let Some(first) = words.iter().skip(1).map(text).find(|w| !SWITCHES.contains(&w.as_str()))
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

/// A misspelt command in the place of one, and the command that is meant. A prompt that begins like that is a
/// prompt where `run`, `--`, a quoted sentence or an option before it says so.
pub fn slip(words: &[OsString], commands: &[&str]) -> Option<(String, String)> {
    let typed: Vec<String> =
        words.iter().skip(1).map(text).skip_while(|w| SWITCHES.contains(&w.as_str())).collect();
    let (first, behind) = typed.split_first()?;
    if first.starts_with('-') || first == "help" || commands.contains(&first.as_str()) {
        return None;
    }
    let alone = behind.iter().all(|word| word.starts_with('-'));
    misspelt(first, alone, commands).map(|meant| (first.clone(), meant))
}

/// The command that a word is a misspelling of. `alone`, it hardly makes a prompt; with others behind it, it has to
/// be closer: one slip in a short word, two in one of six letters or more.
fn misspelt(word: &str, alone: bool, commands: &[&str]) -> Option<String> {
    if word.contains(char::is_whitespace) {
        return None;
    }
    let slips = if word.chars().count() < 6 { 1 } else { 2 };
    let meant = |command: &&&str| match alone {
        true => strsim::jaro_winkler(word, command) > 0.84,
        false => strsim::osa_distance(word, command) <= slips,
    };
    let near = commands.iter().filter(meant);
    near.min_by_key(|command| strsim::osa_distance(word, command)).map(|c| (*c).to_owned())
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
        let commands = ["status", "snapshot", "doctor", "stop", "run", "rm", "logs", "man", "pull"];
        let meant = |line: &[&str]| {
            let words = std::iter::once(&"sandbox-coder").chain(line).map(OsString::from);
            slip(&words.collect::<Vec<_>>(), &commands).map(|(_, meant)| meant)
        };
        for (line, expected) in [
            (&["stauts"][..], "status"),
            (&["--json", "statsu", "now"], "status"),
            (&["snapshto", "list"], "snapshot"),
            (&["log", "-f", "abc"], "logs"),
            (&["stauts", "--json"], "status"),
        ] {
            assert_eq!(meant(line).as_deref(), Some(expected), "{line:?}");
        }
        for prompt in [
            &["refactor"][..],
            &["fix the status page"],
            &["statsu now"],
            &["make", "it", "faster"],
            &["show", "me", "the", "way"],
            &["push", "the", "button"],
            &["do", "it"],
            &["run", "statsu", "now"],
            &["--", "statsu", "now"],
            &["--session", "s", "statsu", "now"],
            &["status", "now"],
        ] {
            assert_eq!(meant(prompt), None, "{prompt:?}");
        }
    }
}
