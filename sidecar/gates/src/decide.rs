//! The decisions. Each evaluates every gate and reports them all.

use crate::{
    Approval, Cancel, CancelFacts, Check, Denials, Facts, Gate, Halt, Permit, Place, Policy,
    Question, Reply, Requester, Switches, TakeOver, Verdict, exposure,
};
use core::time::Duration;
use ibkr_agent_domain::{
    AccountId, BrokerName, CanonicalOrder, ClientOrderId, DataStatus, ErrorCode, Mode, OrderPlan,
    Pricing, Quote, SessionState, Shape, Side, SignedPrice, Timestamp,
};
use rust_decimal::Decimal;

/// Largest difference between our clock and the broker's, in milliseconds.
const MAX_CLOCK_SKEW_MS: u64 = 30_000;

/// A wish to place an order under an approval.
#[derive(Debug)]
pub struct PlaceIntent {
    /// The plan, rebuilt from the sidecar's own stored preview.
    pub plan: OrderPlan,
    /// Our references, one for each order of it.
    pub references: Vec<ClientOrderId>,
    /// The approval that it spends.
    pub approval: Approval,
    /// Who asks.
    pub requester: Requester,
}

/// The gates that need no broker traffic: switches, lists, size.
///
/// # Errors
/// [`Denials`] with every gate that denies.
pub fn screen_place(
    policy: &Policy,
    plan: &OrderPlan,
    switches: Switches,
) -> Result<Vec<Check>, Denials> {
    let each = plan.orders().iter().flat_map(|order| static_checks(policy, order, switches));
    Denials::from_checks(each.chain(relation_check(plan)).collect())
}

/// A single order is always offered; nobody has built the gates of any other plan yet.
fn relation_check(plan: &OrderPlan) -> Option<Check> {
    let relation = match plan.shape() {
        Shape::Single(_) => return None,
        Shape::Bracket { .. } => "a bracket",
        Shape::OneCancelsAll(_) => "a group of which one fill cancels the others",
    };
    let code = ErrorCode::OrderPolicyRefused;
    Some(Check::new(Gate::Relation, false, code, relation, "a single order"))
}

fn static_checks(policy: &Policy, order: &CanonicalOrder, switches: Switches) -> Vec<Check> {
    let limits = policy.limits();
    let mode_code = match order.mode() {
        Mode::Live => ErrorCode::LiveTradingDisabled,
        Mode::Paper | Mode::Simulated => ErrorCode::PaperTradingDisabled,
    };
    let symbol_allowed =
        limits.allowed_symbols.as_ref().is_none_or(|allowed| allowed.contains(order.symbol()))
            && !limits.denied_symbols.contains(order.symbol());
    let refused = ErrorCode::OrderPolicyRefused;
    vec![
        Check::new(
            Gate::ModeEnabled,
            limits.modes.contains(&order.mode()),
            mode_code,
            order.mode(),
            "a mode that the configuration enables",
        ),
        Check::new(
            Gate::KillSwitch,
            !switches.halted,
            ErrorCode::KillSwitchClosed,
            if switches.halted { "halted" } else { "open" },
            "open",
        ),
        Check::new(
            Gate::Audit,
            switches.audit_writable,
            ErrorCode::AuditWriteFailed,
            if switches.audit_writable { "writable" } else { "not writable" },
            "writable",
        ),
        Check::new(Gate::Symbol, symbol_allowed, refused, order.symbol(), "an allowed symbol"),
        Check::new(
            Gate::AssetClass,
            limits.asset_classes.contains(&order.class()),
            refused,
            order.class(),
            "an allowed asset class",
        ),
    ]
}

/// Every gate but the approval's, for each order of a plan, as a preview shows them.
#[must_use]
pub fn check_plan(policy: &Policy, facts: &Facts, plan: &OrderPlan, now: Timestamp) -> Vec<Check> {
    let each = plan.orders().iter().flat_map(|order| check_order(policy, facts, order, now));
    each.chain(relation_check(plan)).collect()
}

