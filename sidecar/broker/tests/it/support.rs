//! A client on a running simulator, and real recorded permits: each is decided by the gates over
//! facts that pass and committed to an in-memory ledger.

use core::convert::Infallible;
use core::time::Duration;
use ibkr_agent_audit::{Ledger, LedgerConfig, Recorded};
use ibkr_agent_broker::{
    Asked, Broker, BrokerConfig, ClientPortal, HaltLatch, Pacing, PlaceOutcome, SystemClock,
    connect,
};
use ibkr_agent_domain::{
    AccountId, Actor, ApprovalId, AssetClass, BrokerName, BrokerOrderId, CallId, CanonicalOrder,
    ClientOrderId, Conid, Contract, Currency, DataStatus, Door, Mode, Money, OrderTarget,
    OrderTerms, Price, Pricing, Quantity, Quote, Recordable, SessionState, Side, TimeInForce,
    Timestamp, Untrusted,
};
use ibkr_agent_gates::{
    AccountFacts, Approval, BrokerFacts, Cancel, CancelFacts, CancelRequest, Facts, Guard,
    OwnFacts, Permit, Place, PlaceIntent, Policy, PolicyLimits, Question, Reply, ReplyRequest,
    Requester, Switches, decide_cancel, decide_place, decide_reply,
};
use ibkr_agent_simulator::{Control, Simulator, SimulatorConfig};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A decimal literal.
macro_rules! dec {
    ($number:literal) => {
        stringify!($number).parse::<rust_decimal::Decimal>().unwrap()
    };
}
pub(crate) use dec;

/// Apple's contract.
pub(crate) const AAPL: u64 = 265_598;
/// The paper account.
pub(crate) const PAPER: &str = "DU1234567";

pub(crate) fn account(text: &str) -> AccountId {
    AccountId::parse(text).unwrap()
}

pub(crate) fn conid(number: u64) -> Conid {
    Conid::new(number).unwrap()
}

pub(crate) fn name() -> BrokerName {
    BrokerName::parse("paper").unwrap()
}

/// A configuration for a loopback server: paper, short time-outs, no pacing where allowed.
pub(crate) fn config(url: &str, mode: Mode) -> BrokerConfig {
    let mut config = BrokerConfig::new(name(), url, mode);
    config.request_timeout = Duration::from_secs(5);
    if mode == Mode::Simulated {
        config.pacing = Pacing::Off;
    }
    config
}

pub(crate) fn client(config: BrokerConfig) -> (ClientPortal, HaltLatch) {
    let latch = HaltLatch::default();
    let client = connect(config, latch.clone(), Arc::new(SystemClock)).unwrap();
    (client, latch)
}

/// A simulator, a client on it with trading resumed, and a ledger.
pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) control: Control,
    pub(crate) broker: ClientPortal,
    pub(crate) latch: HaltLatch,
    pub(crate) ledger: Ledger,
}

impl World {
    pub(crate) async fn start(config: SimulatorConfig) -> Self {
        Self::start_with(config, |_| {}).await
    }

    pub(crate) async fn start_with(
        simulated: SimulatorConfig,
        change: impl FnOnce(&mut BrokerConfig),
    ) -> Self {
        let simulator = Simulator::start(simulated).await.unwrap();
        let mut configuration = config(&simulator.base_url(), Mode::Simulated);
        change(&mut configuration);
        let (broker, latch) = client(configuration);
        latch.resume();
        Self { control: simulator.control(), simulator, broker, latch, ledger: ledger() }
    }

    /// Started, with the session up.
    pub(crate) async fn ready() -> Self {
        let world = Self::start(SimulatorConfig::default()).await;
        let health = world.broker.renew().await.unwrap();
        assert_eq!(health.state, SessionState::Ready);
        world
    }

    /// `METHOD path` of every request that the simulator saw, without the base path.
    pub(crate) fn requests(&self) -> Vec<String> {
        let seen = self.control.requests();
        seen.iter()
            .map(|seen| format!("{} {}", seen.method, seen.path.trim_start_matches("/v1/api")))
            .collect()
    }

    /// How many requests were writes of orders: placements, replies, cancels.
    pub(crate) fn effects(&self) -> usize {
        let is_effect = |line: &&String| {
            line.starts_with("DELETE ")
                || line.contains("/iserver/reply/")
                || (line.starts_with("POST ") && line.ends_with("/orders"))
        };
        self.requests().iter().filter(is_effect).count()
    }

    pub(crate) async fn place(&self, reference: &str, limit: Decimal) -> PlaceOutcome {
        self.broker.place(self.permit(reference, limit).await).await
    }

    pub(crate) async fn permit(&self, reference: &str, limit: Decimal) -> Recorded<Permit<Place>> {
        let mode = self.broker.mode();
        place_permit(&self.ledger, order(PAPER, mode, limit), reference).await
    }

    pub(crate) async fn reply(&self, asked: Asked, confirmed: bool) -> PlaceOutcome {
        let question = asked.question().clone();
        let reference = asked.permit().get().action().references()[0].clone();
        let permit = reply_permit(&self.ledger, question, reference.as_str(), confirmed).await;
        self.broker.reply(asked, permit).await
    }
}

/// A ledger in memory.
pub(crate) fn ledger() -> Ledger {
    Ledger::open(LedgerConfig {
        path: None,
        origin: "ibkr-agent/test".to_owned(),
        signing_seed: Zeroizing::new([7; 32]),
        account_key: Zeroizing::new(vec![9; 32]),
        now: now(),
    })
    .unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

async fn recorded<T: Recordable + Send + 'static>(ledger: &Ledger, permit: T) -> Recorded<T> {
    let (slot, commit) = ledger
        .transact::<_, Infallible, _>(move |batch| Ok(batch.append(permit, now())?))
        .await
        .unwrap();
    commit.redeem(slot).unwrap()
}

