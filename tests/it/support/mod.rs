//! What the tests share.

pub mod between;
pub mod context;
pub mod dice;
#[cfg(unix)]
pub mod far;
pub mod faulty_proxy;
#[cfg(target_os = "linux")]
pub mod followed;
#[cfg(target_os = "linux")]
pub mod jail;
pub mod repo;
pub mod running;
pub mod server;
pub mod small_disk;
#[cfg(target_os = "linux")]
pub mod toolbox;
pub mod tripwire;
pub mod unix_http;
