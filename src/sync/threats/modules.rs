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
                if climbs(&s.value)
                    || s.value.starts_with(b"-")
                    || s.value.starts_with(b"/")
                    || s.value.iter().any(u8::is_ascii_control) =>
            {
                wrong("a path that is absolute, has `..`, a leading `-` or control bytes")
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

/// Reads git's configuration syntax, byte by byte as git does: the settings of all `submodule` sections, or
/// the first line that is not understood.
fn parse(text: &[u8]) -> Result<Vec<Setting>, usize> {
    let mut text =
        Text { bytes: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text), at: 0, line: 1 };
    let mut out = Vec::new();
    let mut module: Option<Vec<u8>> = None;
    while let Some(byte) = text.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'#' | b';' => while text.next().is_some_and(|b| b != b'\n') {},
            b'[' => module = text.header().ok_or(text.line)?,
            first if first.is_ascii_alphabetic() => {
                let (key, value) = text.setting(first).ok_or(text.line)?;
                if let Some(module) = &module {
                    out.push(Setting { module: module.clone(), key, value });
                }
            }
            _ => return Err(text.line),
        }
    }
    Ok(out)
}

/// What is left to read. A line may end in `\r\n`.
struct Text<'t> {
    bytes: &'t [u8],
    at: usize,
    line: usize,
}

impl Text<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte == b'\r' && self.bytes.get(self.at) == Some(&b'\n') {
            return self.next();
        }
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    /// The next byte that is neither space nor tab.
    fn next_word(&mut self) -> Option<u8> {
        loop {
            match self.next() {
                Some(b' ' | b'\t') => {}
                other => return other,
            }
        }
    }

    /// Behind a `[`: the module that a section names, `Some(None)` for other sections.
    fn header(&mut self) -> Option<Option<Vec<u8>>> {
        let mut section = Vec::new();
        let mut next = self.next()?;
        while next.is_ascii_alphanumeric() || matches!(next, b'-' | b'.') {
            section.push(next.to_ascii_lowercase());
            next = self.next()?;
        }
        let mut name = None;
        if matches!(next, b' ' | b'\t' | b'"') {
            if next != b'"' {
                next = self.next_word()?;
            }
            if next == b'"' {
                name = Some(self.quoted_name()?);
                next = self.next_word()?;
            }
        }
        if next != b']' {
            return None;
        }
        // The old spelling is `[submodule.name]`; both at once make one name.
        Some(match (section.strip_prefix(b"submodule"), name) {
            (Some(b""), name) => Some(name.unwrap_or_default()),
            (Some([b'.', old @ ..]), None) => Some(old.to_vec()),
            (Some([b'.', old @ ..]), Some(name)) => Some([old, b".", &name].concat()),
            _ => None,
        })
    }

    fn quoted_name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Some(name),
                b'\n' => return None,
                b'\\' => name.push(self.next().filter(|b| *b != b'\n')?),
                byte => name.push(byte),
            }
        }
    }

    /// A name that begins with `first`, in lower case, and its value: empty where there is none.
    fn setting(&mut self, first: u8) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut key = vec![first.to_ascii_lowercase()];
        let mut next = self.next();
        while let Some(byte) = next.filter(|b| b.is_ascii_alphanumeric() || *b == b'-') {
            key.push(byte.to_ascii_lowercase());
            next = self.next();
        }
        if matches!(next, Some(b' ' | b'\t')) {
            next = self.next_word();
        }
        match next {
            None | Some(b'\n') => Some((key, Vec::new())),
            Some(b'=') => Some((key, self.value()?)),
            Some(_) => None,
        }
    }

    /// A value without quotes, escapes and comment. It goes on behind a `\` at the end of a line, but a
    /// comment does not.
    fn value(&mut self) -> Option<Vec<u8>> {
        let (mut out, mut kept) = (Vec::new(), 0);
        let (mut quoted, mut comment) = (false, false);
        loop {
            let byte = match self.next() {
                None | Some(b'\n') => break,
                Some(_) if comment => continue,
                Some(b'"') => {
                    quoted = !quoted;
                    continue;
                }
                Some(b'#' | b';') if !quoted => {
                    comment = true;
                    continue;
                }
                Some(b'\\') => match self.next()? {
                    b'\n' => continue,
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'b' => 8,
                    byte @ (b'\\' | b'"') => byte,
                    _ => return None,
                },
                Some(byte @ (b' ' | b'\t' | b'\r')) if !quoted => {
                    // Space counts between words only.
                    if kept > 0 {
                        out.push(byte);
                    }
                    continue;
                }
                Some(byte) => byte,
            };
            out.push(byte);
            kept = out.len();
        }
        out.truncate(kept);
        (!quoted).then_some(out)
    }
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
            "[submodule \"a\"]\n branch = b # \\\n url = -x\n",
            "[submodule \"a\"]\n branch = b ; \\\r\n update = !x\n",
            "[submodule \"a\"]\n branch\n url = -x\n",
            "[submodule.a \"b/../c\"]\n branch = b\n",
            "[submodule \"a\"]\n path = \"b\\\n/../c\"\n",
            "[submodule \"a\"]\n path = \"b\r\"\n",
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
