//! The bytes of every relay frame, and what the codec does with bytes that aren't one.
//!
//! The goldens are in `fixtures/wire`; `UPDATE_GOLDEN=1` writes them anew, which is a change of the
//! wire format and belongs into one commit with its reason.
#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "helpers fail the test; one table holds every frame"
)]

use ibkr_agent_domain::{CallId, Digest, ErrorCode, SidecarId};
use ibkr_agent_protocol::relay::frame::{
    Beat, Call, CallerToken, Checkpoint, Credit, Frame, GoAway, GoAwayReason, Hello,
    MAX_FRAME_BYTES, Message, RefusalCount, Refusals, Refuse, RefusedCaller, Renew, RenewRefused,
    Renewed, Reply, Welcome, hello_text,
};
use ibkr_agent_protocol::relay::join::to_hex;
use ibkr_agent_protocol::relay::{DecodeError, JoinToken, decode, encode};
use ibkr_agent_protocol::service::{ErrorBody, ProgressUpdate, Receipt, ToolEvent, ToolReply};
use proptest::prelude::*;
use serde_json::value::RawValue;
use std::path::PathBuf;

const CANARY: &str = "eyJhbGciOiJFZERTQSJ9.canary.signature";

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn call_id() -> CallId {
    CallId::parse("0190d6a0-0000-7000-8000-000000000001").unwrap()
}

