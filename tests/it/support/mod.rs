//! What the tests share.

pub mod context;
pub mod faulty_proxy;
#[cfg(target_os = "linux")]
pub mod jail;
pub mod server;
#[cfg(target_os = "linux")]
pub mod toolbox;
pub mod unix_http;
