//! Table of verdicts, row by row, and what must hold for any three trees.

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::worktree::found::blob_id;

fn p(name: &str) -> RelPath {
    RelPath::parse(name.as_bytes()).unwrap()
}

/// Three sides written as lists of `path = content`; `*` in front of the content makes it executable,
/// `>` a link, `@` a repository.
#[derive(Default)]
struct Sides {
    contents: RefCell<HashMap<Oid, Vec<u8>>>,
    strangers: Vec<(&'static str, OnDisk)>,
    held: BTreeMap<RelPath, Held>,
}

impl Sides {
    fn entry(&self, text: &str) -> Entry {
        let (mode, text) = match text.as_bytes().first() {
            Some(b'*') => (Mode::Exec, &text[1..]),
            Some(b'>') => (Mode::Link, &text[1..]),
            Some(b'@') => (Mode::Gitlink, &text[1..]),
            _ => (Mode::File, text),
        };
        let id = blob_id(text.as_bytes());
        self.contents.borrow_mut().insert(id, text.as_bytes().to_vec());
        Entry { mode, id }
    }

    fn tree(&self, list: &[(&str, &str)]) -> Tree {
        list.iter().map(|(path, text)| (p(path), self.entry(text))).collect()
    }

    fn plan(&self, trees: [&Tree; 3], policy: Policy) -> MergePlan {
        self.plan_with(trees, Options { policy, allow_mass_delete: false })
    }

    fn plan_with(&self, [base, local, theirs]: [&Tree; 3], options: Options) -> MergePlan {
        let content = |id: &Oid| Ok(self.contents.borrow()[id].clone());
        let disk = |path: &RelPath| {
            let found = self.strangers.iter().find(|(at, _)| *at == path.to_string());
            Ok(found.map_or(OnDisk::Free, |(_, seen)| *seen))
        };
        let plan = plan(
            Inputs { base, local, theirs, held: &self.held, content: &content, disk: &disk },
            options,
        )
        .unwrap();
        for (id, bytes) in &plan.merged {
            assert_eq!(*id, blob_id(bytes));
            self.contents.borrow_mut().insert(*id, bytes.clone());
        }
        plan
    }

    fn text(&self, entry: Option<&Entry>) -> Option<String> {
        let entry = entry?;
        let mark = match entry.mode {
            Mode::File => "",
            Mode::Exec => "*",
            Mode::Link => ">",
            Mode::Gitlink => "@",
        };
        Some(format!("{mark}{}", String::from_utf8_lossy(&self.contents.borrow()[&entry.id])))
    }
}

/// One path's three versions, and what comes of them.
fn row(base: &str, local: &str, theirs: &str) -> Result<Option<String>, &'static str> {
    let sides = Sides::default();
    // A second file, so that a deletion is not the deletion of everything.
    let tree = |text: &str| {
        let mut list = vec![("other", "other")];
        if text != "-" {
            list.push(("f", text));
        }
        sides.tree(&list)
    };
    let trees = [tree(base), tree(local), tree(theirs)];
    let plan = sides.plan([&trees[0], &trees[1], &trees[2]], Policy::KeepBoth);
    match plan.conflicts.as_slice() {
        [] => Ok(sides.text(plan.result.get(&p("f")))),
        [one] => {
            assert_eq!(plan.result, trees[1], "the local version stays");
            assert!(plan.steps.is_empty());
            assert_eq!(
                plan.asides,
                one.theirs.map(|e| (p("f"), e)).into_iter().collect::<Vec<_>>()
            );
            let held = sides.plan([&trees[0], &trees[1], &trees[2]], Policy::Hold);
            assert_eq!((held.asides.len(), held.steps.len(), held.conflicts.len()), (0, 0, 1));
            Err(one.kind.name())
        }
        more => panic!("{more:?}"),
    }
}

