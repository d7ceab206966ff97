//! A command's log: as text, as JSON, followed.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;

use super::super::multipart_out::{self, Out};
use super::super::websocket;
use super::command::Command;
use super::marks::{Demux, Stream};
use crate::wire::pty::SDK_VERSION_PREFIX;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// The largest frame of a followed log.
const FRAME: usize = 1024;

/// How a client wants its logs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// Split by us.
    Json,
    /// With markers.
    Marked,
    /// Without.
    Plain,
}

impl Form {
    /// From the version a client names in a header or an offered subprotocol.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let version = header("x-daytona-sdk-version")
            .or_else(|| websocket::offered(headers, SDK_VERSION_PREFIX))
            .filter(|version| !version.is_empty());
        match version {
            Some(version) => Self::of_version(version),
            None if header("x-daytona-split-output") == Some("true") => Self::Marked,
            None => Self::Plain,
        }
    }

    fn of_version(version: &str) -> Self {
        if version.contains("dev") {
            return Self::Json;
        }
        match numbers(version) {
            Some(version) if version >= [0, 167, 0] => Self::Json,
            Some(version) if version < [0, 27, 0] => Self::Plain,
            _ => Self::Marked,
        }
    }
}

/// Whether a client is so old that its sessions start at home.
pub(super) fn starts_at_home(headers: &HeaderMap) -> bool {
    let version = headers.get("x-daytona-sdk-version").and_then(|value| value.to_str().ok());
    version.and_then(numbers).is_some_and(|version| version < [0, 103, 0])
}

/// `v1.2.3-x` as numbers.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let core = version.trim_start_matches('v').split(['-', '+']).next()?;
    let mut parts = core.split('.').map(str::parse);
    let numbers = [parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?];
    parts.next().is_none().then_some(numbers)
}

/// Which bytes of a log.
#[derive(Clone, Copy)]
enum Pick {
    All,
    Unmarked,
    Only(Stream),
}

/// Hands over the picked bytes of the first `length` of a log, piece by piece.
fn pieces(
    command: &Command,
    length: u64,
    pick: Pick,
    mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut file = File::open(command.log_path())?.take(length);
    let mut buffer = vec![0; CHUNK];
    let mut demux = Demux::default();
    loop {
        let read = file.read(&mut buffer)?;
        let mut picked = Vec::new();
        let mut take = |stream: Option<Stream>, bytes: &[u8]| match pick {
            Pick::Only(only) if stream != Some(only) => {}
            _ => picked.extend_from_slice(bytes),
        };
        match (pick, read) {
            (Pick::All, _) => picked.extend_from_slice(&buffer[..read]),
            (_, 0) => demux.finish(&mut take),
            _ => demux.read(&buffer[..read], &mut take),
        }
        each(&picked)?;
        if read == 0 {
            return Ok(());
        }
    }
}

/// Bytes to text in pieces; what is not UTF-8 becomes U+FFFD.
#[derive(Default)]
struct Lossy(Vec<u8>);

impl Lossy {
    fn decode(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        // A character cut at the end waits for its rest.
        let cut = match std::str::from_utf8(&self.0) {
            Err(err) if err.error_len().is_none() => err.valid_up_to(),
            _ => self.whole_up_to(),
        };
        let text = String::from_utf8_lossy(&self.0[..cut]).into_owned();
        self.0.drain(..cut);
        text
    }

    /// Up to where nothing is cut, when there is something wrong before.
    fn whole_up_to(&self) -> usize {
        let length = self.0.len();
        let tail = (1..=3.min(length)).find(|n| self.0[length - n] & 0xc0 == 0xc0);
        match tail {
            Some(n)
                if std::str::from_utf8(&self.0[length - n..])
                    .is_err_and(|e| e.error_len().is_none()) =>
            {
                length - n
            }
            _ => length,
        }
    }

