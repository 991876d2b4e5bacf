//! What an answer to place, reply or cancel means. Every doubt is `Unknown`.
//!
//! ```text
//! 200 [{order_id}]                                 placed
//! 200 [{order_id: "-1"}]                           rejected
//! 200 [{id, message}]                              question
//! 200 or 4xx {"error": "… already registered"}     registered
//! 200 or 4xx {"error": "…"}; 401 403 404 411 429   rejected
//! 5xx, other statuses, a body that can't be read   unknown
//! ```

use super::{Scalar, error_text, first, message};
use crate::transport::Answer;
use crate::{CancelOutcome, PlaceOutcome};
use ibkr_agent_domain::{BrokerOrderId, BrokerOrderStatus, ClientOrderId, Untrusted};
use ibkr_agent_gates::Question;
use serde::Deserialize;

/// Most texts of one question, and the longest one in bytes.
const MAX_MESSAGES: usize = 16;
const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// Longest id of a question.
const MAX_REPLY_ID: usize = 64;

/// A placement's answer, understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    Placed { order_id: BrokerOrderId, status: BrokerOrderStatus, text: Option<Untrusted> },
    Question(Question),
    Rejected(Untrusted),
    AlreadyRegistered,
    Unknown(&'static str),
}

impl Placement {
    /// The outcome, unless it is a question.
    pub(crate) fn settle(self, ask: impl FnOnce(Question) -> PlaceOutcome) -> PlaceOutcome {
        match self {
            Self::Placed { order_id, status, text } => {
                PlaceOutcome::Placed { order_id, status, text }
            }
            Self::Question(question) => ask(question),
            Self::Rejected(message) => PlaceOutcome::Rejected { message },
            Self::AlreadyRegistered => PlaceOutcome::AlreadyRegistered,
            Self::Unknown(why) => PlaceOutcome::Unknown { why },
        }
    }
}

/// An element of an answer: an order, a question, or a prompt that we can't answer.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Element {
    order_id: Scalar,
    local_order_id: Scalar,
    order_status: Scalar,
    text: Scalar,
    warning_message: Scalar,
    id: Scalar,
    message: Vec<Scalar>,
    #[serde(rename = "messageIds")]
    message_ids: Vec<Scalar>,
}

/// Understands the answer to a placement or a reply for the order of this reference.
pub(crate) fn placement(answer: &Answer, ours: &ClientOrderId) -> Placement {
    match answer.status {
        200..=299 => accepted(&answer.body, ours),
        401 => Placement::Rejected(Untrusted::new("nobody is logged in at the gateway")),
        408 => Placement::Unknown("timed_out_upstream"),
        400..=499 => match error_text(&answer.body) {
            Some(text) => refused(&text),
            None => without_text(answer.status),
        },
        500..=599 => Placement::Unknown("server_error"),
        _ => Placement::Unknown("unexpected_status"),
    }
}

/// Statuses that mean that nothing was taken, whatever the body.
fn without_text(status: u16) -> Placement {
    match status {
        403 | 404 => Placement::Rejected(Untrusted::new("access to the gateway was denied")),
        411 => Placement::Rejected(Untrusted::new("the request's length was missing")),
        429 => Placement::Rejected(Untrusted::new("too many requests")),
        _ => Placement::Unknown("answer_not_understood"),
    }
}

fn refused(text: &str) -> Placement {
    if text.contains("already registered") {
        Placement::AlreadyRegistered
    } else if text.contains("reply id not found") {
        // An earlier answer may have been taken, or the question has run out.
        Placement::Unknown("question_gone")
    } else {
        Placement::Rejected(message(text))
    }
}

fn accepted(body: &[u8], ours: &ClientOrderId) -> Placement {
    if let Some(text) = error_text(body) {
        return refused(&text);
    }
    let elements: Option<Vec<Element>> = match first(body) {
        Some(b'[') => serde_json::from_slice(body).ok(),
        Some(b'{') => serde_json::from_slice(body).ok().map(|one| vec![one]),
        Some(_) | None => None,
    };
    let Some(elements) = elements else {
        return Placement::Unknown("answer_not_understood");
    };
    let is_ours = |element: &&Element| element.local_order_id.as_str() == Some(ours.as_str());
    let found = elements.iter().find(is_ours);
    let Some(element) = found.or_else(|| elements.first()) else {
        return Placement::Unknown("answer_empty");
    };
    element.understand(ours)
}

