//! Attacks by somebody who can write the store: a status, a field, a key. None of them is a yes.

use super::bench::{Bench, LOCAL, account, approval_of, order_of, refusal_of};
use crate::signing;
use ibkr_agent_domain::{
    Actor, ApprovalId, Digest, Door, ErrorCode, OperatorSignature, OrderState, PreviewId,
    RecordKind, Side, SidecarId, Timestamp, UnknownBecause, Untrusted,
};
use ibkr_agent_engine::{
    ApprovalEntry, ApprovalStatus, Asked, Effect, Owner, Row, Signed, Submission,
};
use ibkr_agent_engine::{Input, OperatorAct, PlaceReport};
use rust_decimal::Decimal;

/// Submits, as the approval's own caller would, and says why it was refused. Nothing may leave,
/// and the refusal is in the log.
fn refused(bench: &mut Bench, approval: &ApprovalId) -> Option<ErrorCode> {
    let facts = bench.facts();
    let ticket = bench.submit_on(approval, facts);
    let code = refusal_of(bench, ticket);
    let sent = bench.taken(|effect| matches!(effect, Effect::Place(_)));
    assert!(sent.is_empty() || code.is_none(), "refused and sent");
    if let Some(code) = code {
        let newest = bench.newest_record();
        assert_eq!(newest.kind, RecordKind::Refused.as_str());
        assert_eq!(newest.codes, [code.as_str()]);
    }
    code
}

#[test]
fn a_row_marked_as_approved_is_no_yes() {
    let mut bench = Bench::new();
    let approval = bench.asked_at(Side::Buy, 5, 0);
    let mut row = approval_of(&bench, &approval);
    row.status = ApprovalStatus::Approved;
    bench.edit(vec![Row::Approval(Box::new(row.clone()))]);
    assert_eq!(refused(&mut bench, &approval), Some(ErrorCode::ApprovalUnsigned));
    // A key's name in it makes it none.
    row.approved_by = Some(signing::entry_of(&signing::KEY).id);
    bench.edit(vec![Row::Approval(Box::new(row.clone()))]);
    assert_eq!(refused(&mut bench, &approval), Some(ErrorCode::ApprovalUnsigned));
    // Nor does taking away what the signature would cover.
    row.asked = None;
    bench.edit(vec![Row::Approval(Box::new(row))]);
    assert_eq!(refused(&mut bench, &approval), Some(ErrorCode::ApprovalUnsigned));
}

#[test]
fn the_signature_of_another_approval_is_no_yes() {
    let mut bench = Bench::new();
    let given = bench.approved_at(Side::Buy, 5, 0);
    let asked = bench.asked_at(Side::Buy, 5, 0);
    let signed = approval_of(&bench, &given);
    let row = ApprovalEntry {
        status: ApprovalStatus::Approved,
        approved_by: signed.approved_by,
        signed: signed.signed,
        ..approval_of(&bench, &asked)
    };
    bench.edit(vec![Row::Approval(Box::new(row))]);
    assert_eq!(refused(&mut bench, &asked), Some(ErrorCode::ApprovalUnsigned));
    assert_eq!(refused(&mut bench, &given), None, "the real one still holds");
}

fn asked(row: &mut ApprovalEntry) -> &mut Asked {
    row.asked.as_mut().unwrap()
}

