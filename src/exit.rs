//! Exit codes and error codes, each named once.
//!
//! The numbers are a contract: they never change meaning. Small numbers and 124 follow shell habit,
//! 64 to 78 follow `sysexits.h`, 80 to 89 are ours.

use serde::Serialize;

macro_rules! exits {
    ($($variant:ident = $code:literal, $name:literal, $meaning:literal;)+) => {
        /// The exit code of the process, and of the `done` event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Exit { $(#[doc = $meaning] $variant = $code,)+ }

        impl Exit {
            /// Every code, in numeric order.
            pub const ALL: &[Exit] = &[$(Exit::$variant,)+];

            /// The stable name used in `done.outcome`.
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $name,)+ } }

            /// What it tells.
            pub fn meaning(self) -> &'static str { match self { $(Self::$variant => $meaning,)+ } }
        }
    };
}

exits! {
    Ok = 0, "ok", "The agent succeeded and every change is applied.";
    AgentFailed = 1, "agent_failed", "The agent ran and failed; its changes are applied unless told not to.";
    Usage = 2, "usage", "Bad arguments.";
    AgentUnusable = 3, "agent_unusable", "The agent could not start, or its model provider refused (login, quota, overload).";
    BadInput = 65, "bad_input", "Too large, or not representable.";
    NoWorktree = 66, "no_worktree", "Not a worktree, bare, or gone.";
    Network = 68, "network", "A connection could not be made or kept.";
    SandboxUnavailable = 69, "sandbox_unavailable", "The sandbox or the platform is not usable, or was lost.";
    Internal = 70, "internal", "A bug of ours.";
    SnapshotFailed = 73, "snapshot_failed", "A snapshot was not created.";
    HostIo = 74, "host_io", "The local disk or its permissions.";
    Busy = 75, "busy", "Another run holds this worktree.";
    Protocol = 76, "protocol", "An answer that could not be understood.";
    Auth = 77, "auth", "The key was rejected or may not do this.";
    Config = 78, "config", "A setting is missing or invalid.";
    Limit = 80, "limit", "A quota or rate limit.";
    Conflict = 81, "conflict", "Local and sandbox changes clash; nothing of either is lost.";
    UnsafePath = 82, "unsafe_path", "The sandbox offered a path that is refused; nothing was applied.";
    Incomplete = 83, "incomplete", "The agent finished, its result is not fully fetched.";
    Timeout = 124, "timeout", "The agent exceeded its time.";
    Hangup = 129, "hangup", "Ended by SIGHUP.";
    Interrupted = 130, "interrupted", "Ended by SIGINT.";
    Terminated = 143, "terminated", "Ended by SIGTERM.";
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Which of two outcomes is told when both apply. The sharper one wins:
    /// signal > 82 > 81 > 83 > 74 > 69 > 68 > 124 > 3 > 1, anything else in between.
    pub fn worse(self, other: Exit) -> Exit {
        if self.rank() >= other.rank() { self } else { other }
    }

    fn rank(self) -> u8 {
        match self {
            Exit::Hangup | Exit::Interrupted | Exit::Terminated => 100,
            Exit::UnsafePath => 90,
            Exit::Conflict => 80,
            Exit::Incomplete => 70,
            Exit::HostIo => 60,
            Exit::SandboxUnavailable => 50,
            Exit::Network => 40,
            Exit::Timeout => 30,
            Exit::AgentUnusable => 20,
            Exit::AgentFailed => 10,
            Exit::Ok => 0,
            _ => 45,
        }
    }
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal => $exit:ident, $retryable:literal, $hint:literal;)+) => {
        /// What went wrong, as a stable dotted name. Each has one exit code and one hint.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $variant,)+ }

        impl ErrorCode {
            /// Every code, in the order of the manual.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)+];

            /// The dotted name used in `error.code`.
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $name,)+ } }

            /// The exit code it leads to.
            pub fn exit(self) -> Exit { match self { $(Self::$variant => Exit::$exit,)+ } }

            /// Whether the same call may succeed later without a change by the caller.
            pub fn retryable(self) -> bool { match self { $(Self::$variant => $retryable,)+ } }

            /// What the reader can do now, when the place that failed has nothing better to say.
            pub fn hint(self) -> &'static str { match self { $(Self::$variant => $hint,)+ } }
        }
    };
}

