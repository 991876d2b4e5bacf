//! The remote's end of a link: takes `hello`, sends calls within credit, hands out the replies.
//!
//! The shell numbers the calls (never zero, never twice on one link), verifies the `hello` that
//! [`RemoteAction::Verify`] gives it, and answers with [`RemoteInput::Accept`] or
//! [`RemoteInput::Refuse`].

use core::time::Duration;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use ibkr_agent_domain::{CallId, ErrorCode};

use super::{
    Ended, Heartbeat, Settings, Violation, add_credit, after, cut_reply, failure, late_reply,
};
use crate::relay::frame::{
    Call, CallerToken, Frame, GoAway, GoAwayReason, Hello, MAX_CALLS_IN_FLIGHT, Message, Refusals,
    Refuse, RenewRefused, Renewed, Reply, Welcome,
};
use crate::service::{ProgressUpdate, ToolCall, ToolEvent, ToolReply};

/// What happens to the remote's end.
#[derive(Debug)]
pub enum RemoteInput {
    /// A message came.
    Received(Message),
    /// The `hello` was verified.
    Accept(Welcome),
    /// The `hello` was refused.
    Refuse(Refuse),
    /// A caller wants a tool.
    Call {
        /// The call's number on this link.
        number: u64,
        /// The call.
        call: ToolCall,
        /// The caller's token.
        token: CallerToken,
    },
    /// A caller no longer waits.
    Cancel {
        /// The call's number.
        number: u64,
    },
    /// A certificate was renewed, or not.
    Renewal(Result<Renewed, RenewRefused>),
    /// Requests were refused here. Lost unless the link is open or drains.
    Refusals(Refusals),
    /// Take no new calls; end when none is in flight.
    GoAway(GoAwayReason),
    /// The pairing was revoked: end at once.
    Revoke,
    /// The transport closed.
    Closed,
    /// Time passed.
    Tick,
}

/// What the remote's shell must do.
#[derive(Debug)]
pub enum RemoteAction {
    /// Send a message.
    Send(Message),
    /// Verify a `hello`, then answer with an input.
    Verify(Hello),
    /// Give a call its answer. Happens once for each call.
    Answer {
        /// The call's number.
        number: u64,
        /// The answer.
        reply: Box<ToolReply>,
    },
    /// Tell a caller of progress.
    Progress {
        /// The call's number.
        number: u64,
        /// The update.
        update: ProgressUpdate,
    },
    /// A resource changed at the sidecar.
    Event(ToolEvent),
    /// The sidecar asks for a certificate.
    Renew {
        /// The request in PEM.
        csr_pem: String,
    },
    /// The sidecar published a checkpoint.
    Checkpoint {
        /// The signed note.
        note: String,
    },
    /// Close the transport.
    Close(Ended),
}

#[derive(Debug)]
enum Phase {
    AwaitHello { until: Instant },
    Verifying { until: Instant, versions: Vec<u16> },
    Open,
    Draining { until: Instant, reason: GoAwayReason },
    Ended,
}

#[derive(Debug)]
struct InFlight {
    call_id: CallId,
    tool: String,
    deadline: Instant,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    call: ToolCall,
    token: CallerToken,
    deadline: Instant,
}

/// The remote's end of a link.
#[derive(Debug)]
pub struct RemoteEnd {
    settings: Settings,
    phase: Phase,
    heartbeat: Heartbeat,
    credit: u32,
    in_flight: HashMap<u64, InFlight>,
    deadlines: BTreeSet<(Instant, u64)>,
    waiting: VecDeque<Waiting>,
    late: u64,
}

