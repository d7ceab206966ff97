//! What a sandbox without git sends: a list and contents as they come, or a true answer with lies put into it.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandbox_coder::rel_path::RelPath;
use sandbox_coder::sync::plain::reading::{self, Content, Contents, Listing, Stat};
use sandbox_coder::sync::threats::Claim;
use sandbox_coder::tree::{Entry, Mode, Oid, Tree};

use super::bytes::Bytes;
use super::stream::{LIMITS, Stored, blob_id, gzip};

/// The largest content made: repeated bytes, so that small inputs reach the limits.
const LARGEST: usize = 160 << 10;

pub fn check(input: &[u8]) {
    let mut bytes = Bytes(input);
    match bytes.byte() {
        0 => as_it_comes(&mut bytes),
        lie => made(lie, &mut bytes),
    }
}

fn line(sign: u8, stat: &Stat, name: &[u8]) -> Vec<u8> {
    let bits = match stat.mode {
        Mode::Link => "a1ff",
        Mode::Exec => "81ed",
        Mode::File | Mode::Gitlink => "81a4",
    };
    let mut line = vec![sign];
    line.extend_from_slice(format!("{bits}:{}:1:2:3 ./", stat.size).as_bytes());
    for byte in name {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            byte => line.push(*byte),
        }
    }
    line.push(b'\n');
    line
}

fn write(listing: &Listing) -> Vec<u8> {
    let old = Stat { mode: Mode::File, size: 0 };
    let gone = listing.gone.iter().map(|name| line(b'-', &old, name));
    let now = listing.now.iter().map(|(name, stat)| line(b'+', stat, name));
    gone.chain(now).flatten().collect()
}

