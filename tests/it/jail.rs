//! What a sandbox must not be able to do, tried from inside and checked from outside; and what it must.
#![expect(clippy::unwrap_used, reason = "what fails here fails its test")]
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use sandbox_coder::jail::life;
use sandbox_coder::jail::spec::{Bind, Network};
use sandbox_coder::jail::toolchains::{Caller, discover};
use sandbox_coder::server::backend::Backend;

use crate::support::jail::{Jail, gone, mark, namespaces_work, open_secret, running};

mod attacker;

// --- files

#[tokio::test]
async fn files_of_the_host_are_out_of_reach() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::start().await;
    let secret = open_secret(jail.host_dir());
    let secret = secret.display();
    let state = jail.order.dir.display();
    jail.refuses(&[
        &format!("cat {secret}"),
        &format!("cat ../../../../../../..{secret}"),
        &format!("cat /proc/1/root{secret}"),
        "ls /proc/1/cwd/",
        &format!("ln -s {secret} l && cat l"),
        &format!("ln {secret} h"),
        &format!("ls {state}"),
        "cat /etc/shadow",
        "ls /var/lib/dpkg",
        "touch /usr/x",
        "touch /etc/x",
        "touch /x",
        "touch /opt/x",
        "touch /dev/x",
        "echo x >> /run/sandbox-coder",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo b > /proc/sysrq-trigger",
    ])
    .await;
    assert_eq!(jail.ok("ls /home").await, "daytona");
    assert_eq!(jail.ok("ls /root /sys; echo -n").await, "/root:\n\n/sys:");
    assert!(!Path::new("/usr/x").exists() && !Path::new("/etc/x").exists());
    assert_eq!(std::fs::read_to_string(jail.host_dir().join("secret")).unwrap(), "host secret");
}

#[tokio::test]
async fn home_and_temporary_files_can_be_written_and_stay() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::start().await;
    assert_eq!(
        jail.ok("pwd; echo $HOME; id -u; hostname; id -un").await,
        "/home/daytona\n/home/daytona\n1000\nbox\ndaytona"
    );
    jail.ok(
        "echo kept > f; echo t > /tmp/t; test -f /var/tmp/t; echo r > /run/r; echo s > /dev/shm/s",
    )
    .await;
    assert_eq!(std::fs::read_to_string(jail.home().join("f")).unwrap(), "kept\n");
    jail.backend.stop(&jail.order.dir).await.unwrap();
    assert!(!jail.backend.alive(&jail.order.dir).await.unwrap());
    jail.backend.start(jail.order.clone()).await.unwrap();
    assert_eq!(jail.ok("cat f /tmp/t; ls /run").await, "kept\nt\nsandbox-coder");
}

#[tokio::test]
async fn a_link_left_in_the_home_leads_no_start_out_of_the_sandbox() {
    if !namespaces_work() {
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    open_secret(outside.path());
    let tool = tempfile::tempdir().unwrap();
    open_secret(tool.path());
    let mut jail = Jail::start().await;
    jail.ok(&format!("ln -s {} .local", outside.path().display())).await;
    jail.backend.stop(&jail.order.dir).await.unwrap();
    let bind = Bind { source: tool.path().into(), target: "/home/daytona/.local/made/bin".into() };
    jail.order.toolchains.binds.push(bind);
    // Refused or resolved inside; either way nothing is made outside.
    let _ = jail.backend.start(jail.order.clone()).await;
    assert!(!outside.path().join("made").exists());
}

#[tokio::test]
async fn masked_files_are_empty() {
    if !namespaces_work() {
        return;
    }
    let tools = tempfile::tempdir().unwrap();
    open_secret(tools.path());
    std::fs::create_dir(tools.path().join(".ssh")).unwrap();
    for name in ["ok", ".npmrc", ".ssh/id"] {
        std::fs::write(tools.path().join(name), "content").unwrap();
    }
    let found = discover(&Caller { tool_dirs: vec![tools.path().into()], ..Caller::default() });
    let jail = Jail::start_as(Backend::Namespaces, |order| order.toolchains = found).await;
    let at = tools.path().display();
    assert_eq!(jail.ok(&format!("cat {at}/ok {at}/.npmrc; ls {at}/.ssh")).await, "content");
    jail.refuses(&[&format!("touch {at}/new"), &format!("umount {at}/.npmrc")]).await;
}

// --- processes and privilege

#[tokio::test]
async fn processes_of_the_host_are_out_of_sight() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::start().await;
    let host = std::process::id();
    let mut victim = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    jail.refuses(&[
        &format!("kill -0 {}", victim.id() + 100_000),
        &format!("test -e /proc/{host}/status && grep -q sandbox_coder /proc/{host}/status"),
        "cat /proc/1/environ",
        "cat /proc/2/environ",
        "ls -l /proc/1/fd",
        "ls -l /proc/2/fd",
        "head -c 1 /proc/1/mem",
        "head -c 1 /proc/2/mem",
    ])
    .await;
    // Pid 1 ignores what it has no handler for.
    jail.ok("kill -9 1; kill -TERM 1; true").await;
    assert_eq!(jail.ok("echo alive").await, "alive");
    // Everyone inside was started inside.
    let count: usize = jail.ok("ls /proc | grep -c '^[0-9]'").await.parse().unwrap();
    assert!(count < 12, "{count} processes");
    assert!(victim.try_wait().unwrap().is_none());
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[tokio::test]
async fn commands_inherit_nothing_of_the_server() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::start().await;
    assert_eq!(
        jail.ok("for f in /proc/self/fd/*; do echo ${f##*/}; done | sort -n | head -3 | xargs")
            .await,
        "0 1 2"
    );
    // `ls` itself opens one.
    assert_eq!(jail.ok("ls /proc/self/fd | wc -l").await, "4");
    let names = jail.ok("env -0 | tr '\\0' '\\n' | sed 's/=.*//'").await;
    let mine = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("CARGO"));
    for name in mine {
        assert!(
            !names.lines().any(|inside| inside == name && name != "CARGO_HOME"),
            "{name} leaked"
        );
    }
    assert!(!jail.ok("tr '\\0' ' ' < /proc/1/cmdline").await.contains("spec"));
}

