//! Gates that judge the account after the order, and the order among others: both sides of each
//! limit, what would pass instead, and what a reduction is exempt from.

use super::support::{Draft, NOW, cash, check, dec, denied, estimate, facts, limits};
use core::time::Duration;
use ibkr_agent_domain::{
    AssetClass, BrokerOrder, BrokerOrderId, BrokerOrderStatus, BrokerOrderType, ClientOrderId,
    Conid, Currency, Estimate, Mode, Money, OrderState, Position, Side, Timestamp, Untrusted,
    WhatIf,
};
use ibkr_agent_gates::{Check, Facts, Gate, Guard, OwnOrder, Policy, PolicyLimits, Verdict};

pub(crate) fn policy(change: impl FnOnce(&mut PolicyLimits)) -> Policy {
    let mut limits = limits();
    limits.shorts = Guard::Deny;
    change(&mut limits);
    Policy::new(limits).unwrap()
}

pub(crate) fn tight() -> Policy {
    policy(|_| {})
}

pub(crate) fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = facts();
    change(&mut facts);
    facts
}

fn holding(position: &str) -> Facts {
    with(|f| {
        f.broker.position = dec(position);
        f.broker.account.positions = vec![held(265_598, "AAPL", AssetClass::Stock, position)];
    })
}

fn held(conid: u64, symbol: &str, class: AssetClass, quantity: &str) -> Position {
    Position {
        account: super::support::account(),
        conid: Conid::new(conid).unwrap(),
        symbol: Untrusted::new(symbol),
        class: Some(class),
        quantity: dec(quantity),
        market_price: Some(dec("100")),
        market_value: Some(dec(quantity) * dec("100")),
        average_cost: None,
        unrealized_pnl: None,
        currency: Currency::USD,
    }
}

pub(crate) fn draft(side: Side, quantity: &str, limit: &str) -> Draft {
    Draft { side, quantity: dec(quantity), limit: dec(limit), ..Draft::default() }
}

fn sell(quantity: &str) -> Draft {
    draft(Side::Sell, quantity, "100")
}

pub(crate) fn buy(quantity: &str) -> Draft {
    draft(Side::Buy, quantity, "100")
}

fn open(id: &str, side: Side, kind: BrokerOrderType, price: &str) -> BrokerOrder {
    let of = BrokerOrder::of(
        BrokerOrderId::parse(id).unwrap(),
        super::support::account(),
        Conid::new(265_598).unwrap(),
    );
    BrokerOrder {
        side: Some(side),
        quantity: Some(dec("5")),
        order_type: kind,
        limit_price: Some(dec(price)),
        status: BrokerOrderStatus::Submitted,
        ..of
    }
}

fn with_orders(orders: Vec<BrokerOrder>) -> Facts {
    with(|f| f.broker.account.orders = orders)
}

fn own(draft: &Draft, state: OrderState, seconds_ago: i64) -> OwnOrder {
    let order = draft.order();
    OwnOrder {
        id: ClientOrderId::parse("ia7").unwrap(),
        order_id: BrokerOrderId::parse("4711").ok(),
        conid: order.conid(),
        terms: order.terms().clone(),
        state,
        created_at: Timestamp::from_millis(NOW.as_millis() - seconds_ago * 1_000),
    }
}

fn estimated(change: impl FnOnce(&mut Estimate)) -> Facts {
    let mut told = estimate();
    change(&mut told);
    with(|f| f.broker.what_if = Some(WhatIf::Estimated(Box::new(told))))
}

pub(crate) fn nearest(check: &Check) -> &str {
    check.nearest.as_deref().unwrap_or_default()
}

