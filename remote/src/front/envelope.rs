//! A light look at one JSON-RPC message (JSON-RPC 2.0, MCP basic): what kind it is, its id, and
//! the tool that it calls. Parameters are not interpreted; rmcp does that afterwards.
//!
//! What is decided here must not be readable in another way behind it: a repeated name, a batch, a
//! message nested past [`MAX_DEPTH`] and an id that isn't a string or an integer are refused, and
//! so are arguments with a number that the JSON parser behind this would round ([`super::strict`]).

use super::strict::{has_inexact_number, repeats_a_name};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::value::RawValue;

/// Deepest nesting of a message.
pub(super) const MAX_DEPTH: usize = 64;

/// Longest id as JSON text, since errors echo it.
pub(super) const MAX_ID_BYTES: usize = 256;

/// Longest method or tool name.
const MAX_NAME_BYTES: usize = 256;

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const INVALID_PARAMS: i32 = -32602;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    /// The id as JSON text; `None` for a notification.
    pub(super) id: Option<String>,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a message is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A call of a tool.
    ToolCall(String),
    /// The handshake of the older protocol revisions.
    Initialize,
    /// Any other request.
    Request,
    /// A notification.
    Notification,
    /// An answer to a request of ours.
    Response,
}

/// Why a body isn't a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// The JSON-RPC code.
    pub(super) code: i32,
    /// What is wrong; holds nothing of the message.
    pub(super) message: &'static str,
    /// The id, where it could be read.
    pub(super) id: Option<String>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    jsonrpc: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present")]
    result: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ToolParams<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Keeps `null` apart from an absent member.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Reads one message.
pub(super) fn parse(body: &[u8]) -> Result<Envelope, Malformed> {
    let refuse = |code, message| Malformed { code, message, id: None };
    let text = core::str::from_utf8(body)
        .map_err(|_| refuse(PARSE_ERROR, "the body isn't UTF-8"))?
        .trim_matches([' ', '\t', '\r', '\n']);
    if text.is_empty() {
        return Err(refuse(PARSE_ERROR, "the body is empty"));
    }
    if is_too_deep(text) {
        return Err(refuse(INVALID_REQUEST, "the message is nested too deeply"));
    }
    if !text.starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) if text.starts_with('[') => {
                refuse(INVALID_REQUEST, "batches aren't supported: send one message a request")
            }
            Ok(_) => refuse(INVALID_REQUEST, "the message isn't an object"),
            Err(_) => refuse(PARSE_ERROR, "the body isn't valid JSON"),
        });
    }
    let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            refuse(INVALID_REQUEST, "a member of the message is repeated or of the wrong type")
        } else {
            refuse(PARSE_ERROR, "the body isn't valid JSON")
        }
    })?;
    classify(&wire)
}

fn classify(wire: &Wire<'_>) -> Result<Envelope, Malformed> {
    let id = match wire.id.map(RawValue::get) {
        Some(id) if is_valid_id(id) => Some(id.to_owned()),
        Some(_) => {
            let message = "the id isn't a string or an integer of a reasonable length";
            return Err(Malformed { code: INVALID_REQUEST, message, id: None });
        }
        None => None,
    };
    let refuse = |message| Err(Malformed { code: INVALID_REQUEST, message, id: id.clone() });
    if wire.jsonrpc.as_deref() != Some("2.0") {
        return refuse("jsonrpc isn't \"2.0\"");
    }
    let Some(method) = wire.method.as_deref() else {
        if id.is_some() && wire.result.is_some() != wire.error.is_some() {
            return Ok(Envelope { id, kind: Kind::Response });
        }
        return refuse("the message is neither a request nor a response");
    };
    if wire.result.is_some() || wire.error.is_some() {
        return refuse("the message is both a request and a response");
    }
    if method.is_empty() || method.len() > MAX_NAME_BYTES {
        return refuse("the method is empty or too long");
    }
    // Said before anything else of the parameters is believed.
    if wire.params.is_some_and(|params| repeats_a_name(params.get())) {
        let message = "a name is given twice in the parameters";
        return Err(Malformed { code: INVALID_PARAMS, message, id });
    }
    let kind = match (method, id.is_some()) {
        ("tools/call", true) => Kind::ToolCall(tool_name(wire, id.as_deref())?),
        ("tools/call" | "initialize", false) => return refuse("this method needs an id"),
        ("initialize", true) => Kind::Initialize,
        (_, true) => Kind::Request,
        (_, false) => Kind::Notification,
    };
    Ok(Envelope { id, kind })
}

