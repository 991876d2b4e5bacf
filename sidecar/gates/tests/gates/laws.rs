//! Laws over arbitrary policies, facts and orders.

use super::support::{Draft, NOW, account, cash, decide, denied, estimate, facts, limits};
use super::tighter::{keys, tighten};
use core::time::Duration;
use ibkr_agent_domain::{
    AssetClass, BrokerOrder, BrokerOrderId, BrokerOrderStatus, BrokerOrderType, ClientOrderId,
    Conid, Currency, DataStatus, Mode, Money, OrderState, SessionState, Side, Timestamp, WhatIf,
};
use ibkr_agent_gates::{Facts, Gate, OwnOrder, Policy, PolicyLimits};
use proptest::prelude::*;
use rust_decimal::Decimal;

/// Gates from which an order that only reduces a position is exempt.
const EXEMPT: [Gate; 17] = [
    Gate::InDoubt,
    Gate::Quantity,
    Gate::Notional,
    Gate::BuyingPower,
    Gate::MarginLoan,
    Gate::ExcessLiquidity,
    Gate::MarginUse,
    Gate::PositionNotional,
    Gate::Concentration,
    Gate::GrossExposure,
    Gate::DayLoss,
    Gate::OpenOrders,
    Gate::Frequency,
    Gate::Messages,
    Gate::SameExecution,
    Gate::OrdersPerDay,
    Gate::NotionalPerDay,
];

fn cents(range: core::ops::Range<i64>) -> impl Strategy<Value = Decimal> {
    range.prop_map(|cents| Decimal::new(cents, 2))
}

prop_compose! {
    fn some_limits()(
        quantity in 1_i64..3_000,
        notional in 1_i64..300_000,
        collar in 1_i64..500,
        age in 1_u64..120,
        drift in 1_i64..300,
        counts in (0_u32..6, 0_u32..8),
        day in 1_i64..600_000,
        lists in (any::<bool>(), any::<bool>(), any::<bool>()),
    ) -> PolicyLimits {
        let mut some = limits();
        some.max_quantity = Decimal::new(quantity, 2);
        some.max_notional.amount = Decimal::new(notional, 2);
        some.collar_percent = Decimal::new(collar, 2);
        some.max_quote_age = Duration::from_secs(age);
        some.max_drift_percent = Decimal::new(drift, 2);
        (some.max_orders_per_minute, some.max_orders_per_day) = counts;
        some.max_notional_per_day.amount = Decimal::new(day, 2);
        if lists.0 {
            some.allowed_symbols = None;
        }
        if lists.1 {
            some.delayed_data_modes.clear();
        }
        if lists.2 {
            some.denied_symbols.clear();
        }
        some
    }
}

fn some_status() -> impl Strategy<Value = DataStatus> {
    prop_oneof![
        4 => Just(DataStatus::RealTime),
        1 => Just(DataStatus::Delayed),
        1 => Just(DataStatus::Frozen),
        1 => Just(DataStatus::NotSubscribed),
    ]
}

prop_compose! {
    fn some_facts()(
        prices in (cents(9_500..10_500), cents(9_500..10_500)),
        status in some_status(),
        age in -40_000_i64..130_000,
        skew in proptest::option::of(-40_000_i64..40_000),
        position in -30_i64..30,
        working in 0_i64..10,
        rate in proptest::option::of(cents(-10..300)),
        used in (0_u32..5, 0_u32..7, 0_i64..400_000),
        switches in (0_u8..8, 0_u8..8, 0_u8..8),
        ready in 0_u8..8,
    ) -> Facts {
        let mut some = facts();
        let quote = some.broker.quote.as_mut().unwrap();
        (quote.bid, quote.ask) = (Some(prices.0), Some(prices.1));
        quote.status = status;
        quote.updated = Some(Timestamp::from_millis(NOW.as_millis() - age));
        some.broker.clock_skew_ms = skew;
        some.broker.position = Decimal::from(position);
        some.broker.working_same_side = Decimal::from(working);
        some.broker.policy_currency_rate = rate;
        (some.own.orders_last_minute, some.own.orders_today) = (used.0, used.1);
        some.own.notional_today = Decimal::new(used.2, 2);
        some.own.switches.halted = switches.0 == 0;
        some.own.switches.audit_writable = switches.1 != 0;
        some.own.in_doubt = switches.2 == 0;
        if ready == 0 {
            some.broker.session = SessionState::Competing;
        }
        some
    }
}