#[test]
fn more_than_is_held_is_sold_by_a_policy_that_allows_shorts_only() {
    let rows = [("5", "5", true), ("5", "6", false), ("0", "1", false), ("-1", "1", false)];
    for (position, quantity, passes) in rows {
        let found = check(&tight(), &holding(position), &sell(quantity), Gate::Short);
        assert_eq!(!found.is_denied(), passes, "sell {quantity} of {position}: {found:?}");
        assert_eq!(found.rule, Some("exposure.shorts"));
    }
    let found = check(&tight(), &holding("5"), &sell("6"), Gate::Short);
    assert_eq!(found.observed, "opens a short of 1: 5 held");
    assert_eq!(nearest(&found), "sell 5 would pass");
    let found = check(&tight(), &holding("0"), &sell("6"), Gate::Short);
    assert_eq!(
        (found.observed.as_str(), nearest(&found)),
        ("opens a short of 6: 0 held", "nothing is left to sell")
    );
    let allowed = policy(|l| l.shorts = Guard::Warn);
    let found = check(&allowed, &holding("5"), &sell("6"), Gate::Short);
    assert_eq!(found.verdict, Verdict::Warned);
    assert_eq!(denied(&allowed, &holding("5"), &sell("6")), []);
}

#[test]
fn what_works_on_the_same_side_may_fill_first() {
    let working = with(|f| {
        f.broker.position = dec("5");
        f.broker.working_same_side = dec("2");
        f.own.under_way = dec("1");
    });
    let found = check(&tight(), &working, &sell("3"), Gate::Short);
    assert!(found.is_denied());
    assert_eq!(found.observed, "opens a short of 1: 5 held, 3 more on its way on this side");
    assert_eq!(nearest(&found), "sell 2 would pass");
    assert!(!check(&tight(), &working, &sell("2"), Gate::Short).is_denied());
}

#[test]
fn a_cover_that_turns_into_a_long_is_told() {
    let found = check(&tight(), &holding("-5"), &buy("5"), Gate::Short);
    assert_eq!(found.verdict, Verdict::Passed);
    let found = check(&tight(), &holding("-5"), &buy("6"), Gate::Short);
    assert_eq!(found.verdict, Verdict::Warned);
    assert_eq!(found.observed, "turns a short of 5 into 1 held");
}

#[test]
fn a_sale_of_what_may_cover_a_derivative_is_no_reduction() {
    let held_beside = |class, symbol: &str, quantity: &str| {
        let mut facts = holding("20");
        facts.broker.account.positions.push(held(9, symbol, class, quantity));
        denied(&tight(), &facts, &sell("11"))
    };
    let many = |class, symbol: &str| held_beside(class, symbol, "-1");
    // Eleven are more than the policy lets a new order have; a reduction may.
    assert_eq!(many(AssetClass::Option, "MSFT JAN2027 300 C"), []);
    assert_eq!(many(AssetClass::Stock, "AAPL"), []);
    for class in [AssetClass::Option, AssetClass::Warrant, AssetClass::Future] {
        assert_eq!(held_beside(class, "AAPL JAN2027 300 C", "1"), [], "long {class}");
    }
    for class in [AssetClass::Option, AssetClass::Warrant, AssetClass::Future] {
        let found = many(class, "AAPL JAN2027 300 C");
        assert_eq!(found, [Gate::Quantity, Gate::Notional], "{class}");
    }
    let mut facts = holding("20");
    facts
        .broker
        .account
        .positions
        .push(Position { class: None, ..held(9, "", AssetClass::Stock, "1") });
    assert_eq!(denied(&tight(), &facts, &sell("11")), [Gate::Quantity, Gate::Notional]);
}

