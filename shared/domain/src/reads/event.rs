//! What a broker's streams and keeper tell without being asked.

use crate::{
    AccountId, BrokerOrder, Conid, Execution, ProfitAndLoss, Quote, SessionHealth, Timestamp,
    Untrusted,
};

/// Something that changed at the broker. Events may be lost or doubled; reads tell the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerEvent {
    /// The session changed its state.
    Session(SessionHealth),
    /// A watched quote changed.
    Quote(Quote),
    /// An order changed. A delta of the stream holds the fields that it told.
    Order(Box<BrokerOrder>),
    /// A fill.
    Execution(Execution),
    /// An account's profit and loss changed.
    ProfitAndLoss(ProfitAndLoss),
    /// The broker tells the owner something.
    Notification {
        /// Its headline.
        title: Untrusted,
        /// Its text.
        text: Untrusted,
    },
    /// The session ends soon and a human must log in again; told once per end.
    Reminder {
        /// When it ends.
        ends_at: Timestamp,
    },
    /// The stream was cut and came back: what was missed must be read.
    Resumed,
}

/// What a subscriber wants to be told of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watch {
    /// A contract's quote.
    Quote(Conid),
    /// An account's positions, orders, profit and loss.
    Account(AccountId),
}
