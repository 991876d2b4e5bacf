//! Fills as the broker lists them. A row that can't be read costs itself only and is told.

use super::many::Row;
use super::orders::{contract, keep_unread, reference, side};
use super::{Scalar, utc_time};
use ibkr_agent_domain::{AccountId, Execution, Listed, UnreadRow};
use serde::Deserialize;

/// A row of `/iserver/account/trades`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct TradeRow {
    execution_id: Scalar,
    order_id: Scalar,
    order_ref: Scalar,
    account: Scalar,
    #[serde(rename = "accountCode")]
    account_code: Scalar,
    conid: Scalar,
    #[serde(rename = "conidEx")]
    conidex: Scalar,
    symbol: Scalar,
    side: Scalar,
    size: Scalar,
    price: Scalar,
    commission: Scalar,
    exchange: Scalar,
    trade_time: Scalar,
    trade_time_r: Scalar,
}

impl TradeRow {
    pub(crate) fn told_account(&self) -> Option<AccountId> {
        self.account.account().or_else(|| self.account_code.account())
    }

    /// What isn't a fill, with what of it can be read.
    pub(crate) fn into_execution(self, asked: &AccountId) -> Result<Execution, UnreadRow> {
        self.read(asked).map_err(|why| self.unread(why))
    }

    fn read(&self, asked: &AccountId) -> Result<Execution, &'static str> {
        let time = self.trade_time_r.millis().or_else(|| utc_time(self.trade_time.as_str()?));
        Ok(Execution {
            id: self.execution_id.untrusted().ok_or("id of a trade")?,
            order_id: self.order_id.order_id(),
            reference: reference(&self.order_ref),
            account: self.told_account().unwrap_or_else(|| asked.clone()),
            conid: contract(&self.conid, &self.conidex).ok_or("contract id of a trade")?,
            symbol: self.symbol.shown(),
            side: side(&self.side),
            quantity: self.size.decimal().ok_or("size of a trade")?,
            price: self.price.decimal().ok_or("price of a trade")?,
            commission: self.commission.decimal(),
            exchange: self.exchange.shown(),
            time: time.ok_or("time of a trade")?,
        })
    }

    fn unread(&self, why: &'static str) -> UnreadRow {
        UnreadRow {
            order_id: self.order_id.order_id(),
            reference: reference(&self.order_ref),
            account: self.told_account(),
            conid: contract(&self.conid, &self.conidex),
            contract: self.conidex.untrusted(),
            status: None,
            why,
        }
    }
}

/// The fills of an account, as [`super::orders::orders`].
pub(crate) fn executions(rows: Vec<Row<TradeRow>>, account: &AccountId) -> Listed<Execution> {
    let mut listed = Listed::default();
    for row in rows {
        let read = match row.read() {
            Some(row) => row.into_execution(account),
            None => Err(TradeRow::default().unread("row of a trade")),
        };
        match read {
            Ok(execution) if execution.account == *account => listed.rows.push(execution),
            Ok(_) => {}
            Err(row) => keep_unread(&mut listed.unread, row, account),
        }
    }
    if !listed.is_whole() {
        let count = listed.unread.len();
        tracing::warn!(trades.unread = count, "trades of a form that isn't understood");
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Listed<Execution> {
        executions(serde_json::from_str(json).unwrap(), &AccountId::parse("DU1").unwrap())
    }

    const OURS: &str = r#"{"execution_id":"e1","order_id":7,"order_ref":"ia1","account":"DU1",
        "conid":1,"size":5,"price":"10","trade_time_r":1702317649000}"#;

    #[test]
    fn one_trade_that_cant_be_read_costs_no_other_and_is_told_whosever_it_is() {
        for odd in [
            // Ours, without price and time.
            r#"{"execution_id":"e3","account":"DU1","order_ref":"ia2","conid":1,"size":1}"#,
            // A combination's, which has no contract id.
            r#"{"execution_id":"e2","account":"DU1","conidEx":"1;;;2/1,3/-1","size":1}"#,
            r#"{"execution_id":"e2","account":"DU1","conid":{},"size":[],"price":"n/a"}"#,
            r#""a text""#,
            "7",
        ] {
            let listed = read(&format!("[{OURS},{odd},{OURS}]"));
            assert_eq!(listed.rows.len(), 2, "{odd}");
            assert_eq!(listed.unread.len(), 1, "{odd}");
            assert!(!listed.is_whole());
        }
        assert!(read(&format!("[{OURS}]")).is_whole());
    }

    #[test]
    fn an_unread_trade_keeps_the_order_and_the_reference_that_it_names() {
        let odd = r#"[{"execution_id":"e3","account":"DU1","order_ref":"ia2","order_id":9,
            "conid":1,"size":1}]"#;
        let [row] = read(odd).unread.try_into().unwrap();
        assert_eq!(row.reference.unwrap().as_str(), "ia2");
        assert_eq!(row.order_id.unwrap().as_str(), "9");
        assert_eq!(row.conid.unwrap().get(), 1);
        assert_eq!(row.why, "price of a trade");
    }

    #[test]
    fn another_accounts_trade_is_left_out_read_or_not() {
        let odd = r#"{"execution_id":"e3","account":"DU2","size":1}"#;
        assert_eq!(read(&format!("[{},{odd}]", OURS.replace("DU1", "DU2"))), Listed::default());
    }

    #[test]
    fn a_trade_with_its_contract_in_the_extended_form_only_is_read() {
        let row = OURS.replace("\"conid\":1", "\"conidEx\":\"756733@ARCA\"");
        let listed = read(&format!("[{row}]"));
        assert_eq!(listed.rows[0].conid.get(), 756_733);
    }

    #[test]
    fn trade_times_are_utc() {
        let time = utc_time("20231211-18:00:49").unwrap();
        assert_eq!(time.to_string(), "2023-12-11T18:00:49.000Z");
        assert_eq!(utc_time("today"), None);
    }
}
