//! What the tests share.

pub mod context;
pub mod faulty_proxy;
pub mod server;
#[cfg(target_os = "linux")]
pub mod toolbox;
pub mod unix_http;