fn takes(base: &str, local: &str, theirs: &str, result: &str) {
    let wanted = Some(result).filter(|r| *r != "-").map(str::to_owned);
    assert_eq!(row(base, local, theirs), Ok(wanted), "{base:?} {local:?} {theirs:?}");
}

fn clashes(base: &str, local: &str, theirs: &str, kind: &str) {
    assert_eq!(row(base, local, theirs), Err(kind), "{base:?} {local:?} {theirs:?}");
}

#[test]
fn every_row_for_one_path() {
    // same | same
    takes("a", "a", "a", "a");
    // same | changed, added, deleted, type or mode change
    takes("a", "a", "b", "b");
    takes("-", "-", "b", "b");
    takes("a", "a", "-", "-");
    takes("a", "a", "*a", "*a");
    takes("a", "a", ">x", ">x");
    takes(">x", ">x", "a", "a");
    // changed | same
    takes("a", "b", "a", "b");
    takes("a", "-", "a", "-");
    takes("-", "b", "-", "b");
    // both the same
    takes("a", "b", "b", "b");
    takes("-", "b", "b", "b");
    takes("a", "-", "-", "-");
    // text | text
    takes("1\n2\n3\n4\n5\n", "x\n2\n3\n4\n5\n", "1\n2\n3\n4\ny\n", "x\n2\n3\n4\ny\n");
    clashes("1\n2\n3\n", "1\nx\n3\n", "1\ny\n3\n", "text");
    // binary
    clashes("1\n\0\n3\n", "x\n\0\n3\n", "1\n\0\ny\n", "binary");
    clashes("1\n2\n3\n4\n", "\0", "1\n2\n3\ny\n", "binary");
    // mode only | content only
    takes("a", "*a", "b", "*b");
    takes("a", "b", "*a", "*b");
    takes("*a", "a", "*b", "b");
    takes("a", "*a", "*b", "*b");
    takes("1\n2\n3\n4\n5\n", "*x\n2\n3\n4\n5\n", "1\n2\n3\n4\ny\n", "*x\n2\n3\n4\ny\n");
    // deleted | changed and the reverse
    clashes("a", "-", "b", "deleted_here");
    clashes("a", "b", "-", "deleted_there");
    // added | added
    clashes("-", "a\n", "b\n", "both_added");
    takes("-", "a\nb\n", "a\n", "a\nb\n");
    takes("-", "a\n", "a\nb\n", "a\nb\n");
    takes("-", "a", "*a", "*a");
    clashes("-", "\0a", "\0ab", "both_added");
    // links and types
    clashes(">x", ">y", ">z", "type");
    clashes("-", ">y", ">z", "type");
    clashes("a", ">y", "b", "type");
    clashes("a", "b", ">y", "type");
    takes(">x", ">y", ">y", ">y");
    // repositories inside
    takes("@1", "@1", "@2", "@1");
    takes("@1", "@2", "@3", "@2");
    takes("@1", "@1", "-", "@1");
    takes("-", "-", "@1", "-");
}

#[test]
fn large_files_are_not_merged_by_lines() {
    let big = "line\n".repeat(TEXT_MAX / 5 + 1);
    clashes(&big, &format!("x\n{big}"), &format!("{big}y\n"), "binary");
}

fn kinds(plan: &MergePlan) -> Vec<(String, &'static str)> {
    plan.conflicts.iter().map(|c| (c.path.to_string(), c.kind.name())).collect()
}

fn named(list: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    list.iter().map(|(path, kind)| ((*path).to_owned(), *kind)).collect()
}