/// What is altered, and how.
type Alteration = (&'static str, fn(&mut ApprovalEntry));

/// Every stored part of a given approval, altered one at a time.
fn alterations() -> Vec<Alteration> {
    vec![
        ("quantity", |row| row.plan = order_of("DU1", Side::Buy, 6).into()),
        ("side", |row| row.plan = order_of("DU1", Side::Sell, 5).into()),
        ("account", |row| row.plan = order_of("DU2", Side::Buy, 5).into()),
        ("preview", |row| row.preview = PreviewId::parse("pv-other").unwrap()),
        ("asked_by", |row| row.asked_by = "local:somebody".to_owned()),
        ("reference price", |row| row.reference_price = Some(Decimal::from(101))),
        ("no reference price", |row| row.reference_price = None),
        ("position", |row| row.position = Decimal::from(20)),
        ("warnings", |row| row.warnings = vec!["all is well".to_owned()]),
        ("created", |row| row.created_at = Timestamp::from_millis(1)),
        ("expiry", |row| row.expires_at = Timestamp::from_millis(i64::MAX / 2)),
        ("sidecar", |row| asked(row).sidecar = SidecarId::parse("another").unwrap()),
        ("requester", |row| {
            asked(row).requester = Actor::Local { client: Untrusted::new("other") };
            row.asked_by = "local:other".to_owned();
        }),
        ("door", |row| asked(row).door = Door::Relay),
        ("policy", |row| asked(row).policy = "other".to_owned()),
        ("policy's hash", |row| asked(row).policy_hash = Digest::of(b"other")),
        ("reference time", |row| asked(row).reference_time = None),
        ("drift", |row| asked(row).max_drift_percent = Decimal::from(50)),
        ("nonce", |row| asked(row).nonce = Digest::of(b"other")),
        ("key", |row| row.approved_by = Some(signing::entry_of(&[6; 32]).id)),
        ("signature", |row| {
            let public_key = signing::KEY;
            let signature = OperatorSignature::from_bytes([0; 64]);
            row.signed = Some(Signed { public_key, signature });
        }),
    ]
}

#[test]
fn an_approved_row_that_was_altered_in_any_part_is_refused() {
    for (part, alter) in alterations() {
        let mut bench = Bench::new();
        let approval = bench.approved_at(Side::Buy, 5, 0);
        let mut row = approval_of(&bench, &approval);
        alter(&mut row);
        bench.edit(vec![Row::Approval(Box::new(row))]);
        assert_eq!(
            refused(&mut bench, &approval),
            Some(ErrorCode::ApprovalUnsigned),
            "{part} was altered"
        );
    }
}

#[test]
fn an_approved_row_under_another_owner_is_refused_for_both() {
    let mut bench = Bench::new();
    let approval = bench.approved_at(Side::Buy, 5, 0);
    let mut row = approval_of(&bench, &approval);
    row.owner = Owner::parse("https://issuer.example|mallory").unwrap();
    bench.edit(vec![Row::Approval(Box::new(row))]);
    assert_eq!(refused(&mut bench, &approval), Some(ErrorCode::ApprovalNotFound));
    let mut caller = bench.caller(LOCAL);
    caller.requester.actor = Actor::token("https://issuer.example", "mallory", Some("agent"));
    let ticket = bench.ticket();
    let key = ibkr_agent_domain::IdempotencyKey::parse("mallory").unwrap();
    let submission = Submission { account: account("DU1"), approval, key };
    bench.feed(Input::Submit { ticket, caller, submission });
    bench.commit();
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::ApprovalUnsigned));
}

#[test]
fn a_key_that_no_record_enrolled_approves_nothing() {
    let forged = [6; 32];
    let mut bench = Bench::new();
    let approval = bench.asked_at(Side::Buy, 5, 0);
    let mut row = approval_of(&bench, &approval);
    let digest = row.terms().unwrap().digest();
    row.status = ApprovalStatus::Approved;
    row.approved_by = Some(signing::entry_of(&forged).id);
    let signature = signing::sign(&forged, &digest);
    row.signed = Some(Signed { public_key: forged, signature });
    bench.edit(vec![Row::OperatorKey(signing::entry_of(&forged)), Row::Approval(Box::new(row))]);
    assert_eq!(bench.engine.operator_keys().count(), 1, "the forged key was believed");
    assert_eq!(refused(&mut bench, &approval), Some(ErrorCode::ApprovalUnsigned));
    // The real key's row with another public key in it is no key either.
    let mut key = signing::entry_of(&signing::KEY);
    key.public_key = Digest::from_bytes(forged).to_string();
    bench.edit(vec![Row::OperatorKey(key)]);
    assert_eq!(bench.engine.operator_keys().count(), 0, "the altered key was believed");
}