prop_compose! {
    fn some_draft()(
        symbol in prop_oneof![4 => Just("AAPL"), 1 => Just("MSFT"), 1 => Just("TSLA")],
        class in prop_oneof![5 => Just(AssetClass::Stock), 1 => Just(AssetClass::Option)],
        mode in prop_oneof![5 => Just(Mode::Paper), 1 => Just(Mode::Simulated)],
        side in prop_oneof![Just(Side::Buy), Just(Side::Sell)],
        quantity in 1_i64..40,
        limit in cents(9_000..11_000),
    ) -> Draft {
        Draft {
            symbol, class, mode, side, limit,
            quantity: Decimal::from(quantity),
            ..Draft::default()
        }
    }
}

prop_compose! {
    /// Facts of the whole account, near the limits of its gates.
    fn some_world()(
        facts in some_facts(),
        money in (0_i64..400_000, -200_000_i64..100, 100_000_i64..4_000_000),
        margins in (0_i64..900_000, proptest::option::of(0_i64..900_000)),
        market in (0_u8..6, 0_u8..6, any::<bool>()),
        used in (0_u32..30, 0_i64..130),
        working in proptest::option::of((any::<bool>(), 9_000_i64..11_000)),
        draft in some_draft(),
    ) -> (Facts, Draft) {
        let mut some = facts;
        let dollars = |cents: i64| Money::new(Decimal::new(cents, 2), Currency::USD);
        let account = &mut some.broker.account;
        account.cash = Some(vec![cash(Currency::USD, &Decimal::new(money.0, 2).to_string())]);
        account.daily_profit = Some(dollars(money.1));
        account.net_liquidation = Some(dollars(money.2));
        some.broker.what_if = margins.1.map(|margin| {
            let mut told = estimate();
            told.equity.after = Some(Decimal::from(1_000_000));
            told.initial_margin.after = Some(Decimal::from(margins.0));
            told.maintenance_margin.after = Some(Decimal::from(margin));
            WhatIf::Estimated(Box::new(told))
        });
        some.broker.quote.as_mut().unwrap().halted = Some(market.0 == 0);
        if market.1 == 0 {
            some.broker.hours = None;
        }
        some.own.messages_last_minute = used.0;
        let order = draft.order();
        some.own.orders = vec![OwnOrder {
            id: ClientOrderId::parse("ia7").unwrap(),
            order_id: None,
            conid: order.conid(),
            terms: order.terms().clone(),
            state: if market.2 { OrderState::Filled } else { OrderState::Cancelled },
            created_at: Timestamp::from_millis(NOW.as_millis() - used.1 * 1_000),
        }];
        account_orders(&mut some, working);
        (some, draft)
    }
}

