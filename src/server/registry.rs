//! The life of a sandbox as a pure table: which states there are and which moves are legal.
//!
//! Whoever is asked to move one looks here first, under the lock that guards the record; what happens
//! then to processes and files is told elsewhere.

use serde::{Deserialize, Serialize};

use crate::wire::sandbox::SandboxState;

/// The states a local sandbox can be in: a subset of Daytona's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Recorded, its first start is under way.
    Creating,
    /// A later start is under way.
    Starting,
    /// Its toolbox answers.
    Started,
    /// Its processes are being ended.
    Stopping,
    /// Files only.
    Stopped,
    /// A start failed; the files are there.
    Error,
    /// Being removed; its name is free already.
    Destroying,
}

impl State {
    /// Every state.
    pub const ALL: [State; 7] = [
        State::Creating,
        State::Starting,
        State::Started,
        State::Stopping,
        State::Stopped,
        State::Error,
        State::Destroying,
    ];

    /// Whether it changes by itself, so that everything else has to wait.
    pub fn is_passing(self) -> bool {
        matches!(self, State::Creating | State::Starting | State::Stopping | State::Destroying)
    }

    /// Daytona's word for it.
    pub fn on_wire(self) -> SandboxState {
        match self {
            State::Creating => SandboxState::Creating,
            State::Starting => SandboxState::Starting,
            State::Started => SandboxState::Started,
            State::Stopping => SandboxState::Stopping,
            State::Stopped => SandboxState::Stopped,
            State::Error => SandboxState::Error,
            State::Destroying => SandboxState::Destroying,
        }
    }

    /// Where it is headed, in Daytona's words.
    pub fn desired(self) -> &'static str {
        match self {
            State::Creating | State::Starting | State::Started | State::Error => "started",
            State::Stopping | State::Stopped => "stopped",
            State::Destroying => "destroyed",
        }
    }
}

/// What can be asked of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Start it.
    Start,
    /// Stop it; an ephemeral one is removed by that.
    Stop,
    /// Remove it with its files.
    Delete,
}

/// What follows from asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Enter this state and do the work.
    To(State),
    /// It already is where it shall be.
    Nothing,
}

/// Why a move is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another change is under way.
    #[error("Sandbox state change in progress")]
    Changing,
    /// Only a started sandbox can be stopped.
    #[error("Sandbox is not in a stoppable state")]
    NotStoppable,
    /// Only removal is left.
    #[error("Sandbox is in an errored state")]
    Errored,
}

/// The table. `ephemeral` says that the sandbox lives only as long as it runs.
pub fn judge(state: State, ask: Ask, ephemeral: bool) -> Result<Move, Refusal> {
    match (state, ask) {
        (passing, _) if passing.is_passing() => Err(Refusal::Changing),
        (_, Ask::Delete) => Ok(Move::To(State::Destroying)),
        (State::Error, Ask::Start | Ask::Stop) => Err(Refusal::Errored),
        (State::Started, Ask::Start) => Ok(Move::Nothing),
        (_, Ask::Start) => Ok(Move::To(State::Starting)),
        (State::Started, Ask::Stop) if ephemeral => Ok(Move::To(State::Destroying)),
        (State::Started, Ask::Stop) => Ok(Move::To(State::Stopping)),
        (_, Ask::Stop) => Err(Refusal::NotStoppable),
    }
}

/// What a restarted server makes of a state it finds on disk. `alive` says whether the sandbox runs.
pub fn after_restart(state: State, alive: bool, ephemeral: bool) -> Option<State> {
    match (state, alive) {
        // The delete was promised; an ephemeral sandbox does not outlive its processes.
        (State::Destroying, _) => None,
        (_, false) if ephemeral => None,
        // A create that was cut short was never answered.
        (State::Creating, false) => None,
        (State::Error, false) => Some(State::Error),
        (State::Stopping, true) => Some(State::Stopping),
        (_, true) => Some(State::Started),
        (_, false) => Some(State::Stopped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_move_of_every_state() {
        use Ask::*;
        use State::*;
        let table = [
            (Started, Start, Ok(Move::Nothing)),
            (Started, Stop, Ok(Move::To(Stopping))),
            (Started, Delete, Ok(Move::To(Destroying))),
            (Stopped, Start, Ok(Move::To(Starting))),
            (Stopped, Stop, Err(Refusal::NotStoppable)),
            (Stopped, Delete, Ok(Move::To(Destroying))),
            (Error, Start, Err(Refusal::Errored)),
            (Error, Stop, Err(Refusal::Errored)),
            (Error, Delete, Ok(Move::To(Destroying))),
        ];
        for (state, ask, expected) in table {
            assert_eq!(judge(state, ask, false), expected, "{state:?} {ask:?}");
        }
        for state in State::ALL.into_iter().filter(|s| s.is_passing()) {
            for ask in [Start, Stop, Delete] {
                assert_eq!(judge(state, ask, false), Err(Refusal::Changing), "{state:?} {ask:?}");
            }
        }
    }

    #[test]
    fn stopping_an_ephemeral_sandbox_removes_it() {
        assert_eq!(judge(State::Started, Ask::Stop, true), Ok(Move::To(State::Destroying)));
        assert_eq!(judge(State::Stopped, Ask::Stop, true), Err(Refusal::NotStoppable));
    }

    #[test]
    fn a_restart_believes_the_processes_and_not_the_record() {
        use State::*;
        let table = [
            (Started, true, Some(Started)),
            (Started, false, Some(Stopped)),
            (Starting, true, Some(Started)),
            (Starting, false, Some(Stopped)),
            (Creating, true, Some(Started)),
            (Creating, false, None),
            (Stopping, true, Some(Stopping)),
            (Stopping, false, Some(Stopped)),
            (Stopped, false, Some(Stopped)),
            (Stopped, true, Some(Started)),
            (Error, false, Some(Error)),
            (Destroying, true, None),
            (Destroying, false, None),
        ];
        for (state, alive, expected) in table {
            assert_eq!(after_restart(state, alive, false), expected, "{state:?} {alive}");
        }
        assert_eq!(after_restart(Started, false, true), None);
        assert_eq!(after_restart(Started, true, true), Some(Started));
    }
}
