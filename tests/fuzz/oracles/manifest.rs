//! The list of differences: what is accepted says the same when it is written again.

use sandbox_coder::sync::records::manifest;
use sandbox_coder::sync::threats::Claim;
use sandbox_coder::tree::{Entry, Mode};

use super::stream::LIMITS;

const ZERO: &str = "0000000000000000000000000000000000000000";

fn write(claims: &[Claim], letters: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    let side = |e: Option<Entry>| {
        e.map_or(("000000", ZERO.to_owned()), |e| (e.mode.as_git(), e.id.to_string()))
    };
    for (claim, letter) in claims.iter().zip(letters) {
        let ((before, from), (after, to)) = (side(claim.before), side(claim.after));
        list.extend_from_slice(format!(":{before} {after} {from} {to} ").as_bytes());
        list.extend_from_slice(&[&[*letter, 0], &claim.path[..], &[0]].concat());
    }
    list
}

pub fn check(input: &[u8]) {
    let Ok(claims) = manifest(input, &LIMITS) else { return };
    assert!(claims.is_sorted_by(|a, b| a.path < b.path));
    for claim in &claims {
        assert_ne!(claim.before, claim.after);
        assert!(!claim.path.contains(&0));
        assert!(claim.after.is_none_or(|e| e.mode != Mode::Gitlink));
    }
    let lines: Vec<&[u8]> = input.split(|b| *b == 0).step_by(2).filter(|l| !l.is_empty()).collect();
    assert_eq!(lines.len(), claims.len());
    let letters: Vec<u8> = lines.iter().map(|l| l[l.len() - 1]).collect();
    let again = manifest(&write(&claims, &letters), &LIMITS).unwrap();
    assert_eq!(again, claims);
}
