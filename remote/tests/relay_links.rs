//! Links over real sockets: who gets one, who loses it, and what calls see of that.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail the test where they can't go on"
)]

#[path = "relay_support/world.rs"]
mod relay_support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ibkr_agent_domain::ErrorCode;
use ibkr_agent_protocol::relay::frame::{Beat, Credit, Frame, GoAwayReason, Message, Renew, Reply};
use ibkr_agent_protocol::service::{Progress, ToolCall, ToolEvent, ToolReply};
use ibkr_agent_remote::pki::Pki;
use ibkr_agent_remote::relay::SidecarRoute as _;
use ibkr_agent_token::BearerToken;
use rcgen::ExtendedKeyUsagePurpose;
use relay_support::{Member, Relay, Shown, Socket, hear, id, say, say_of, soon};
use rustls::HandshakeKind;
use rustls::client::Resumption;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "canary.token.value";

fn a_call(tool: &str) -> ToolCall {
    ToolCall::new(tool, RawValue::from_string(r#"{"a":1}"#.to_owned()).unwrap())
}

/// Calls in the background, as the front does.
fn call(relay: &Relay, tool: &str) -> tokio::task::JoinHandle<ToolReply> {
    let routes = relay.handle.routes().clone();
    let call = a_call(tool);
    tokio::spawn(async move {
        let token = BearerToken::parse(TOKEN).unwrap();
        let cancelled = CancellationToken::new();
        routes.call(&id("home"), &token, call, Progress::ignored(), cancelled).await
    })
}

fn code(reply: &ToolReply) -> Option<ErrorCode> {
    reply.result.as_ref().err().and_then(ibkr_agent_protocol::service::ErrorBody::error_code)
}

async fn grant(socket: &mut Socket) {
    say(socket, Frame::Credit(Credit { calls: 128 })).await;
}

async fn hear_call(socket: &mut Socket) -> (u64, ibkr_agent_protocol::relay::frame::Call) {
    let Message { id, frame: Frame::Call(call) } = hear(socket).await.expect("link over") else {
        panic!("not a call");
    };
    (id, call)
}

/// What a refused certificate looks like from the client: an alert, whenever it is read.
async fn alert(relay: &Relay, shown: &Shown) -> String {
    match relay.open(shown).await {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The status of a refused upgrade.
async fn refused(relay: &Relay, shown: &Shown) -> u16 {
    match relay.open(shown).await {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        other => panic!("not refused over HTTP: {:?}", other.map(|_| ())),
    }
}

#[tokio::test]
async fn a_call_reaches_the_sidecar_with_its_token_and_the_answer_comes_back() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let mut socket = relay.link(&member).await;
    grant(&mut socket).await;
    let pending = call(&relay, "ibkr_positions_list");
    let (number, frame) = hear_call(&mut socket).await;
    assert_eq!(frame.token.expose(), TOKEN);
    assert_eq!(frame.arguments.get(), r#"{"a":1}"#);
    assert!(frame.remaining_ms <= 30_000 && frame.remaining_ms > 20_000);
    let body = RawValue::from_string(r#"{"rows":[]}"#.to_owned()).unwrap();
    let reply = ToolReply::success(frame.call_id.clone(), body);
    say_of(&mut socket, number, Frame::Reply(Box::new(Reply { reply, credit: 1 }))).await;
    let reply = soon(pending).await.unwrap();
    assert_eq!(reply.result.unwrap().get(), r#"{"rows":[]}"#);
    assert_eq!(relay.handle.routes().connected(), [id("home")]);
}

#[tokio::test]
async fn a_call_that_no_frame_can_hold_ends_alone_and_not_the_link() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let mut socket = relay.link(&member).await;
    grant(&mut socket).await;
    let innocent = call(&relay, "ibkr_paper_order_submit");
    let (number, frame) = hear_call(&mut socket).await;
    // 65 characters, and more bytes than a tool's name may have.
    let reply = soon(call(&relay, &"\u{20ac}".repeat(65))).await.unwrap();
    assert_eq!(code(&reply), Some(ErrorCode::InputInvalid));
    let body = RawValue::from_string("{}".to_owned()).unwrap();
    let reply = ToolReply::success(frame.call_id.clone(), body);
    say_of(&mut socket, number, Frame::Reply(Box::new(Reply { reply, credit: 1 }))).await;
    assert!(soon(innocent).await.unwrap().result.is_ok());
    assert!(relay.handle.routes().is_connected(&id("home")));
}

#[tokio::test]
async fn without_a_link_the_sidecar_is_unavailable() {
    let relay = Relay::start().await;
    relay.pair("home").await;
    let reply = soon(call(&relay, "ibkr_paper_order_submit")).await.unwrap();
    assert_eq!(code(&reply), Some(ErrorCode::SidecarUnavailable));
    assert!(!relay.handle.routes().is_connected(&id("home")));
}

#[tokio::test]
async fn a_link_cut_in_flight_leaves_a_write_unknown_and_a_read_to_repeat() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let mut socket = relay.link(&member).await;
    grant(&mut socket).await;
    let write = call(&relay, "ibkr_paper_order_submit");
    let (_, sent) = hear_call(&mut socket).await;
    let read = call(&relay, "ibkr_positions_list");
    hear_call(&mut socket).await;
    drop(socket);
    let write = soon(write).await.unwrap();
    assert_eq!(code(&write), Some(ErrorCode::CallOutcomeUnknown));
    let error = write.result.unwrap_err();
    assert_eq!(error.call_id.as_deref(), Some(sent.call_id.as_str()));
    assert!(!error.retryable);
    let read = soon(read).await.unwrap();
    assert_eq!(code(&read), Some(ErrorCode::SidecarUnavailable));
    assert!(read.result.unwrap_err().retryable);
}

#[tokio::test]
async fn a_dropped_caller_cancels_the_call() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let mut socket = relay.link(&member).await;
    grant(&mut socket).await;
    let pending = call(&relay, "ibkr_positions_list");
    let (number, _) = hear_call(&mut socket).await;
    pending.abort();
    let cancel = hear(&mut socket).await.unwrap();
    assert_eq!(cancel.id, number);
    assert!(matches!(cancel.frame, Frame::Cancel));
}

#[tokio::test]
async fn events_reach_those_who_listen() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let mut events = relay.handle.routes().events();
    let mut socket = relay.link(&member).await;
    let event = ToolEvent { resource: "ibkr://approvals/1".to_owned() };
    say(&mut socket, Frame::Event(event.clone())).await;
    assert_eq!(soon(events.recv()).await.unwrap(), (id("home"), event));
}

#[tokio::test]
async fn certificates_that_are_not_the_relays_own_are_refused_in_the_handshake() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;

    let elsewhere = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let other = Pki::open(elsewhere.path(), "localhost", now).unwrap();
    let hour = Duration::from_secs(3600);
    let issue = |pki: &Pki, now| {
        let issued = pki.issue_client(&member.csr(), &member.id, hour, now).unwrap();
        Shown { certificate_pem: issued.certificate_pem, ..member.shown.clone() }
    };
    assert_eq!(alert(&relay, &issue(&relay.pki, now)).await, "accepted");
    let foreign = alert(&relay, &issue(&other, now)).await;
    assert!(foreign.contains("DecryptError") || foreign.contains("UnknownCA"), "{foreign}");
    let expired = alert(&relay, &issue(&relay.pki, now - 2 * hour)).await;
    assert!(expired.contains("CertificateExpired"), "{expired}");
    let future = alert(&relay, &issue(&relay.pki, now + 2 * hour)).await;
    assert!(future.contains("alert"), "{future}");

    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let server = alert(&relay, &relay.forge("home", usage.clone())).await;
    assert!(server.contains("UnsupportedCertificate"), "{server}");
    let server = alert(&relay, &relay.forge_with("relay-server-ca.pem", "home", usage)).await;
    assert!(server.contains("alert"), "{server}");
}

#[tokio::test]
async fn no_certificate_and_no_pairing_get_no_link() {
    let relay = Relay::start().await;
    let stream = relay.connect(&Arc::new(relay.tls(None))).await.unwrap();
    let Err(tungstenite::Error::Http(response)) = relay.upgrade(stream).await else {
        panic!("not refused");
    };
    assert_eq!(response.status(), 401);
    let nobody = relay.forge("nobody", ExtendedKeyUsagePurpose::ClientAuth);
    assert_eq!(refused(&relay, &nobody).await, 403);
}

#[tokio::test]
async fn a_stolen_authority_key_alone_does_not_make_a_sidecar() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let forged = relay.forge("home", ExtendedKeyUsagePurpose::ClientAuth);
    let thief = Member::new("home");
    let (mut socket, exporter) = relay.open(&forged).await.unwrap();
    say(&mut socket, Frame::Hello(thief.hello(&exporter))).await;
    let Frame::Refuse(refuse) = hear(&mut socket).await.unwrap().frame else {
        panic!("not refused");
    };
    assert_eq!(refuse.code, "SIDECAR_SESSION_INVALID");
    assert!(hear(&mut socket).await.is_none());
    assert!(!relay.handle.routes().is_connected(&id("home")));
    // The true identity key over the same forged certificate is the true sidecar.
    let (mut socket, exporter) = relay.open(&forged).await.unwrap();
    say(&mut socket, Frame::Hello(member.hello(&exporter))).await;
    assert!(matches!(hear(&mut socket).await.unwrap().frame, Frame::Welcome(_)));
}

