//! Applying what a sandbox changed: nothing lost, nothing outside, whatever happens meanwhile.

mod basics;
mod ground;
mod hostile;
mod kills;
mod races;
mod trouble;
