//! The sidecar's end of a link: says `hello`, grants credit, starts calls, sends their replies.
//!
//! A call is started once and ends with one [`SidecarInput::Finished`]; a cut link doesn't end it
//! here, the shell lets it run on and its reply is lost.

use std::collections::HashMap;
use std::time::Instant;

use ibkr_agent_domain::ErrorCode;

use super::{Ended, Heartbeat, Settings, Violation, after, failure, may_have_effect};
use crate::relay::codec::{EncodeError, encode};
use crate::relay::frame::{
    Call, CallerToken, Checkpoint, Credit, Frame, GoAway, GoAwayReason, Hello, MAX_CALLS_IN_FLIGHT,
    Message, Refusals, Renew, RenewRefused, Renewed, Reply, Welcome,
};
use crate::service::{ProgressUpdate, ToolCall, ToolEvent, ToolReply};

/// What happens to the sidecar's end.
#[derive(Debug)]
pub enum SidecarInput {
    /// A message came.
    Received(Message),
    /// A started call has its answer.
    Finished {
        /// The call's number.
        number: u64,
        /// The answer.
        reply: Box<ToolReply>,
    },
    /// A started call goes on.
    Progress {
        /// The call's number.
        number: u64,
        /// The update.
        update: ProgressUpdate,
    },
    /// A resource changed.
    Event(ToolEvent),
    /// There is a newer checkpoint.
    Checkpoint {
        /// The signed note.
        note: String,
    },
    /// Ask for a certificate.
    Renew {
        /// The request in PEM.
        csr_pem: String,
    },
    /// Take no new calls; end when none is in flight.
    GoAway(GoAwayReason),
    /// The transport closed.
    Closed,
    /// Time passed.
    Tick,
}

/// What the sidecar's shell must do.
#[derive(Debug)]
pub enum SidecarAction {
    /// Send a message.
    Send(Message),
    /// The link is open.
    Welcomed(Welcome),
    /// Verify the token and run the call.
    Start {
        /// The call's number.
        number: u64,
        /// The call.
        call: ToolCall,
        /// The caller's token; drop it once verified.
        token: CallerToken,
    },
    /// The caller no longer waits.
    Cancel {
        /// The call's number.
        number: u64,
    },
    /// The renewed certificate came, or a refusal.
    Renewal(Result<Renewed, RenewRefused>),
    /// The remote says what it refused at its own door.
    Refusals(Refusals),
    /// The remote drains the link.
    GoingAway(GoAwayReason),
    /// Close the transport.
    Close(Ended),
}

#[derive(Debug)]
enum Phase {
    AwaitWelcome { until: Instant, versions: Vec<u16> },
    Open,
    Draining { until: Instant, reason: GoAwayReason },
    Ended,
}

/// The sidecar's end of a link.
#[derive(Debug)]
pub struct SidecarEnd {
    settings: Settings,
    window: u32,
    phase: Phase,
    heartbeat: Heartbeat,
    /// The tools of the calls that run, by number.
    in_flight: HashMap<u64, String>,
}

impl SidecarEnd {
    /// A link whose transport was just upgraded, and the signed `hello` to send on it.
    #[must_use]
    pub fn start(settings: Settings, hello: Hello, now: Instant) -> (Self, Message) {
        let until = after(now, settings.handshake);
        let heartbeat = Heartbeat::new(&settings, now);
        let window = settings.window.clamp(1, MAX_CALLS_IN_FLIGHT);
        let phase = Phase::AwaitWelcome { until, versions: hello.versions.clone() };
        let end = Self { settings, window, phase, heartbeat, in_flight: HashMap::new() };
        (end, Message::link(Frame::Hello(hello)))
    }

    /// Calls started and not finished.
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

