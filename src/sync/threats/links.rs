//! Where a symbolic link would lead, decided from the trees alone.

use crate::rel_path::RelPath;

/// Longest target a system call takes, in bytes.
const TARGET_MAX: usize = 4095;
/// Links followed for one target before it counts as a loop.
const HOPS_MAX: usize = 40;

/// Where a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// To a place inside the worktree, or nowhere.
    Inside,
    /// Out of the worktree, or to where nobody can say without the disk.
    Outside(&'static str),
    /// Into a repository's own folder.
    DotGit,
    /// It is not a link target at all.
    Broken(&'static str),
}

/// Follows `target` from the folder of `link`, through the other links of the tree (`read` gives a
/// link's target, `None` for anything else).
pub fn leads(link: &RelPath, target: &[u8], read: &dyn Fn(&RelPath) -> Option<Vec<u8>>) -> Leads {
    if target.is_empty() || target.contains(&0) || target.len() > TARGET_MAX {
        return Leads::Broken("the link's target is empty, too long or holds a NUL byte");
    }
    let mut at: Vec<Vec<u8>> = link.components().map(<[u8]>::to_vec).collect();
    at.pop();
    let mut todo: Vec<Vec<u8>> = Vec::new();
    let push = |todo: &mut Vec<Vec<u8>>, target: &[u8]| {
        todo.extend(target.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
    };
    let mut hops = 0;
    if target[0] == b'/' {
        return Leads::Outside("the link's target is absolute");
    }
    push(&mut todo, target);
    while let Some(component) = todo.pop() {
        match component.as_slice() {
            b"" | b"." => continue,
            b".." => {
                if at.pop().is_none() {
                    return Leads::Outside("the link points outside the worktree");
                }
                continue;
            }
            c if c.contains(&b'\\') => {
                return Leads::Outside("the link's target holds a backslash");
            }
            c if super::names::is_dot_git(c) => return Leads::DotGit,
            _ => at.push(component),
        }
        let Ok(here) = RelPath::parse(&at.join(&b'/')) else { return Leads::DotGit };
        if let Some(next) = read(&here) {
            hops += 1;
            if hops > HOPS_MAX {
                return Leads::Outside("the link runs through too many links");
            }
            if next.first() == Some(&b'/') {
                return Leads::Outside(
                    "the link runs through a link that points outside the worktree",
                );
            }
            at.pop();
            push(&mut todo, &next);
        }
    }
    Leads::Inside
}

/// The place a target names, seen from the folder of `link`, if it lies in the worktree. Other links on the
/// way are not followed.
pub fn place(link: &RelPath, target: &[u8]) -> Option<RelPath> {
    let mut at: Vec<&[u8]> = link.components().collect();
    at.pop();
    for component in target.split(|&b| b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(at.pop()?),
            name => at.push(name),
        }
    }
    RelPath::parse(&at.join(&b'/')).ok().filter(|_| !target.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_from_the_folder_of_its_link() {
        let named = |link: &str, target: &str| {
            place(&RelPath::parse(link.as_bytes()).unwrap(), target.as_bytes())
                .map(|at| at.to_string())
        };
        assert_eq!(named("a", "b").as_deref(), Some("b"));
        assert_eq!(named("d/e/a", "../b//./c/").as_deref(), Some("d/b/c"));
        for target in ["/b", "..", "../../b", ".", ""] {
            assert_eq!(named("a", target), None, "{target}");
        }
    }

    fn follow(link: &str, target: &str, others: &[(&str, &str)]) -> Leads {
        leads(&RelPath::parse(link.as_bytes()).unwrap(), target.as_bytes(), &|p| {
            others
                .iter()
                .find(|(at, _)| at.as_bytes() == p.as_bytes())
                .map(|(_, t)| t.as_bytes().to_vec())
        })
    }

    #[test]
    fn a_target_is_followed_from_its_own_folder() {
        for (link, target) in [
            ("a", "b"),
            ("d/a", "../b"),
            ("d/e/a", "../../x/y"),
            ("a", "d/../b"),
            ("a", "./b"),
            ("a", "."),
            ("a", "b//c"),
            ("a", "..x"),
        ] {
            assert_eq!(follow(link, target, &[]), Leads::Inside, "{link} -> {target}");
        }
        for (link, target) in [
            ("a", "/etc"),
            ("a", ".."),
            ("d/a", "../.."),
            ("a", "d/../../b"),
            ("d/a", "../../worktree/d"),
            ("a", "/"),
            ("a", "c:\\x"),
        ] {
            assert!(matches!(follow(link, target, &[]), Leads::Outside(_)), "{link} -> {target}");
        }
    }

    #[test]
    fn other_links_on_the_way_count() {
        let outside = |l, t, o: &[(&str, &str)]| matches!(follow(l, t, o), Leads::Outside(_));
        assert!(outside("x", "y/../f", &[("y", ".")]), "`y/..` is the root's parent");
        assert!(outside("x", "out/passwd", &[("out", "/etc")]));
        assert!(outside("x", "out/passwd", &[("out", "../..")]));
        assert!(outside("x", "y", &[("y", "x"), ("x", "y")]), "a loop");
        assert_eq!(follow("x", "y/..", &[("y", "a/b")]), Leads::Inside);
    }

    #[test]
    fn the_repositorys_folder_is_no_target() {
        assert_eq!(follow("x", ".git/hooks", &[]), Leads::DotGit);
        assert_eq!(follow("d/x", "../.GIT/config", &[]), Leads::DotGit);
        assert_eq!(follow("x", "git~1", &[]), Leads::DotGit);
        assert_eq!(follow("x", "y/config", &[("y", ".git")]), Leads::DotGit);
        assert!(matches!(follow("x", "", &[]), Leads::Broken(_)));
        assert!(matches!(follow("x", "a\0b", &[]), Leads::Broken(_)));
    }
}
