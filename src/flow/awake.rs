//! A run that nobody follows must not be stopped as idle by the service, which sees no activity of ours.

use std::time::Duration;

use super::Context;
use super::sandbox::Ready;
use super::service::Service;
use crate::state::RunRecord;

/// After the run's own time, so long its result waits in a running sandbox.
const MARGIN_MIN: i64 = 15;
/// A run without any limit; awake, but never for ever.
const UNLIMITED_MIN: i64 = 7 * 24 * 60;

/// The interval that keeps a sandbox up for a run of at most `limit`, or `None` if the present one does.
fn interval(present: i64, limit: Option<Duration>) -> Option<i64> {
    let minutes = |d: Duration| i64::try_from(d.as_secs().div_ceil(60)).unwrap_or(i64::MAX / 2);
    let wanted =
        limit.map_or(UNLIMITED_MIN, |limit| (minutes(limit) + MARGIN_MIN).min(UNLIMITED_MIN));
    // 0 is never.
    (present != 0 && present < wanted).then_some(wanted)
}

/// Keeps the sandbox up for as long as the run may take, and remembers what to go back to.
pub async fn keep(cx: &Context, service: &Service, ready: &Ready, record: &mut RunRecord) {
    let present = ready.sandbox.auto_stop_interval.unwrap_or(cx.config.auto_stop);
    let limit = Some(cx.config.timeout).filter(|t| !t.is_zero());
    let Some(minutes) = interval(present, limit) else { return };
    let setting =
        service.client.set_auto_stop(&ready.sandbox.id, u32::try_from(minutes).unwrap_or_default());
    match tokio::time::timeout(cx.config.grace, setting).await {
        Ok(Ok(())) => record.auto_stop_before = record.auto_stop_before.or(Some(present)),
        _ => {
            let message = format!("the sandbox may stop after {present} minutes without activity");
            cx.reporter.warn("run.keep_awake", message, None).await;
        }
    }
}

/// Goes back to the interval from before; the run has ended.
pub async fn release(service: &Service, record: &mut RunRecord) {
    let Some(minutes) = record.auto_stop_before.take() else { return };
    let minutes = u32::try_from(minutes).unwrap_or_default();
    if let Err(error) = service.client.set_auto_stop(&record.sandbox_id, minutes).await {
        tracing::debug!(%error, "the sandbox keeps its longer auto-stop interval");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_stays_up_for_the_time_of_its_run_and_not_for_ever() {
        let hours = |h: u64| Some(Duration::from_secs(h * 3600));
        assert_eq!(interval(60, hours(2)), Some(135));
        assert_eq!(interval(135, hours(2)), None);
        assert_eq!(interval(0, hours(2)), None);
        assert_eq!(interval(60, Some(Duration::from_secs(61))), None);
        assert_eq!(interval(10, Some(Duration::from_secs(61))), Some(17));
        assert_eq!(interval(60, None), Some(10_080));
        assert_eq!(interval(60, hours(1_000_000)), Some(10_080));
    }
}
