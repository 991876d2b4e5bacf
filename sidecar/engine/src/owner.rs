//! Whose something is: whose an approval or an order of ours is, and whose an order is that the
//! broker shows.
//!
//! Both are judged here only. In doubt nothing is anybody's: an owner that can't be read isn't
//! read, and what may be ours isn't told as somebody else's.

use crate::{Engine, OrderEntry};
use core::fmt;
use ibkr_agent_domain::{
    AccountId, Actor, BrokerOrder, BrokerOrderId, ClientOrderId, Conid, Execution, Side,
};
use ibkr_agent_gates::Requester;

/// Whose preview, approval or order it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The machine's own user: local callers, operators and the gateway itself are one owner.
    Local,
    /// Whoever holds tokens of this issuer and subject, with whatever client.
    Token {
        /// The issuer; it holds no `|`.
        issuer: String,
        /// The name of the subject.
        subject: String,
    },
    /// A caller that proved nothing: nothing is its own.
    Nobody,
}

impl Owner {
    const LOCAL: &'static str = "local";
    const NOBODY: &'static str = "nobody";

    /// Whose things an actor may use.
    #[must_use]
    pub fn of(actor: &Actor) -> Self {
        match actor {
            Actor::Token { issuer, subject, .. } => {
                Self::Token { issuer: issuer.clone(), subject: subject.to_string() }
            }
            Actor::Local { .. } | Actor::Operator { .. } | Actor::System => Self::Local,
            Actor::Unauthenticated { .. } => Self::Nobody,
        }
    }

    /// Reads the text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            Self::LOCAL => Some(Self::Local),
            Self::NOBODY => Some(Self::Nobody),
            token => token.split_once('|').map(|(issuer, subject)| Self::Token {
                issuer: issuer.to_owned(),
                subject: subject.to_owned(),
            }),
        }
    }
}

/// The text form, which rows keep.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str(Self::LOCAL),
            Self::Token { issuer, subject } => write!(f, "{issuer}|{subject}"),
            Self::Nobody => f.write_str(Self::NOBODY),
        }
    }
}

/// Whose things a requester may use.
#[must_use]
pub fn owner_of(requester: &Requester) -> Owner {
    Owner::of(&requester.actor)
}

/// Whose an order at the broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// This gateway placed it, for whoever owns the entry.
    Ours(&'a OrderEntry),
    /// It may be one of ours whose id at the broker isn't known yet: the next look tells.
    Unsure,
    /// Somebody else's: a platform, a phone, another program.
    Foreign,
}

/// What the broker shows: an order, or a trade of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    account: &'a AccountId,
    conid: Conid,
    side: Option<Side>,
    reference: Option<&'a ClientOrderId>,
    order: Option<&'a BrokerOrderId>,
}

impl<'a> From<&'a BrokerOrder> for Shown<'a> {
    fn from(row: &'a BrokerOrder) -> Self {
        Self {
            account: &row.account,
            conid: row.conid,
            side: row.side,
            reference: row.reference.as_ref(),
            order: Some(&row.order_id),
        }
    }
}

impl<'a> From<&'a Execution> for Shown<'a> {
    fn from(fill: &'a Execution) -> Self {
        Self {
            account: &fill.account,
            conid: fill.conid,
            side: fill.side,
            reference: fill.reference.as_ref(),
            order: fill.order_id.as_ref(),
        }
    }
}

impl Engine {
    /// The order of ours that is shown. Broker ids are used again after a restart of the gateway:
    /// without a reference the contract must be the same, and the order not long over.
    pub(crate) fn ours(&self, shown: Shown<'_>) -> Option<&OrderEntry> {
        let named = match shown.reference {
            Some(reference) => self.orders.get(reference),
            None => shown.order.and_then(|id| self.orders.at_broker(shown.account, id)),
        };
        named.filter(|entry| {
            entry.account() == shown.account
                && entry.order.conid() == shown.conid
                && shown.side.is_none_or(|side| side == entry.order.terms().side)
        })
    }

    /// Whose it is.
    pub(crate) fn whose(&self, shown: Shown<'_>) -> Whose<'_> {
        let unsure = || {
            let mut open = self.orders.open_on(shown.account, shown.conid);
            shown.reference.is_none() && open.any(|entry| entry.broker_order_id.is_none())
        };
        match self.ours(shown) {
            Some(entry) => Whose::Ours(entry),
            None if unsure() => Whose::Unsure,
            None => Whose::Foreign,
        }
    }

    /// Whose an order is that the broker lists.
    #[must_use]
    pub fn whose_order(&self, row: &BrokerOrder) -> Whose<'_> {
        self.whose(row.into())
    }
}
