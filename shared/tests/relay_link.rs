//! The sans-IO link, both ends against each other in simulated time.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test where they can't go on")]

use core::time::Duration;
use ibkr_agent_domain::{CallId, Digest, ErrorCode, SidecarId};
use ibkr_agent_protocol::relay::frame::{
    Beat, CallerToken, Credit, Frame, GoAwayReason, Hello, Message, RefusalCount, Refusals, Refuse,
    Reply, Welcome,
};
use ibkr_agent_protocol::relay::link::{RemoteAction, RemoteInput, SidecarAction, SidecarInput};
use ibkr_agent_protocol::relay::{Ended, RemoteEnd, Settings, SidecarEnd, Violation};
use ibkr_agent_protocol::service::{ProgressUpdate, ToolCall, ToolReply};
use serde_json::value::RawValue;
use std::time::Instant;

const READ: &str = "ibkr_positions_list";
const WRITE: &str = "ibkr_paper_order_submit";

fn hello(versions: Vec<u16>) -> Hello {
    Hello {
        sidecar_id: SidecarId::parse("home").unwrap(),
        versions,
        catalogue_hash: Digest::of(b""),
        software: String::new(),
        signature: String::new(),
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        replica_id: "r1".to_owned(),
        catalogue_hash: Digest::of(b""),
        software: String::new(),
    }
}

fn call(tool: &str, timeout: Duration) -> ToolCall {
    let mut call = ToolCall::new(tool, RawValue::from_string("{}".to_owned()).unwrap());
    call.timeout = timeout;
    call
}

fn token() -> CallerToken {
    CallerToken::new("t".to_owned())
}

