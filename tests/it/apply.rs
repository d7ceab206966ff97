//! Applying what a sandbox changed: nothing lost, nothing outside, whatever happens meanwhile.

mod basics;
mod ground;

mod kills;

mod races;
mod trouble;
