//! Which of this machine's variables and login files an agent may receive.
//!
//! An allow-list: nothing else leaves. The files here are read and never written; what travels are
//! copies in which whatever renews a login is blank, for the providers that the run uses. They are made
//! anew for each prompt, and removed over there after it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{HomeFile, Kind};
use crate::secret::Secret;

mod logins;
mod providers;
#[cfg(test)]
mod tests;

use logins::Login;

/// The largest login file that is read.
const LARGEST: u64 = 1 << 20;

/// Reads a file by its absolute path; `None` if there is none or it cannot be read.
pub type ReadFile<'h> = Box<dyn Fn(&Path) -> Option<Vec<u8>> + Send + Sync + 'h>;

/// Where credentials are looked for.
pub struct Host<'h> {
    /// The user's home directory.
    pub home: PathBuf,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Its files.
    pub read: ReadFile<'h>,
    /// Seconds since 1970.
    pub now: u64,
}

impl Host<'static> {
    /// This machine, seen by this process.
    pub fn here(home: PathBuf) -> Self {
        let read = |path: &Path| {
            let small =
                std::fs::metadata(path).ok().is_some_and(|m| m.is_file() && m.len() <= LARGEST);
            small.then(|| std::fs::read(path).ok()).flatten()
        };
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            home,
            env: std::env::vars_os().filter_map(text).collect(),
            read: Box::new(read),
            now: since_1970.map_or(0, |d| d.as_secs()),
        }
    }
}

impl Host<'_> {
    /// A variable that is set and not empty: an empty key would hide a login.
    fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|v| !v.trim().is_empty())
    }

    /// A file below a directory which a variable may have moved.
    fn file(&self, variable: &str, default: &str, name: &str) -> Option<Vec<u8>> {
        let dir = self.var(variable).map_or_else(|| self.home.join(default), PathBuf::from);
        (self.read)(&dir.join(name))
    }
}

impl std::fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({})", self.home.display())
    }
}

/// What a run needs.
#[derive(Debug, Clone, Default)]
pub struct Need {
    /// The model, as for [`LaunchRequest`](super::LaunchRequest): with it, only its provider's credentials travel.
    pub model: Option<String>,
    /// Names of the variables which the user passes by hand: what is given needs no search.
    pub given: BTreeSet<String>,
    /// How long the run may last, in seconds; `u64::MAX` for ever. `None`: nothing is about to run.
    pub timeout_s: Option<u64>,
}

/// What travels.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Variables for the agent.
    pub env: Vec<(String, String)>,
    /// Login files below HOME, mode 0600.
    pub files: Vec<HomeFile>,
    /// Paths below HOME to remove after the run.
    pub cleanup: Vec<String>,
    /// Values to mask wherever something is printed.
    pub secrets: Vec<Secret>,
    /// What was found, in words, without values.
    pub found: Vec<String>,
    /// Access that ended, or ends before the run may.
    pub warnings: Vec<String>,
    /// The earliest end of an access, in seconds since 1970.
    pub expires: Option<u64>,
    /// Nothing was found: where it was looked for, in words. The sandbox may have its own.
    pub missing: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("found", &self.found)
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// Looks for what an agent needs, and makes it fit to travel.
pub fn gather(kind: Kind, need: &Need, host: &Host<'_>) -> Credentials {
    let mut bag = Bag { host, need, out: Credentials::default() };
    match kind {
        Kind::Opencode => bag.opencode(),
        Kind::Claude => bag.claude(),
        Kind::Codex => bag.codex(),
        Kind::Gemini => bag.gemini(),
        Kind::Qwen => bag.qwen(),
        Kind::Command => {}
    }
    bag.out
}

/// For each agent that wants credentials, what it could run with: for `doctor`.
pub fn survey(host: &Host<'_>) -> Vec<(Kind, Credentials)> {
    let wanting = Kind::ALL.into_iter().filter(|k| *k != Kind::Command);
    wanting.map(|kind| (kind, gather(kind, &Need::default(), host))).collect()
}

struct Bag<'b, 'h> {
    host: &'b Host<'h>,
    need: &'b Need,
    out: Credentials,
}

impl Bag<'_, '_> {
    /// A key typed in by hand makes every search needless.
    fn given(&mut self, names: &[&str]) -> bool {
        let Some(name) = names.iter().find(|n| self.need.given.contains(**n)) else { return false };
        self.out.found.push(format!("{name}, given"));
        true
    }

    /// Passes on a variable that holds a key.
    fn key(&mut self, name: &str) -> bool {
        self.key_as(name, name)
    }

    fn key_as(&mut self, name: &str, there: &str) -> bool {
        let Some(value) = self.host.var(name) else { return false };
        self.out.secrets.push(Secret::new(value));
        self.out.env.push((there.to_owned(), value.to_owned()));
        self.out.found.push(name.to_owned());
        true
    }

    /// Passes on a variable that is no secret, unless it was given.
    fn setting(&mut self, name: &str) {
        if let Some(value) = self.host.var(name).filter(|_| !self.need.given.contains(name)) {
            self.out.env.push((name.to_owned(), value.to_owned()));
        }
    }

    fn login(&mut self, what: &str, path: &str, login: Option<Login>) -> bool {
        let Some(login) = login else { return false };
        let bytes = login.json.to_string().into_bytes();
        self.out.files.push(HomeFile { path: path.to_owned(), bytes, mode: 0o600 });
        self.out.cleanup.push(path.to_owned());
        self.out.secrets.extend(login.secrets.into_iter().map(Secret::new));
        let names = if login.names.is_empty() {
            String::new()
        } else {
            format!(" ({})", login.names.join(", "))
        };
        self.out.found.push(format!("{what}{names}"));
        if let Some(expires) = login.expires {
            self.out.expires = Some(expires);
            self.warn_of_end(what, expires);
        }
        true
    }

