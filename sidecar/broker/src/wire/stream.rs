//! Frames of the gateway's WebSocket, as values. Through the gateway they come as binary frames
//! with JSON text; the form makes no difference here.
//!
//! Tolerant: a topic that we don't use is a sign of life, a row that can't be read is left out, a
//! frame that is no JSON object is nothing. Session fields aren't declared, so they are skipped.
//! Bounded: the socket bounds a frame's bytes, this file its rows.

use super::orders::OrderRow;
use super::trades::TradeRow;
use super::{Scalar, first, market};
use ibkr_agent_domain::{AccountId, Conid};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Most rows of one frame that are read.
const MAX_ROWS: usize = 1_000;
/// Fields of a quote's frame beside the ones that we subscribe to.
const OWN_FIELDS: [&str; 2] = ["conid", "_updated"];

/// What a frame says.
pub(crate) enum Frame {
    /// The gateway has no session upstream yet.
    Waiting,
    /// The heartbeat.
    Beat,
    /// The greeting of a session, or its account list.
    Greeting,
    /// Anything else that we don't use: the answer to `tic`, other topics.
    Life,
    /// The session's state changed.
    Status {
        /// Whether the brokerage session is up, if told.
        authenticated: Option<bool>,
        /// Whether another platform holds it, if told.
        competing: Option<bool>,
    },
    /// Values of a contract: all of them at first, later those that changed.
    Quote(Conid, Fields),
    /// Rows of an order book.
    Ladder(AccountId, Conid, Vec<LadderRow>),
    /// Orders: at first whole, later only what changed.
    Orders(Vec<OrderRow>),
    /// Fills. The same one comes again with its commission.
    Trades(Vec<TradeRow>),
    /// Profit and loss per account.
    ProfitAndLoss(Vec<(AccountId, PartitionRow)>),
    /// What the broker tells the owner.
    Notices(Vec<Notice>),
    /// Something was refused.
    Failure {
        /// The topic, as told.
        topic: String,
        /// The broker's words.
        text: String,
    },
}

/// The parts that every frame is told apart by.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Envelope {
    topic: Scalar,
    message: Scalar,
    error: Scalar,
    hb: Scalar,
    success: Scalar,
    conid: Scalar,
    args: Option<Box<RawValue>>,
    data: Option<Box<RawValue>>,
}

/// Reads a frame; nothing when it isn't a JSON object.
pub(crate) fn parse_frame(bytes: &[u8]) -> Option<Frame> {
    if first(bytes) != Some(b'{') {
        return None;
    }
    let envelope: Envelope = serde_json::from_slice(bytes).ok()?;
    let topic = envelope.topic.as_str().unwrap_or_default();
    if let Some(text) = envelope.error.text() {
        return Some(Frame::Failure { topic: topic.to_owned(), text });
    }
    let args = envelope.args.as_deref();
    let (kind, rest) = topic.split_once('+').unwrap_or((topic, ""));
    Some(match kind {
        "" if envelope.message.as_str().is_some_and(says_waiting) => Frame::Waiting,
        "system" if envelope.hb.as_str().is_some() => Frame::Beat,
        "system" if envelope.success.as_str().is_some() => Frame::Greeting,
        "act" => Frame::Greeting,
        "sts" => status(args),
        "smd" => match conid(rest).or_else(|| envelope.conid.conid()) {
            Some(conid) => Frame::Quote(conid, Fields::read(bytes)),
            None => Frame::Life,
        },
        "sbd" => ladder(rest, envelope.data.as_deref()),
        "sor" => Frame::Orders(rows(args)),
        "str" => Frame::Trades(rows(args)),
        "spl" => Frame::ProfitAndLoss(partitions(args)),
        "ntf" | "blt" => Frame::Notices(rows(args)),
        _ => Frame::Life,
    })
}

fn says_waiting(message: &str) -> bool {
    message.to_ascii_lowercase().contains("waiting for session")
}