/// One share of Apple at a limit, routed by the broker.
pub(crate) fn order(account_id: &str, mode: Mode, limit: Decimal) -> CanonicalOrder {
    let contract = apple("SMART");
    order_of(&contract, account_id, mode, limit)
}

/// Apple, its orders sent to an exchange.
pub(crate) fn apple(exchange: &str) -> Contract {
    Contract {
        conid: conid(AAPL),
        symbol: Untrusted::new("AAPL"),
        name: Untrusted::new("APPLE INC"),
        class: AssetClass::Stock,
        exchange: exchange.to_owned(),
        listing_exchange: Untrusted::new("NASDAQ"),
        currency: Currency::USD,
        multiplier: Decimal::ONE,
        price_increment: None,
    }
}

/// One share at a limit.
pub(crate) fn order_of(
    contract: &Contract,
    account_id: &str,
    mode: Mode,
    limit: Decimal,
) -> CanonicalOrder {
    let target = OrderTarget { broker: name(), mode, account: account(account_id) };
    let terms = OrderTerms {
        side: Side::Buy,
        quantity: Quantity::new(dec!(1)).unwrap(),
        pricing: Pricing::Limit { limit: Price::new(limit).unwrap().into() },
        time_in_force: TimeInForce::Day,
        outside_rth: false,
    };
    CanonicalOrder::new(target, contract, terms).unwrap()
}

fn policy() -> Policy {
    Policy::new(PolicyLimits {
        id: "test".to_owned(),
        accounts: [PAPER, "DU7654321", "U1234567", "All"].map(account).into(),
        max_quantity: dec!(1000),
        max_notional: Money::new(dec!(1000000000), Currency::USD),
        collar_percent: dec!(100),
        mid_percent: dec!(100),
        last_percent: dec!(100),
        passive_warning_percent: dec!(99),
        max_quote_age: Duration::from_secs(60),
        max_drift_percent: dec!(5),
        max_orders_per_minute: 100,
        max_orders_per_day: 1000,
        max_notional_per_day: Money::new(dec!(1000000000), Currency::USD),
        max_position_notional: dec!(1000000000),
        max_gross: dec!(1000000000),
        max_concentration_percent: dec!(100),
        shorts: Guard::Warn,
        margin_loan: Guard::Warn,
        ..PolicyLimits::tight(BTreeSet::from([Mode::Simulated, Mode::Paper]))
    })
    .unwrap()
}

fn open_switches() -> Switches {
    Switches { halted: false, audit_writable: true }
}

fn quote(price: Decimal) -> Quote {
    Quote {
        conid: conid(AAPL),
        symbol: None,
        bid: Some(price),
        bid_size: None,
        ask: Some(price),
        ask_size: None,
        last: Some(price),
        close: None,
        change_percent: None,
        volume: None,
        halted: Some(false),
        status: DataStatus::RealTime,
        updated: Some(now()),
        as_of: now(),
    }
}

fn requester(tool: &'static str) -> Requester {
    Requester {
        call: CallId::parse("call-1").unwrap(),
        actor: Actor::System,
        door: Door::Internal,
        tool,
    }
}

pub(crate) async fn place_permit(
    ledger: &Ledger,
    order: CanonicalOrder,
    reference: &str,
) -> Recorded<Permit<Place>> {
    let price = order.terms().pricing.limit().unwrap().get();
    let rich = AccountFacts {
        net_liquidation: Some(Money::new(dec!(1000000000), Currency::USD)),
        rates: BTreeMap::from([(Currency::USD, Decimal::ONE)]),
        ..AccountFacts::default()
    };
    let broker = BrokerFacts {
        account_reported: true,
        session: SessionState::Ready,
        clock_skew_ms: Some(0),
        quote: Some(quote(price)),
        account: rich,
        policy_currency_rate: Some(Decimal::ONE),
        ..BrokerFacts::default()
    };
    let own = OwnFacts { switches: open_switches(), ..OwnFacts::default() };
    let facts = Facts { broker, own };
    let intent = PlaceIntent {
        references: vec![ClientOrderId::parse(reference).unwrap()],
        approval: Approval {
            id: ApprovalId::parse("approval-1").unwrap(),
            plan: order.digest(),
            expires_at: now().plus(Duration::from_secs(60)),
            reference_price: Some(price),
            position: Decimal::ZERO,
        },
        plan: order.into(),
        requester: requester("place"),
    };
    let permit = decide_place(&policy(), &facts, intent, now()).unwrap();
    recorded(ledger, permit).await
}

pub(crate) async fn reply_permit(
    ledger: &Ledger,
    question: Question,
    reference: &str,
    confirmed: bool,
) -> Recorded<Permit<Reply>> {
    let request = ReplyRequest {
        broker: name(),
        account: account(PAPER),
        client_order_id: ClientOrderId::parse(reference).unwrap(),
        order: order(PAPER, Mode::Paper, dec!(100)),
        question,
        confirmed,
        is_operator: true,
        requester: requester("reply"),
    };
    let permit = decide_reply(&policy(), open_switches(), request, now()).unwrap();
    recorded(ledger, permit).await
}

pub(crate) async fn cancel_permit(
    ledger: &Ledger,
    account_id: &str,
    order_id: &str,
) -> Recorded<Permit<Cancel>> {
    let request = CancelRequest {
        facts: CancelFacts {
            broker: name(),
            account: account(account_id),
            order_id: BrokerOrderId::parse(order_id).unwrap(),
            ours: None,
        },
        named_account: None,
        is_operator: true,
        requester: requester("cancel"),
    };
    let permit = decide_cancel(&policy(), request, now()).unwrap();
    recorded(ledger, permit).await
}