fn account_orders(some: &mut Facts, working: Option<(bool, i64)>) {
    let Some((sells, price)) = working else { return };
    let id = BrokerOrderId::parse("1").unwrap();
    some.broker.account.orders = vec![BrokerOrder {
        side: Some(if sells { Side::Sell } else { Side::Buy }),
        quantity: Some(Decimal::ONE),
        order_type: BrokerOrderType::Limit,
        limit_price: Some(Decimal::new(price, 2)),
        status: BrokerOrderStatus::Submitted,
        ..BrokerOrder::of(id, account(), Conid::new(265_598).unwrap())
    }];
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn tightening_any_key_never_turns_denied_into_permitted(
        loose in some_limits(), (facts, draft) in some_world(),
        which in proptest::sample::select(keys()),
    ) {
        let mut tight = loose.clone();
        tighten(&mut tight, which);
        let (loose, tight) = (Policy::new(loose).unwrap(), Policy::new(tight).unwrap());
        let (before, after) = (denied(&loose, &facts, &draft), denied(&tight, &facts, &draft));
        for gate in &before {
            prop_assert!(after.contains(gate), "{which}: {gate:?} no longer denies");
        }
    }

    #[test]
    fn more_use_of_a_limit_never_turns_denied_into_permitted(
        limits in some_limits(), facts in some_facts(), draft in some_draft(), more in 0_u32..5,
    ) {
        let policy = Policy::new(limits).unwrap();
        let mut later = facts.clone();
        later.own.orders_today += more;
        later.own.orders_last_minute += more;
        later.own.notional_today += Decimal::from(more);
        let (before, after) = (denied(&policy, &facts, &draft), denied(&policy, &later, &draft));
        prop_assert!(before.iter().all(|gate| after.contains(gate)));
    }

    #[test]
    fn a_reducing_order_is_exempt_from_doubt_value_and_count_limits_and_from_nothing_else(
        limits in some_limits(), mut facts in some_facts(), draft in some_draft(),
    ) {
        let policy = Policy::new(limits).unwrap();
        let cover = draft.quantity + facts.broker.working_same_side;
        facts.broker.position = match draft.side { Side::Buy => -cover, Side::Sell => cover };
        let reducing = denied(&policy, &facts, &draft);
        facts.broker.position = Decimal::ZERO;
        let opening = denied(&policy, &facts, &draft);
        let kept: Vec<Gate> = opening.into_iter().filter(|g| !EXEMPT.contains(g)).collect();
        prop_assert_eq!(reducing, kept);
    }

    #[test]
    fn what_is_permitted_keeps_every_limit(
        limits in some_limits(), facts in some_facts(), draft in some_draft(),
    ) {
        let policy = Policy::new(limits.clone()).unwrap();
        let Ok(permit) = decide(&policy, &facts, &draft) else { return Ok(()) };
        prop_assert_eq!(permit.action().plan().digest(), draft.order().digest());
        prop_assert!(!facts.own.switches.halted && facts.own.switches.audit_writable);
        prop_assert!(facts.broker.clock_skew_ms.unwrap().abs() <= 30_000);
        prop_assert!(limits.modes.contains(&draft.mode));
        let quote = facts.broker.quote.as_ref().unwrap();
        let aggressive = match draft.side {
            Side::Buy => draft.limit / quote.ask.unwrap(),
            Side::Sell => Decimal::TWO - draft.limit / quote.bid.unwrap(),
        };
        let most = Decimal::ONE + limits.collar_percent / Decimal::ONE_HUNDRED;
        prop_assert!(aggressive <= most + Decimal::new(1, 20));
        let covered = match draft.side {
            Side::Buy => -facts.broker.position,
            Side::Sell => facts.broker.position,
        };
        if facts.broker.working_same_side + draft.quantity > covered {
            let value = draft.limit * draft.quantity * facts.broker.policy_currency_rate.unwrap();
            prop_assert!(!facts.own.in_doubt);
            prop_assert!(value > Decimal::ZERO);
            prop_assert!(draft.quantity <= limits.max_quantity);
            prop_assert!(value <= limits.max_notional.amount);
            prop_assert!(value + facts.own.notional_today <= limits.max_notional_per_day.amount);
            prop_assert!(facts.own.orders_today < limits.max_orders_per_day);
            prop_assert!(facts.own.orders_last_minute < limits.max_orders_per_minute);
        }
    }

    #[test]
    fn every_change_of_a_limit_changes_the_policys_hash(
        limits in some_limits(), which in proptest::sample::select(keys()),
    ) {
        let mut changed = limits.clone();
        tighten(&mut changed, which);
        let same = Policy::new(changed.clone()).unwrap().entries()
            == Policy::new(limits.clone()).unwrap().entries();
        let (before, after) = (Policy::new(limits).unwrap(), Policy::new(changed).unwrap());
        prop_assert_eq!(before.hash() == after.hash(), same);
    }
}