fn conid(text: &str) -> Option<Conid> {
    let digits = text.split(['@', '+']).next()?;
    Conid::new(digits.parse().ok()?).ok()
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StatusArgs {
    authenticated: Scalar,
    competing: Scalar,
}

fn status(args: Option<&RawValue>) -> Frame {
    let read = args.and_then(|args| serde_json::from_str::<StatusArgs>(args.get()).ok());
    let told = read.unwrap_or_default();
    Frame::Status {
        authenticated: told.authenticated.is_true(),
        competing: told.competing.is_true(),
    }
}

/// The rows of an array, or of a single object; those that can't be read are left out.
fn rows<T: DeserializeOwned>(raw: Option<&RawValue>) -> Vec<T> {
    let Some(text) = raw.map(RawValue::get) else {
        return Vec::new();
    };
    if text.starts_with('{') {
        return serde_json::from_str(text).into_iter().collect();
    }
    let raw: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap_or_default();
    raw.iter().take(MAX_ROWS).filter_map(|row| object(row.get())).collect()
}

/// Only an object: a struct would be read from an array as well.
fn object<T: DeserializeOwned>(text: &str) -> Option<T> {
    if text.starts_with('{') { serde_json::from_str(text).ok() } else { None }
}

/// The values of a contract that the stream has told so far, by field code.
#[derive(Default, Clone)]
pub(crate) struct Fields(BTreeMap<String, Box<RawValue>>);

impl Fields {
    fn read(frame: &[u8]) -> Self {
        let all: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(frame).unwrap_or_default();
        let known = |name: &str| {
            OWN_FIELDS.contains(&name) || market::FIELDS.split(',').any(|field| field == name)
        };
        Self(all.into_iter().filter(|(name, _)| known(name)).collect())
    }

    /// Lays newer values over these.
    pub(crate) fn update(&mut self, newer: Self) {
        self.0.extend(newer.0);
    }

    /// The same as a row of a snapshot.
    pub(crate) fn row(&self) -> Option<market::SnapshotRow> {
        serde_json::from_slice(&serde_json::to_vec(&self.0).ok()?).ok()
    }
}

/// One price of an order book.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(crate) struct LadderRow {
    row: Scalar,
    focus: Scalar,
    price: Scalar,
    bid: Scalar,
    ask: Scalar,
}

impl LadderRow {
    /// Its place, which later frames refer to.
    pub(crate) fn place(&self) -> Option<u16> {
        u16::try_from(self.row.decimal()?).ok()
    }

    /// The level; a price may come as `size @ price`.
    pub(crate) fn level(&self) -> Option<ibkr_agent_domain::DepthLevel> {
        let text = self.price.as_str()?;
        let price = text.rsplit_once('@').map_or(text, |(_, price)| price);
        Some(ibkr_agent_domain::DepthLevel {
            price: super::amount(price)?,
            bid_size: self.bid.decimal(),
            ask_size: self.ask.decimal(),
            is_last: self.focus.is_true() == Some(true),
        })
    }
}

/// `sbd+DU1234567+265598`, perhaps with an exchange.
fn ladder(rest: &str, data: Option<&RawValue>) -> Frame {
    let told = rest.split_once('+').and_then(|(account, instrument)| {
        Some((AccountId::parse(account).ok()?, conid(instrument)?))
    });
    match told {
        Some((account, conid)) => Frame::Ladder(account, conid, rows(data)),
        None => Frame::Life,
    }
}

/// An account's profit and loss, as far as this frame tells it.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(crate) struct PartitionRow {
    dpl: Scalar,
    nl: Scalar,
    upl: Scalar,
    el: Scalar,
    mv: Scalar,
}

impl PartitionRow {
    /// Lays this over what is known.
    pub(crate) fn onto(&self, known: &mut ibkr_agent_domain::ProfitAndLoss) {
        let lay = |known: &mut Option<Decimal>, told: &Scalar| {
            *known = told.decimal().or(*known);
        };
        lay(&mut known.daily, &self.dpl);
        lay(&mut known.unrealized, &self.upl);
        lay(&mut known.net_liquidation, &self.nl);
        lay(&mut known.excess_liquidity, &self.el);
        lay(&mut known.market_value, &self.mv);
    }
}

/// `{"U123.Core": {…}}`; only an account's core partition is the account.
fn partitions(args: Option<&RawValue>) -> Vec<(AccountId, PartitionRow)> {
    let text = args.map(RawValue::get).unwrap_or_default();
    let all: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).unwrap_or_default();
    all.iter()
        .take(MAX_ROWS)
        .filter_map(|(name, row)| {
            let account = name.strip_suffix(".Core").unwrap_or(name);
            Some((AccountId::parse(account).ok()?, object(row.get())?))
        })
        .collect()
}

