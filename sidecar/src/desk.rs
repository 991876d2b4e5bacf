//! The operator's desk: performs verbs whose signatures the socket has checked.
//!
//! The only way to an operator's act. Nothing that an agent or the remote can send leads here.

mod approvals;
mod callers;
mod halts;
mod log;

use crate::engine::{
    Answer, ApprovalStatus, Caller, Cancellation, Input, OperatorAct, OperatorKeyEntry, OrderEntry,
    Scope, Standing, Used,
};
use crate::operator::{
    EnrolledKey, Keyring, OperatorDomain, OperatorDoor, OperatorPublicKey, Verb,
};
use crate::tools::{Core, refusal_body, refused};
use arc_swap::ArcSwap;
use ibkr_agent_broker::Broker;
use ibkr_agent_domain::{
    AccountId, Actor, ApprovalId, BrokerName, BrokerOrderId, ClientOrderId, Decision, Digest, Door,
    ErrorCode, Mode, OperatorKeyId, OperatorSignature, PreviewId, Reason, Record, RecordKind,
    ScopeSet, SidecarId, Tier, Untrusted,
};
use ibkr_agent_gates::Requester;
use ibkr_agent_protocol::service::{ErrorBody, fresh_call_id};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Longest label of a caller, in characters: an issuer, a subject and a client.
const MAX_LABEL: usize = 2048;

/// How long a cancel of an order that others placed waits to learn which login shows its account.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Performs operator verbs.
#[derive(Debug)]
pub struct OperatorDesk {
    core: Arc<Core>,
    sidecar: SidecarId,
    domain: OperatorDomain,
    keyring: ArcSwap<Keyring>,
}

impl OperatorDesk {
    pub(crate) async fn new(core: Arc<Core>, sidecar: SidecarId, domain: OperatorDomain) -> Self {
        let desk =
            Self { core, sidecar, domain, keyring: ArcSwap::from_pointee(Keyring::new(domain)) };
        desk.reload_keys().await;
        desk
    }

    async fn reload_keys(&self) {
        let keys = self
            .core
            .engine
            .look(|engine, _| engine.operator_keys().cloned().collect::<Vec<OperatorKeyEntry>>());
        let mut keyring = Keyring::new(self.domain);
        for key in keys.await.unwrap_or_default() {
            let parsed = EnrolledKey::parse(&key.public_key, &key.label, key.enrolled_at);
            if parsed.and_then(|key| keyring.enrol(key)).is_err() {
                tracing::error!(key = %key.id, "operator.key_unreadable");
            }
        }
        self.keyring.store(Arc::new(keyring));
    }

    /// Enrols the first operator key of this installation; later ones need a signature.
    ///
    /// # Errors
    /// `SIGNATURE_REQUIRED` when a key is enrolled already.
    pub async fn enrol_first(&self, key: OperatorPublicKey, label: &str) -> Result<(), ErrorBody> {
        let core = &self.core;
        if !crate::app::enrol_first(&core.engine, &core.ledger, key, label).await {
            let message = "the log has enrolled a key already: sign with it to enrol another";
            return Err(ErrorBody::new(ErrorCode::SignatureRequired, message));
        }
        self.reload_keys().await;
        Ok(())
    }

    fn requester(verb: &Verb, key: Option<OperatorKeyId>) -> Requester {
        Requester {
            call: fresh_call_id(),
            actor: Actor::Operator { key },
            door: Door::Operator,
            tool: verb.name(),
        }
    }

