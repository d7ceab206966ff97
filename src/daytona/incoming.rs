//! A body on its way in, given up when it stalls or trickles.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::header::{self, HeaderName};

use super::call::Call;
use super::error::{Error, Tries};
use super::failure::chain;

/// A body slower than [`SLOW_BYTES`] within this time of waiting is given up.
const SLOW: Duration = Duration::from_secs(60);
const SLOW_BYTES: u64 = 60 << 10;

/// A body on its way in.
pub(crate) struct Incoming {
    pub(super) response: reqwest::Response,
    what: String,
    host: String,
    idle: Duration,
    waited: Duration,
    received: u64,
}

impl Incoming {
    pub(super) fn new(response: reqwest::Response, call: &Call, idle: Duration) -> Self {
        let (what, host) = (call.what.clone(), call.host());
        Self { response, what, host, idle, waited: Duration::ZERO, received: 0 }
    }

    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.response.headers().get(name).and_then(|v| v.to_str().ok())
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    pub(super) fn content_type(&self) -> String {
        self.header(header::CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase()
    }

    /// The next piece; `None` at the proper end, an error if the connection ends before it.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let began = Instant::now();
        let next = tokio::time::timeout(self.idle, self.response.chunk()).await;
        self.waited += began.elapsed();
        let lost = |why: String| Error::Interrupted {
            what: self.what.clone(),
            host: self.host.clone(),
            why,
            tries: Tries::default(),
        };
        let chunk = match next {
            Err(_) => return Err(lost(format!("nothing came for {} s", self.idle.as_secs()))),
            Ok(Err(e)) => return Err(lost(chain(&e))),
            Ok(Ok(chunk)) => chunk,
        };
        self.received += chunk.as_ref().map_or(0, |c| c.len() as u64);
        if self.waited > SLOW {
            if chunk.is_some() && self.received < SLOW_BYTES {
                return Err(lost(format!("only {} bytes in a minute", self.received)));
            }
            (self.waited, self.received) = (Duration::ZERO, 0);
        }
        Ok(chunk)
    }

    /// All of it, if it is not more than `limit` bytes.
    pub(super) async fn whole(&mut self, limit: usize) -> Result<Bytes, Error> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > limit {
                return Err(Error::BadJson {
                    what: self.what.clone(),
                    host: self.host.clone(),
                    why: format!("more than {limit} bytes"),
                });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}