fn check_order(
    policy: &Policy,
    facts: &Facts,
    order: &CanonicalOrder,
    now: Timestamp,
) -> Vec<Check> {
    let limits = policy.limits();
    let reducing = is_reducing(facts, order);
    let mut checks = static_checks(policy, order, facts.switches);
    checks.push(Check::new(
        Gate::Account,
        facts.account_reported && limits.accounts.contains(order.account()),
        ErrorCode::InputUnauthorizedAccount,
        order.account(),
        "an account on the sidecar's list that the broker reports",
    ));
    let in_doubt = Check::new(
        Gate::InDoubt,
        !facts.in_doubt,
        ErrorCode::OrderInDoubt,
        if facts.in_doubt { "an order's outcome is unknown" } else { "none" },
        "no order in doubt on this account and instrument",
    );
    checks.push(in_doubt.exempt_if(reducing));
    checks.push(Check::new(
        Gate::Session,
        facts.session == SessionState::Ready,
        ErrorCode::BrokerSessionRequired,
        facts.session.as_str(),
        "ready",
    ));
    checks.push(clock_check(facts));
    checks.extend(size_checks(policy, facts, order, reducing));
    checks.push(data_status_check(policy, facts.quote.as_ref(), order.mode()));
    checks.push(quote_age_check(policy, facts.quote.as_ref(), now));
    checks.push(collar_check(policy, facts.quote.as_ref(), order));
    checks
}

/// Decides on placing an order: every gate, with the approval and the drift since it.
///
/// # Errors
/// [`Denials`] with every gate that denies.
pub fn decide_place(
    policy: &Policy,
    facts: &Facts,
    intent: PlaceIntent,
    now: Timestamp,
) -> Result<Permit<Place>, Denials> {
    let mut checks = check_plan(policy, facts, &intent.plan, now);
    checks.push(approval_check(&intent, now));
    checks.push(drift_check(policy, facts, &intent.approval));
    Denials::from_checks(checks)?;
    let place =
        Place { plan: intent.plan, references: intent.references, approval: intent.approval.id };
    Ok(Permit::new(place, intent.requester, policy.hash(), now))
}

/// Whether an order can only bring the position closer to zero, even if all that works fills.
fn is_reducing(facts: &Facts, order: &CanonicalOrder) -> bool {
    let quantity = order.terms().quantity.get();
    let Some(committed) = facts.working_same_side.checked_add(quantity) else {
        return false;
    };
    match order.terms().side {
        Side::Sell => facts.position > Decimal::ZERO && committed <= facts.position,
        Side::Buy => facts.position < Decimal::ZERO && committed <= -facts.position,
    }
}

fn clock_check(facts: &Facts) -> Check {
    let (passed, observed) = match facts.clock_skew_ms {
        Some(skew) => (skew.unsigned_abs() <= MAX_CLOCK_SKEW_MS, format!("{skew} ms")),
        None => (false, "unknown".to_owned()),
    };
    Check::new(
        Gate::Clock,
        passed,
        ErrorCode::OrderPolicyRefused,
        observed,
        format!("{MAX_CLOCK_SKEW_MS} ms between our clock and the broker's"),
    )
}