#[tokio::test]
async fn a_hello_of_another_connection_or_sidecar_is_refused() {
    let relay = Relay::start().await;
    let home = relay.pair("home").await;
    let office = relay.pair("office").await;
    let (_, first) = relay.open(&home.shown).await.unwrap();
    let (mut socket, second) = relay.open(&home.shown).await.unwrap();
    assert_ne!(first, second);
    say(&mut socket, Frame::Hello(home.hello(&first))).await;
    assert!(matches!(hear(&mut socket).await.unwrap().frame, Frame::Refuse(_)));
    let (mut socket, exporter) = relay.open(&home.shown).await.unwrap();
    say(&mut socket, Frame::Hello(office.hello(&exporter))).await;
    assert!(matches!(hear(&mut socket).await.unwrap().frame, Frame::Refuse(_)));
    assert!(relay.handle.routes().connected().is_empty());
}

#[tokio::test]
async fn a_version_that_nobody_speaks_is_refused_and_the_old_link_stays() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let mut old = relay.link(&member).await;
    let (mut socket, exporter) = relay.open(&member.shown).await.unwrap();
    let mut hello = member.hello(&exporter);
    hello.versions = vec![7];
    let text = ibkr_agent_protocol::relay::frame::hello_text(
        &exporter,
        &member.id,
        &[7],
        &hello.catalogue_hash,
    );
    let signature = member.identity.sign(text.as_bytes());
    hello.signature = ibkr_agent_protocol::relay::join::to_hex(signature.as_ref());
    say(&mut socket, Frame::Hello(hello)).await;
    let Frame::Refuse(refuse) = hear(&mut socket).await.unwrap().frame else {
        panic!("not refused");
    };
    assert_eq!(refuse.versions, [1]);
    say(&mut old, Frame::Ping(Beat { nonce: 5 })).await;
    assert!(matches!(hear(&mut old).await.unwrap().frame, Frame::Pong(Beat { nonce: 5 })));
}

