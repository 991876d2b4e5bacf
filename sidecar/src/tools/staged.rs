//! The staged order: preview, asking, waiting, submitting, cancelling, finding out.
//!
//! Everything that decides or changes is the engine's; this file reads what the engine needs and
//! writes down what it says.

use super::{Asked, Done, refused};
use crate::brokers::account_mode;
use crate::engine::{
    Answer, ApprovalEntry, ApprovalStatus as Stored, Asking, Cancellation, Expired, Followed,
    Input, OrderEntry, OutcomeQuery, Preview, PreviewDraft, REFUSALS_VOID, Submission, refusal_of,
};
use crate::facts::{self, Gathered};
use ibkr_agent_broker::BrokerError;
use ibkr_agent_domain::{
    AccountId, AssetClass, BrokerOrderId, CanonicalOrder, ErrorCode, OnApproval, OrderPlan,
    OrderState, OrderTarget, SessionState, Untrusted, WhatIf, WhatIfChange,
};
use ibkr_agent_gates::{Check, Verdict};
use ibkr_agent_protocol::catalogue::approvals::{
    ApprovalOutcomeOutput, ApprovalOutput, ApprovalState, ApprovalStatus, ApprovalsCreate,
    CheckOutput, OrderOutput, OrderPreview, OrderPreviewOutput, RefusedOutput, WhatIfChangeOutput,
    WhatIfOutput, WhatIfStatus,
};
use ibkr_agent_protocol::catalogue::orders::{
    OrderOutcome, OrderOutcomeOutput, OutcomeHandle, PaperOrderCancel, PaperOrderSubmit,
    QuestionOutput,
};
use ibkr_agent_protocol::catalogue::{BrokerText, Wire, invalid};
use ibkr_agent_protocol::number::{OutputMoney, OutputNumber};
use ibkr_agent_protocol::service::ErrorBody;
use rust_decimal::Decimal;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// Longest wait for a look at the broker when an outcome is asked for: two turns of a path that
/// takes one request in five seconds, since another account's may come first, and an answer.
const OUTCOME_WAIT: Duration = Duration::from_secs(12);
/// How old such a look may be.
const OUTCOME_AGE: Duration = Duration::from_secs(10);

