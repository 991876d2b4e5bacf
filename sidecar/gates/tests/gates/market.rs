//! Gates that hold an order against the market, the contract's rules and the policy's lists.

use super::support::{Draft, NOW, check, dec, denied, facts, open_for, quote, rules};
use super::whole::{buy, draft, nearest, policy, tight, with};
use core::time::Duration;
use ibkr_agent_domain::{Currency, PriceStep, Side, TradingHours};
use ibkr_agent_gates::{Facts, Gate, MarketHours, Policy, PolicyLimits, Verdict};
use rust_decimal::Decimal;

#[test]
fn a_wide_a_crossed_and_a_halted_market_are_none() {
    let market = |bid: &str, ask: &str| {
        with(|f| {
            let mut quote = quote();
            (quote.bid, quote.ask) = (Some(dec(bid)), Some(dec(ask)));
            f.broker.quote = Some(quote);
        })
    };
    let spread = policy(|l| l.max_spread_percent = dec("2"));
    let judge = |facts: &Facts| check(&spread, facts, &buy("5"), Gate::Spread);
    assert!(!judge(&market("99", "101")).is_denied());
    assert!(judge(&market("98.99", "101")).is_denied());
    assert!(judge(&market("101.01", "99")).is_denied());
    assert_eq!(judge(&market("1", "200")).observed, "1 to 200: 198.01 %");
    let halted = with(|f| f.broker.quote.as_mut().unwrap().halted = Some(true));
    assert_eq!(denied(&tight(), &halted, &buy("5")), [Gate::Halted]);
}

#[test]
fn the_tightest_of_touch_middle_and_last_decides() {
    let collars = policy(|l| {
        l.mid_percent = dec("3");
        l.last_percent = dec("5");
    });
    let quoted = |bid: &str, ask: &str, last: Option<&str>, close: Option<&str>| {
        with(|f| {
            let mut quote = quote();
            (quote.bid, quote.ask) = (Some(dec(bid)), Some(dec(ask)));
            (quote.last, quote.close) = (last.map(dec), close.map(dec));
            f.broker.quote = Some(quote);
        })
    };
    let judge = |facts: &Facts, draft: &Draft| check(&collars, facts, draft, Gate::PriceCollar);
    // Bid 1, ask 200: at the ask it is 0 % beyond the touch and 99 % beyond the middle.
    let found = judge(&quoted("1", "200", Some("200"), None), &draft(Side::Buy, "5", "200"));
    assert!(found.is_denied());
    assert_eq!(found.rule, Some("price.mid_percent"));
    assert_eq!(found.observed, "200 is 99 % beyond the middle 100.5");
    assert_eq!(nearest(&found), "a limit of at most 103.515");
    let last = quoted("100", "100", Some("90"), Some("100"));
    let found = judge(&last, &draft(Side::Buy, "5", "100"));
    assert_eq!((found.is_denied(), found.rule), (true, Some("price.last_percent")));
    assert!(!judge(&last, &draft(Side::Buy, "5", "94.5")).is_denied());
    assert!(judge(&last, &draft(Side::Buy, "5", "94.51")).is_denied());
    let close = quoted("100", "100", None, Some("90"));
    assert!(judge(&close, &draft(Side::Buy, "5", "94.51")).is_denied());
    let sell = quoted("100", "100", Some("110"), None);
    let found = judge(&sell, &draft(Side::Sell, "5", "104.49"));
    assert_eq!((found.is_denied(), nearest(&found)), (true, "a limit of at least 104.5"));
    assert!(!judge(&sell, &draft(Side::Sell, "5", "104.5")).is_denied());
}

#[test]
fn a_closed_market_is_the_policys_to_allow() {
    let at = |rule| policy(|l| l.market_hours = rule);
    let closed: TradingHours = {
        let mut hours = open_for(Duration::from_secs(3600));
        let span = hours.days[0].regular[0];
        hours.days[0].regular[0].opens = span.closes;
        hours.days[0].regular[0].closes = span.closes.plus(Duration::from_secs(60));
        hours
    };
    let extended = {
        let mut hours = closed.clone();
        let span = open_for(Duration::from_secs(60)).days[0].regular[0];
        hours.days[0].extended.push(span);
        hours
    };
    let over = open_for(Duration::ZERO);
    let (no, yes, told) = (false, true, Verdict::Warned);
    for (rule, hours, passes) in [
        (MarketHours::Regular, &closed, no),
        (MarketHours::Regular, &extended, no),
        (MarketHours::Extended, &closed, no),
        (MarketHours::Extended, &extended, yes),
        (MarketHours::Any, &closed, yes),
        (MarketHours::Regular, &over, yes),
    ] {
        let facts = with(|f| f.broker.hours = Some(hours.clone()));
        let found = check(&at(rule), &facts, &buy("5"), Gate::MarketHours);
        assert_eq!(!found.is_denied(), passes, "{rule:?}: {found:?}");
        assert!(!passes || found.verdict == told, "{rule:?}: it waits, and says so");
    }
    let open = check(&at(MarketHours::Regular), &facts(), &buy("5"), Gate::MarketHours);
    assert_eq!(open.verdict, Verdict::Passed);
    let untold = with(|f| f.broker.hours = None);
    let found = check(&at(MarketHours::Regular), &untold, &buy("5"), Gate::MarketHours);
    assert_eq!(found.verdict, told);
}

