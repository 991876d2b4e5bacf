//! Whose an approval or an order of ours is, and whose an order is that the broker shows.

use super::bench::{Bench, LOCAL, OPERATOR, account};
use super::reasons::{edit_row, sent};
use ibkr_agent_audit::StoreFailure;
use ibkr_agent_domain::{
    AccountId, Actor, BrokerOrder, BrokerOrderId, BrokerOrderStatus, ClientOrderId, Conid, Side,
    Untrusted,
};
use ibkr_agent_engine::{Answer, Input, Owner, PlaceReport, Row, Whose, store};

/// An order that the broker took as its 77.
fn taken(bench: &mut Bench) -> ClientOrderId {
    let order = sent(bench, false);
    let report = PlaceReport::Placed {
        order_id: BrokerOrderId::parse("77").unwrap(),
        status: BrokerOrderStatus::Submitted,
        message: String::new(),
    };
    bench.feed(Input::PlaceDone { order: order.clone(), report });
    bench.commit();
    order
}

fn row(reference: Option<&str>, id: &str, account: AccountId, conid: u64) -> BrokerOrder {
    BrokerOrder {
        reference: reference.map(|text| ClientOrderId::parse(text).unwrap()),
        side: Some(Side::Buy),
        ..BrokerOrder::of(BrokerOrderId::parse(id).unwrap(), account, Conid::new(conid).unwrap())
    }
}

fn told(bench: &Bench, row: &BrokerOrder) -> &'static str {
    match bench.engine.whose_order(row) {
        Whose::Ours(_) => "ours",
        Whose::Unsure => "unsure",
        Whose::Foreign => "foreign",
    }
}

#[test]
fn an_order_at_the_broker_is_ours_only_by_its_reference_or_by_its_id_on_the_same_contract() {
    const OURS: u64 = 265_598;
    let mut bench = Bench::new();
    let order = taken(&mut bench);
    let reference = Some(order.as_str());
    for (what, row, expected) in [
        ("by its reference", row(reference, "99", account("DU1"), OURS), "ours"),
        ("by its id", row(None, "77", account("DU1"), OURS), "ours"),
        ("an id used again", row(None, "77", account("DU1"), 8314), "foreign"),
        ("its reference elsewhere", row(reference, "77", account("DU1"), 8314), "foreign"),
        ("another's account", row(None, "77", account("DU2"), OURS), "foreign"),
        ("another reference", row(Some("web-1"), "77", account("DU1"), OURS), "foreign"),
        ("another id", row(None, "78", account("DU1"), OURS), "foreign"),
        (
            "the other side",
            BrokerOrder { side: Some(Side::Sell), ..row(None, "77", account("DU1"), OURS) },
            "foreign",
        ),
    ] {
        assert_eq!(told(&bench, &row), expected, "{what}");
    }
    // While one of ours has no id yet, one without a reference may be it.
    sent(&mut bench, false);
    let nameless = row(None, "78", account("DU1"), OURS);
    assert_eq!(told(&bench, &nameless), "unsure");
    assert_eq!(told(&bench, &row(Some("web-1"), "78", account("DU1"), OURS)), "foreign");
}

#[test]
fn owners_come_back_from_their_text_and_are_who_proved_it() {
    let token = Actor::token("https://issuer.example", "auth0|alice", Some("client"));
    let same = Actor::token("https://issuer.example", "auth0|alice", None);
    let local = Actor::Local { client: Untrusted::new("agent") };
    let refused = Actor::Unauthenticated { claimed: Untrusted::new("local") };
    assert_eq!(Owner::of(&token), Owner::of(&same));
    for (actor, text) in [
        (token, "https://issuer.example|auth0|alice"),
        (local, "local"),
        (Actor::Operator { key: None }, "local"),
        (Actor::System, "local"),
        (refused, "nobody"),
    ] {
        let owner = Owner::of(&actor);
        assert_eq!(owner.to_string(), text);
        assert_eq!(Owner::parse(text), Some(owner));
    }
    for text in ["", "Local", "alice"] {
        assert_eq!(Owner::parse(text), None, "{text}");
    }
}

#[test]
fn a_row_whose_owner_cannot_be_read_stops_the_start() {
    let mut bench = Bench::new();
    let order = taken(&mut bench);
    edit_row(&bench, &order, |row| row["owner"] = "somebody".into());
    let restored = store::restore(&bench.ledger.snapshot().unwrap());
    assert!(matches!(restored, Err(StoreFailure::Damaged)));
}

#[test]
fn a_cancel_of_another_callers_order_is_refused_like_one_of_an_order_that_does_not_exist() {
    let mut bench = Bench::new();
    let order = taken(&mut bench);
    let mut entry = bench.entry(&order);
    entry.owner = Owner::parse("https://issuer.example|alice").unwrap();
    bench.edit(vec![Row::Order(Box::new(entry))]);
    let mut refused = Vec::new();
    for id in ["77", "78"] {
        let ticket = bench.cancel(LOCAL, "DU1", id);
        bench.commit();
        let Some(Answer::Refused(refusal)) = bench.answer(ticket) else { panic!("{id}") };
        refused.push(refusal.clone());
    }
    assert_eq!(refused[0], refused[1]);
    assert_eq!(bench.cancels(), []);
    bench.cancel(OPERATOR, "DU1", "77");
    bench.commit();
    assert_eq!(bench.cancels().len(), 1, "an operator cancels whosever it is");
}
