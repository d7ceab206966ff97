//! Files in a sandbox: streamed up in one request, streamed down with resumption.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use reqwest::{Method, header};

use super::call::{Call, Payload, Progress};
use super::error::Error;
use super::incoming::Incoming;
use super::refusal::Subject;
use super::retry::{self, Repeat};
use super::toolbox::Toolbox;
use crate::wire::files::{BulkUpload, FileInfo};

impl Toolbox {
    /// Uploads a stream as one file; parents are made, mode becomes 0644, an old file is overwritten in
    /// place. Not repeated when it fails: use a fresh name for the next try. Answers the bytes written.
    pub async fn upload(
        &self,
        path: &str,
        source: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        size: Option<u64>,
    ) -> Result<u64, Error> {
        let boundary = boundary();
        let head = part_head(&boundary, 0, path, true);
        let tail = format!("\r\n--{boundary}--\r\n");
        let whole = size.map(|size| size + (head.len() + tail.len()) as u64);
        let progress = Progress::new();
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let source = {
            let (progress, sent) = (progress.clone(), sent.clone());
            source.inspect(move |chunk| {
                progress.mark();
                let len = chunk.as_ref().map_or(0, |c| c.len() as u64);
                sent.fetch_add(len, std::sync::atomic::Ordering::Relaxed);
            })
        };
        let edge = |text: String| futures_util::stream::iter([Ok(Bytes::from(text))]);
        let body = reqwest::Body::wrap_stream(edge(head).chain(source).chain(edge(tail)));
        let payload =
            Payload::Stream { kind: kind_of(&boundary), size: whole, body: Some(body), progress };
        let mut call = self.upload_call(format!("upload `{path}`"))?;
        call.payload = payload;
        call.repeat = Repeat::OneShot;
        let answer: BulkUpload =
            self.client().json(call).await.map_err(|e| upload_error(path, e))?;
        let sent = sent.load(std::sync::atomic::Ordering::Relaxed);
        check(&answer, path, sent)?;
        Ok(sent)
    }

    /// Uploads small files, all in one request that is repeated where it may be.
    pub async fn upload_small(&self, files: &[(String, Bytes)]) -> Result<(), Error> {
        let boundary = boundary();
        let mut body = Vec::new();
        for (index, (path, bytes)) in files.iter().enumerate() {
            body.extend_from_slice(part_head(&boundary, index, path, index == 0).as_bytes());
            body.extend_from_slice(bytes);
        }
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let bytes = Bytes::from(body);
        let attempt = async || {
            let mut call = self.upload_call(format!("upload {} files", files.len()))?;
            call.payload = Payload::Bytes { kind: kind_of(&boundary), bytes: bytes.clone() };
            call.repeat = Repeat::Harmless;
            self.client().json::<BulkUpload>(call).await
        };
        let answer = self.settle(Repeat::Harmless, attempt).await?;
        files.iter().try_for_each(|(path, bytes)| check(&answer, path, bytes.len() as u64))
    }

    fn upload_call(&self, what: String) -> Result<Call, Error> {
        self.call(what, Subject::File, Method::POST, &["files", "bulk-upload"])
    }

    /// Size, mode and kind of a file, links followed; `None` if there is none.
    pub async fn file_info(&self, path: &str) -> Result<Option<FileInfo>, Error> {
        let attempt = async || {
            let what = format!("look at `{path}`");
            let mut call = self.call(what, Subject::File, Method::GET, &["files", "info"])?;
            call.url.query_pairs_mut().append_pair("path", path);
            self.client().json(call).await
        };
        match self.settle(Repeat::Harmless, attempt).await {
            Err(error) if error.is_missing() => Ok(None),
            result => result.map(Some),
        }
    }

    /// Downloads a file from an offset on. A file that ends at or before the offset has nothing new:
    /// the stream is then empty, not an error.
    pub async fn download(&self, path: &str, from: u64) -> Result<Download, Error> {
        let attempt = async || Part::open(self, path, from).await;
        let part = self.settle(Repeat::Harmless, attempt).await?;
        let (path, toolbox) = (path.to_owned(), self.clone());
        Ok(Download { toolbox, path, at: from, end: part.end, part: Some(part), tries: 0 })
    }