#[test]
fn ignored_files_are_never_overwritten() {
    let sides = Sides {
        strangers: vec![
            (".env", OnDisk::Stranger),
            ("out/x", OnDisk::Above),
            ("dir", OnDisk::Below),
        ],
        ..Sides::default()
    };
    let base = sides.tree(&[("dir/f", "f"), ("dir/g", "g"), ("other", "o")]);
    let theirs =
        sides.tree(&[(".env", "KEY"), ("out/x", "x"), ("dir", "a file now"), ("other", "o")]);
    for policy in [Policy::KeepBoth, Policy::Theirs, Policy::Merge] {
        let plan = sides.plan([&base, &base, &theirs], policy);
        assert_eq!(
            kinds(&plan),
            named(&[
                (".env", "untracked"),
                ("dir", "untracked"),
                ("dir/f", "in_the_way"),
                ("dir/g", "in_the_way"),
                ("out/x", "untracked")
            ]),
            "{policy:?}"
        );
        assert_eq!((plan.steps.len(), plan.asides.len()), (0, 3));
        assert_eq!(plan.result, base, "the folder stays");
    }
}

#[test]
fn folders_and_files_in_each_others_way() {
    let sides = Sides::default();
    // Here a folder, there a changed file.
    let base = sides.tree(&[("a", "1"), ("other", "o")]);
    let local = sides.tree(&[("a/x", "mine"), ("other", "o")]);
    let theirs = sides.tree(&[("a", "2"), ("other", "o")]);
    let plan = sides.plan([&base, &local, &theirs], Policy::KeepBoth);
    assert_eq!(kinds(&plan), named(&[("a", "deleted_here")]));
    assert_eq!(plan.asides.len(), 1);
    // Even `theirs` does not remove what the sandbox never saw.
    let plan = sides.plan([&base, &local, &theirs], Policy::Theirs);
    assert_eq!(kinds(&plan), named(&[("a", "in_the_way")]));
    assert_eq!((plan.result, plan.asides.len()), (local, 1));
    // There a folder, here the same file: taken.
    let theirs = sides.tree(&[("a/x", "x"), ("a/y", "y"), ("other", "o")]);
    let plan = sides.plan([&base, &base, &theirs], Policy::Hold);
    assert_eq!((plan.result, plan.conflicts.len()), (theirs.clone(), 0));
    // There a folder, here a changed file: the folder has no place.
    let local = sides.tree(&[("a", "mine"), ("other", "o")]);
    let plan = sides.plan([&base, &local, &theirs], Policy::KeepBoth);
    assert_eq!(
        kinds(&plan),
        named(&[("a", "deleted_there"), ("a/x", "in_the_way"), ("a/y", "in_the_way")])
    );
    assert_eq!(plan.result, local);
    // There a file instead of a folder, here a new file in the folder: the folder stays as it is.
    let base = sides.tree(&[("d/f", "f"), ("d-x", "x"), ("other", "o")]);
    let local = sides.tree(&[("d/f", "f"), ("d/mine", "m"), ("d-x", "x"), ("other", "o")]);
    let theirs = sides.tree(&[("d", "a file"), ("other", "o")]);
    let plan = sides.plan([&base, &local, &theirs], Policy::KeepBoth);
    assert_eq!(kinds(&plan), named(&[("d", "in_the_way"), ("d/f", "in_the_way")]));
    assert_eq!(plan.result, sides.tree(&[("d/f", "f"), ("d/mine", "m"), ("other", "o")]));
    // A local link where the sandbox has a folder is never followed.
    let base = sides.tree(&[("other", "o")]);
    let local = sides.tree(&[("out", ">/etc"), ("other", "o")]);
    let theirs = sides.tree(&[("out/passwd", "x"), ("other", "o")]);
    let plan = sides.plan([&base, &local, &theirs], Policy::Theirs);
    assert_eq!(kinds(&plan), named(&[("out/passwd", "in_the_way")]));
}

