//! The agents' door: every tool call is checked, admitted, run, recorded and only then answered.
//!
//! One way for every caller: scope → admission → the tool → a record → the answer with its hash and
//! receipt. Reads are async functions between two engine steps; everything on the order path is the
//! engine's. An approval can be asked for here and never given.

mod account;
mod bars;
mod brief;
mod calendar;
mod control;
mod dispatch;
mod export;
mod inbox;
mod journal;
mod market;
mod meter;
mod options;
mod order_history;
mod orders;
mod overview;
mod portfolio;
mod research;
mod resources;
mod session;
mod since;
mod size;
mod staged;
mod sums;
mod waits;

use crate::brokers::Brokers;
use crate::changes::Changes;
use crate::driver::{EngineHandle, Told};
use crate::engine::{Answer, Caller, Input, Owner, Refusal, Standing, Work};
use crate::invocation::Invocation;
use crate::relay::{Identity, RelayDoor, RemoteRefusal, Tally};
use ibkr_agent_audit::Ledger;
use ibkr_agent_broker::Errand;
use ibkr_agent_domain::{
    AccountId, Actor, Decision, Digest, Door, ErrorCode, Mode, Record, RecordKind, Reference,
    ScopeSet, Timestamp, Untrusted,
};
use ibkr_agent_gates::Requester;
use ibkr_agent_protocol::catalogue::{self, Backend, RiskClass, Tool, ToolSpec};
use ibkr_agent_protocol::service::{
    ErrorBody, EventStream, LocalCaller, MAX_TIMEOUT, Progress, Receipt, ToolCall, ToolEvent,
    ToolReply, ToolService, receipt_text,
};
use ibkr_agent_token::Verified;
use meter::Recording;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tool that needs no place among the calls in flight: a cancel is never crowded out. Its
/// callers' budgets bound it.
const UNBOUNDED: &str = "ibkr_paper_order_cancel";

/// Tools that may wait long for others' doing; they have places of their own.
const WAITING: &[&str] = &["ibkr_approval_status", "ibkr_resources_wait"];

/// Who calls a tool, as its door knows it.
#[derive(Debug, Clone)]
pub enum Agent {
    /// A process of the local user.
    Local {
        /// What it calls itself.
        caller: LocalCaller,
        /// Through which door.
        door: Door,
    },
    /// A caller whose access token this sidecar verified itself.
    Token {
        /// What the token says.
        verified: Arc<Verified>,
        /// Through which door.
        door: Door,
    },
}

/// What a sidecar lets callers do at most.
#[derive(Debug, Clone)]
pub struct Ceilings {
    /// For local callers.
    pub local: ScopeSet,
    /// For callers of an issuer; an issuer that isn't here gets nothing.
    pub issuers: BTreeMap<String, ScopeSet>,
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use core::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) use control::event as audit_event;
pub(crate) use journal::Journal;
pub(crate) use meter::RefusalMeter;
pub use size::estimated_tokens;
pub(crate) use waits::Waits;

/// What the tools share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) engine: EngineHandle,
    pub(crate) ledger: Ledger,
    pub(crate) brokers: Arc<Brokers>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) journal: Journal,
    pub(crate) ceilings: Ceilings,
    pub(crate) identity: Identity,
    pub(crate) backend: Backend,
    pub(crate) enabled: Enabled,
    pub(crate) invocation: Invocation,
    pub(crate) refusals: RefusalMeter,
    pub(crate) waits: Arc<Waits>,
    pub(crate) tracker: TaskTracker,
}

/// What is switched on.
#[derive(Debug, Clone, Copy)]
pub struct Enabled {
    /// Order previews.
    pub preview: bool,
    /// Paper orders.
    pub paper: bool,
    /// The relay to a remote.
    pub remote: bool,
}

/// The tool service of a sidecar.
#[derive(Debug, Clone)]
pub struct Agents {
    pub(crate) core: Arc<Core>,
}