fn size_checks(
    policy: &Policy,
    facts: &Facts,
    order: &CanonicalOrder,
    reducing: bool,
) -> Vec<Check> {
    let limits = policy.limits();
    let code = ErrorCode::OrderPolicyRefused;
    let quantity = order.terms().quantity;
    // A rate of zero or below is no rate: with it every value would be within every limit.
    let rate = facts.policy_currency_rate.filter(|rate| *rate > Decimal::ZERO);
    let counted = exposure(order, facts.quote.as_ref(), policy.slippage_percent());
    let value = counted.bound().and_then(|money| money.amount.checked_mul(rate?));
    let day = value.and_then(|value| value.checked_add(facts.notional_today));
    let within = |value: Option<Decimal>, limit: Decimal| value.is_some_and(|v| v <= limit);
    let shown = |value: Option<Decimal>| {
        value.map_or_else(
            || "unknown in the policy's currency".to_owned(),
            |value| format!("{} {}", value.normalize(), limits.max_notional.currency),
        )
    };
    vec![
        Check::new(
            Gate::Quantity,
            quantity.get() <= limits.max_quantity,
            code,
            quantity,
            limits.max_quantity.normalize(),
        )
        .exempt_if(reducing),
        Check::new(
            Gate::Notional,
            within(value, limits.max_notional.amount),
            code,
            shown(value),
            limits.max_notional,
        )
        .exempt_if(reducing),
        Check::new(
            Gate::NotionalPerDay,
            within(day, limits.max_notional_per_day.amount),
            code,
            shown(day),
            limits.max_notional_per_day,
        )
        .exempt_if(reducing),
        Check::new(
            Gate::OrdersPerDay,
            facts.orders_today < limits.max_orders_per_day,
            code,
            format!("{} so far today", facts.orders_today),
            limits.max_orders_per_day,
        )
        .exempt_if(reducing),
        Check::new(
            Gate::Frequency,
            facts.orders_last_minute < limits.max_orders_per_minute,
            code,
            format!("{} in the last minute", facts.orders_last_minute),
            limits.max_orders_per_minute,
        )
        .exempt_if(reducing),
    ]
}

fn data_status_check(policy: &Policy, quote: Option<&Quote>, mode: Mode) -> Check {
    let Some(quote) = quote else {
        return Check::new(
            Gate::DataStatus,
            false,
            ErrorCode::MarketDataUnavailable,
            "no quote",
            "real-time market data",
        );
    };
    let tolerated = policy.limits().delayed_data_modes.contains(&mode);
    let mut check = Check::new(
        Gate::DataStatus,
        quote.status == DataStatus::RealTime,
        match quote.status {
            DataStatus::NotSubscribed => ErrorCode::MarketDataUnavailable,
            DataStatus::RealTime
            | DataStatus::Delayed
            | DataStatus::Frozen
            | DataStatus::FrozenDelayed
            | DataStatus::Unknown => ErrorCode::MarketDataDelayed,
        },
        quote.status.as_str(),
        if tolerated { "real_time; delayed is accepted with a warning" } else { "real_time" },
    );
    let late = matches!(
        quote.status,
        DataStatus::Delayed | DataStatus::Frozen | DataStatus::FrozenDelayed
    );
    if late && tolerated {
        check.verdict = Verdict::Warned;
    }
    check
}

fn quote_age_check(policy: &Policy, quote: Option<&Quote>, now: Timestamp) -> Check {
    let limit = policy.limits().max_quote_age;
    let limit_text = format!("{} s by our own clock", limit.as_secs());
    let updated = quote.and_then(|quote| quote.updated);
    let Some(updated) = updated else {
        let code = ErrorCode::MarketDataStale;
        return Check::new(Gate::QuoteAge, false, code, "unknown", limit_text);
    };
    // A quote from the future is a broken clock somewhere, not a fresh quote.
    let ahead = updated.since(now);
    let age = now.since(updated);
    let passed = age <= limit && ahead <= limit.min(Duration::from_millis(MAX_CLOCK_SKEW_MS));
    let observed = if ahead.is_zero() {
        format!("{} ms old", age.as_millis())
    } else {
        format!("{} ms ahead of our clock", ahead.as_millis())
    };
    Check::new(Gate::QuoteAge, passed, ErrorCode::MarketDataStale, observed, limit_text)
}

/// The price against which an order of this side trades at once.
pub(crate) fn touch_price(quote: &Quote, side: Side) -> Option<Decimal> {
    let touch = match side {
        Side::Buy => quote.ask,
        Side::Sell => quote.bid,
    };
    touch.or(quote.last).filter(|price| *price > Decimal::ZERO)
}

fn percent_of(part: Decimal, whole: Decimal) -> Option<Decimal> {
    part.checked_mul(Decimal::ONE_HUNDRED)?.checked_div(whole)
}

