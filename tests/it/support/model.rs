//! A model that plays scenarios, for real agents: OpenAI chat, OpenAI responses, Anthropic messages and
//! Gemini's `generateContent`.
//!
//! It keeps no conversation. Which turn it is shows in the request itself: the tool results after the
//! last prompt are counted. So resumed conversations and several agents at once need nothing here, and
//! that an agent remembers can be seen from what it sends.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// A running model; it ends with the runtime.
pub struct Model {
    addr: SocketAddr,
    seen: Arc<Seen>,
}

/// What came in.
#[derive(Default)]
struct Seen {
    hanging: Notify,
    credentials: Mutex<Vec<String>>,
}

impl Model {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let routes = axum::Router::new().fallback(answer).with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { addr, seen }
    }

    /// Returns as soon as a request waits in the scenario `hang`.
    pub async fn hangs(&self) {
        self.seen.hanging.notified().await;
    }

    /// The credentials of all requests so far, in order, each change once.
    pub fn credentials(&self) -> Vec<String> {
        let mut seen = self.seen.credentials.lock().unwrap().clone();
        seen.dedup();
        seen
    }

    /// The address to configure for a scenario: `.../v1` for OpenAI, without it for Anthropic and Gemini.
    ///
    /// Scenarios: `edit` writes hello.txt, `text` only talks, `recall` repeats the words `word-...` of
    /// earlier prompts, `slow` runs a command of two minutes, `pause` one of some seconds, `leave` one that
    /// leaves a process behind, `show` prints variables and logins, `bigline` one that prints a megabyte in
    /// one line, `hang` never answers, `e401` and the like fail with that status.
    pub fn url(&self, scenario: &str) -> String {
        format!("http://{}/{scenario}", self.addr)
    }
}

/// What the model wants done.
enum Want {
    Write { name: &'static str, text: &'static str },
    Run(&'static str),
}

/// One answer.
struct Turn {
    say: String,
    want: Option<Want>,
}

fn turn(scenario: &str, talk: &Talk) -> Turn {
    let say = |text: &str| Turn { say: text.to_owned(), want: None };
    let first = talk.results == 0;
    if talk.tools.is_empty() {
        return say("A title"); // agents ask for one
    }
    match scenario {
        "edit" if first => Turn {
            want: Some(Want::Write { name: "hello.txt", text: "hello\n" }),
            ..say("I will write the file.")
        },
        "edit" => say("The file is written."),
        "slow" if first => {
            Turn { want: Some(Want::Run("echo begun > begun.txt; sleep 120")), ..say("Wait.") }
        }
        "pause" if first => Turn {
            want: Some(Want::Run("echo begun > begun.txt; sleep 5; echo ended > ended.txt")),
            ..say("A moment.")
        },
        "show" if first => Turn {
            want: Some(Want::Run(
                "env; cat ~/.codex/auth.json ~/.claude/.credentials.json ~/.local/share/opencode/auth.json; true",
            )),
            ..say("Let me see.")
        },
        "leave" if first => Turn {
            want: Some(Want::Run(
                "echo begun > begun.txt; setsid sleep 7654 </dev/null >/dev/null 2>&1 &",
            )),
            ..say("I start it.")
        },
        "bigline" if first => Turn {
            want: Some(Want::Run("head -c 1000000 /dev/zero | tr '\\0' x; echo")),
            ..say("Printing.")
        },
        "recall" => say(&format!("You said: {}.", talk.words.join(" "))),
        _ => say("That is all."),
    }
}

/// What a request says, whatever the protocol.
struct Talk {
    /// Tool results after the last prompt.
    results: usize,
    /// Names and schemas.
    tools: Vec<(String, Value)>,
    /// `word-...` in prompts before the last one.
    words: Vec<String>,
    stream: bool,
}

impl Talk {
    fn read(body: &Value) -> Self {
        let messages = ["messages", "input", "contents"].iter().find_map(|name| body.get(name));
        let messages = messages.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let last = messages.iter().rposition(is_prompt).unwrap_or(0);
        let results = messages.iter().skip(last).map(count_results).sum();
        let earlier = messages
            .iter()
            .take(last)
            .filter(|m| is_prompt(m))
            .map(Value::to_string)
            .collect::<String>();
        let mut words: Vec<String> = earlier
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|w| w.starts_with("word-"))
            .map(str::to_owned)
            .collect();
        words.dedup();
        let tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
        let tools = tools
            .flat_map(|t| match t.get("functionDeclarations").and_then(Value::as_array) {
                Some(declared) => declared.iter().collect(),
                None => vec![t.get("function").unwrap_or(t)],
            })
            .filter_map(|t| {
                let schemas = ["input_schema", "parameters", "parametersJsonSchema"];
                let schema = schemas.iter().find_map(|name| t.get(name)).cloned();
                Some((t.get("name")?.as_str()?.to_owned(), schema.unwrap_or_default()))
            });
        let stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
        Self { results, tools: tools.collect(), words, stream }
    }

