//! The stream of a run, dropped at random byte offsets: what was received is what was recorded.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use sandbox_coder::run::view::ViewOptions;

use super::{count, end};
use crate::support::faulty_proxy::{Fault, FaultyProxy, Seeded};
use crate::support::followed::{Place, assert_whole, follow_all, start};

/// 200 frames: so many pieces that are written one by one.
const TALK: &str = "i=0; while [ $i -lt 200 ]; do echo \"piece $i of 200 \u{e4}\u{1f980}\"; \
    [ $((i % 20)) != 0 ] || echo problem $i >&2; sleep 0.01; i=$((i+1)); done; exit 7";
/// So many runs are followed at the same time.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_dropped_at_any_byte_is_received_as_it_was_recorded() {
    let wanted = count("DROPS", 1000, 20);
    let place = Place::new().await;
    let dice = Arc::new(Mutex::new(Seeded::new(2)));
    let proxy = FaultyProxy::start(place.addr, move |name, _| {
        let mut dice = dice.lock().unwrap();
        match name.contains("/pty/create-connect") {
            // The head of the answer, the first prompt, or well within the frames.
            true => {
                Fault::CutAnswer([200, 600, 2500, 6000].map(|most| dice.below(most))[dice.below(4)])
            }
            false => Fault::None,
        }
    })
    .await;
    let (mut drops, mut runs) = (0, 0);
    let end = end();
    while drops < wanted && Instant::now() < end {
        let follow_one = async || {
            let toolbox = place.toolbox(proxy.addr).await;
            let spec = place.spec(TALK);
            start(&toolbox, &spec).await;
            let followed = follow_all(&toolbox, &spec.run, ViewOptions::default()).await;
            assert_whole(&followed, &spec.run, 7);
            followed.losses as usize
        };
        let batch = (0..AT_ONCE).map(|_| follow_one());
        drops += futures_util::future::join_all(batch).await.iter().sum::<usize>();
        runs += AT_ONCE;
    }
    println!("drops: {drops} in {runs} runs of 200 frames; every hash as recorded, none doubled");
}
