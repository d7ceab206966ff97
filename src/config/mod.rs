//! Settings and where each comes from: flag, variable, repository file, user file, default.

pub mod duration;
pub mod layers;
pub mod profile;
pub mod settings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::ErrorCode;
use crate::secret::Secret;
use layers::{Layer, LayerError, Origin};
use settings::{Kind, SETTINGS, Setting};

/// The repository's own file, at the worktree's root.
pub const REPO_FILE: &str = ".sandbox-coder.toml";

/// What went wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value or name that is not accepted.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A file is there but cannot be read.
    #[error("read `{}`", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// The key is needed and missing.
    #[error("`--provider daytona` needs an API key, and none is set")]
    MissingKey,
    /// A login token without an organization.
    #[error("DAYTONA_JWT_TOKEN needs DAYTONA_ORGANIZATION_ID beside it")]
    MissingOrganization,
    /// There is no home directory to keep state in.
    #[error("neither HOME, XDG_STATE_HOME nor SANDBOX_CODER_STATE_DIR is set")]
    NoStateDir,
}

impl Error {
    /// The stable name of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Layer(LayerError::Value { origin: Origin::Flag, .. }) => ErrorCode::Usage,
            Error::Layer(_) | Error::NoStateDir => ErrorCode::ConfigInvalid,
            Error::Read(..) => ErrorCode::HostIo,
            Error::MissingKey | Error::MissingOrganization => ErrorCode::MissingKey,
        }
    }
}

/// Every setting, resolved; nothing is left to decide where it is used.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the settings table documents each")]
pub struct Config {
    pub agent: String,
    pub agent_command: Option<String>,
    pub model: Option<String>,
    pub env: Vec<String>,
    pub setup: Option<String>,
    pub provider: Provider,
    pub snapshot: Option<String>,
    pub image: Option<String>,
    pub name: Option<String>,
    pub labels: Vec<(String, String)>,
    pub cpu: Option<i64>,
    pub memory: Option<i64>,
    pub disk: Option<i64>,
    pub isolation: String,
    pub tool_dirs: Vec<PathBuf>,
    pub fresh: bool,
    pub rm: bool,
    pub auto_stop: i64,
    pub auto_archive: i64,
    pub auto_delete: i64,
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    pub history: String,
    pub max_size: u64,
    pub max_files: u64,
    pub max_result_size: u64,
    pub max_result_file: u64,
    pub max_result_files: u64,
    pub on_conflict: String,
    pub block_risky: bool,
    pub allow_risky: bool,
    pub allow_external_links: bool,
    pub allow_mass_delete: bool,
    pub force_resync: bool,
    pub no_apply: bool,
    pub patch: Option<PathBuf>,
    pub dry_run: bool,
    pub timeout: Duration,
    pub idle_timeout: Option<Duration>,
    pub grace: Duration,
    pub wait: bool,
    pub detach: bool,
    pub state_dir: PathBuf,
    pub raw: bool,
    /// Every value as text with its origin, for `config` and `doctor`; secrets are masked.
    pub table: Vec<Row>,
}

impl Config {
    /// Whether a setting was given as a flag of this very command.
    pub fn is_typed(&self, key: &str) -> bool {
        let typed = Origin::Flag.to_string();
        self.table.iter().any(|row| row.key == key && row.origin == typed)
    }
}

/// One line of `sandbox-coder config`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    /// Which setting.
    pub key: &'static str,
    /// Its value as text, `***` for secrets, `None` if unset.
    pub value: Option<String>,
    /// Where it was found.
    pub origin: String,
}

/// Where sandboxes live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// A Daytona service.
    Daytona {
        /// Base URL, without a slash at the end.
        api_url: String,
        /// What proves who we are.
        credential: Credential,
        /// Region.
        target: Option<String>,
    },
    /// Our own server on this machine.
    Local,
}

/// An API key, or a login token with its organization.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Credential {
    Key(Secret),
    Token { token: Secret, organization: String },
}

/// What resolving needs from outside, so that tests can give their own.
pub struct Sources<'s> {
    /// From the command line.
    pub flags: Layer,
    /// Looks up an environment variable.
    pub variable: &'s dyn Fn(&str) -> Option<String>,
    /// The worktree's root, if there is one.
    pub worktree: Option<&'s Path>,
}

impl Config {
    /// Reads all layers and settles every value.
    pub fn resolve(sources: Sources<'_>) -> Result<Config, Error> {
        let variable = |name: &str| (sources.variable)(name).filter(|v| !v.trim().is_empty());
        let home = variable("HOME").map(PathBuf::from);
        let user_file = user_file(&variable, home.as_deref());
        let user = read_layer(user_file.as_deref(), Origin::User)?;
        let repo_file = sources.worktree.map(|w| w.join(REPO_FILE));
        let repo = read_layer(repo_file.as_deref(), Origin::Repo)?;
        let mut merged =
            layers::merge([sources.flags, layers::from_variables(variable), repo, user]);
        if merged["provider"].0 != ["local"]
            && !merged.contains_key("api-key")
            && !merged.contains_key("jwt-token")
        {
            profile::add(&mut merged, &variable, home.as_deref());
        }
        Values { merged }.config(&variable, home.as_deref())
    }
}