/// The price that the collar holds against the market; `None` for the kinds that have none, or that
/// have one only once a trigger is reached: the collar can't judge those and denies them.
const fn collared_price(pricing: &Pricing) -> Option<SignedPrice> {
    match *pricing {
        Pricing::Limit { limit } => Some(limit),
        Pricing::Market
        | Pricing::Stop { .. }
        | Pricing::StopLimit { .. }
        | Pricing::Trailing { .. }
        | Pricing::TrailingLimit { .. }
        | Pricing::MarketIfTouched { .. }
        | Pricing::LimitIfTouched { .. }
        | Pricing::AtClose { .. }
        | Pricing::AtOpen { .. }
        | Pricing::MidPrice { .. } => None,
    }
}

fn collar_check(policy: &Policy, quote: Option<&Quote>, order: &CanonicalOrder) -> Check {
    let limits = policy.limits();
    let limit_text = format!(
        "{} % beyond the market where it costs; a warning from {} % on the passive side",
        limits.collar_percent.normalize(),
        limits.passive_warning_percent.normalize()
    );
    let Some(limit) = collared_price(&order.terms().pricing) else {
        let observed = format!("a {} order", order.terms().pricing.order_type());
        let code = ErrorCode::OrderPolicyRefused;
        return Check::new(Gate::PriceCollar, false, code, observed, "a limit order");
    };
    let touch = quote.and_then(|quote| touch_price(quote, order.terms().side));
    let Some(touch) = touch else {
        let code = ErrorCode::MarketDataIncomplete;
        return Check::new(Gate::PriceCollar, false, code, "no market price", limit_text);
    };
    let signed = match order.terms().side {
        Side::Buy => limit.get().checked_sub(touch),
        Side::Sell => touch.checked_sub(limit.get()),
    };
    let beyond = signed.and_then(|difference| percent_of(difference, touch));
    let Some(beyond) = beyond else {
        let code = ErrorCode::OrderPolicyRefused;
        return Check::new(Gate::PriceCollar, false, code, "not computable", limit_text);
    };
    let observed =
        format!("limit {limit} against {touch}: {} % aggressive", beyond.round_dp(2).normalize());
    let mut check = Check::new(
        Gate::PriceCollar,
        beyond <= limits.collar_percent,
        ErrorCode::OrderPolicyRefused,
        observed,
        limit_text,
    );
    if check.verdict == Verdict::Passed && -beyond >= limits.passive_warning_percent {
        check.verdict = Verdict::Warned;
    }
    check
}

fn approval_check(intent: &PlaceIntent, now: Timestamp) -> Check {
    let approval = &intent.approval;
    let each_is_named = intent.references.len() == intent.plan.orders().len();
    let (passed, code, observed) = if approval.plan != intent.plan.digest() || !each_is_named {
        (false, ErrorCode::ApprovalPreviewMismatch, "for another order")
    } else if approval.expires_at <= now {
        (false, ErrorCode::ApprovalExpired, "expired")
    } else {
        (true, ErrorCode::PaperApprovalRequired, "given for this order")
    };
    let limit = format!("unspent, for this order, before {}", approval.expires_at);
    Check::new(Gate::Approval, passed, code, observed, limit)
}

fn drift_check(policy: &Policy, facts: &Facts, approval: &Approval) -> Check {
    let limit = policy.limits().max_drift_percent;
    let text = format!("market within {} %, position unchanged", limit.normalize());
    let moved = |passed, observed: String| {
        Check::new(Gate::Drift, passed, ErrorCode::OrderDrifted, observed, text.clone())
    };
    if facts.position != approval.position {
        let observed = format!("position {} became {}", approval.position, facts.position);
        return moved(false, observed);
    }
    let now_price = facts.quote.as_ref().and_then(mid_price);
    let (Some(then), Some(now)) = (approval.reference_price, now_price) else {
        return moved(false, "no price to compare".to_owned());
    };
    let drift = now.checked_sub(then).and_then(|difference| percent_of(difference.abs(), then));
    match drift {
        Some(drift) => {
            let shown = drift.round_dp(3).normalize();
            moved(drift <= limit, format!("{then} then, {now} now: {shown} %"))
        }
        None => moved(false, "not computable".to_owned()),
    }
}

