//! A caller whose admission is taken back: at once, with all that it asked for, and for good.

use super::bench::{Bench, LOCAL, approval_of, order_of, refusal_of};
use crate::signing;
use ibkr_agent_domain::{
    Actor, ApprovalId, ErrorCode, IdempotencyKey, OnApproval, PreviewId, Side, Untrusted,
};
use ibkr_agent_engine::store::verify_chain;
use ibkr_agent_engine::{
    Answer, ApprovalStatus, Asking, Caller, Input, OperatorAct, PreviewDraft, Standing, Submission,
    Ticket, Work,
};

fn token(bench: &mut Bench, client: &str) -> Caller {
    let mut caller = bench.caller(LOCAL);
    caller.requester.actor = Actor::Token {
        issuer: "https://i.example".to_owned(),
        subject: Untrusted::new("ann"),
        client: Untrusted::new(client),
    };
    caller.standing = Standing::Token { issued_at: bench.now().wall };
    caller
}

fn label(bench: &mut Bench, client: &str) -> String {
    token(bench, client).requester.actor.label()
}

fn admit(bench: &mut Bench, client: &str) {
    let caller = label(bench, client);
    bench.operate(OperatorAct::Admit { caller });
    bench.commit();
}

fn revoke(bench: &mut Bench, client: &str) -> Ticket {
    let caller = label(bench, client);
    bench.operate(OperatorAct::Revoke { caller })
}

fn previewed(bench: &mut Bench, client: &str, quantity: i64) -> PreviewId {
    let (ticket, caller) = (bench.ticket(), token(bench, client));
    let plan = order_of("DU1", Side::Buy, quantity).into();
    let draft = Box::new(PreviewDraft { plan, facts: bench.facts() });
    bench.feed(Input::Preview { ticket, caller, draft });
    bench.commit();
    match bench.answer(ticket) {
        Some(Answer::Preview(preview, _)) => preview.id.clone(),
        other => panic!("{other:?}"),
    }
}

fn ask(bench: &mut Bench, client: &str, preview: &PreviewId) -> Ticket {
    let (ticket, caller) = (bench.ticket(), token(bench, client));
    let account = order_of("DU1", Side::Buy, 1).account().clone();
    let preview = preview.clone();
    let on_approval = OnApproval::Hold;
    let asking = Asking { account, preview, ttl: None, on_approval, reason: None };
    bench.feed(Input::AskApproval { ticket, caller, asking });
    bench.commit();
    ticket
}

fn asked(bench: &mut Bench, client: &str, quantity: i64) -> ApprovalId {
    let preview = previewed(bench, client, quantity);
    let ticket = ask(bench, client, &preview);
    match bench.answer(ticket) {
        Some(Answer::Approval(entry, ..)) => entry.id.clone(),
        other => panic!("{other:?}"),
    }
}

fn submit(bench: &mut Bench, client: &str, approval: &ApprovalId) -> Option<ErrorCode> {
    let (ticket, caller) = (bench.ticket(), token(bench, client));
    let account = approval_of(bench, approval).account().clone();
    let key = IdempotencyKey::parse(&format!("key-{}", ticket.0)).unwrap();
    let submission = Submission { account, approval: approval.clone(), key };
    bench.feed(Input::Submit { ticket, caller, submission });
    bench.commit();
    refusal_of(bench, ticket)
}

fn admission(bench: &mut Bench, client: &str, work: Work) -> Option<ErrorCode> {
    let (ticket, caller) = (bench.ticket(), token(bench, client));
    bench.feed(Input::Admit { ticket, caller, work });
    refusal_of(bench, ticket)
}