/// Where a call is counted while it runs.
enum Place {
    Free,
    Waiting(#[expect(dead_code, reason = "held, never looked at")] waits::Wait),
    InFlight(#[expect(dead_code, reason = "held, never looked at")] OwnedSemaphorePermit),
}

/// A tool's answer before it is recorded.
pub(crate) struct Done {
    body: Box<RawValue>,
    account: Option<AccountId>,
    /// Set when the engine has already recorded the call.
    event: Option<String>,
    recorded: bool,
}

impl Done {
    fn read<T: Serialize>(output: &T, account: Option<AccountId>) -> Result<Self, ErrorBody> {
        Ok(Self { body: to_raw(output)?, account, event: None, recorded: false })
    }

    /// A list that is cut to what a model can be given: `build` makes the answer with so many rows
    /// and says in it what was left out.
    fn fitting<T: Serialize>(
        mut rows: usize,
        account: Option<AccountId>,
        build: impl Fn(usize) -> T,
    ) -> Result<Self, ErrorBody> {
        loop {
            let body = to_raw(&build(rows))?;
            match size::fewer_rows(rows, estimated_tokens(body.get())) {
                Some(fewer) => rows = fewer,
                None => return Ok(Self { body, account, event: None, recorded: false }),
            }
        }
    }

    fn staged<T: Serialize>(output: &T, event: Option<String>) -> Result<Self, ErrorBody> {
        Ok(Self { body: to_raw(output)?, account: None, event, recorded: true })
    }
}

fn to_raw<T: Serialize>(output: &T) -> Result<Box<RawValue>, ErrorBody> {
    serde_json::value::to_raw_value(output)
        .map_err(|_| ErrorBody::new(ErrorCode::InternalError, "the answer can't be written"))
}

/// One call on its way through a tool.
pub(crate) struct Asked<'a> {
    core: &'a Core,
    caller: Caller,
    call: &'a ToolCall,
    progress: Progress,
    cancelled: CancellationToken,
}

impl Asked<'_> {
    fn now(&self) -> Timestamp {
        self.core.engine.clock().now().wall
    }

    fn input<T: Tool>(&self) -> Result<T::Input, ErrorBody> {
        catalogue::decode::<T>(self.call)
    }
}

impl ToolService for Agents {
    type Caller = Agent;

    fn tools(&self, caller: &Agent) -> Vec<&'static ToolSpec> {
        let scopes = self.core.scopes_of(caller);
        catalogue::all().iter().filter(|spec| scopes.contains(spec.scope)).collect()
    }

    async fn call(
        &self,
        agent: Agent,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        let core = Arc::clone(&self.core);
        let call_id = call.call_id.clone();
        let place = match core.place(&agent, &call.tool) {
            Ok(place) => place,
            Err(error) => return ToolReply::failure(call_id, error),
        };
        // A task of its own: a caller that goes away doesn't stop a write half-way.
        let run = self.core.tracker.spawn(async move {
            let reply = core.run(agent, call, progress, cancelled).await;
            drop(place);
            reply
        });
        match run.await {
            Ok(reply) => reply,
            Err(_) => {
                let error = ErrorBody::new(ErrorCode::InternalError, "the tool failed");
                ToolReply::failure(call_id, error)
            }
        }
    }

    fn events(&self, agent: &Agent) -> EventStream {
        let owner = Owner::of(&actor_of(agent));
        let changes = self.core.engine.changes();
        let state = (changes, owner);
        Box::pin(futures_util::stream::unfold(state, |(mut changes, owner)| async move {
            loop {
                match changes.recv().await {
                    Ok(change) if change.owner == owner => {
                        let event = ToolEvent { resource: change.resource };
                        return Some((event, (changes, owner)));
                    }
                    Ok(_) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return None,
                }
            }
        }))
    }
}

impl Agents {
    /// Records a call that its door refused before it became one (a bad token, say), and answers.
    pub async fn refuse(
        &self,
        claimed: &Untrusted,
        door: Door,
        code: ErrorCode,
        call: &ToolCall,
    ) -> ToolReply {
        let requester = Requester {
            call: call.call_id.clone(),
            actor: Actor::Unauthenticated { claimed: claimed.clone() },
            door,
            tool: tool_name(&call.tool),
        };
        let error = ErrorBody::new(code, code.user_action());
        self.core.turn_away(&requester, call, error).await
    }