#[test]
fn most_of_the_tree_does_not_vanish_unasked() {
    let sides = Sides::default();
    let many: Vec<(String, String)> = (0..40).map(|n| (format!("f{n}"), format!("{n}"))).collect();
    let list: Vec<(&str, &str)> = many.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let base = sides.tree(&list);
    let stopped = |theirs: &Tree| {
        let plan = sides.plan([&base, &base, theirs], Policy::KeepBoth);
        assert_eq!(plan.mass_delete.is_some(), plan.steps.is_empty() && plan.result == base);
        plan.mass_delete
    };
    assert_eq!(stopped(&sides.tree(&list[21..])), Some(MassDelete { deleted: 21, of: 40 }));
    assert_eq!(stopped(&sides.tree(&list[20..])), None);
    assert_eq!(stopped(&Tree::new()), Some(MassDelete { deleted: 40, of: 40 }));
    let moved: Tree = base.iter().map(|(path, e)| (p(&format!("src/{path}")), *e)).collect();
    assert_eq!(stopped(&moved), None, "a move deletes nothing");
    let plan = sides.plan_with(
        [&base, &base, &Tree::new()],
        Options { policy: Policy::Hold, allow_mass_delete: true },
    );
    assert_eq!((plan.mass_delete, plan.result.len()), (None, 0));
    let one = sides.tree(&[("a", "a")]);
    assert!(
        sides.plan([&one, &one, &Tree::new()], Policy::Hold).mass_delete.is_some(),
        "the last file counts"
    );
}

#[test]
fn policies() {
    let sides = Sides::default();
    let base = sides.tree(&[("clean", "1"), ("text", "1\n2\n3\n"), ("gone", "1"), ("bin", "\0")]);
    let local = sides.tree(&[("clean", "1"), ("text", "1\nx\n3\n"), ("bin", "\0l")]);
    let theirs =
        sides.tree(&[("clean", "2"), ("text", "1\ny\n3\n"), ("gone", "2"), ("bin", "\0t")]);
    let of = |policy| sides.plan([&base, &local, &theirs], policy);
    let result = |plan: &MergePlan| -> Vec<_> {
        ["clean", "text", "gone", "bin"]
            .iter()
            .map(|n| sides.text(plan.result.get(&p(n))).unwrap_or("-".into()))
            .collect()
    };

    let hold = of(Policy::Hold);
    assert_eq!(
        (hold.steps.len(), hold.withheld, hold.conflicts.len(), hold.asides.len()),
        (0, 1, 3, 0)
    );
    assert_eq!(hold.result, local);
    let keep = of(Policy::KeepBoth);
    assert_eq!(result(&keep), ["2", "1\nx\n3\n", "-", "\0l"]);
    assert_eq!((keep.conflicts.len(), keep.asides.len()), (3, 3));
    let merge = of(Policy::Merge);
    assert_eq!(
        result(&merge),
        ["2", "1\n<<<<<<< local\nx\n=======\ny\n>>>>>>> sandbox\n3\n", "-", "\0l"]
    );
    assert_eq!((merge.conflicts.len(), merge.asides.len()), (3, 2));
    assert_eq!(merge.conflicts.iter().filter(|c| c.marked).count(), 1);
    let ours = of(Policy::Ours);
    assert_eq!(result(&ours), ["2", "1\nx\n3\n", "-", "\0l"]);
    assert_eq!((ours.conflicts.len(), ours.settled.len(), ours.asides.len()), (0, 3, 3));
    let take = of(Policy::Theirs);
    assert_eq!(result(&take), ["2", "1\ny\n3\n", "2", "\0t"]);
    assert_eq!((take.conflicts.len(), take.settled.len()), (0, 3));
    assert_eq!(take.steps.iter().filter(|s| s.before == local.get(&s.path).copied()).count(), 4);
}

#[test]
fn what_the_review_holds_back_no_policy_takes() {
    let mut sides = Sides::default();
    sides.held.insert(p(".envrc"), Held::Risky("runs".into()));
    sides.held.insert(p("l"), Held::ExternalLink("outside"));
    let base = sides.tree(&[("a", "1")]);
    let theirs = sides.tree(&[("a", "2"), (".envrc", "x"), ("l", ">/etc")]);
    for policy in [Policy::KeepBoth, Policy::Theirs, Policy::Merge] {
        let plan = sides.plan([&base, &base, &theirs], policy);
        assert_eq!(kinds(&plan), named(&[(".envrc", "risky"), ("l", "external_link")]));
        assert_eq!(plan.steps.len(), 1);
    }
    assert!(sides.plan([&base, &base, &theirs], Policy::Ours).conflicts.is_empty());
    assert!(
        sides.plan([&base, &theirs, &theirs], Policy::Hold).conflicts.is_empty(),
        "it is here already"
    );
}

