//! The three effects: place, reply, cancel. Each writes one request at most.
//!
//! Before anything is written: the permit is for this login and mode, the account is one that this
//! login shows, and the login is of the expected kind. What fails here is `NotSent`.

use crate::client::ClientPortal;
use crate::lists::OrderLists;
use crate::transport::{Answer, Delivery, Method, Request};
use crate::wire::cancels::cancellation;
use crate::wire::replies::{is_reply_id, placement};
use crate::wire::{scalar, ticket};
use crate::{Asked, CancelOutcome, HaltLatch, PlaceOutcome};
use ibkr_agent_audit::Recorded;
use ibkr_agent_domain::{AccountId, ClientOrderId, Mode, NotSent, OrderPlan};
use ibkr_agent_gates::{Cancel, Permit, Place, Reply};

/// Ends an account's list of orders when it is dropped, whatever became of a write.
struct Touch<'a> {
    lists: &'a OrderLists,
    account: &'a AccountId,
}

impl Drop for Touch<'_> {
    fn drop(&mut self) {
        self.lists.touch(self.account);
    }
}

impl ClientPortal {
    pub(crate) async fn place_once(&self, permit: Recorded<Permit<Place>>) -> PlaceOutcome {
        let action = permit.get().action();
        let plan = action.plan();
        if let Err(why) = self.may_place(plan) {
            return PlaceOutcome::NotSent { why };
        }
        let Ok((body, reference)) = ticket::placement(plan, action.references()) else {
            return PlaceOutcome::NotSent { why: NotSent::OrderNotWritable };
        };
        let path = format!("/iserver/account/{}/orders", plan.account());
        let request = Request::post(path).json(body);
        let sent = self.write(plan.account(), &request, Some(self.latch())).await;
        self.settle(sent, &reference, |question| {
            PlaceOutcome::Question(Asked::new(question, permit))
        })
    }

    pub(crate) async fn reply_once(
        &self,
        asked: Asked,
        permit: Recorded<Permit<Reply>>,
    ) -> PlaceOutcome {
        let reply = permit.get().action();
        let place = asked.permit().get().action();
        let is_answer_to_it =
            reply.reply_id() == asked.question().reply_id && place.is_of(reply.client_order_id());
        if !is_answer_to_it || !is_reply_id(reply.reply_id()) {
            return PlaceOutcome::NotSent { why: NotSent::AnotherQuestion };
        }
        if reply.broker() != self.broker_name() {
            return PlaceOutcome::NotSent { why: NotSent::AnotherBroker };
        }
        if let Err(why) = self.may_place(place.plan()) {
            return PlaceOutcome::NotSent { why };
        }
        let Some(next) = asked.next_round() else {
            return PlaceOutcome::NotSent { why: NotSent::TooManyQuestions };
        };
        let (body, latch): (&[u8], Option<&HaltLatch>) = if reply.confirmed() {
            (br#"{"confirmed":true}"#, Some(self.latch()))
        } else {
            (br#"{"confirmed":false}"#, None)
        };
        let request =
            Request::post(format!("/iserver/reply/{}", reply.reply_id())).json(body.to_vec());
        let reference = reply.client_order_id().clone();
        let sent = self.write(place.plan().account(), &request, latch).await;
        self.settle(sent, &reference, |question| {
            PlaceOutcome::Question(asked.followed_by(question, next))
        })
    }

    pub(crate) async fn cancel_once(&self, permit: Recorded<Permit<Cancel>>) -> CancelOutcome {
        let cancel = permit.get().action();
        if cancel.broker() != self.broker_name() {
            return CancelOutcome::NotSent { why: NotSent::AnotherBroker };
        }
        // `-1` would cancel every order of the account.
        let Some(order) = scalar::order_id(cancel.order_id().as_str()) else {
            return CancelOutcome::NotSent { why: NotSent::OrderIdNotNumeric };
        };
        if let Err(error) = self.require(cancel.account()).await {
            tracing::warn!(code = error.code().as_str(), "cancel held back");
            return CancelOutcome::NotSent { why: NotSent::AccountNotShown };
        }
        let path = format!("/iserver/account/{}/order/{order}", cancel.account());
        let request = Request::new(Method::Delete, path);
        match self.write(cancel.account(), &request, None).await {
            Delivery::NotSent(why) => CancelOutcome::NotSent { why },
            Delivery::Unknown(why) => CancelOutcome::Unknown { why },
            Delivery::Answered(answer) => {
                self.learn(&answer);
                cancellation(&answer, &order)
            }
        }
    }

    /// The one write; what was read of the account's orders before it ends counts no more.
    async fn write(
        &self,
        account: &AccountId,
        request: &Request,
        latch: Option<&HaltLatch>,
    ) -> Delivery {
        let _ended = Touch { lists: self.lists(), account };
        self.lists().touch(account);
        self.transport().send_once(request, latch).await
    }

    fn settle(
        &self,
        sent: Delivery,
        reference: &ClientOrderId,
        ask: impl FnOnce(ibkr_agent_gates::Question) -> PlaceOutcome,
    ) -> PlaceOutcome {
        match sent {
            Delivery::NotSent(why) => PlaceOutcome::NotSent { why },
            Delivery::Unknown(why) => PlaceOutcome::Unknown { why },
            Delivery::Answered(answer) => {
                self.learn(&answer);
                placement(&answer, reference).settle(ask)
            }
        }
    }

    /// A refused effect may tell that the session is gone.
    fn learn(&self, answer: &Answer) {
        if let Err(fault) = crate::session::check(answer) {
            match fault.cause() {
                Some(cause) => self.note(cause),
                None if fault == crate::session::Fault::PreflightMissing => self.session().forget(),
                None => {}
            }
        }
    }

    /// Whether this login may take the order, by what it showed in this session.
    fn may_place(&self, plan: &OrderPlan) -> Result<(), NotSent> {
        if plan.broker() != self.broker_name() {
            return Err(NotSent::AnotherBroker);
        }
        if plan.mode() != self.expected_mode() {
            return Err(NotSent::AnotherMode);
        }
        let known = self.session().known().ok_or(NotSent::SessionNotReady)?;
        let account = known.accounts.iter().find(|known| known.id == *plan.account());
        let account = account.ok_or(NotSent::AccountNotShown)?;
        if !account.can_trade {
            return Err(NotSent::AccountCannotTrade);
        }
        let is_expected = match self.expected_mode() {
            Mode::Simulated => known.is_simulated,
            Mode::Paper => known.is_paper == Some(true),
            Mode::Live => known.is_paper == Some(false) && !known.is_simulated,
        };
        if is_expected { Ok(()) } else { Err(NotSent::LoginOfAnotherKind) }
    }
}