#[test]
fn a_revoked_caller_writes_no_more_and_what_it_asked_for_is_denied_for_everybody() {
    let mut bench = Bench::new();
    admit(&mut bench, "app");
    admit(&mut bench, "other");
    let pending = asked(&mut bench, "app", 1);
    let approved = asked(&mut bench, "app", 2);
    bench.approve(&approved);
    let others = asked(&mut bench, "other", 3);
    let known = previewed(&mut bench, "app", 4);

    let ticket = revoke(&mut bench, "app");
    // The caller is out before the log has it.
    assert_eq!(admission(&mut bench, "app", Work::Ask), Some(ErrorCode::AuthNotAdmitted));
    assert!(bench.answer(ticket).is_none(), "and who asked for it hears of it when the log does");
    bench.commit();
    assert!(matches!(bench.answer(ticket), Some(Answer::Done)));
    assert_eq!(bench.newest_record().kind, "caller_revoked");

    for work in [Work::Ask, Work::Submit, Work::Cancel] {
        assert_eq!(admission(&mut bench, "app", work), Some(ErrorCode::AuthNotAdmitted));
    }
    for work in [Work::Read, Work::Preview] {
        assert_eq!(admission(&mut bench, "app", work), None, "reading goes on");
    }
    for id in [&pending, &approved] {
        assert_eq!(approval_of(&bench, id).status, ApprovalStatus::Denied);
        assert_eq!(submit(&mut bench, "app", id), Some(ErrorCode::AuthNotAdmitted));
        // Another client of the same user is no way around it.
        assert_eq!(submit(&mut bench, "other", id), Some(ErrorCode::ApprovalDenied));
    }
    // Calls that were let in before and arrive after.
    let late = ask(&mut bench, "app", &known);
    assert_eq!(refusal_of(&bench, late), Some(ErrorCode::AuthNotAdmitted));
    assert_eq!(approval_of(&bench, &others).status, ApprovalStatus::Pending);
    assert_eq!(admission(&mut bench, "other", Work::Submit), None);

    bench.restart();
    assert_eq!(admission(&mut bench, "app", Work::Ask), Some(ErrorCode::AuthNotAdmitted));
    assert_eq!(admission(&mut bench, "other", Work::Ask), None);
    assert_eq!(approval_of(&bench, &approved).status, ApprovalStatus::Denied);
    let verify = signing::authority().verify;
    let report = verify_chain(&bench.ledger.snapshot().unwrap(), verify).unwrap();
    assert_eq!(report.broken, 0, "{report:?}");
    // Admitted again, it starts over: what was denied stays denied.
    admit(&mut bench, "app");
    assert_eq!(admission(&mut bench, "app", Work::Ask), None);
    assert_eq!(submit(&mut bench, "app", &approved), Some(ErrorCode::ApprovalDenied));
}

#[test]
fn an_admission_is_kept_with_its_time_and_only_an_admitted_caller_is_revoked() {
    let mut bench = Bench::new();
    admit(&mut bench, "app");
    bench.restart();
    let at = bench.now().wall;
    let kept: Vec<_> = bench.engine.admitted().cloned().collect();
    let label = label(&mut bench, "app");
    assert_eq!((kept.len(), &kept[0].caller, kept[0].admitted_at), (1, &label, Some(at)));

    let ticket = revoke(&mut bench, "nobody");
    bench.commit();
    assert_eq!(refusal_of(&bench, ticket), Some(ErrorCode::InputInvalid));
    assert!(bench.engine.is_admitted(&label));
}

#[test]
fn a_callers_calls_are_told_as_they_are_counted() {
    let mut bench = Bench::new();
    admit(&mut bench, "app");
    for work in [Work::Read, Work::Read, Work::Ask, Work::Submit, Work::Cancel] {
        assert_eq!(admission(&mut bench, "app", work), None);
    }
    let label = label(&mut bench, "app");
    let used = bench.engine.spent(&label, bench.now()).map(|spent| spent.used);
    assert_eq!(used, [2, 0, 2, 1], "reads, previews, asks with submissions, cancels");
    bench.monotonic += std::time::Duration::from_secs(60);
    let used = bench.engine.spent(&label, bench.now()).map(|spent| spent.used);
    assert_eq!(used, [0; 4], "a minute later");
}