    fn finish(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// Writes one member of a JSON object: its name, and the picked bytes as its text.
fn member(
    out: &Out,
    name: &str,
    command: &Command,
    length: u64,
    pick: Pick,
) -> std::io::Result<()> {
    out.bytes(format!("\"{name}\":\""))?;
    let mut lossy = Lossy::default();
    pieces(command, length, pick, |bytes| out.bytes(escaped(&lossy.decode(bytes))))?;
    out.bytes(escaped(&lossy.finish()))?;
    out.bytes("\"")
}

/// Text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Writes `output`, `stdout` and `stderr` as this form has them in JSON.
fn members(out: &Out, command: &Command, length: u64, form: Form) -> std::io::Result<()> {
    let pick = if form == Form::Plain { Pick::Unmarked } else { Pick::All };
    member(out, "output", command, length, pick)?;
    if form != Form::Json {
        return out.bytes(",\"stdout\":null,\"stderr\":null");
    }
    for (name, stream) in [("stdout", Stream::Stdout), ("stderr", Stream::Stderr)] {
        out.bytes(",")?;
        member(out, name, command, length, Pick::Only(stream))?;
    }
    Ok(())
}

fn typed(body: Body, kind: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The log as it is now. However long it is, only a piece of it is in memory.
pub(super) fn now(command: Arc<Command>, form: Form) -> Response {
    let length = command.progress().borrow().logged;
    match form {
        Form::Json => typed(
            multipart_out::body(move |out| {
                out.bytes("{")?;
                members(out, &command, length, form)?;
                out.bytes("}")
            }),
            JSON,
        ),
        Form::Marked | Form::Plain => {
            let pick = if form == Form::Plain { Pick::Unmarked } else { Pick::All };
            let body = multipart_out::body(move |out| {
                pieces(&command, length, pick, |bytes| out.bytes(bytes.to_vec()))
            });
            typed(body, TEXT)
        }
    }
}

/// The answer of a finished synchronous command.
pub(super) fn executed(command: Arc<Command>, form: Form, exit_code: i32) -> Response {
    let length = command.progress().borrow().logged;
    let body = multipart_out::body(move |out| {
        out.bytes(format!("{{\"cmdId\":\"{}\",", command.id))?;
        members(out, &command, length, form)?;
        out.bytes(format!(",\"exitCode\":{exit_code}}}"))
    });
    typed(body, JSON)
}

/// Sends the log over a WebSocket, and with `follow` what is still to come until the command has ended.
/// Then it closes with 1000, always, whatever the client has sent meanwhile.
pub(super) async fn over_websocket(
    socket: WebSocket,
    command: Arc<Command>,
    form: Form,
    follow: bool,
) {
    let (mut sink, mut stream) = socket.split();
    let (code, reason) = tokio::select! {
        sent = send(&mut sink, &command, form, follow) => match sent {
            Ok(()) => (1000, ""),
            Err(_) => (1011, "the log cannot be read"),
        },
        // Messages mean nothing here, but reading them answers pings and notices the client's leaving.
        () = async { while let Some(Ok(_)) = stream.next().await {} } => return,
    };
    if let Ok(socket) = sink.reunite(stream) {
        websocket::close(socket, code, reason.to_owned()).await;
    }
}

async fn send(
    sink: &mut futures_util::stream::SplitSink<WebSocket, Message>,
    command: &Command,
    form: Form,
    follow: bool,
) -> std::io::Result<()> {
    let mut file = tokio::fs::File::open(command.log_path()).await?;
    let mut progress = command.progress();
    let mut buffer = vec![0; CHUNK];
    let mut demux = Demux::default();
    loop {
        // Looked at before reading: what was logged before the end is read below.
        let seen = *progress.borrow_and_update();
        loop {
            let read = file.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            let mut bytes = buffer[..read].to_vec();
            if form == Form::Plain {
                let mut plain = Vec::with_capacity(read);
                demux.read(&bytes, |_, piece| plain.extend_from_slice(piece));
                bytes = plain;
            }
            frames(sink, &bytes).await?;
        }
        if seen.exit_code.is_some() || !follow {
            break;
        }
        progress.changed().await.map_err(std::io::Error::other)?;
    }
    let mut rest = Vec::new();
    demux.finish(|_, piece| rest.extend_from_slice(piece));
    frames(sink, &rest).await
}

async fn frames(
    sink: &mut futures_util::stream::SplitSink<WebSocket, Message>,
    bytes: &[u8],
) -> std::io::Result<()> {
    for frame in bytes.chunks(FRAME) {
        sink.feed(Message::binary(frame.to_vec())).await.map_err(std::io::Error::other)?;
    }
    sink.flush().await.map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_by_version() {
        for (version, form) in [
            ("0.26.0", Form::Plain),
            ("0.100.0", Form::Marked),
            ("0.166.0", Form::Marked),
            ("0.167.0", Form::Json),
            ("v0.190.0", Form::Json),
            ("0.0.0-dev", Form::Json),
            ("garbage", Form::Marked),
        ] {
            assert_eq!(Form::of_version(version), form, "{version}");
        }
        assert_eq!(Form::wanted(&HeaderMap::new()), Form::Plain);
    }

    proptest! {
        #[test]
        fn text_in_pieces_is_the_text(
            text in prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..40),
            ],
            cuts in proptest::collection::vec(0usize..4, 0..40),
        ) {
            let (mut lossy, mut seen, mut rest) = (Lossy::default(), String::new(), &text[..]);
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                seen.push_str(&lossy.decode(piece));
                rest = after;
            }
            seen.push_str(&lossy.decode(rest));
            seen.push_str(&lossy.finish());
            prop_assert_eq!(seen, String::from_utf8_lossy(&text));
        }
    }
}