#[test]
fn a_buy_is_paid_from_cash_of_its_own_currency() {
    let with_cash =
        |amount: &str| with(|f| f.broker.account.cash = Some(vec![cash(Currency::USD, amount)]));
    assert_eq!(denied(&tight(), &with_cash("500"), &buy("5")), []);
    let found = check(&tight(), &with_cash("499.99"), &buy("5"), Gate::MarginLoan);
    assert!(found.is_denied());
    assert_eq!(found.observed, "0.01 USD lack: 499.99 are there");
    assert_eq!(nearest(&found), "4 at this price need no loan");
    assert_eq!(found.rule, Some("exposure.margin_loan"));
    let allowed = policy(|l| l.margin_loan = Guard::Warn);
    assert_eq!(denied(&allowed, &with_cash("0"), &buy("5")), []);
    // Cash in another currency is a loan in this one, and no ledger is no cash.
    let eur = Currency::parse("EUR").unwrap();
    let other = with(|f| f.broker.account.cash = Some(vec![cash(eur, "1000000")]));
    assert_eq!(denied(&tight(), &other, &buy("5")), [Gate::MarginLoan]);
    let none = with(|f| f.broker.account.cash = None);
    assert_eq!(denied(&tight(), &none, &buy("5")), [Gate::MarginLoan]);
    assert_eq!(denied(&tight(), &holding("5"), &sell("5")), []);
}

#[test]
fn buys_that_work_and_the_fee_are_paid_from_the_same_cash() {
    let facts = |working: BrokerOrder| {
        with(|f| {
            f.broker.account.cash = Some(vec![cash(Currency::USD, "1000")]);
            f.broker.account.orders = vec![working];
        })
    };
    let limit = BrokerOrderType::Limit;
    let other = BrokerOrder { conid: Conid::new(7).unwrap(), ..open("1", Side::Buy, limit, "100") };
    assert_eq!(denied(&tight(), &facts(other.clone()), &buy("5")), []);
    let filled = BrokerOrder { quantity: Some(dec("10")), filled: Some(dec("5")), ..other.clone() };
    assert_eq!(denied(&tight(), &facts(filled), &buy("5")), []);
    let more = BrokerOrder { quantity: Some(dec("6")), ..other.clone() };
    assert_eq!(denied(&tight(), &facts(more), &buy("5")), [Gate::MarginLoan]);
    let unknown = BrokerOrder { limit_price: None, ..other.clone() };
    let both = [Gate::MarginLoan, Gate::GrossExposure];
    assert_eq!(denied(&tight(), &facts(unknown), &buy("5")), both);
    let sold = BrokerOrder { side: Some(Side::Sell), ..other.clone() };
    assert_eq!(denied(&tight(), &facts(sold), &buy("10")), []);
    // One of a contract that is held in another currency isn't paid from this one.
    let mut elsewhere = facts(BrokerOrder { quantity: Some(dec("600")), ..other });
    let eur = Currency::parse("EUR").unwrap();
    elsewhere.broker.account.rates.insert(eur, dec("1"));
    let position = Position { currency: eur, ..held(7, "ASML", AssetClass::Stock, "0") };
    elsewhere.broker.account.positions = vec![position];
    assert_eq!(denied(&tight(), &elsewhere, &buy("5")), []);
    let mut fee = estimated(|e| e.commission = Some(Money::new(dec("1"), Currency::USD)));
    fee.broker.account.cash = Some(vec![cash(Currency::USD, "500.99")]);
    assert_eq!(denied(&tight(), &fee, &buy("5")), [Gate::MarginLoan]);
    fee.broker.account.cash = Some(vec![cash(Currency::USD, "501")]);
    assert_eq!(denied(&tight(), &fee, &buy("5")), []);
}

#[test]
fn a_cash_account_converts_what_it_has_and_never_borrows() {
    let eur = Currency::parse("EUR").unwrap();
    let facts = |euros: &str, kind| {
        with(|f| {
            f.broker.account.cash = Some(vec![cash(Currency::USD, "100"), cash(eur, euros)]);
            f.broker.account.rates.insert(eur, dec("2"));
            f.broker.account.is_cash_account = kind;
        })
    };
    // 400 dollars lack; 200 euros are worth 400.
    let found = check(&tight(), &facts("200", Some(true)), &buy("5"), Gate::MarginLoan);
    assert_eq!(found.verdict, Verdict::Warned);
    assert!(found.observed.ends_with("the broker converts the rest from other cash"), "{found:?}");
    for (euros, kind) in [("199", Some(true)), ("200", Some(false)), ("200", None)] {
        let found = check(&tight(), &facts(euros, kind), &buy("5"), Gate::MarginLoan);
        assert!(found.is_denied(), "{euros} {kind:?}");
    }
    let mut unsettled = facts("0", Some(true));
    let line = ibkr_agent_domain::LedgerLine {
        settled_cash: Some(dec("499")),
        ..cash(Currency::USD, "500")
    };
    unsettled.broker.account.cash = Some(vec![line]);
    let found = check(&tight(), &unsettled, &buy("5"), Gate::MarginLoan);
    assert_eq!(found.verdict, Verdict::Warned, "paid with what isn't settled");
}

