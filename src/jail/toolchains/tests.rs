use super::*;

/// A file system that is a list of names: `dir/`, `file`, `link -> target`, `file = text`.
#[derive(Default)]
struct Painted {
    names: BTreeMap<PathBuf, Kind>,
}

#[derive(Clone)]
enum Kind {
    Dir,
    File(String),
    Link(PathBuf),
}

impl Painted {
    fn new(lines: &[&str]) -> Self {
        let mut painted = Painted::default();
        for line in lines {
            let (name, kind) = match (line.split_once(" -> "), line.split_once(" = ")) {
                (Some((name, to)), _) => (name, Kind::Link(to.into())),
                (_, Some((name, text))) => (name, Kind::File(text.to_owned())),
                _ if line.ends_with('/') => (*line, Kind::Dir),
                _ => (*line, Kind::File(String::new())),
            };
            let path = PathBuf::from(name.trim_end_matches('/'));
            for parent in path.ancestors().skip(1) {
                painted.names.entry(parent.to_owned()).or_insert(Kind::Dir);
            }
            painted.names.insert(path, kind);
        }
        painted
    }
}

impl View for Painted {
    fn real(&self, path: &Path) -> Option<PathBuf> {
        let mut real = PathBuf::from("/");
        for part in path.components().skip(1) {
            if part.as_os_str() == ".." {
                real.pop();
                continue;
            }
            let next = real.join(part);
            real = match self.names.get(&next)? {
                Kind::Link(to) => self.real(&real.join(to))?,
                _ => next,
            };
        }
        Some(real)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.real(path).is_some_and(|real| matches!(self.names.get(&real), Some(Kind::Dir)))
    }

    fn list(&self, dir: &Path) -> Vec<PathBuf> {
        let Some(real) = self.real(dir) else { return Vec::new() };
        let inside =
            self.names.keys().filter(|name| name.parent() == Some(&real) && **name != real);
        inside.filter_map(|name| Some(dir.join(name.file_name()?))).collect()
    }

    fn read(&self, path: &Path) -> Option<String> {
        match self.names.get(&self.real(path)?)? {
            Kind::File(text) => Some(text.clone()),
            _ => None,
        }
    }
}

