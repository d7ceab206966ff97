//! `.gitmodules`: what passes is harmless to another reader of git's configuration syntax, too.

use std::io::Write;

use sandbox_coder::sync::threats::modules::complaint;

fn climbs(value: &str) -> bool {
    value.split(['/', '\\']).any(|part| part == "..")
}

pub fn check(input: &[u8]) {
    let _ = complaint(input, b"");
    let _ = complaint(b"", input).map(|words| assert!(!words.chars().any(char::is_control)));
    assert_eq!(complaint(input, input), complaint(b"", input).filter(|w| w.contains("at line")));
    if complaint(b"", input).is_some() {
        return;
    }
    // In memory where there is such a place: libgit2 reads configuration from files only.
    let dir = ["/dev/shm", "/tmp"].into_iter().find(|d| std::path::Path::new(d).is_dir());
    let mut file = tempfile::NamedTempFile::new_in(dir.unwrap_or(".")).unwrap();
    file.write_all(input).unwrap();
    let Ok(config) = git2::Config::open(file.path()) else { return };
    let Ok(mut entries) = config.entries(None) else { return };
    while let Some(Ok(entry)) = entries.next() {
        if !entry.has_value() {
            continue;
        }
        let (Ok(name), Ok(value)) = (entry.name(), entry.value()) else { continue };
        let Some((module, key)) = name.strip_prefix("submodule.").and_then(|n| n.rsplit_once('.'))
        else {
            continue;
        };
        assert!(!climbs(module), "a module's name climbs: {name}");
        assert!(!module.starts_with('-'), "a module's name is an option: {name}");
        match key {
            "path" | "url" => {
                assert!(!value.starts_with('-'), "{name} is an option: {value}");
                assert!(!climbs(value), "{name} climbs: {value}");
                assert!(key != "path" || !value.starts_with('/'), "{name} is absolute: {value}");
                assert!(!value.starts_with("ext::"), "{name} runs a command: {value}");
            }
            "update" => assert!(!value.starts_with('!'), "{name} runs a command: {value}"),
            _ => {}
        }
    }
}
