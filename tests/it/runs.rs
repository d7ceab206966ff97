//! Runs: the shell texts in every shell at hand, and the view through a connection that keeps breaking.

mod client;
mod scripts;
#[cfg(target_os = "linux")]
mod typed;
#[cfg(target_os = "linux")]
mod view;
