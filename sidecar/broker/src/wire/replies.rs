//! What an answer to place or reply means. Every doubt is `Unknown`; words of the broker's are told
//! as its own, ours never are.
//!
//! ```text
//! 200 {order_id} of our order                      placed, with its status
//! 200 {order_id: "-1"}, {order_status: "Failed"}   rejected
//! 200 {id, message}                                question
//! 200 {prompt, orderId, text, options}             prompt
//! 200 or 4xx {"error": "… already registered"}     registered
//! 200 or 4xx {"error": "…"}, 4xx {"detail": "…"}   rejected
//! 500 {"error": "…"} said before an order is taken rejected
//! 401 429; 403 404 411 without words               not sent: turned away
//! 5xx, other statuses, a body that can't be read   unknown
//! ```
//!
//! A row of an answer is ours when it carries our reference; without one when it is the only row.
//! Its place in the list says nothing: a bracket's child was seen before its parent.

use super::many::Row;
use super::{Many, Scalar, error_text, first, message};
use crate::transport::Answer;
use crate::{PlaceOutcome, Prompt};
use ibkr_agent_domain::{
    BrokerOrderId, BrokerOrderStatus, ClientOrderId, NotSent, UnknownBecause, Untrusted,
};
use ibkr_agent_gates::Question;
use serde::Deserialize;

/// Most texts of one question, and the longest one in bytes.
const MAX_MESSAGES: usize = 16;
const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// Longest id of a question.
const MAX_REPLY_ID: usize = 64;

/// Words of a status 500 that are said before an order is taken. The first is in IBKR's text; the
/// others were recorded as the answer to a ticket with such an attribute, of which no order came.
const BEFORE_ANY_ORDER: &[&str] =
    &["query /accounts first", "invalid order attribute", "can not contain field"];

/// A placement's answer, understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    Placed { order_id: BrokerOrderId, status: BrokerOrderStatus, text: Option<Untrusted> },
    Question(Question),
    Prompted(Prompt),
    Rejected(Option<Untrusted>),
    NotSent(NotSent),
    AlreadyRegistered,
    Unknown(UnknownBecause),
}

impl Placement {
    /// The outcome, unless it is a question.
    pub(crate) fn settle(self, ask: impl FnOnce(Question) -> PlaceOutcome) -> PlaceOutcome {
        match self {
            Self::Placed { order_id, status, text } => {
                PlaceOutcome::Placed { order_id, status, text }
            }
            Self::Question(question) => ask(question),
            Self::Prompted(prompt) => PlaceOutcome::Prompted(prompt),
            Self::Rejected(message) => PlaceOutcome::Rejected { message },
            Self::NotSent(why) => PlaceOutcome::NotSent { why },
            Self::AlreadyRegistered => PlaceOutcome::AlreadyRegistered,
            Self::Unknown(why) => PlaceOutcome::Unknown { why },
        }
    }
}

/// A row of an answer: an order, a question, a prompt, or a refusal.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Element {
    order_id: Scalar,
    local_order_id: Scalar,
    order_ref: Scalar,
    #[serde(rename = "cOID")]
    own_id: Scalar,
    parent_order_id: Scalar,
    order_status: Scalar,
    text: Scalar,
    warning_message: Scalar,
    error: Scalar,
    id: Scalar,
    message: Many<Scalar>,
    #[serde(rename = "messageIds")]
    message_ids: Many<Scalar>,
    prompt: Scalar,
    #[serde(rename = "orderId")]
    prompt_order: Scalar,
    #[serde(rename = "reqId")]
    request_id: Scalar,
    #[serde(rename = "messageId")]
    message_id: Scalar,
    options: Many<Scalar>,
}

/// Understands the answer to a placement or a reply for the order of this reference.
pub(crate) fn placement(answer: &Answer, ours: &ClientOrderId) -> Placement {
    if let Some(why) = turned_away(answer) {
        return Placement::NotSent(why);
    }
    match answer.status {
        200..=299 => accepted(&answer.body, ours),
        408 => Placement::Unknown(UnknownBecause::TimedOutUpstream),
        400..=499 => match words(answer) {
            Some(text) => refused(&text),
            None => Placement::Unknown(UnknownBecause::AnswerNotUnderstood),
        },
        500..=599 => match before_any_order(answer) {
            Some(text) => Placement::Rejected(Some(message(&text))),
            None => Placement::Unknown(UnknownBecause::ServerError),
        },
        _ => Placement::Unknown(UnknownBecause::UnexpectedStatus),
    }
}

/// Statuses that mean that nothing was taken, whatever the body. What they mean is said in our
/// words, since the body is nobody's or a firewall's.
pub(super) fn turned_away(answer: &Answer) -> Option<NotSent> {
    match (answer.status, words(answer)) {
        (401, _) => Some(NotSent::LoggedOut),
        (403 | 404, None) => Some(NotSent::AccessDenied),
        (411, None) => Some(NotSent::LengthRequired),
        (429, _) => Some(NotSent::BrokerBusy),
        _ => None,
    }
}

/// The broker's words in a failure: an `error`, or the detail of a problem document.
fn words(answer: &Answer) -> Option<String> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Problem {
        title: Scalar,
        detail: Scalar,
    }
    let problem = || {
        let is_failure = answer.status >= 400 && first(&answer.body) == Some(b'{');
        let problem: Problem = serde_json::from_slice(&answer.body).ok().filter(|_| is_failure)?;
        problem.detail.text().or_else(|| problem.title.text())
    };
    error_text(&answer.body).or_else(problem)
}

