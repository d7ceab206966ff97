//! The view over a real toolbox, through a proxy that keeps breaking.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sandbox_coder::run::outcome::Stop;
use sandbox_coder::run::start::Started;
use sandbox_coder::run::view::{Ahead, Seen, View, ViewOptions, follow, follow_on};
use sandbox_coder::run::{Offsets, list, stop};
use sha2::{Digest as _, Sha256};

use crate::support::faulty_proxy::{Fault, FaultyProxy, Seeded};
use crate::support::followed::{Place, assert_whole, follow_all, start, take_all};

const TALK: &str = "i=0; while [ $i -lt 400 ]; do echo \"line $i of many \u{e4} \t\\001GO\"; \
    [ $((i % 10)) != 0 ] || { echo problem $i >&2; sleep 0.02; }; i=$((i+1)); done; exit 3";

#[tokio::test(flavor = "multi_thread")]
async fn a_calm_view_is_whole_and_leaves_no_terminal() {
    let place = Place::new().await;
    let toolbox = place.toolbox(place.addr).await;
    let spec = place.spec(TALK);
    let before = toolbox.client().requests();
    assert_eq!(start(&toolbox, &spec).await, Started::Now);
    assert_eq!(toolbox.client().requests() - before, 1, "a start is one round trip");
    let followed = follow_all(&toolbox, &spec.run, ViewOptions::default()).await;
    assert_whole(&followed, &spec.run, 3);
    assert_eq!(followed.losses, 0);
    assert_eq!(toolbox.client().requests() - before, 3, "start, terminal, its deletion");
    assert!(toolbox.pty_list().await.unwrap().sessions.is_empty());
    let runs_dir = format!("{}/.sandbox-coder/runs", place.home.path().display());
    let runs = list(&toolbox, &runs_dir).await.unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].id.as_str(), runs[0].state.exit), (spec.run.id.as_str(), Some(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_opened_ahead_and_closed_whether_it_was_used_or_not() {
    let place = Place::new().await;
    let toolbox = place.toolbox(place.addr).await;
    let spec = place.spec(TALK);
    let before = toolbox.client().requests();
    let ahead = Ahead::open(&toolbox);
    assert_eq!(start(&toolbox, &spec).await, Started::Now);
    let options = ViewOptions::default();
    let view = follow_on(Some(ahead), &toolbox, &spec.run, Offsets::default(), options);
    let followed = take_all(view).await;
    assert_whole(&followed, &spec.run, 3);
    assert_eq!(followed.losses, 0);
    assert_eq!(toolbox.client().requests() - before, 3, "start, terminal, its deletion");
    let unused = Ahead::open(&toolbox);
    while toolbox.pty_list().await.unwrap().sessions.is_empty() {}
    unused.close().await;
    assert!(toolbox.pty_list().await.unwrap().sessions.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_is_lost_or_doubled_however_the_view_is_cut() {
    let place = Place::new().await;
    let dice = Arc::new(Mutex::new(Seeded::new(7)));
    let proxy = FaultyProxy::start(place.addr, move |name, _| {
        let mut dice = dice.lock().unwrap();
        if name.contains("/pty/create-connect") {
            return match dice.below(7) {
                0 | 4 => Fault::DropFrame(dice.below(30)),
                1 | 5 => {
                    Fault::Close(dice.below(30), [1000, 1001, 1008, 1011, 1012][dice.below(5)])
                }
                2 => Fault::CutAnswer(dice.below(9000)),
                3 => Fault::Answer("404 Not Found", "", "{}"),
                _ => Fault::None,
            };
        }
        match dice.below(8) {
            0 => Fault::CutAnswer(dice.below(3000)),
            1 => Fault::Answer("502 Bad Gateway", "", ""),
            2 => Fault::DropAnswer,
            _ => Fault::None,
        }
    })
    .await;
    // A few rounds; the soak goes on.
    const ROUNDS: usize = 6;
    let mut losses = 0;
    for round in 0..ROUNDS {
        let toolbox = place.toolbox(proxy.addr).await;
        let spec = place.spec(TALK);
        start(&toolbox, &spec).await;
        let options = ViewOptions { fresh: round % 2 == 0, ..ViewOptions::default() };
        let followed = follow_all(&toolbox, &spec.run, options).await;
        assert_whole(&followed, &spec.run, 3);
        losses += followed.losses;
    }
    println!("{ROUNDS} runs, {losses} losses of the view, {} requests", proxy.requests().len());
    assert!(losses > 0, "the proxy was too kind");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_terminal_the_record_is_read_by_ranges() {
    let place = Place::new().await;
    let proxy = FaultyProxy::start(place.addr, |name, _| match name.contains("/pty") {
        true => Fault::Answer("500 Internal Server Error", "", ""),
        false => Fault::None,
    })
    .await;
    let toolbox = place.toolbox(proxy.addr).await;
    let spec = place.spec(TALK);
    start(&toolbox, &spec).await;
    let followed = follow_all(&toolbox, &spec.run, ViewOptions::default()).await;
    assert_whole(&followed, &spec.run, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_a_flood_loses_nothing() {
    let place = Place::new().await;
    let toolbox = place.toolbox(place.addr).await;
    let spec = place.spec("head -c 6000000 /dev/urandom; yes abcdefghij | head -n 300000");
    start(&toolbox, &spec).await;
    let mut view = follow(&toolbox, &spec.run, Offsets::default(), ViewOptions::default());
    tokio::time::sleep(Duration::from_millis(800)).await;
    let mut hash = Sha256::new();
    let (mut at, mut exit) = (0, None);
    while let Some(seen) = view.next().await {
        match seen.unwrap() {
            Seen::Bytes { offset, bytes, .. } => {
                assert_eq!(offset, at);
                at += bytes.len() as u64;
                hash.update(&bytes);
            }
            Seen::End { exit: status, .. } => exit = status,
            Seen::Trouble { .. } => {}
            Seen::Gap { .. } => panic!("nothing was given up"),
        }
    }
    view.close().await;
    let record = std::fs::read(format!("{}/out", spec.run.dir)).unwrap();
    assert_eq!((exit, at), (Some(0), record.len() as u64));
    assert!(hash.finalize() == Sha256::digest(&record));
    assert!(toolbox.pty_list().await.unwrap().sessions.is_empty());
}

/// Where the file system can give up the middle of a file.
fn punches(dir: &std::path::Path) -> bool {
    let probe = dir.join("probe");
    std::fs::write(&probe, "x").unwrap();
    let mut punch = std::process::Command::new("fallocate");
    punch.args(["-p", "-o", "0", "-l", "1"]).arg(&probe).output().is_ok_and(|o| o.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_end_keeps_its_beginning_and_its_end_and_says_what_is_missing() {
    let place = Place::new().await;
    if !punches(place.home.path()) {
        eprintln!("skipped: no holes in files here");
        return;
    }
    let toolbox = place.toolbox(place.addr).await;
    const LOG: u64 = 8 << 20;
    // Every line names its own offset. It goes on until the record has given up enough.
    let text = "seq -f '%011.0f' 0 12 60000000 | head -c 36000000; \
        while [ \"$(stat -c %b \"$RUN_DIR/out\")\" -gt $((2 * LOG / 512)) ]; do sleep 0.1; done; \
        echo the-end; exit 5";
    let mut spec = place.spec(text);
    spec.env = vec![("RUN_DIR".into(), spec.run.dir.clone()), ("LOG".into(), LOG.to_string())];
    spec.limits.log = Some(LOG);
    start(&toolbox, &spec).await;
    let mut written: Vec<u8> =
        (0..3_000_000).flat_map(|n| format!("{:011}\n", n * 12).into_bytes()).collect();
    written.extend_from_slice(b"the-end\n");
    // One looks on from the start, one comes when all is over, by ranges and by the terminal.
    let early = follow(&toolbox, &spec.run, Offsets::default(), ViewOptions::default());
    let (exit, gaps) = whole_but_gaps(early, &written).await;
    println!("looking on: {gaps:?}");
    assert_eq!(exit, Some(5));
    let kept = std::fs::metadata(format!("{}/out", spec.run.dir)).unwrap();
    let on_disk = std::os::unix::fs::MetadataExt::blocks(&kept) * 512;
    assert!(kept.len() == 36_000_008 && on_disk < 2 * LOG, "{on_disk} of {}", kept.len());
    for fresh in [true, false] {
        let options = ViewOptions { fresh, ..ViewOptions::default() };
        let view = follow(&toolbox, &spec.run, Offsets::default(), options);
        let (exit, gaps) = whole_but_gaps(view, &written).await;
        assert_eq!((exit, gaps.len()), (Some(5), 1), "{gaps:?}");
        assert!(gaps[0].0 > 0 && gaps[0].1 < kept.len(), "{gaps:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vanishes_while_it_is_fetched_is_a_gap() {
    const SIZE: usize = 3 << 20;
    let place = Place::new().await;
    let spec = place.spec("yes 0123456 | head -c 3145728");
    let text: Vec<u8> = b"0123456\n".iter().copied().cycle().take(SIZE).collect();
    start(&place.toolbox(place.addr).await, &spec).await;
    let options = ViewOptions { fresh: false, ..ViewOptions::default() };
    let calm = follow(&place.toolbox(place.addr).await, &spec.run, Offsets::default(), options);
    assert_eq!(whole_but_gaps(calm, &text).await, (Some(0), vec![]));
    // The state was told; before the bytes are read they go.
    let out = format!("{}/out", spec.run.dir);
    let proxy = FaultyProxy::start(place.addr, move |name, _| {
        if name.contains("/files/download") {
            std::fs::write(format!("{out}.hole"), "1048576 2097152\n").unwrap();
            let file = std::fs::File::options().write(true).open(&out).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; 1 << 20], 1 << 20).unwrap();
        }
        Fault::None
    })
    .await;
    let view = follow(&place.toolbox(proxy.addr).await, &spec.run, Offsets::default(), options);
    let gone = (1 << 20, 2 << 20);
    assert_eq!(whole_but_gaps(view, &text).await, (Some(0), vec![gone]));
}

/// Follows to the end and holds what is there against what was written; tells the status and what was missing.
async fn whole_but_gaps(mut view: View, wanted: &[u8]) -> (Option<i32>, Vec<(u64, u64)>) {
    let (mut at, mut gaps) = (0, Vec::new());
    while let Some(seen) = view.next().await {
        match seen.unwrap() {
            Seen::Bytes { offset, bytes, .. } => {
                assert_eq!(offset, at);
                let end = at + bytes.len() as u64;
                assert!(bytes == wanted[at as usize..end as usize], "wrong bytes from {at} on");
                at = end;
            }
            Seen::Gap { from, to, .. } => {
                assert_eq!(from, at);
                gaps.push((from, to));
                at = to;
            }
            Seen::Trouble { .. } => {}
            Seen::End { exit, sizes, .. } => {
                assert_eq!(sizes.out, at);
                view.close().await;
                return (exit, gaps);
            }
        }
    }
    panic!("no end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_processes_are_gone_is_lost_and_says_so() {
    let place = Place::new().await;
    let toolbox = place.toolbox(place.addr).await;
    let spec = place.spec("echo begun; sleep 1000");
    start(&toolbox, &spec).await;
    let mut view = follow(&toolbox, &spec.run, Offsets::default(), ViewOptions::default());
    let first = view.next().await.unwrap().unwrap();
    assert!(matches!(first, Seen::Bytes { .. }), "{first:?}");
    let pid = std::fs::read_to_string(format!("{}/pid", spec.run.dir)).unwrap();
    let killed = std::process::Command::new("kill").args(["-9", pid.trim()]).status().unwrap();
    assert!(killed.success());
    stop::stop(&toolbox, &spec.run, Stop::Terminated, Duration::ZERO).await.unwrap();
    let mut last = None;
    while let Some(seen) = view.next().await {
        last = Some(seen.unwrap());
    }
    assert_eq!(
        last,
        Some(Seen::End {
            exit: None,
            why: Some(Stop::Terminated),
            sizes: Offsets { out: 6, err: 0 }
        })
    );
    view.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_seen_by_the_view_as_the_recorded_status() {
    let place = Place::new().await;
    let toolbox = place.toolbox(place.addr).await;
    let spec = place.spec("echo begun; exec sleep 1000");
    start(&toolbox, &spec).await;
    let mut view = follow(&toolbox, &spec.run, Offsets::default(), ViewOptions::default());
    view.next().await.unwrap().unwrap();
    let stopped =
        stop::stop(&toolbox, &spec.run, Stop::Terminated, Duration::from_secs(30)).await.unwrap();
    assert_eq!((stopped.exit, stopped.left), (Some(143), false));
    let end = view.next().await.unwrap().unwrap();
    assert_eq!(
        end,
        Seen::End {
            exit: Some(143),
            why: Some(Stop::Terminated),
            sizes: Offsets { out: 6, err: 0 }
        }
    );
    view.close().await;
}

/// Prints how long a line takes from the command to the reader.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_seen_soon_after_it_was_written() {
    let place = Place::new().await;
    let toolbox = place.toolbox(place.addr).await;
    let spec = place.spec("i=0; while [ $i -lt 15 ]; do date +%s%N; sleep 0.13; i=$((i+1)); done");
    start(&toolbox, &spec).await;
    let began = Instant::now();
    let mut view = follow(&toolbox, &spec.run, Offsets::default(), ViewOptions::default());
    let (mut lags, mut first) = (Vec::new(), None);
    while let Some(seen) = view.next().await {
        if let Seen::Bytes { bytes, .. } = seen.unwrap() {
            first.get_or_insert_with(|| began.elapsed());
            let now = jiff::Timestamp::now().as_nanosecond();
            for line in std::str::from_utf8(&bytes).unwrap().lines() {
                lags.push((now - line.parse::<i128>().unwrap()) / 1_000_000);
            }
        }
    }
    view.close().await;
    assert_eq!(lags.len(), 15);
    lags.sort_unstable();
    println!("view: first byte after {first:?}, lag in ms median {} worst {}", lags[7], lags[14]);
}
