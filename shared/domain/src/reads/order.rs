//! Orders and fills as the broker lists them.
//!
//! A price stands in the field of what it does: a stop's trigger is never a limit, and a price
//! whose meaning the broker doesn't tell is [`BrokerOrder::other_price`]. A row that can't be read
//! is kept as an [`UnreadRow`], so that a list never looks whole when it isn't.

use crate::{
    AccountId, BrokerOrderId, ClientOrderId, Conid, Side, TimeInForce, Timestamp, Untrusted,
};
use rust_decimal::Decimal;

/// What the broker says of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BrokerOrderStatus {
    /// Held, or rejected by its destination.
    Inactive,
    /// Sent, not acknowledged.
    PendingSubmit,
    /// Accepted, not yet at the exchange.
    PreSubmitted,
    /// Working.
    Submitted,
    /// Filled.
    Filled,
    /// A cancel is under way; it may still fill.
    PendingCancel,
    /// Cancelled before it reached the exchange.
    PreCancelled,
    /// Cancelled.
    Cancelled,
    /// The broker warns.
    WarnState,
    /// A text that isn't documented.
    Other,
}

impl BrokerOrderStatus {
    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::PendingSubmit => "pending_submit",
            Self::PreSubmitted => "pre_submitted",
            Self::Submitted => "submitted",
            Self::Filled => "filled",
            Self::PendingCancel => "pending_cancel",
            Self::PreCancelled => "pre_cancelled",
            Self::Cancelled => "cancelled",
            Self::WarnState => "warn_state",
            Self::Other => "other",
        }
    }

    /// Parses IBKR's text, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().replace('_', "").as_str() {
            "inactive" => Self::Inactive,
            "pendingsubmit" => Self::PendingSubmit,
            "presubmitted" => Self::PreSubmitted,
            "submitted" => Self::Submitted,
            "filled" => Self::Filled,
            "pendingcancel" => Self::PendingCancel,
            "precancelled" => Self::PreCancelled,
            "cancelled" => Self::Cancelled,
            "warnstate" => Self::WarnState,
            _ => Self::Other,
        }
    }

    /// Whether the order may still trade.
    #[must_use]
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::Filled | Self::Cancelled | Self::PreCancelled | Self::Inactive)
    }
}

/// What kind of order the broker says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BrokerOrderType {
    /// At a limit or better.
    Limit,
    /// At the market.
    Market,
    /// At the market, once the trigger is reached.
    Stop,
    /// At a limit, once the trigger is reached.
    StopLimit,
    /// A stop whose trigger follows the market.
    Trailing,
    /// A stop limit whose trigger follows the market.
    TrailingLimit,
    /// At the market, once the price is touched.
    MarketIfTouched,
    /// At a limit, once the price is touched.
    LimitIfTouched,
    /// At the market, when it closes.
    MarketOnClose,
    /// At a limit, when it closes.
    LimitOnClose,
    /// At the middle of the quote.
    MidPrice,
    /// Relative to the quote.
    Relative,
    /// A kind that isn't known here, or none was told.
    Other,
}

impl BrokerOrderType {
    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Market => "market",
            Self::Stop => "stop",
            Self::StopLimit => "stop_limit",
            Self::Trailing => "trailing",
            Self::TrailingLimit => "trailing_limit",
            Self::MarketIfTouched => "market_if_touched",
            Self::LimitIfTouched => "limit_if_touched",
            Self::MarketOnClose => "market_on_close",
            Self::LimitOnClose => "limit_on_close",
            Self::MidPrice => "mid_price",
            Self::Relative => "relative",
            Self::Other => "other",
        }
    }

    /// Parses a name of the ticket, of a list or of the contract's rules: they differ.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
        match plain.to_ascii_lowercase().as_str() {
            "limit" | "lmt" => Self::Limit,
            "market" | "mkt" => Self::Market,
            "stop" | "stp" => Self::Stop,
            "stoplimit" | "stplmt" => Self::StopLimit,
            "trail" | "trailingstop" => Self::Trailing,
            "traillmt" | "traillimit" | "trailingstoplimit" => Self::TrailingLimit,
            "mit" | "marketiftouched" => Self::MarketIfTouched,
            "lit" | "limitiftouched" => Self::LimitIfTouched,
            "moc" | "marketonclose" => Self::MarketOnClose,
            "loc" | "limitonclose" => Self::LimitOnClose,
            "midprice" => Self::MidPrice,
            "rel" | "relative" => Self::Relative,
            _ => Self::Other,
        }
    }
}

