//! Permission as a value: made by a decision only, spent once.

use crate::{CancelFacts, Question, Requester};
use ibkr_agent_domain::{
    AccountId, ApprovalId, BrokerName, BrokerOrderId, ClientOrderId, Decision, Digest, OrderPlan,
    Record, RecordKind, Recordable, Reference, RiskReducing, Timestamp,
};

mod sealed {
    pub trait Sealed {}
}

/// An effect that needs a permit.
pub trait Action: sealed::Sealed {
    /// The record of the intent.
    fn describe(&self, record: &mut Record);
}

/// Permission for one effect. Private constructor, not `Clone`.
#[derive(Debug)]
#[must_use = "a permit that is dropped was never used"]
pub struct Permit<A: Action> {
    action: A,
    requester: Requester,
    policy: Digest,
    decided_at: Timestamp,
}

impl<A: Action> Permit<A> {
    pub(crate) const fn new(
        action: A,
        requester: Requester,
        policy: Digest,
        decided_at: Timestamp,
    ) -> Self {
        Self { action, requester, policy, decided_at }
    }

    /// What is permitted.
    #[must_use]
    pub const fn action(&self) -> &A {
        &self.action
    }

    /// Who asked.
    #[must_use]
    pub const fn requester(&self) -> &Requester {
        &self.requester
    }

    /// The hash of the policy that permitted it.
    #[must_use]
    pub const fn policy(&self) -> Digest {
        self.policy
    }

    /// When it was decided.
    #[must_use]
    pub const fn decided_at(&self) -> Timestamp {
        self.decided_at
    }
}

impl<A: Action> Recordable for Permit<A> {
    fn to_record(&self) -> Record {
        let mut record = Record::new(
            RecordKind::Intent,
            self.requester.actor.clone(),
            self.requester.door,
            Decision::Permitted,
        );
        record.tool = Some(self.requester.tool);
        record.policy = Some(self.policy);
        record.references.push(Reference::Call(self.requester.call.clone()));
        self.action.describe(&mut record);
        record
    }
}

/// Place the orders of a plan.
#[derive(Debug)]
pub struct Place {
    pub(crate) plan: OrderPlan,
    pub(crate) references: Vec<ClientOrderId>,
    pub(crate) approval: ApprovalId,
}

impl Place {
    /// The plan, exactly as approved.
    #[must_use]
    pub const fn plan(&self) -> &OrderPlan {
        &self.plan
    }

    /// Our references, one for each order of the plan.
    #[must_use]
    pub fn references(&self) -> &[ClientOrderId] {
        &self.references
    }

    /// Whether a reference names an order of the plan.
    #[must_use]
    pub fn is_of(&self, reference: &ClientOrderId) -> bool {
        self.references.contains(reference)
    }

    /// The approval that it spends.
    #[must_use]
    pub const fn approval(&self) -> &ApprovalId {
        &self.approval
    }
}

impl sealed::Sealed for Place {}
impl Action for Place {
    fn describe(&self, record: &mut Record) {
        record.account = Some(self.plan.account().clone());
        record.references.push(Reference::Approval(self.approval.clone()));
        let named = self.references.iter().cloned().map(Reference::ClientOrder);
        record.references.extend(named);
        record.references.push(Reference::Order(self.plan.digest()));
    }
}

/// Cancel an order.
#[derive(Debug)]
pub struct Cancel {
    pub(crate) facts: CancelFacts,
}

impl Cancel {
    /// The broker login.
    #[must_use]
    pub const fn broker(&self) -> &BrokerName {
        &self.facts.broker
    }

    /// The account.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        &self.facts.account
    }

    /// IBKR's id of the order.
    #[must_use]
    pub const fn order_id(&self) -> &BrokerOrderId {
        &self.facts.order_id
    }
}

impl sealed::Sealed for Cancel {}
impl Action for Cancel {
    fn describe(&self, record: &mut Record) {
        record.account = Some(self.facts.account.clone());
        record.references.push(Reference::BrokerOrder(self.facts.order_id.clone()));
        record.references.extend(self.facts.ours.clone().map(Reference::ClientOrder));
    }
}

/// Answer a broker's question about an order.
#[derive(Debug)]
pub struct Reply {
    pub(crate) broker: BrokerName,
    pub(crate) account: AccountId,
    pub(crate) client_order_id: ClientOrderId,
    pub(crate) question: Question,
    pub(crate) confirmed: bool,
}

impl Reply {
    /// The broker login.
    #[must_use]
    pub const fn broker(&self) -> &BrokerName {
        &self.broker
    }

    /// IBKR's id of the question.
    #[must_use]
    pub fn reply_id(&self) -> &str {
        &self.question.reply_id
    }

    /// Our reference of the order that it is about.
    #[must_use]
    pub const fn client_order_id(&self) -> &ClientOrderId {
        &self.client_order_id
    }

    /// Yes or no.
    #[must_use]
    pub const fn confirmed(&self) -> bool {
        self.confirmed
    }
}

impl sealed::Sealed for Reply {}
impl Action for Reply {
    fn describe(&self, record: &mut Record) {
        record.account = Some(self.account.clone());
        record.references.push(Reference::ClientOrder(self.client_order_id.clone()));
        record.references.push(Reference::Question(self.question.text_digest()));
        record.details.push(if self.confirmed { "reply_yes" } else { "reply_no" });
    }
}

/// Take the brokerage session from another platform of the same username.
#[derive(Debug)]
pub struct TakeOver {
    pub(crate) broker: BrokerName,
}

impl TakeOver {
    /// The broker login.
    #[must_use]
    pub const fn broker(&self) -> &BrokerName {
        &self.broker
    }
}

impl sealed::Sealed for TakeOver {}
impl Action for TakeOver {
    fn describe(&self, record: &mut Record) {
        record.details.push("session_takeover");
    }
}

/// Halt trading.
#[derive(Debug)]
pub struct Halt {
    pub(crate) reason: &'static str,
}

impl Halt {
    /// Why.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }
}

impl sealed::Sealed for Halt {}
impl Action for Halt {
    fn describe(&self, record: &mut Record) {
        record.kind = RecordKind::Halted;
        record.details.push(self.reason);
    }
}

impl RiskReducing for Permit<Cancel> {}
impl RiskReducing for Permit<Halt> {}
