//! What a run came to: exit status, the agent's own words, and why we stopped it. Pure.

use crate::agent::{self, Verdict};
use crate::exit::{ErrorCode, Exit};

/// How the process over there ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this status; 128+N for signal N.
    Exit(i32),
    /// There is no status and no process.
    Lost,
}

/// Why we stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// SIGHUP.
    Hangup,
    /// The whole time was up.
    Timeout,
    /// It was silent for too long.
    Silent,
    /// It had said its last word and did not leave: no fault of its own.
    Lingering,
}

impl Stop {
    /// The word that the sandbox remembers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
            Self::Hangup => "hangup",
            Self::Timeout => "timeout",
            Self::Silent => "idle",
            Self::Lingering => "lingering",
        }
    }

    /// What a remembered word means; `-` and nothing are no reason. A word we do not know is one all the
    /// same: the run was ended, whatever its status looks like.
    pub fn remembered(word: &str) -> Option<Self> {
        const ALL: [Stop; 6] = [
            Stop::Interrupted,
            Stop::Terminated,
            Stop::Hangup,
            Stop::Timeout,
            Stop::Silent,
            Stop::Lingering,
        ];
        match word {
            "" | "-" => None,
            word => Some(ALL.into_iter().find(|s| s.word() == word).unwrap_or(Stop::Terminated)),
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunVerdict {
    /// Our exit code, as far as the agent decides it.
    pub exit: Exit,
    /// The stable name of the failure.
    pub code: Option<ErrorCode>,
    /// What happened, in words; empty for a success.
    pub message: String,
    /// The recorded exit status.
    pub agent_exit: Option<i32>,
}

/// How the agent's parser shall see the end.
pub fn ended(end: End, stop: Option<Stop>) -> agent::Ended {
    match (end, stop) {
        (_, Some(Stop::Lingering)) => agent::Ended::Lingering,
        (_, Some(_)) => agent::Ended::Cancelled,
        (End::Exit(status), None) => agent::Ended::Exited(status),
        (End::Lost, None) => agent::Ended::Lost,
    }
}

/// Judges a run. A reason of ours to stop it comes first, then a lost process, then the agent's own
/// verdict; without one (a plain command) the exit status alone.
pub fn judge(end: End, stop: Option<Stop>, verdict: Option<&Verdict>) -> RunVerdict {
    let agent_exit = match end {
        // What gives the agent its terminal ends well when it is told to end, however that was for the agent.
        End::Exit(0) if stop.is_some() => None,
        End::Exit(status) => Some(status),
        End::Lost => None,
    };
    let told = |code: ErrorCode, message: String| RunVerdict {
        exit: code.exit(),
        code: Some(code),
        message,
        agent_exit,
    };
    let fine = RunVerdict { exit: Exit::Ok, code: None, message: String::new(), agent_exit };
    match stop {
        Some(Stop::Interrupted) => return told(ErrorCode::RunInterrupted, "interrupted".into()),
        Some(Stop::Terminated) => return told(ErrorCode::RunTerminated, "terminated".into()),
        Some(Stop::Hangup) => return told(ErrorCode::RunHangup, "the terminal went away".into()),
        Some(Stop::Timeout) => {
            let message = with_trouble("the agent exceeded its time", verdict);
            return told(ErrorCode::AgentTimeout, message);
        }
        Some(Stop::Silent) => {
            let message = with_trouble("the agent was silent for too long", verdict);
            return told(ErrorCode::AgentTimeout, message);
        }
        Some(Stop::Lingering) | None => {}
    }
    if end == End::Lost && stop.is_none() {
        let message = "the run is gone without an exit status".to_owned();
        return told(ErrorCode::SandboxLost, message);
    }
    if let Some(verdict) = verdict {
        return match verdict.code() {
            Some(code) => told(code, verdict.message.clone()),
            None => fine,
        };
    }
    match end {
        End::Exit(0) => fine,
        End::Exit(137) => told(ErrorCode::AgentKilled, "the command was killed".into()),
        End::Exit(status) => told(ErrorCode::AgentFailed, format!("exit status {status}")),
        End::Lost => told(ErrorCode::AgentKilled, "the command had to be ended".into()),
    }
}

/// An agent that was at its third retry did not just work too slowly.
fn with_trouble(words: &str, verdict: Option<&Verdict>) -> String {
    match verdict.and_then(|v| v.trouble.as_deref()) {
        Some(trouble) => format!("{words}; it last said: {trouble}"),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_read_back_and_an_unknown_one_is_no_success() {
        for stop in [Stop::Interrupted, Stop::Timeout, Stop::Silent, Stop::Lingering] {
            assert_eq!(Stop::remembered(stop.word()), Some(stop));
        }
        assert_eq!(Stop::remembered("-"), None);
        let unknown = Stop::remembered("rained-out");
        assert_ne!(judge(End::Exit(0), unknown, None).exit, Exit::Ok);
    }

    #[test]
    fn the_sharpest_reason_is_told() {
        use ErrorCode as C;
        let table = [
            (End::Exit(0), None, None),
            (End::Exit(3), None, Some(C::AgentFailed)),
            (End::Exit(137), None, Some(C::AgentKilled)),
            (End::Lost, None, Some(C::SandboxLost)),
            (End::Exit(0), Some(Stop::Interrupted), Some(C::RunInterrupted)),
            (End::Exit(143), Some(Stop::Terminated), Some(C::RunTerminated)),
            (End::Lost, Some(Stop::Interrupted), Some(C::RunInterrupted)),
            (End::Exit(137), Some(Stop::Timeout), Some(C::AgentTimeout)),
            (End::Lost, Some(Stop::Silent), Some(C::AgentTimeout)),
            (End::Exit(0), Some(Stop::Lingering), None),
        ];
        for (end, stop, code) in table {
            let verdict = judge(end, stop, None);
            assert_eq!(verdict.code, code, "{end:?} {stop:?}");
            assert_eq!(verdict.exit == Exit::Ok, code.is_none());
        }
    }

    #[test]
    fn a_time_that_is_up_while_the_provider_fails_says_so() {
        let retry = br#"{"type":"system","subtype":"api_retry","attempt":3,"max_retries":10,"error_status":500,"error":"server_error"}"#;
        let words =
            br#"{"type":"assistant","message":{"content":[{"type":"text","text":"Well."}]}}"#;
        let message = |lines: &[&[u8]]| {
            let mut parser = agent::Parser::new(agent::Kind::Claude, None);
            for line in lines {
                parser.line(line);
            }
            let stop = Some(Stop::Timeout);
            let verdict = parser.finish(ended(End::Exit(143), stop));
            judge(End::Exit(143), stop, Some(&verdict)).message
        };
        assert_eq!(
            message(&[words, retry]),
            "the agent exceeded its time; it last said: retry 3 of 10: 500 server_error"
        );
        assert_eq!(message(&[retry, words]), "the agent exceeded its time");
    }
}
