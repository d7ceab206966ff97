//! `.gitmodules`: what git would believe of it later.

/// What is wrong with the content of a `.gitmodules`, given the one agreed before; `None` if nothing is.
/// Values that stood there before are the user's own and pass.
pub fn complaint(before: &[u8], after: &[u8]) -> Option<String> {
    let known = parse(before).unwrap_or_default();
    let settings = match parse(after) {
        Ok(settings) => settings,
        Err(line) => return Some(format!("`.gitmodules` cannot be read at line {line}")),
    };
    settings.iter().filter(|s| !known.contains(s)).find_map(|s| {
        let wrong = |what: &str| Some(format!("`.gitmodules` has {what}"));
        if climbs(&s.module) || s.module.starts_with(b"-") {
            return wrong("a module name with `..` or a leading `-`");
        }
        match s.key.as_slice() {
            b"path"
                if climbs(&s.value) || s.value.starts_with(b"-") || s.value.starts_with(b"/") =>
            {
                wrong("a path that is absolute, has `..` or a leading `-`")
            }
            b"url"
                if climbs(&s.value)
                    || s.value.starts_with(b"-")
                    || s.value.iter().any(u8::is_ascii_control) =>
            {
                wrong("a URL with `..`, a leading `-` or control bytes")
            }
            b"url" if s.value.starts_with(b"ext::") || s.value.starts_with(b"fd::") => {
                wrong("a URL that runs a command")
            }
            b"update" if s.value.starts_with(b"!") => wrong("an update command"),
            _ => None,
        }
    })
}

fn climbs(value: &[u8]) -> bool {
    value.split(|b| matches!(b, b'/' | b'\\' | b':')).any(|c| c == b"..")
}

#[derive(Debug, PartialEq, Eq)]
struct Setting {
    module: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Reads git's configuration syntax: the settings of all `submodule` sections, or the first line that is not understood.
fn parse(text: &[u8]) -> Result<Vec<Setting>, usize> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut out = Vec::new();
    let mut module: Option<Vec<u8>> = None;
    let mut lines = text.split(|&b| b == b'\n').enumerate();
    while let Some((number, line)) = lines.next() {
        let mut rest = line.trim_ascii();
        if rest.first() == Some(&b'[') {
            let (section, after) = header(rest).ok_or(number + 1)?;
            module = section;
            rest = after.trim_ascii();
        }
        if rest.is_empty() || rest.starts_with(b"#") || rest.starts_with(b";") {
            continue;
        }
        let mut whole = rest.to_vec();
        while ends_in_continuation(&whole) {
            whole.pop();
            match lines.next() {
                Some((_, next)) => {
                    whole.extend_from_slice(next.strip_suffix(b"\r").unwrap_or(next))
                }
                None => break,
            }
        }
        let equals = whole.iter().position(|&b| b == b'=').unwrap_or(whole.len());
        let key = whole[..equals].trim_ascii().to_ascii_lowercase();
        if key.is_empty() || !key.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') {
            return Err(number + 1);
        }
        let value = value(whole.get(equals + 1..).unwrap_or_default()).ok_or(number + 1)?;
        if let Some(module) = &module {
            out.push(Setting { module: module.clone(), key, value });
        }
    }
    Ok(out)
}

fn ends_in_continuation(line: &[u8]) -> bool {
    line.iter().rev().take_while(|&&b| b == b'\\').count() % 2 == 1
}

/// The module a section header names (`None` for other sections) and what follows it on the line.
fn header(line: &[u8]) -> Option<(Option<Vec<u8>>, &[u8])> {
    let body = line.strip_prefix(b"[")?;
    let end = body.iter().position(|b| matches!(b, b']' | b'"' | b' ' | b'\t'))?;
    let section = body[..end].to_ascii_lowercase();
    let mut rest = body[end..].trim_ascii_start();
    let mut name = None;
    if rest.first() == Some(&b'"') {
        let mut text = Vec::new();
        let mut at = 1;
        loop {
            match *rest.get(at)? {
                b'"' => break,
                b'\\' => {
                    at += 1;
                    text.push(*rest.get(at)?);
                }
                b => text.push(b),
            }
            at += 1;
        }
        name = Some(text);
        rest = rest[at + 1..].trim_ascii_start();
    }
    let rest = rest.strip_prefix(b"]")?;
    if section == b"submodule" {
        return Some((name.or(Some(Vec::new())), rest));
    }
    // The old spelling `[submodule.name]`.
    Some((section.strip_prefix(b"submodule.").map(<[u8]>::to_vec), rest))
}

/// A value without quotes, escapes and trailing comment.
fn value(raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut quoted = false;
    let mut kept = 0;
    let mut bytes = raw.trim_ascii_start().iter();
    while let Some(&b) = bytes.next() {
        match b {
            b'"' => {
                quoted = !quoted;
                kept = out.len();
            }
            b'#' | b';' if !quoted => break,
            b'\\' => {
                out.push(match bytes.next()? {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'b' => 8,
                    b @ (b'\\' | b'"') => *b,
                    _ => return None,
                });
                kept = out.len();
            }
            b => {
                out.push(b);
                if quoted || !b.is_ascii_whitespace() {
                    kept = out.len();
                }
            }
        }
    }
    out.truncate(kept);
    (!quoted).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_was_once_fooled_by_is_refused() {
        let bad = [
            "[submodule \"../../x\"]\n\tpath = a\n\turl = https://h/x\n",
            "[submodule \"a/../b\"]\npath=a\n",
            "[submodule \"-x\"]\npath = a\n",
            "[submodule.../x]\npath = a\n",
            "[submodule \"a\"]\n path = ../a\n",
            "[submodule \"a\"]\n path = -a\n",
            "[submodule \"a\"]\n path = /etc\n",
            "[submodule \"a\"]\n path = \"x/..\"\n",
            "[submodule \"a\"]\n path = x/.\\\n.\n",
            "[submodule \"a\"] path = ..\n",
            "[submodule \"a\"]\n url = -u./payload\n",
            "[submodule \"a\"]\n url = \"--upload-pack=x\"\n",
            "[submodule \"a\"]\n url = ../../x\n",
            "[submodule \"a\"]\n url = \"a\\nb\"\n",
            "[submodule \"a\"]\n url = ext::sh -c x\n",
            "[submodule \"a\"]\n update = !touch x\n",
            "[SubModule \"a\"]\n URL = -x\n",
            "\u{feff}[submodule \"a\"]\n url = -x\n",
            "[submodule \"a\n",
            "not a config at all !\n",
            "[submodule \"a\"]\n path = \"open\n",
            "[submodule \"a\"]\r\n\tpath = a\r\n\turl = -x\r\n",
        ];
        for text in bad {
            assert!(complaint(b"", text.as_bytes()).is_some(), "{text:?}");
        }
    }

    #[test]
    fn ordinary_modules_pass_and_so_does_what_was_there_before() {
        let good = "# c\n[core]\n x\n[submodule \"lib/a b\"]\n\tpath = lib/a ; c\n\turl = https://host/a.git\n\tbranch = main\n\n";
        assert_eq!(complaint(b"", good.as_bytes()), None);
        assert_eq!(complaint(b"", b""), None);
        let relative = b"[submodule \"a\"]\n url = ../a.git\n";
        assert!(complaint(b"", relative).is_some());
        let more = [&relative[..], good.as_bytes()].concat();
        assert_eq!(complaint(relative, &more), None);
    }
}