    /// A whole file of at most `limit` bytes.
    pub async fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, Error> {
        let mut download = self.download(path, 0).await?;
        let mut all = Vec::new();
        while let Some(chunk) = download.chunk().await? {
            if all.len() + chunk.len() > limit {
                let why = format!("more than {limit} bytes");
                return Err(Error::Download { path: path.to_owned(), why });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// The home directory of the sandbox's user.
    pub async fn home(&self) -> Result<String, Error> {
        #[derive(serde::Deserialize)]
        struct Dir {
            dir: String,
        }
        let attempt = async || {
            let what = "ask for the home directory".to_owned();
            let call = self.call(what, Subject::Toolbox, Method::GET, &["user-home-dir"])?;
            self.client().json::<Dir>(call).await
        };
        Ok(self.settle(Repeat::Harmless, attempt).await?.dir)
    }
}

/// A file on its way here. After a cut it goes on where it was.
#[derive(Debug)]
pub struct Download {
    toolbox: Toolbox,
    path: String,
    at: u64,
    end: Option<u64>,
    part: Option<Part>,
    tries: u32,
}

impl Download {
    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The offset at which it ends, where the service says so.
    pub fn end(&self) -> Option<u64> {
        self.end
    }

    /// The next piece; `None` at the proper end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.end.is_some_and(|end| self.at >= end) {
                return Ok(None);
            }
            let error = match self.step().await {
                Ok(Some(chunk)) => {
                    self.tries = 0;
                    return Ok(self.take(chunk));
                }
                Ok(None) if self.end.is_none_or(|end| self.at >= end) => return Ok(None),
                Ok(None) => self.short(),
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            self.part = None;
            self.tries += 1;
            let policy = &self.toolbox.client().limits().retry;
            if self.tries >= policy.tries {
                return Err(error);
            }
            tokio::time::sleep(retry::backoff(policy, self.tries, retry::jitter())).await;
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, Error> {
        let part = match &mut self.part {
            Some(part) => part,
            None => {
                let part = Part::open(&self.toolbox, &self.path, self.at).await?;
                // A log may have grown since; a file that shrank is another one.
                if let (Some(old), Some(new)) = (self.end, part.end)
                    && new < old
                {
                    return Err(Error::Download {
                        path: self.path.clone(),
                        why: format!("it shrank from {old} to {new} bytes while it was read"),
                    });
                }
                self.part.insert(part)
            }
        };
        part.chunk().await
    }

    /// Counts a piece, and leaves off what came beyond the end first told.
    fn take(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        if let Some(end) = self.end {
            chunk.truncate((end - self.at).min(chunk.len() as u64) as usize);
        }
        self.at += chunk.len() as u64;
        Some(chunk)
    }

    fn short(&self) -> Error {
        let end = self.end.unwrap_or_default();
        let why = format!("only {} of {end} bytes came", self.at);
        Error::Download { path: self.path.clone(), why }
    }
}

/// One answer's worth of a download.
#[derive(Debug)]
struct Part {
    incoming: Option<Incoming>,
    /// Bytes to drop, where the service ignored the range.
    skip: u64,
    end: Option<u64>,
}

impl Part {
    async fn open(toolbox: &Toolbox, path: &str, from: u64) -> Result<Self, Error> {
        let what = format!("download `{path}`");
        let mut call = toolbox.call(what, Subject::File, Method::GET, &["files", "download"])?;
        call.url.query_pairs_mut().append_pair("path", path);
        call.also = &[416];
        if from > 0 {
            let range = header::HeaderValue::from_str(&format!("bytes={from}-"));
            call.headers.insert(header::RANGE, range.expect("digits are header text"));
        }
        let incoming = toolbox.client().stream(call).await?;
        let bad = |why: String| Error::Download { path: path.to_owned(), why };
        match incoming.status() {
            416 => Ok(Self { incoming: None, skip: 0, end: Some(from) }),
            206 => {
                let range = incoming.header(header::CONTENT_RANGE).and_then(content_range);
                let (start, total) =
                    range.ok_or_else(|| bad("a range without its place".into()))?;
                if start != from {
                    return Err(bad(format!("asked for offset {from}, got {start}")));
                }
                Ok(Self { incoming: Some(incoming), skip: 0, end: total })
            }
            _ => {
                let end = incoming.content_length().map(|len| len.max(from));
                Ok(Self { incoming: Some(incoming), skip: from, end })
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(incoming) = &mut self.incoming else { return Ok(None) };
        while let Some(mut chunk) = incoming.chunk().await? {
            let drop = self.skip.min(chunk.len() as u64);
            self.skip -= drop;
            let rest = chunk.split_off(drop as usize);
            if !rest.is_empty() {
                return Ok(Some(rest));
            }
        }
        Ok(None)
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Incoming({})", self.status())
    }
}

/// Start and total of `bytes 5-9/10`; the total may be `*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, total.trim().parse().ok()))
}

fn boundary() -> String {
    format!("sandbox-coder-{}", uuid::Uuid::new_v4().simple())
}

fn kind_of(boundary: &str) -> String {
    format!("multipart/form-data; boundary={boundary}")
}

/// What stands before a file's bytes: its destination has to come first.
fn part_head(boundary: &str, index: usize, path: &str, first: bool) -> String {
    let lead = if first { "" } else { "\r\n" };
    format!(
        "{lead}--{boundary}\r\nContent-Disposition: form-data; name=\"files[{index}].path\"\r\n\r\n\
         {path}\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"files[{index}].file\"; \
         filename=\"file\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
}

/// A success without a count is old; a count that differs is a lost tail.
fn check(answer: &BulkUpload, path: &str, sent: u64) -> Result<(), Error> {
    let bad = |why: String| Err(Error::Upload { path: path.to_owned(), why });
    if let Some(first) = answer.errors.iter().flatten().next() {
        return bad(super::failure::plain(first));
    }
    match answer.files.iter().flatten().find(|f| f.path == path.trim()) {
        Some(file) if file.bytes == sent => Ok(()),
        Some(file) => bad(format!("{} of {sent} bytes arrived", file.bytes)),
        None => bad("the service did not take it".into()),
    }
}

fn upload_error(path: &str, error: Error) -> Error {
    match error {
        Error::Interrupted { why, .. } => Error::Upload { path: path.to_owned(), why },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_range_is_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("bytes */10"), None);
        assert_eq!(content_range("chunks 1-2/3"), None);
    }
}