impl RemoteEnd {
    /// A link whose transport was just upgraded.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        let until = after(now, settings.handshake);
        let heartbeat = Heartbeat::new(&settings, now);
        Self {
            settings,
            phase: Phase::AwaitHello { until },
            heartbeat,
            credit: 0,
            in_flight: HashMap::new(),
            deadlines: BTreeSet::new(),
            waiting: VecDeque::new(),
            late: 0,
        }
    }

    /// Replies that came after their call had ended.
    #[must_use]
    pub const fn late_replies(&self) -> u64 {
        self.late
    }

    /// Calls sent and not answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the link takes calls.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the link is over.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// When [`RemoteInput::Tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Ended => return None,
            Phase::AwaitHello { until } | Phase::Verifying { until, .. } => return Some(*until),
            Phase::Draining { until, .. } => Some(*until),
            Phase::Open => None,
        };
        let call = self.deadlines.first().map(|(deadline, _)| *deadline);
        [phase, call, Some(self.heartbeat.next_deadline())].into_iter().flatten().min()
    }

    /// Takes an input.
    pub fn handle(&mut self, input: RemoteInput, now: Instant) -> Vec<RemoteAction> {
        let mut actions = Vec::new();
        if self.is_ended() {
            if let RemoteInput::Call { number, call, .. } = input {
                actions.push(answer(number, unavailable(call.call_id)));
            }
            return actions;
        }
        match input {
            RemoteInput::Received(message) => self.receive(message, now, &mut actions),
            RemoteInput::Accept(welcome) => self.accept(welcome, now, &mut actions),
            RemoteInput::Refuse(refuse) => {
                actions.push(send(Frame::Refuse(refuse.clone())));
                self.end(Ended::Refused(refuse), &mut actions);
            }
            RemoteInput::Call { number, call, token } => {
                self.call(number, call, token, now, &mut actions);
            }
            RemoteInput::Cancel { number } => self.cancel(number, &mut actions),
            RemoteInput::Renewal(result) => actions.push(send(match result {
                Ok(renewed) => Frame::Renewed(renewed),
                Err(refused) => Frame::RenewRefused(refused),
            })),
            RemoteInput::Refusals(refusals) => {
                if matches!(self.phase, Phase::Open | Phase::Draining { .. }) {
                    actions.push(send(Frame::Refusals(refusals)));
                }
            }
            RemoteInput::GoAway(reason) => self.go_away(reason, now, &mut actions),
            RemoteInput::Revoke => {
                actions.push(send(Frame::Revoked));
                self.end(Ended::Revoked, &mut actions);
            }
            RemoteInput::Closed => self.end(Ended::Closed, &mut actions),
            RemoteInput::Tick => {}
        }
        self.pass_time(now, &mut actions);
        if actions.iter().any(|action| matches!(action, RemoteAction::Send(_))) {
            self.heartbeat.sent = now;
        }
        actions
    }

    fn accept(&mut self, mut welcome: Welcome, now: Instant, actions: &mut Vec<RemoteAction>) {
        let Phase::Verifying { versions, .. } = &self.phase else {
            return;
        };
        let ours = crate::relay::frame::VERSIONS;
        let common = ours.iter().copied().filter(|version| versions.contains(version)).max();
        if let Some(version) = common {
            welcome.version = version;
            self.phase = Phase::Open;
            self.heartbeat.received = now;
            actions.push(send(Frame::Welcome(welcome)));
        } else {
            let refuse = Refuse {
                code: ErrorCode::SidecarSessionInvalid.as_str().to_owned(),
                message: format!("no common relay version: the remote speaks {ours:?}"),
                versions: ours.to_vec(),
            };
            actions.push(send(Frame::Refuse(refuse.clone())));
            self.end(Ended::Refused(refuse), actions);
        }
    }

    fn receive(&mut self, message: Message, now: Instant, actions: &mut Vec<RemoteAction>) {
        self.heartbeat.received = now;
        let Message { id, frame } = message;
        let kind = frame.kind();
        if let Phase::AwaitHello { until } = self.phase {
            if let Frame::Hello(hello) = frame {
                self.phase = Phase::Verifying { until, versions: hello.versions.clone() };
                actions.push(RemoteAction::Verify(hello));
            } else {
                self.violate(Violation::OutOfPlace { kind }, actions);
            }
            return;
        }
        if matches!(self.phase, Phase::Verifying { .. }) {
            return self.violate(Violation::OutOfPlace { kind }, actions);
        }
        match frame {
            Frame::Reply(reply) => self.reply(id, *reply, now, actions),
            Frame::Progress(update) => {
                if self.in_flight.contains_key(&id) {
                    actions.push(RemoteAction::Progress { number: id, update });
                }
            }
            Frame::Credit(grant) => {
                self.credit = add_credit(self.credit, grant.calls);
                self.send_waiting(now, actions);
            }
            Frame::Event(event) => actions.push(RemoteAction::Event(event)),
            Frame::Ping(beat) => actions.push(send(Frame::Pong(beat))),
            Frame::Pong(_) => {}
            Frame::GoAway(GoAway { reason }) => self.drain(reason, now, actions),
            Frame::Renew(renew) => actions.push(RemoteAction::Renew { csr_pem: renew.csr_pem }),
            Frame::Checkpoint(point) => {
                actions.push(RemoteAction::Checkpoint { note: point.note });
            }
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Refuse(_)
            | Frame::Call(_)
            | Frame::Cancel
            | Frame::Renewed(_)
            | Frame::RenewRefused(_)
            | Frame::Revoked
            | Frame::Refusals(_) => self.violate(Violation::OutOfPlace { kind }, actions),
        }
    }

    fn reply(&mut self, number: u64, reply: Reply, now: Instant, actions: &mut Vec<RemoteAction>) {
        let Reply { reply, credit } = reply;
        self.credit = add_credit(self.credit, credit);
        match self.in_flight.get(&number) {
            None => self.late = self.late.saturating_add(1),
            Some(call) if call.call_id != reply.call_id => {
                return self.violate(Violation::WrongCallId { number }, actions);
            }
            Some(_) => {
                self.forget(number);
                actions.push(answer(number, reply));
            }
        }
        self.send_waiting(now, actions);
        self.finish_drain(actions);
    }

    fn call(
        &mut self,
        number: u64,
        call: ToolCall,
        token: CallerToken,
        now: Instant,
        actions: &mut Vec<RemoteAction>,
    ) {
        if !self.is_open() {
            actions.push(answer(number, unavailable(call.call_id)));
        } else if self.waiting.len() >= self.settings.waiting {
            actions.push(answer(number, busy(call.call_id)));
        } else {
            let deadline = after(now, call.timeout);
            self.deadlines.insert((deadline, number));
            self.waiting.push_back(Waiting { number, call, token, deadline });
            self.send_waiting(now, actions);
        }
    }

    fn send_waiting(&mut self, now: Instant, actions: &mut Vec<RemoteAction>) {
        while self.is_open() && self.credit > 0 && self.room() {
            let Some(next) = self.waiting.pop_front() else {
                return;
            };
            self.credit = self.credit.saturating_sub(1);
            self.deadlines.remove(&(next.deadline, next.number));
            let remaining = next.deadline.saturating_duration_since(now);
            let deadline = after(next.deadline, self.settings.grace);
            self.deadlines.insert((deadline, next.number));
            let ToolCall { call_id, tool, arguments, timeout: _ } = next.call;
            let in_flight = InFlight { call_id: call_id.clone(), tool: tool.clone(), deadline };
            self.in_flight.insert(next.number, in_flight);
            let remaining_ms = milliseconds(remaining);
            let call = Call { call_id, tool, arguments, remaining_ms, token: next.token };
            actions.push(RemoteAction::Send(Message::call(next.number, Frame::Call(call))));
        }
    }

    fn room(&self) -> bool {
        u32::try_from(self.in_flight.len()).is_ok_and(|count| count < MAX_CALLS_IN_FLIGHT)
    }

    fn cancel(&mut self, number: u64, actions: &mut Vec<RemoteAction>) {
        if self.in_flight.contains_key(&number) {
            actions.push(RemoteAction::Send(Message::call(number, Frame::Cancel)));
            return;
        }
        let position = self.waiting.iter().position(|waiting| waiting.number == number);
        if let Some(waiting) = position.and_then(|position| self.waiting.remove(position)) {
            self.deadlines.remove(&(waiting.deadline, number));
            let message = "The call was withdrawn before it was sent.";
            let reply = failure(waiting.call.call_id, ErrorCode::CallCancelled, message);
            actions.push(answer(number, reply));
        }
    }

    fn go_away(&mut self, reason: GoAwayReason, now: Instant, actions: &mut Vec<RemoteAction>) {
        if matches!(self.phase, Phase::AwaitHello { .. } | Phase::Verifying { .. }) {
            return self.end(Ended::Drained(reason), actions);
        }
        actions.push(send(Frame::GoAway(GoAway { reason })));
        self.drain(reason, now, actions);
    }

    fn drain(&mut self, reason: GoAwayReason, now: Instant, actions: &mut Vec<RemoteAction>) {
        if self.is_open() {
            self.phase = Phase::Draining { until: after(now, self.settings.drain), reason };
            self.refuse_waiting(actions);
        }
        self.finish_drain(actions);
    }

    fn finish_drain(&mut self, actions: &mut Vec<RemoteAction>) {
        if let Phase::Draining { reason, .. } = self.phase
            && self.in_flight.is_empty()
        {
            self.end(Ended::Drained(reason), actions);
        }
    }

    fn pass_time(&mut self, now: Instant, actions: &mut Vec<RemoteAction>) {
        match &self.phase {
            Phase::Ended => return,
            Phase::AwaitHello { until } | Phase::Verifying { until, .. } => {
                if now >= *until {
                    self.end(Ended::HandshakeTimeout, actions);
                }
                return;
            }
            Phase::Draining { until, reason } if now >= *until => {
                let reason = *reason;
                return self.end(Ended::Drained(reason), actions);
            }
            Phase::Draining { .. } | Phase::Open => {}
        }
        if self.heartbeat.is_silent(now) {
            return self.end(Ended::Silent, actions);
        }
        self.expire_calls(now, actions);
        if let Some(ping) = self.heartbeat.ping(now) {
            actions.push(RemoteAction::Send(ping));
        }
        self.finish_drain(actions);
    }

    fn expire_calls(&mut self, now: Instant, actions: &mut Vec<RemoteAction>) {
        while let Some((deadline, number)) = self.deadlines.first().copied() {
            if deadline > now {
                return;
            }
            self.deadlines.remove(&(deadline, number));
            if let Some(call) = self.in_flight.remove(&number) {
                actions.push(RemoteAction::Send(Message::call(number, Frame::Cancel)));
                actions.push(answer(number, late_reply(call.call_id, &call.tool)));
            } else {
                let position = self.waiting.iter().position(|waiting| waiting.number == number);
                if let Some(waiting) = position.and_then(|at| self.waiting.remove(at)) {
                    actions.push(answer(number, busy(waiting.call.call_id)));
                }
            }
        }
    }

    fn forget(&mut self, number: u64) {
        if let Some(call) = self.in_flight.remove(&number) {
            self.deadlines.remove(&(call.deadline, number));
        }
    }

    fn refuse_waiting(&mut self, actions: &mut Vec<RemoteAction>) {
        for waiting in self.waiting.drain(..) {
            self.deadlines.remove(&(waiting.deadline, waiting.number));
            actions.push(answer(waiting.number, unavailable(waiting.call.call_id)));
        }
    }

    fn violate(&mut self, violation: Violation, actions: &mut Vec<RemoteAction>) {
        self.end(Ended::Violation(violation), actions);
    }

    fn end(&mut self, reason: Ended, actions: &mut Vec<RemoteAction>) {
        self.phase = Phase::Ended;
        self.refuse_waiting(actions);
        self.deadlines.clear();
        for (number, call) in self.in_flight.drain() {
            actions.push(answer(number, cut_reply(call.call_id, &call.tool)));
        }
        actions.push(RemoteAction::Close(reason));
    }
}

fn send(frame: Frame) -> RemoteAction {
    RemoteAction::Send(Message::link(frame))
}

fn answer(number: u64, reply: ToolReply) -> RemoteAction {
    RemoteAction::Answer { number, reply: Box::new(reply) }
}

fn unavailable(call_id: CallId) -> ToolReply {
    failure(call_id, ErrorCode::SidecarUnavailable, "The sidecar takes no calls now.")
}

fn busy(call_id: CallId) -> ToolReply {
    failure(call_id, ErrorCode::SidecarBusy, "Too many calls wait for the sidecar.")
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