/// The price that an approval remembers: the middle of the market, else the last trade.
#[must_use]
pub fn mid_price(quote: &Quote) -> Option<Decimal> {
    // The broker writes a side without a price as zero or below: there is no middle then.
    let positive = |price: Option<Decimal>| price.filter(|price| *price > Decimal::ZERO);
    let (bid, ask) = (positive(quote.bid), positive(quote.ask));
    let middle = || bid?.checked_add(ask?)?.checked_div(Decimal::TWO);
    middle().or_else(|| positive(quote.last))
}

/// A wish to cancel an order.
#[derive(Debug)]
pub struct CancelRequest {
    /// The order.
    pub facts: CancelFacts,
    /// The account that the caller named; `None` for an operator who named only the order.
    pub named_account: Option<AccountId>,
    /// Whether an operator asks: an operator's cancel is never refused.
    pub is_operator: bool,
    /// Who asks.
    pub requester: Requester,
}

/// Decides on a cancel: bound to the account named and to orders of this gateway; never refused for
/// halt, limits or doubt.
///
/// # Errors
/// The code that says why not.
pub fn decide_cancel(
    policy: &Policy,
    request: CancelRequest,
    now: Timestamp,
) -> Result<Permit<Cancel>, ErrorCode> {
    let names_other =
        request.named_account.as_ref().is_some_and(|named| *named != request.facts.account);
    if names_other {
        return Err(ErrorCode::OrderNotFound);
    }
    if !request.is_operator {
        if !policy.limits().accounts.contains(&request.facts.account) {
            return Err(ErrorCode::InputUnauthorizedAccount);
        }
        if request.facts.ours.is_none() {
            return Err(ErrorCode::OrderNotOurs);
        }
    }
    let cancel = Cancel { facts: request.facts };
    Ok(Permit::new(cancel, request.requester, policy.hash(), now))
}

/// An answer to a broker's question.
#[derive(Debug)]
pub struct ReplyRequest {
    /// The broker login.
    pub broker: BrokerName,
    /// The account.
    pub account: AccountId,
    /// Our reference of the order.
    pub client_order_id: ClientOrderId,
    /// The question, exactly as asked.
    pub question: Question,
    /// Yes or no.
    pub confirmed: bool,
    /// Whether a human answers; else only a known question is answered.
    pub is_operator: bool,
    /// Who asks.
    pub requester: Requester,
}

/// Decides on answering a question: a human may; the gateway itself says yes only where message id
/// and text are known, and no when a question's time is over. A yes adds risk, so it needs open
/// switches; a no doesn't.
///
/// # Errors
/// The code that says why not.
pub fn decide_reply(
    policy: &Policy,
    switches: Switches,
    request: ReplyRequest,
    now: Timestamp,
) -> Result<Permit<Reply>, ErrorCode> {
    if request.confirmed && switches.halted {
        return Err(ErrorCode::KillSwitchClosed);
    }
    let text = request.question.text_digest();
    let ids = &request.question.message_ids;
    let known = !ids.is_empty()
        && ids.iter().all(|id| {
            let known = &policy.limits().known_questions;
            known.iter().any(|entry| entry.message_id == *id && entry.text == text)
        });
    let may_answer = request.is_operator || known || !request.confirmed;
    if !may_answer {
        return Err(ErrorCode::OperatorOnly);
    }
    let reply = Reply {
        broker: request.broker,
        account: request.account,
        client_order_id: request.client_order_id,
        question: request.question,
        confirmed: request.confirmed,
    };
    Ok(Permit::new(reply, request.requester, policy.hash(), now))
}

/// Permits a halt: always.
pub fn permit_halt(
    policy: &Policy,
    reason: &'static str,
    requester: Requester,
    now: Timestamp,
) -> Permit<Halt> {
    Permit::new(Halt { reason }, requester, policy.hash(), now)
}

/// Permits taking the brokerage session from another platform: an operator's signed choice, which
/// the caller of this has checked.
pub fn permit_take_over(
    policy: &Policy,
    broker: BrokerName,
    requester: Requester,
    now: Timestamp,
) -> Permit<TakeOver> {
    Permit::new(TakeOver { broker }, requester, policy.hash(), now)
}
