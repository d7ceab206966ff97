//! A result made to fit, with lies put into it: without any it is accepted, with one it is refused.

use sandbox_coder::tree::{Mode, Oid};

use super::bytes::Bytes;
use super::stream::{LIMITS, blob_id, gzip, read};

const ZERO: &str = "0000000000000000000000000000000000000000";
/// The largest content made: repeated bytes, so that small inputs reach the limits.
const LARGEST: usize = 160 << 10;

struct Made {
    list: Vec<u8>,
    contents: Vec<(Oid, Vec<u8>)>,
    lies: bool,
}

fn make(bytes: &mut Bytes<'_>) -> Made {
    let mut made = Made { list: Vec::new(), contents: Vec::new(), lies: false };
    let (mut last, mut count): (Option<Vec<u8>>, usize) = (None, 0);
    while !bytes.is_empty() && count < 80 {
        let (kind, name) = (bytes.byte(), bytes.run().to_vec());
        let cut = name.contains(&0);
        made.lies |= cut || last.as_ref().is_some_and(|l| *l >= name);
        let content = content(bytes);
        let id = blob_id(&content);
        let mode = [Mode::File, Mode::Exec, Mode::Link, Mode::Gitlink][usize::from(kind & 3)];
        let (before, letter) = match kind >> 2 & 3 {
            0 => (format!("000000 {} {ZERO} {id}", mode.as_git()), 'A'),
            1 => (format!("100644 {} {} {id}", mode.as_git(), "1".repeat(40)), 'M'),
            2 => (format!("120000 {} {} {id}", mode.as_git(), "2".repeat(40)), 'T'),
            _ => (format!("100644 000000 {} {ZERO}", "3".repeat(40)), 'D'),
        };
        made.lies |= letter != 'D' && mode == Mode::Gitlink;
        made.list.extend_from_slice(format!(":{before} {letter}\0").as_bytes());
        made.list.extend_from_slice(&name);
        made.list.push(0);
        if letter != 'D' && !made.contents.iter().any(|(known, _)| *known == id) {
            made.contents.push((id, content));
        }
        last = Some(name);
        count += 1;
    }
    let sizes: Vec<usize> = made.contents.iter().map(|(_, c)| c.len()).collect();
    made.lies |= count > LIMITS.paths
        || sizes.iter().any(|s| *s as u64 > LIMITS.one)
        || sizes.iter().sum::<usize>() as u64 > LIMITS.total;
    made
}

fn content(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let (pattern, times) = (bytes.run(), 1usize << bytes.below(16));
    pattern.iter().copied().cycle().take((pattern.len() * times).min(LARGEST)).collect()
}

pub fn check(input: &[u8]) {
    let mut bytes = Bytes(input);
    let (lie, at, to) = (bytes.byte(), usize::from(bytes.byte()), bytes.byte());
    let mut made = make(&mut bytes);
    let base = Oid::EMPTY_TREE;
    if made.contents.is_empty() && (2..9).contains(&lie) {
        return;
    }
    let some = at % made.contents.len().max(1);
    let mut announced = made.list.len();
    match lie {
        0 | 1 => {}
        2 => drop(made.contents.remove(some)),
        3 => made.contents.push(made.contents[some].clone()),
        4 => made.contents.push((blob_id(b"nobody asked"), b"nobody asked".to_vec())),
        5 => made.contents[some].1.push(to),
        6 => drop(made.contents[some].1.pop()),
        7 => made.contents[some].0.0[at % 20] ^= to | 1,
        8 => made.contents[some].1.insert(0, to),
        9 => announced += 1 + at,
        10 => announced = announced.saturating_sub(1 + at),
        _ => return,
    }
    // An empty content has no byte to take away, an empty list none to leave out.
    made.lies |= lie > 1 && !(lie == 6 || lie == 10 && made.list.is_empty());
    let mut plain = format!("SBXOUT1 {base} {base} {announced}\0").into_bytes();
    plain.extend_from_slice(&made.list);
    for (id, content) in &made.contents {
        plain.extend_from_slice(format!("{id} blob {}\n", content.len()).as_bytes());
        plain.extend_from_slice(content);
        plain.push(b'\n');
    }
    let result = read(&gzip(&plain), base);
    if lie == 6 && !made.lies {
        return;
    }
    match result {
        Ok(_) => assert!(!made.lies, "a lie was believed"),
        Err(refused) => assert!(made.lies, "a true result was refused: {refused}"),
    }
}