fn user_file(variable: &dyn Fn(&str) -> Option<String>, home: Option<&Path>) -> Option<PathBuf> {
    let base =
        variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home?.join(".config")))?;
    Some(base.join("sandbox-coder/config.toml"))
}

fn read_layer(file: Option<&Path>, origin: Origin) -> Result<Layer, Error> {
    let Some(file) = file else { return Ok(Layer::new()) };
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(layers::from_toml(&text, &file.display().to_string(), origin)?),
        Err(e)
            if matches!(
                e.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Layer::new())
        }
        Err(e) => Err(Error::Read(file.to_owned(), e)),
    }
}

/// The merged layer, read by type.
struct Values {
    merged: Layer,
}

impl Values {
    fn config(
        self,
        variable: &dyn Fn(&str) -> Option<String>,
        home: Option<&Path>,
    ) -> Result<Config, Error> {
        self.check_choices()?;
        let agent_command = self.text("agent-command");
        let idle = self.duration("idle-timeout")?;
        Ok(Config {
            agent: if agent_command.is_some() {
                "command".into()
            } else {
                self.text("agent").unwrap_or_default()
            },
            agent_command,
            model: self.text("model"),
            env: self.list("env"),
            setup: self.text("setup"),
            provider: self.provider()?,
            snapshot: self.text("snapshot"),
            image: self.text("image"),
            name: self.text("name"),
            labels: self.pairs("label")?,
            cpu: self.int("cpu")?,
            memory: self.int("memory")?,
            disk: self.int("disk")?,
            isolation: self.text("isolation").unwrap_or_default(),
            tool_dirs: self.list("tool-dir").into_iter().map(PathBuf::from).collect(),
            fresh: self.bool("fresh")?,
            rm: self.bool("rm")?,
            auto_stop: self.int("auto-stop")?.unwrap_or(60),
            auto_archive: self.int("auto-archive")?.unwrap_or(10080),
            auto_delete: self.int("auto-delete")?.unwrap_or(-1),
            include: self.list("include"),
            exclude: self.list("exclude"),
            history: self.text("history").unwrap_or_default(),
            max_size: self.size("max-size")?,
            max_files: self.int("max-files")?.unwrap_or(i64::MAX).unsigned_abs(),
            max_result_size: self.size("max-result-size")?,
            max_result_file: self.size("max-result-file")?,
            max_result_files: self.int("max-result-files")?.unwrap_or(i64::MAX).unsigned_abs(),
            on_conflict: self.text("on-conflict").unwrap_or_default(),
            block_risky: self.bool("block-risky")?,
            allow_risky: self.bool("allow-risky")?,
            allow_external_links: self.bool("allow-external-links")?,
            allow_mass_delete: self.bool("allow-mass-delete")?,
            force_resync: self.bool("force-resync")?,
            no_apply: self.bool("no-apply")?,
            patch: self.text("patch").map(PathBuf::from),
            dry_run: self.bool("dry-run")?,
            timeout: self.duration("timeout")?.unwrap_or(Duration::from_secs(7200)),
            idle_timeout: idle.filter(|d| !d.is_zero()),
            grace: self.duration("grace")?.unwrap_or(Duration::from_secs(5)),
            wait: self.bool("wait")?,
            detach: self.bool("detach")?,
            state_dir: self.state_dir(variable, home)?,
            raw: self.bool("raw")?,
            table: self.table(),
        })
    }

    fn provider(&self) -> Result<Provider, Error> {
        let credential = match (self.text("api-key"), self.text("jwt-token")) {
            (Some(key), _) => Some(Credential::Key(Secret::new(key))),
            (None, Some(token)) => match self.text("organization-id") {
                Some(organization) => {
                    Some(Credential::Token { token: Secret::new(token), organization })
                }
                None => return Err(Error::MissingOrganization),
            },
            (None, None) => None,
        };
        match (self.text("provider").as_deref(), credential) {
            (Some("local"), _) | (Some("auto"), None) => Ok(Provider::Local),
            (_, None) => Err(Error::MissingKey),
            (_, Some(credential)) => Ok(Provider::Daytona {
                api_url: self.text("api-url").unwrap_or_default().trim_end_matches('/').to_owned(),
                credential,
                target: self.text("target"),
            }),
        }
    }

    fn state_dir(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
        home: Option<&Path>,
    ) -> Result<PathBuf, Error> {
        if let Some(dir) = self.text("state-dir") {
            return std::path::absolute(&dir).map_err(|e| Error::Read(dir.into(), e));
        }
        let base = variable("XDG_STATE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(home?.join(".local/state")));
        base.map(|b| b.join("sandbox-coder")).ok_or(Error::NoStateDir)
    }

    fn text(&self, key: &str) -> Option<String> {
        self.merged.get(key).and_then(|(texts, _)| texts.last().cloned()).filter(|t| !t.is_empty())
    }

    fn list(&self, key: &str) -> Vec<String> {
        self.merged.get(key).map(|(texts, _)| texts.clone()).unwrap_or_default()
    }

    fn read<T>(
        &self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(text) = self.text(key) else { return Ok(None) };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(self.refuse(key, text, expected.to_owned())),
        }
    }