#[test]
fn what_the_broker_has_against_an_order_denies_it() {
    let words = || Some(Untrusted::new("Available funds do not cover it"));
    let refused = with(|f| f.broker.what_if = Some(WhatIf::Refused { message: words().unwrap() }));
    assert_eq!(denied(&tight(), &refused, &buy("5")), [Gate::WhatIf]);
    let beside = estimated(|e| e.error = words());
    let found = check(&tight(), &beside, &buy("5"), Gate::WhatIf);
    assert_eq!(found.observed, "the broker says: Available funds do not cover it");
    assert!(found.is_denied());
    assert_eq!(found.rule, None, "no policy allows what the broker refuses");
    let warned = estimated(|e| e.warning = words());
    assert_eq!(check(&tight(), &warned, &buy("5"), Gate::WhatIf).verdict, Verdict::Warned);
    let none = with(|f| f.broker.what_if = None);
    assert_eq!(check(&tight(), &none, &buy("5"), Gate::WhatIf).verdict, Verdict::Warned);
    let strict = policy(|l| l.what_if = Guard::Deny);
    assert_eq!(denied(&strict, &none, &buy("5")), [Gate::WhatIf, Gate::MarginUse]);
}

#[test]
fn available_funds_after_the_order_have_two_sides() {
    let left = |margin: &str| {
        estimated(|e| {
            e.equity.after = Some(dec("1000"));
            e.initial_margin.after = Some(dec(margin));
        })
    };
    let roomy = policy(|l| l.max_margin_use_percent = dec("1000"));
    assert_eq!(denied(&roomy, &left("1000"), &buy("5")), []);
    assert_eq!(denied(&roomy, &left("1000.01"), &buy("5")), [Gate::BuyingPower]);
    let found = check(&roomy, &left("1000.01"), &buy("5"), Gate::BuyingPower);
    assert_eq!(found.observed, "0.01 of available funds lack");
    // Without the broker's figures the whole value must be there.
    let funds = |amount: &str| {
        with(|f| {
            f.broker.what_if = None;
            f.broker.account.available_funds = Some(Money::new(dec(amount), Currency::USD));
        })
    };
    assert_eq!(denied(&tight(), &funds("500"), &buy("5")), []);
    assert_eq!(denied(&tight(), &funds("499.99"), &buy("5")), [Gate::BuyingPower]);
    let unknown = with(|f| {
        f.broker.what_if = None;
        f.broker.account.available_funds = None;
    });
    assert_eq!(check(&tight(), &unknown, &buy("5"), Gate::BuyingPower).verdict, Verdict::Warned);
}

#[test]
fn margins_after_the_order_have_two_sides() {
    let used = |margin: &str| {
        estimated(|e| {
            e.equity.after = Some(dec("1000"));
            e.initial_margin.after = Some(dec(margin));
        })
    };
    assert_eq!(denied(&tight(), &used("750"), &buy("5")), []);
    assert_eq!(denied(&tight(), &used("750.01"), &buy("5")), [Gate::MarginUse]);
    let least = policy(|l| l.min_excess_liquidity = dec("100"));
    let excess = |maintenance: &str| {
        estimated(|e| {
            e.equity.after = Some(dec("1000"));
            e.maintenance_margin.after = Some(dec(maintenance));
        })
    };
    assert_eq!(denied(&least, &excess("900"), &buy("5")), []);
    assert_eq!(denied(&least, &excess("900.01"), &buy("5")), [Gate::ExcessLiquidity]);
    let untold = with(|f| f.broker.what_if = None);
    assert_eq!(denied(&least, &untold, &buy("5")), [Gate::ExcessLiquidity]);
    assert_eq!(denied(&tight(), &untold, &buy("5")), []);
}

