//! Names: what is refused from a sandbox although a disk here would take it.

use icu_normalizer::DecomposingNormalizerBorrowed;

use crate::rel_path::RelPath;

/// Longest component most file systems take, in bytes.
const COMPONENT_MAX: usize = 255;
/// Longest path a system call takes, in bytes.
const PATH_MAX: usize = 4096;
/// Deepest nesting, in components: far beyond any source tree, far below what recursion could suffer from.
const DEPTH_MAX: usize = 128;

/// Checks a name in the strict form. What is wrong with it, or the path.
pub fn check(raw: &[u8]) -> Result<RelPath, String> {
    if raw.len() > PATH_MAX {
        return Err(format!("the name is longer than {PATH_MAX} bytes"));
    }
    let path = RelPath::parse(raw).map_err(|e| e.to_string())?;
    if raw.contains(&b'\\') {
        return Err("the name holds a backslash".into());
    }
    if path.components().count() > DEPTH_MAX {
        return Err(format!("the name is nested deeper than {DEPTH_MAX}"));
    }
    for component in path.components() {
        if component.len() > COMPONENT_MAX {
            return Err(format!("a component is longer than {COMPONENT_MAX} bytes"));
        }
        if is_dot_git(component) {
            return Err("a component is `.git` in disguise".into());
        }
    }
    Ok(path)
}

/// Why a name that is accepted deserves a look; `None` for ordinary ones.
pub fn oddity(path: &RelPath) -> Option<&'static str> {
    if path.to_str().is_none() {
        return Some("the name is not valid UTF-8");
    }
    if crate::rel_path::escape(path.as_bytes()).as_bytes() != path.as_bytes() {
        return Some("the name holds characters that do not print");
    }
    path.components().find_map(|c| match c {
        c if c.contains(&b':') => Some("the name holds a colon: a stream or a drive on Windows"),
        c if c.ends_with(b".") || c.ends_with(b" ") => {
            Some("the name ends in a dot or a space, which Windows drops")
        }
        c if is_reserved(c) => Some("the name is that of a device on Windows"),
        _ => None,
    })
}

/// Whether some file system opens the repository's own folder under this component.
pub fn is_dot_git(component: &[u8]) -> bool {
    let plain = undisguised(component);
    plain == ".git" || is_short_name(&plain, "git")
}

/// Which of git's own configuration files this component names on some file system.
pub fn git_file(component: &[u8]) -> Option<&'static str> {
    // The short names Windows makes: six letters and a number, or two letters and a hash.
    const FILES: [(&str, &str, &str); 4] = [
        (".gitmodules", "gitmod", "gi7eba"),
        (".gitattributes", "gitatt", "gi7d29"),
        (".gitignore", "gitign", "gi250a"),
        (".mailmap", "mailma", "maba30"),
    ];
    let plain = undisguised(component);
    FILES
        .iter()
        .find(|(name, short, hashed)| {
            plain == *name || is_short_name(&plain, short) || is_short_name(&plain, hashed)
        })
        .map(|(name, ..)| *name)
}

/// One spelling for all names that a disk which folds case and Unicode forms takes for the same.
pub fn folded(name: &[u8]) -> Vec<u8> {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let Ok(text) = std::str::from_utf8(name) else { return name.to_ascii_lowercase() };
    let nfd = DecomposingNormalizerBorrowed::new_nfd();
    // Upper case first: it joins what lower case alone keeps apart (`ß`, `ſ`, the final sigma).
    let lower = nfd.normalize(text).to_uppercase().to_lowercase();
    nfd.normalize(&lower).into_owned().into_bytes()
}

/// The component without what HFS+ ignores and NTFS drops, in lower case. Bytes that are not text
/// stay as replacement characters, which match nothing.
fn undisguised(component: &[u8]) -> String {
    let mut text: String = String::from_utf8_lossy(component)
        .chars()
        .filter(|c| !is_ignorable(*c))
        .flat_map(char::to_lowercase)
        .collect();
    if let Some(cut) = text.find([':', '\\']) {
        text.truncate(cut);
    }
    text.truncate(text.trim_end_matches(['.', ' ']).len());
    text
}

/// Code points HFS+ leaves out when it compares names, and their relatives.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

