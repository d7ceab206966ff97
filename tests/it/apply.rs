//! Applying what a sandbox changed: nothing lost, nothing outside, whatever happens meanwhile.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod basics;
mod ground;
mod hostile;
mod kills;
mod races;
mod trouble;