/// How long an order works, as the broker tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerTimeInForce {
    /// A time in force that we place orders with.
    Known(TimeInForce),
    /// Another one, in the broker's word.
    Other(Untrusted),
}

impl BrokerTimeInForce {
    /// Parses the broker's word. `CLOSE` is what an order list says of an order of the day.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.eq_ignore_ascii_case("CLOSE") {
            return Self::Known(TimeInForce::Day);
        }
        TimeInForce::parse(text).map_or_else(|| Self::Other(Untrusted::new(text)), Self::Known)
    }

    /// Our name where we have one, otherwise the broker's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(known) => known.as_str(),
            Self::Other(word) => word.as_str(),
        }
    }
}

/// What a trailing amount counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrailingUnit {
    /// Money per unit.
    Amount,
    /// Percent: 1 is one percent.
    Percent,
}

/// By how much a trigger follows the market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailing {
    /// The distance.
    pub by: Decimal,
    /// What it counts, if told.
    pub unit: Option<TrailingUnit>,
}

impl core::fmt::Display for Trailing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let unit = match self.unit {
            Some(TrailingUnit::Percent) => "%",
            Some(TrailingUnit::Amount) => "",
            None => " of an untold unit",
        };
        write!(f, "{}{unit}", self.by.normalize())
    }
}

/// An order at the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerOrder {
    /// IBKR's id.
    pub order_id: BrokerOrderId,
    /// Our reference, when the order carries one.
    pub reference: Option<ClientOrderId>,
    /// The account.
    pub account: AccountId,
    /// The contract.
    pub conid: Conid,
    /// Symbol.
    pub symbol: Untrusted,
    /// Side, if told.
    pub side: Option<Side>,
    /// Total quantity.
    pub quantity: Option<Decimal>,
    /// Filled so far.
    pub filled: Option<Decimal>,
    /// Not filled yet.
    pub remaining: Option<Decimal>,
    /// What kind of order it is.
    pub order_type: BrokerOrderType,
    /// The kind, as the broker names it.
    pub kind: Untrusted,
    /// Limit price, if it has one.
    pub limit_price: Option<Decimal>,
    /// The price that triggers it: a stop's price. Of a trailing order it moves.
    pub trigger_price: Option<Decimal>,
    /// A price whose meaning the broker doesn't tell for this kind of order.
    pub other_price: Option<Decimal>,
    /// By how much its trigger follows the market.
    pub trailing: Option<Trailing>,
    /// Average fill price.
    pub average_price: Option<Decimal>,
    /// How long it works.
    pub time_in_force: Option<BrokerTimeInForce>,
    /// Whether it works outside regular hours too.
    pub outside_hours: Option<bool>,
    /// The order whose fill sets it to work.
    pub parent: Option<BrokerOrderId>,
    /// The group in which one fill cancels the others.
    pub oca_group: Option<Untrusted>,
    /// Status.
    pub status: BrokerOrderStatus,
    /// Why the broker's system cancelled or rejected it.
    pub cancel_reason: Option<Untrusted>,
    /// The broker's short text of the whole order.
    pub description: Option<Untrusted>,
    /// Last change, if told.
    pub updated: Option<Timestamp>,
}

impl BrokerOrder {
    /// An order of which nothing but these is told.
    #[must_use]
    pub fn of(order_id: BrokerOrderId, account: AccountId, conid: Conid) -> Self {
        Self {
            order_id,
            reference: None,
            account,
            conid,
            symbol: Untrusted::default(),
            side: None,
            quantity: None,
            filled: None,
            remaining: None,
            order_type: BrokerOrderType::Other,
            kind: Untrusted::default(),
            limit_price: None,
            trigger_price: None,
            other_price: None,
            trailing: None,
            average_price: None,
            time_in_force: None,
            outside_hours: None,
            parent: None,
            oca_group: None,
            status: BrokerOrderStatus::Other,
            cancel_reason: None,
            description: None,
            updated: None,
        }
    }