impl Element {
    fn understand(&self, ours: &ClientOrderId) -> Placement {
        let text = self.text.as_str().or(self.warning_message.as_str());
        let failed = self.order_status.as_str() == Some("Failed");
        match self.order_id.as_str() {
            Some("-1") => Placement::Rejected(message(text.unwrap_or("the order failed"))),
            Some(_) if failed => Placement::Rejected(message(text.unwrap_or("the order failed"))),
            Some(_) => self.placed(ours, text),
            None => self
                .question()
                .map_or(Placement::Unknown("answer_not_understood"), Placement::Question),
        }
    }

    fn placed(&self, ours: &ClientOrderId, text: Option<&str>) -> Placement {
        let is_another = self.local_order_id.as_str().is_some_and(|id| id != ours.as_str());
        if is_another {
            return Placement::Unknown("answer_names_another_order");
        }
        let Some(order_id) = self.order_id.order_id() else {
            return Placement::Unknown("order_id_not_understood");
        };
        Placement::Placed {
            order_id,
            status: BrokerOrderStatus::parse(self.order_status.as_str().unwrap_or_default()),
            text: text.map(Untrusted::new),
        }
    }

    fn question(&self) -> Option<Question> {
        let reply_id = self.id.text().filter(|id| is_reply_id(id))?;
        let bounded = !self.message.is_empty()
            && self.message.len() <= MAX_MESSAGES
            && self.message_ids.len() <= MAX_MESSAGES;
        if !bounded {
            return None;
        }
        let messages: Option<Vec<String>> = self.message.iter().map(Scalar::exact).collect();
        let messages = messages?;
        if messages.iter().any(|text| text.len() > MAX_MESSAGE_BYTES) {
            return None;
        }
        Some(Question {
            reply_id,
            message_ids: self.message_ids.iter().filter_map(Scalar::text).collect(),
            messages,
        })
    }
}

