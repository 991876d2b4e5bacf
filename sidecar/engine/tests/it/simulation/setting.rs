//! The fixed parts of a simulation: accounts, callers, orders, the policy, the market.

use super::Sabotage;
use super::broker::KNOWN_QUESTION;
use super::disk::Disk;
use ibkr_agent_audit::{Ledger, LedgerConfig};
use ibkr_agent_domain::{
    AccountId, Actor, AssetClass, BrokerName, CallId, CanonicalOrder, Conid, Contract, Currency,
    DataStatus, Door, Mode, Money, OrderTarget, OrderTerms, Price, Pricing, Quantity, Quote,
    ScopeSet, SessionState, Side, SidecarId, TimeInForce, Timestamp, Untrusted,
};
use ibkr_agent_engine::{BrokerFacts, CallBudget, Caller, EngineConfig, Owner, Sending, Standing};
use ibkr_agent_gates::{AccountFacts, Guard, KnownQuestion, Policy, PolicyLimits, Requester};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) fn accounts() -> [AccountId; 2] {
    ["DU1", "DU2"].map(|text| AccountId::parse(text).expect("an account"))
}

/// The ledger on a disk, new or as it was left.
pub(super) fn ledger(disk: Disk, now: Timestamp) -> Ledger {
    let config = LedgerConfig {
        path: None,
        origin: "ibkr-agent/simulation".to_owned(),
        signing_seed: zeroize::Zeroizing::new([7; 32]),
        account_key: zeroize::Zeroizing::new(vec![9; 32]),
        now,
    };
    Ledger::open_over(config, disk).expect("a ledger in memory")
}

pub(super) fn config(sabotage: Sabotage) -> EngineConfig {
    let mut authority = crate::signing::authority();
    if sabotage == Sabotage::TrustedRows {
        authority.verify = |_, _, _| true;
    }
    EngineConfig {
        sidecar: SidecarId::parse("simulated-sidecar").expect("an id"),
        policies: policy(orders_a_day(sabotage)).into(),
        default_broker: Some(broker()),
        preview_ttl: Duration::from_secs(15 * 60),
        approval_ttl: Duration::from_secs(10 * 60),
        max_open_approvals: 4,
        max_submit_token_age: Duration::from_secs(15 * 60),
        question_timeout: Duration::from_secs(60),
        budget: CallBudget::default(),
        authority,
        sending: Sending::On,
    }
}

fn broker() -> BrokerName {
    BrokerName::parse("paper").expect("a name")
}

/// A world that forgets what was counted has little to count: else few seeds would show it.
pub(super) const fn orders_a_day(sabotage: Sabotage) -> u32 {
    if matches!(sabotage, Sabotage::ForgottenCounts) { 1 } else { 2 }
}

fn policy(max_orders_per_day: u32) -> Policy {
    let money = |amount| Money::new(Decimal::from(amount), Currency::USD);
    let limits = PolicyLimits {
        id: "simulation".to_owned(),
        accounts: accounts().into(),
        max_quantity: Decimal::TEN,
        max_notional: money(10_000),
        collar_percent: Decimal::ONE,
        passive_warning_percent: Decimal::TEN,
        max_quote_age: Duration::from_secs(60),
        max_drift_percent: Decimal::ONE,
        max_orders_per_minute: 2,
        max_orders_per_day,
        max_notional_per_day: money(100_000),
        delayed_data_modes: BTreeSet::new(),
        // Doubles are what is looked for: no window hides them.
        same_order_window: Duration::ZERO,
        same_execution_limit: u32::MAX,
        max_messages_per_minute: u32::MAX,
        max_open_orders: u32::MAX,
        shorts: Guard::Warn,
        margin_loan: Guard::Warn,
        known_questions: KnownQuestion::new("o163", KNOWN_QUESTION, BTreeMap::new())
            .into_iter()
            .collect(),
        ..PolicyLimits::tight(BTreeSet::from([Mode::Paper]))
    };
    Policy::new(limits).expect("a policy")
}

pub(super) fn facts(now: Timestamp) -> BrokerFacts {
    let quote = Quote {
        conid: Conid::new(1).expect("a contract id"),
        symbol: None,
        bid: Some(Decimal::from(100)),
        bid_size: None,
        ask: Some(Decimal::from(100)),
        ask_size: None,
        last: Some(Decimal::from(100)),
        close: None,
        change_percent: None,
        volume: None,
        halted: Some(false),
        status: DataStatus::RealTime,
        updated: Some(now),
        as_of: now,
    };
    BrokerFacts {
        account_reported: true,
        session: SessionState::Ready,
        clock_skew_ms: Some(0),
        quote: Some(quote),
        account: rich(),
        session_ends: Some(Timestamp::from_millis((now.utc_day() + 1) * 24 * 3600 * 1000)),
        policy_currency_rate: Some(Decimal::ONE),
        ..BrokerFacts::default()
    }
}

/// A million dollars, and nothing held.
fn rich() -> AccountFacts {
    AccountFacts {
        net_liquidation: Some(Money::new(Decimal::from(1_000_000), Currency::USD)),
        rates: BTreeMap::from([(Currency::USD, Decimal::ONE)]),
        ..AccountFacts::default()
    }
}

/// One of a few orders.
pub(super) fn order(account: AccountId, contract: u64, quantity: i64) -> CanonicalOrder {
    let contract = Contract {
        conid: Conid::new(contract).expect("a contract id"),
        symbol: Untrusted::new("AAPL"),
        name: Untrusted::new("Apple"),
        class: AssetClass::Stock,
        exchange: "SMART".to_owned(),
        listing_exchange: Untrusted::new("NASDAQ"),
        currency: Currency::USD,
        multiplier: Decimal::ONE,
        price_increment: None,
    };
    let terms = OrderTerms {
        side: Side::Buy,
        quantity: Quantity::new(Decimal::from(quantity)).expect("a quantity"),
        pricing: Pricing::Limit { limit: Price::new(Decimal::from(100)).expect("a price").into() },
        time_in_force: TimeInForce::Day,
        outside_rth: false,
    };
    let target = OrderTarget { broker: broker(), mode: Mode::Paper, account };
    CanonicalOrder::new(target, &contract, terms).expect("an order")
}

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Local,
    Token,
    Operator,
}

impl Who {
    /// Whose something is.
    pub(super) fn of(owner: &Owner) -> Self {
        if owner.to_string() == Self::Token.owner() { Self::Token } else { Self::Local }
    }

    /// The owner's text, as the engine's rows hold it.
    pub(super) const fn owner(self) -> &'static str {
        match self {
            Self::Local | Self::Operator => "local",
            Self::Token => "https://issuer.example|alice",
        }
    }
}

pub(super) fn requester(who: Who, call: &str) -> Requester {
    let (actor, door, tool) = match who {
        Who::Local => {
            let client = Untrusted::new("agent");
            (Actor::Local { client }, Door::Stdio, "ibkr_tool")
        }
        Who::Token => {
            let actor = Actor::token("https://issuer.example", "alice", Some("client"));
            (actor, Door::Relay, "ibkr_tool")
        }
        Who::Operator => (Actor::Operator { key: None }, Door::Operator, "verb"),
    };
    Requester { call: CallId::parse(call).expect("a call id"), actor, door, tool }
}

pub(super) fn caller(who: Who, call: &str, now: Timestamp) -> Caller {
    Caller {
        requester: requester(who, call),
        scopes: ScopeSet::default(),
        standing: match who {
            Who::Local => Standing::Local,
            Who::Token => Standing::Token { issued_at: now },
            Who::Operator => Standing::Operator,
        },
    }
}