    /// The call that does what is wanted with the tools on offer.
    fn call(&self, want: &Want) -> (String, Value) {
        let find =
            |names: &[&str]| self.tools.iter().find(|(name, _)| names.contains(&name.as_str()));
        let command = match want {
            Want::Run(command) => (*command).to_owned(),
            Want::Write { name, text } => {
                if let Some((tool, schema)) = find(&["write", "Write"]) {
                    let mut args = fill(schema);
                    for (key, value) in [("filePath", name), ("file_path", name), ("content", text)]
                    {
                        if args.get(key).is_some() {
                            args[key] = json!(value);
                        }
                    }
                    return (tool.clone(), args);
                }
                format!("printf '%s' '{text}' > {name}")
            }
        };
        let shells =
            ["bash", "Bash", "exec_command", "shell", "shell_command", "run_shell_command"];
        let (tool, schema) = find(&shells).expect("a shell tool");
        let mut args = fill(schema);
        if args.get("cmd").is_some() {
            args["cmd"] = json!(command);
        } else if schema.pointer("/properties/command/type") == Some(&json!("array")) {
            args["command"] = json!(["sh", "-c", command]);
        } else {
            args["command"] = json!(command);
        }
        if schema.pointer("/properties/yield_time_ms").is_some() {
            // codex waits ten seconds for a command, then lets the model talk on
            args["yield_time_ms"] = json!(30_000);
        }
        (tool.clone(), args)
    }
}

/// What a person typed, not a tool's answer.
fn is_prompt(message: &Value) -> bool {
    message["role"] == "user" && count_results(message) == 0
}

fn count_results(message: &Value) -> usize {
    let kind = message["type"].as_str().unwrap_or_default();
    if message["role"] == "tool" || kind.ends_with("_output") {
        return 1;
    }
    let blocks = message["content"].as_array().or(message["parts"].as_array());
    let blocks = blocks.map(Vec::as_slice).unwrap_or_default();
    let is_result = |b: &&Value| b["type"] == "tool_result" || b.get("functionResponse").is_some();
    blocks.iter().filter(is_result).count()
}

/// A value for each argument that has to be there.
fn fill(schema: &Value) -> Value {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let value = |name: &str| match schema["properties"][name]["type"].as_str() {
        Some("boolean") => json!(false),
        Some("number" | "integer") => json!(1),
        _ => json!("x"),
    };
    let names = required.iter().filter_map(Value::as_str);
    Value::Object(names.map(|name| (name.to_owned(), value(name))).collect())
}

async fn answer(State(seen): State<Arc<Seen>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let scenario = path.split('/').nth(1).unwrap_or_default().to_owned();
    let credential = ["authorization", "x-api-key", "x-goog-api-key"]
        .iter()
        .find_map(|name| request.headers().get(*name)?.to_str().ok());
    let credential = credential.unwrap_or("none").to_owned();
    let body = axum::body::to_bytes(request.into_body(), 64 << 20).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if path.ends_with("/count_tokens") || path.ends_with(":countTokens") {
        return json_response(StatusCode::OK, &json!({"input_tokens": 100, "totalTokens": 100}));
    }
    let dialect: fn(&Talk, Turn) -> (String, Value) = match path.rsplit(['/', ':']).next() {
        Some("completions") => chat,
        Some("responses") => responses,
        Some("messages") => messages,
        Some("generateContent" | "streamGenerateContent") => generate,
        _ => {
            return json_response(
                StatusCode::NOT_FOUND,
                &json!({"error": {"message": "no such path"}}),
            );
        }
    };
    seen.credentials.lock().unwrap().push(credential);
    if scenario == "hang" {
        seen.hanging.notify_one();
        std::future::pending::<()>().await;
    }
    let status = scenario.strip_prefix('e').and_then(|digits| digits.parse::<u16>().ok());
    if let Some(status) = status.and_then(|code| StatusCode::from_u16(code).ok()) {
        let mut error = json!({"type": "scripted_error", "message": "The model refuses.", "code": null, "param": null});
        if path.contains(':') {
            error = json!({"code": status.as_u16(), "message": "The model refuses.", "status": "SCRIPTED"});
        }
        return json_response(status, &json!({"type": "error", "error": error}));
    }
    let mut talk = Talk::read(&body);
    talk.stream |= path.ends_with(":streamGenerateContent");
    let (events, whole) = dialect(&talk, turn(&scenario, &talk));
    if !talk.stream {
        return json_response(StatusCode::OK, &whole);
    }
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .body(Body::from(events))
        .unwrap()
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    let response =
        Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(body.to_string())).unwrap()
}