#[test]
fn value_share_and_sum_of_positions_have_two_sides() {
    // Ten held and five bought at a hundred: 1,500.
    let notional = |most: &str| policy(|l| l.max_position_notional = dec(most));
    assert_eq!(denied(&notional("1500"), &holding("10"), &buy("5")), []);
    assert_eq!(denied(&notional("1499"), &holding("10"), &buy("5")), [Gate::PositionNotional]);
    let worth = |amount: &str| {
        let mut facts = holding("10");
        facts.broker.account.net_liquidation = Some(Money::new(dec(amount), Currency::USD));
        facts
    };
    assert_eq!(denied(&tight(), &worth("3000"), &buy("5")), []);
    assert_eq!(denied(&tight(), &worth("2999"), &buy("5")), [Gate::Concentration]);
    assert_eq!(denied(&tight(), &worth("0"), &buy("5")), [Gate::Concentration]);
    let gross = |most: &str| policy(|l| l.max_gross = dec(most));
    let mut both = holding("10");
    both.broker.account.positions.push(held(7, "SPY", AssetClass::Stock, "-20"));
    assert_eq!(denied(&gross("3500"), &both, &buy("5")), []);
    assert_eq!(denied(&gross("3499"), &both, &buy("5")), [Gate::GrossExposure]);
    let mut untold = holding("10");
    untold
        .broker
        .account
        .positions
        .push(Position { market_value: None, ..held(7, "SPY", AssetClass::Stock, "1") });
    assert_eq!(denied(&tight(), &untold, &buy("5")), [Gate::GrossExposure]);
    untold.broker.account.positions[1].average_cost = Some(dec("100"));
    assert_eq!(denied(&tight(), &untold, &buy("5")), []);
}

#[test]
fn a_day_that_lost_its_limit_only_takes_reductions() {
    let lost = |amount: &str| {
        let mut facts = holding("5");
        facts.broker.account.daily_profit = Some(Money::new(dec(amount), Currency::USD));
        facts
    };
    assert_eq!(denied(&tight(), &lost("-1499.99"), &buy("5")), []);
    assert_eq!(denied(&tight(), &lost("-1500"), &buy("5")), [Gate::DayLoss]);
    assert_eq!(denied(&tight(), &lost("-1500"), &sell("5")), []);
    let untold = with(|f| f.broker.account.daily_profit = None);
    assert_eq!(check(&tight(), &untold, &buy("5"), Gate::DayLoss).verdict, Verdict::Warned);
    let live = Draft { mode: Mode::Live, ..buy("5") };
    assert!(check(&tight(), &untold, &live, Gate::DayLoss).is_denied());
}

#[test]
fn an_equal_order_of_a_moment_ago_is_named_with_its_cancel() {
    let earlier = |state, ago| with(|f| f.own.orders = vec![own(&buy("5"), state, ago)]);
    let found = check(&tight(), &earlier(OrderState::Working, 59), &buy("5"), Gate::Duplicate);
    assert!(found.is_denied());
    assert_eq!(found.observed, "order 4711 of 59 s ago is the same and is working");
    assert_eq!(nearest(&found), "wait 2 s, or cancel order 4711 first");
    assert_eq!(denied(&tight(), &earlier(OrderState::Working, 60), &buy("5")), []);
    for state in OrderState::ALL {
        let called_off =
            matches!(state, OrderState::Cancelled | OrderState::Rejected | OrderState::NotSent);
        let found = check(&tight(), &earlier(state, 1), &buy("5"), Gate::Duplicate);
        assert_eq!(!found.is_denied(), called_off, "{state:?}");
    }
    for other in [buy("4"), draft(Side::Buy, "5", "99"), sell("5")] {
        let found = check(&tight(), &earlier(OrderState::Filled, 1), &other, Gate::Duplicate);
        assert!(!found.is_denied(), "{other:?}");
    }
    // A close that is sent twice opens: a reduction isn't exempt.
    let mut closing = holding("10");
    closing.own.orders = vec![own(&sell("5"), OrderState::Filled, 1)];
    assert_eq!(denied(&tight(), &closing, &sell("5")), [Gate::Duplicate]);
    let off = policy(|l| l.same_order_window = Duration::ZERO);
    assert_eq!(denied(&off, &earlier(OrderState::Working, 0), &buy("5")), []);
}

