//! Profit and loss, allocation, performance, transactions, combinations.

use crate::BrokerError;
use crate::client::ClientPortal;
use crate::pacing::Lane;
use crate::transport::Request;
use crate::wire::performance::{
    AllocationAnswer, ComboRow, Partitions, PerformanceAnswer, TransactionsAnswer,
};
use crate::wire::{parse, parse_list};
use ibkr_agent_domain::{
    AccountId, Allocation, ComboPosition, Conid, Currency, Performance, PerformancePeriod,
    ProfitAndLoss, Transactions,
};
use serde::Serialize;

/// Most days that transactions are asked for.
const MAX_DAYS: u32 = 3_650;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PerformanceBody<'a> {
    acct_ids: [&'a str; 1],
    period: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TransactionsBody<'a> {
    acct_ids: [&'a str; 1],
    conids: [u64; 1],
    currency: &'a str,
    days: u32,
}

fn body(value: &impl Serialize) -> Result<Vec<u8>, BrokerError> {
    serde_json::to_vec(value).map_err(|_| BrokerError::InvalidRequest { what: "body" })
}

impl ClientPortal {
    /// As the stream told it moments ago, else read. The first read of a session opens it and
    /// tells nothing, so it is made twice.
    pub(crate) async fn read_profit_and_loss(
        &self,
        account: &AccountId,
    ) -> Result<ProfitAndLoss, BrokerError> {
        self.require(account).await?;
        if let Some(told) = self.streamed_profit(account) {
            return Ok(told);
        }
        let request = Request::get("/iserver/account/pnl/partitioned").lane(Lane::ProfitAndLoss);
        let mut answer = self.fetch(&request).await?;
        let mut raw: Partitions = parse(&answer.body, "profit and loss")?;
        if raw.is_cold() {
            answer = self.fetch(&request).await?;
            raw = parse(&answer.body, "profit and loss")?;
        }
        Ok(raw.of(account, answer.sent_at))
    }

    pub(crate) async fn read_allocation(
        &self,
        account: &AccountId,
    ) -> Result<Allocation, BrokerError> {
        self.require(account).await?;
        let request = Request::get(format!("/portfolio/{account}/allocation"));
        let raw: AllocationAnswer = self.fetch_as(&request, "allocation").await?;
        Ok(raw.into())
    }

    pub(crate) async fn read_performance(
        &self,
        account: &AccountId,
        period: PerformancePeriod,
    ) -> Result<Performance, BrokerError> {
        self.require(account).await?;
        let key = (account.clone(), period);
        if let Some(kept) = self.caches().performance.find(&key) {
            return Ok(kept);
        }
        let ask = PerformanceBody { acct_ids: [account.as_str()], period: period.broker_name() };
        let request = Request::post("/pa/performance").json(body(&ask)?).lane(Lane::Performance);
        let answer = self.fetch(&request).await?;
        let raw: PerformanceAnswer = parse(&answer.body, "performance")?;
        let read = raw.into_performance(account, period, answer.sent_at)?;
        self.caches().performance.keep(key, read.clone());
        Ok(read)
    }

    pub(crate) async fn read_transactions(
        &self,
        account: &AccountId,
        conid: Conid,
        currency: Currency,
        days: u32,
    ) -> Result<Transactions, BrokerError> {
        self.require(account).await?;
        if days == 0 || days > MAX_DAYS {
            let what = "transactions are listed for 1 to 3650 days";
            return Err(BrokerError::InvalidRequest { what });
        }
        let key = (account.clone(), conid, currency, days);
        if let Some(kept) = self.caches().transactions.find(&key) {
            return Ok(kept);
        }
        let ask = TransactionsBody {
            acct_ids: [account.as_str()],
            conids: [conid.get()],
            currency: currency.as_str(),
            days,
        };
        let request = Request::post("/pa/transactions").json(body(&ask)?).lane(Lane::Transactions);
        let answer = self.fetch(&request).await?;
        let raw: TransactionsAnswer = parse(&answer.body, "transactions")?;
        let rows = raw.of(account);
        let account = account.clone();
        let read = Transactions { account, conid, days, rows, as_of: answer.sent_at };
        self.caches().transactions.keep(key, read.clone());
        Ok(read)
    }

    pub(crate) async fn read_combos(
        &self,
        account: &AccountId,
    ) -> Result<Vec<ComboPosition>, BrokerError> {
        self.require(account).await?;
        let request = Request::get(format!("/portfolio/{account}/combo/positions"));
        let answer = self.fetch(&request).await?;
        let rows: Vec<ComboRow> = parse_list(&answer.body, "combinations")?;
        rows.into_iter().map(|row| row.into_combo(account)).collect()
    }
}
