//! Watchlists, alerts and the broker's notifications.

use crate::{AccountId, AssetClass, Conid, Timestamp, Untrusted};

/// A list of contracts that the owner keeps at the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watchlist {
    /// Its id.
    pub id: Untrusted,
    /// Its name.
    pub name: Untrusted,
    /// Whether it can't be changed.
    pub read_only: bool,
    /// Its contracts; empty in a list of lists.
    pub items: Vec<WatchlistItem>,
}

/// One row of a watchlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchlistItem {
    /// The contract.
    pub conid: Conid,
    /// Symbol, if told.
    pub symbol: Option<Untrusted>,
    /// Name, if told.
    pub name: Option<Untrusted>,
    /// Asset class, if we know it.
    pub class: Option<AssetClass>,
}

/// A price or other alert that the owner set at the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its id.
    pub id: Untrusted,
    /// The account.
    pub account: AccountId,
    /// Its name.
    pub name: Untrusted,
    /// Whether it is armed.
    pub is_active: bool,
    /// Whether it has fired.
    pub has_triggered: bool,
    /// Whether it fires again and again.
    pub repeats: bool,
    /// When it was made, if told.
    pub created: Option<Timestamp>,
    /// Its conditions in the broker's words; empty in a list of alerts.
    pub conditions: Vec<Untrusted>,
}

/// A note from the broker to the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its id.
    pub id: Untrusted,
    /// Type code, such as `EA`.
    pub kind: Untrusted,
    /// Headline.
    pub title: Untrusted,
    /// Body, HTML shown as text.
    pub body: Untrusted,
    /// Whether it was read.
    pub is_read: bool,
    /// When it was sent, if told.
    pub time: Option<Timestamp>,
}
