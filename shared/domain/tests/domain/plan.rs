//! Orders that belong together: what makes a plan, and its bytes, fixed in `fixtures/canonical`.

use super::orders::{draft, quantity};
use core::num::NonZeroU8;
use ibkr_agent_domain::{
    AccountId, CanonicalOrder, Conid, ContractIdentity, Digest, InvalidPlan, Leg, OrderPlan,
    OrderType, Shape, Side,
};
use std::path::PathBuf;

fn order(side: Side, order_type: OrderType, size: &str) -> CanonicalOrder {
    let mut draft = draft(order_type, ContractIdentity::Stock);
    draft.terms.side = side;
    draft.terms.quantity = quantity(size);
    draft.order().unwrap()
}

fn entry() -> CanonicalOrder {
    order(Side::Buy, OrderType::Limit, "3")
}

fn exits() -> Vec<CanonicalOrder> {
    vec![order(Side::Sell, OrderType::Stop, "3"), order(Side::Sell, OrderType::Limit, "3")]
}

fn plans() -> [(&'static str, OrderPlan); 3] {
    let one_exit = exits().into_iter().take(1).collect();
    [
        ("bracket-v2.txt", OrderPlan::bracket(entry(), exits()).unwrap()),
        ("bracket_of_two-v2.txt", OrderPlan::bracket(entry(), one_exit).unwrap()),
        ("one_cancels_all-v2.txt", OrderPlan::one_cancels_all(exits()).unwrap()),
    ]
}

#[test]
fn the_bytes_of_each_relation_are_the_recorded_ones_and_read_back() {
    for (name, plan) in plans() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/canonical");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path.join(name), plan.canonical_bytes()).unwrap();
        }
        let expected = std::fs::read_to_string(path.join(name)).unwrap();
        assert_eq!(String::from_utf8_lossy(&plan.canonical_bytes()), expected, "{name}");
        assert_eq!(plan.digest(), Digest::of(expected.as_bytes()));
        assert_eq!(OrderPlan::parse(&expected), Ok(plan), "{name}");
    }
}

#[test]
fn a_single_orders_plan_has_the_orders_own_bytes() {
    let plan = OrderPlan::single(entry());
    assert_eq!(plan.canonical_bytes(), entry().canonical_bytes());
    assert_eq!(plan.digest(), entry().digest());
    let text = String::from_utf8(entry().canonical_bytes()).unwrap();
    assert_eq!(OrderPlan::parse(&text), Ok(plan.clone()));
    assert_eq!(plan.shape(), Shape::Single(&entry()));
    assert_eq!(plan.legs().collect::<Vec<_>>(), [(Leg::SOLE, &entry())]);
    assert_eq!(plan.summary(), entry().summary());
}

#[test]
fn no_two_plans_share_bytes_and_nothing_else_reads_as_one() {
    let mut digests: Vec<Digest> = plans().iter().map(|(_, plan)| plan.digest()).collect();
    digests.extend(exits().iter().chain([&entry()]).map(CanonicalOrder::digest));
    let reversed = exits().into_iter().rev().collect();
    digests.push(OrderPlan::bracket(entry(), reversed).unwrap().digest());
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
    for (_, plan) in plans() {
        let text = String::from_utf8(plan.canonical_bytes()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for gone in 0..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(gone);
            let fewer = format!("{}\n", fewer.join("\n"));
            let parsed = OrderPlan::parse(&fewer);
            assert_eq!(parsed, Err(InvalidPlan::NotCanonical), "without {}", lines[gone]);
        }
        for (from, to) in [("relation=", "relation=x"), ("leg.2.", "leg.3."), ("leg.1.", "leg.0.")]
        {
            let parsed = OrderPlan::parse(&text.replace(from, to));
            assert_eq!(parsed, Err(InvalidPlan::NotCanonical), "{from} as {to}");
        }
        assert!(OrderPlan::parse(&format!("{text}note=1\n")).is_err());
    }
}

#[test]
fn what_doesnt_belong_together_is_no_plan() {
    let bracket = |exits| OrderPlan::bracket(entry(), exits).err();
    assert_eq!(bracket(Vec::new()), Some(InvalidPlan::Legs));
    assert_eq!(bracket([exits(), exits()].concat()), Some(InvalidPlan::Legs));
    let larger = order(Side::Sell, OrderType::Stop, "4");
    assert_eq!(bracket(vec![larger]), Some(InvalidPlan::Exit));
    assert_eq!(bracket(vec![entry()]), Some(InvalidPlan::Exit));
    let mut other = draft(OrderType::Stop, ContractIdentity::Stock);
    other.terms.side = Side::Sell;
    other.terms.quantity = quantity("3");
    other.contract.conid = Conid::new(1).unwrap();
    assert_eq!(bracket(vec![other.order().unwrap()]), Some(InvalidPlan::Exit));
    let mut elsewhere = draft(OrderType::Stop, ContractIdentity::Stock);
    elsewhere.target.account = AccountId::parse("DU7654321").unwrap();
    let elsewhere = elsewhere.order().unwrap();
    let group = |orders| OrderPlan::one_cancels_all(orders).err();
    assert_eq!(group(vec![entry(), elsewhere]), Some(InvalidPlan::Target));
    assert_eq!(group(vec![entry()]), Some(InvalidPlan::Legs));
    assert_eq!(group(vec![entry(); 9]), Some(InvalidPlan::Legs));
    assert_eq!(group(vec![entry(); 8]), None);
    let old = entry().in_form_1().unwrap();
    assert_eq!(group(vec![old, entry()]), Some(InvalidPlan::Form));
}

#[test]
fn each_order_of_a_plan_has_a_place_and_none_lies_beyond_them() {
    let (_, plan) = &plans()[0];
    let places: Vec<(u8, u8)> =
        plan.legs().map(|(leg, _)| (leg.number(), leg.of().get())).collect();
    assert_eq!(places, [(0, 3), (1, 3), (2, 3)]);
    let two = NonZeroU8::new(2).unwrap();
    assert!(Leg::new(1, two).is_some());
    assert_eq!(Leg::new(2, two), None);
}