#[test]
fn prices_and_quantities_are_the_contracts() {
    let ladder = with(|f| {
        let mut rules = rules();
        let step = |from: &str, step: &str| PriceStep { from: dec(from), step: dec(step) };
        rules.price_steps = vec![step("0", "0.0001"), step("1", "0.01"), step("100", "0.05")];
        f.broker.rules = Some(rules);
    });
    let wide = policy(|l| l.collar_percent = dec("1000"));
    for (price, passes) in [("0.9999", true), ("1.001", false), ("99.99", true), ("100.01", false)]
    {
        let found = check(&wide, &ladder, &draft(Side::Buy, "5", price), Gate::PriceStep);
        assert_eq!(!found.is_denied(), passes, "{price}");
    }
    let found = check(&wide, &ladder, &draft(Side::Buy, "5", "100.07"), Gate::PriceStep);
    assert_eq!(
        (found.limit.as_str(), nearest(&found)),
        ("a multiple of 0.05", "100.05 would pass")
    );
    let found = check(&wide, &ladder, &draft(Side::Sell, "5", "100.07"), Gate::PriceStep);
    assert_eq!(nearest(&found), "100.1 would pass");
    let untold = with(|f| f.broker.rules = None);
    assert_eq!(check(&wide, &untold, &buy("5"), Gate::PriceStep).verdict, Verdict::Warned);
    let whole = policy(|l| l.fractions = false);
    let found = check(&whole, &facts(), &buy("2.5"), Gate::SizeStep);
    assert_eq!((found.is_denied(), found.rule), (true, Some("orders.fractions")));
    assert_eq!(nearest(&found), "2 would pass");
    assert!(check(&whole, &facts(), &buy("0.00000001"), Gate::SizeStep).is_denied());
    assert!(!check(&tight(), &facts(), &buy("2.5"), Gate::SizeStep).is_denied());
    let units = with(|f| f.broker.rules.as_mut().unwrap().takes_fractions = false);
    let found = check(&tight(), &units, &buy("2.5"), Gate::SizeStep);
    assert_eq!((found.is_denied(), found.rule), (true, None));
    assert!(!check(&tight(), &units, &buy("2"), Gate::SizeStep).is_denied());
    let field =
        with(|f| f.broker.rules.as_mut().unwrap().size_increment = Some(Decimal::ONE_HUNDRED));
    assert_eq!(check(&tight(), &field, &buy("5"), Gate::SizeStep).verdict, Verdict::Passed);
}

#[test]
fn lists_of_the_policy_hold_currency_route_and_form() {
    let eur = Currency::parse("EUR").unwrap();
    type Change = fn(&mut PolicyLimits, Currency);
    let rows: [(Gate, &str, Change); 5] = [
        (Gate::Venue, "instruments.currencies", |l, eur| l.currencies = Some([eur].into())),
        (Gate::Venue, "instruments.exchanges", |l, _| {
            l.exchanges = Some(["NYSE".to_owned()].into())
        }),
        (Gate::OrderForm, "orders.types", |l, _| l.order_types.clear()),
        (Gate::OrderForm, "orders.time_in_force", |l, _| l.times_in_force.clear()),
        (Gate::AssetClass, "instruments.classes", |l, _| l.asset_classes.clear()),
    ];
    for (gate, rule, change) in rows {
        let strict = policy(|l| change(l, eur));
        assert_eq!(denied(&strict, &facts(), &buy("5")), [gate], "{rule}");
        let found = check(&strict, &facts(), &buy("5"), gate);
        assert_eq!(found.rule, Some(rule));
        assert!(found.how_to_allow().unwrap().contains(rule));
    }
    let own = policy(|l| {
        l.currencies = Some([Currency::USD].into());
        l.exchanges = Some(["SMART".to_owned()].into());
    });
    assert_eq!(denied(&own, &facts(), &buy("5")), []);
}

#[test]
fn the_closed_policy_denies_and_the_tight_one_holds_every_gate() {
    let closed = Policy::new(PolicyLimits::closed()).unwrap();
    assert!(!denied(&closed, &facts(), &buy("1")).is_empty());
    let checks = ibkr_agent_gates::check_plan(&tight(), &facts(), &buy("1").order().into(), NOW);
    let judged: std::collections::BTreeSet<Gate> = checks.iter().map(|check| check.gate).collect();
    assert_eq!(judged.len(), checks.len(), "one check a gate");
    // The approval's two come with a submission, and a relation with a group.
    let others = [Gate::Approval, Gate::Drift, Gate::Relation];
    let missing: Vec<&Gate> = Gate::ALL.iter().filter(|gate| !judged.contains(gate)).collect();
    assert_eq!(missing, others.iter().collect::<Vec<_>>());
}