impl Asked<'_> {
    pub(super) async fn order_preview(&self) -> Result<Done, ErrorBody> {
        if !self.core.enabled.preview {
            let message = "order previews are switched off";
            return Err(ErrorBody::new(ErrorCode::OrderPreviewDisabled, message));
        }
        let input = self.input::<OrderPreview>()?;
        let terms = input.terms()?;
        let routed = self.core.brokers.account(Some(&input.account_id.0)).await?;
        self.progress.report(1, "resolving the contract");
        let (_, contract) = self.tradable(&input.named()).await?;
        if contract.class != AssetClass::Stock {
            let message = format!("{} orders are not supported yet", contract.class);
            return Err(ErrorBody::new(ErrorCode::InputUnsupportedAssetClass, message));
        }
        let target = OrderTarget {
            broker: routed.broker.name().clone(),
            mode: account_mode(&routed),
            account: routed.info.id.clone(),
        };
        let order = CanonicalOrder::new(target, &contract, terms)
            .map_err(|error| ErrorBody::new(ErrorCode::OrderValidationFailed, error.to_string()))?;
        check_increment(&order, contract.price_increment)?;
        self.progress.report(2, "reading quote, position and open orders");
        let plan = OrderPlan::single(order);
        let of_plan = plan.clone();
        let wanted = self
            .core
            .engine
            .look(move |engine, _| facts::Wanted::by(engine.policies().of_plan(&of_plan)));
        let wanted = wanted.await.map_err(super::refusal_body)?;
        let order = facts::sole(&plan).map_err(super::refusal_body)?;
        let read = facts::read(&self.core.brokers, order, wanted).await;
        let Gathered { facts, what_if_error } = read.map_err(super::refusal_body)?;
        let whatif = whatif_output(facts.what_if.clone(), what_if_error);
        let caller = self.caller.clone();
        let draft = Box::new(PreviewDraft { plan, facts });
        let told = self.core.engine.ask(|ticket| Input::Preview { ticket, caller, draft }).await;
        let Answer::Preview(preview, checks) = told.answer else { return Err(refused(told)) };
        let shown =
            if input.all_checks.is_some_and(|all| all.0) { Shown::All } else { Shown::Apart };
        let output = self.preview_output(&preview, &checks, (shown, whatif))?;
        Done::staged(&output, told.event)
    }

    fn preview_output(
        &self,
        preview: &Preview,
        checks: &[Check],
        (shown, whatif): (Shown, WhatIfOutput),
    ) -> Result<OrderPreviewOutput, ErrorBody> {
        let warning = whatif_warning(whatif.status.0).map(str::to_owned);
        let next_step = if preview.would_pass {
            "Show the order and its warnings to the user, then ask with ibkr_approvals_create."
        } else {
            "Change the order so that every check passes; this preview can't be approved."
        };
        let order = facts::sole(&preview.plan).map_err(super::refusal_body)?;
        let passed = checks.iter().filter(|check| !check.is_denied()).count();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        Ok(OrderPreviewOutput {
            preview_id: Wire(preview.id.clone()),
            expires_at: Wire(preview.expires_at),
            backend: Wire(self.core.backend),
            mode: Wire(preview.plan.mode()),
            order: OrderOutput::from(order),
            order_digest: Wire(preview.plan.digest()),
            would_pass: preview.would_pass,
            checks: checks.iter().filter(|c| shown.takes(c)).map(check_output).collect(),
            checks_passed: passed,
            warnings: preview.warnings.iter().cloned().chain(warning).collect(),
            whatif: Some(whatif),
            next_step: next_step.to_owned(),
        })
    }

    pub(super) async fn approvals_create(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<ApprovalsCreate>()?;
        let ttl = match input.ttl_seconds {
            None => None,
            Some(seconds) => {
                let most = crate::engine::MAX_APPROVAL_TTL.as_secs();
                let seconds = seconds.within(1, most);
                let seconds =
                    seconds.ok_or_else(|| invalid(format!("ttl_seconds must be 1 to {most}")))?;
                Some(Duration::from_secs(seconds))
            }
        };
        let on_approval = match input.on_approval {
            Some(Wire(OnApproval::Submit)) => {
                self.check_paper()?;
                OnApproval::Submit
            }
            Some(Wire(OnApproval::Hold)) => OnApproval::Hold,
            // Where nothing can be sent there is nothing to promise.
            None if self.core.enabled.paper => OnApproval::Submit,
            None => OnApproval::Hold,
        };
        let caller = self.caller.clone();
        let reason = input.reason.map(|Wire(why)| why.shown());
        let (account, preview) = (input.account_id.0, input.preview_id.0);
        let asking = Asking { account, preview, ttl, on_approval, reason };
        let told =
            self.core.engine.ask(|ticket| Input::AskApproval { ticket, caller, asking }).await;
        let Answer::Approval(entry, expired, followed) = told.answer else {
            return Err(refused(told));
        };
        Done::staged(&self.approval_output(&entry, expired, &followed), told.event)
    }

    pub(super) async fn approval_status(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<ApprovalStatus>()?;
        let wait = input.wait()?;
        let id = input.approval_id.0;
        // Subscribed before the first look, so that no decision falls between.
        let mut changes = self.core.engine.changes();
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let (caller, approval) = (self.caller.clone(), id.clone());
            let told = self
                .core
                .engine
                .ask(|ticket| Input::ApprovalStatus { ticket, caller, approval })
                .await;
            let Answer::Approval(entry, expired, followed) = told.answer else {
                return Err(refused(told));
            };
            let undecided = entry.status == Stored::Pending && expired == Expired::No;
            let under_way = undecided || followed.is_under_way();
            if !under_way || tokio::time::Instant::now() >= deadline {
                let account = Some(entry.account().clone());
                return Done::read(&self.approval_output(&entry, expired, &followed), account);
            }
            let changed = async {
                loop {
                    match changes.recv().await {
                        // The approval itself, or the order that it made.
                        Ok(changed) if changed.owner == entry.owner => return,
                        Ok(_) => {}
                        Err(RecvError::Lagged(_) | RecvError::Closed) => return,
                    }
                }
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(deadline) => {}
                () = self.cancelled.cancelled() => {
                    let message = "the caller withdrew the call";
                    return Err(ErrorBody::new(ErrorCode::CallCancelled, message));
                }
            }
        }
    }

    fn approval_output(
        &self,
        entry: &ApprovalEntry,
        expired: Expired,
        followed: &Followed,
    ) -> ApprovalOutput {
        let state = match (entry.status, expired) {
            (Stored::Approved, _) if *followed == Followed::Sending => ApprovalState::Sending,
            (Stored::Pending | Stored::Approved, Expired::Yes) => ApprovalState::Expired,
            (Stored::Pending, Expired::No) => ApprovalState::Pending,
            (Stored::Approved, Expired::No) => ApprovalState::Approved,
            (Stored::Denied, _) if entry.approved_by.is_some() => ApprovalState::Revoked,
            (Stored::Denied, _) => ApprovalState::Denied,
            (Stored::Consumed, _) => ApprovalState::Consumed,
            (Stored::Void, _) => ApprovalState::Void,
        };
        let backend = self.core.backend;
        let terms = (entry.expires_at, entry.on_approval());
        let mut output = ApprovalOutput::new(entry.id.clone(), state, &entry.plan, backend, terms);
        let asked = entry.asked.as_ref();
        output.reason = asked.and_then(|asked| asked.reason.clone()).map(Wire);
        output.refused = entry.refused.as_ref().map(|refused| RefusedOutput {
            code: refused.code.as_str().to_owned(),
            message: refused.message.clone(),
            checks: refused.details.clone(),
            at: Wire(refused.at),
            count: entry.refusals,
            void_at: REFUSALS_VOID,
        });
        if let Followed::Order(order) = followed {
            output.outcome = Some(outcome_output(order));
            if entry.status == Stored::Consumed {
                next_step(order.state).clone_into(&mut output.next_step);
            }
        }
        if entry.status == Stored::Void && entry.refused.is_none() {
            output.next_step =
                "It was asked for before an upgrade changed what an approval covers. \
                                Preview again if the order is still wanted."
                    .to_owned();
        }
        let invocation = self.core.invocation.told_at(self.caller.requester.door);
        output.how_to_approve = output.how_to_approve.map(|how| invocation.spell(&how));
        output
    }

    pub(super) async fn paper_submit(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<PaperOrderSubmit>()?;
        self.check_paper()?;
        let key = input.key().ok_or_else(|| invalid("idempotency_key is missing"))?;
        let submission =
            Submission { account: input.account_id.0, approval: input.approval_id.0, key };
        let caller = self.caller.clone();
        let (ticket, told) =
            self.core.engine.begin(|ticket| Input::Submit { ticket, caller, submission });
        self.progress.report(1, "reading the market and checking every gate");
        let told = tokio::select! {
            told = told => told.unwrap_or_else(|_| crate::driver::stopped()),
            () = self.cancelled.cancelled() => {
                // Before the decision this stops it; after it the ledger knows the outcome.
                self.core.engine.withdraw(ticket);
                let message = "the caller withdrew the call: ask ibkr_order_outcome";
                return Err(ErrorBody::new(ErrorCode::CallOutcomeUnknown, message));
            }
        };
        let Answer::Order(entry) = told.answer else { return Err(refused(told)) };
        if let Some(refusal) = refusal_of(&entry) {
            let mut error = super::refusal_body(refusal);
            error.audit_event_id = told.event;
            return Err(error);
        }
        Done::staged(&self.order_output(&entry), told.event)
    }

    /// Paper tools work on simulated and paper accounts only, and only when switched on.
    fn check_paper(&self) -> Result<(), ErrorBody> {
        if !self.core.enabled.paper {
            let message = "paper trading is switched off";
            return Err(ErrorBody::new(ErrorCode::PaperTradingDisabled, message));
        }
        Ok(())
    }

    pub(super) async fn paper_cancel(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<PaperOrderCancel>()?;
        let (account, order) = (input.account_id.0, input.broker_order_id.0);
        let caller = self.caller.clone();
        let cancellation = Cancellation { account: account.clone(), order: order.clone() };
        let told =
            self.core.engine.ask(|ticket| Input::Cancel { ticket, caller, cancellation }).await;
        let Answer::CancelRequested { message, refused: words, sent, .. } = &told.answer else {
            return Err(refused(told));
        };
        let (message, words, sent) = (message.clone(), words.clone(), *sent);
        let entry = self.await_cancel(&account, &order).await?;
        let Some(entry) = entry else {
            return Err(ErrorBody::new(ErrorCode::InternalError, "the order is missing"));
        };
        // Words are a hint: the order's own state decides, and is told.
        let ended = entry.state.is_final();
        if let Some(words) = words.filter(|_| !ended) {
            let mut error = super::refusal_body(words);
            error.message = format!("{}; the order is {} now", error.message, entry.state.as_str());
            error.audit_event_id = told.event;
            return Err(error);
        }
        let mut output = self.order_output(&entry);
        if !ended {
            output.message = match sent {
                1 => "the broker took the cancel; the order may still fill".to_owned(),
                sent => format!(
                    "the broker took the cancels of {sent} orders under this reference; they may \
                     still fill"
                ),
            };
        } else if entry.state != OrderState::Cancelled {
            let state = entry.state.as_str();
            output.message =
                format!("there was nothing left to cancel: {state}. {}", output.message);
        }
        output.broker_message = broker_text(&message);
        Done::staged(&output, told.event)
    }

    /// Waits a moment for the broker to show what the cancel did.
    async fn await_cancel(
        &self,
        account: &AccountId,
        order: &BrokerOrderId,
    ) -> Result<Option<OrderEntry>, ErrorBody> {
        let mut changes = self.core.engine.changes();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
        loop {
            let (account, id) = (account.clone(), order.clone());
            let found = self
                .core
                .engine
                .look(move |engine, _| engine.order_at_broker(&account, &id).cloned())
                .await
                .map_err(super::refusal_body)?;
            let settled = found.as_ref().is_none_or(|entry| entry.state.is_final());
            if settled || tokio::time::Instant::now() >= deadline {
                return Ok(found);
            }
            tokio::select! {
                _ = changes.recv() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    pub(super) async fn order_outcome(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<OrderOutcome>()?;
        let query = match input.handle()? {
            OutcomeHandle::Call(call) => OutcomeQuery::Call(call.to_string()),
            OutcomeHandle::Approval(approval) => OutcomeQuery::Approval(approval),
            OutcomeHandle::Preview(preview) => OutcomeQuery::Preview(preview),
            OutcomeHandle::Key(key) => OutcomeQuery::Key(key),
            OutcomeHandle::ClientOrder(order) => OutcomeQuery::Order(order),
        };
        let entry = self.recorded_outcome(query.clone()).await?;
        let account = Some(entry.account().clone());
        let since = entry.updated_at.max(self.now().minus(OUTCOME_AGE));
        let (checked, entry) = if self.may_have_changed(&entry) {
            let wait = self.part_time().min(OUTCOME_WAIT);
            let checked = self.core.engine.check(entry.account(), since, wait).await;
            (checked, self.recorded_outcome(query).await?)
        } else {
            (self.core.engine.checked_at(entry.account()), entry)
        };
        let mut output = self.order_output(&entry);
        output.checked_at = checked.map(Wire);
        if !entry.state.is_final() && checked.is_none_or(|at| at < since) {
            output.message.push_str(" (not looked up at the broker since)");
        }
        Done::read(&output, account)
    }

    async fn recorded_outcome(&self, query: OutcomeQuery) -> Result<Box<OrderEntry>, ErrorBody> {
        let caller = self.caller.clone();
        let told = self.core.engine.ask(|ticket| Input::Outcome { ticket, caller, query }).await;
        let Answer::Order(entry) = told.answer else { return Err(refused(told)) };
        Ok(entry)
    }

    /// Whether a look at the broker can tell more of an order, and the broker can be asked.
    fn may_have_changed(&self, entry: &OrderEntry) -> bool {
        let broker = self.core.brokers.named(entry.broker());
        let can_ask = broker.is_some_and(|b| b.health().state == SessionState::Ready);
        can_ask && is_the_brokers_to_tell(entry.state)
    }

    fn order_output(&self, entry: &OrderEntry) -> OrderOutcomeOutput {
        let question = entry.question.as_ref().map(|question| {
            let ids = question.message_ids.iter().map(|id| Untrusted::bounded(id, 32)).collect();
            QuestionOutput::new(ids, Untrusted::new(&question.messages.join(" ")))
        });
        OrderOutcomeOutput {
            status: Wire(entry.state),
            backend: Wire(self.core.backend),
            mode: Wire(entry.order.mode()),
            account_id: Wire(entry.account().clone()),
            approval_id: Some(Wire(entry.approval.clone())),
            client_order_id: Some(Wire(entry.id.clone())),
            broker_order_id: entry.broker_order_id.clone().map(Wire),
            filled: entry.filled.map(OutputNumber),
            average_price: entry.average_price.map(OutputNumber),
            seen_at: entry.seen_at.map(Wire),
            differs: entry.difference(),
            reason: entry.reason.map(Wire),
            message: match entry.words() {
                Some(words) => format!("{}: {words}", entry.order.summary()),
                None => entry.order.summary(),
            },
            broker_message: entry.broker_words().and_then(broker_text),
            question,
            checked_at: None,
            next_step: next_step(entry.state).to_owned(),
        }
    }
}

/// What an approval tells of its order.
fn outcome_output(order: &OrderEntry) -> ApprovalOutcomeOutput {
    ApprovalOutcomeOutput {
        status: Wire(order.state),
        client_order_id: Wire(order.id.clone()),
        broker_order_id: order.broker_order_id.clone().map(Wire),
        filled: order.filled.map(OutputNumber),
        average_price: order.average_price.map(OutputNumber),
        reason: order.reason.map(Wire),
        message: order.words(),
        broker_message: order.broker_words().and_then(broker_text),
    }
}

fn broker_text(message: &str) -> Option<BrokerText> {
    (!message.is_empty()).then(|| BrokerText::from(Untrusted::new(message)))
}

/// Whether the broker may know more of an order in this state than we do.
const fn is_the_brokers_to_tell(state: OrderState) -> bool {
    match state {
        OrderState::Working
        | OrderState::Held
        | OrderState::PendingCancel
        | OrderState::Unknown => true,
        // On its way, waiting for a human's answer, or over.
        OrderState::Intended
        | OrderState::Question
        | OrderState::Filled
        | OrderState::Cancelled
        | OrderState::Expired
        | OrderState::Rejected
        | OrderState::NotSent => false,
    }
}

const fn next_step(state: OrderState) -> &'static str {
    match state {
        OrderState::Intended => "Wait: the order is on its way. Ask ibkr_order_outcome again.",
        OrderState::Question => "A human must answer the broker's question on the sidecar.",
        OrderState::Working => "Ask ibkr_order_outcome for fills, or cancel the order.",
        OrderState::Held => "Ask again: it may come to life. Cancel it if it must not.",
        OrderState::PendingCancel => "Ask again: until the cancel is done it may fill.",
        OrderState::Expired => "Compare the position: nothing says how the order ended.",
        OrderState::Filled => "Nothing: the order is filled.",
        OrderState::Cancelled => "Nothing: the order no longer works.",
        OrderState::Rejected => "Read the broker's reason; a new order needs a new preview.",
        OrderState::NotSent => "Ask ibkr_approval_status whether the approval still counts.",
        OrderState::Unknown => "Never repeat the order. Ask ibkr_order_outcome until it settles.",
    }
}

/// Which checks an answer lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Each.
    All,
    /// Those that don't simply pass.
    Apart,
}