/// Whether a text can be a path segment that names a question.
pub(crate) fn is_reply_id(id: &str) -> bool {
    (1..=MAX_REPLY_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// What a cancel answers when it was taken.
#[derive(Deserialize, Default)]
#[serde(default)]
struct CancelTaken {
    msg: Scalar,
    order_id: Scalar,
}

/// Understands the answer to a cancel.
pub(crate) fn cancellation(answer: &Answer, order: &BrokerOrderId) -> CancelOutcome {
    let text = error_text(&answer.body);
    match (answer.status, text) {
        (500..=599, _) => CancelOutcome::Unknown { why: "server_error" },
        (401, _) => CancelOutcome::Rejected {
            message: Untrusted::new("nobody is logged in at the gateway"),
        },
        (200..=299 | 400..=499, Some(text)) => cancel_refused(&text),
        (200..=299, None) => cancel_taken(&answer.body, order),
        (403 | 404, None) => {
            CancelOutcome::Rejected { message: Untrusted::new("access to the gateway was denied") }
        }
        (429, None) => CancelOutcome::Rejected { message: Untrusted::new("too many requests") },
        (_, _) => CancelOutcome::Unknown { why: "answer_not_understood" },
    }
}

fn cancel_refused(text: &str) -> CancelOutcome {
    let lower = text.to_ascii_lowercase();
    let message = message(text);
    if lower.contains("doesn't exist") || lower.contains("not found") {
        CancelOutcome::NotFound { message }
    } else if ["inactive", "already", "filled", "not cancellable", "not active"]
        .iter()
        .any(|word| lower.contains(word))
    {
        CancelOutcome::AlreadyDone { message }
    } else {
        CancelOutcome::Rejected { message }
    }
}

fn cancel_taken(body: &[u8], order: &BrokerOrderId) -> CancelOutcome {
    let understood = (first(body) == Some(b'{'))
        .then(|| serde_json::from_slice::<CancelTaken>(body).ok())
        .flatten()
        .filter(|taken| taken.msg.as_str().is_some());
    let Some(taken) = understood else {
        return CancelOutcome::Unknown { why: "answer_not_understood" };
    };
    let is_another = taken.order_id.order_id().is_some_and(|told| told != *order);
    if is_another {
        return CancelOutcome::Unknown { why: "answer_names_another_order" };
    }
    CancelOutcome::Requested { text: taken.msg.untrusted() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibkr_agent_domain::Timestamp;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            body: body.to_owned().into(),
            sent_at: Timestamp::from_millis(0),
            retry_after: None,
        }
    }

    fn place(status: u16, body: &str) -> Placement {
        placement(&answer(status, body), &ClientOrderId::parse("ia1").unwrap())
    }

    #[test]
    fn an_accepted_order_is_placed_as_array_or_object() {
        let row = r#"{"order_id":"77","local_order_id":"ia1","order_status":"PreSubmitted"}"#;
        for body in [row.to_owned(), format!("[{row}]")] {
            let Placement::Placed { order_id, status, .. } = place(200, &body) else {
                panic!("{body}")
            };
            assert_eq!(order_id.as_str(), "77");
            assert_eq!(status, BrokerOrderStatus::PreSubmitted);
        }
    }

    #[test]
    fn a_question_keeps_its_exact_text() {
        let body = r#"[{"id":"a1-b2","message":[" Are you\n<b>sure</b>? "],"isSuppressed":false,
            "messageIds":["o163"],"messageOptions":["Yes","No"]}]"#;
        let Placement::Question(question) = place(200, body) else { panic!("no question") };
        assert_eq!(question.messages, [" Are you\n<b>sure</b>? "]);
        assert_eq!(question.message_ids, ["o163"]);
        assert_eq!(question.reply_id, "a1-b2");
    }

    #[test]
    fn a_repeated_reference_is_never_a_rejection() {
        let body =
            r#"{"error":"Order couldn't be submitted: Local order ID=ia1 is already registered."}"#;
        assert_eq!(place(200, body), Placement::AlreadyRegistered);
        assert_eq!(place(400, body), Placement::AlreadyRegistered);
    }

    #[test]
    fn refusals_are_rejections_with_the_brokers_reason() {
        for (status, body) in [
            (200, r#"{"error":"No trading permissions."}"#),
            (400, r#"{"error":"Unknown order type"}"#),
            (200, r#"[{"order_id":"-1","order_status":"Failed","text":"no"}]"#),
            (401, ""),
            (403, "<html>Access Denied</html>"),
            (429, "Too Many Requests"),
        ] {
            assert!(matches!(place(status, body), Placement::Rejected(_)), "{status} {body}");
        }
    }

    #[test]
    fn every_doubt_is_unknown() {
        for (status, body) in [
            (200, ""),
            (200, "[]"),
            (200, "<html>"),
            (200, "null"),
            (200, r#"[{"order_status":"Submitted"}]"#),
            (200, r#"[{"order_id":"7","local_order_id":"other","order_status":"Submitted"}]"#),
            (200, r#"[{"order_id":"../7","order_status":"Submitted"}]"#),
            (200, r#"[{"id":"../x","message":["m"]}]"#),
            (200, r#"[{"id":"x","message":[]}]"#),
            (200, r#"{"orderId":1,"reqId":"2","text":"t","prompt":true}"#),
            (400, "<html>"),
            (400, r#"{"error":"reply id not found: 'x'"}"#),
            (408, ""),
            (500, r#"{"error":"x"}"#),
            (503, r#"{"error":"Service Unavailable","statusCode":503}"#),
            (302, ""),
        ] {
            assert!(matches!(place(status, body), Placement::Unknown(_)), "{status} {body}");
        }
    }

    #[test]
    fn cancels_are_told_apart() {
        let order = BrokerOrderId::parse("77").unwrap();
        let cancel = |status, body| cancellation(&answer(status, body), &order);
        let taken = r#"{"msg":"Request was submitted","order_id":77,"conid":-1,"account":null}"#;
        assert!(matches!(cancel(200, taken), CancelOutcome::Requested { .. }));
        let gone = r#"{"error":"OrderID 77 doesn't exist"}"#;
        assert!(matches!(cancel(400, gone), CancelOutcome::NotFound { .. }));
        assert!(matches!(cancel(200, gone), CancelOutcome::NotFound { .. }));
        let done = r#"{"error":"Order is inactive"}"#;
        assert!(matches!(cancel(400, done), CancelOutcome::AlreadyDone { .. }));
        let other = r#"{"msg":"Request was submitted","order_id":78}"#;
        assert!(matches!(cancel(200, other), CancelOutcome::Unknown { .. }));
        assert!(matches!(cancel(503, done), CancelOutcome::Unknown { .. }));
        assert!(matches!(cancel(200, "[]"), CancelOutcome::Unknown { .. }));
        assert!(matches!(cancel(401, ""), CancelOutcome::Rejected { .. }));
    }
}
