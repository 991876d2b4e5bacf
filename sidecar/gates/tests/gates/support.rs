//! A policy, an order and facts that pass every gate; tests change one thing each.

use core::time::Duration;
use ibkr_agent_domain::{
    AccountId, Actor, ApprovalId, AssetClass, BrokerName, BrokerOrderId, CallId, CanonicalOrder,
    ClientOrderId, Conid, Contract, ContractIdentity, ContractRules, Currency, DataStatus, Date,
    Door, Estimate, LedgerLine, Mode, Money, OptionRight, OrderContract, OrderTarget, OrderTerms,
    Price, Pricing, Quantity, Quote, SessionState, Side, TimeInForce, Timestamp, TradingDay,
    TradingHours, TradingSpan, Untrusted, WhatIf, WhatIfChange,
};
use ibkr_agent_gates::{
    AccountFacts, Approval, BrokerFacts, CancelFacts, CancelRequest, Check, Denials, Facts, Gate,
    Guard, OwnFacts, Permit, Place, PlaceIntent, Policy, PolicyLimits, Requester, Switches,
    check_plan, decide_place,
};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

pub(crate) fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(crate) fn account() -> AccountId {
    AccountId::parse("DU1234567").unwrap()
}

/// The limits that are tried have small values; everything else leaves room.
pub(crate) fn limits() -> PolicyLimits {
    PolicyLimits {
        id: "test".to_owned(),
        accounts: BTreeSet::from([account()]),
        allowed_symbols: Some(BTreeSet::from(["AAPL".to_owned(), "MSFT".to_owned()])),
        denied_symbols: BTreeSet::from(["MSFT".to_owned()]),
        max_quantity: dec("10"),
        max_notional: Money::new(dec("1000"), Currency::USD),
        collar_percent: dec("2"),
        mid_percent: dec("100"),
        last_percent: dec("100"),
        max_spread_percent: dec("100"),
        passive_warning_percent: dec("5"),
        max_quote_age: Duration::from_secs(60),
        max_drift_percent: dec("1"),
        max_orders_per_minute: 3,
        max_orders_per_day: 5,
        max_notional_per_day: Money::new(dec("3000"), Currency::USD),
        max_position_notional: dec("100000"),
        max_concentration_percent: dec("50"),
        fractions: true,
        shorts: Guard::Warn,
        ..PolicyLimits::tight(BTreeSet::from([Mode::Paper]))
    }
}

pub(crate) fn policy() -> Policy {
    Policy::new(limits()).unwrap()
}

/// Everything that an order is made of; the default is BUY 5 AAPL at 100.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) mode: Mode,
    pub(crate) account: AccountId,
    pub(crate) symbol: &'static str,
    pub(crate) class: AssetClass,
    pub(crate) side: Side,
    pub(crate) quantity: Decimal,
    pub(crate) limit: Decimal,
    /// Instead of the limit.
    pub(crate) pricing: Option<Pricing>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            mode: Mode::Paper,
            account: account(),
            symbol: "AAPL",
            class: AssetClass::Stock,
            side: Side::Buy,
            quantity: dec("5"),
            limit: dec("100"),
            pricing: None,
        }
    }
}

impl Draft {
    pub(crate) fn order(&self) -> CanonicalOrder {
        let contract = Contract {
            conid: Conid::new(265_598).unwrap(),
            symbol: Untrusted::new(self.symbol),
            name: Untrusted::new("a name"),
            class: self.class,
            exchange: "SMART".to_owned(),
            listing_exchange: Untrusted::new("NASDAQ"),
            currency: Currency::USD,
            multiplier: Decimal::ONE,
            price_increment: None,
        };
        let terms = OrderTerms {
            side: self.side,
            quantity: Quantity::new(self.quantity).unwrap(),
            pricing: self
                .pricing
                .unwrap_or(Pricing::Limit { limit: Price::new(self.limit).unwrap().into() }),
            time_in_force: TimeInForce::Day,
            outside_rth: false,
        };
        let target = OrderTarget {
            broker: BrokerName::parse("paper").unwrap(),
            mode: self.mode,
            account: self.account.clone(),
        };
        let contract = OrderContract::new(&contract, identity(self.class)).unwrap();
        CanonicalOrder::of(target, contract, terms).unwrap()
    }
}

/// What tells a contract of a class apart; the gates look at the class alone.
fn identity(class: AssetClass) -> ContractIdentity {
    let expiry = Date::parse("20270115").unwrap();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the tests draft three classes")]
    match class {
        AssetClass::Option => ContractIdentity::Option {
            right: OptionRight::Call,
            strike: Price::new(dec("600")).unwrap(),
            expiry,
            trading_class: "SPY".to_owned(),
        },
        AssetClass::Future => ContractIdentity::Future { expiry },
        class => {
            assert_eq!(class, AssetClass::Stock);
            ContractIdentity::Stock
        }
    }
}

pub(crate) fn quote() -> Quote {
    Quote {
        conid: Conid::new(265_598).unwrap(),
        symbol: None,
        bid: Some(dec("100")),
        bid_size: None,
        ask: Some(dec("100")),
        ask_size: None,
        last: Some(dec("100")),
        close: None,
        change_percent: None,
        volume: None,
        halted: Some(false),
        status: DataStatus::RealTime,
        updated: Some(NOW),
        as_of: NOW,
    }
}