/// `ntf` has a title and a text, `blt` a message.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Notice {
    pub(crate) title: Scalar,
    pub(crate) text: Scalar,
    pub(crate) message: Scalar,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Frame {
        parse_frame(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_greeting_is_told_apart_from_waiting_and_from_the_heartbeat() {
        assert!(matches!(frame(r#"{"message":"waiting for session"}"#), Frame::Waiting));
        assert!(matches!(frame(r#"{"topic":"system","hb":1712345678901}"#), Frame::Beat));
        let hello = r#"{"topic":"system","success":"someone","isFT":false,"isPaper":true}"#;
        assert!(matches!(frame(hello), Frame::Greeting));
        assert!(matches!(frame(r#"{"topic":"tic","alive":true,"id":"x"}"#), Frame::Life));
        assert!(matches!(frame(r#"{"topic":"nobody+knows"}"#), Frame::Life));
    }

    #[test]
    fn what_is_no_object_is_nothing() {
        for text in ["", "[]", "null", "tic", "[1,2]", "{", "\u{feff}{}"] {
            assert!(parse_frame(text.as_bytes()).is_none(), "{text}");
        }
        assert!(parse_frame(&[0xff, 0xfe]).is_none());
    }

    #[test]
    fn a_status_tells_what_it_tells_and_no_more() {
        let told = r#"{"topic":"sts","args":{"authenticated":true,"competing":false}}"#;
        assert!(matches!(
            frame(told),
            Frame::Status { authenticated: Some(true), competing: Some(false) }
        ));
        let lost = r#"{"topic":"sts","args":{"authenticated":false}}"#;
        assert!(matches!(
            frame(lost),
            Frame::Status { authenticated: Some(false), competing: None }
        ));
    }

    #[test]
    fn deltas_of_a_quote_are_laid_over_the_whole() {
        let Frame::Quote(conid, mut fields) = frame(
            r#"{"topic":"smd+265598","conid":265598,"_updated":5,"6509":"RpB","31":"10",
                "84":"9.9","86":"10.1","server_id":"q0"}"#,
        ) else {
            panic!("not a quote");
        };
        let Frame::Quote(_, delta) = frame(r#"{"topic":"smd+265598","_updated":6,"84":"9.95"}"#)
        else {
            panic!("not a quote");
        };
        fields.update(delta);
        let quote =
            fields.row().unwrap().into_quote(conid, ibkr_agent_domain::Timestamp::from_millis(9));
        assert_eq!((quote.bid, quote.ask), (Some(dec!(9.95)), Some(dec!(10.1))));
        assert_eq!(quote.updated.unwrap().as_millis(), 6);
    }

    #[test]
    fn a_book_is_read_with_sizes_before_prices() {
        let Frame::Ladder(account, conid, rows) = frame(
            r#"{"topic":"sbd+DU1+265598","data":[{"row":0,"focus":0,"price":"10.2","ask":"1,200"},
                {"row":1,"focus":1,"price":"5 @ 10.1"},{"row":2,"price":"10.0","bid":"300"}]}"#,
        ) else {
            panic!("not a book");
        };
        assert_eq!((account.as_str(), conid.get()), ("DU1", 265_598));
        let levels: Vec<_> = rows.iter().filter_map(LadderRow::level).collect();
        assert_eq!(levels[0].ask_size, Some(dec!(1200)));
        assert_eq!((levels[1].price, levels[1].is_last), (dec!(10.1), true));
        assert_eq!(levels[2].bid_size, Some(dec!(300)));
    }

    #[test]
    fn a_row_that_cannot_be_read_spoils_no_other() {
        let Frame::Trades(rows) =
            frame(r#"{"topic":"str","args":[[1],"x",{"execution_id":"e1"},null]}"#)
        else {
            panic!("no trades");
        };
        assert_eq!(rows.len(), 1);
        let Frame::Notices(one) = frame(r#"{"topic":"ntf","args":{"title":"T","text":"t"}}"#)
        else {
            panic!("no notice");
        };
        assert_eq!(one.len(), 1);
    }

    #[test]
    fn an_error_names_its_topic() {
        let text = r#"{"topic":"error","error":"No accounts","code":500}"#;
        let Frame::Failure { topic, text } = frame(text) else {
            panic!("no failure");
        };
        assert_eq!((topic.as_str(), text.as_str()), ("error", "No accounts"));
    }
}