    async fn act(&self, requester: Requester, act: OperatorAct) -> Result<Value, ErrorBody> {
        let asks_yes = matches!(act, OperatorAct::Approve { .. });
        let told = self.core.engine.ask(|ticket| Input::Operator { ticket, requester, act }).await;
        match &told.answer {
            Answer::Done => Ok(json!({
                "done": true,
                "domain": self.domain.as_str(),
                "brokers": self.logins(),
                "audit_event_id": told.event,
            })),
            Answer::Approval(entry, ..) if asks_yes => {
                self.after_yes(&entry.id, told.event.as_ref()).await
            }
            Answer::Approval(entry, expired, followed) => {
                let mut value = self.shown(entry, *expired, followed);
                set(&mut value, "audit_event_id", json!(told.event));
                Ok(value)
            }
            Answer::Order(entry) => {
                let mut value = order(entry);
                set(&mut value, "domain", json!(self.domain.as_str()));
                Ok(value)
            }
            Answer::Refused(_)
            | Answer::Admitted
            | Answer::Recorded
            | Answer::Preview(..)
            | Answer::CancelRequested { .. } => Err(refused(told)),
        }
    }

    async fn read(&self, verb: &Verb) -> Result<Value, ErrorBody> {
        match verb {
            Verb::Status {} => self.status().await,
            Verb::Approvals { all } => self.approvals(*all).await,
            Verb::Approval { id } => self.approval(id).await,
            Verb::ApprovalProof { id } => self.approval_proof(id).await,
            Verb::Questions {} => self.questions().await,
            Verb::Orders {} => self.orders().await,
            Verb::Callers {} => self.callers().await,
            Verb::Caller { caller } => self.caller(caller).await,
            Verb::HaltStatus {} => self.halt_status().await,
            Verb::Limits {} => self.limits().await,
            Verb::AuditTail { limit, before } => self.audit_tail(*limit, *before).await,
            Verb::AuditVerify {} => self.audit_verify().await,
            Verb::Approve { .. }
            | Verb::TakePreview { .. }
            | Verb::Deny { .. }
            | Verb::Answer { .. }
            | Verb::Halt { .. }
            | Verb::Resume { .. }
            | Verb::AcceptState { .. }
            | Verb::Cancel { .. }
            | Verb::Settle { .. }
            | Verb::TakeOver { .. }
            | Verb::Admit { .. }
            | Verb::Revoke { .. }
            | Verb::EnrolKey { .. } => {
                Err(ErrorBody::new(ErrorCode::InternalError, "this verb isn't a read"))
            }
        }
    }

    async fn status(&self) -> Result<Value, ErrorBody> {
        let halt = self.look_halt().await?;
        let brokers: Vec<Value> = self
            .core
            .brokers
            .all()
            .iter()
            .map(|broker| {
                let health = broker.health();
                json!({
                    "broker": broker.name().as_str(),
                    "mode": broker.mode().as_str(),
                    "session": health.state.as_str(),
                    "since": health.since.to_string(),
                })
            })
            .collect();
        let pending = self.core.engine.look(|engine, now| {
            engine
                .approvals()
                .filter(|a| a.status == ApprovalStatus::Pending && a.expires_at > now.wall)
                .count()
        });
        let in_doubt = self
            .core
            .engine
            .look(|engine, _| engine.orders().filter(|o| o.state.is_in_doubt()).count());
        let head = self.core.ledger.head();
        Ok(json!({
            "sidecar": self.sidecar.as_str(),
            "domain": self.domain.as_str(),
            "brokers": brokers,
            "halt": halt,
            "pending_approvals": pending.await.map_err(refusal_body)?,
            "orders_in_doubt": in_doubt.await.map_err(refusal_body)?,
            "audit": {
                "writable": self.core.ledger.is_writable(),
                "size": head.size,
                "root": head.root.to_string(),
                "key": self.core.ledger.verifier().to_string(),
            },
        }))
    }

    /// The logins that an act concerns when it concerns them all.
    fn logins(&self) -> Vec<Value> {
        let brokers = self.core.brokers.all().iter();
        let names = |broker: &Arc<dyn Broker>| (broker.name().to_string(), broker.mode());
        let login =
            |(broker, mode): (String, Mode)| json!({ "broker": broker, "mode": mode.as_str() });
        brokers.map(names).map(login).collect()
    }