#[tokio::test]
async fn revoking_cuts_the_live_link_at_once_and_keeps_it_cut() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let mut socket = relay.link(&member).await;
    grant(&mut socket).await;
    let pending = call(&relay, "ibkr_paper_order_submit");
    hear_call(&mut socket).await;
    relay.handle.pairing().revoke(id("home")).await.unwrap();
    assert!(matches!(hear(&mut socket).await.unwrap().frame, Frame::Revoked));
    assert!(hear(&mut socket).await.is_none());
    assert_eq!(code(&soon(pending).await.unwrap()), Some(ErrorCode::CallOutcomeUnknown));
    assert_eq!(refused(&relay, &member.shown).await, 403);
    assert!(relay.handle.routes().route_for(relay_support::ISSUER, "user-of-home").is_err());
}

#[tokio::test]
async fn tls_sessions_are_never_resumed_so_a_revoked_certificate_can_not_ride_on_one() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let mut config = relay.tls(Some(&member.shown));
    config.resumption = Resumption::in_memory_sessions(16);
    let config = Arc::new(config);
    for _ in 0..3 {
        let stream = relay.connect(&config).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        // Reading lets tickets in, if any were sent.
        relay.upgrade(stream).await.unwrap();
    }
    relay.handle.pairing().revoke(id("home")).await.unwrap();
    let stream = relay.connect(&config).await.unwrap();
    assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    let Err(tungstenite::Error::Http(response)) = relay.upgrade(stream).await else {
        panic!("not refused");
    };
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn the_newest_link_wins_and_the_displaced_one_is_told() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let mut old = relay.link(&member).await;
    grant(&mut old).await;
    let pending = call(&relay, "ibkr_positions_list");
    let (number, sent) = hear_call(&mut old).await;
    let mut new = relay.link(&member).await;
    grant(&mut new).await;
    let Frame::GoAway(go_away) = hear(&mut old).await.unwrap().frame else {
        panic!("not displaced");
    };
    assert_eq!(go_away.reason, GoAwayReason::Displaced);
    let next = call(&relay, "ibkr_positions_list");
    hear_call(&mut new).await;
    // What was in flight on the old link may still finish there.
    let body = RawValue::from_string("{}".to_owned()).unwrap();
    let reply = ToolReply::success(sent.call_id, body);
    say_of(&mut old, number, Frame::Reply(Box::new(Reply { reply, credit: 1 }))).await;
    assert!(soon(pending).await.unwrap().result.is_ok());
    assert!(hear(&mut old).await.is_none());
    assert!(relay.handle.routes().is_connected(&id("home")));
    next.abort();
}