/// A million dollars in cash, nothing held, the market open for an hour.
pub(crate) fn facts() -> Facts {
    let usd = |amount| Money::new(dec(amount), Currency::USD);
    let account = AccountFacts {
        cash: Some(vec![cash(Currency::USD, "1000000")]),
        base: Some(Currency::USD),
        is_cash_account: Some(false),
        net_liquidation: Some(usd("1000000")),
        available_funds: Some(usd("1000000")),
        daily_profit: Some(usd("0")),
        rates: BTreeMap::from([(Currency::USD, Decimal::ONE)]),
        ..AccountFacts::default()
    };
    let broker = BrokerFacts {
        account_reported: true,
        session: SessionState::Ready,
        clock_skew_ms: Some(0),
        quote: Some(quote()),
        account,
        rules: Some(rules()),
        hours: Some(open_for(Duration::from_secs(3600))),
        what_if: Some(WhatIf::Estimated(Box::new(estimate()))),
        policy_currency_rate: Some(Decimal::ONE),
        ..BrokerFacts::default()
    };
    let switches = Switches { halted: false, audit_writable: true };
    Facts { broker, own: OwnFacts { switches, ..OwnFacts::default() } }
}

pub(crate) fn cash(currency: Currency, amount: &str) -> LedgerLine {
    LedgerLine {
        currency,
        cash: dec(amount),
        settled_cash: None,
        net_liquidation: None,
        unrealized_pnl: None,
        realized_pnl: None,
        exchange_rate: None,
    }
}

/// A margin account of a million that an order hardly touches.
pub(crate) fn estimate() -> Estimate {
    let change = |current: &str, after: &str| WhatIfChange {
        current: Some(dec(current)),
        change: None,
        after: Some(dec(after)),
    };
    Estimate {
        initial_margin: change("0", "250"),
        maintenance_margin: change("0", "125"),
        equity: change("1000000", "999999"),
        ..Estimate::default()
    }
}

/// Prices in cents, whole units or parts of them.
pub(crate) fn rules() -> ContractRules {
    ContractRules {
        conid: Conid::new(265_598).unwrap(),
        order_types: Vec::new(),
        order_types_outside: Vec::new(),
        times_in_force: Vec::new(),
        price_increment: Some(dec("0.01")),
        price_steps: Vec::new(),
        size_increment: None,
        default_size: None,
        takes_fractions: true,
        fraction_digits: Some(4),
        takes_cash_quantity: false,
        overnight: None,
        negative_prices: None,
    }
}

/// Regular hours that began an hour ago and go on for a while.
pub(crate) fn open_for(left: Duration) -> TradingHours {
    let opens = Timestamp::from_millis(NOW.as_millis() - 3_600_000);
    let span = TradingSpan { opens, closes: NOW.plus(left) };
    TradingHours {
        conid: Conid::new(265_598).unwrap(),
        time_zone: None,
        days: vec![TradingDay {
            date: Date::parse("20261118").unwrap(),
            regular: vec![span],
            extended: Vec::new(),
        }],
    }
}

pub(crate) fn requester() -> Requester {
    Requester {
        call: CallId::parse("call-1").unwrap(),
        actor: Actor::Local { client: Untrusted::new("agent") },
        door: Door::Stdio,
        tool: "ibkr_paper_order_submit",
    }
}

/// An approval for an order at the market and position of some facts.
pub(crate) fn approval(order: &CanonicalOrder, facts: &Facts) -> Approval {
    Approval {
        id: ApprovalId::parse("ap-1").unwrap(),
        plan: order.digest(),
        expires_at: NOW.plus(Duration::from_secs(60)),
        reference_price: Some(dec("100")),
        position: facts.broker.position,
    }
}

pub(crate) fn intent(order: CanonicalOrder, approval: Approval) -> PlaceIntent {
    PlaceIntent {
        plan: order.into(),
        references: vec![ClientOrderId::parse("ia0").unwrap()],
        approval,
        requester: requester(),
    }
}

/// Decides on a draft under an approval that fits it.
pub(crate) fn decide(
    policy: &Policy,
    facts: &Facts,
    draft: &Draft,
) -> Result<Permit<Place>, Denials> {
    let order = draft.order();
    let approval = approval(&order, facts);
    decide_place(policy, facts, intent(order, approval), NOW)
}

/// The gates that deny.
pub(crate) fn denied(policy: &Policy, facts: &Facts, draft: &Draft) -> Vec<Gate> {
    match decide(policy, facts, draft) {
        Ok(permit) => {
            assert_eq!(permit.policy(), policy.hash());
            Vec::new()
        }
        Err(denials) => denials.denied().map(|check| check.gate).collect(),
    }
}

/// What one gate found.
pub(crate) fn check(policy: &Policy, facts: &Facts, draft: &Draft, gate: Gate) -> Check {
    let checks = check_plan(policy, facts, &draft.order().into(), NOW);
    checks.into_iter().find(|check| check.gate == gate).unwrap()
}

pub(crate) fn cancel(is_operator: bool) -> CancelRequest {
    CancelRequest {
        facts: CancelFacts {
            broker: BrokerName::parse("paper").unwrap(),
            account: account(),
            order_id: BrokerOrderId::parse("1001").unwrap(),
            ours: Some(ClientOrderId::parse("ia0").unwrap()),
        },
        named_account: Some(account()),
        is_operator,
        requester: requester(),
    }
}
