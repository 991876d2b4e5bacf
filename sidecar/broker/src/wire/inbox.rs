//! Watchlists, alerts and notifications.

use super::{Many, Scalar, html, unreadable};
use crate::BrokerError;
use ibkr_agent_domain::{
    AccountId, Alert, AssetClass, Notification, Untrusted, Watchlist, WatchlistItem,
};
use serde::Deserialize;

/// Most watchlists, items, alerts, conditions and notifications.
const MAX_ROWS: usize = 1_000;
/// Longest body of a notification, in characters.
const MAX_BODY: usize = 4_000;
/// Longest id.
const MAX_ID: usize = 64;

/// `/iserver/watchlists`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Watchlists {
    data: Option<WatchlistData>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WatchlistData {
    user_lists: Many<ListRow>,
    system_lists: Many<ListRow>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ListRow {
    id: Scalar,
    name: Scalar,
    read_only: Scalar,
}

impl Watchlists {
    pub(crate) fn into_lists(self) -> Result<Vec<Watchlist>, BrokerError> {
        let data = self.data.ok_or(unreadable("watchlists"))?;
        let rows = data.user_lists.into_iter().chain(data.system_lists);
        let list = |row: ListRow| {
            Ok(Watchlist {
                id: row.id.untrusted().ok_or(unreadable("id of a watchlist"))?,
                name: row.name.named().unwrap_or_default(),
                read_only: row.read_only.is_true().unwrap_or(false),
                items: Vec::new(),
            })
        };
        rows.take(MAX_ROWS).map(list).collect()
    }
}

/// `/iserver/watchlist?id=`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WatchlistAnswer {
    id: Scalar,
    name: Scalar,
    read_only: Scalar,
    instruments: Many<ItemRow>,
}

/// A contract, or a headline without one.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ItemRow {
    #[serde(rename = "C")]
    c: Scalar,
    #[serde(rename = "ST")]
    st: Scalar,
    conid: Scalar,
    name: Scalar,
    full_name: Scalar,
    ticker: Scalar,
    asset_class: Scalar,
}

impl WatchlistAnswer {
    /// Whether the first read of a session, which only names contracts.
    pub(crate) fn is_thin(&self) -> bool {
        let is_contract = |row: &&ItemRow| row.conid().is_some();
        let mut rows = self.instruments.iter().filter(is_contract).peekable();
        rows.peek().is_some() && rows.all(|row| row.ticker.as_str().is_none())
    }

    pub(crate) fn into_list(self) -> Result<Watchlist, BrokerError> {
        let items = self.instruments.into_iter().filter_map(ItemRow::into_item);
        Ok(Watchlist {
            id: self.id.untrusted().ok_or(unreadable("id of a watchlist"))?,
            name: self.name.named().unwrap_or_default(),
            read_only: self.read_only.is_true().unwrap_or(false),
            items: items.take(MAX_ROWS).collect(),
        })
    }
}

impl ItemRow {
    fn conid(&self) -> Option<ibkr_agent_domain::Conid> {
        self.conid.conid().or_else(|| self.c.conid())
    }

    fn into_item(self) -> Option<WatchlistItem> {
        let class = self.asset_class.as_str().or(self.st.as_str());
        Some(WatchlistItem {
            conid: self.conid()?,
            symbol: self.ticker.untrusted(),
            name: self.name.named().or_else(|| self.full_name.named()),
            class: class.and_then(AssetClass::parse),
        })
    }
}

/// An alert of `/iserver/account/{id}/alerts`, or one of `/iserver/account/alert/{id}`, which also
/// has conditions.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct AlertRow {
    order_id: Scalar,
    account: Scalar,
    alert_name: Scalar,
    #[serde(rename = "alertName")]
    alert_name_camel: Scalar,
    alert_active: Scalar,
    alert_triggered: Scalar,
    alert_repeatable: Scalar,
    order_time: Scalar,
    conditions: Many<ConditionRow>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConditionRow {
    condition_type: Scalar,
    conidex: Scalar,
    contract_description_1: Scalar,
    condition_operator: Scalar,
    condition_value: Scalar,
    condition_logic_bind: Scalar,
}

impl AlertRow {
    /// Whether the alert is another account's.
    pub(crate) fn is_of_another(&self, account: &AccountId) -> bool {
        self.account.account().is_some_and(|told| told != *account)
    }

    pub(crate) fn into_alert(self, asked: &AccountId) -> Result<Alert, BrokerError> {
        let name = self.alert_name.named().or_else(|| self.alert_name_camel.named());
        Ok(Alert {
            id: self.order_id.untrusted().ok_or(unreadable("id of an alert"))?,
            account: self.account.account().unwrap_or_else(|| asked.clone()),
            name: name.unwrap_or_default(),
            is_active: self.alert_active.is_true().ok_or(unreadable("state of an alert"))?,
            has_triggered: self.alert_triggered.is_true().unwrap_or(false),
            repeats: self.alert_repeatable.is_true().unwrap_or(false),
            created: self.order_time.as_str().and_then(super::utc_time),
            conditions: self.conditions.iter().take(MAX_ROWS).map(ConditionRow::shown).collect(),
        })
    }
}

