//! A run that nobody follows must not be stopped as idle by the service, which sees no activity of ours.

use std::time::Duration;

use super::service::Service;
use super::{Context, safety};
use crate::state::Store as Memory;
use crate::wire::sandbox::Sandbox;

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
pub async fn keep(cx: &Context, service: &Service, sandbox: &Sandbox, memory: &Memory) {
    let present = sandbox.auto_stop_interval.unwrap_or(cx.config.auto_stop);
    let limit = Some(cx.config.timeout).filter(|t| !t.is_zero());
    let Some(minutes) = interval(present, limit) else { return };
    let setting = async {
        memory.raise(&sandbox.id, present)?;
        let minutes = u32::try_from(minutes).unwrap_or_default();
        anyhow::Ok(service.client.set_auto_stop(&sandbox.id, minutes).await?)
    };
    if !matches!(tokio::time::timeout(cx.config.grace, setting).await, Ok(Ok(()))) {
        let message = format!("the sandbox may stop after {present} minutes without activity");
        cx.reporter.warn("run.keep_awake", message, None).await;
    }
}

/// Goes back to the interval from before once no run works in the sandbox any more, whoever finds that out.
/// `but` is the id of a run that is known to be over.
pub async fn release(service: &Service, memory: &Memory, sandbox: &mut Sandbox, but: &str) {
    let Ok(Some(before)) = memory.raised(&sandbox.id) else { return };
    if safety::answers(sandbox) && !is_quiet(service, memory, sandbox, but).await.unwrap_or(false) {
        return;
    }
    let minutes = u32::try_from(before).unwrap_or_default();
    match service.client.set_auto_stop(&sandbox.id, minutes).await {
        Ok(()) => {
            sandbox.auto_stop_interval = Some(before);
            memory.lowered(&sandbox.id);
        }
        Err(error) => tracing::debug!(%error, "the sandbox keeps its longer auto-stop interval"),
    }
}

/// Whether it is certain that no run works there.
async fn is_quiet(
    service: &Service,
    memory: &Memory,
    sandbox: &Sandbox,
    but: &str,
) -> anyhow::Result<bool> {
    let toolbox = service.client.toolbox(sandbox).await?;
    let remembered = memory.worktree()?.sandbox.filter(|r| r.id == sandbox.id);
    let home = match remembered.and_then(|r| r.home) {
        Some(home) => home,
        None => toolbox.home().await?,
    };
    let look = safety::look(memory, &toolbox, &home, but, safety::Asker::Passer, None).await?;
    Ok(look.living.is_none())
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