fn a_call() -> Call {
    Call {
        call_id: call_id(),
        tool: "ibkr_positions_list".to_owned(),
        arguments: raw(r#"{"account_id":"DU1234567",  "quantity":1.10}"#),
        remaining_ms: 25_000,
        token: CallerToken::new(CANARY.to_owned()),
    }
}

fn a_success() -> ToolReply {
    let mut reply = ToolReply::success(call_id(), raw(r#"{"rows":[["AAPL","1.10"]]}"#));
    reply.audit_event_id = Some("event-7".to_owned());
    reply.receipt = Some(Receipt { key: "00ff".to_owned(), signature: "ff00".to_owned() });
    reply
}

fn a_refused_caller() -> RefusedCaller {
    RefusedCaller {
        reason: "AUTH_MISSING_SCOPE".to_owned(),
        tool: Some("ibkr_paper_order_submit".to_owned()),
        subject: "alice".to_owned(),
        client: Some("agent-1".to_owned()),
        at: 1_800_000_007,
    }
}

fn a_refusal_count() -> RefusalCount {
    RefusalCount { reason: "AUTH_TOKEN_EXPIRED".to_owned(), minute: 1_800_000_000, count: 12 }
}

fn some_refusals() -> Refusals {
    let bare = RefusedCaller {
        reason: "AUTH_RATE_LIMITED".to_owned(),
        tool: None,
        client: None,
        ..a_refused_caller()
    };
    Refusals { callers: vec![a_refused_caller(), bare], counts: vec![a_refusal_count()] }
}

fn samples() -> Vec<(&'static str, Message)> {
    let hash = Digest::of(b"catalogue");
    let failure = ErrorBody::new(ErrorCode::KillSwitchClosed, "Trading is halted.");
    let link = Message::link;
    vec![
        (
            "hello",
            link(Frame::Hello(Hello {
                sidecar_id: SidecarId::parse("home").unwrap(),
                versions: vec![1],
                catalogue_hash: hash,
                software: "ibkr-agent 0.1.0".to_owned(),
                signature: "ab".repeat(64),
            })),
        ),
        (
            "welcome",
            link(Frame::Welcome(Welcome {
                version: 1,
                replica_id: "replica-1".to_owned(),
                catalogue_hash: hash,
                software: "ibkr-agent-remote 0.1.0".to_owned(),
            })),
        ),
        (
            "refuse",
            link(Frame::Refuse(Refuse {
                code: "SIDECAR_SESSION_INVALID".to_owned(),
                message: "The signature is wrong.".to_owned(),
                versions: vec![1],
            })),
        ),
        ("call", Message::call(7, Frame::Call(a_call()))),
        (
            "reply_success",
            Message::call(7, Frame::Reply(Box::new(Reply { reply: a_success(), credit: 1 }))),
        ),
        (
            "reply_failure",
            Message::call(
                8,
                Frame::Reply(Box::new(Reply {
                    reply: ToolReply::failure(call_id(), failure),
                    credit: 1,
                })),
            ),
        ),
        (
            "progress",
            Message::call(
                7,
                Frame::Progress(ProgressUpdate { progress: 2, message: "Waiting.".to_owned() }),
            ),
        ),
        ("cancel", Message::call(7, Frame::Cancel)),
        ("event", link(Frame::Event(ToolEvent { resource: "ibkr://approvals/a-1".to_owned() }))),
        ("credit", link(Frame::Credit(Credit { calls: 128 }))),
        ("ping", link(Frame::Ping(Beat { nonce: 3 }))),
        ("pong", link(Frame::Pong(Beat { nonce: 3 }))),
        ("go_away", link(Frame::GoAway(GoAway { reason: GoAwayReason::ShuttingDown }))),
        ("renew", link(Frame::Renew(Renew { csr_pem: "-----BEGIN".to_owned() }))),
        (
            "renewed",
            link(Frame::Renewed(Renewed {
                certificate_pem: "-----BEGIN".to_owned(),
                expires_at: 1_800_000_000,
            })),
        ),
        (
            "renew_refused",
            link(Frame::RenewRefused(RenewRefused { message: "Not a request.".to_owned() })),
        ),
        ("revoked", link(Frame::Revoked)),
        (
            "checkpoint",
            link(Frame::Checkpoint(Checkpoint { note: "origin\n1\nroot\n".to_owned() })),
        ),
        ("refusals", link(Frame::Refusals(some_refusals()))),
    ]
}

fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../fixtures/wire/{name}.hex"))
}

/// Hexadecimal in lines of 32 bytes, so that a change shows in a diff.
fn to_lines(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| to_hex(line) + "\n");
    lines.collect()
}

fn from_lines(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks_exact(2).map(|pair| core::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn every_frame_has_the_bytes_of_its_golden_file_and_reads_back() {
    for (name, message) in samples() {
        let bytes = encode(&message).unwrap();
        let path = golden_path(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, to_lines(&bytes)).unwrap();
        }
        let golden = from_lines(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            String::from_utf8_lossy(&golden),
            "{name} changed its bytes"
        );
        let again = decode(&golden).unwrap();
        assert_eq!(again.id, message.id);
        assert_eq!(again.frame.kind(), message.frame.kind());
        assert_eq!(encode(&again).unwrap(), golden, "{name} does not read back");
    }
}

#[test]
fn every_frame_type_has_a_golden_file() {
    let kinds: std::collections::BTreeSet<_> =
        samples().iter().map(|(_, message)| message.frame.kind()).collect();
    assert_eq!(kinds.len(), 18);
}

#[test]
fn arguments_and_answers_pass_byte_for_byte() {
    let bytes = encode(&Message::call(7, Frame::Call(a_call()))).unwrap();
    let Frame::Call(call) = decode(&bytes).unwrap().frame else { panic!("not a call") };
    assert_eq!(call.arguments.get(), r#"{"account_id":"DU1234567",  "quantity":1.10}"#);
    let (call, token) = call.split();
    assert_eq!(call.timeout.as_secs(), 25);
    assert_eq!(token.expose(), CANARY);
}

#[test]
fn debug_shows_neither_token_nor_payload_nor_secret() {
    let call = Message::call(7, Frame::Call(a_call()));
    let shown = format!("{call:?} {call:#?}");
    assert!(!shown.contains("canary") && !shown.contains("DU1234567"), "{shown}");
    assert!(shown.contains("ibkr_positions_list"));
    let reply = Message::call(7, Frame::Reply(Box::new(Reply { reply: a_success(), credit: 1 })));
    assert!(!format!("{reply:?}").contains("AAPL"));
    let join = JoinToken::new(SidecarId::parse("home").unwrap(), Digest::of(b"ca"), [0xab; 32]);
    assert!(!format!("{join:?}").contains("abab"));
}

#[test]
fn unknown_fields_are_ignored() {
    let mut bytes = 0_u64.to_be_bytes().to_vec();
    bytes.extend_from_slice(
        br#"{"type":"credit","later":{"a":[1]},"body":{"calls":3,"also":"later"}}"#,
    );
    assert!(matches!(decode(&bytes).unwrap().frame, Frame::Credit(Credit { calls: 3 })));
}

#[test]
fn a_newer_sidecars_error_receipt_and_event_are_still_read() {
    let digest = Digest::of(b"");
    let reply = format!(
        r#"{{"type":"reply","body":{{"call_id":"c","failure":{{"code":"X","message":"m",
        "retryable":false,"user_action":"a","audit_event_id":null,"call_id":null,"later":1}},
        "output_hash":"{digest}","receipt":{{"key":"k","signature":"s","later":1}},"credit":1}}}}"#
    );
    let event = r#"{"type":"event","body":{"resource":"ibkr://x","later":1}}"#;
    for (id, text) in [(7_u64, reply.as_str()), (0, event)] {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        assert!(decode(&bytes).is_ok(), "{text}");
    }
}