    /// Completes a thin row with what was known of the order before: a row may tell a part of an
    /// order only, and what it leaves out hasn't changed.
    #[must_use]
    pub fn over(self, before: &Self) -> Self {
        let is_told = !self.kind.as_str().is_empty();
        Self {
            reference: self.reference.or_else(|| before.reference.clone()),
            side: self.side.or(before.side),
            quantity: self.quantity.or(before.quantity),
            filled: self.filled.or(before.filled),
            remaining: self.remaining.or(before.remaining),
            order_type: if is_told { self.order_type } else { before.order_type },
            kind: if is_told { self.kind } else { before.kind.clone() },
            limit_price: self.limit_price.or(before.limit_price),
            trigger_price: self.trigger_price.or(before.trigger_price),
            other_price: self.other_price.or(before.other_price),
            trailing: self.trailing.or(before.trailing),
            average_price: self.average_price.or(before.average_price),
            time_in_force: self.time_in_force.or_else(|| before.time_in_force.clone()),
            outside_hours: self.outside_hours.or(before.outside_hours),
            parent: self.parent.or_else(|| before.parent.clone()),
            oca_group: self.oca_group.or_else(|| before.oca_group.clone()),
            cancel_reason: self.cancel_reason.or_else(|| before.cancel_reason.clone()),
            description: self.description.or_else(|| before.description.clone()),
            updated: self.updated.or(before.updated),
            ..self
        }
    }
}

/// A fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// IBKR's execution id.
    pub id: Untrusted,
    /// The order it filled.
    pub order_id: Option<BrokerOrderId>,
    /// Our reference, when the order carries one.
    pub reference: Option<ClientOrderId>,
    /// The account.
    pub account: AccountId,
    /// The contract.
    pub conid: Conid,
    /// Symbol.
    pub symbol: Untrusted,
    /// Side, if told.
    pub side: Option<Side>,
    /// Quantity.
    pub quantity: Decimal,
    /// Price.
    pub price: Decimal,
    /// Commission; its currency isn't told by the broker.
    pub commission: Option<Decimal>,
    /// Where it traded.
    pub exchange: Untrusted,
    /// When.
    pub time: Timestamp,
}

impl Execution {
    /// The part of its id that a correction shares with what it corrects, and its number.
    ///
    /// IBKR's TWS API says that the digits after the last period tell a correction from the fill
    /// that it corrects (`….01`, then `….02`). No text or recording shows a correction in the Web
    /// API's trades, whose ids have the same form: whoever sums fills must decide.
    #[must_use]
    pub fn revision(&self) -> Option<(&str, u32)> {
        let (fill, number) = self.id.as_str().rsplit_once('.')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        Some((fill, number.parse().ok().filter(|_| is_number && !fill.is_empty())?))
    }
}

/// What a list of the broker's holds, and what of it couldn't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The rows that could be read.
    pub rows: Vec<T>,
    /// The others. While there is one, nothing is shown to be absent.
    pub unread: Vec<UnreadRow>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl<T> Listed<T> {
    /// A list that was read whole.
    #[must_use]
    pub const fn of(rows: Vec<T>) -> Self {
        Self { rows, unread: Vec::new() }
    }

    /// Whether every row could be read.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.unread.is_empty()
    }
}

/// A row of an order or a fill that couldn't be read, with what of it could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadRow {
    /// IBKR's order id.
    pub order_id: Option<BrokerOrderId>,
    /// Our reference, when the row carries one.
    pub reference: Option<ClientOrderId>,
    /// The account, as far as told; a list of one account holds rows of it only.
    pub account: Option<AccountId>,
    /// The contract.
    pub conid: Option<Conid>,
    /// What it says of the contract where that is no plain id: a combination's legs.
    pub contract: Option<Untrusted>,
    /// An order's status, if told.
    pub status: Option<BrokerOrderStatus>,
    /// The part that can't be read.
    pub why: &'static str,
}