    async fn look_halt(&self) -> Result<Value, ErrorBody> {
        let halt = self.core.engine.look(|engine, _| engine.halt_entry().clone()).await;
        let halt = halt.map_err(refusal_body)?;
        Ok(halts::shown(&halt))
    }

    /// What a start found amiss in the state folder, until an operator accepts it.
    async fn state_doubt(&self) -> Result<Option<String>, ErrorBody> {
        let halt = self.core.engine.look(|engine, _| engine.halt_entry().clone()).await;
        let halt = halt.map_err(refusal_body)?;
        Ok(halt.is_of_state().then(|| halt.told()))
    }

    async fn halt_status(&self) -> Result<Value, ErrorBody> {
        self.look_halt().await
    }

    async fn questions(&self) -> Result<Value, ErrorBody> {
        let found = self.core.engine.look(|engine, _| {
            engine.orders().filter(|o| o.question.is_some()).cloned().collect::<Vec<_>>()
        });
        let orders = found.await.map_err(refusal_body)?;
        let rows: Vec<Value> = orders.iter().map(order).collect();
        Ok(json!({ "questions": rows }))
    }

    async fn orders(&self) -> Result<Value, ErrorBody> {
        let found = self.core.engine.look(|engine, _| {
            let mut orders: Vec<OrderEntry> = engine.orders().cloned().collect();
            orders.sort_by_key(|order| core::cmp::Reverse(order.created_at));
            orders.truncate(200);
            orders
        });
        let orders = found.await.map_err(refusal_body)?;
        Ok(json!({ "orders": orders.iter().map(order).collect::<Vec<_>>() }))
    }

    async fn limits(&self) -> Result<Value, ErrorBody> {
        let seen = self.core.engine.look(|engine, now| {
            (engine.policies().clone(), engine.used(None, now), engine.used_by_scope(now))
        });
        let (policies, used, scopes) = seen.await.map_err(refusal_body)?;
        let policy = policies.others();
        let limits = policy.limits();
        let counters: Vec<Value> = scopes.iter().map(counter).collect();
        Ok(json!({
            "policy_id": limits.id,
            "policy_hash": policy.hash().to_string(),
            "max_quantity": limits.max_quantity.to_string(),
            "max_notional": limits.max_notional.to_string(),
            "max_notional_per_day": limits.max_notional_per_day.to_string(),
            "notional_today": used.notional_today.to_string(),
            "max_orders_per_day": limits.max_orders_per_day,
            "orders_today": used.orders_today,
            "max_orders_per_minute": limits.max_orders_per_minute,
            "orders_last_minute": used.orders_last_minute,
            "price_collar_percent": limits.collar_percent.to_string(),
            "max_drift_percent": limits.max_drift_percent.to_string(),
            "max_quote_age_seconds": limits.max_quote_age.as_secs(),
            "resets_at": self.core.engine.clock().next_trading_day().map(|t| t.to_string()),
            "counters": counters,
        }))
    }

    async fn cancel(
        &self,
        requester: Requester,
        account: &str,
        order: &str,
    ) -> Result<Value, ErrorBody> {
        let cancellation = Cancellation {
            account: parse(AccountId::parse(account))?,
            order: parse(BrokerOrderId::parse(order))?,
        };
        self.find_login(&cancellation).await;
        let scopes = ScopeSet::up_to(Tier::Live);
        let caller = Caller { requester, scopes, standing: Standing::Operator };
        let told =
            self.core.engine.ask(|ticket| Input::Cancel { ticket, caller, cancellation }).await;
        let Answer::CancelRequested { order, sent, refused: words, message } = told.answer else {
            return Err(refused(told));
        };
        // Words are a hint: an order that is known to have ended has nothing left to cancel.
        let state = order.as_ref().map(|order| order.state);
        let ended = state.filter(|state| state.is_final());
        match (words, ended) {
            (Some(words), None) => {
                let mut error = refusal_body(words);
                error.audit_event_id = told.event;
                Err(error)
            }
            (words, _) => Ok(json!({
                "domain": self.domain.as_str(),
                "brokers": self.logins(),
                "requested": words.is_none(),
                "requests": sent,
                "status": state.map(|state| state.as_str()),
                "broker_message": words.map_or(message, |words| words.message),
                "audit_event_id": told.event,
            })),
        }
    }