impl Shown {
    fn takes(self, check: &Check) -> bool {
        self == Self::All || check.verdict != Verdict::Passed
    }
}

fn check_output(check: &Check) -> CheckOutput {
    CheckOutput {
        gate: check.gate.as_str().to_owned(),
        passed: !check.is_denied(),
        message: match check.verdict {
            Verdict::Passed => "passes".to_owned(),
            Verdict::Warned => "passes with a warning".to_owned(),
            Verdict::Exempt => "doesn't apply: the order only reduces a position".to_owned(),
            Verdict::Denied(code) => code.as_str().to_owned(),
        },
        observed: Some(check.observed.clone()),
        limit: Some(check.limit.clone()),
        nearest: check.nearest.clone().filter(|_| check.is_denied()),
        how_to_allow: check.how_to_allow(),
    }
}

fn check_increment(order: &CanonicalOrder, increment: Option<Decimal>) -> Result<(), ErrorBody> {
    let Some(step) = increment.filter(|step| !step.is_zero()) else {
        return Ok(());
    };
    let prices = order.terms().pricing.prices().each().into_iter();
    for (field, price) in prices.filter(|(field, _)| field.is_amount()) {
        let Some(price) = price else { continue };
        if !price.checked_rem(step).is_some_and(|rest| rest.is_zero()) {
            let message = format!("{field} {price} is not a multiple of the price step {step}");
            return Err(ErrorBody::new(ErrorCode::OrderValidationFailed, message));
        }
    }
    Ok(())
}

