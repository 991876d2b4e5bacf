//! What an answer to a cancel means. A cancel that was taken may still lose the race with a fill,
//! and the words of one that was refused are a hint: the order's state decides.

use super::replies::{before_any_order, rows, turned_away};
use super::{Scalar, error_text, message};
use crate::transport::Answer;
use crate::{CancelHint, CancelOutcome};
use ibkr_agent_domain::{BrokerOrderId, UnknownBecause};
use serde::Deserialize;

/// What a cancel answers when it was taken: one object as recorded, a list as in IBKR's example.
#[derive(Deserialize, Default)]
#[serde(default)]
struct CancelRow {
    msg: Scalar,
    order_id: Scalar,
    error: Scalar,
}

/// Understands the answer to a cancel.
pub(crate) fn cancellation(answer: &Answer, order: &BrokerOrderId) -> CancelOutcome {
    if let Some(why) = turned_away(answer) {
        return CancelOutcome::NotSent { why };
    }
    let text = error_text(&answer.body);
    match (answer.status, text) {
        (500..=599, _) => match before_any_order(answer) {
            Some(text) => refused(&text),
            None => CancelOutcome::Unknown { why: UnknownBecause::ServerError },
        },
        (200..=299 | 400..=499, Some(text)) => refused(&text),
        (200..=299, None) => taken(&answer.body, order),
        (_, _) => CancelOutcome::Unknown { why: UnknownBecause::AnswerNotUnderstood },
    }
}

fn refused(text: &str) -> CancelOutcome {
    CancelOutcome::Refused { message: message(text), hint: hint(text) }
}

/// What words of a refusal may mean.
fn hint(text: &str) -> CancelHint {
    let lower = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["doesn't exist", "not found"]) {
        CancelHint::NoSuchOrder
    } else if says(&["inactive", "already", "filled", "not active"]) {
        CancelHint::MayHaveEnded
    } else if says(&["cancellable", "cancelable", "cannot be cancel", "can't be cancel"]) {
        CancelHint::NotCancellable
    } else {
        CancelHint::Unclear
    }
}

fn taken(body: &[u8], order: &BrokerOrderId) -> CancelOutcome {
    let rows: Vec<CancelRow> = rows(body).into_iter().flatten().flatten().collect();
    let is_ours = |row: &&CancelRow| row.order_id.order_id().as_ref() == Some(order);
    let is_nameless = |row: &&CancelRow| row.order_id.order_id().is_none();
    let nameless = || rows.iter().find(is_nameless).filter(|_| rows.len() == 1);
    let Some(row) = rows.iter().find(is_ours).or_else(nameless) else {
        let names_another = rows.iter().any(|row| row.order_id.order_id().is_some());
        let why = if names_another {
            UnknownBecause::AnswerNamesAnotherOrder
        } else {
            UnknownBecause::AnswerNotUnderstood
        };
        return CancelOutcome::Unknown { why };
    };
    match (row.error.as_str(), row.msg.as_str()) {
        (Some(text), _) => refused(text),
        (None, Some(text)) => CancelOutcome::Requested { text: Some(message(text)) },
        (None, None) => CancelOutcome::Unknown { why: UnknownBecause::AnswerNotUnderstood },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibkr_agent_domain::{NotSent, Timestamp};

    fn cancel(status: u16, body: &str) -> CancelOutcome {
        let answer = Answer {
            status,
            body: body.to_owned().into(),
            sent_at: Timestamp::from_millis(0),
            retry_after: None,
        };
        cancellation(&answer, &BrokerOrderId::parse("77").unwrap())
    }

    #[test]
    fn a_cancel_is_taken_as_object_or_list() {
        let object = r#"{"msg":"Request was submitted","order_id":77,"conid":-1,"account":null}"#;
        let example = r#"[{"msg":"Request was submitted","order_id":"77",
            "order_status":"PreSubmitted","encrypt_message":"1"}]"#;
        let among =
            r#"[{"msg":"Other","order_id":78},{"msg":"Request was submitted","order_id":77}]"#;
        for body in [object, example, among, r#"{"msg":"Request was submitted"}"#] {
            let CancelOutcome::Requested { text } = cancel(200, body) else { panic!("{body}") };
            assert_eq!(text.unwrap().as_str(), "Request was submitted");
        }
    }

    #[test]
    fn words_of_a_refusal_are_a_hint_and_never_the_end_of_an_order() {
        for (text, expected) in [
            ("OrderID 77 doesn't exist", CancelHint::NoSuchOrder),
            ("Order 77 is not found", CancelHint::NoSuchOrder),
            ("Order is inactive", CancelHint::MayHaveEnded),
            ("Order is already being cancelled", CancelHint::MayHaveEnded),
            ("Order already filled", CancelHint::MayHaveEnded),
            ("Order is not in a cancellable state", CancelHint::NotCancellable),
            ("This order cannot be cancelled", CancelHint::NotCancellable),
            ("No.", CancelHint::Unclear),
        ] {
            for (status, body) in [
                (400, format!(r#"{{"error":"{text}"}}"#)),
                (200, format!(r#"{{"error":"{text}"}}"#)),
                (200, format!(r#"[{{"error":"{text}","order_id":77}}]"#)),
            ] {
                let CancelOutcome::Refused { message, hint } = cancel(status, &body) else {
                    panic!("{status} {body}")
                };
                assert_eq!((message.as_str(), hint), (text, expected), "{status}");
            }
        }
    }

    #[test]
    fn a_cancel_that_is_turned_away_is_told_in_our_words() {
        for (status, body, expected) in [
            (401, "", NotSent::LoggedOut),
            (403, "<html>", NotSent::AccessDenied),
            (411, "", NotSent::LengthRequired),
            (429, "Too Many Requests", NotSent::BrokerBusy),
        ] {
            assert_eq!(cancel(status, body), CancelOutcome::NotSent { why: expected }, "{status}");
        }
    }

    #[test]
    fn every_doubt_about_a_cancel_is_unknown_for_a_reason() {
        use UnknownBecause as U;
        for (status, body, expected) in [
            (200, "", U::AnswerNotUnderstood),
            (200, "[]", U::AnswerNotUnderstood),
            (200, "{}", U::AnswerNotUnderstood),
            (200, "7", U::AnswerNotUnderstood),
            (200, r#"{"msg":"Request was submitted","order_id":78}"#, U::AnswerNamesAnotherOrder),
            (200, r#"[{"msg":"Request was submitted","order_id":78}]"#, U::AnswerNamesAnotherOrder),
            (200, r#"[{"msg":"a"},{"msg":"b"}]"#, U::AnswerNotUnderstood),
            (200, r#"{"order_id":77}"#, U::AnswerNotUnderstood),
            (400, "<html>", U::AnswerNotUnderstood),
            (503, r#"{"error":"Order is inactive"}"#, U::ServerError),
            (500, "", U::ServerError),
        ] {
            let unknown = CancelOutcome::Unknown { why: expected };
            assert_eq!(cancel(status, body), unknown, "{status} {body}");
        }
    }
}
