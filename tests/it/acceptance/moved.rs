//! A repository that is moved while its sandbox has work.

use std::path::Path;

use crate::support::context::{Ran, TestContext, ran};

fn at(cx: &TestContext, place: &Path, args: &[&str]) -> Ran {
    ran(cx.command(args).current_dir(place))
}

fn warnings(ran: &Ran) -> Vec<String> {
    let moved = |w: &serde_json::Value| w["code"] == "worktree.moved";
    let told = ran.of_type("warning").into_iter().filter(moved);
    told.map(|w| format!("{} {}", w["message"], w["hint"])).collect()
}

#[test]
fn the_sandbox_of_the_old_place_is_named_until_its_work_is_home_or_given_up() {
    let cx = TestContext::new(&[("a", "1\n")]);
    let (old, new) = (cx.root().join("project"), cx.root().join("elsewhere"));
    let script = ["run", "--json", "--agent-command", "echo 2 >a", "do it"];
    let left = at(&cx, &old, &[&script[..], &["--detach"]].concat()).exits(0);
    let name = left.of_type("sandbox")[0]["name"].as_str().unwrap().to_owned();
    assert!(warnings(&left).is_empty());

    std::fs::rename(&old, &new).unwrap();
    let status = at(&cx, &new, &["status"]).exits(0).stdout;
    assert!(status.contains(old.to_str().unwrap()) && status.contains(&name), "{status}");
    let told = warnings(&at(&cx, &new, &["pull", "--json"]).exits(69));
    assert!(told[0].contains(&name) && told[0].contains("sandbox-coder pull"), "{told:?}");

    std::fs::rename(&new, &old).unwrap();
    let back = at(&cx, &old, &["attach", "--json"]).exits(0);
    assert!(warnings(&back).is_empty(), "{}", back.stdout);
    assert_eq!(std::fs::read_to_string(old.join("a")).unwrap(), "2\n");

    std::fs::rename(&old, &new).unwrap();
    let other = at(&cx, &new, &script).exits(0);
    assert!(warnings(&other)[0].contains("is left behind"), "{}", other.stdout);
    at(&cx, &new, &["rm", "--force", &name]).exits(0);
    assert!(warnings(&at(&cx, &new, &script).exits(0)).is_empty());
    at(&cx, &new, &["rm", "--force"]).exits(0);
}