/// The words of a server's failure that was one of the request's.
pub(super) fn before_any_order(answer: &Answer) -> Option<String> {
    let text = error_text(&answer.body).filter(|_| answer.status == 500)?;
    let lower = text.to_ascii_lowercase();
    BEFORE_ANY_ORDER.iter().any(|words| lower.contains(words)).then_some(text)
}

fn refused(text: &str) -> Placement {
    if text.contains("already registered") {
        Placement::AlreadyRegistered
    } else if text.contains("reply id not found") {
        // An earlier answer may have been taken, or the question has run out.
        Placement::Unknown(UnknownBecause::QuestionGone)
    } else {
        Placement::Rejected(Some(message(text)))
    }
}

/// What the rows of a list are, read one by one; nothing of what is no list.
pub(super) fn rows<T: serde::de::DeserializeOwned>(body: &[u8]) -> Option<Vec<Option<T>>> {
    let is_list = matches!(first(body), Some(b'[' | b'{'));
    let rows: Many<Row<T>> = serde_json::from_slice(body).ok().filter(|_| is_list)?;
    Some(rows.into_iter().map(Row::read).collect())
}

fn accepted(body: &[u8], ours: &ClientOrderId) -> Placement {
    if let Some(text) = error_text(body) {
        return refused(&text);
    }
    let Some(rows) = rows::<Element>(body) else {
        return Placement::Unknown(UnknownBecause::AnswerNotUnderstood);
    };
    let is_whole = rows.iter().all(Option::is_some);
    let rows: Vec<Element> = rows.into_iter().flatten().collect();
    let of = |whose| rows.iter().filter(move |row| row.whose(ours) == whose);
    let mut own = of(Whose::Ours);
    if let Some(row) = own.next() {
        let is_one = own.all(|other| other.order_id.as_str() == row.order_id.as_str());
        return if is_one {
            row.understand()
        } else {
            Placement::Unknown(UnknownBecause::AnswerNamesTwins)
        };
    }
    if of(Whose::Another).next().is_some() {
        return Placement::Unknown(UnknownBecause::AnswerNamesAnotherOrder);
    }
    let mut nameless = of(Whose::Untold);
    match (nameless.next(), nameless.next()) {
        (Some(row), None) if is_whole => row.understand(),
        (Some(_), Some(_)) => Placement::Unknown(UnknownBecause::AnswerNamesNoOrder),
        (None, _) if is_whole => Placement::Unknown(UnknownBecause::AnswerEmpty),
        (Some(_) | None, _) => Placement::Unknown(UnknownBecause::AnswerNotUnderstood),
    }
}

/// Whose order a row is about.
#[derive(PartialEq, Eq)]
enum Whose {
    Ours,
    Another,
    Untold,
}

impl Element {
    fn whose(&self, ours: &ClientOrderId) -> Whose {
        let mut names = [&self.local_order_id, &self.order_ref, &self.own_id].into_iter();
        match names.find_map(Scalar::as_str) {
            Some(name) if name == ours.as_str() => Whose::Ours,
            Some(_) => Whose::Another,
            // A child of another order: we place orders without a parent.
            None if self.parent_order_id.as_str().is_some() => Whose::Another,
            None => Whose::Untold,
        }
    }

    fn understand(&self) -> Placement {
        if let Some(text) = self.error.as_str() {
            return refused(text);
        }
        let text = self.text.as_str().or(self.warning_message.as_str());
        let failed = self.order_status.as_str() == Some("Failed");
        match self.order_id.as_str() {
            Some(id) if id == "-1" || failed => Placement::Rejected(text.map(message)),
            Some(_) => self.placed(text),
            None if self.prompt.is_true() == Some(true) => self.prompt().map_or(
                Placement::Unknown(UnknownBecause::AnswerNotUnderstood),
                Placement::Prompted,
            ),
            None => self.question().map_or(
                Placement::Unknown(UnknownBecause::AnswerNotUnderstood),
                Placement::Question,
            ),
        }
    }

    fn placed(&self, text: Option<&str>) -> Placement {
        let Some(order_id) = self.order_id.order_id() else {
            return Placement::Unknown(UnknownBecause::OrderIdNotUnderstood);
        };
        Placement::Placed {
            order_id,
            status: BrokerOrderStatus::parse(self.order_status.as_str().unwrap_or_default()),
            text: text.map(message),
        }
    }

    fn question(&self) -> Option<Question> {
        let reply_id = self.id.text().filter(|id| is_reply_id(id))?;
        if self.message_ids.len() > MAX_MESSAGES {
            return None;
        }
        Some(Question {
            reply_id,
            message_ids: self.message_ids.iter().filter_map(Scalar::text).collect(),
            messages: texts(&self.message).filter(|messages| !messages.is_empty())?,
        })
    }

    fn prompt(&self) -> Option<Prompt> {
        let text = self.text.exact().filter(|text| text.len() <= MAX_MESSAGE_BYTES)?;
        Some(Prompt {
            order_id: self.prompt_order.order_id(),
            request_id: self.request_id.text().filter(|id| is_reply_id(id)),
            message_id: self.message_id.untrusted(),
            text,
            options: texts(&self.options)?,
        })
    }
}

/// Exact texts, unless there are too many, or one is too long or none.
fn texts(list: &Many<Scalar>) -> Option<Vec<String>> {
    let texts: Option<Vec<String>> = list.iter().map(Scalar::exact).collect();
    let is_bounded = |texts: &Vec<String>| {
        texts.len() <= MAX_MESSAGES && texts.iter().all(|text| text.len() <= MAX_MESSAGE_BYTES)
    };
    texts.filter(is_bounded)
}

/// Whether a text can be a path segment that names a question.
pub(crate) fn is_reply_id(id: &str) -> bool {
    (1..=MAX_REPLY_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests;
