//! Watchlists, alerts and the broker's notifications: what the owner keeps or gets at the broker.

use super::account::page;
use super::{Asked, Done};
use crate::brokers::{account_mode, error_body};
use ibkr_agent_domain::{Alert, Notification, Untrusted};
use ibkr_agent_protocol::catalogue::inbox::{
    AlertsList, AlertsListInput, AlertsListOutput, DEFAULT_NOTIFICATIONS, MAX_CONDITIONS,
    NotificationsList, NotificationsListOutput, WatchlistsList, WatchlistsListInput,
    WatchlistsListOutput, alerts_table, items_table, notifications_table, watchlists_table,
};
use ibkr_agent_protocol::catalogue::{
    BrokerText, MAX_ROWS, Wire, count, invalid, offset, row_limit,
};
use ibkr_agent_protocol::service::ErrorBody;

impl Asked<'_> {
    pub(super) async fn watchlists_list(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<WatchlistsList>()?;
        match &input.watchlist_id {
            Some(Wire(id)) => self.watchlist(id.as_str(), &input).await,
            None => self.watchlists(&input).await,
        }
    }

    async fn watchlists(&self, input: &WatchlistsListInput) -> Result<Done, ErrorBody> {
        let (limit, start) = (row_limit(input.limit)?, offset(input.cursor.as_ref())?);
        let lists = self.core.brokers.market()?.watchlists().await;
        let lists = lists.map_err(|error| error_body(&error))?;
        let as_of = self.now();
        Done::fitting(limit, None, |limit| {
            let (shown, next_cursor) = page(&lists, start, limit);
            WatchlistsListOutput {
                backend: Wire(self.core.backend),
                as_of: Wire(as_of),
                watchlists: Some(watchlists_table(shown)),
                name: None,
                items: None,
                next_cursor,
            }
        })
    }

    async fn watchlist(&self, id: &str, input: &WatchlistsListInput) -> Result<Done, ErrorBody> {
        let (limit, start) = (row_limit(input.limit)?, offset(input.cursor.as_ref())?);
        let list = self.core.brokers.market()?.watchlist(id).await;
        let list = list.map_err(|error| error_body(&error))?;
        let as_of = self.now();
        Done::fitting(limit, None, |limit| {
            let (shown, next_cursor) = page(&list.items, start, limit);
            WatchlistsListOutput {
                backend: Wire(self.core.backend),
                as_of: Wire(as_of),
                watchlists: None,
                name: Some(Wire(list.name.clone())),
                items: Some(items_table(shown)),
                next_cursor,
            }
        })
    }

    pub(super) async fn alerts_list(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<AlertsList>()?;
        let routed = self.routed(input.account_id.as_ref()).await?;
        let account = &routed.info.id;
        let output = |alerts: &[Alert], conditions: Option<&[Untrusted]>, next_cursor| {
            let shown = conditions.map(|all| {
                let shown = all.iter().take(MAX_CONDITIONS);
                shown.cloned().map(BrokerText::from).collect()
            });
            AlertsListOutput {
                account_id: Wire(account.clone()),
                backend: Wire(self.core.backend),
                mode: Wire(account_mode(&routed)),
                as_of: Wire(self.now()),
                table: alerts_table(alerts),
                conditions: shown,
                truncated: conditions.map(|all| all.len() > MAX_CONDITIONS),
                next_cursor,
            }
        };
        let output = if let Some(Wire(id)) = &input.alert_id {
            let alert = routed.broker.alert(account, id.as_str()).await;
            let alert = alert.map_err(|error| error_body(&error))?;
            output(std::slice::from_ref(&alert), Some(&alert.conditions), None)
        } else {
            let AlertsListInput { cursor, limit, .. } = &input;
            let (limit, start) = (row_limit(*limit)?, offset(cursor.as_ref())?);
            let alerts = routed.broker.alerts(account).await.map_err(|error| error_body(&error))?;
            let (shown, next_cursor) = page(&alerts, start, limit);
            output(shown, None, next_cursor)
        };
        Done::read(&output, Some(account.clone()))
    }

    pub(super) async fn notifications_list(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<NotificationsList>()?;
        let limit = count("limit", input.limit, DEFAULT_NOTIFICATIONS, MAX_ROWS)?;
        let start = offset(input.cursor.as_ref())?;
        let all = self.core.brokers.market()?.notifications().await;
        let all = all.map_err(|error| error_body(&error))?;
        let asked = input.notification_id.as_ref().map(|id| id.0.as_str());
        let wanted: Vec<Notification> = all
            .into_iter()
            .filter(|notification| asked.is_none_or(|id| notification.id.as_str() == id))
            .filter(|notification| input.admits(notification))
            .collect();
        if asked.is_some() && wanted.is_empty() {
            let message = "notification_id is none of the broker's latest notifications";
            return Err(invalid(message));
        }
        let body = asked.and_then(|_| wanted.first()).map(|one| one.body.clone());
        let as_of = self.now();
        Done::fitting(limit, None, |limit| {
            let (shown, next_cursor) = page(&wanted, start, limit);
            NotificationsListOutput {
                backend: Wire(self.core.backend),
                as_of: Wire(as_of),
                table: notifications_table(shown),
                body: body.clone().map(BrokerText::from),
                next_cursor,
            }
        })
    }
}
