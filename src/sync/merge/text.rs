//! Three texts into one, line by line.

use std::io;

use git2::{MergeFileInput, MergeFileOptions, ObjectType};

use super::TEXT_MAX;
use crate::tree::Oid;

/// Whether bytes are merged by lines: no NUL, not too many.
pub fn is_text(bytes: &[u8]) -> bool {
    bytes.len() <= TEXT_MAX && memchr::memchr(0, bytes).is_none()
}

/// The id git gives these bytes.
pub fn id(bytes: &[u8]) -> io::Result<Oid> {
    let id = git2::Oid::hash_object(ObjectType::Blob, bytes).map_err(io::Error::other)?;
    Ok(Oid(id.as_bytes().try_into().map_err(io::Error::other)?))
}

/// Both changes in one text, or `None` if they touch the same lines.
pub fn merge(base: &[u8], ours: &[u8], theirs: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let result = run(base, ours, theirs)?;
    Ok(result.is_automergeable().then(|| result.content().to_vec()))
}

/// Both changes in one text, markers around the lines where they clash.
pub fn marked(base: &[u8], ours: &[u8], theirs: &[u8]) -> io::Result<Vec<u8>> {
    let mut text = run(base, ours, theirs)?.content().to_vec();
    // The library gives an empty side no label. All the other side's lines then clash, in one piece.
    if ours.is_empty() && text.starts_with(b"<<<<<<<\n") {
        text.splice(7..7, *b" local");
    }
    if theirs.is_empty() && text.ends_with(b"\n>>>>>>>\n") {
        let end = text.len() - 1;
        text.splice(end..end, *b" sandbox");
    }
    Ok(text)
}

fn run(base: &[u8], ours: &[u8], theirs: &[u8]) -> io::Result<git2::MergeFileResult> {
    // `merge_file` alone does not start the library; hashing does.
    id(base)?;
    let [mut a, mut o, mut t] =
        [MergeFileInput::new(), MergeFileInput::new(), MergeFileInput::new()];
    let mut options = MergeFileOptions::new();
    options.style_standard(true).our_label("local").their_label("sandbox");
    git2::merge_file(a.content(base), o.content(ours), t.content(theirs), Some(&mut options))
        .map_err(io::Error::other)
}

/// Whether one text holds all lines of the other in order: `Some(true)` if ours does, `Some(false)` if theirs does.
pub fn larger(ours: &[u8], theirs: &[u8]) -> Option<bool> {
    if holds(ours, theirs) { Some(true) } else { holds(theirs, ours).then_some(false) }
}

fn holds(large: &[u8], small: &[u8]) -> bool {
    let lines =
        |text: &[u8]| text.split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut large = lines(large).into_iter();
    lines(small).into_iter().all(|line| large.any(|l| l == line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separate_lines_merge_and_the_same_line_does_not() {
        let base = b"1\n2\n3\n4\n5\n";
        let merged = merge(base, b"one\n2\n3\n4\n5\n", b"1\n2\n3\n4\nfive\n").unwrap();
        assert_eq!(merged.as_deref(), Some(&b"one\n2\n3\n4\nfive\n"[..]));
        assert_eq!(merge(base, b"x\n2\n3\n4\n5\n", b"y\n2\n3\n4\n5\n").unwrap(), None);
        let text = marked(base, b"x\n2\n3\n4\n5\n", b"y\n2\n3\n4\n5\n").unwrap();
        assert_eq!(text, b"<<<<<<< local\nx\n=======\ny\n>>>>>>> sandbox\n2\n3\n4\n5\n");
    }

    #[test]
    fn an_emptied_side_has_its_label_too() {
        let base = b"1\n2\n3\n";
        let text = marked(base, b"", b"1\ntwo\n3\n").unwrap();
        assert_eq!(text, b"<<<<<<< local\n=======\n1\ntwo\n3\n>>>>>>> sandbox\n");
        let text = marked(base, b"1\ntwo\n3\n", b"").unwrap();
        assert_eq!(text, b"<<<<<<< local\n1\ntwo\n3\n=======\n>>>>>>> sandbox\n");
    }

    #[test]
    fn line_ends_are_bytes_like_all_others() {
        let merged =
            merge(b"a\r\nb\r\nc\r\nd\r\n", b"A\r\nb\r\nc\r\nd\r\n", b"a\r\nb\r\nc\r\nD\r\n")
                .unwrap();
        assert_eq!(merged.as_deref(), Some(&b"A\r\nb\r\nc\r\nD\r\n"[..]));
    }

    #[test]
    fn a_text_holds_another_by_whole_lines() {
        assert_eq!(larger(b"a\nb\nc\n", b"a\nc\n"), Some(true));
        assert_eq!(larger(b"", b"a\n"), Some(false));
        assert_eq!(larger(b"x=1\n", b"x=12\n"), None);
        assert_eq!(larger(b"a\nb\n", b"b\na\n"), None);
        assert_eq!(larger(b"a", b"a\nb"), None, "a last line without its end is another line");
    }
}