#[test]
fn an_order_never_trades_with_one_of_the_same_account() {
    let limit = BrokerOrderType::Limit;
    let judge = |order: BrokerOrder, draft: &Draft| {
        check(&tight(), &with_orders(vec![order]), draft, Gate::SelfMatch)
    };
    let found = judge(open("9", Side::Sell, limit, "100"), &buy("5"));
    assert!(found.is_denied());
    assert_eq!(found.observed, "sell order 9 at 100, not placed by this gateway, works");
    assert_eq!(nearest(&found), "cancel order 9 first");
    assert!(!judge(open("9", Side::Sell, limit, "100.01"), &buy("5")).is_denied());
    assert!(judge(open("9", Side::Buy, limit, "100"), &sell("5")).is_denied());
    assert!(!judge(open("9", Side::Buy, limit, "99.99"), &sell("5")).is_denied());
    assert!(!judge(open("9", Side::Buy, limit, "100"), &buy("5")).is_denied());
    for (kind, denies) in [
        (BrokerOrderType::Market, true),
        (BrokerOrderType::Other, true),
        (BrokerOrderType::Stop, false),
        (BrokerOrderType::TrailingLimit, false),
    ] {
        let order = BrokerOrder { limit_price: None, ..open("9", Side::Sell, kind, "1") };
        assert_eq!(judge(order, &buy("5")).is_denied(), denies, "{kind:?}");
    }
    let sideless = BrokerOrder { side: None, ..open("9", Side::Sell, limit, "100") };
    assert!(judge(sideless, &buy("5")).is_denied());
    let elsewhere =
        BrokerOrder { conid: Conid::new(7).unwrap(), ..open("9", Side::Sell, limit, "1") };
    assert!(!judge(elsewhere, &buy("5")).is_denied());
    let warn = policy(|l| l.self_match = Guard::Warn);
    let facts = with_orders(vec![open("9", Side::Sell, limit, "100")]);
    assert_eq!(check(&warn, &facts, &buy("5"), Gate::SelfMatch).verdict, Verdict::Warned);
    // The one that meets is named, not the first.
    let two = vec![open("8", Side::Sell, limit, "105"), open("9", Side::Sell, limit, "99")];
    let found = check(&tight(), &with_orders(two), &buy("5"), Gate::SelfMatch);
    assert_eq!(nearest(&found), "cancel order 9 first");
}

#[test]
fn orders_at_work_messages_and_equal_fills_are_counted() {
    let two = policy(|l| l.max_open_orders = 2);
    let limit = BrokerOrderType::Limit;
    let shown = BrokerOrder {
        reference: ClientOrderId::parse("ia7").ok(),
        ..open("4711", Side::Buy, limit, "90")
    };
    let mut facts = with_orders(vec![shown]);
    facts.own.orders = vec![own(&draft(Side::Buy, "5", "90"), OrderState::Working, 600)];
    assert_eq!(denied(&two, &facts, &buy("5")), [], "one order, seen twice");
    let unseen = OwnOrder {
        id: ClientOrderId::parse("ia8").unwrap(),
        ..own(&draft(Side::Buy, "5", "91"), OrderState::Unknown, 600)
    };
    facts.own.orders.push(unseen);
    assert_eq!(denied(&two, &facts, &buy("5")), [Gate::OpenOrders]);
    let chatty = |count| with(|f| f.own.messages_last_minute = count);
    assert_eq!(denied(&tight(), &chatty(19), &buy("5")), []);
    assert_eq!(denied(&tight(), &chatty(20), &buy("5")), [Gate::Messages]);
    let filled = |count: usize| {
        with(|f| {
            f.own.orders = vec![own(&buy("5"), OrderState::Filled, 600); count];
        })
    };
    assert_eq!(denied(&tight(), &filled(4), &buy("5")), []);
    assert_eq!(denied(&tight(), &filled(5), &buy("5")), [Gate::SameExecution]);
    assert_eq!(denied(&tight(), &filled(5), &buy("4")), []);
}