    /// The key with which answers are signed, hexadecimal Ed25519.
    #[must_use]
    pub fn receipt_key(&self) -> String {
        self.core.identity.public_hex()
    }
}

impl RelayDoor for Agents {
    async fn call(
        &self,
        verified: Verified,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        let agent = Agent::Token { verified: Arc::new(verified), door: Door::Relay };
        ToolService::call(self, agent, call, progress, cancelled).await
    }

    async fn refused(&self, code: ErrorCode, call: &ToolCall) -> ToolReply {
        self.refuse(&Untrusted::new("relayed token"), Door::Relay, code, call).await
    }

    async fn refused_at_remote(&self, refusal: RemoteRefusal) {
        let RemoteRefusal { claimed, reason, tool, tally, at } = refusal;
        let actor = Actor::Unauthenticated { claimed };
        let mut record = Record::new(RecordKind::Refused, actor, Door::Relay, Decision::Denied);
        record.tool = tool.as_deref().map(tool_name);
        record.codes.extend(reason);
        record.details.push("claimed_by_remote");
        record.references.extend(at.map(Reference::ClaimedAt));
        match tally {
            Tally::One => {}
            Tally::Counted(count) => record.references.push(Reference::Count(count)),
            Tally::LeftOut(count) => {
                record.details.push("left_out");
                record.references.push(Reference::Count(count));
            }
        }
        let recorded = self.core.engine.ask(|ticket| Input::Record { ticket, record }).await;
        if !matches!(recorded.answer, Answer::Recorded) {
            tracing::warn!("a refusal at the remote was not recorded");
        }
    }
}

/// A caller's turn among those who wait for the broker; 0 is for work of no caller.
fn turn_of(actor: &Actor) -> u64 {
    let digest = Digest::of(format!("{actor:?}").as_bytes());
    let first = digest.as_bytes().first_chunk::<8>();
    first.map_or(1, |bytes| u64::from_be_bytes(*bytes).max(1))
}

/// Who an agent is, for records.
fn actor_of(agent: &Agent) -> Actor {
    match agent {
        Agent::Local { caller, .. } => Actor::Local { client: caller.client.clone() },
        Agent::Token { verified, .. } => {
            Actor::token(verified.issuer(), verified.subject(), verified.client())
        }
    }
}

/// The catalogue's own name of a tool, so that a record never holds a caller's text as a name.
fn tool_name(name: &str) -> &'static str {
    let forbidden = catalogue::FORBIDDEN.iter().find(|known| **known == name).copied();
    catalogue::find(name).map(|spec| spec.name).or(forbidden).unwrap_or("unknown_tool")
}

impl Core {
    /// A place for a call, to be held until it is answered.
    fn place(&self, agent: &Agent, tool: &str) -> Result<Place, ErrorBody> {
        if tool == UNBOUNDED {
            Ok(Place::Free)
        } else if WAITING.contains(&tool) {
            self.waits.enter(turn_of(&actor_of(agent))).map(Place::Waiting)
        } else {
            self.engine.enter().map(Place::InFlight).map_err(refusal_body)
        }
    }

    fn scopes_of(&self, agent: &Agent) -> ScopeSet {
        match agent {
            Agent::Local { .. } => self.ceilings.local.clone(),
            Agent::Token { verified, .. } => {
                let ceiling = self.ceilings.issuers.get(verified.issuer());
                ceiling.map(|ceiling| verified.scopes().intersection(ceiling)).unwrap_or_default()
            }
        }
    }

