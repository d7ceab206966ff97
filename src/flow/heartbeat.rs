//! Silence is broken before anybody wonders, whatever step it is that takes its time.

use std::time::Duration;

use super::Context;
use crate::event::{Event, Phase};

/// After this long without an event there is a heartbeat.
const SILENCE: Duration = Duration::from_secs(15);

/// Beats for as long as it is polled.
pub async fn beat(cx: &Context) {
    let began = std::time::Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if cx.reporter.silence() < SILENCE {
            continue;
        }
        let event = {
            let told = cx.told();
            Event::Heartbeat {
                phase: told.phase.unwrap_or(Phase::Config),
                idle_s: told.last_output.unwrap_or(began).elapsed().as_secs(),
                offset: told.offset,
                sandbox_state: told.sandbox.as_ref().map(|s| s.state.clone()).unwrap_or_default(),
            }
        };
        cx.reporter.event(event).await;
    }
}