    fn warn_of_end(&mut self, what: &str, expires: u64) {
        let left = expires.saturating_sub(self.host.now);
        if left == 0 {
            self.out
                .warnings
                .push(format!("{what} has expired; use the agent here once to renew it"));
        } else if self.need.timeout_s.is_some_and(|timeout| left < timeout) {
            let minutes = left.div_ceil(60);
            self.out.warnings.push(format!(
                "{what} ends in {minutes} min, maybe before the run does, and is not renewed in the sandbox"
            ));
        }
    }

    fn nothing(&mut self, looked: &str) {
        if self.out.found.is_empty() {
            self.out.missing = Some(looked.to_owned());
        }
    }

    fn opencode(&mut self) {
        if self.given(&["OPENCODE_AUTH_CONTENT"]) {
            return;
        }
        let provider =
            self.need.model.as_deref().and_then(|m| m.split_once('/')).map(|(p, _)| p.to_owned());
        let provider = provider.as_deref();
        let variables = providers::variables(provider);
        if self.given(&variables) {
            return;
        }
        let file = match self.host.var("OPENCODE_AUTH_CONTENT") {
            Some(content) => Some(content.as_bytes().to_vec()),
            None => self.host.file("XDG_DATA_HOME", ".local/share", "opencode/auth.json"),
        };
        let wanted = |id: &str| provider.is_none_or(|p| p == id) && !logins::is_copilot(id);
        let mut login = file.as_deref().and_then(|bytes| logins::opencode(bytes, wanted));
        // a key here is better than a login that has ended; opencode would prefer the login
        let ended = login.as_ref().and_then(|l| l.expires).is_some_and(|e| e <= self.host.now);
        let has_key = variables.iter().any(|v| self.host.var(v).is_some());
        if ended && has_key && provider.is_some() {
            login = None;
        }
        let in_file = login.as_ref().map(|l| l.names.clone()).unwrap_or_default();
        let keys_only = login.as_ref().is_none_or(|l| l.keys_only);
        self.login("the login of opencode", ".local/share/opencode/auth.json", login);
        for name in variables {
            let covered =
                providers::of_variable(name).is_some_and(|id| in_file.iter().any(|n| n == id));
            if !covered {
                self.key(name);
            }
        }
        if keys_only && !self.out.found.is_empty() {
            // they do logins only, and older versions install them from the network at first
            self.out.env.push(("OPENCODE_DISABLE_DEFAULT_PLUGINS".to_owned(), "1".to_owned()));
        }
        match provider {
            Some(id) if logins::is_copilot(id) => {
                self.nothing("the login of GitHub Copilot does not end and so stays here; `--env OPENCODE_AUTH_CONTENT` passes on what you choose");
            }
            _ => self.nothing("opencode's `auth.json` and the key variables of its providers"),
        }
    }

    fn claude(&mut self) {
        self.setting("ANTHROPIC_BASE_URL");
        // in the order in which claude itself prefers them
        let keys = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"];
        if self.given(&keys) || keys.iter().any(|name| self.key(name)) {
            return;
        }
        let file = self.host.file("CLAUDE_CONFIG_DIR", ".claude", ".credentials.json");
        self.login(
            "the login of claude",
            ".claude/.credentials.json",
            file.as_deref().and_then(logins::claude),
        );
        self.nothing("CLAUDE_CODE_OAUTH_TOKEN (`claude setup-token` makes one), ANTHROPIC_API_KEY and claude's `.credentials.json`");
    }

    fn codex(&mut self) {
        if self.given(&["CODEX_API_KEY"]) || self.key("CODEX_API_KEY") {
            return;
        }
        let file = self.host.file("CODEX_HOME", ".codex", "auth.json");
        let login = file.as_deref().and_then(logins::codex);
        if self.login("the login of codex", ".codex/auth.json", login) {
            return;
        }
        // `codex exec` does not look at OPENAI_API_KEY
        self.key_as("OPENAI_API_KEY", "CODEX_API_KEY");
        self.nothing("CODEX_API_KEY, codex's `auth.json` and OPENAI_API_KEY");
    }

    fn gemini(&mut self) {
        self.setting("GOOGLE_GEMINI_BASE_URL");
        if self.out.env.iter().any(|(name, _)| name == "GOOGLE_GEMINI_BASE_URL")
            || self.need.given.contains("GOOGLE_GEMINI_BASE_URL")
        {
            // with an address of its own it wants the kind of login in a file
            let bytes = br#"{"security":{"auth":{"selectedType":"gemini-api-key"}},"general":{"enableAutoUpdate":false}}"#;
            let path = ".gemini/settings.json".to_owned();
            self.out.files.push(HomeFile { path, bytes: bytes.to_vec(), mode: 0o600 });
        }
        if self.given(&["GEMINI_API_KEY"]) || self.key("GEMINI_API_KEY") {
            return;
        }
        let file = self.host.file("GEMINI_CLI_HOME", ".", ".gemini/oauth_creds.json");
        if self.login(
            "the login of gemini",
            ".gemini/oauth_creds.json",
            file.as_deref().and_then(logins::gemini),
        ) {
            self.out.env.push(("GOOGLE_GENAI_USE_GCA".to_owned(), "true".to_owned()));
        }
        self.nothing("GEMINI_API_KEY and gemini's `oauth_creds.json`");
    }

    fn qwen(&mut self) {
        self.setting("OPENAI_BASE_URL");
        self.setting("OPENAI_MODEL");
        if !self.given(&["OPENAI_API_KEY"]) {
            self.key("OPENAI_API_KEY");
        }
        self.nothing("OPENAI_API_KEY");
    }
}