#[tokio::test]
async fn nobody_inside_has_or_gets_privilege() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::start().await;
    let status =
        jail.ok("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\t'").await;
    assert_eq!(
        status,
        "CapInh:0000000000000000\nCapPrm:0000000000000000\nCapEff:0000000000000000\nCapBnd:0000000000000000\n\
         CapAmb:0000000000000000\nNoNewPrivs:1\nSeccomp:2"
    );
    jail.refuses(&[
        "su -c true root",
        "chown 0 .",
        "chgrp 0 .",
        "mknod b b 8 0",
        "mknod c c 1 1",
        "unshare -U true",
        "unshare -m true",
        "mount -t tmpfs none /tmp",
        "umount /proc/sys",
        "chroot / true",
        "hostname other",
        "dmesg",
    ])
    .await;
    jail.ok("cp $(command -v id) own; chmod 4755 own").await;
    assert_eq!(jail.ok("./own -u").await, "1000");
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata(jail.home().join("own")).unwrap().uid();
    assert_ne!(owner, 0, "a file made inside never belongs to root outside");
}

#[tokio::test]
async fn dangerous_system_calls_are_refused() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::with_attacker().await;
    let said = jail.ok(&attacker::command("syscalls")).await;
    let got: Vec<&str> = said.lines().filter(|line| line.starts_with("got ")).collect();
    assert_eq!(got, Vec::<&str>::new(), "{said}");
    assert!(said.contains("tried "), "the attacker did not run: {said}");
    #[cfg(target_arch = "x86_64")]
    {
        let code = jail.run(&attacker::command("int80")).await.code;
        assert!(code == 128 + 31 || code == -1, "32-bit calls ended with {code}, not by SIGSYS");
    }
}

// --- sockets, devices, network

#[tokio::test]
async fn sockets_of_the_host_are_out_of_reach() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::with_attacker().await;
    let name = format!("sandbox-coder-test-{}", jail.order.id);
    let _host = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let said = jail.ok(&attacker::command(&format!("abstract:{name}"))).await;
    // With the host's network it is Landlock that refuses (Linux 6.12 and newer).
    if kernel() >= (6, 12) {
        assert!(said.contains("tried ") && !said.contains("got "), "{said}");
    }
    jail.refuses(&[
        "ls /var/run/docker.sock",
        "ls /run/dbus",
        "ls /run/user",
        "ls /tmp/.X11-unix",
        "ls /run/systemd",
    ])
    .await;
}

fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap(), parts.next().unwrap())
}