fn caller(path: &str) -> Caller {
    let vars = [("PATH", path), ("HOME", "/home/ann")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    Caller { home: Some("/home/ann".into()), vars: vars.into(), tool_dirs: Vec::new() }
}

fn targets(found: &Toolchains) -> Vec<&str> {
    found.binds.iter().map(|bind| bind.target.to_str().unwrap()).collect()
}

fn path(found: &Toolchains) -> Vec<&str> {
    found.path.iter().map(|dir| dir.to_str().unwrap()).collect()
}

#[test]
fn each_layout_shows_what_its_programs_need() {
    // PATH entry | files | what becomes visible | what PATH has inside
    type Row =
        (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);
    let table: &[Row] = &[
        (
            "/home/ann/.cargo/bin",
            &[
                "/home/ann/.cargo/bin/cargo",
                "/home/ann/.cargo/credentials.toml",
                "/home/ann/.rustup/toolchains/",
            ],
            &["/home/ann/.cargo/bin", "/home/ann/.rustup"],
            &["/home/ann/.cargo/bin"],
        ),
        (
            "/home/ann/.nvm/versions/node/v22.1.0/bin",
            &[
                "/home/ann/.nvm/versions/node/v22.1.0/bin/node",
                "/home/ann/.nvm/versions/node/v18.0.0/bin/node",
            ],
            &["/home/ann/.nvm/versions/node/v22.1.0"],
            &["/home/ann/.nvm/versions/node/v22.1.0/bin"],
        ),
        (
            "/home/ann/.volta/bin",
            &[
                "/home/ann/.volta/bin/node",
                "/home/ann/.volta/tools/image/node/20.1.0/bin/node",
                r#"/home/ann/.volta/tools/user/platform.json = {"node":{"runtime":"20.1.0","npm":null},"yarn":null}"#,
            ],
            &["/home/ann/.volta/bin", "/home/ann/.volta/tools"],
            &["/home/ann/.volta/tools/image/node/20.1.0/bin", "/home/ann/.volta/bin"],
        ),
        (
            "/run/user/1000/fnm_multishells/1_2/bin",
            &[
                "/run/user/1000/fnm_multishells/1_2 -> /home/ann/.local/share/fnm/node-versions/v20.0.0/installation",
                "/home/ann/.local/share/fnm/node-versions/v20.0.0/installation/bin/node",
            ],
            &["/home/ann/.local/share/fnm/node-versions/v20.0.0"],
            &["/home/ann/.local/share/fnm/node-versions/v20.0.0/installation/bin"],
        ),
        (
            "/home/ann/.pyenv/shims:/home/ann/.pyenv/bin",
            &[
                "/home/ann/.pyenv/shims/python",
                "/home/ann/.pyenv/bin/pyenv",
                "/home/ann/.pyenv/versions/3.12/bin/python",
            ],
            &["/home/ann/.pyenv"],
            &["/home/ann/.pyenv/shims", "/home/ann/.pyenv/bin"],
        ),
        (
            "/home/ann/.sdkman/candidates/java/current/bin",
            &[
                "/home/ann/.sdkman/candidates/java/current -> 21-tem",
                "/home/ann/.sdkman/candidates/java/21-tem/bin/java",
            ],
            &["/home/ann/.sdkman/candidates/java"],
            &["/home/ann/.sdkman/candidates/java/21-tem/bin"],
        ),
        (
            "/home/ann/go/bin:/home/ann/sdk/go1.25/bin:/usr/local/go/bin",
            &[
                "/home/ann/go/bin/gopls",
                "/home/ann/go/pkg/mod/",
                "/home/ann/sdk/go1.25/bin/go",
                "/usr/local/go/bin/go",
            ],
            &["/home/ann/go/bin", "/home/ann/sdk/go1.25"],
            &["/home/ann/go/bin", "/home/ann/sdk/go1.25/bin", "/usr/local/go/bin"],
        ),
        (
            "/home/ann/.deno/bin",
            &["/home/ann/.deno/bin/deno"],
            &["/home/ann/.deno/bin"],
            &["/home/ann/.deno/bin"],
        ),
        (
            "/home/ann/.bun/bin",
            &[
                "/home/ann/.bun/bin/bun",
                "/home/ann/.bun/install/global/node_modules/x/",
                "/home/ann/.bun/install/cache/",
            ],
            &["/home/ann/.bun/bin", "/home/ann/.bun/install/global/node_modules"],
            &["/home/ann/.bun/bin"],
        ),
        (
            "/home/ann/.local/bin",
            &[
                "/home/ann/.local/bin/plain",
                "/home/ann/.local/bin/uv",
                "/home/ann/.local/bin/gone -> /nowhere",
                "/home/ann/.local/bin/claude -> ../share/claude/versions/2.0.1",
                "/home/ann/.local/share/claude/versions/2.0.1",
                "/home/ann/.local/bin/ruff -> ../share/uv/tools/ruff/bin/ruff",
                "/home/ann/.local/share/uv/tools/ruff/bin/ruff",
                "/home/ann/.local/share/uv/tools/ruff/bin/python -> ../../../python/cpython-3.12/bin/python3.12",
                "/home/ann/.local/share/uv/python/cpython-3.12/bin/python3.12",
                "/home/ann/.local/share/uv/credentials/x",
                "/home/ann/.local/bin/codex -> ../lib/node_modules/@openai/codex/bin/codex.js",
                "/home/ann/.local/lib/node_modules/@openai/codex/bin/codex.js",
            ],
            &[
                "/home/ann/.local/lib/node_modules",
                "/home/ann/.local/bin",
                "/home/ann/.local/share/uv/tools/ruff",
                "/home/ann/.local/share/claude/versions/2.0.1",
                "/home/ann/.local/share/uv/python/cpython-3.12",
            ],
            &["/home/ann/.local/bin"],
        ),
        (
            "/home/ann/node/bin",
            &[
                "/home/ann/node/bin/tsc",
                "/home/ann/node/lib/node_modules/typescript/",
                "/home/ann/node/etc/npmrc",
            ],
            &["/home/ann/node/bin", "/home/ann/node/lib/node_modules"],
            &["/home/ann/node/bin"],
        ),
    ];
    for (on_path, files, visible, inside) in table {
        let found = discover_in(&caller(on_path), &Painted::new(files));
        let (seen, wanted): (BTreeSet<_>, BTreeSet<_>) =
            (targets(&found).into_iter().collect(), visible.iter().copied().collect());
        assert_eq!(seen, wanted, "{on_path}");
        assert_eq!(path(&found), *inside, "{on_path}");
        assert_eq!(found.left_out, Vec::<PathBuf>::new(), "{on_path}");
    }
}

#[test]
fn what_is_unknown_or_too_much_stays_out() {
    let files = [
        "/home/ann/secret/bin/x",
        "/home/ann/.ssh/id",
        "/srv/tools/y",
        "/home/ann/lib/node_modules/z/",
        "/home/ann/bin/",
    ];
    let on_path = "/home/ann/secret/bin:/home/ann:/srv/tools:relative:/missing:";
    let found = discover_in(&caller(on_path), &Painted::new(&files));
    assert_eq!(targets(&found), Vec::<&str>::new());
    assert_eq!(
        found.left_out,
        ["/home/ann/secret/bin", "/home/ann", "/srv/tools"].map(PathBuf::from)
    );
}

#[test]
fn a_link_to_a_dotfile_never_brings_the_home_along() {
    let files =
        ["/home/ann/.local/bin/evil -> ../../bin/run", "/home/ann/bin/run", "/home/ann/.ssh/id"];
    let found = discover_in(&caller("/home/ann/.local/bin"), &Painted::new(&files));
    assert_eq!(targets(&found), ["/home/ann/.local/bin", "/home/ann/bin/run"]);
}

#[test]
fn credentials_inside_a_bind_are_hidden() {
    let files = [
        "/home/ann/.nvm/versions/node/v1/bin/node",
        "/home/ann/.nvm/versions/node/v1/etc/npmrc",
        "/home/ann/.pyenv/shims/python",
        "/home/ann/.pyenv/.git/config",
        "/home/ann/tools/.env",
        "/home/ann/tools/a/b/credentials.json",
        "/home/ann/tools/bin/t",
    ];
    let mut caller = caller("/home/ann/.nvm/versions/node/v1/bin:/home/ann/.pyenv/shims");
    caller.tool_dirs.push("/home/ann/tools".into());
    let found = discover_in(&caller, &Painted::new(&files));
    let hidden = [
        "/home/ann/.nvm/versions/node/v1/etc/npmrc",
        "/home/ann/.pyenv/.git",
        "/home/ann/tools/.env",
        "/home/ann/tools/a/b/credentials.json",
    ];
    assert_eq!(found.masks, hidden.map(PathBuf::from));
    assert_eq!(path(&found)[0], "/home/ann/tools/bin");
}

#[test]
fn a_home_behind_a_link_is_seen_by_both_names() {
    let files = ["/home -> var/home", "/var/home/ann/.deno/bin/deno"];
    let found = discover_in(&caller("/home/ann/.deno/bin"), &Painted::new(&files));
    assert_eq!(targets(&found), ["/home/ann/.deno/bin", "/var/home/ann/.deno/bin"]);
    assert!(found.binds.iter().all(|bind| bind.source.starts_with("/var/home")));
}

#[test]
fn writable_state_lives_in_the_sandbox() {
    let files = [
        "/home/ann/.cargo/bin/cargo",
        "/home/ann/.rustup/settings.toml",
        "/etc/ssl/certs/ca.crt",
        "/home/ann/ca.crt",
    ];
    let mut caller = caller("/home/ann/.cargo/bin");
    caller.vars.insert("SSL_CERT_FILE".into(), "/etc/ssl/certs/ca.crt".into());
    caller.vars.insert("NODE_EXTRA_CA_CERTS".into(), "/home/ann/ca.crt".into());
    let env = discover_in(&caller, &Painted::new(&files)).env_inside(Path::new("/home/daytona"));
    assert_eq!(env["RUSTUP_HOME"], "/home/ann/.rustup");
    assert_eq!(env["CARGO_HOME"], "/home/daytona/.cargo");
    assert_eq!(env["SSL_CERT_FILE"], "/etc/ssl/certs/ca.crt");
    assert!(!env.contains_key("NODE_EXTRA_CA_CERTS"));
}
