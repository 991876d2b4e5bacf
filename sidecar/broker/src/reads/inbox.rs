//! Watchlists, alerts and notifications: what the owner keeps or is told at the broker.

use crate::BrokerError;
use crate::client::ClientPortal;
use crate::pacing::Lane;
use crate::transport::Request;
use crate::wire::inbox::{AlertRow, NotificationRow, WatchlistAnswer, Watchlists, is_id};
use crate::wire::{parse, parse_list};
use ibkr_agent_domain::{AccountId, Alert, Notification, Watchlist};

/// Most alerts of an account, and notifications of one answer.
const MAX_ROWS: usize = 1_000;
/// How many notifications are asked for.
const NOTIFICATIONS: &str = "10";

impl ClientPortal {
    pub(crate) async fn read_watchlists(&self) -> Result<Vec<Watchlist>, BrokerError> {
        let request = Request::get("/iserver/watchlists").param("SC", "USER_WATCHLIST");
        let raw: Watchlists = self.fetch_as(&request, "watchlists").await?;
        raw.into_lists()
    }

    /// The first read of a session only names the contracts: a thin answer is asked for once more.
    /// An unknown id is a server failure on the wire, so it is looked up before it is believed.
    pub(crate) async fn read_watchlist(&self, id: &str) -> Result<Watchlist, BrokerError> {
        if !is_id(id) {
            return Err(BrokerError::InvalidRequest { what: "id of a watchlist" });
        }
        let request = Request::get("/iserver/watchlist").param("id", id);
        let raw: WatchlistAnswer = match self.fetch_as(&request, "watchlist").await {
            Err(error @ (BrokerError::Upstream { .. } | BrokerError::Rejected { .. })) => {
                let lists = self.read_watchlists().await?;
                if lists.iter().any(|list| list.id.as_str() == id) {
                    return Err(error);
                }
                return Err(BrokerError::InvalidRequest { what: "there is no such watchlist" });
            }
            other => other?,
        };
        if !raw.is_thin() {
            return raw.into_list();
        }
        let again: WatchlistAnswer = self.fetch_as(&request, "watchlist").await?;
        again.into_list()
    }

    pub(crate) async fn read_alerts(&self, account: &AccountId) -> Result<Vec<Alert>, BrokerError> {
        self.require(account).await?;
        let request = Request::get(format!("/iserver/account/{account}/alerts"));
        let rows: Vec<AlertRow> = parse_list(&self.fetch(&request).await?.body, "alerts")?;
        let own = rows.into_iter().filter(|row| !row.is_of_another(account));
        own.take(MAX_ROWS).map(|row| row.into_alert(account)).collect()
    }

    pub(crate) async fn read_alert(
        &self,
        account: &AccountId,
        id: &str,
    ) -> Result<Alert, BrokerError> {
        self.require(account).await?;
        let unknown = BrokerError::InvalidRequest { what: "there is no such alert" };
        if !is_id(id) || id == "0" {
            return Err(unknown);
        }
        let request = Request::get(format!("/iserver/account/alert/{id}")).param("type", "Q");
        let answer = match self.fetch(&request).await {
            Err(BrokerError::Rejected { .. }) => return Err(unknown),
            other => other?,
        };
        let row: AlertRow = parse(&answer.body, "alert")?;
        if row.is_of_another(account) {
            return Err(unknown);
        }
        row.into_alert(account)
    }

    pub(crate) async fn read_notifications(&self) -> Result<Vec<Notification>, BrokerError> {
        let request = Request::get("/fyi/notifications")
            .param("max", NOTIFICATIONS)
            .lane(Lane::Notifications);
        let answer = self.fetch(&request).await?;
        let rows: Vec<NotificationRow> = parse_list(&answer.body, "notifications")?;
        let read: Result<Vec<Notification>, BrokerError> =
            rows.into_iter().take(MAX_ROWS).map(NotificationRow::into_notification).collect();
        let mut read = read?;
        read.sort_by_key(|note| core::cmp::Reverse(note.time));
        Ok(read)
    }
}