impl UnreadRow {
    /// Whether it may be an order of a contract that may still trade. What isn't told may be.
    #[must_use]
    pub fn may_work_on(&self, conid: Conid) -> bool {
        let names_it = match (self.conid, &self.contract) {
            (Some(told), _) => told == conid,
            (None, Some(text)) => {
                let id = conid.get().to_string();
                let mut ids = text
                    .as_str()
                    .split([';', ','])
                    .map(|part| part.split(['/', '@']).next().unwrap_or(part));
                ids.any(|part| part == id)
            }
            (None, None) => true,
        };
        names_it && self.status.is_none_or(BrokerOrderStatus::is_open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conid(id: u64) -> Conid {
        Conid::new(id).unwrap()
    }

    #[test]
    fn every_dress_of_an_order_type_is_one_type() {
        for (texts, expected) in [
            (["Limit", "LIMIT", "LMT"], BrokerOrderType::Limit),
            (["Stop", "STP", "stop"], BrokerOrderType::Stop),
            (["Stop Limit", "STOP_LIMIT", "STP LMT"], BrokerOrderType::StopLimit),
            (["TRAIL", "trailing_stop", "Trailing Stop"], BrokerOrderType::Trailing),
            (["TRAILLMT", "trailing_stop_limit", "TRAIL LIMIT"], BrokerOrderType::TrailingLimit),
            (["MARKETONCLOSE", "MOC", "Market On Close"], BrokerOrderType::MarketOnClose),
            (["", "VWAP", "Limit with a twist"], BrokerOrderType::Other),
        ] {
            for text in texts {
                assert_eq!(BrokerOrderType::parse(text), expected, "{text}");
            }
        }
    }

    #[test]
    fn a_time_in_force_that_we_never_use_keeps_the_brokers_word() {
        for (text, expected) in
            [("DAY", "day"), ("CLOSE", "day"), ("GTC", "gtc"), ("OPG", "OPG"), ("OVT", "OVT")]
        {
            assert_eq!(BrokerTimeInForce::parse(text).as_str(), expected);
        }
    }

    #[test]
    fn an_unread_order_may_work_on_any_contract_that_it_doesnt_rule_out() {
        let row = |conid, contract: Option<&str>, status| UnreadRow {
            order_id: None,
            reference: None,
            account: None,
            conid,
            contract: contract.map(Untrusted::new),
            status,
            why: "contract id of an order",
        };
        let open = Some(BrokerOrderStatus::Submitted);
        assert!(row(None, None, None).may_work_on(conid(1)));
        assert!(row(None, Some("28812380;;;1/1,2/-1"), open).may_work_on(conid(1)));
        assert!(!row(None, Some("28812380;;;11/1,2/-1"), open).may_work_on(conid(1)));
        assert!(!row(Some(conid(2)), None, open).may_work_on(conid(1)));
        let ended = Some(BrokerOrderStatus::Cancelled);
        assert!(!row(None, None, ended).may_work_on(conid(1)));
    }

    #[test]
    fn a_correction_shares_all_but_the_last_digits_of_its_id() {
        let fill = |id: &str| Execution {
            id: Untrusted::new(id),
            order_id: None,
            reference: None,
            account: AccountId::parse("DU1").unwrap(),
            conid: conid(1),
            symbol: Untrusted::default(),
            side: None,
            quantity: Decimal::ONE,
            price: Decimal::ONE,
            commission: None,
            exchange: Untrusted::default(),
            time: Timestamp::from_millis(0),
        };
        let (first, second) = (fill("0000e0d5.6576fd38.01.01"), fill("0000e0d5.6576fd38.01.02"));
        assert_eq!(first.revision(), Some(("0000e0d5.6576fd38.01", 1)));
        assert_eq!(second.revision(), Some(("0000e0d5.6576fd38.01", 2)));
        assert_eq!(fill("e1").revision(), None);
        assert_eq!(fill("e1.x").revision(), None);
    }
}