#[tokio::test]
async fn there_are_no_devices_but_the_harmless_ones() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::start().await;
    let each = "for d in /dev/* /dev/*/*; do test -c $d -o -b $d && echo $d; done";
    let devices = jail.ok(&format!("{each} | grep -v /dev/pts/ | sort -u | xargs")).await;
    assert_eq!(
        devices,
        "/dev/full /dev/null /dev/ptmx /dev/random /dev/tty /dev/urandom /dev/zero"
    );
    jail.ok("echo x > /dev/null && head -c 4 /dev/urandom | wc -c && test -c /dev/ptmx").await;
}

#[tokio::test]
async fn without_network_only_its_own_loopback_is_there() {
    if !namespaces_work() {
        return;
    }
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let connect = format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'");
    let closed = Jail::start_as(Backend::Namespaces, |order| order.network = Network::None).await;
    closed
        .refuses(&[
            &connect,
            "bash -c 'exec 3<>/dev/tcp/169.254.169.254/80'",
            "bash -c 'exec 3<>/dev/udp/8.8.8.8/53'",
        ])
        .await;
    assert_eq!(closed.ok("tail -n +3 /proc/net/dev | sed 's/:.*//' | xargs").await, "lo");
    // The mode that shares the network does so, and is called by that name.
    let open = Jail::start().await;
    open.ok(&connect).await;
    assert_eq!(open.backend.network(open.order.network).name(), "host");
}

// --- limits

#[tokio::test]
async fn too_many_processes_trouble_nobody_else() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::start_as(Backend::Namespaces, |order| order.limits.processes = 60).await;
    let other = Jail::start().await;
    let mark = mark(3);
    // Not by bash, which waits and tries again for a quarter of a minute.
    let fork = format!("sh -c 'for i in $(seq 200); do sleep {mark} & done' 2>&1; true");
    jail.run(&fork).await;
    assert_eq!(other.ok("echo fine").await, "fine");
    let count = running(&mark).len();
    assert!((1..60).contains(&count), "{count} processes");
    jail.backend.stop(&jail.order.dir).await.unwrap();
    assert!(gone(&mark));
}

#[tokio::test]
async fn memory_backed_directories_are_small() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::start().await;
    jail.refuses(&["head -c 8M /dev/zero > /run/fill", "head -c 600M /dev/zero > /dev/shm/fill"])
        .await;
    jail.ok("rm /run/fill /dev/shm/fill").await;
}

// --- life

#[tokio::test]
async fn stopping_ends_every_process_also_daemons() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::start().await;
    let mark = mark(4);
    jail.ok(&format!("setsid sh -c 'sleep {mark} & sleep {mark} &' </dev/null >/dev/null 2>&1; (setsid sleep {mark} >/dev/null 2>&1 &)")).await;
    assert!(!running(&mark).is_empty());
    jail.backend.stop(&jail.order.dir).await.unwrap();
    assert_eq!(running(&mark), Vec::<u32>::new());
    // Stopping again is fine.
    jail.backend.stop(&jail.order.dir).await.unwrap();
}

#[tokio::test]
async fn killing_the_monitor_kills_the_sandbox() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::start().await;
    let mark = mark(5);
    jail.ok(&format!("setsid sleep {mark} >/dev/null 2>&1 &")).await;
    let holder = life::find(&jail.order.dir).unwrap().unwrap();
    assert_eq!(holder.monitor.pid, jail.started.monitor);
    kill(holder.monitor.pid);
    assert!(gone(&mark));
    assert!(jail.ends());
    // And it can be started again.
    jail.backend.start(jail.order.clone()).await.unwrap();
    assert_eq!(jail.ok("echo back").await, "back");
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_sandbox_is_found_again_and_cannot_be_started_twice() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::start().await;
    let found = jail.backend.adopt(&jail.order.dir).await.unwrap().unwrap();
    assert_eq!(found, jail.started);
    let twice = jail.backend.start(jail.order.clone()).await.unwrap_err();
    assert!(twice.to_string().contains("lock"), "{twice}");
    assert_eq!(jail.ok("echo still here").await, "still here");
}

#[tokio::test]
async fn the_end_of_the_toolbox_is_the_end_of_the_sandbox() {
    if !namespaces_work() {
        return;
    }
    let jail = Jail::start().await;
    let mark = mark(6);
    jail.ok(&format!("(setsid sh -c 'sleep 0.2; kill -9 2; sleep {mark}' >/dev/null 2>&1 &)"))
        .await;
    assert!(gone(&mark));
    assert!(jail.ends());
}