#[test]
fn what_is_not_listed_yet_is_paid_and_met_too() {
    let other = Draft { symbol: "MSFT", ..buy("5") };
    let unlisted = |terms: &Draft, conid: u64| OwnOrder {
        conid: Conid::new(conid).unwrap(),
        ..own(terms, OrderState::Intended, 600)
    };
    let mut facts = with(|f| f.broker.account.cash = Some(vec![cash(Currency::USD, "999")]));
    assert_eq!(denied(&tight(), &facts, &buy("5")), []);
    facts.own.orders = vec![unlisted(&other, 7)];
    assert_eq!(denied(&tight(), &facts, &buy("5")), [Gate::MarginLoan]);
    let gross = policy(|l| l.max_gross = dec("999"));
    assert!(denied(&gross, &facts, &buy("5")).contains(&Gate::GrossExposure));
    // Once the broker lists it, it counts once.
    facts.broker.account.orders = vec![BrokerOrder {
        conid: Conid::new(7).unwrap(),
        reference: ClientOrderId::parse("ia7").ok(),
        quantity: Some(dec("4.99")),
        ..open("1", Side::Buy, BrokerOrderType::Limit, "100")
    }];
    assert_eq!(denied(&tight(), &facts, &buy("5")), []);
    let crossing = with(|f| f.own.orders = vec![unlisted(&sell("5"), 265_598)]);
    assert_eq!(denied(&tight(), &crossing, &buy("5")), [Gate::SelfMatch]);
    let mut closing = holding("20");
    closing.own.orders = vec![unlisted(&buy("5"), 265_598)];
    assert_eq!(denied(&tight(), &closing, &sell("5")), [], "a way out");
    let apart = with(|f| {
        f.own.orders = vec![unlisted(&draft(Side::Sell, "5", "100.01"), 265_598)];
    });
    assert_eq!(denied(&tight(), &apart, &buy("5")), []);
}

#[test]
fn a_cash_account_spends_its_cash_once() {
    let facts = with(|f| {
        f.broker.account.cash = Some(vec![cash(Currency::USD, "400")]);
        f.broker.account.is_cash_account = Some(true);
    });
    assert_eq!(denied(&tight(), &facts, &buy("4")), []);
    assert_eq!(denied(&tight(), &facts, &buy("5")), [Gate::MarginLoan]);
}

#[test]
fn a_symbol_with_a_space_is_read_whole_and_an_unknown_class_of_another_is_no_matter() {
    let judge = |symbol: &'static str, held_as: &str, class| {
        let mut facts = holding("20");
        let beside = Position { class, ..held(9, held_as, AssetClass::Option, "-1") };
        facts.broker.account.positions.push(beside);
        let order = Draft { symbol, ..sell("11") };
        check(&tight(), &facts, &order, Gate::Quantity).is_denied()
    };
    let option = Some(AssetClass::Option);
    assert!(judge("BRK B", "BRK B JAN2027 500 C", option), "the sale uncovers a call");
    assert!(!judge("BRK B", "BRK A JAN2027 500 C", option));
    assert!(!judge("AAPL", "AAPLX JAN2027 500 C", option));
    assert!(judge("AAPL", "AAPL something", None));
    assert!(!judge("AAPL", "US-T BILL 2027", None));
}