impl ConditionRow {
    /// `AAPL price >= 230`, then how the next condition is bound.
    fn shown(&self) -> Untrusted {
        let kind = match self.condition_type.as_str() {
            Some("1") => "price",
            Some("3") => "time",
            Some("4") => "margin",
            Some("5") => "trade",
            Some("6") => "volume",
            Some("7") => "market",
            Some("8") => "position",
            Some("9") => "daily profit and loss",
            Some(_) | None => "condition",
        };
        let bind = match self.condition_logic_bind.as_str() {
            Some("a") => Some("and"),
            Some("o") => Some("or"),
            Some(_) | None => None,
        };
        let what = self.contract_description_1.as_str().or(self.conidex.as_str());
        let parts = [
            what,
            Some(kind),
            self.condition_operator.as_str(),
            self.condition_value.as_str(),
            bind,
        ];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        Untrusted::new(&html::decode(&parts.join(" ")))
    }
}

/// A row of `/fyi/notifications`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct NotificationRow {
    #[serde(rename = "R")]
    read: Scalar,
    #[serde(rename = "D")]
    date: Scalar,
    #[serde(rename = "MS")]
    title: Scalar,
    #[serde(rename = "MD")]
    body: Scalar,
    #[serde(rename = "ID")]
    id: Scalar,
    #[serde(rename = "FC")]
    kind: Scalar,
}

impl NotificationRow {
    pub(crate) fn into_notification(self) -> Result<Notification, BrokerError> {
        let plain = |scalar: &Scalar| html::plain(scalar.as_str().unwrap_or_default());
        Ok(Notification {
            id: self.id.untrusted().ok_or(unreadable("id of a notification"))?,
            kind: self.kind.shown(),
            title: Untrusted::new(&plain(&self.title)),
            body: Untrusted::bounded(&plain(&self.body), MAX_BODY),
            is_read: self.read.is_true().unwrap_or(false),
            time: self.date.seconds(),
        })
    }
}

/// Whether a text can be an id of a watchlist or an alert.
pub(crate) fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_shows_its_html_as_text_and_its_tricks_as_escapes() {
        let json = r#"{"R":0,"D":"1775041875.0","MS":"FYI: <b>Earnings</b>\u202e","ID":"2026",
            "MD":"<p>AAPL&nbsp;reports</p><script>x()</script>\u001b[31mnow","HT":1,"FC":"EA"}"#;
        let raw: NotificationRow = serde_json::from_str(json).unwrap();
        let read = raw.into_notification().unwrap();
        assert_eq!(read.title.as_str(), "FYI: Earnings \\u{202e}");
        assert_eq!(read.body.as_str(), "AAPL reports \\u{1b}[31mnow");
        assert_eq!(read.time.unwrap().as_millis(), 1_775_041_875_000);
        assert!(!read.is_read);
    }

    #[test]
    fn a_thin_watchlist_is_seen_and_headlines_are_left_out() {
        let thin = r#"{"id":"5","name":"Mine","instruments":[{"C":"265598","conid":265598,
            "name":"APPLE"},{"H":""}]}"#;
        let raw: WatchlistAnswer = serde_json::from_str(thin).unwrap();
        assert!(raw.is_thin());
        let full = r#"{"id":"5","hash":"1","name":"Mine","readOnly":false,"instruments":[
            {"ST":"STK","C":"265598","conid":265598,"name":"APPLE INC","fullName":"AAPL",
             "assetClass":"STK","ticker":"AAPL","chineseName":"&#x82F9;"},{"H":""}]}"#;
        let raw: WatchlistAnswer = serde_json::from_str(full).unwrap();
        assert!(!raw.is_thin());
        let list = raw.into_list().unwrap();
        assert_eq!(list.items.len(), 1);
        assert_eq!(list.items[0].class, Some(AssetClass::Stock));
        let empty: WatchlistAnswer = serde_json::from_str(r#"{"id":"5"}"#).unwrap();
        assert!(!empty.is_thin());
    }

    #[test]
    fn alerts_are_shown_with_their_conditions_in_words() {
        let json = r#"{"account":"DU1","order_id":77,"alertName":"Up","alert_active":1,
            "alert_repeatable":0,"alert_triggered":false,"order_time":"20260403-14:30:00",
            "conditions":[{"condition_type":1,"conidex":"265598@SMART",
            "contract_description_1":"AAPL","condition_operator":"&gt;=","condition_value":"230",
            "condition_logic_bind":"a"},{"condition_type":3,"condition_operator":">=",
            "condition_value":"20260501-00:00:00","condition_logic_bind":"n"}]}"#;
        let raw: AlertRow = serde_json::from_str(json).unwrap();
        let account = AccountId::parse("DU1").unwrap();
        let alert = raw.into_alert(&account).unwrap();
        assert_eq!(alert.conditions[0].as_str(), "AAPL price >= 230 and");
        assert_eq!(alert.conditions[1].as_str(), "time >= 20260501-00:00:00");
        assert_eq!(alert.created.unwrap().to_string(), "2026-04-03T14:30:00.000Z");
        assert!(alert.is_active && !alert.has_triggered);
    }

    #[test]
    fn ids_are_short_words() {
        for (text, expected) in [("1234", true), ("a-b_C", true), ("", false), ("../x", false)] {
            assert_eq!(is_id(text), expected, "{text}");
        }
        assert!(!is_id(&"1".repeat(65)));
    }
}