#[tokio::test]
async fn sandboxes_see_nothing_of_each_other() {
    if !namespaces_work() {
        return;
    }
    let (one, two) = (Jail::start().await, Jail::start().await);
    one.ok("echo private > /tmp/mine; echo private > /dev/shm/mine").await;
    let mark = mark(7);
    one.ok(&format!("setsid sleep {mark} >/dev/null 2>&1 &")).await;
    two.refuses(&[
        "cat /tmp/mine",
        "cat /dev/shm/mine",
        &format!(
            "cat /proc/*/cmdline | tr '\\0' ' ' | grep -q 'sleep [{}]{}'",
            &mark[..1],
            &mark[1..]
        ),
    ])
    .await;
}

// --- without isolation

#[tokio::test]
async fn without_isolation_the_same_toolbox_runs_and_stops_with_all_it_started() {
    let jail = Jail::start_as(Backend::None, |_| {}).await;
    let home = jail.home();
    assert_eq!(jail.ok("pwd; echo $HOME").await, format!("{0}\n{0}", home.display()));
    let mark = mark(8);
    jail.ok(&format!(
        "setsid sh -c 'setsid sleep {mark} & sleep {mark} &' </dev/null >/dev/null 2>&1"
    ))
    .await;
    assert!(!running(&mark).is_empty());
    assert_eq!(jail.backend.adopt(&jail.order.dir).await.unwrap().unwrap(), jail.started);
    jail.backend.stop(&jail.order.dir).await.unwrap();
    assert_eq!(running(&mark), Vec::<u32>::new());
    assert!(!jail.backend.alive(&jail.order.dir).await.unwrap());
}

// --- the host's tools

async fn with_tools() -> Jail {
    let found = discover(&Caller::from_process(Vec::new()));
    Jail::start_as(Backend::Namespaces, |order| order.toolchains = found).await
}

/// Whether the caller has the tool; the tests of a project in a language need its tools.
fn has(tool: &str) -> bool {
    let found = std::process::Command::new(tool)
        .arg("--version")
        .output()
        .is_ok_and(|out| out.status.success());
    if !found {
        println!("skipped: there is no `{tool}` here");
    }
    found
}

#[tokio::test]
async fn cargo_test_works_inside() {
    if !namespaces_work() || !has("cargo") {
        return;
    }
    let jail = with_tools().await;
    let manifest = "[package]\nname = \"p\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
    let test = "#[test]\nfn adds() { assert_eq!(1 + 1, 2); }\n";
    jail.put("p", &[("Cargo.toml", manifest), ("src/lib.rs", test)]).await;
    let said = jail.ok("cd p && cargo test --offline 2>&1").await;
    assert!(said.contains("1 passed"), "{said}");
    jail.refuses(&["cat $(dirname $(command -v cargo))/../credentials.toml"]).await;
}

#[tokio::test]
async fn npm_test_works_inside() {
    if !namespaces_work() || !has("npm") {
        return;
    }
    let jail = with_tools().await;
    let manifest = r#"{"name":"p","version":"1.0.0","scripts":{"test":"node t.js"}}"#;
    jail.put(
        "p",
        &[
            ("package.json", manifest),
            ("t.js", "require('assert').equal(1 + 1, 2); console.log('fine')"),
        ],
    )
    .await;
    let said = jail.ok("cd p && npm test 2>&1").await;
    assert!(said.contains("fine"), "{said}");
    assert_eq!(jail.ok("npm config get prefix").await, "/home/daytona/.npm-global");
}

#[tokio::test]
async fn pytest_works_inside() {
    if !namespaces_work() || !has("pytest") {
        return;
    }
    let jail = with_tools().await;
    jail.put("p", &[("test_p.py", "def test_adds():\n    assert 1 + 1 == 2\n")]).await;
    let said = jail.ok("cd p && pytest 2>&1").await;
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn go_test_works_inside() {
    if !namespaces_work()
        || !std::process::Command::new("go")
            .arg("version")
            .output()
            .is_ok_and(|o| o.status.success())
    {
        return;
    }
    let jail = with_tools().await;
    let test = "package p\nimport \"testing\"\nfunc TestAdds(t *testing.T) { if 1+1 != 2 { t.Fatal() } }\n";
    jail.put("p", &[("go.mod", "module p\n\ngo 1.20\n"), ("p_test.go", test)]).await;
    let said =
        jail.ok("cd p && GOTOOLCHAIN=local GOFLAGS=-mod=mod go test -vet=off ./... 2>&1").await;
    assert!(said.contains("ok"), "{said}");
}