fn success(call_id: &CallId) -> Box<ToolReply> {
    let body = RawValue::from_string(r#"{"ok":true}"#.to_owned()).unwrap();
    Box::new(ToolReply::success(call_id.clone(), body))
}

fn code(reply: &ToolReply) -> Option<ErrorCode> {
    reply.result.as_ref().err().and_then(ibkr_agent_protocol::service::ErrorBody::error_code)
}

/// Two ends joined by a perfect wire, and a clock.
struct World {
    now: Instant,
    remote: RemoteEnd,
    sidecar: SidecarEnd,
    answers: Vec<(u64, ToolReply)>,
    started: Vec<(u64, ToolCall)>,
    cancelled: Vec<u64>,
    progress: Vec<(u64, ProgressUpdate)>,
    refusals: Vec<Refusals>,
    remote_ended: Option<Ended>,
    sidecar_ended: Option<Ended>,
    to_sidecar: u64,
}

impl World {
    fn open(settings: &Settings) -> Self {
        let now = Instant::now();
        let mut remote = RemoteEnd::new(settings.clone(), now);
        let (sidecar, message) = SidecarEnd::start(settings.clone(), hello(vec![1]), now);
        let actions = remote.handle(RemoteInput::Received(message), now);
        assert!(matches!(actions.as_slice(), [RemoteAction::Verify(_)]));
        let mut world = Self {
            now,
            remote,
            sidecar,
            answers: Vec::new(),
            started: Vec::new(),
            cancelled: Vec::new(),
            progress: Vec::new(),
            refusals: Vec::new(),
            remote_ended: None,
            sidecar_ended: None,
            to_sidecar: 0,
        };
        world.remote(RemoteInput::Accept(welcome()));
        assert!(world.remote.is_open() && world.sidecar.is_open());
        world
    }

    fn remote(&mut self, input: RemoteInput) {
        for action in self.remote.handle(input, self.now) {
            match action {
                RemoteAction::Send(message) => {
                    self.to_sidecar += 1;
                    self.sidecar(SidecarInput::Received(message));
                }
                RemoteAction::Answer { number, reply } => self.answers.push((number, *reply)),
                RemoteAction::Progress { number, update } => self.progress.push((number, update)),
                RemoteAction::Close(ended) => self.remote_ended = Some(ended),
                RemoteAction::Verify(_)
                | RemoteAction::Event(_)
                | RemoteAction::Renew { .. }
                | RemoteAction::Checkpoint { .. } => {}
            }
        }
    }

    fn sidecar(&mut self, input: SidecarInput) {
        for action in self.sidecar.handle(input, self.now) {
            match action {
                SidecarAction::Send(message) => self.remote(RemoteInput::Received(message)),
                SidecarAction::Start { number, call, .. } => self.started.push((number, call)),
                SidecarAction::Cancel { number } => self.cancelled.push(number),
                SidecarAction::Close(ended) => self.sidecar_ended = Some(ended),
                SidecarAction::Refusals(refusals) => self.refusals.push(refusals),
                SidecarAction::Welcomed(_)
                | SidecarAction::Renewal(_)
                | SidecarAction::GoingAway(_) => {}
            }
        }
    }

    fn call(&mut self, number: u64, tool: &str, timeout: Duration) -> CallId {
        let call = call(tool, timeout);
        let id = call.call_id.clone();
        self.remote(RemoteInput::Call { number, call, token: token() });
        id
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.remote(RemoteInput::Tick);
        self.sidecar(SidecarInput::Tick);
    }
}

#[test]
fn a_call_is_started_once_and_its_reply_comes_back() {
    let mut world = World::open(&Settings::default());
    let id = world.call(1, READ, Duration::from_secs(30));
    assert_eq!(world.started.len(), 1);
    assert_eq!(world.started[0].1.timeout, Duration::from_secs(30));
    world.sidecar(SidecarInput::Progress {
        number: 1,
        update: ProgressUpdate { progress: 1, message: "half".to_owned() },
    });
    world.sidecar(SidecarInput::Finished { number: 1, reply: success(&id) });
    world.sidecar(SidecarInput::Finished { number: 1, reply: success(&id) });
    assert_eq!(world.answers.len(), 1);
    assert!(world.answers[0].1.result.is_ok());
    assert_eq!(world.progress.len(), 1);
    assert_eq!((world.remote.in_flight(), world.sidecar.in_flight()), (0, 0));
}

#[test]
fn a_cut_link_leaves_a_write_unknown_and_a_read_to_be_repeated() {
    let mut world = World::open(&Settings::default());
    let read = world.call(1, READ, Duration::from_secs(30));
    let write = world.call(2, WRITE, Duration::from_secs(30));
    let unlisted = world.call(3, "not_in_the_catalogue", Duration::from_secs(30));
    world.remote(RemoteInput::Closed);
    world.answers.sort_by_key(|(number, _)| *number);
    let codes: Vec<_> = world.answers.iter().map(|(_, reply)| code(reply).unwrap()).collect();
    assert_eq!(
        codes,
        [
            ErrorCode::SidecarUnavailable,
            ErrorCode::CallOutcomeUnknown,
            ErrorCode::CallOutcomeUnknown
        ]
    );
    let ids: Vec<_> = world.answers.iter().map(|(_, reply)| reply.call_id.clone()).collect();
    assert_eq!(ids, [read, write.clone(), unlisted]);
    let error = world.answers[1].1.result.as_ref().unwrap_err();
    assert!(!error.retryable && error.message.contains(write.as_str()));
    assert_eq!(world.remote_ended, Some(Ended::Closed));
    world.call(4, READ, Duration::from_secs(30));
    assert_eq!(code(&world.answers[3].1), Some(ErrorCode::SidecarUnavailable));
}

#[test]
fn a_deadline_ends_a_read_as_timed_out_and_a_write_as_unknown() {
    let mut world = World::open(&Settings::default());
    let id = world.call(1, READ, Duration::from_secs(5));
    world.call(2, WRITE, Duration::from_secs(5));
    world.pass(Duration::from_millis(5_499));
    assert!(world.answers.is_empty());
    world.pass(Duration::from_millis(1));
    let codes: Vec<_> = world.answers.iter().map(|(_, reply)| code(reply).unwrap()).collect();
    assert_eq!(codes, [ErrorCode::CallTimedOut, ErrorCode::CallOutcomeUnknown]);
    assert_eq!(world.cancelled, [1, 2]);
    assert_eq!(world.remote.late_replies(), 0);
    world.sidecar(SidecarInput::Finished { number: 1, reply: success(&id) });
    assert_eq!(world.remote.late_replies(), 1);
    assert_eq!(world.answers.len(), 2);
}

#[test]
fn calls_beyond_the_credit_wait_and_go_when_replies_return_it() {
    let settings = Settings { window: 2, waiting: 2, ..Settings::default() };
    let mut world = World::open(&settings);
    for number in 1..=5 {
        world.call(number, WRITE, Duration::from_secs(30));
    }
    assert_eq!(world.started.len(), 2);
    assert_eq!(code(&world.answers[0].1), Some(ErrorCode::SidecarBusy));
    assert_eq!(world.answers[0].0, 5);
    let id = world.started[0].1.call_id.clone();
    world.sidecar(SidecarInput::Finished { number: 1, reply: success(&id) });
    assert_eq!(world.started.len(), 3);
    world.remote(RemoteInput::Cancel { number: 4 });
    assert_eq!(code(&world.answers[2].1), Some(ErrorCode::CallCancelled));
}

#[test]
fn a_write_that_was_never_sent_is_not_unknown() {
    let settings = Settings { window: 1, ..Settings::default() };
    let mut world = World::open(&settings);
    world.call(1, WRITE, Duration::from_secs(30));
    world.call(2, WRITE, Duration::from_secs(10));
    world.call(3, WRITE, Duration::from_secs(30));
    world.pass(Duration::from_secs(10));
    assert_eq!(code(&world.answers[0].1), Some(ErrorCode::SidecarBusy));
    world.remote(RemoteInput::Closed);
    let ended: Vec<_> =
        world.answers.iter().map(|(number, reply)| (*number, code(reply).unwrap())).collect();
    assert!(ended.contains(&(1, ErrorCode::CallOutcomeUnknown)));
    assert!(ended.contains(&(3, ErrorCode::SidecarUnavailable)));
    assert_eq!(world.started.len(), 1);
}

#[test]
fn cancelling_asks_the_sidecar_and_the_reply_still_counts() {
    let mut world = World::open(&Settings::default());
    let id = world.call(1, WRITE, Duration::from_secs(30));
    world.remote(RemoteInput::Cancel { number: 1 });
    assert_eq!(world.cancelled, [1]);
    assert!(world.answers.is_empty());
    world.sidecar(SidecarInput::Finished { number: 1, reply: success(&id) });
    assert!(world.answers[0].1.result.is_ok());
}

#[test]
fn a_silent_peer_ends_the_link_and_a_talking_one_does_not() {
    let settings = Settings::default();
    let mut world = World::open(&settings);
    for _ in 0..20 {
        world.pass(Duration::from_secs(10));
    }
    assert!(world.remote.is_open() && world.sidecar.is_open());
    let mut remote = RemoteEnd::new(settings.clone(), world.now);
    let (_, message) = SidecarEnd::start(settings, hello(vec![1]), world.now);
    remote.handle(RemoteInput::Received(message), world.now);
    remote.handle(RemoteInput::Accept(welcome()), world.now);
    let mut pings = 0;
    let mut ended = None;
    for second in 1..=30 {
        let now = world.now + Duration::from_secs(second);
        for action in remote.handle(RemoteInput::Tick, now) {
            match action {
                RemoteAction::Send(Message { frame: Frame::Ping(_), .. }) => pings += 1,
                RemoteAction::Close(reason) => ended = Some((second, reason)),
                RemoteAction::Send(_)
                | RemoteAction::Verify(_)
                | RemoteAction::Answer { .. }
                | RemoteAction::Progress { .. }
                | RemoteAction::Event(_)
                | RemoteAction::Renew { .. }
                | RemoteAction::Checkpoint { .. } => panic!("unexpected"),
            }
        }
    }
    assert_eq!(pings, 2);
    assert_eq!(ended, Some((30, Ended::Silent)));
    assert_eq!(remote.next_deadline(), None);
}

#[test]
fn a_handshake_that_dawdles_is_ended_on_both_sides() {
    let settings = Settings::default();
    let now = Instant::now();
    let mut remote = RemoteEnd::new(settings.clone(), now);
    let (mut sidecar, _) = SidecarEnd::start(settings.clone(), hello(vec![1]), now);
    let due = remote.next_deadline().unwrap();
    assert_eq!(due, now + settings.handshake);
    assert!(remote.handle(RemoteInput::Tick, due - Duration::from_nanos(1)).is_empty());
    assert!(matches!(
        remote.handle(RemoteInput::Tick, due).as_slice(),
        [RemoteAction::Close(Ended::HandshakeTimeout)]
    ));
    assert!(matches!(
        sidecar.handle(SidecarInput::Tick, due).as_slice(),
        [SidecarAction::Close(Ended::HandshakeTimeout)]
    ));
}

#[test]
fn versions_are_negotiated_or_the_link_is_refused() {
    let now = Instant::now();
    let settings = Settings::default();
    let mut remote = RemoteEnd::new(settings.clone(), now);
    let message = Message::link(Frame::Hello(hello(vec![9, 8])));
    remote.handle(RemoteInput::Received(message), now);
    let actions = remote.handle(RemoteInput::Accept(welcome()), now);
    let [RemoteAction::Send(message), RemoteAction::Close(Ended::Refused(_))] = actions.as_slice()
    else {
        panic!("not refused: {actions:?}");
    };
    let Frame::Refuse(refuse) = &message.frame else { panic!("not a refusal") };
    assert_eq!(refuse.versions, [1]);

    let (mut sidecar, _) = SidecarEnd::start(settings, hello(vec![1]), now);
    let wrong = Frame::Welcome(Welcome { version: 2, ..welcome() });
    assert!(matches!(
        sidecar.handle(SidecarInput::Received(Message::link(wrong)), now).as_slice(),
        [SidecarAction::Close(Ended::Violation(Violation::WrongVersion { version: 2 }))]
    ));
}

#[test]
fn a_refused_hello_tells_the_sidecar_why() {
    let now = Instant::now();
    let mut remote = RemoteEnd::new(Settings::default(), now);
    let (mut sidecar, message) = SidecarEnd::start(Settings::default(), hello(vec![1]), now);
    remote.handle(RemoteInput::Received(message), now);
    let refuse = Refuse {
        code: "SIDECAR_SESSION_INVALID".to_owned(),
        message: "bad signature".to_owned(),
        versions: vec![1],
    };
    let mut actions = remote.handle(RemoteInput::Refuse(refuse.clone()), now);
    let RemoteAction::Send(message) = actions.remove(0) else { panic!("nothing sent") };
    assert!(matches!(
        sidecar.handle(SidecarInput::Received(message), now).as_slice(),
        [SidecarAction::Close(Ended::Refused(why))] if *why == refuse
    ));
}

#[test]
fn going_away_lets_calls_in_flight_finish_and_takes_no_new_ones() {
    let mut world = World::open(&Settings::default());
    let id = world.call(1, WRITE, Duration::from_secs(30));
    world.remote(RemoteInput::GoAway(GoAwayReason::ShuttingDown));
    world.call(2, READ, Duration::from_secs(30));
    assert_eq!(code(&world.answers[0].1), Some(ErrorCode::SidecarUnavailable));
    assert_eq!(world.remote_ended, None);
    world.sidecar(SidecarInput::Finished { number: 1, reply: success(&id) });
    assert!(world.answers[1].1.result.is_ok());
    let drained = Some(Ended::Drained(GoAwayReason::ShuttingDown));
    assert_eq!(world.remote_ended, drained);
    assert_eq!(world.sidecar_ended, drained);
}

#[test]
fn a_drain_that_lasts_too_long_is_cut() {
    let mut world = World::open(&Settings::default());
    world.call(1, WRITE, Duration::from_secs(60));
    world.sidecar(SidecarInput::GoAway(GoAwayReason::ShuttingDown));
    world.pass(Duration::from_secs(15));
    assert_eq!(world.remote_ended, None);
    world.pass(Duration::from_secs(15));
    assert!(world.remote_ended.is_some() && world.sidecar_ended.is_some());
    assert_eq!(code(&world.answers[0].1), Some(ErrorCode::CallOutcomeUnknown));
}

#[test]
fn a_revoked_pairing_ends_both_at_once() {
    let mut world = World::open(&Settings::default());
    world.call(1, WRITE, Duration::from_secs(60));
    world.remote(RemoteInput::Revoke);
    assert_eq!(world.remote_ended, Some(Ended::Revoked));
    assert_eq!(world.sidecar_ended, Some(Ended::Revoked));
    assert_eq!(code(&world.answers[0].1), Some(ErrorCode::CallOutcomeUnknown));
}

#[test]
fn frames_out_of_place_end_the_link() {
    let settings = Settings { window: 1, ..Settings::default() };
    let now = Instant::now();
    let mut remote = RemoteEnd::new(settings.clone(), now);
    let early = Message::link(Frame::Credit(Credit { calls: 1 }));
    assert!(matches!(
        remote.handle(RemoteInput::Received(early), now).as_slice(),
        [RemoteAction::Close(Ended::Violation(Violation::OutOfPlace { kind: "credit" }))]
    ));

    let mut world = World::open(&settings);
    world.sidecar(SidecarInput::Received(Message::link(Frame::Credit(Credit { calls: 1 }))));
    assert!(matches!(world.sidecar_ended, Some(Ended::Violation(_))));

    for (number, expected) in
        [(1, Violation::NumberInUse { number: 1 }), (2, Violation::BeyondCredit { granted: 1 })]
    {
        let mut world = World::open(&settings);
        world.call(1, READ, Duration::from_secs(30));
        let frame = Frame::Call(ibkr_agent_protocol::relay::frame::Call {
            call_id: CallId::parse("c").unwrap(),
            tool: READ.to_owned(),
            arguments: RawValue::from_string("{}".to_owned()).unwrap(),
            remaining_ms: 1,
            token: token(),
        });
        world.sidecar(SidecarInput::Received(Message::call(number, frame)));
        assert_eq!(world.sidecar_ended, Some(Ended::Violation(expected)));
        assert_eq!(world.started.len(), 1);
    }
}

fn refusals() -> Refusals {
    let count = RefusalCount { reason: "AUTH_TOKEN_INVALID".to_owned(), minute: 60, count: 2 };
    Refusals { callers: Vec::new(), counts: vec![count] }
}

#[test]
fn refusals_go_down_an_open_or_draining_link_and_never_up_or_early() {
    let now = Instant::now();
    let mut early = RemoteEnd::new(Settings::default(), now);
    assert!(early.handle(RemoteInput::Refusals(refusals()), now).is_empty());

    let mut world = World::open(&Settings::default());
    world.remote(RemoteInput::Refusals(refusals()));
    assert_eq!(world.refusals, [refusals()]);
    world.call(1, WRITE, Duration::from_secs(30));
    world.remote(RemoteInput::GoAway(GoAwayReason::ShuttingDown));
    world.remote(RemoteInput::Refusals(refusals()));
    assert_eq!(world.refusals.len(), 2);
    assert!(world.remote_ended.is_none() && world.sidecar_ended.is_none());

    let up = Message::link(Frame::Refusals(refusals()));
    world.remote(RemoteInput::Received(up.clone()));
    let kind = "refusals";
    let out_of_place = Some(Ended::Violation(Violation::OutOfPlace { kind }));
    assert_eq!(world.remote_ended, out_of_place);

    let (mut waiting, _) = SidecarEnd::start(Settings::default(), hello(vec![1]), now);
    let actions = waiting.handle(SidecarInput::Received(up), now);
    assert!(matches!(
        actions.as_slice(),
        [SidecarAction::Close(Ended::Violation(Violation::OutOfPlace { kind: "refusals" }))]
    ));
}

#[test]
fn a_reply_with_another_call_id_ends_the_link() {
    let mut world = World::open(&Settings::default());
    world.call(1, READ, Duration::from_secs(30));
    let other = CallId::parse("another").unwrap();
    let frame = Frame::Reply(Box::new(Reply { reply: *success(&other), credit: 1 }));
    world.remote(RemoteInput::Received(Message::call(1, frame)));
    assert_eq!(world.remote_ended, Some(Ended::Violation(Violation::WrongCallId { number: 1 })));
}

#[test]
fn a_ping_is_answered_with_its_nonce() {
    let mut world = World::open(&Settings::default());
    let actions = world
        .remote
        .handle(RemoteInput::Received(Message::link(Frame::Ping(Beat { nonce: 42 }))), world.now);
    assert!(matches!(
        actions.as_slice(),
        [RemoteAction::Send(Message { id: 0, frame: Frame::Pong(Beat { nonce: 42 }) })]
    ));
}

#[test]
fn an_answer_larger_than_a_frame_becomes_an_error() {
    // A write has had its effect by then, so nothing else than "ask the ledger" may be said of it.
    for (tool, said) in [(READ, ErrorCode::OutputUnsafe), (WRITE, ErrorCode::CallOutcomeUnknown)] {
        let mut world = World::open(&Settings::default());
        let id = world.call(1, tool, Duration::from_secs(30));
        let body = RawValue::from_string(format!("\"{}\"", "a".repeat(1024 * 1024))).unwrap();
        let reply = Box::new(ToolReply::success(id, body));
        world.sidecar(SidecarInput::Finished { number: 1, reply });
        assert_eq!(code(&world.answers[0].1), Some(said), "{tool}");
        assert_eq!(world.remote_ended, None, "{tool}");
    }
}

#[test]
fn sixty_four_calls_answered_in_reverse_each_get_their_own_reply() {
    let mut world = World::open(&Settings::default());
    let ids: Vec<_> =
        (1..=64).map(|number| world.call(number, READ, Duration::from_secs(30))).collect();
    for (index, id) in ids.iter().enumerate().rev() {
        let number = u64::try_from(index).unwrap() + 1;
        world.sidecar(SidecarInput::Finished { number, reply: success(id) });
    }
    assert_eq!(world.answers.len(), 64);
    for (number, reply) in &world.answers {
        assert_eq!(reply.call_id, ids[usize::try_from(*number).unwrap() - 1]);
    }
}
