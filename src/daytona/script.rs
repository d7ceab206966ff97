//! Shell text that travels in one `execute` call.
//!
//! Daytona feeds the command to the user's shell (zsh, bash or busybox) as standard input. So the text
//! handed over does one thing in words all of them agree on: it writes the real script to a file by
//! heredoc and runs it with `sh`, standard input closed. Nothing in the script can swallow its own rest,
//! no argument-length limit applies, and no shell dialect matters.

use std::fmt::Write as _;
use std::time::Duration;

/// What every line our scripts say begins with; all else in the result is noise of other programs.
pub const SAY: &str = "SBX1 ";

const ON_ITS_OWN: &str = r#"mkdir -p "$d"
if [ ! -e "$d/begun" ]; then
  printf '%s' "$inner" >"$d/script.$$"; mv "$d/script.$$" "$d/script"
  if command -v setsid >/dev/null 2>&1; then s=setsid; else s=nohup; fi
  # Only who really goes on by himself claims it: a call may be cut off at any point before.
  $s sh -c 'mkdir "$1/begun" 2>/dev/null || exit; sh "$1/script" </dev/null >"$1/out" 2>&1; echo $? >"$1/exit.n"; mv "$1/exit.n" "$1/exit"' sh "$d" </dev/null >/dev/null 2>&1 &
fi
while [ ! -e "$d/exit" ] && [ "$patience" -gt 0 ]; do sleep 1; patience=$((patience-1)); done
[ -e "$d/exit" ] || { say later; exit 0; }
cat "$d/out"; e=$(cat "$d/exit"); rm -rf "$d"; exit "$e""#;

/// A script made of steps. Each step runs in a subshell with the variables set so far; the first that
/// fails ends the script with its exit status.
#[derive(Debug, Clone, Default)]
pub struct Script {
    text: String,
}

impl Script {
    /// An empty script with a clean environment: `LC_ALL=C`, `say` defined. What `LC_ALL` was, or `-`, is in
    /// `SBX_LC_ALL`, for commands that are not ours.
    pub fn new() -> Self {
        let text =
            "umask 022\nexport SBX_LC_ALL=\"${LC_ALL:--}\" LC_ALL=C\nsay() { echo \"SBX1 $*\"; }\n";
        Self { text: text.to_owned() }
    }

    /// Sets a shell variable for the steps that follow. `value` may hold anything but NUL.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        let _ = writeln!(self.text, "{name}={}", quote(value));
        self
    }

    /// Adds a step.
    pub fn step(&mut self, body: &str) -> &mut Self {
        let _ = writeln!(self.text, "(\n{body}\n) || exit $?");
        self
    }

    /// The text for `POST /process/execute`.
    pub fn command(&self) -> String {
        let id = uuid::Uuid::new_v4().simple().to_string();
        format!(
            "umask 077\nsbx=\"${{HOME:-/tmp}}/.sandbox-coder/tmp\"\n{{ [ -d \"$sbx\" ] || mkdir -p \"$sbx\"; }} && cat >\"$sbx/{id}.sh\" <<'SBX_{id}'\n\
             {}SBX_{id}\nsh \"$sbx/{id}.sh\" </dev/null\nsbx_exit=$?\nrm -f \"$sbx/{id}.sh\"\nexit $sbx_exit\n",
            self.text
        )
    }
}

/// How a script is told to go on by itself, see [`Script::on_its_own`].
pub const LATER: &str = "later";

impl Script {
    /// The text that starts the script detached, or finds it started before under the same `id`, and waits
    /// up to `patience` whole seconds for its end. Its result is the script's own, or the line
    /// [`LATER`] while it goes on. `id` is ours: letters and digits.
    pub fn on_its_own(&self, id: &str, patience: Duration) -> String {
        let mut outer = Script::new();
        outer
            .set("inner", &self.text)
            .set("patience", &patience.as_secs().to_string())
            .step(&format!("d=\"${{HOME:-/tmp}}/.sandbox-coder/tmp/{id}.d\"\n{ON_ITS_OWN}"));
        outer.command()
    }
}

/// One word of shell text that means exactly `value`.
pub fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// The lines our scripts said, each as its first word and the rest.
pub fn said(result: &str) -> impl Iterator<Item = (&str, &str)> {
    result.lines().filter_map(|line| {
        let line = line.trim_end_matches('\r').strip_prefix(SAY)?;
        Some(line.split_once(' ').unwrap_or((line, "")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_arrives_as_it_was() {
        let odd = "a'b \"c\" $d `e`\n\\f *";
        let mut script = Script::new();
        script.set("V", odd).step("printf '%s' \"$V\"; cat");
        let home = tempfile::tempdir().unwrap();
        let mut shell = std::process::Command::new("sh")
            .env("HOME", home.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut shell.stdin.take().unwrap(), script.command().as_bytes())
            .unwrap();
        let out = shell.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), odd);
    }

    #[test]
    fn only_our_own_lines_are_heard() {
        let heard: Vec<_> = said("noise\nSBX1 ok abc\r\nSBX1 busy\n SBX1 no\n").collect();
        assert_eq!(heard, [("ok", "abc"), ("busy", "")]);
    }
}