    fn refuse(&self, key: &'static str, value: String, expected: String) -> Error {
        let origin = self.merged.get(key).map_or(Origin::Default, |(_, o)| o.clone());
        LayerError::Value { key, value, origin, expected }.into()
    }

    fn bool(&self, key: &'static str) -> Result<bool, Error> {
        let parse = |t: &str| match t {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" => Some(false),
            _ => None,
        };
        Ok(self.read(key, "`true` or `false`", parse)?.unwrap_or(false))
    }

    fn int(&self, key: &'static str) -> Result<Option<i64>, Error> {
        self.read(key, "a whole number", |t| t.parse().ok())
    }

    fn duration(&self, key: &'static str) -> Result<Option<Duration>, Error> {
        self.read(key, "a time such as `90`, `90s`, `15m`, `2h` or `off`", duration::parse)
    }

    fn size(&self, key: &'static str) -> Result<u64, Error> {
        let parse = |t: &str| {
            let digits = t.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let shift = match &t[digits.len()..] {
                "" => 0,
                "K" | "k" => 10,
                "M" | "m" => 20,
                "G" | "g" => 30,
                _ => return None,
            };
            digits.parse::<u64>().ok()?.checked_mul(1 << shift)
        };
        Ok(self.read(key, "a size such as `500M` or `2G`", parse)?.unwrap_or(u64::MAX))
    }

    fn pairs(&self, key: &'static str) -> Result<Vec<(String, String)>, Error> {
        let split = |t: String| match t.split_once('=') {
            Some((k, v)) if !k.is_empty() => Ok((k.to_owned(), v.to_owned())),
            _ => Err(self.refuse(key, t, "`KEY=VALUE`".into())),
        };
        self.list(key).into_iter().map(split).collect()
    }

    fn check_choices(&self) -> Result<(), Error> {
        for setting in SETTINGS {
            let (Kind::Choice(words), Some(text)) = (setting.kind, self.text(setting.key)) else {
                continue;
            };
            if !words.contains(&text.as_str()) {
                return Err(self.refuse(setting.key, text, format!("one of {}", words.join(", "))));
            }
        }
        Ok(())
    }

    fn table(&self) -> Vec<Row> {
        let row = |setting: &'static Setting| {
            let found = self.merged.get(setting.key);
            let value =
                found.map(|(texts, _)| if setting.secret { "***".into() } else { texts.join(",") });
            let origin = found.map_or_else(String::new, |(_, o)| o.to_string());
            Row { key: setting.key, value, origin }
        };
        SETTINGS.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(pairs: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Config, Error> {
        let lookup =
            |name: &str| pairs.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned());
        let flags =
            flags.iter().map(|(k, v)| (*k, (vec![(*v).to_owned()], Origin::Flag))).collect();
        Config::resolve(Sources { flags, variable: &lookup, worktree: None })
    }

    #[test]
    fn without_a_key_the_provider_is_local() {
        let config = resolve(&[("HOME", "/nowhere")], &[]).unwrap();
        assert_eq!(config.provider, Provider::Local);
        assert_eq!(config.state_dir, Path::new("/nowhere/.local/state/sandbox-coder"));
        assert_eq!((config.agent.as_str(), config.timeout.as_secs()), ("opencode", 7200));
    }

    #[test]
    fn a_key_in_the_environment_means_daytona_unless_local_is_asked_for() {
        let vars = [
            ("HOME", "/n"),
            ("DAYTONA_API_KEY", "k-123"),
            ("DAYTONA_API_URL", "https://d.example/api/"),
        ];
        let Provider::Daytona { api_url, credential, .. } = resolve(&vars, &[]).unwrap().provider
        else {
            panic!()
        };
        assert_eq!(
            (api_url.as_str(), credential),
            ("https://d.example/api", Credential::Key(Secret::new("k-123")))
        );
        assert_eq!(resolve(&vars, &[("provider", "local")]).unwrap().provider, Provider::Local);
    }

    #[test]
    fn daytona_without_a_key_is_refused_before_anything_else() {
        let error =
            resolve(&[("HOME", "/n"), ("DAYTONA_API_KEY", "  ")], &[("provider", "daytona")])
                .unwrap_err();
        assert_eq!(error.code(), ErrorCode::MissingKey);
    }

    #[test]
    fn a_value_that_does_not_fit_names_its_origin() {
        let error = resolve(&[("HOME", "/n"), ("SANDBOX_CODER_TIMEOUT", "soon")], &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "$SANDBOX_CODER_TIMEOUT: `timeout` is `soon`; expected a time such as `90`, `90s`, `15m`, `2h` or `off`"
        );
        let error = resolve(&[("HOME", "/n")], &[("agent", "clippy")]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Usage);
    }

    #[test]
    fn the_table_masks_secrets() {
        let config = resolve(&[("HOME", "/n"), ("DAYTONA_API_KEY", "k-123456789")], &[]).unwrap();
        assert!(!format!("{config:?}").contains("k-123456789"));
    }
}