#[test]
fn an_unknown_reason_is_read_as_other() {
    let mut bytes = 0_u64.to_be_bytes().to_vec();
    bytes.extend_from_slice(br#"{"type":"go_away","body":{"reason":"moon_phase"}}"#);
    let Frame::GoAway(go_away) = decode(&bytes).unwrap().frame else { panic!("not go_away") };
    assert_eq!(go_away.reason, GoAwayReason::Other);
}

#[test]
fn an_unknown_type_is_refused_by_name() {
    for name in ["approve", "operator_resume", "halt"] {
        let mut bytes = 0_u64.to_be_bytes().to_vec();
        bytes.extend_from_slice(format!(r#"{{"type":"{name}","body":{{}}}}"#).as_bytes());
        let error = decode(&bytes).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(matches!(error, DecodeError::UnknownType { .. }));
    }
}

#[test]
fn ids_belong_to_calls_and_only_to_calls() {
    let mut call = encode(&Message::call(7, Frame::Cancel)).unwrap();
    call[..8].fill(0);
    assert!(matches!(decode(&call), Err(DecodeError::WrongId { kind: "cancel", id: 0 })));
    let mut ping = encode(&Message::link(Frame::Ping(Beat { nonce: 1 }))).unwrap();
    ping[7] = 1;
    assert!(matches!(decode(&ping), Err(DecodeError::WrongId { kind: "ping", id: 1 })));
}

#[test]
fn limits_hold_on_both_sides_of_each() {
    let mut call = a_call();
    call.tool = "t".repeat(128);
    assert!(encode(&Message::call(1, Frame::Call(call.clone()))).is_ok());
    call.tool.push('t');
    assert!(encode(&Message::call(1, Frame::Call(call))).is_err());

    let mut call = a_call();
    call.arguments = raw(&format!("\"{}\"", "a".repeat(64 * 1024 - 2)));
    assert!(encode(&Message::call(1, Frame::Call(call.clone()))).is_ok());
    call.arguments = raw(&format!("\"{}\"", "a".repeat(64 * 1024 - 1)));
    assert!(encode(&Message::call(1, Frame::Call(call))).is_err());

    let mut call = a_call();
    call.token = CallerToken::new("a".repeat(8 * 1024));
    assert!(encode(&Message::call(1, Frame::Call(call.clone()))).is_ok());
    call.token = CallerToken::new("a".repeat(8 * 1024 + 1));
    assert!(encode(&Message::call(1, Frame::Call(call))).is_err());

    let body = raw(&format!("\"{}\"", "a".repeat(MAX_FRAME_BYTES)));
    let reply = Reply { reply: ToolReply::success(call_id(), body), credit: 1 };
    assert!(encode(&Message::call(1, Frame::Reply(Box::new(reply)))).is_err());
    assert!(matches!(decode(&vec![b' '; MAX_FRAME_BYTES + 1]), Err(DecodeError::TooLong { .. })));
    assert!(matches!(decode(&[0; 7]), Err(DecodeError::TooShort { length: 7 })));
}

/// A `refusals` of the given sizes: callers, counts, and bytes of reason, tool, subject, client.
fn refusals_of([callers, counts, reason, tool, subject, client]: [usize; 6]) -> Message {
    let caller = RefusedCaller {
        reason: "r".repeat(reason),
        tool: Some("t".repeat(tool)),
        subject: "s".repeat(subject),
        client: Some("c".repeat(client)),
        at: u64::MAX,
    };
    let count = RefusalCount { reason: "r".repeat(reason), minute: u64::MAX, count: u64::MAX };
    let callers = vec![caller; callers];
    Message::link(Frame::Refusals(Refusals { callers, counts: vec![count; counts] }))
}

#[test]
fn refusals_are_bounded_on_both_sides_of_each_limit_and_both_ways() {
    let most = [64, 32, 64, 128, 256, 256];
    let bytes = encode(&refusals_of(most)).unwrap();
    assert!(decode(&bytes).is_ok());
    for (at, field) in
        ["callers", "counts", "reason", "tool", "subject", "client"].into_iter().enumerate()
    {
        let mut more = most;
        more[at] += 1;
        let message = refusals_of(more);
        let error = encode(&message).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field} of a refusals frame")), "{error}");
        let Frame::Refusals(body) = &message.frame else { unreachable!() };
        let text = serde_json::json!({"type": "refusals", "body": body}).to_string();
        let mut bytes = 0_u64.to_be_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        let error = decode(&bytes).unwrap_err();
        assert!(matches!(error, DecodeError::Limit { field: named, .. } if named == field));
    }
    // The reason of a count is bounded by itself too.
    let mut alone = refusals_of([0, 1, 65, 0, 0, 0]);
    assert!(encode(&alone).is_err());
    alone = refusals_of([0, 1, 64, 0, 0, 0]);
    assert!(encode(&alone).is_ok());
}

#[test]
fn a_newer_remotes_refusals_are_still_read_and_an_absent_list_is_empty() {
    let text = r#"{"type":"refusals","body":{"later":1,"counts":[{"reason":"LATER_CODE",
        "minute":60,"count":3,"later":{}}]}}"#;
    let mut bytes = 0_u64.to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    let Frame::Refusals(refusals) = decode(&bytes).unwrap().frame else { panic!("not refusals") };
    let counted = RefusalCount { reason: "LATER_CODE".to_owned(), minute: 60, count: 3 };
    assert_eq!(refusals, Refusals { callers: Vec::new(), counts: vec![counted] });
}