fn as_it_comes(bytes: &mut Bytes<'_>) {
    let length = usize::from(bytes.byte()) << 8 | usize::from(bytes.byte());
    let (list, answer) = bytes.0.split_at(length.min(bytes.0.len()));
    let Ok(listing) = reading::listing(list, &LIMITS) else { return };
    let all = || listing.now.keys().chain(&listing.gone).chain(&listing.repositories);
    assert!(all().all(|name| !name.contains(&0)));
    assert!(listing.gone.iter().all(|name| !listing.now.contains_key(name)));
    assert!(listing.now.values().all(|stat| stat.mode != Mode::Gitlink));
    let again = write(&listing);
    // Sizes and times are written out in full: what was just small enough may not be any more.
    if again.len() as u64 <= LIMITS.manifest {
        let again = reading::listing(&again[..], &LIMITS).unwrap();
        assert_eq!((&again.now, &again.gone), (&listing.now, &listing.gone));
    }
    let packed = gzip(answer);
    let mut stored = Stored::default();
    let asked = listing.now.len();
    let mut contents = Contents::new(0);
    let Ok(read) = contents.read(&packed[..], packed.len() as u64, asked, &LIMITS, &mut stored)
    else {
        return;
    };
    assert_eq!(read, plainly(answer), "the answer says something else");
    let whole: Vec<Oid> = read.iter().filter_map(id).collect();
    assert_eq!(whole, stored.0.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    assert!(stored.0.iter().all(|(_, size)| *size <= LIMITS.one));
    assert!(stored.0.iter().map(|(_, size)| size).sum::<u64>() <= contents.size());
    assert!(contents.size() <= LIMITS.total);
    // Every second name was there before, as something else or as what it is now.
    let entries = known(&listing, &read);
    let odd = listing.now.keys().chain(&listing.gone).step_by(2);
    let before = odd.enumerate().filter_map(|(n, name)| {
        let old = Entry { mode: Mode::File, id: blob_id(name) };
        let entry = entries.get(name).copied().filter(|_| n % 2 == 0).unwrap_or(old);
        Some((RelPath::parse(name).ok()?, entry))
    });
    let base: Tree = before.collect();
    judge(&base, &entries, &listing.gone);
}

fn id(content: &Content) -> Option<Oid> {
    match content {
        Content::Whole { id, .. } => Some(*id),
        Content::Gone | Content::Unreadable => None,
    }
}

fn known(listing: &Listing, read: &[Content]) -> BTreeMap<Vec<u8>, Entry> {
    let each = listing.now.iter().zip(read);
    let entry = |(name, content): ((&Vec<u8>, &Stat), &Content)| match *content {
        Content::Whole { link, id } => {
            Some((name.0.clone(), Entry { mode: reading::mode(link, Some(name.1)), id }))
        }
        Content::Gone | Content::Unreadable => None,
    };
    each.filter_map(entry).collect()
}

/// The same answer, read once more without a care for limits.
fn plainly(answer: &[u8]) -> Vec<Content> {
    let mut read = Vec::new();
    let mut lines = answer.split(|b| *b == b'\n');
    while let Some([kind]) = lines.next() {
        let own: Vec<&[u8]> = lines.by_ref().take_while(|line| *line != b".").collect();
        let parts = own.iter().filter(|line| **line != b"!");
        let bytes: Vec<u8> = parts.flat_map(|line| STANDARD.decode(line).unwrap()).collect();
        read.push(match kind {
            b'-' => Content::Gone,
            _ if own.contains(&&b"!"[..]) => Content::Unreadable,
            kind => Content::Whole { link: *kind == b'l', id: blob_id(&bytes) },
        });
    }
    read
}

/// Whoever takes the claims finds each name once and in order, and by them the tree there is.
fn judge(base: &Tree, known: &BTreeMap<Vec<u8>, Entry>, gone: &BTreeSet<Vec<u8>>) -> Vec<Claim> {
    let claims = reading::claims(base, known.clone(), gone.clone());
    assert!(claims.is_sorted_by(|a, b| a.path < b.path));
    let mut tree = base.clone();
    for claim in &claims {
        assert_ne!(claim.before, claim.after);
        assert!(claim.after.is_none_or(|entry| entry.mode != Mode::Gitlink));
        let Ok(path) = RelPath::parse(&claim.path) else {
            assert_eq!(claim.before, None);
            continue;
        };
        let before = match claim.after {
            Some(after) => tree.insert(path, after),
            None => tree.remove(&path),
        };
        assert_eq!(before, claim.before);
    }
    let mut wanted = base.clone();
    for name in gone {
        RelPath::parse(name).ok().and_then(|path| wanted.remove(&path));
    }
    let named = |(name, entry): (&Vec<u8>, &Entry)| Some((RelPath::parse(name).ok()?, *entry));
    wanted.extend(known.iter().filter_map(named));
    // What was below a path that is a file now is gone with its folder.
    let covered = |path: &RelPath| {
        !known.contains_key(path.as_bytes())
            && path.ancestors().any(|above| known.contains_key(above.as_bytes()))
    };
    wanted.retain(|path, _| !covered(path));
    assert_eq!(tree, wanted);
    claims
}

/// Files and links by their names; names that are none, and such as lie one below the other, are left out.
fn files(bytes: &mut Bytes<'_>) -> BTreeMap<RelPath, (Mode, Vec<u8>)> {
    let mut files = BTreeMap::new();
    for _ in 0..bytes.below(12) {
        let (mode, name) = ([Mode::File, Mode::Exec, Mode::Link][bytes.below(3)], bytes.run());
        let (pattern, times) = (bytes.run(), 1usize << bytes.below(16));
        let most = (pattern.len() * times).min(LARGEST);
        let content: Vec<u8> = pattern.iter().copied().cycle().take(most).collect();
        if let Ok(path) = RelPath::parse(name) {
            files.insert(path, (mode, content));
        }
    }
    files
}

fn answer(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut text = vec![kind, b'\n'];
    for part in content.chunks(57) {
        text.extend_from_slice(STANDARD.encode(part).as_bytes());
        text.push(b'\n');
    }
    text.extend_from_slice(b".\n");
    text
}

fn made(lie: u8, bytes: &mut Bytes<'_>) {
    let (at, to) = (usize::from(bytes.byte()), bytes.byte());
    let (before, now) = (files(bytes), files(bytes));
    let entry = |(mode, content): &(Mode, Vec<u8>)| Entry { mode: *mode, id: blob_id(content) };
    let base: Tree = before.iter().map(|(path, file)| (path.clone(), entry(file))).collect();
    let mut listing = Listing::default();
    let name = |path: &RelPath| path.as_bytes().to_vec();
    for (path, (mode, content)) in now.iter().filter(|(path, _)| before.get(path) != now.get(path))
    {
        listing.now.insert(name(path), Stat { mode: *mode, size: content.len() as u64 });
    }
    listing.gone.extend(before.keys().filter(|path| !now.contains_key(path)).map(name));
    let mut list = write(&listing);
    let sent: Vec<&(Mode, Vec<u8>)> = now
        .iter()
        .filter(|(path, _)| listing.now.contains_key(path.as_bytes()))
        .map(|(_, file)| file)
        .collect();
    let letter = |mode: Mode| if mode == Mode::Link { b'l' } else { b'f' };
    let mut answers: Vec<Vec<u8>> =
        sent.iter().map(|(mode, content)| answer(letter(*mode), content)).collect();
    let some = at % answers.len().max(1);
    let mut lies = !(1..=2).contains(&lie);
    match lie {
        1 | 2 => {}
        3 if !list.is_empty() => drop(list.pop()),
        4 if !list.is_empty() => list[0] = if b"+-=".contains(&to) { b'?' } else { to },
        5 => list.extend_from_slice(b"+41ed:1:1:2:3 ./folder\n"),
        6 => list.extend_from_slice(b"+81a4:1:1:2:3 ./x\0y\n"),
        7 if !answers.is_empty() => drop(answers.remove(some)),
        8 => answers.push(answer(b'f', b"nobody asked")),
        9 if !answers.is_empty() => drop(answers[some].pop()),
        10 if !answers.is_empty() => {
            answers[some][0] = if b"fl-".contains(&to) { b'x' } else { to }
        }
        11 if !answers.is_empty() => drop(answers[some].splice(2..2, *b"?\n")),
        _ => return,
    }
    let sizes: Vec<u64> = sent.iter().map(|(_, content)| content.len() as u64).collect();
    lies |= sizes.iter().any(|size| *size > LIMITS.one);
    lies |= sizes.iter().sum::<u64>() > LIMITS.total;
    let read = reading::listing(&list[..], &LIMITS).and_then(|read| {
        let packed = gzip(&answers.concat());
        let (mut contents, mut sink) = (Contents::new(0), Stored::default());
        let asked = read.now.len();
        let contents =
            contents.read(&packed[..], packed.len() as u64, asked, &LIMITS, &mut sink)?;
        Ok((read, contents))
    });
    match read {
        Err(refused) => assert!(lies, "a true answer was refused: {refused}"),
        Ok((read, contents)) => {
            assert!(!lies, "a lie was believed");
            let after: Tree = now.iter().map(|(path, file)| (path.clone(), entry(file))).collect();
            let claims = judge(&base, &known(&read, &contents), &read.gone);
            let names: BTreeSet<&[u8]> = claims.iter().map(|claim| &claim.path[..]).collect();
            let all: BTreeSet<&RelPath> = base.keys().chain(after.keys()).collect();
            let differ = all.into_iter().filter(|path| base.get(path) != after.get(path));
            assert_eq!(names, differ.map(RelPath::as_bytes).collect());
        }
    }
}