    /// An order that others placed is cancelled through the login that shows its account.
    async fn find_login(&self, cancellation: &Cancellation) {
        let Cancellation { account, order } = cancellation.clone();
        let ours = self.core.engine.look(move |engine, _| {
            let mut orders = engine.orders();
            orders.any(|o| o.broker_order_id.as_ref() == Some(&order) && *o.account() == account)
        });
        if matches!(ours.await, Ok(true)) {
            return;
        }
        let account = cancellation.account.clone();
        let found = self.core.brokers.login_of(&account);
        // What can't be found soon is left to what the engine knows.
        if let Ok(Some(broker)) = tokio::time::timeout(LOGIN_TIMEOUT, found).await {
            self.core.engine.tell(Input::AccountSeen { account, broker });
        }
    }

    fn enrolment(&self, public_key: &str, label: &str) -> Result<OperatorAct, ErrorBody> {
        let now = self.core.engine.clock().now().wall;
        let key = EnrolledKey::parse(public_key, label, now)?;
        Keyring::clone(&self.keyring.load()).enrol(key.clone())?;
        Ok(OperatorAct::Enrol(OperatorKeyEntry {
            id: key.public_key.id(),
            public_key: key.public_key.to_string(),
            label: key.label.to_string(),
            enrolled_at: now,
        }))
    }

    /// The engine's act of a verb, or none for a verb that only reads.
    fn act_of(
        &self,
        verb: &Verb,
        key: Option<&OperatorKeyId>,
    ) -> Result<Option<OperatorAct>, ErrorBody> {
        Ok(Some(match verb {
            Verb::Approve { id, digest, signature } => OperatorAct::Approve {
                approval: parse(ApprovalId::parse(id))?,
                digest: parse(Digest::parse(digest))?,
                signature: parse(OperatorSignature::parse(signature))?,
                key: key.cloned().ok_or_else(|| {
                    ErrorBody::new(ErrorCode::SignatureRequired, "an approval is signed")
                })?,
            },
            Verb::TakePreview { preview } => {
                OperatorAct::Take { preview: parse(PreviewId::parse(preview))? }
            }
            Verb::Deny { id } => OperatorAct::Deny { approval: parse(ApprovalId::parse(id))? },
            Verb::Answer { order, text, confirmed } => OperatorAct::Answer {
                order: parse(ClientOrderId::parse(order))?,
                text: parse(Digest::parse(text))?,
                confirmed: *confirmed,
            },
            Verb::Halt { reason } => OperatorAct::Halt { reason: reason_of(reason) },
            Verb::Resume { reason } => OperatorAct::Resume { reason: reason_of(reason) },
            Verb::AcceptState { cause, reason } => {
                OperatorAct::Accept { cause: cause.clone(), reason: reason_of(reason) }
            }
            Verb::TakeOver { broker } => {
                OperatorAct::TakeOver { broker: parse(BrokerName::parse(broker))? }
            }
            Verb::Settle { order, exists } => {
                OperatorAct::Settle { order: parse(ClientOrderId::parse(order))?, exists: *exists }
            }
            Verb::Admit { caller } => OperatorAct::Admit { caller: callers::label_of(caller) },
            Verb::Revoke { caller } => OperatorAct::Revoke { caller: callers::label_of(caller) },
            Verb::EnrolKey { public_key, label } => self.enrolment(public_key, label)?,
            Verb::Status {}
            | Verb::Approvals { .. }
            | Verb::Approval { .. }
            | Verb::ApprovalProof { .. }
            | Verb::Questions {}
            | Verb::HaltStatus {}
            | Verb::Limits {}
            | Verb::Orders {}
            | Verb::Callers {}
            | Verb::Caller { .. }
            | Verb::Cancel { .. }
            | Verb::AuditTail { .. }
            | Verb::AuditVerify {} => return Ok(None),
        }))
    }
}