    fn caller(&self, agent: &Agent, call: &ToolCall) -> Caller {
        let actor = actor_of(agent);
        let (door, standing) = match agent {
            Agent::Local { door, .. } => (*door, Standing::Local),
            Agent::Token { verified, door } => {
                // A token that doesn't say when it was issued is as old as can be.
                let seconds = verified.issued_at().unwrap_or(0);
                let issued_at = Timestamp::from_millis(seconds.saturating_mul(1000));
                (*door, Standing::Token { issued_at })
            }
        };
        let tool = tool_name(&call.tool);
        let requester = Requester { call: call.call_id.clone(), actor, door, tool };
        Caller { requester, scopes: self.scopes_of(agent), standing }
    }

    async fn run(
        &self,
        agent: Agent,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        let caller = self.caller(&agent, &call);
        let requester = caller.requester.clone();
        let spec = match self.admit(&caller, &call).await {
            Ok(spec) => spec,
            Err(error) => return self.turn_away(&requester, &call, error).await,
        };
        let limit = call.timeout.min(MAX_TIMEOUT);
        let asked = Asked { core: self, caller, call: &call, progress, cancelled };
        let work = tokio::time::timeout(limit, asked.dispatch(spec));
        // Callers take turns at the broker: one that asks much doesn't hold up another. A read
        // waits for its turn as long as the call has time, instead of being refused before.
        let errand = Errand::of(turn_of(&requester.actor)).within(limit);
        let ended = errand.run(work).await;
        match ended {
            Ok(Ok(done)) => self.finish(&requester, &call, done).await,
            Ok(Err(error)) => self.finish_refused(&requester, &call, error).await,
            Err(_) if spec.risk.is_write() => {
                let message = "the outcome was not known in time: ask ibkr_order_outcome";
                let error = ErrorBody::new(ErrorCode::CallOutcomeUnknown, message);
                self.finish_refused(&requester, &call, error).await
            }
            Err(_) => {
                let error = ErrorBody::new(ErrorCode::CallTimedOut, "the answer took too long");
                self.finish_refused(&requester, &call, error).await
            }
        }
    }