fn id(prefix: &str) -> String {
    format!("{prefix}{}", uuid::Uuid::new_v4().simple())
}

/// `POST .../chat/completions`.
fn chat(talk: &Talk, turn: Turn) -> (String, Value) {
    let call = turn.want.as_ref().map(|want| talk.call(want)).map(|(name, args)| {
        json!([{"index": 0, "id": id("call_"), "type": "function", "function": {"name": name, "arguments": args.to_string()}}])
    });
    let finish = if call.is_some() { "tool_calls" } else { "stop" };
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110});
    let mut message = json!({"role": "assistant", "content": turn.say});
    if let Some(call) = call {
        message["tool_calls"] = call;
    }
    let id = id("chatcmpl-");
    let chunk = |delta: &Value, finish: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        json!({"id": id, "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], "usage": usage})
    };
    let events = [chunk(&message, None), chunk(&json!({}), Some(finish))];
    let text: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
    let choice = json!({"index": 0, "message": message, "finish_reason": finish});
    let whole = json!({"id": id, "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage});
    (text + "data: [DONE]\n\n", whole)
}

/// `POST .../responses`.
fn responses(talk: &Talk, turn: Turn) -> (String, Value) {
    let part = json!({"type": "output_text", "text": turn.say, "annotations": []});
    let mut items = vec![
        json!({"type": "message", "id": id("msg_"), "role": "assistant", "status": "completed", "content": [part]}),
    ];
    if let Some((name, args)) = turn.want.as_ref().map(|want| talk.call(want)) {
        items.push(json!({
            "type": "function_call", "id": id("fc_"), "call_id": id("call_"), "name": name,
            "arguments": args.to_string(), "status": "completed"
        }));
    }
    let usage = json!({
        "input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 110
    });
    let response = |status: &str, output: &[Value]| json!({"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status, "output": output, "usage": usage});
    let whole = response("completed", &items);
    let mut events =
        vec![json!({"type": "response.created", "response": response("in_progress", &[])})];
    for (index, item) in items.iter().enumerate() {
        events.push(
            json!({"type": "response.output_item.added", "output_index": index, "item": item}),
        );
        events.push(
            json!({"type": "response.output_item.done", "output_index": index, "item": item}),
        );
    }
    events.push(json!({"type": "response.completed", "response": whole}));
    (named(&events), whole)
}

/// `POST .../messages`.
fn messages(talk: &Talk, turn: Turn) -> (String, Value) {
    let call = turn.want.as_ref().map(|want| talk.call(want));
    let stop = if call.is_some() { "tool_use" } else { "end_turn" };
    let usage = json!({"input_tokens": 100, "output_tokens": 10, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0});
    let message = |content: &[Value], stop: Option<&str>| {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
            "stop_reason": stop, "stop_sequence": null, "usage": usage
        })
    };
    let mut content = vec![json!({"type": "text", "text": turn.say})];
    let mut events = vec![
        json!({"type": "message_start", "message": message(&[], None)}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": turn.say}}),
        json!({"type": "content_block_stop", "index": 0}),
    ];
    if let Some((name, args)) = call {
        let mut block = json!({"type": "tool_use", "id": id("toolu_"), "name": name, "input": {}});
        events.push(json!({"type": "content_block_start", "index": 1, "content_block": block}));
        let delta = json!({"type": "input_json_delta", "partial_json": args.to_string()});
        events.push(json!({"type": "content_block_delta", "index": 1, "delta": delta}));
        events.push(json!({"type": "content_block_stop", "index": 1}));
        block["input"] = args;
        content.push(block);
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": 10}}));
    events.push(json!({"type": "message_stop"}));
    (named(&events), message(&content, Some(stop)))
}

/// Server-sent events named by their type.
fn named(events: &[Value]) -> String {
    events
        .iter()
        .map(|e| format!("event: {}\ndata: {e}\n\n", e["type"].as_str().unwrap_or_default()))
        .collect()
}

/// `POST .../models/MODEL:generateContent` and `:streamGenerateContent?alt=sse`.
fn generate(talk: &Talk, turn: Turn) -> (String, Value) {
    let mut parts = vec![json!({"text": turn.say})];
    if let Some((name, args)) = turn.want.as_ref().map(|want| talk.call(want)) {
        parts.push(json!({"functionCall": {"name": name, "args": args}}));
    }
    let usage =
        json!({"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110});
    let content = json!({"role": "model", "parts": parts});
    let candidate = json!({"content": content, "finishReason": "STOP", "index": 0});
    let whole = json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r"});
    (format!("data: {whole}\n\n"), whole)
}
