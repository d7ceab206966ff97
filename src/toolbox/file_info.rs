//! How a file is described: Go's words for modes and times.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;

use super::paths::{base, shown};
use crate::wire::files::FileInfo;

/// Describes a file under the name and path it was asked for.
pub(super) fn file_info(path: &Path, meta: &Metadata) -> FileInfo {
    let modified = modified(meta);
    FileInfo {
        name: base(path).to_string_lossy().into_owned(),
        path: shown(path),
        size: meta.size(),
        mode: mode_text(meta.mode()),
        mod_time: modified.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string(),
        modified_at: Some(modified.to_string()),
        is_dir: meta.is_dir(),
        owner: meta.uid().to_string(),
        group: meta.gid().to_string(),
        permissions: format!("{:04o}", meta.mode() & 0o777),
    }
}

/// When the content changed.
pub(super) fn modified(meta: &Metadata) -> Timestamp {
    let nanoseconds = i32::try_from(meta.mtime_nsec()).unwrap_or_default();
    Timestamp::new(meta.mtime(), nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Go's text of a mode: letters for what is special, then nine for the permissions.
fn mode_text(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => "d",
        0o120_000 => "L",
        0o060_000 => "D",
        0o020_000 => "Dc",
        0o010_000 => "p",
        0o140_000 => "S",
        _ => "",
    };
    // The order of Go's letters is dalTLDpSugct, so `c` of a character device follows set-id letters.
    let mut text = kind.trim_end_matches('c').to_owned();
    text.extend((mode & 0o4000 != 0).then_some('u'));
    text.extend((mode & 0o2000 != 0).then_some('g'));
    text.extend(kind.ends_with('c').then_some('c'));
    text.extend((mode & 0o1000 != 0).then_some('t'));
    if text.is_empty() {
        text.push('-');
    }
    for (bit, letter) in (0..9).rev().zip("rwxrwxrwx".chars()) {
        text.push(if mode & (1 << bit) != 0 { letter } else { '-' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_as_recorded() {
        for (mode, text) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o010_644, "prw-r--r--"),
            (0o020_666, "Dcrw-rw-rw-"),
            (0o106_755, "ugrwxr-xr-x"),
            (0o041_777, "dtrwxrwxrwx"),
            (0o100_000, "----------"),
        ] {
            assert_eq!(mode_text(mode), text);
        }
    }

    #[test]
    fn times_as_recorded() {
        let text = |t: &str| {
            let t: Timestamp = t.parse().unwrap();
            t.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string()
        };
        assert_eq!(text("2020-02-29T12:34:56.12345678Z"), "2020-02-29 12:34:56.12345678 +0000 UTC");
        assert_eq!(text("2020-02-29T12:34:56Z"), "2020-02-29 12:34:56 +0000 UTC");
    }
}