fn tool_name(wire: &Wire<'_>, id: Option<&str>) -> Result<String, Malformed> {
    let refuse = |message| Malformed { code: INVALID_PARAMS, message, id: id.map(str::to_owned) };
    let text = wire.params.map_or("null", RawValue::get);
    let params = text
        .starts_with('{')
        .then(|| serde_json::from_str::<ToolParams<'_>>(text).ok())
        .flatten()
        .filter(|params| !params.name.is_empty() && params.name.len() <= MAX_NAME_BYTES)
        .ok_or_else(|| refuse("params.name must be the tool's name, given once"))?;
    if params.arguments.is_some_and(|arguments| has_inexact_number(arguments.get())) {
        let message = "a number in the arguments has more digits than JSON numbers carry \
                       exactly: give it as a string";
        return Err(refuse(message));
    }
    Ok(params.name)
}

fn is_valid_id(text: &str) -> bool {
    if text.len() > MAX_ID_BYTES {
        return false;
    }
    if text.starts_with('"') {
        return true;
    }
    // What is behind this reads integers of 64 bits.
    text.parse::<i64>().is_ok()
}

/// Counts brackets outside strings; exact on valid JSON, and harmless on the rest.
fn is_too_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> i32 {
        parse(text.as_bytes()).unwrap_err().code
    }

    #[test]
    fn messages_are_told_apart() {
        let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call",
            "params":{"name":"ibkr_health","arguments":{}}}"#;
        let call = parse(call.as_bytes()).unwrap();
        assert_eq!(call.kind, Kind::ToolCall("ibkr_health".into()));
        assert_eq!(call.id.as_deref(), Some("7"));
        for (text, kind) in [
            (r#"{"jsonrpc":"2.0","id":"a","method":"initialize"}"#, Kind::Initialize),
            (r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#, Kind::Request),
            (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, Kind::Notification),
            (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, Kind::Response),
            (" \r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{}}\n", Kind::Response),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().kind, kind, "{text}");
        }
    }

    #[test]
    fn an_escaped_tool_name_is_read_like_a_plain_one() {
        let text = r#"{"jsonrpc":"2.0","id":1,"\u006dethod":"tools\/call",
            "params":{"name":"ibkr\u005fhealth"}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap().kind, Kind::ToolCall("ibkr_health".into()));
    }

    #[test]
    fn what_is_not_json_is_a_parse_error() {
        for text in ["", "  ", "{", "tools/call", "{]", "[1", "{\"a\":1}x"] {
            assert_eq!(code(text), PARSE_ERROR, "{text}");
        }
        assert_eq!(parse(b"{\"a\":\"\xff\"}").unwrap_err().code, PARSE_ERROR);
    }

    #[test]
    fn what_is_not_one_message_is_an_invalid_request() {
        for text in [
            "[]",
            r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#,
            r#"["2.0",1,"tools/call"]"#,
            "1",
            "null",
            "{}",
            r#"{"id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":9223372036854775808,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","result":{}}"#,
            r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"ibkr_health"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#,
        ] {
            assert_eq!(code(text), INVALID_REQUEST, "{text}");
        }
    }

    #[test]
    fn a_tool_call_names_its_tool_exactly_once() {
        for params in [
            "null",
            "{}",
            r#"["ibkr_health"]"#,
            r#"{"name":7}"#,
            r#"{"name":""}"#,
            r#"{"name":"ibkr_health","name":"ibkr_paper_order_submit"}"#,
        ] {
            let text =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            let malformed = parse(text.as_bytes()).unwrap_err();
            assert_eq!(malformed.code, INVALID_PARAMS, "{params}");
            assert_eq!(malformed.id.as_deref(), Some("1"));
        }
    }

    #[test]
    fn parameters_that_could_be_read_in_two_ways_are_refused() {
        for params in [
            r#"{"name":"x","arguments":{"side":"BUY","side":"SELL"}}"#,
            r#"{"name":"x","arguments":{"a":{"b":[{"c":1,"\u0063":2}]}}}"#,
            r#"{"name":"x","arguments":{},"arguments":{}}"#,
            r#"{"name":"x","_meta":{"a":1,"a":2}}"#,
            r#"{"name":"x","arguments":{"quantity":100.00000000000000001}}"#,
            r#"{"name":"x","arguments":{"quantity":99999999999999999999}}"#,
        ] {
            let text =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            let malformed = parse(text.as_bytes()).unwrap_err();
            assert_eq!(malformed.code, INVALID_PARAMS, "{params}");
            assert_eq!(malformed.id.as_deref(), Some("1"), "{params}");
        }
        let other = r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":1,"a":2}}"#;
        assert_eq!(code(other), INVALID_PARAMS);
        let long = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x",
            "arguments":{"quantity":"100.00000000000000001","conid":265598,"price":187.25}}}"#;
        assert!(parse(long.as_bytes()).is_ok(), "texts and short numbers pass");
    }

    #[test]
    fn depth_and_id_length_have_a_limit_on_both_sides() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{open}{close}}}"#)
        };
        assert!(parse(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        assert_eq!(code(&nested(MAX_DEPTH)), INVALID_REQUEST);
        assert_eq!(code(&nested(100_000)), INVALID_REQUEST);
        let with_id = |length: usize| {
            format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"x"}}"#, "i".repeat(length))
        };
        assert!(parse(with_id(MAX_ID_BYTES - 2).as_bytes()).is_ok());
        assert_eq!(code(&with_id(MAX_ID_BYTES - 1)), INVALID_REQUEST);
        let brackets_in_text = r#"{"jsonrpc":"2.0","id":1,"method":"x","params":["{{{\"[[["]}"#;
        assert!(parse(brackets_in_text.as_bytes()).is_ok());
    }
}
