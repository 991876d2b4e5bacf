//! The reasons behind an order's state: their words are a format, listed here once.

use ibkr_agent_domain::{NotSent, OrderState, Reason, UnknownBecause};
use std::collections::BTreeSet;

const NOT_SENT: &[&str] = &[
    "another_broker",
    "another_mode",
    "login_not_configured",
    "session_not_ready",
    "account_not_shown_by_login",
    "account_cannot_trade",
    "login_of_another_kind",
    "order_not_writable",
    "request_not_writable",
    "order_id_not_numeric",
    "reply_to_another_question",
    "too_many_questions",
    "rate_limited",
    "host_name_invalid",
    "connect_failed",
    "connect_timed_out",
    "tls_failed",
    "connection_closed",
    "timed_out_before_sending",
    "halted",
    "approval_expired",
    "approval_unsigned",
    "signature_too_old",
    "another_question_waits",
    "not_recorded",
    "logged_out",
    "access_denied",
    "length_required",
    "broker_takes_no_more",
    "absence_stated",
    "not_sent_otherwise",
];

const UNKNOWN: &[&str] = &[
    "connection_lost",
    "answer_cut",
    "timed_out",
    "timed_out_upstream",
    "server_error",
    "unexpected_status",
    "answer_not_understood",
    "answer_empty",
    "answer_names_no_order",
    "answer_names_another_order",
    "answer_names_twins",
    "order_id_not_understood",
    "question_gone",
    "prompted",
    "already_registered",
    "client_broke",
    "question_permit_gone",
    "answer_not_recorded",
    "gateway_stopped",
    "vanished",
    "unknown_otherwise",
];

fn every() -> Vec<Reason> {
    let not_sent = NotSent::ALL.iter().copied();
    let unknown = UnknownBecause::ALL.iter().copied().map(Reason::Unknown);
    not_sent
        .clone()
        .map(Reason::NotSent)
        .chain(unknown)
        .chain(not_sent.map(Reason::Unanswered))
        .collect()
}

#[test]
fn every_word_of_a_reason_is_listed_and_stands_for_one_reason_only() {
    assert_eq!(NotSent::ALL.iter().map(|why| why.as_str()).collect::<Vec<_>>(), NOT_SENT);
    assert_eq!(UnknownBecause::ALL.iter().map(|why| why.as_str()).collect::<Vec<_>>(), UNKNOWN);
    let words: BTreeSet<&str> = NOT_SENT.iter().chain(UNKNOWN).copied().collect();
    assert_eq!(words.len(), NOT_SENT.len() + UNKNOWN.len());
    for word in words {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(word.bytes().all(plain), "{word}");
    }
}

#[test]
fn every_reason_comes_back_from_its_text_and_no_other_text_is_one() {
    for reason in every() {
        assert_eq!(Reason::parse(&reason.text()), Some(reason), "{}", reason.text());
    }
    for text in ["", "Halted", "halted:", "question_unanswered", "question_unanswered:timed_out"] {
        assert_eq!(Reason::parse(text), None, "{text}");
    }
}

#[test]
fn every_reason_is_one_sentence_of_its_own() {
    let sentences: BTreeSet<String> = every().into_iter().map(Reason::sentence).collect();
    // Other versions' words are told alike, whatever they were about.
    assert_eq!(sentences.len(), every().len() - 1);
    for sentence in sentences {
        assert!((20..160).contains(&sentence.len()), "{sentence}");
        assert!(!sentence.contains('.') && !sentence.contains('\n'), "{sentence}");
        assert!(sentence.trim() == sentence, "{sentence}");
    }
}

#[test]
fn a_kept_reason_never_contradicts_its_state_and_an_unknown_word_is_told_as_such() {
    let not_sent = Reason::NotSent(NotSent::Halted);
    let unknown = Reason::Unknown(UnknownBecause::TimedOut);
    let unanswered = Reason::Unanswered(NotSent::Halted);
    let not_sent_otherwise = Reason::NotSent(NotSent::Other);
    let unknown_otherwise = Reason::Unknown(UnknownBecause::Other);
    for (state, text, expected) in [
        (OrderState::NotSent, Some("halted"), not_sent),
        (OrderState::NotSent, Some("a word of tomorrow"), not_sent_otherwise),
        (OrderState::NotSent, Some("timed_out"), not_sent_otherwise),
        (OrderState::NotSent, None, not_sent_otherwise),
        (OrderState::Unknown, Some("timed_out"), unknown),
        (OrderState::Unknown, Some("question_unanswered:halted"), unanswered),
        (OrderState::Unknown, Some("halted"), unknown_otherwise),
        (OrderState::Unknown, None, unknown_otherwise),
    ] {
        assert_eq!(Reason::kept(state, text), Some(expected), "{state:?} {text:?}");
    }
    for state in OrderState::ALL {
        let has_reason = matches!(state, OrderState::NotSent | OrderState::Unknown);
        assert_eq!(Reason::kept(state, Some("halted")).is_some(), has_reason, "{state:?}");
    }
}