#[test]
fn what_is_held_back_takes_no_folders_place() {
    let mut sides = Sides::default();
    sides.held.insert(p("d"), Held::ExternalLink("outside"));
    let base = sides.tree(&[("d/f", "f"), ("d/sub/g", "g"), ("d-x", "x"), ("other", "o")]);
    let theirs = sides.tree(&[("d", ">/etc"), ("other", "2")]);
    for policy in [Policy::KeepBoth, Policy::Theirs, Policy::Merge, Policy::Ours] {
        let plan = sides.plan([&base, &base, &theirs], policy);
        let told: Vec<_> = plan.conflicts.iter().chain(&plan.settled).collect();
        let told: Vec<_> = told.iter().map(|c| (c.path.to_string(), c.kind.name())).collect();
        let wanted = [("d", "external_link"), ("d/f", "in_the_way"), ("d/sub/g", "in_the_way")];
        assert_eq!(told, named(&wanted), "{policy:?}");
        let result = [("d/f", "f"), ("d/sub/g", "g"), ("other", "2")];
        assert_eq!(plan.result, sides.tree(&result), "{policy:?}");
    }
}

/// Trees without a file below a file.
fn any_tree() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let path =
        prop::sample::select(vec!["a", "a/x", "a/y", "a/x/z", "b", "b/x", "c", "c-d", "c/e", "d"]);
    let text = prop::sample::select(vec![
        "",
        "1\n2\n3\n4\n5\n",
        "x\n2\n3\n4\n5\n",
        "1\n2\n3\n4\ny\n",
        "1\n2\nz\n4\n5\n",
        "\0b",
        "\0c",
        ">t",
        ">u",
        "*1\n2\n3\n4\n5\n",
    ]);
    prop::collection::btree_map(path, text.prop_map(str::to_owned), 0..8).prop_map(|map| {
        let mut list: Vec<(&str, String)> = Vec::new();
        for (path, text) in map {
            if !list.iter().any(|(above, _)| path.starts_with(&format!("{above}/"))) {
                list.push((path, text));
            }
        }
        list
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(vec![
        Policy::Hold,
        Policy::KeepBoth,
        Policy::Merge,
        Policy::Ours,
        Policy::Theirs,
    ])
}

fn well_formed(tree: &Tree) -> bool {
    tree.keys().all(|path| path.ancestors().all(|above| !tree.contains_key(&above)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_disappears_but_by_the_policy(base in any_tree(), local in any_tree(), theirs in any_tree(), policy in policy()) {
        let sides = Sides::default();
        let tree = |list: &Vec<(&str, String)>| sides.tree(&list.iter().map(|(a, b)| (*a, b.as_str())).collect::<Vec<_>>());
        let (base, local, theirs) = (tree(&base), tree(&local), tree(&theirs));
        let plan = sides.plan_with([&base, &local, &theirs], Options { policy, allow_mass_delete: true });
        prop_assert!(well_formed(&plan.result), "{:?}", plan.result);
        // The steps lead from the local tree to the result and to nothing else.
        let mut walked = local.clone();
        for step in &plan.steps {
            prop_assert_eq!(step.before, local.get(&step.path).copied());
            prop_assert_ne!(step.before, step.after);
            match step.after {
                Some(entry) => walked.insert(step.path.clone(), entry),
                None => walked.remove(&step.path),
            };
        }
        prop_assert_eq!(&walked, &plan.result);
        if policy == Policy::Hold && !plan.conflicts.is_empty() {
            prop_assert!(plan.steps.is_empty());
        }
        let listed = |path: &RelPath| plan.conflicts.iter().chain(&plan.settled).any(|c| c.path == *path);
        let lines = |entry: &Entry| -> Vec<Vec<u8>> { sides.contents.borrow()[&entry.id].split(|&b| b == b'\n').map(<[u8]>::to_vec).collect() };
        let paths: HashSet<&RelPath> = base.keys().chain(local.keys()).chain(theirs.keys()).collect();
        for path in paths {
            let [b, l, t] = [&base, &local, &theirs].map(|tree| tree.get(path).copied());
            let now = plan.result.get(path).copied();
            // A change of theirs is there, or told.
            if t != b && t != now && t != l && !listed(path) && plan.withheld == 0 {
                let (Some(now), Some(t), Some(l)) = (now, t, l) else { return Err(TestCaseError::fail(format!("{path}: theirs lost"))) };
                let (merged, base) = (lines(&now), b.map(|b| lines(&b)).unwrap_or_default());
                for line in lines(&t).iter().chain(&lines(&l)) {
                    prop_assert!(base.contains(line) || merged.contains(line), "{}: a line is lost", path);
                }
            }
            // A change of ours stays, unless `theirs` was asked for.
            if l != b && l != now && l != t && policy != Policy::Theirs && !listed(path) {
                let (Some(now), Some(l)) = (now, l) else { return Err(TestCaseError::fail(format!("{path}: ours lost"))) };
                let (merged, base) = (lines(&now), b.map(|b| lines(&b)).unwrap_or_default());
                for line in &lines(&l) {
                    prop_assert!(base.contains(line) || merged.contains(line), "{}: a line is lost", path);
                }
            }
            if matches!(policy, Policy::KeepBoth | Policy::Ours) && listed(path) {
                prop_assert_eq!(now, l, "{}: a conflict stays as it is here", path);
            }
        }
        // What clashes and is not marked is put aside.
        if policy != Policy::Hold {
            let aside: HashSet<_> = plan.asides.iter().cloned().collect();
            let lost = plan.settled.iter().filter(|_| policy == Policy::Ours);
            for c in plan.conflicts.iter().filter(|c| !c.marked).chain(lost) {
                prop_assert!(c.theirs.is_none_or(|t| aside.contains(&(c.path.clone(), t))));
            }
        }
    }

    #[test]
    fn one_side_alone_is_taken_whole(base in any_tree(), other in any_tree()) {
        let sides = Sides::default();
        let tree = |list: &Vec<(&str, String)>| sides.tree(&list.iter().map(|(a, b)| (*a, b.as_str())).collect::<Vec<_>>());
        let (base, other) = (tree(&base), tree(&other));
        let all = Options { policy: Policy::Hold, allow_mass_delete: true };
        let ours = sides.plan_with([&base, &other, &base], all);
        prop_assert_eq!((&ours.result, ours.conflicts.len(), ours.steps.len()), (&other, 0, 0));
        let theirs = sides.plan_with([&base, &base, &other], all);
        prop_assert_eq!((&theirs.result, theirs.conflicts.len()), (&other, 0));
        let both = sides.plan_with([&base, &other, &other], all);
        prop_assert_eq!((&both.result, both.conflicts.len(), both.steps.len()), (&other, 0, 0));
    }

    #[test]
    fn a_merge_without_conflict_is_the_same_from_both_sides(base in any_tree(), a in any_tree(), b in any_tree()) {
        let sides = Sides::default();
        let tree = |list: &Vec<(&str, String)>| sides.tree(&list.iter().map(|(a, b)| (*a, b.as_str())).collect::<Vec<_>>());
        let (base, a, b) = (tree(&base), tree(&a), tree(&b));
        let all = Options { policy: Policy::Hold, allow_mass_delete: true };
        let (one, other) = (sides.plan_with([&base, &a, &b], all), sides.plan_with([&base, &b, &a], all));
        if one.conflicts.is_empty() && other.conflicts.is_empty() {
            prop_assert_eq!(one.result, other.result);
        }
    }
}