#[tokio::test]
async fn a_renewal_over_the_link_gives_this_sidecar_a_new_certificate() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let mut socket = relay.link(&member).await;
    let fresh = Member::new("office");
    say(&mut socket, Frame::Renew(Renew { csr_pem: fresh.csr() })).await;
    let Frame::Renewed(renewed) = hear(&mut socket).await.unwrap().frame else {
        panic!("not renewed");
    };
    let shown = fresh.with_certificate(renewed.certificate_pem).shown;
    let der = shown.certificate();
    let peer = ibkr_agent_remote::pki::peer_identity(&der).unwrap();
    assert_eq!(peer.sidecar, id("home"));
    relay.open(&shown).await.unwrap();
    say(&mut socket, Frame::Renew(Renew { csr_pem: "nothing".to_owned() })).await;
    assert!(matches!(hear(&mut socket).await.unwrap().frame, Frame::RenewRefused(_)));
}

#[tokio::test]
async fn a_link_takes_no_calls_past_the_end_of_its_certificate() {
    let relay =
        Relay::start_with(|config| config.certificate_lifetime = Duration::from_secs(2)).await;
    let member = relay.pair("home").await;
    let mut socket = relay.link(&member).await;
    let Frame::GoAway(go_away) = hear(&mut socket).await.unwrap().frame else {
        panic!("not gone away");
    };
    assert_eq!(go_away.reason, GoAwayReason::CertificateExpired);
    assert!(hear(&mut socket).await.is_none());
    assert!(!relay.handle.routes().is_connected(&id("home")));
}

#[tokio::test]
async fn unreadable_frames_and_text_end_the_link() {
    use futures_util::SinkExt as _;
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    for message in [
        tungstenite::Message::Text("hello".into()),
        tungstenite::Message::Binary(vec![0; 16].into()),
        tungstenite::Message::Binary(
            [&[0_u8; 8][..], br#"{"type":"approve","body":{}}"#].concat().into(),
        ),
    ] {
        let mut socket = relay.link(&member).await;
        socket.send(message).await.unwrap();
        assert!(hear(&mut socket).await.is_none());
    }
}

#[tokio::test]
async fn silent_and_foreign_clients_stop_nobody() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(relay.address()).await.unwrap());
    }
    let mut plain = TcpStream::connect(relay.address()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(soon(plain.read_to_end(&mut answer)).await);
    assert!(!answer.starts_with(b"HTTP"));
    drop(relay.link(&member).await);
}

#[tokio::test]
async fn another_server_name_gets_no_certificate() {
    let relay = Relay::start().await;
    let stream = TcpStream::connect(relay.address()).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("mcp.test").unwrap();
    let config = Arc::new(relay.tls(None));
    let result = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
    let error = soon(async { result }).await.unwrap_err();
    assert!(error.get_ref().is_none_or(|inner| !inner.to_string().contains("certificate")));
}

#[tokio::test]
async fn stopping_lets_calls_in_flight_finish() {
    let relay = Relay::start().await;
    let member = relay.pair("home").await;
    let mut socket = relay.link(&member).await;
    grant(&mut socket).await;
    let pending = call(&relay, "ibkr_paper_order_submit");
    let (number, sent) = hear_call(&mut socket).await;
    relay.shutdown.cancel();
    assert!(matches!(hear(&mut socket).await.unwrap().frame, Frame::GoAway(_)));
    let body = RawValue::from_string("{}".to_owned()).unwrap();
    let reply = ToolReply::success(sent.call_id, body);
    say_of(&mut socket, number, Frame::Reply(Box::new(Reply { reply, credit: 1 }))).await;
    assert!(soon(pending).await.unwrap().result.is_ok());
    assert!(hear(&mut socket).await.is_none());
}
