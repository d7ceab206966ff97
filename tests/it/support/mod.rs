//! What the tests share.

pub mod server;
#[cfg(target_os = "linux")]
pub mod toolbox;
pub mod unix_http;
pub mod context;
