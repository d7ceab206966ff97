//! Which bytes of a file a download asks for.

/// What a `Range` header means for a file of a known size.
#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    /// Everything.
    Whole,
    /// Pieces, each with its first byte and its length.
    Pieces(Vec<(u64, u64)>),
    /// Nothing of it exists.
    NoOverlap,
    /// Not a range.
    Malformed,
}

/// Reads a `Range` header as Go's file server does: an empty file is always sent whole, and so is one of
/// which more is asked than there is.
pub(super) fn wanted(header: &[u8], size: u64) -> Wanted {
    let parsed =
        std::str::from_utf8(header).ok().and_then(|text| text.trim().strip_prefix("bytes="));
    let Some(list) = parsed else { return Wanted::Malformed };
    let mut pieces = Vec::new();
    let mut missed = false;
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match piece(item, size) {
            None => return Wanted::Malformed,
            Some(None) => missed = true,
            Some(Some(piece)) => pieces.push(piece),
        }
    }
    let total = pieces.iter().fold(0u64, |sum, (_, length)| sum.saturating_add(*length));
    match (pieces.is_empty(), missed) {
        _ if size == 0 || total > size => Wanted::Whole,
        (false, _) => Wanted::Pieces(pieces),
        (true, true) => Wanted::NoOverlap,
        (true, false) => Wanted::Whole,
    }
}

/// One range: `None` if malformed, `Some(None)` if nothing of it exists.
fn piece(item: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = item.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        let length = (!last.is_empty()).then(|| number(last))??.min(size);
        return Some((length > 0).then(|| (size - length, length)));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some((first < size).then(|| (first, last.min(size - 1) - first + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_recorded() {
        let of_11 = |header: &str| wanted(header.as_bytes(), 11);
        let one = |start, length| Wanted::Pieces(vec![(start, length)]);
        assert_eq!(of_11("bytes=2-4"), one(2, 3));
        assert_eq!(of_11("bytes=5-"), one(5, 6));
        assert_eq!(of_11("bytes=-3"), one(8, 3));
        assert_eq!(of_11("bytes=11-"), Wanted::NoOverlap);
        assert_eq!(of_11("bytes=100-"), Wanted::NoOverlap);
        assert_eq!(of_11("bytes=abc"), Wanted::Malformed);
        assert_eq!(of_11("lines=1-2"), Wanted::Malformed);
        assert_eq!(of_11("bytes=4-2"), Wanted::Malformed);
        assert_eq!(of_11("bytes=-"), Wanted::Malformed);
        assert_eq!(of_11("bytes=0-0,2-3"), Wanted::Pieces(vec![(0, 1), (2, 2)]));
        assert_eq!(of_11("bytes=0-,0-"), Wanted::Whole);
        assert_eq!(of_11("bytes=-99"), one(0, 11));
        assert_eq!(of_11("bytes=0-99999999999999999999999"), one(0, 11));
        assert_eq!(wanted(b"bytes=0-", 0), Wanted::Whole);
    }

    proptest::proptest! {
        #[test]
        fn pieces_lie_inside_the_file(text in "bytes=[0-9,\\- ]{0,20}", size in 0u64..50) {
            if let Wanted::Pieces(pieces) = wanted(text.as_bytes(), size) {
                for (start, length) in pieces {
                    proptest::prop_assert!(length > 0 && start + length <= size);
                }
            }
        }
    }
}
