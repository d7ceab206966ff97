//! A proxy that behaves as the daemon of a real Daytona does on its bad days, in random order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::runtime;
use crate::support::faulty_proxy::{Fault, FaultyProxy, Seeded};

/// Faults of one run beyond which it is left in peace, so that it ends in a time worth testing.
const SOCKET_FAULTS: usize = 4;
const CALL_FAULTS: usize = 6;
/// So many calls in a row fail at most: a service that is down for longer is another promise.
const IN_A_ROW: usize = 2;

/// The proxy and its mood.
pub struct Daemon {
    proxy: FaultyProxy,
    mood: Arc<Mutex<Mood>>,
}

impl Daemon {
    /// Starts one in front of a server.
    pub fn start(upstream: &str, seed: usize) -> Self {
        let upstream: SocketAddr = upstream.parse().unwrap();
        let mood = Arc::new(Mutex::new(Mood::new(seed as u64)));
        let shared = mood.clone();
        let choose = move |name: &str, _| shared.lock().unwrap().fault(name);
        let proxy = runtime().block_on(FaultyProxy::start(upstream, choose));
        Self { proxy, mood }
    }

    /// What the client is told to talk to.
    pub fn api_url(&self) -> String {
        format!("http://{}/api", self.proxy.addr)
    }

    /// A new run begins, with an agent that will end with this exit status.
    pub fn next_run(&self, number: usize, exit: i32) {
        let mut mood = self.mood.lock().unwrap();
        mood.dice = Seeded::new(number as u64);
        mood.exit = exit;
        mood.old = number.is_multiple_of(2);
        (mood.sockets, mood.calls, mood.outage, mood.in_a_row) = (0, 0, 0, 0);
    }

    /// How often each fault was chosen so far.
    pub fn given(&self) -> BTreeMap<&'static str, usize> {
        self.mood.lock().unwrap().given.clone()
    }
}

struct Mood {
    dice: Seeded,
    exit: i32,
    /// The generation that makes and opens terminals in two calls.
    old: bool,
    sockets: usize,
    calls: usize,
    in_a_row: usize,
    /// So many requests more are answered by nobody.
    outage: usize,
    closed: BTreeSet<String>,
    given: BTreeMap<&'static str, usize>,
}

impl Mood {
    fn new(seed: u64) -> Self {
        Self {
            dice: Seeded::new(seed),
            exit: 0,
            old: false,
            sockets: 0,
            calls: 0,
            in_a_row: 0,
            outage: 0,
            closed: BTreeSet::new(),
            given: BTreeMap::new(),
        }
    }

    fn fault(&mut self, name: &str) -> Fault {
        let (word, fault) = self.choose(name);
        if !word.is_empty() {
            *self.given.entry(word).or_default() += 1;
        }
        fault
    }

    fn choose(&mut self, name: &str) -> (&'static str, Fault) {
        let toolbox = name.contains(" /toolbox/");
        if self.old && name.contains("/pty/create-connect") {
            return ("", Fault::Answer("404 Not Found", JSON, NO_TERMINAL));
        }
        if self.outage > 0 && toolbox {
            self.outage -= 1;
            self.in_a_row += 1;
            return ("502 for a moment", Fault::Answer("502 Bad Gateway", "", ""));
        }
        if name.contains("/connect") || name.contains("/create-connect") {
            self.sockets += 1;
            return if self.sockets > SOCKET_FAULTS { ("", Fault::None) } else { self.socket() };
        }
        if name.starts_with("DELETE ") && name.contains("/process/pty/") {
            // The first try of each only: a terminal that cannot be closed at all cannot be asked for.
            if !self.closed.insert(name.to_owned()) {
                return ("", Fault::None);
            }
            return match self.dice.below(8) {
                0 => ("404 after exit", Fault::Instead("404 Not Found")),
                1 => ("close answer lost", Fault::DropAnswer),
                _ => ("", Fault::None),
            };
        }
        let spared = self.calls >= CALL_FAULTS || self.in_a_row >= IN_A_ROW;
        if spared || !toolbox && !name.starts_with("GET ") {
            self.in_a_row = 0;
            return ("", Fault::None);
        }
        let (word, fault) = self.call(name);
        self.in_a_row = if word.is_empty() { 0 } else { self.in_a_row + 1 };
        self.calls += usize::from(!word.is_empty());
        (word, fault)
    }

    fn socket(&mut self) -> (&'static str, Fault) {
        let frames = self.dice.below(24);
        let exit = self.exit;
        match self.dice.below(100) {
            0..45 => {
                let reason = format!("{{\"exitCode\":{exit}}}");
                let code = if exit == 0 { 1000 } else { 1011 };
                match self.dice.below(4) {
                    0 => ("tail withheld, 1006", Fault::Withhold(frames % 6, 1006, String::new())),
                    1 => {
                        let reason = "slow consumer".to_owned();
                        ("tail withheld, 1008", Fault::Withhold(frames % 6, 1008, reason))
                    }
                    _ => ("tail withheld, exit status", Fault::Withhold(frames % 6, code, reason)),
                }
            }
            45..55 => ("close 1008", Fault::Close(frames, 1008)),
            55..65 => {
                let code = [1000, 1001, 1011, 1012][self.dice.below(4)];
                ("close at random", Fault::Close(frames, code))
            }
            65..72 => ("cut between frames", Fault::DropFrame(frames)),
            72..82 => ("cut at a byte", Fault::CutAnswer(self.dice.below(6000))),
            82 if self.dice.below(2) == 0 => ("half open", Fault::HalfOpen(frames)),
            _ => ("", Fault::None),
        }
    }

    fn call(&mut self, name: &str) -> (&'static str, Fault) {
        let post = name.starts_with("POST ");
        match self.dice.below(600) {
            0..40 if post => ("delivered twice", Fault::Replay),
            40..70 => ("answer lost", Fault::DropAnswer),
            70..90 => ("answer cut", Fault::CutAnswer(self.dice.below(400))),
            90..115 => {
                let late = Duration::from_millis(200 + self.dice.below(800) as u64);
                ("answer late", Fault::Late(late))
            }
            115..145 => {
                ("500 empty status", Fault::Answer("500 Internal Server Error", JSON, EMPTY_STATUS))
            }
            145..160 => {
                self.outage = self.dice.below(2);
                ("502 for a moment", Fault::Answer("502 Bad Gateway", "", ""))
            }
            160 => ("no answer ever", Fault::Silent),
            _ => ("", Fault::None),
        }
    }
}

const JSON: &str = "Content-Type: application/json\r\n";
const NO_TERMINAL: &str = "{\"error\":\"PTY session not found\"}";
const EMPTY_STATUS: &str = "{\"error\":\"failed to convert exit code to int: strconv.Atoi: parsing \\\"\\\": invalid syntax\"}";
