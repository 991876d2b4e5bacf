//! Profit and loss, allocation, performance, transactions, combinations.

use super::portfolio::PositionRow;
use super::{Many, Scalar, unreadable};
use crate::BrokerError;
use ibkr_agent_domain::{
    AccountId, Allocation, AllocationSlice, ComboPosition, Date, Performance, PerformancePeriod,
    PerformancePoint, Position, ProfitAndLoss, Timestamp, Transaction, Untrusted,
};
use rust_decimal::Decimal;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most rows of any of these answers.
const MAX_ROWS: usize = 10_000;

/// `/iserver/account/pnl/partitioned`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Partitions {
    upnl: Option<BTreeMap<String, Partition>>,
}

/// One account's partition.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(crate) struct Partition {
    dpl: Scalar,
    upl: Scalar,
    nl: Scalar,
    el: Scalar,
    mv: Scalar,
}

impl Partitions {
    /// Whether nothing is told yet, as on the first call of a session.
    pub(crate) fn is_cold(&self) -> bool {
        self.upnl.as_ref().is_none_or(BTreeMap::is_empty)
    }

    /// The account's figures: `{account}.Core`, else its only partition.
    pub(crate) fn of(self, account: &AccountId, as_of: Timestamp) -> ProfitAndLoss {
        let all = self.upnl.unwrap_or_default();
        let own = |key: &str| {
            let rest = key.strip_prefix(account.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let core = all.get(&format!("{account}.Core"));
        let mut others = all.iter().filter(|(key, _)| own(key)).map(|(_, partition)| partition);
        let only = || others.next().filter(|_| others.next().is_none());
        let found = core.or_else(only).cloned().unwrap_or_default();
        found.into_profit(account, as_of)
    }
}

impl Partition {
    pub(crate) fn into_profit(self, account: &AccountId, as_of: Timestamp) -> ProfitAndLoss {
        ProfitAndLoss {
            account: account.clone(),
            daily: self.dpl.decimal(),
            unrealized: self.upl.decimal(),
            net_liquidation: self.nl.decimal(),
            excess_liquidity: self.el.decimal(),
            market_value: self.mv.decimal(),
            as_of,
        }
    }
}

/// `/portfolio/{id}/allocation`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct AllocationAnswer {
    asset_class: Option<Halves>,
    sector: Option<Halves>,
    group: Option<Halves>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Halves {
    long: Option<BTreeMap<String, Scalar>>,
    short: Option<BTreeMap<String, Scalar>>,
}

impl From<AllocationAnswer> for Allocation {
    fn from(raw: AllocationAnswer) -> Self {
        Self {
            by_class: slices(raw.asset_class),
            by_sector: slices(raw.sector),
            by_group: slices(raw.group),
        }
    }
}

fn slices(halves: Option<Halves>) -> Vec<AllocationSlice> {
    let halves = halves.unwrap_or_default();
    let mut both: BTreeMap<String, (Option<Decimal>, Option<Decimal>)> = BTreeMap::new();
    for (name, value) in halves.long.unwrap_or_default() {
        both.entry(name).or_default().0 = value.decimal();
    }
    for (name, value) in halves.short.unwrap_or_default() {
        both.entry(name).or_default().1 = value.decimal();
    }
    let slice = |(name, (long, short)): (String, _)| AllocationSlice {
        name: Untrusted::new(&super::html::decode(&name)),
        long,
        short,
    };
    both.into_iter().take(MAX_ROWS).map(slice).collect()
}

/// POST `/pa/performance`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct PerformanceAnswer {
    nav: Option<Series>,
    cps: Option<Series>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Series {
    dates: Many<Scalar>,
    data: Many<SeriesOf>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct SeriesOf {
    id: Scalar,
    base_currency: Scalar,
    #[serde(rename = "startNAV")]
    start_nav: Option<StartValue>,
    navs: Many<Scalar>,
    returns: Many<Scalar>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StartValue {
    val: Scalar,
}

impl Series {
    /// The account's row, or the only one where rows aren't named.
    fn of(&self, account: &AccountId) -> Option<&SeriesOf> {
        let named = self.data.iter().find(|row| row.id.as_str() == Some(account.as_str()));
        let only = || self.data.iter().next().filter(|row| row.id.as_str().is_none());
        named.or_else(only)
    }

    fn days(&self) -> Result<Vec<Date>, BrokerError> {
        let day = |scalar: &Scalar| scalar.date().ok_or(unreadable("date of a performance"));
        self.dates.iter().take(MAX_ROWS).map(day).collect()
    }
}

impl PerformanceAnswer {
    pub(crate) fn into_performance(
        self,
        account: &AccountId,
        period: PerformancePeriod,
        as_of: Timestamp,
    ) -> Result<Performance, BrokerError> {
        let nav = self.nav.unwrap_or_default();
        let cps = self.cps.unwrap_or_default();
        let (values, returns) = (nav.of(account), cps.of(account));
        let mut points: BTreeMap<Date, PerformancePoint> = BTreeMap::new();
        let empty =
            |date| PerformancePoint { date, net_asset_value: None, cumulative_return: None };
        if let Some(row) = values {
            for (date, value) in nav.days()?.into_iter().zip(row.navs.iter()) {
                let point = points.entry(date).or_insert_with(|| empty(date));
                point.net_asset_value = value.decimal();
            }
        }
        if let Some(row) = returns {
            for (date, value) in cps.days()?.into_iter().zip(row.returns.iter()) {
                let point = points.entry(date).or_insert_with(|| empty(date));
                point.cumulative_return = value.decimal();
            }
        }
        let first = values.or(returns).ok_or(unreadable("account of a performance"))?;
        let start = values.and_then(|row| row.start_nav.as_ref());
        Ok(Performance {
            account: account.clone(),
            period,
            currency: first.base_currency.currency(),
            start_value: start.and_then(|start| start.val.decimal()),
            points: points.into_values().collect(),
            as_of,
        })
    }
}

/// POST `/pa/transactions`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct TransactionsAnswer {
    transactions: Many<TransactionRow>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct TransactionRow {
    cur: Scalar,
    date: Scalar,
    raw_date: Scalar,
    pr: Scalar,
    qty: Scalar,
    acctid: Scalar,
    amt: Scalar,
    conid: Scalar,
    #[serde(rename = "type")]
    kind: Scalar,
    desc: Scalar,
}

impl TransactionsAnswer {
    /// The account's rows; a row that names another account isn't its.
    pub(crate) fn of(self, account: &AccountId) -> Vec<Transaction> {
        let is_own = |row: &TransactionRow| row.acctid.account().is_none_or(|own| own == *account);
        let rows = self.transactions.into_iter().filter(is_own).take(MAX_ROWS);
        rows.map(TransactionRow::into_transaction).collect()
    }
}

impl TransactionRow {
    fn into_transaction(self) -> Transaction {
        let day = self.raw_date.date().or_else(|| long_date(self.date.as_str()?));
        Transaction {
            date: day,
            kind: self.kind.shown(),
            description: self.desc.named().unwrap_or_default(),
            conid: self.conid.conid(),
            quantity: self.qty.decimal(),
            price: self.pr.decimal(),
            amount: self.amt.decimal(),
            currency: self.cur.currency(),
        }
    }
}

/// `Tue Mar 31 00:00:00 EDT 2026`.
fn long_date(text: &str) -> Option<Date> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, month, day, .., year] = words.as_slice() else {
        return None;
    };
    let month = MONTHS.iter().position(|name| name == month)?.checked_add(1)?;
    Date::parse(&format!("{year}{month:02}{day:0>2}")).ok()
}

/// A row of `/portfolio/{id}/combo/positions`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ComboRow {
    name: Scalar,
    description: Scalar,
    legs: Many<Leg>,
    positions: Many<PositionRow>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Leg {
    conid: Scalar,
    ratio: Scalar,
}

impl ComboRow {
    pub(crate) fn into_combo(self, account: &AccountId) -> Result<ComboPosition, BrokerError> {
        let leg = |leg: &Leg| {
            let conid = leg.conid.conid().ok_or(unreadable("contract id of a leg"))?;
            Ok((conid, leg.ratio.decimal().ok_or(unreadable("ratio of a leg"))?))
        };
        let legs: Result<Vec<_>, BrokerError> = self.legs.iter().map(leg).collect();
        let positions: Result<Vec<Position>, BrokerError> =
            self.positions.into_iter().map(|row| row.into_position(account)).collect();
        Ok(ComboPosition {
            name: self.name.shown(),
            description: self.description.shown(),
            legs: legs?,
            positions: positions?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountId {
        AccountId::parse("DU1").unwrap()
    }

    fn partitions(json: &str) -> Partitions {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_account_gets_its_own_partition_and_no_other() {
        let json = r#"{"upnl":{"DU1.Core":{"rowType":1,"dpl":-12.5,"nl":1000,"upl":3,"el":"900",
            "mv":50},"DU12.Core":{"dpl":99}}}"#;
        let own = partitions(json).of(&account(), Timestamp::from_millis(1));
        assert_eq!((own.daily, own.excess_liquidity), (Some(dec!(-12.5)), Some(dec!(900))));
        let other = AccountId::parse("DU").unwrap();
        assert_eq!(partitions(json).of(&other, Timestamp::from_millis(1)).daily, None);
    }

    #[test]
    fn of_several_partitions_none_is_guessed() {
        let json = r#"{"upnl":{"DU1.A":{"dpl":1},"DU1.B":{"dpl":2}}}"#;
        assert_eq!(partitions(json).of(&account(), Timestamp::from_millis(1)).daily, None);
        let only = r#"{"upnl":{"DU1.A":{"dpl":1}}}"#;
        let found = partitions(only).of(&account(), Timestamp::from_millis(1));
        assert_eq!(found.daily, Some(dec!(1)));
        assert!(partitions(r#"{"upnl":{}}"#).is_cold() && partitions("{}").is_cold());
    }

    #[test]
    fn values_and_returns_meet_by_day() {
        let json = r#"{"nav":{"freq":"D","dates":["20260302","20260303"],"data":[{"id":"DU1",
            "baseCurrency":"USD","startNAV":{"date":"20260227","val":100.5},"navs":[101,102.25]}]},
            "cps":{"dates":["20260303"],"data":[{"id":"DU1","returns":[0.0174]}]}}"#;
        let raw: PerformanceAnswer = serde_json::from_str(json).unwrap();
        let at = Timestamp::from_millis(1);
        let read = raw.into_performance(&account(), PerformancePeriod::Month, at).unwrap();
        assert_eq!(read.start_value, Some(dec!(100.5)));
        assert_eq!(read.points.len(), 2);
        assert_eq!(read.points[0].cumulative_return, None);
        assert_eq!(read.points[1].net_asset_value, Some(dec!(102.25)));
        assert_eq!(read.points[1].cumulative_return, Some(dec!(0.0174)));
        assert_eq!(read.currency.map(|code| code.to_string()).as_deref(), Some("USD"));
    }

    #[test]
    fn a_performance_of_another_account_is_none_of_ours() {
        let json = r#"{"nav":{"dates":["20260302"],"data":[{"id":"DU9","navs":[1]}]}}"#;
        let raw: PerformanceAnswer = serde_json::from_str(json).unwrap();
        let at = Timestamp::from_millis(1);
        assert!(raw.into_performance(&account(), PerformancePeriod::Month, at).is_err());
    }

    #[test]
    fn transactions_are_dated_in_either_form() {
        let json = r#"{"transactions":[
            {"cur":"USD","rawDate":"20260331","pr":10.5,"qty":-3,"acctid":"DU1","amt":"31.5",
             "conid":265598,"type":"Sell","desc":"APPLE INC"},
            {"date":"Tue Mar 3 00:00:00 EST 2026","acctid":"DU1","type":"Dividend Payment"},
            {"rawDate":"20260331","acctid":"DU2"}]}"#;
        let raw: TransactionsAnswer = serde_json::from_str(json).unwrap();
        let rows = raw.of(&account());
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].date.unwrap().to_string(), "2026-03-31");
        assert_eq!((rows[0].quantity, rows[0].amount), (Some(dec!(-3)), Some(dec!(31.5))));
        assert_eq!(rows[1].date.unwrap().to_string(), "2026-03-03");
        assert_eq!(long_date("yesterday"), None);
        assert_eq!(long_date("Tue Foo 31 00:00:00 EDT 2026"), None);
    }

    #[test]
    fn allocations_join_long_and_short() {
        let json = r#"{"assetClass":{"long":{"STK":10.5,"CASH":1},"short":{"STK":-2}},
            "sector":{"long":{"Oil &amp; Gas":1},"short":{}},"group":null}"#;
        let raw: AllocationAnswer = serde_json::from_str(json).unwrap();
        let read = Allocation::from(raw);
        assert_eq!(read.by_class.len(), 2);
        let stocks = &read.by_class[1];
        assert_eq!((stocks.long, stocks.short), (Some(dec!(10.5)), Some(dec!(-2))));
        assert_eq!(read.by_sector[0].name.as_str(), "Oil & Gas");
        assert!(read.by_group.is_empty());
    }
}