fn is_short_name(plain: &str, stem: &str) -> bool {
    plain
        .strip_prefix(stem)
        .and_then(|rest| rest.strip_prefix('~'))
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Names of devices on Windows, with any extension.
fn is_reserved(component: &[u8]) -> bool {
    let stem = component.split(|&b| b == b'.').next().unwrap_or_default().to_ascii_lowercase();
    match stem.as_slice() {
        b"con" | b"prn" | b"aux" | b"nul" | b"conin$" | b"conout$" => true,
        [a, b, c, d] => matches!(&[*a, *b, *c], b"com" | b"lpt") && matches!(d, b'1'..=b'9'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rel_path::escape;

    #[test]
    fn every_disguise_of_the_repositorys_folder_is_refused() {
        let disguises = [
            ".git",
            ".GIT",
            ".Git",
            ".git.",
            ".git ",
            ".git...",
            ".git . .",
            "git~1",
            "GIT~1",
            "Git~2",
            ".git::$INDEX_ALLOCATION",
            ".git:stream",
            ".GIT::$index_allocation",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".gi\u{200d}t",
            ".\u{202e}git",
            ".git\u{2060}",
            ".g\u{206a}iT",
            ".gIt\u{200f} .",
        ];
        for name in disguises {
            for path in [
                name.to_owned(),
                format!("a/{name}"),
                format!("{name}/config"),
                format!("a/{name}/b"),
            ] {
                assert!(check(path.as_bytes()).is_err(), "{}", escape(path.as_bytes()));
            }
        }
        for name in [
            ".gitignore",
            "git",
            ".gitx",
            "a.git",
            "git~",
            "git~x",
            ".git~",
            "..git",
            ".g it",
            "digit",
        ] {
            assert!(check(name.as_bytes()).is_ok(), "{name}");
        }
    }

    #[test]
    fn limits_hold_at_the_edge() {
        assert!(check(&[b'a'; 255]).is_ok());
        assert!(check(&[b'a'; 256]).is_err());
        assert!(check(vec!["a"; 128].join("/").as_bytes()).is_ok());
        assert!(check(vec!["a"; 129].join("/").as_bytes()).is_err());
        let long = vec!["x".repeat(200); 20].join("/");
        assert!(check(long.as_bytes()).is_ok());
        assert!(check(vec!["x".repeat(200); 21].join("/").as_bytes()).is_err());
        assert!(check(b"a\\b").is_err());
    }

    #[test]
    fn odd_names_are_told() {
        for name in [
            "a\nb",
            "a\x1b[2J",
            "x\u{202e}y",
            "a:b",
            "C:",
            "NUL",
            "aux.txt",
            "com1",
            "LPT9.c",
            "a.",
            "a /b",
        ] {
            let path = check(name.as_bytes()).unwrap();
            assert!(oddity(&path).is_some(), "{path}");
        }
        assert!(oddity(&check(b"\xff\xfe").unwrap()).is_some());
        for name in ["a", "grün/ü", "com0", "com10", "null", "console", "a b", ".x"] {
            assert_eq!(oddity(&check(name.as_bytes()).unwrap()), None, "{name}");
        }
    }

    #[test]
    fn gits_own_files_are_known_in_disguise() {
        for name in [
            ".gitmodules",
            ".GITMODULES",
            ".gitmodules ",
            "gitmod~1",
            "GI7EBA~1",
            ".git\u{200c}modules",
            ".gitmodules:x",
        ] {
            assert_eq!(git_file(name.as_bytes()), Some(".gitmodules"), "{name}");
        }
        assert_eq!(git_file(b".gitIgnore"), Some(".gitignore"));
        assert_eq!(git_file(b"gitatt~1"), Some(".gitattributes"));
        assert_eq!(git_file(b"MAILMA~1"), Some(".mailmap"));
        assert_eq!(git_file(b"gitmodules"), None);
    }

    #[test]
    fn names_that_are_one_on_some_disk_fold_to_one() {
        let pairs = [
            ("README", "readme"),
            ("\u{fc}", "u\u{308}"),
            ("\u{dc}", "u\u{308}"),
            ("stra\u{df}e", "STRASSE"),
            ("\u{212a}", "k"),
            ("\u{17f}", "S"),
        ];
        for (a, b) in pairs {
            assert_eq!(folded(a.as_bytes()), folded(b.as_bytes()), "{a} {b}");
        }
        assert_ne!(folded(b"a"), folded(b"b"));
        assert_ne!(folded(b"\xff"), folded(b"\xfe"));
    }
}