#[test]
fn a_yes_that_was_taken_back_is_not_put_back_by_writing_a_status() {
    let mut bench = Bench::new();
    let approval = bench.approved_at(Side::Buy, 5, 0);
    bench.operate(OperatorAct::Deny { approval: approval.clone() });
    bench.commit();
    let mut row = approval_of(&bench, &approval);
    row.status = ApprovalStatus::Approved;
    bench.edit(vec![Row::Approval(Box::new(row))]);
    assert_eq!(refused(&mut bench, &approval), Some(ErrorCode::ApprovalUnsigned));
}

#[test]
fn a_yes_counts_only_if_an_enrolled_key_signed_exactly_this_approval() {
    let mut bench = Bench::new();
    let approval = bench.asked_at(Side::Buy, 5, 0);
    let other = bench.asked_at(Side::Buy, 5, 0);
    let digest = approval_of(&bench, &approval).terms().unwrap().digest();
    let order = approval_of(&bench, &approval).plan.digest();
    let others = approval_of(&bench, &other).terms().unwrap().digest();
    for (digest, key) in [(digest, [6; 32]), (order, signing::KEY), (others, signing::KEY)] {
        let ticket = bench.operate(signing::approve(&approval, digest, &key));
        bench.commit();
        assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::SignatureInvalid));
        assert_eq!(bench.newest_record().codes, ["SIGNATURE_INVALID"]);
        assert_eq!(approval_of(&bench, &approval).status, ApprovalStatus::Pending);
    }
    let ticket = bench.operate(signing::approve(&approval, digest, &signing::KEY));
    bench.commit();
    assert_eq!(refusal_of(&bench, ticket), None);
}

#[test]
fn a_signed_yes_is_kept_in_row_and_record_and_holds_after_a_restart() {
    let mut bench = Bench::new();
    let approval = bench.approved_at(Side::Buy, 5, 0);
    let row = approval_of(&bench, &approval);
    let digest = row.terms().unwrap().digest();
    let record = bench.newest_record();
    assert_eq!(record.kind, RecordKind::Approved.as_str());
    let reference = |key: &str| record.references.get(key).cloned();
    let signature = signing::sign(&signing::KEY, &digest).to_string();
    assert_eq!(reference("approval_digest"), Some(digest.to_string()));
    assert_eq!(reference("signature"), Some(signature));
    assert_eq!(reference("operator_key"), row.approved_by.as_ref().map(ToString::to_string));
    bench.restart();
    assert_eq!(approval_of(&bench, &approval), row);
    assert_eq!(refused(&mut bench, &approval), None);
}

#[test]
fn an_approval_whose_order_was_sent_stays_spent_whatever_its_row_says() {
    let mut bench = Bench::new();
    let order = bench.placed(Side::Buy, 5);
    let report = PlaceReport::Unknown { why: UnknownBecause::TimedOut };
    bench.feed(Input::PlaceDone { order: order.clone(), report });
    bench.commit();
    let spent = approval_of(&bench, &bench.entry(&order).approval);
    let unspent = || {
        Row::Approval(Box::new(ApprovalEntry { status: ApprovalStatus::Approved, ..spent.clone() }))
    };
    bench.edit(vec![unspent()]);
    // A human looks, and it wasn't there. The yes was for one order all the same.
    bench.operate(OperatorAct::Settle { order: order.clone(), exists: false });
    bench.commit();
    assert_eq!(bench.state(&order), OrderState::NotSent);
    for _ in 0..2 {
        let facts = bench.facts();
        let again = bench.submit_on(&spent.id, facts);
        assert_eq!(refusal_of(&bench, again), Some(ErrorCode::ApprovalConsumed));
        bench.edit(vec![unspent()]);
    }
}
