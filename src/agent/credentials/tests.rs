use base64::Engine as _;
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_800_000_000;

fn host<'h>(env: &[(&str, &str)], files: &'h [(&'h str, String)]) -> Host<'h> {
    Host {
        home: PathBuf::from("/home/u"),
        env: env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        read: Box::new(move |path| {
            files
                .iter()
                .find(|(name, _)| Path::new(name) == path)
                .map(|(_, text)| text.clone().into_bytes())
        }),
        now: NOW,
    }
}

fn ms(seconds_from_now: i64) -> i64 {
    (NOW as i64 + seconds_from_now) * 1000
}

fn jwt(expires: u64) -> String {
    let body = json!({ "exp": expires }).to_string();
    format!("e30.{}.sig", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(body))
}

fn only_file(c: &Credentials) -> (&str, Value) {
    let [file] = c.files.as_slice() else { panic!("{:?}", c.files) };
    assert_eq!(file.mode, 0o600);
    assert_eq!(c.cleanup, std::slice::from_ref(&file.path));
    (&file.path, serde_json::from_slice(&file.bytes).unwrap())
}

fn exposed(c: &Credentials) -> Vec<&str> {
    c.secrets.iter().map(Secret::expose).collect()
}

fn env(c: &Credentials) -> Vec<(&str, &str)> {
    c.env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect()
}

fn model(model: &str) -> Need {
    Need { model: Some(model.to_owned()), ..Need::default() }
}

fn opencode_file() -> [(&'static str, String); 1] {
    let auth = json!({
        "openai": {"type": "oauth", "refresh": "R-openai", "access": "A-openai", "expires": ms(7200), "accountId": "acc"},
        "anthropic": {"type": "api", "key": "K-anthropic", "metadata": {"a": 1}},
        "github-copilot": {"type": "oauth", "refresh": "R-copilot", "access": "A-copilot", "expires": 0},
        "https://corp.example": {"type": "wellknown", "key": "CORP", "token": "T-corp"},
        "strange": {"type": "api"},
        "poe": {"type": "oauth", "refresh": "K-poe", "access": "K-poe", "expires": ms(9_000_000)},
    });
    [("/home/u/.local/share/opencode/auth.json", auth.to_string())]
}

#[test]
fn opencode_gets_the_login_of_its_provider_without_the_means_to_renew_it() {
    let files = opencode_file();
    let c = gather(
        Kind::Opencode,
        &model("openai/gpt-5"),
        &host(&[("ANTHROPIC_API_KEY", "K-env")], &files),
    );
    let (path, json) = only_file(&c);
    assert_eq!(path, ".local/share/opencode/auth.json");
    assert_eq!(
        json,
        json!({"openai": {"type": "oauth", "refresh": "", "access": "A-openai", "expires": ms(7200), "accountId": "acc"}})
    );
    assert_eq!((exposed(&c), env(&c)), (vec!["A-openai"], vec![]));
    assert_eq!((c.expires, c.missing), (Some(NOW + 7200), None));
}

#[test]
fn without_a_model_opencode_gets_all_logins_but_those_that_live_long_or_ask_an_organisation() {
    let files = opencode_file();
    let host = host(
        &[
            ("ANTHROPIC_API_KEY", "K-env"),
            ("GROQ_API_KEY", "K-groq"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
        ],
        &files,
    );
    let c = gather(Kind::Opencode, &Need::default(), &host);
    let (_, json) = only_file(&c);
    assert_eq!(
        json.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["openai", "anthropic", "poe"]
    );
    assert_eq!(
        json["anthropic"],
        json!({"type": "api", "key": "K-anthropic", "metadata": {"a": 1}})
    );
    assert_eq!((&json["poe"]["refresh"], &json["poe"]["access"]), (&json!(""), &json!("K-poe")));
    assert_eq!(env(&c), [("GROQ_API_KEY", "K-groq")]);
    let text = String::from_utf8(c.files[0].bytes.clone()).unwrap();
    assert!(["R-openai", "copilot", "corp", "T-corp"].iter().all(|s| !text.contains(s)), "{text}");
}

#[test]
fn copilot_stays_here() {
    let files = opencode_file();
    let c = gather(Kind::Opencode, &model("github-copilot/gpt-5"), &host(&[], &files));
    assert!(c.files.is_empty() && c.secrets.is_empty());
    assert!(c.missing.is_some_and(|m| m.contains("stays here")));
}

#[test]
fn an_access_that_ends_before_the_run_may_is_warned_about() {
    let login = |left: i64| json!({"claudeAiOauth": {"accessToken": "A", "refreshToken": "R", "expiresAt": ms(left)}});
    let table = [
        (3601, Some(3600), None),
        (3599, Some(3600), Some("ends in 60 min")),
        (3601, Some(u64::MAX), Some("ends in 61 min")),
        (60, None, None),
        (0, None, Some("has expired")),
        (-5, Some(3600), Some("has expired")),
    ];
    for (left, timeout_s, expected) in table {
        let files = [("/home/u/.claude/.credentials.json", login(left).to_string())];
        let need = Need { timeout_s, ..Need::default() };
        let c = gather(Kind::Claude, &need, &host(&[], &files));
        match expected {
            Some(words) => assert!(c.warnings[0].contains(words), "{left} {:?}", c.warnings),
            None => assert_eq!(c.warnings, [""; 0], "{left}"),
        }
    }
}

#[test]
fn a_key_is_better_than_a_login_that_has_ended() {
    let auth =
        json!({"openai": {"type": "oauth", "refresh": "R", "access": "A", "expires": ms(-1)}})
            .to_string();
    let files = [("/data/opencode/auth.json", auth)];
    let moved = ("XDG_DATA_HOME", "/data");
    let c = gather(
        Kind::Opencode,
        &model("openai/x"),
        &host(&[moved, ("OPENAI_API_KEY", "K")], &files),
    );
    assert!(c.files.is_empty() && c.warnings.is_empty());
    assert_eq!(env(&c), [("OPENAI_API_KEY", "K"), ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1")]);
    let c = gather(Kind::Opencode, &model("openai/x"), &host(&[moved], &files));
    assert_eq!(
        c.warnings,
        ["the login of opencode has expired; use the agent here once to renew it"]
    );
}

#[test]
fn a_file_that_is_not_json_counts_as_none() {
    for (kind, path) in [
        (Kind::Opencode, "/home/u/.local/share/opencode/auth.json"),
        (Kind::Claude, "/home/u/.claude/.credentials.json"),
        (Kind::Codex, "/home/u/.codex/auth.json"),
        (Kind::Gemini, "/home/u/.gemini/oauth_creds.json"),
    ] {
        for text in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            "\"x\"",
            r#"{"tokens":[],"claudeAiOauth":3,"openai":"x"}"#,
        ] {
            let files = [(path, text.to_owned())];
            let c = gather(kind, &Need::default(), &host(&[], &files));
            assert!(
                c.files.is_empty() && c.found.is_empty() && c.missing.is_some(),
                "{kind} {text}"
            );
        }
    }
}

#[test]
fn claude_prefers_keys_in_its_own_order_and_never_sees_an_empty_one() {
    let login = json!({
        "claudeAiOauth": {"accessToken": "A", "refreshToken": "R", "expiresAt": ms(600), "scopes": ["s"], "subscriptionType": "max"},
        "mcpOAuth": {"server": {"accessToken": "M"}}
    });
    let files = [("/home/u/.claude/.credentials.json", login.to_string())];
    let keys = [("CLAUDE_CODE_OAUTH_TOKEN", "T"), ("ANTHROPIC_API_KEY", "")];
    let c = gather(Kind::Claude, &Need::default(), &host(&keys, &files));
    assert_eq!((env(&c), c.files.len()), (vec![("CLAUDE_CODE_OAUTH_TOKEN", "T")], 0));

    let need = Need { timeout_s: Some(3600), ..Need::default() };
    let c = gather(Kind::Claude, &need, &host(&[("ANTHROPIC_BASE_URL", "http://gate")], &files));
    let (path, json) = only_file(&c);
    assert_eq!(path, ".claude/.credentials.json");
    assert_eq!(
        json,
        json!({"claudeAiOauth": {"accessToken": "A", "refreshToken": "", "expiresAt": ms(600), "scopes": ["s"], "subscriptionType": "max"}})
    );
    assert_eq!((env(&c), exposed(&c)), (vec![("ANTHROPIC_BASE_URL", "http://gate")], vec!["A"]));
    assert_eq!(
        c.warnings,
        [
            "the login of claude ends in 10 min, maybe before the run does, and is not renewed in the sandbox"
        ]
    );
}

#[test]
fn codex_keeps_every_token_but_the_one_that_renews() {
    let access = jwt(NOW + 60);
    let auth = json!({
        "auth_mode": "chatgpt", "OPENAI_API_KEY": null,
        "tokens": {"id_token": "I", "access_token": access, "refresh_token": "R", "account_id": "acc"},
        "last_refresh": "2026-11-21T00:00:00Z"
    });
    let files = [("/cx/auth.json", auth.to_string())];
    let c = gather(
        Kind::Codex,
        &Need::default(),
        &host(&[("CODEX_HOME", "/cx"), ("OPENAI_API_KEY", "K")], &files),
    );
    let mut expected = auth.clone();
    expected["tokens"]["refresh_token"] = json!("");
    assert_eq!(only_file(&c), (".codex/auth.json", expected));
    assert_eq!(
        (exposed(&c), c.expires, env(&c)),
        (vec![access.as_str(), "I"], Some(NOW + 60), vec![])
    );

    let c = gather(Kind::Codex, &Need::default(), &host(&[("OPENAI_API_KEY", "K")], &[]));
    assert_eq!(env(&c), [("CODEX_API_KEY", "K")]);
}

#[test]
fn gemini_and_qwen_get_their_keys() {
    let creds =
        json!({"access_token": "A", "refresh_token": "R", "expiry_date": ms(60), "id_token": "I"});
    let files = [("/home/u/.gemini/oauth_creds.json", creds.to_string())];
    let c = gather(Kind::Gemini, &Need::default(), &host(&[], &files));
    let (path, json) = only_file(&c);
    assert_eq!(
        (path, &json["refresh_token"], &json["expiry_date"]),
        (".gemini/oauth_creds.json", &json!(""), &json!(ms(60)))
    );
    assert_eq!(env(&c), [("GOOGLE_GENAI_USE_GCA", "true")]);
    let c = gather(Kind::Gemini, &Need::default(), &host(&[("GEMINI_API_KEY", "K")], &files));
    assert_eq!((env(&c), c.files.len()), (vec![("GEMINI_API_KEY", "K")], 0));
    let c = gather(
        Kind::Qwen,
        &Need::default(),
        &host(&[("OPENAI_API_KEY", "K"), ("OPENAI_MODEL", "m")], &[]),
    );
    assert_eq!(env(&c), [("OPENAI_MODEL", "m"), ("OPENAI_API_KEY", "K")]);
}

#[test]
fn what_is_given_by_hand_ends_the_search() {
    let files = opencode_file();
    let given = |name: &str| Need { given: [name.to_owned()].into(), ..Need::default() };
    let all = [
        ("ANTHROPIC_API_KEY", "K"),
        ("CODEX_API_KEY", "K"),
        ("OPENAI_API_KEY", "K"),
        ("GEMINI_API_KEY", "K"),
    ];
    for (kind, name) in [
        (Kind::Opencode, "OPENCODE_AUTH_CONTENT"),
        (Kind::Opencode, "OPENAI_API_KEY"),
        (Kind::Claude, "CLAUDE_CODE_OAUTH_TOKEN"),
        (Kind::Codex, "CODEX_API_KEY"),
        (Kind::Gemini, "GEMINI_API_KEY"),
        (Kind::Qwen, "OPENAI_API_KEY"),
    ] {
        let c = gather(kind, &given(name), &host(&all, &files));
        assert!(c.env.is_empty() && c.files.is_empty() && c.missing.is_none(), "{kind}");
        assert_eq!(c.found, [format!("{name}, given")]);
    }
}

#[test]
fn a_command_gets_nothing_and_the_survey_tells_no_values() {
    let files = opencode_file();
    let host = host(&[("OPENAI_API_KEY", "sk-secret-value")], &files);
    let c = gather(Kind::Command, &Need::default(), &host);
    assert!(c.env.is_empty() && c.files.is_empty() && c.missing.is_none());
    let survey = format!("{:?}", survey(&host));
    assert!(survey.contains("the login of opencode (openai, anthropic, poe)"), "{survey}");
    assert!(!survey.contains("secret") && !survey.contains("A-openai"), "{survey}");
}
