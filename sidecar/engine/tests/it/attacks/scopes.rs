//! Counters by scope: account, login, mode, caller and symbol, each order in the session that its
//! contract trades in.

use super::bench::{Bench, account};
use super::truth::{WORKS, row};
use ibkr_agent_domain::{
    AssetClass, BrokerName, BrokerOrderStatus, CanonicalOrder, ClientOrderId, Conid, Contract,
    Currency, Mode, OrderTarget, Side, Timestamp, Untrusted,
};
use ibkr_agent_engine::{OrderEntry, Owner, Row, Scope, Used};
use rust_decimal::Decimal;

/// The same terms for another contract, login and account.
fn elsewhere(order: &CanonicalOrder, name: &str, symbol: &str) -> CanonicalOrder {
    let contract = Contract {
        conid: Conid::new(272_093).unwrap(),
        symbol: Untrusted::new(symbol),
        name: Untrusted::default(),
        class: AssetClass::Stock,
        exchange: "SMART".to_owned(),
        listing_exchange: Untrusted::default(),
        currency: Currency::USD,
        multiplier: Decimal::ONE,
        price_increment: None,
    };
    let broker = BrokerName::parse("second").unwrap();
    let target = OrderTarget { broker, mode: Mode::Paper, account: account(name) };
    CanonicalOrder::new(target, &contract, order.terms().clone()).unwrap()
}

/// Three orders: of the local caller, of a token's, and of the latter on another account.
fn three() -> (Bench, ClientOrderId) {
    let mut bench = Bench::new();
    let first = bench.placed(Side::Buy, 10);
    let entry = bench.entry(&first);
    let token = |id: &str, order| OrderEntry {
        id: ClientOrderId::parse(id).unwrap(),
        owner: Owner::parse("https://issuer.example|alice").unwrap(),
        order,
        counted_notional: Decimal::from(7),
        ..entry.clone()
    };
    let second = token("ibkr-two", entry.order.clone());
    let third = token("ibkr-three", elsewhere(&entry.order, "DU2", "MSFT"));
    bench.edit(vec![Row::Order(Box::new(second)), Row::Order(Box::new(third))]);
    (bench, first)
}

fn today(bench: &Bench, scope: &Scope) -> (u32, Decimal) {
    let Used { orders_today, notional_today, .. } = bench.engine.used_in(scope, bench.now());
    (orders_today, notional_today)
}

#[test]
fn each_scope_counts_its_own_orders() {
    let (bench, _) = three();
    let any = Scope::default;
    let owner = |text: &str| Owner::parse(text);
    let symbol = |text: &str| Some(text.to_owned());
    let count = |scope| today(&bench, &scope);
    let value = |amount| Decimal::from(amount);
    assert_eq!(count(any()), (3, value(1014)));
    assert_eq!(count(Scope::account(&account("DU1"))), (2, value(1007)));
    assert_eq!(count(Scope::account(&account("DU2"))), (1, value(7)));
    assert_eq!(count(Scope { owner: owner("local"), ..any() }), (1, value(1000)));
    let alice = owner("https://issuer.example|alice");
    assert_eq!(count(Scope { owner: alice.clone(), ..any() }), (2, value(14)));
    assert_eq!(count(Scope { symbol: symbol("MSFT"), ..any() }), (1, value(7)));
    assert_eq!(count(Scope { symbol: symbol("AAPL"), owner: alice, ..any() }), (1, value(7)));
    let broker = Some(BrokerName::parse("second").unwrap());
    assert_eq!(count(Scope { broker, ..any() }), (1, value(7)));
    assert_eq!(count(Scope { mode: Some(Mode::Live), ..any() }), (0, value(0)));
    // The narrowest scopes add up to the whole.
    let parts = bench.engine.used_by_scope(bench.now());
    assert_eq!(parts.len(), 3);
    let sum: Decimal = parts.values().map(|used| used.notional_today).sum();
    assert_eq!(sum, value(1014));
}

#[test]
fn an_order_counts_until_its_own_contracts_session_ends() {
    let (mut bench, first) = three();
    let hour = 3_600_000;
    let entry = bench.entry(&first);
    let until = |hours| Some(Timestamp::from_millis(bench.wall + hours * hour));
    // One session ends before the exchange's date changes, the other after.
    let rows = [("ibkr-two", until(2)), ("ibkr-three", until(30))].map(|(id, counts_until)| {
        let id = ClientOrderId::parse(id).unwrap();
        Row::Order(Box::new(OrderEntry { counts_until, ..bench.entry(&id) }))
    });
    bench.edit(rows.into());
    assert_eq!(entry.counts_until, None, "it counts by the date");
    bench.wall += 2 * hour - 1;
    assert_eq!(today(&bench, &Scope::default()).0, 3);
    bench.wall += 1;
    assert_eq!(today(&bench, &Scope::default()).0, 2);
    (bench.wall, bench.day) = (bench.wall + 20 * hour, bench.day + 1);
    assert_eq!(today(&bench, &Scope::default()).0, 1);
    bench.wall += 8 * hour;
    assert_eq!(today(&bench, &Scope::default()).0, 0);
    assert!(bench.engine.used_by_scope(bench.now()).is_empty());
}

#[test]
fn a_counter_is_never_below_what_the_broker_shows_in_any_scope_and_gives_nothing_back() {
    let (mut bench, first) = three();
    bench.looks(vec![row(&first, "501", (500, 235), WORKS, 0)], Vec::new());
    let scopes = [
        Scope::account(&account("DU1")),
        Scope { owner: Some(Owner::Local), ..Scope::default() },
        Scope { symbol: Some("AAPL".to_owned()), ..Scope::default() },
    ];
    for end in [WORKS, BrokerOrderStatus::Cancelled] {
        bench.looks(vec![row(&first, "501", (500, 235), end, 0)], Vec::new());
        for scope in &scopes {
            assert!(today(&bench, scope).1 >= Decimal::from(500 * 235), "{scope:?} {end:?}");
        }
    }
}

#[test]
fn what_grows_at_the_broker_after_its_session_counts_anew() {
    let (mut bench, first) = three();
    bench.looks(vec![row(&first, "501", (10, 100), WORKS, 0)], Vec::new());
    let days = 3;
    (bench.wall, bench.day) = (bench.wall + days * 24 * 3_600_000, bench.day + days);
    bench.looks(vec![row(&first, "501", (10, 100), WORKS, 1)], Vec::new());
    assert_eq!(today(&bench, &Scope::default()), (0, Decimal::ZERO));
    bench.looks(vec![row(&first, "501", (500, 235), WORKS, 1)], Vec::new());
    assert_eq!(today(&bench, &Scope::default()), (1, Decimal::from(500 * 235)));
    bench.restart();
    // Housekeeping goes on and forgets no count.
    let order = super::bench::order_of("DU1", Side::Buy, 1);
    bench.preview_as("later", &order, 0);
    assert_eq!(today(&bench, &Scope::default()).0, 1);
}