#[test]
fn a_reply_is_either_a_success_or_a_failure() {
    for body in [
        r#""success":{},"failure":{"code":"X","message":"","retryable":false,"user_action":""},"#,
        "",
    ] {
        let mut bytes = 7_u64.to_be_bytes().to_vec();
        let digest = Digest::of(b"");
        let text = format!(
            "{{\"type\":\"reply\",\"body\":{{\"call_id\":\"c\",{body}\"output_hash\":\"{digest}\",\
             \"credit\":1}}}}"
        );
        bytes.extend_from_slice(text.as_bytes());
        assert!(matches!(decode(&bytes), Err(DecodeError::Body { kind: "reply", .. })), "{text}");
    }
}

#[test]
fn the_signed_text_of_hello_names_channel_sidecar_versions_and_catalogue() {
    let id = SidecarId::parse("home").unwrap();
    let text = hello_text(&[0x5a; 32], &id, &[1, 2], &Digest::of(b""));
    let expected = format!(
        "ibkr-agent-relay-hello/v1\n{}\nhome\n1,2\n{}\n",
        "5a".repeat(32),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(text, expected);
}

#[test]
fn a_join_token_reads_back_and_anything_else_is_refused() {
    let id = SidecarId::parse("home.office-1").unwrap();
    let join = JoinToken::new(id, Digest::of(b"ca"), [7; 32]);
    let text = join.expose();
    let again = JoinToken::parse(&text).unwrap();
    assert_eq!(again.sidecar_id(), join.sidecar_id());
    assert_eq!(again.ca_fingerprint(), join.ca_fingerprint());
    assert_eq!(again.hash(), join.hash());
    let (front, _) = text.rsplit_once('/').unwrap();
    let short = text.get(..text.len() - 1).unwrap();
    for wrong in ["", "ibkr-join-v1", front, short, &format!("{}/x", text.as_str())] {
        assert!(JoinToken::parse(wrong).is_err());
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn mutated_goldens_never_panic_and_what_decodes_encodes(
        which in 0_usize..19,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (_, message) = samples().swap_remove(which);
        let mut bytes = encode(&message).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = decode(&bytes) {
            prop_assert!(encode(&message).is_ok());
        }
        bytes.truncate(cut.index(bytes.len()));
        let _ = decode(&bytes);
    }
}