    /// Scope, then admission by the engine.
    async fn admit(
        &self,
        caller: &Caller,
        call: &ToolCall,
    ) -> Result<&'static ToolSpec, ErrorBody> {
        if catalogue::FORBIDDEN.contains(&call.tool.as_str()) {
            let message = "generic order tools are refused here";
            return Err(ErrorBody::new(ErrorCode::ReadonlyWriteForbidden, message));
        }
        let Some(spec) = catalogue::find(&call.tool) else {
            let name = Untrusted::bounded(&call.tool, 64);
            let message = format!("there is no tool {name}");
            return Err(ErrorBody::new(ErrorCode::InputUnknownTool, message));
        };
        if !caller.scopes.contains(spec.scope) {
            let message = format!("{} needs the scope {}", spec.name, spec.scope);
            return Err(ErrorBody::new(ErrorCode::AuthMissingScope, message));
        }
        let work = match spec.risk {
            RiskClass::Read => Work::Read,
            RiskClass::Preview => Work::Preview,
            RiskClass::Ask => Work::Ask,
            RiskClass::PaperWrite | RiskClass::LiveWrite if spec.is_submit() => Work::Submit,
            RiskClass::PaperWrite | RiskClass::LiveWrite => Work::Cancel,
        };
        let caller = caller.clone();
        let told = self.engine.ask(|ticket| Input::Admit { ticket, caller, work }).await;
        if matches!(told.answer, Answer::Admitted) { Ok(spec) } else { Err(refused(told)) }
    }

    async fn finish(&self, requester: &Requester, call: &ToolCall, done: Done) -> ToolReply {
        // Lists cut themselves before. What the order path did is told whatever its length.
        let tokens = if done.recorded { 0 } else { estimated_tokens(done.body.get()) };
        if tokens > size::MAX_ANSWER_TOKENS {
            let most = size::MAX_ANSWER_TOKENS;
            let message = format!("the answer has about {tokens} tokens; {most} may be");
            let error = ErrorBody::new(ErrorCode::OutputTooLarge, message);
            return self.finish_refused(requester, call, error).await;
        }
        let mut reply = ToolReply::success(call.call_id.clone(), done.body);
        let event = if done.recorded {
            done.event
        } else {
            let mut record = Record::new(
                RecordKind::Read,
                requester.actor.clone(),
                requester.door,
                Decision::Permitted,
            );
            record.account = done.account;
            record.output = Some(reply.output_hash);
            match self.record(requester, call, record).await {
                Ok(event) => event,
                Err(error) => return ToolReply::failure(call.call_id.clone(), error),
            }
        };
        self.sign(&mut reply, event);
        reply
    }

    /// Refuses a call that was never admitted, and so was paid for by nobody's budget: recorded as
    /// long as there are few of them.
    async fn turn_away(
        &self,
        requester: &Requester,
        call: &ToolCall,
        error: ErrorBody,
    ) -> ToolReply {
        match self.refusals.take(Instant::now()) {
            Recording::Written { left_out: 0 } => {}
            Recording::Written { left_out } => {
                let (kind, decision) = (RecordKind::Notice, Decision::Stated);
                let mut record = Record::new(kind, Actor::System, Door::Internal, decision);
                record.details.push("refusals_left_out");
                record.references.push(Reference::Count(left_out));
                self.engine.ask(|ticket| Input::Record { ticket, record }).await;
            }
            Recording::LeftOut => {
                let mut reply = ToolReply::failure(call.call_id.clone(), error);
                self.sign(&mut reply, None);
                return reply;
            }
        }
        self.finish_refused(requester, call, error).await
    }

    async fn finish_refused(
        &self,
        requester: &Requester,
        call: &ToolCall,
        mut error: ErrorBody,
    ) -> ToolReply {
        let mut event = error.audit_event_id.take();
        if event.is_none() {
            let mut record = Record::new(
                RecordKind::Refused,
                requester.actor.clone(),
                requester.door,
                Decision::Denied,
            );
            record.codes.extend(error.error_code());
            // The refusal stands even when it can't be recorded.
            event = self.record(requester, call, record).await.ok().flatten();
        }
        error.audit_event_id.clone_from(&event);
        let invocation = self.invocation.told_at(requester.door);
        error.user_action = invocation.spell(&error.user_action);
        let mut reply = ToolReply::failure(call.call_id.clone(), error);
        self.sign(&mut reply, event);
        reply
    }

    async fn record(
        &self,
        requester: &Requester,
        call: &ToolCall,
        mut record: Record,
    ) -> Result<Option<String>, ErrorBody> {
        record.tool = Some(requester.tool);
        record.input = Some(call.input_hash());
        record.references.push(Reference::Call(call.call_id.clone()));
        let told = self.engine.ask(|ticket| Input::Record { ticket, record }).await;
        if matches!(told.answer, Answer::Recorded) { Ok(told.event) } else { Err(refused(told)) }
    }

    fn sign(&self, reply: &mut ToolReply, event: Option<String>) {
        let text = receipt_text(&reply.call_id, &reply.output_hash, event.as_deref());
        let signature = self.identity.sign_hex(text.as_bytes());
        reply.receipt = Some(Receipt { key: self.identity.public_hex(), signature });
        reply.audit_event_id = event;
    }

    /// The mode in which orders of this sidecar's accounts trade, for tools without an account.
    fn mode(&self) -> Mode {
        self.brokers.all().first().map_or(Mode::Simulated, |broker| broker.mode())
    }
}

/// An engine's refusal as callers see it.
pub(crate) fn refusal_body(refusal: Refusal) -> ErrorBody {
    let mut body = ErrorBody::new(refusal.code, refusal.message);
    body.details = refusal.details;
    body
}

/// A refusal of the engine, with the record that it made of it.
pub(crate) fn refused(told: Told) -> ErrorBody {
    let Answer::Refused(refusal) = told.answer else {
        tracing::error!(answer = ?told.answer, "engine.unexpected_answer");
        return ErrorBody::new(ErrorCode::InternalError, "the engine answered something else");
    };
    let mut body = refusal_body(refusal);
    body.audit_event_id = told.event;
    body
}