    /// When [`SidecarInput::Tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Ended => None,
            Phase::AwaitWelcome { until, .. } => Some(*until),
            Phase::Open => Some(self.heartbeat.next_deadline()),
            Phase::Draining { until, .. } => Some(self.heartbeat.next_deadline().min(*until)),
        }
    }

    /// Takes an input.
    pub fn handle(&mut self, input: SidecarInput, now: Instant) -> Vec<SidecarAction> {
        let mut actions = Vec::new();
        if self.is_ended() {
            return actions;
        }
        match input {
            SidecarInput::Received(message) => self.receive(message, now, &mut actions),
            SidecarInput::Finished { number, reply } => self.finish(number, *reply, &mut actions),
            SidecarInput::Progress { number, update } => {
                if self.in_flight.contains_key(&number) {
                    let frame = Frame::Progress(update);
                    actions.push(SidecarAction::Send(Message::call(number, frame)));
                }
            }
            SidecarInput::Event(event) => self.say(Frame::Event(event), &mut actions),
            SidecarInput::Checkpoint { note } => {
                self.say(Frame::Checkpoint(Checkpoint { note }), &mut actions);
            }
            SidecarInput::Renew { csr_pem } => {
                self.say(Frame::Renew(Renew { csr_pem }), &mut actions);
            }
            SidecarInput::GoAway(reason) => {
                self.say(Frame::GoAway(GoAway { reason }), &mut actions);
                self.drain(reason, now, &mut actions);
            }
            SidecarInput::Closed => self.end(Ended::Closed, &mut actions),
            SidecarInput::Tick => {}
        }
        self.pass_time(now, &mut actions);
        if actions.iter().any(|action| matches!(action, SidecarAction::Send(_))) {
            self.heartbeat.sent = now;
        }
        actions
    }

    /// Says something about the link, unless it isn't open yet.
    fn say(&self, frame: Frame, actions: &mut Vec<SidecarAction>) {
        if !matches!(self.phase, Phase::AwaitWelcome { .. }) {
            actions.push(send(frame));
        }
    }

    fn receive(&mut self, message: Message, now: Instant, actions: &mut Vec<SidecarAction>) {
        self.heartbeat.received = now;
        let Message { id, frame } = message;
        let kind = frame.kind();
        if let Phase::AwaitWelcome { versions, .. } = &self.phase {
            let versions = versions.clone();
            return self.shake_hands(frame, &versions, actions);
        }
        match frame {
            Frame::Call(call) => self.start_call(id, call, actions),
            Frame::Cancel => {
                if self.in_flight.contains_key(&id) {
                    actions.push(SidecarAction::Cancel { number: id });
                }
            }
            Frame::Ping(beat) => actions.push(send(Frame::Pong(beat))),
            Frame::Pong(_) => {}
            Frame::GoAway(GoAway { reason }) => {
                actions.push(SidecarAction::GoingAway(reason));
                self.drain(reason, now, actions);
            }
            Frame::Renewed(renewed) => actions.push(SidecarAction::Renewal(Ok(renewed))),
            Frame::RenewRefused(refused) => actions.push(SidecarAction::Renewal(Err(refused))),
            Frame::Refusals(refusals) => actions.push(SidecarAction::Refusals(refusals)),
            Frame::Revoked => self.end(Ended::Revoked, actions),
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Refuse(_)
            | Frame::Reply(_)
            | Frame::Progress(_)
            | Frame::Event(_)
            | Frame::Credit(_)
            | Frame::Renew(_)
            | Frame::Checkpoint(_) => self.violate(Violation::OutOfPlace { kind }, actions),
        }
    }

    fn shake_hands(&mut self, frame: Frame, offered: &[u16], actions: &mut Vec<SidecarAction>) {
        let kind = frame.kind();
        if let Frame::Welcome(welcome) = frame {
            let version = welcome.version;
            if !offered.contains(&version) {
                return self.violate(Violation::WrongVersion { version }, actions);
            }
            self.phase = Phase::Open;
            actions.push(SidecarAction::Welcomed(welcome));
            actions.push(send(Frame::Credit(Credit { calls: self.window })));
        } else if let Frame::Refuse(refuse) = frame {
            self.end(Ended::Refused(refuse), actions);
        } else if matches!(frame, Frame::Revoked) {
            self.end(Ended::Revoked, actions);
        } else {
            self.violate(Violation::OutOfPlace { kind }, actions);
        }
    }

    fn start_call(&mut self, number: u64, call: Call, actions: &mut Vec<SidecarAction>) {
        if self.in_flight.contains_key(&number) {
            return self.violate(Violation::NumberInUse { number }, actions);
        }
        if u32::try_from(self.in_flight.len()).is_ok_and(|count| count >= self.window) {
            return self.violate(Violation::BeyondCredit { granted: self.window }, actions);
        }
        let (call, token) = call.split();
        self.in_flight.insert(number, call.tool.clone());
        if self.is_open() {
            actions.push(SidecarAction::Start { number, call, token });
        } else {
            // The call crossed our go-away on the wire: it was not started.
            let message = "The sidecar is going away; the call was not started.";
            let reply = failure(call.call_id, ErrorCode::SidecarUnavailable, message);
            self.finish(number, reply, actions);
        }
    }

    fn finish(&mut self, number: u64, reply: ToolReply, actions: &mut Vec<SidecarAction>) {
        let Some(tool) = self.in_flight.remove(&number) else {
            return;
        };
        let frame = Frame::Reply(Box::new(Reply { reply, credit: 1 }));
        actions.push(SidecarAction::Send(sendable(Message::call(number, frame), &tool)));
        self.finish_drain(actions);
    }

    fn drain(&mut self, reason: GoAwayReason, now: Instant, actions: &mut Vec<SidecarAction>) {
        match self.phase {
            Phase::AwaitWelcome { .. } => return self.end(Ended::Drained(reason), actions),
            Phase::Open => {
                self.phase = Phase::Draining { until: after(now, self.settings.drain), reason };
            }
            Phase::Draining { .. } | Phase::Ended => {}
        }
        self.finish_drain(actions);
    }

    fn finish_drain(&mut self, actions: &mut Vec<SidecarAction>) {
        if let Phase::Draining { reason, .. } = self.phase
            && self.in_flight.is_empty()
        {
            self.end(Ended::Drained(reason), actions);
        }
    }

    fn pass_time(&mut self, now: Instant, actions: &mut Vec<SidecarAction>) {
        match &self.phase {
            Phase::Ended => return,
            Phase::AwaitWelcome { until, .. } => {
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
        if let Some(ping) = self.heartbeat.ping(now) {
            actions.push(SidecarAction::Send(ping));
        }
    }

    fn violate(&mut self, violation: Violation, actions: &mut Vec<SidecarAction>) {
        self.end(Ended::Violation(violation), actions);
    }

    fn end(&mut self, reason: Ended, actions: &mut Vec<SidecarAction>) {
        self.phase = Phase::Ended;
        self.in_flight.clear();
        actions.push(SidecarAction::Close(reason));
    }
}

/// The reply, or an error in its place if it is larger than a frame. The answer stays in the
/// sidecar's ledger either way.
fn sendable(message: Message, tool: &str) -> Message {
    let Message { id, frame: Frame::Reply(reply) } = &message else {
        return message;
    };
    // Only a body that comes near the limit is worth a trial encoding.
    let near = crate::relay::frame::MAX_FRAME_BYTES / 2;
    let size = match &reply.reply.result {
        Ok(body) => body.get().len(),
        Err(error) => error
            .message
            .len()
            .saturating_add(error.details.iter().map(String::len).fold(0, usize::saturating_add)),
    };
    if size < near || !matches!(encode(&message), Err(EncodeError::TooLong { .. })) {
        return message;
    }
    let (code, text) = if may_have_effect(tool) {
        let text = "The answer is larger than a relay frame; what the call did is in the ledger.";
        (ErrorCode::CallOutcomeUnknown, text)
    } else {
        let text = "The answer is larger than a relay frame; ask for less at once.";
        (ErrorCode::OutputUnsafe, text)
    };
    let reply = failure(reply.reply.call_id.clone(), code, text);
    Message::call(*id, Frame::Reply(Box::new(Reply { reply, credit: 1 })))
}

fn send(frame: Frame) -> SidecarAction {
    SidecarAction::Send(Message::link(frame))
}
