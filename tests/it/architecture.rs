//! Who may import whom. The table is the one of docs/architecture.md.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const LEAVES: &[&str] = &["event", "exit", "rel_path", "report", "secret", "tree", "wire"];

/// Module, and what it may import besides the leaves and itself.
const TABLE: &[(&str, &[&str])] = &[
    ("worktree", &[]),
    ("daytona", &[]),
    ("agent", &[]),
    ("state", &[]),
    ("sync", &["worktree", "daytona"]),
    ("run", &["daytona", "agent"]),
    (
        "flow",
        &[
            "worktree", "daytona", "agent", "state", "sync", "run", "config", "server", "error",
            "jail",
        ],
    ),
    ("server", &["jail"]),
    ("toolbox", &[]),
    ("jail", &[]),
    ("config", &[]),
    ("ui", &[]),
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// The top-level modules that a file names behind `crate::`, its unit tests left out.
fn imports(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
    let mut found = BTreeSet::new();
    for line in code {
        for rest in line.split("crate::").skip(1) {
            let names =
                rest.strip_prefix('{').map_or(vec![rest], |group| group.split(',').collect());
            for name in names {
                let name: String =
                    name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                found.insert(name);
            }
        }
    }
    found
}

#[test]
fn each_module_imports_only_what_its_place_allows() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (module, allowed) in TABLE {
        for file in sources(&src.join(module)) {
            for import in imports(&std::fs::read_to_string(&file).unwrap()) {
                let fine = import == *module
                    || LEAVES.contains(&import.as_str())
                    || allowed.contains(&import.as_str());
                if !fine {
                    wrong.push(format!(
                        "{} imports {import}",
                        file.strip_prefix(&src).unwrap().display()
                    ));
                }
            }
        }
    }
    for leaf in LEAVES {
        let path = src.join(leaf);
        let own = Some(path.with_extension("rs")).filter(|file| file.exists());
        let inner = if path.is_dir() { sources(&path) } else { Vec::new() };
        for file in own.into_iter().chain(inner) {
            for import in imports(&std::fs::read_to_string(&file).unwrap()) {
                if !LEAVES.contains(&import.as_str()) {
                    wrong.push(format!(
                        "leaf {} imports {import}",
                        file.strip_prefix(&src).unwrap().display()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_flow_starts_the_server_and_knows_nothing_else_of_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/flow");
    for file in sources(&src) {
        let text = std::fs::read_to_string(&file).unwrap();
        for part in text.split("crate::server::").skip(1) {
            assert!(
                part.starts_with("daemon"),
                "{}: crate::server::{}",
                file.display(),
                part.lines().next().unwrap()
            );
        }
        for part in text.split("crate::jail::").skip(1) {
            let fine = part.starts_with("probe") || part.starts_with("toolchains");
            assert!(fine, "{}: crate::jail::{}", file.display(), part.lines().next().unwrap());
        }
    }
}