/// What the broker's own preview said. One that failed is told as such: the gates don't use it, but
/// nobody may take its silence for consent.
fn whatif_output(whatif: Option<WhatIf>, error: Option<BrokerError>) -> WhatIfOutput {
    let change = |told: WhatIfChange| {
        let number = |figure: Option<Decimal>| figure.map(OutputNumber);
        let (current, change, after) =
            (number(told.current), number(told.change), number(told.after));
        (told != WhatIfChange::default()).then_some(WhatIfChangeOutput { current, change, after })
    };
    match whatif {
        Some(WhatIf::Estimated(told)) => WhatIfOutput {
            commission: told.commission.map(OutputMoney::from),
            total: told.total.map(OutputMoney::from),
            initial_margin: change(told.initial_margin),
            maintenance_margin: change(told.maintenance_margin),
            equity: change(told.equity),
            position: change(told.position),
            broker_warning: told.warning.map(BrokerText::from),
            ..match told.error {
                Some(words) => WhatIfOutput {
                    broker_error: Some(words.into()),
                    ..WhatIfOutput::new(WhatIfStatus::Refused)
                },
                None => WhatIfOutput::new(WhatIfStatus::Estimated),
            }
        },
        Some(WhatIf::Refused { message }) => WhatIfOutput {
            broker_error: Some(message.into()),
            ..WhatIfOutput::new(WhatIfStatus::Refused)
        },
        None => WhatIfOutput {
            message: error.map(|error| error.to_string()),
            ..WhatIfOutput::new(WhatIfStatus::Unavailable)
        },
    }
}

/// What a human should know of the broker's own preview before approving.
const fn whatif_warning(status: WhatIfStatus) -> Option<&'static str> {
    match status {
        WhatIfStatus::Estimated => None,
        WhatIfStatus::Refused => Some(
            "The broker's own preview says that it would not accept this order: see \
             whatif.broker_error.",
        ),
        WhatIfStatus::Unavailable => Some(
            "The broker gave no preview of its own: whether it would accept the order isn't known.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_looked_up_in_every_state_that_only_the_broker_can_end() {
        for state in OrderState::ALL {
            let is_ours_to_end = matches!(state, OrderState::Intended | OrderState::Question);
            let expected = !state.is_final() && !is_ours_to_end;
            assert_eq!(is_the_brokers_to_tell(state), expected, "{state:?}");
        }
    }
}
