//! Names by pattern, lines by text, and text replaced.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use globset::{GlobBuilder, GlobMatcher};
use memchr::memmem;

use super::body;
use super::error::{Problem, blocking, go_words};
use super::paths::{Query, base, shown};
use super::server::Shared;
use super::staging;
use crate::wire::files::{Match, Replace, Replaced, SearchResult};

/// A file with a NUL this early is not text.
const SNIFFED: usize = 512;
/// In a file with a longer line, what comes from there on is not searched.
const LONGEST_LINE: usize = 64 << 10;
/// Hits are told up to this many bytes of content.
const MOST_CONTENT: usize = 64 << 20;
/// The largest file in which text is replaced; it is held in memory.
const LARGEST: u64 = 256 << 20;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/files/search", get(search))
        .route("/files/find", get(find))
        .route("/files/replace", post(replace))
}

/// Visits a tree in the order of names, root first. Links are not followed, what cannot be read is skipped.
fn walk(root: PathBuf, mut visit: impl FnMut(&Path, bool)) {
    let mut ahead = vec![root];
    while let Some(path) = ahead.pop() {
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        visit(&path, meta.is_file());
        if meta.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            let mut below: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            below.sort_unstable_by(|a, b| b.cmp(a));
            ahead.append(&mut below);
        }
    }
}

/// A pattern for the last component. One that is broken, or has a `/`, matches nothing.
fn matcher(pattern: &str) -> Option<GlobMatcher> {
    // Braces mean nothing here.
    let literal = pattern.replace('{', "[{]").replace('}', "[}]");
    let glob = GlobBuilder::new(&literal).backslash_escape(true).build().ok()?;
    (!pattern.contains('/')).then(|| glob.compile_matcher())
}

async fn search(
    State(toolbox): State<Shared>,
    query: Query,
) -> Result<Json<SearchResult>, Problem> {
    let root = toolbox.resolve(&query.path("path")?);
    let pattern =
        query.text("pattern").ok_or_else(|| Problem::bad_request("pattern is required"))?;
    let Some(matcher) = matcher(pattern) else { return Ok(Json(SearchResult::default())) };
    blocking(move || {
        let mut files = Vec::new();
        walk(root, |path, _| {
            if matcher.is_match(Path::new(&base(path))) {
                files.push(shown(path));
            }
        });
        Ok(Json(SearchResult { files }))
    })
    .await
}

async fn find(State(toolbox): State<Shared>, query: Query) -> Result<Json<Vec<Match>>, Problem> {
    let root = toolbox.resolve(&query.path("path")?);
    let text = query.bytes("pattern").ok_or_else(|| Problem::bad_request("pattern is required"))?;
    let finder = memmem::Finder::new(text).into_owned();
    blocking(move || {
        let mut found = Found::default();
        walk(root, |path, is_file| {
            if is_file && found.bytes < MOST_CONTENT {
                // A file that cannot be read has no hits.
                let _ = found.look_into(path, &finder);
            }
        });
        Ok(Json(found.hits))
    })
    .await
}

#[derive(Default)]
struct Found {
    hits: Vec<Match>,
    bytes: usize,
}

impl Found {
    fn look_into(&mut self, path: &Path, finder: &memmem::Finder<'_>) -> std::io::Result<()> {
        let mut file = BufReader::with_capacity(LONGEST_LINE, open(path)?);
        let start = file.fill_buf()?;
        if memchr::memchr(0, &start[..start.len().min(SNIFFED)]).is_some() {
            return Ok(());
        }
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let mut limited = file.by_ref().take(LONGEST_LINE as u64 + 1);
            if limited.read_until(b'\n', &mut line)? == 0 || line.len() > LONGEST_LINE {
                break;
            }
            if finder.find(&line).is_some() {
                let content = line.strip_suffix(b"\n").unwrap_or(&line);
                let content = content.strip_suffix(b"\r").unwrap_or(content);
                let content = String::from_utf8_lossy(content).into_owned();
                self.bytes += content.len() + path.as_os_str().len();
                self.hits.push(Match { file: shown(path), line: number, content });
            }
            if self.bytes >= MOST_CONTENT {
                break;
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(nonblocking).open(path)
}

async fn replace(
    State(toolbox): State<Shared>,
    body::Json(request): body::Json<Replace>,
) -> Result<Json<Vec<Replaced>>, Problem> {
    let new = request.new_value.ok_or_else(|| Problem::invalid_body("newValue is required"))?;
    if request.pattern.is_empty() {
        return Err(Problem::invalid_body("pattern is required"));
    }
    blocking(move || {
        let one = |file: String| {
            let target = toolbox.resolve(Path::new(&file));
            let error = replace_in(&target, request.pattern.as_bytes(), new.as_bytes()).err();
            Replaced { file, success: error.is_none(), error }
        };
        Ok(Json(request.files.into_iter().map(one).collect()))
    })
    .await
}

fn replace_in(path: &Path, old: &[u8], new: &[u8]) -> Result<(), String> {
    let failed =
        |doing: &str, err: &std::io::Error| format!("{doing} {}: {}", shown(path), go_words(err));
    let file = open(path).map_err(|err| failed("open", &err))?;
    let meta = file.metadata().map_err(|err| failed("read", &err))?;
    if meta.is_dir() {
        return Err(failed("read", &std::io::ErrorKind::IsADirectory.into()));
    }
    if !meta.is_file() || meta.len() > LARGEST {
        return Err(format!("read {}: not a regular file of at most {LARGEST} bytes", shown(path)));
    }
    let mut content = Vec::new();
    file.take(LARGEST).read_to_end(&mut content).map_err(|err| failed("read", &err))?;
    let mut replaced = Vec::with_capacity(content.len());
    let mut from = 0;
    for at in memmem::find_iter(&content, old) {
        replaced.extend_from_slice(&content[from..at]);
        replaced.extend_from_slice(new);
        from = at + old.len();
    }
    if from == 0 {
        return Ok(());
    }
    replaced.extend_from_slice(&content[from..]);
    staging::replace(path, &replaced).map_err(|err| failed("open", err.io()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn patterns_are_for_names() {
        let matches =
            |pattern: &str, name: &str| matcher(pattern).is_some_and(|m| m.is_match(name));
        assert!(matches("*.txt", "a.txt") && !matches("*.txt", "a.txtx"));
        assert!(matches("[ab]?", "b1"));
        assert!(matches("{x}", "{x}") && !matches("{x}", "x"));
        assert!(!matches("**/*.txt", "a.txt") && !matches("[", "["));
        let latin1 = Path::new(OsStr::from_bytes(b"lat-\xe4.txt"));
        assert!(matcher("*.txt").unwrap().is_match(latin1));
    }

    #[test]
    fn lines_and_long_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut text = b"l1 needle\r\nother\nneedle\n".to_vec();
        text.extend(vec![b'x'; LONGEST_LINE + 1]);
        text.extend(b"\nneedle after\n");
        std::fs::write(&path, text).unwrap();
        let mut found = Found::default();
        found.look_into(&path, &memmem::Finder::new("needle")).unwrap();
        let lines: Vec<_> = found.hits.iter().map(|hit| (hit.line, hit.content.as_str())).collect();
        assert_eq!(lines, [(1, "l1 needle"), (3, "needle")]);
    }

    #[test]
    fn text_is_replaced_once_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"aXbX\xff").unwrap();
        replace_in(&path, b"X", b"XX").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"aXXbXX\xff");
        assert!(replace_in(dir.path(), b"X", b"Y").unwrap_err().contains("is a directory"));
    }
}
