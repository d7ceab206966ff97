//! What the tests share.

#[cfg(target_os = "linux")]
pub mod toolbox;
pub mod unix_http;