impl OperatorDoor for OperatorDesk {
    fn sidecar(&self) -> SidecarId {
        self.sidecar.clone()
    }

    fn domain(&self) -> OperatorDomain {
        self.domain
    }

    fn keyring(&self) -> Keyring {
        Keyring::clone(&self.keyring.load())
    }

    async fn perform(&self, verb: Verb, key: Option<OperatorKeyId>) -> Result<Value, ErrorBody> {
        let act = self.act_of(&verb, key.as_ref())?;
        let requester = Self::requester(&verb, key);
        if let Verb::Cancel { account, order } = &verb {
            return self.cancel(requester, account, order).await;
        }
        if let Verb::Revoke { caller } = &verb {
            return self.revoke(requester, caller).await;
        }
        match act {
            Some(act) => {
                let value = self.act(requester, act).await?;
                if matches!(verb, Verb::EnrolKey { .. }) {
                    self.reload_keys().await;
                }
                Ok(value)
            }
            None => self.read(&verb).await,
        }
    }

    async fn refused(&self, verb: Verb, error: ErrorBody) {
        let requester = Self::requester(&verb, None);
        let mut record =
            Record::new(RecordKind::Refused, requester.actor, requester.door, Decision::Denied);
        record.tool = Some(requester.tool);
        record.codes.extend(error.error_code());
        self.core.engine.ask(|ticket| Input::Record { ticket, record }).await;
    }
}

fn parse<T, E: core::fmt::Display>(result: Result<T, E>) -> Result<T, ErrorBody> {
    result.map_err(|error| ErrorBody::new(ErrorCode::InputInvalid, error.to_string()))
}

fn reason_of(text: &str) -> String {
    Untrusted::bounded(text, 200).to_string()
}

fn set(value: &mut Value, key: &str, new: Value) {
    if let Some(object) = value.as_object_mut() {
        object.insert(key.to_owned(), new);
    }
}

/// What the limits have used in one of the narrowest scopes.
fn counter((scope, used): (&Scope, &Used)) -> Value {
    json!({
        "broker": scope.broker.as_ref().map(ToString::to_string),
        "mode": scope.mode.map(|mode| mode.to_string()),
        "account": scope.account.as_ref().map(ToString::to_string),
        "caller": scope.owner.as_ref().map(ToString::to_string),
        "symbol": scope.symbol,
        "notional_today": used.notional_today.to_string(),
        "orders_today": used.orders_today,
        "orders_last_minute": used.orders_last_minute,
    })
}

/// An order as the operator sees it.
fn order(entry: &OrderEntry) -> Value {
    let question = entry.question.as_ref().map(|question| {
        json!({
            "message_ids": question.message_ids,
            "text": Untrusted::new(&question.messages.join("\n")).as_str(),
            "text_digest": question.text_digest().to_string(),
        })
    });
    json!({
        "client_order_id": entry.id.as_str(),
        "status": entry.state.as_str(),
        "broker": entry.order.broker().as_str(),
        "mode": entry.order.mode().as_str(),
        "account_id": entry.account().as_str(),
        "order_summary": entry.order.summary(),
        "broker_order_id": entry.broker_order_id.as_ref().map(BrokerOrderId::as_str),
        "filled": entry.filled.map(|filled| filled.to_string()),
        "average_price": entry.average_price.map(|price| price.to_string()),
        "reason": entry.reason.map(Reason::text),
        "message": entry.words(),
        "broker_message": entry.broker_words(),
        "question": question,
        "approval_id": entry.approval.as_str(),
        "call_id": entry.call.as_str(),
        "created_at": entry.created_at.to_string(),
        "updated_at": entry.updated_at.to_string(),
    })
}