error_codes! {
    /// The command line is not valid.
    Usage = "usage" => Usage, false, "`sandbox-coder --help` shows what is accepted";
    /// The prompt is empty.
    EmptyPrompt = "usage.empty_prompt" => Usage, false, "say what the agent shall do: `sandbox-coder run \"fix the login bug\"`, `--prompt-file FILE`, or `-` for standard input";
    /// A needed API key is missing.
    MissingKey = "config.missing_key" => Config, false, "set DAYTONA_API_KEY, or use `--provider local`, which needs no account";
    /// A setting is unknown or has a value that is not accepted.
    ConfigInvalid = "config.invalid" => Config, false, "`sandbox-coder config` prints every setting with its origin";
    /// The key was rejected.
    AuthInvalid = "auth.invalid" => Auth, false, "check DAYTONA_API_KEY, the organization and DAYTONA_API_URL";
    /// The key may not do this.
    AuthForbidden = "auth.forbidden" => Auth, false, "the key lacks a permission, or the region is not available to the organization";
    /// The host could not be reached.
    NetUnreachable = "net.unreachable" => Network, true, "check the network, the proxy variables and the API URL";
    /// The host name could not be resolved.
    NetDns = "net.dns" => Network, true, "check the API URL and the name server";
    /// The TLS handshake failed.
    NetTls = "net.tls" => Network, false, "behind a company proxy, add its certificate to the system store or name it in SSL_CERT_FILE; also check the local clock";
    /// A connection was lost or went silent.
    NetInterrupted = "net.interrupted" => Network, true, "try again; `sandbox-coder pull` fetches what the sandbox holds";
    /// The answer is not JSON.
    ProtoNotJson = "proto.not_json" => Protocol, false, "is the API URL right? it usually ends in `/api`";
    /// The service knows no such call.
    ProtoNoRoute = "proto.no_route" => Protocol, false, "is the API URL right? it usually ends in `/api`";
    /// The answer is JSON, but not the expected one.
    ProtoBadJson = "proto.bad_json" => Protocol, false, "the service and this version may not fit together; `sandbox-coder doctor` shows both";
    /// A status nobody expected.
    ProtoUnexpected = "proto.unexpected" => Protocol, false, "`--debug` shows the request; the service's own words are above";
    /// A quota is used up.
    QuotaExceeded = "quota.exceeded" => Limit, false, "`sandbox-coder ls` shows what is yours; `stop` or `rm` frees it";
    /// The organization is suspended.
    QuotaSuspended = "quota.suspended" => Limit, false, "the organization is suspended; see its billing page";
    /// Too many requests.
    RateLimited = "quota.rate_limited" => Limit, true, "wait as long as the service asks, then try again";
    /// A snapshot is unknown or not usable.
    SnapshotUnavailable = "snapshot.unavailable" => SandboxUnavailable, false, "`sandbox-coder snapshot list` shows what can be used";
    /// A snapshot could not be made.
    SnapshotFailed = "snapshot.failed" => SnapshotFailed, false, "see the reason above";
    /// The sandbox did not start in time.
    SandboxStartTimeout = "sandbox.start_timeout" => SandboxUnavailable, true, "try again; `sandbox-coder status` shows its state";
    /// The sandbox is in a state of error.
    SandboxErrored = "sandbox.errored" => SandboxUnavailable, false, "`sandbox-coder run --fresh` starts with a new one after a `pull`";
    /// The sandbox is in a state this version does not know.
    SandboxUnknownState = "sandbox.unknown_state" => SandboxUnavailable, true, "a newer platform may need a newer sandbox-coder";
    /// The sandbox disappeared while it was used.
    SandboxLost = "sandbox.lost" => SandboxUnavailable, true, "`sandbox-coder status` shows what is left; `pull` fetches it";
    /// Another change of the sandbox is in progress.
    SandboxBusy = "sandbox.busy" => SandboxUnavailable, true, "wait until it is done, then try again";
    /// The service itself is in trouble.
    PlatformUnavailable = "platform.unavailable" => SandboxUnavailable, true, "try again later; the sandbox keeps what it has";
    /// There is no such sandbox.
    SandboxNotFound = "sandbox.not_found" => SandboxUnavailable, false, "`sandbox-coder ls` lists yours";
    /// The name belongs to a sandbox that is not ours.
    SandboxNameTaken = "sandbox.name_taken" => SandboxUnavailable, false, "choose another with `--name`";
    /// The sandbox holds work that was never fetched.
    SandboxUnpulledWork = "sandbox.unpulled_work" => Conflict, false, "`sandbox-coder pull` fetches it; `sandbox-coder rm --force` gives it up";
    /// Local sandboxes are not possible here.
    IsolationUnavailable = "sandbox.isolation_unavailable" => SandboxUnavailable, false, "`sandbox-coder doctor` says what the kernel refuses and how to allow it";
    /// The local server could not be started or reached.
    LocalServer = "server.unavailable" => SandboxUnavailable, true, "`sandbox-coder serve` in the foreground shows why";
    /// The disk of the sandbox is full.
    SyncDiskFull = "sync.disk_full" => SandboxUnavailable, false, "free space in the sandbox, or raise `--disk`; local sandboxes lie in the state directory";
    /// A program needed in the sandbox is missing.
    SyncToolMissing = "sync.tool_missing" => SandboxUnavailable, false, "use a snapshot with the usual tools, such as a busybox";
    /// The archive did not arrive.
    SyncUploadFailed = "sync.upload_failed" => Network, true, "try again; nothing in the sandbox was changed";
    /// The sandbox could not verify what was sent.
    SyncVerifyFailed = "sync.verify_failed" => SandboxUnavailable, true, "try again; the next sync sends everything anew";
    /// Local files change faster than they can be read.
    SyncSourceMoving = "sync.source_moving" => HostIo, true, "something writes into the worktree; stop it and try again";
    /// Too much to send or to take back.
    SyncTooLarge = "sync.too_large" => BadInput, false, "ignore what need not travel, or raise the limit named above";
    /// A download ended early.
    SyncTruncated = "sync.truncated" => Incomplete, true, "`sandbox-coder pull` fetches it again";
    /// The result could not be fetched completely.
    SyncIncomplete = "sync.incomplete" => Incomplete, true, "`sandbox-coder pull` tries again, any number of times";
    /// What the sandbox sent does not fit together.
    SyncBadResult = "sync.bad_result" => UnsafePath, false, "the sandbox is not to be trusted; nothing was applied";
    /// Most of the tree would be deleted.
    SyncMassDelete = "sync.mass_delete" => Conflict, false, "look with `sandbox-coder diff`, then `pull --allow-mass-delete`";
    /// Local and sandbox changes clash.
    SyncConflict = "sync.conflict" => Conflict, false, "`sandbox-coder pull --on-conflict keep-both|merge|ours|theirs` finishes without fetching again";
    /// The sandbox offered a name that would leave the worktree or touch `.git`.
    PathUnsafe = "path.unsafe" => UnsafePath, false, "nothing was applied; `sandbox-coder exec --no-sync` looks at it over there, or takes it away before another `pull`";
    /// Two names that are one on this disk.
    PathCollision = "path.collision" => Conflict, false, "rename one of them with `sandbox-coder exec --no-sync`, then `pull`";
    /// The agent is not known.
    AgentUnknown = "agent.unknown" => Usage, false, "known agents: opencode, claude, codex, gemini, qwen, command";
    /// The agent is not installed and could not be.
    AgentMissing = "agent.missing" => AgentUnusable, false, "use a snapshot that has it, or install it on the host for local sandboxes";
    /// Installing the agent failed.
    AgentInstallFailed = "agent.install_failed" => AgentUnusable, true, "the last lines above say why";
    /// The agent has no credentials.
    AgentNoCredentials = "agent.no_credentials" => AgentUnusable, false, "log in with the agent on this machine, or set its key variable; `sandbox-coder doctor` lists them";
    /// The agent does not know this conversation.
    AgentNoSession = "agent.no_session" => AgentUnusable, false, "`sandbox-coder status` lists the conversations of this worktree";
    /// The model provider refused.
    AgentProvider = "agent.provider" => AgentUnusable, true, "the provider's words are above; the code was not the problem";
    /// The agent ended without success.
    AgentFailed = "agent.failed" => AgentFailed, false, "its last lines are above; `sandbox-coder logs` has all of them";
    /// The agent exceeded its time or went silent for too long.
    AgentTimeout = "agent.timeout" => Timeout, false, "raise `--timeout` or `--idle-timeout`, or ask for less";
    /// The agent was killed from outside.
    AgentKilled = "agent.killed" => AgentFailed, true, "more memory may help: `--memory`";
    /// There is no such run.
    RunNotFound = "run.not_found" => Usage, false, "`sandbox-coder status` lists the runs of this worktree";
    /// Interrupted by SIGINT.
    RunInterrupted = "run.interrupted" => Interrupted, true, "`sandbox-coder pull` fetches what the agent did";
    /// Ended by SIGTERM.
    RunTerminated = "run.terminated" => Terminated, true, "`sandbox-coder pull` fetches what the agent did";
    /// The terminal went away.
    RunHangup = "run.hangup" => Hangup, true, "the run goes on; `sandbox-coder attach` follows it";
    /// Not inside a git worktree.
    WorktreeNone = "worktree.none" => NoWorktree, false, "change into a git worktree, or make one with `git init`";
    /// The repository has no worktree.
    WorktreeBare = "worktree.bare" => NoWorktree, false, "a bare repository has no files: `git worktree add ../work` makes a worktree";
    /// Inside a repository's own folder.
    WorktreeInsideGit = "worktree.inside_git" => NoWorktree, false, "change into the worktree itself";
    /// The worktree vanished or was moved while we worked.
    WorktreeGone = "worktree.gone" => NoWorktree, false, "the result stays in the sandbox: put the worktree back in its place (`git worktree add` makes a removed one again), then `sandbox-coder pull` there";
    /// Git refuses the repository.
    WorktreeRefused = "worktree.refused" => NoWorktree, false, "git's own words are above";
    /// The git program is missing or too old.
    GitMissing = "host.git_missing" => SandboxUnavailable, false, "install git 2.25 or newer";
    /// Another run holds this worktree.
    WorktreeBusy = "busy.worktree" => Busy, true, "`--wait` waits for it; `sandbox-coder status` shows what it does";
    /// The local disk or its permissions.
    HostIo = "host.io" => HostIo, false, "fix what is named above, then try again; `sandbox-coder pull` fetches what a sandbox holds";
    /// There is nothing to undo.
    UndoNothing = "undo.nothing" => Usage, false, "`sandbox-coder status` lists the runs that changed files";
    /// A bug of ours.
    Internal = "internal" => Internal, false, "please report it with the output of the same command and `--debug`";
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_code_is_named_once() {
        let names: HashSet<_> = ErrorCode::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        let numbers: HashSet<_> = Exit::ALL.iter().map(|e| e.code()).collect();
        assert_eq!(numbers.len(), Exit::ALL.len());
        assert!(ErrorCode::ALL.iter().all(|c| !c.hint().is_empty() && c.exit() != Exit::Ok));
    }

    #[test]
    fn the_sharper_outcome_wins() {
        let falling = [
            Exit::Interrupted,
            Exit::UnsafePath,
            Exit::Conflict,
            Exit::Incomplete,
            Exit::HostIo,
            Exit::SandboxUnavailable,
            Exit::Network,
            Exit::Timeout,
            Exit::AgentUnusable,
            Exit::AgentFailed,
            Exit::Ok,
        ];
        for pair in falling.windows(2) {
            assert_eq!(pair[0].worse(pair[1]), pair[0]);
            assert_eq!(pair[1].worse(pair[0]), pair[0]);
        }
    }
}
