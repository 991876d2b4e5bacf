//! Summary, ledger and positions of an account.

use super::{Scalar, unreadable};
use crate::BrokerError;
use ibkr_agent_domain::{
    AccountId, AccountSummary, AssetClass, Currency, LedgerLine, Money, Position, Timestamp,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// One figure of `/portfolio/{id}/summary`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Figure {
    amount: Scalar,
    currency: Scalar,
    is_null: Scalar,
}

impl Figure {
    fn money(&self) -> Option<Money> {
        if self.is_null.is_true() == Some(true) {
            return None;
        }
        Some(Money::new(self.amount.decimal()?, self.currency.currency()?))
    }
}

/// Picks our figures out of the map.
pub(crate) fn summary(
    account: AccountId,
    figures: &BTreeMap<String, Figure>,
    as_of: Timestamp,
) -> AccountSummary {
    let money = |key| figures.get(key).and_then(Figure::money);
    AccountSummary {
        account,
        net_liquidation: money("netliquidation"),
        total_cash: money("totalcashvalue"),
        buying_power: money("buyingpower"),
        available_funds: money("availablefunds"),
        excess_liquidity: money("excessliquidity"),
        gross_position_value: money("grosspositionvalue"),
        initial_margin: money("initmarginreq"),
        maintenance_margin: money("maintmarginreq"),
        as_of,
    }
}

/// One currency of `/portfolio/{id}/ledger`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct LedgerBlock {
    cashbalance: Scalar,
    settledcash: Scalar,
    netliquidationvalue: Scalar,
    unrealizedpnl: Scalar,
    realizedpnl: Scalar,
    exchangerate: Scalar,
}

/// The lines of a ledger, by currency.
pub(crate) fn ledger(
    blocks: BTreeMap<String, LedgerBlock>,
) -> Result<Vec<LedgerLine>, BrokerError> {
    blocks.into_iter().map(ledger_line).collect()
}

fn ledger_line((currency, block): (String, LedgerBlock)) -> Result<LedgerLine, BrokerError> {
    Ok(LedgerLine {
        currency: Currency::parse(&currency).map_err(|_| unreadable("ledger currency"))?,
        cash: block.cashbalance.decimal().ok_or(unreadable("ledger cash balance"))?,
        settled_cash: block.settledcash.decimal(),
        net_liquidation: block.netliquidationvalue.decimal(),
        unrealized_pnl: block.unrealizedpnl.decimal(),
        realized_pnl: block.realizedpnl.decimal(),
        exchange_rate: block.exchangerate.decimal(),
    })
}

/// A row of `/portfolio2/{id}/positions` or, with other names, of `/portfolio/{id}/positions/{n}`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PositionRow {
    conid: Scalar,
    position: Scalar,
    description: Scalar,
    contract_desc: Scalar,
    ticker: Scalar,
    asset_class: Scalar,
    sec_type: Scalar,
    market_price: Scalar,
    mkt_price: Scalar,
    market_value: Scalar,
    mkt_value: Scalar,
    avg_cost: Scalar,
    avg_price: Scalar,
    unrealized_pnl: Scalar,
    currency: Scalar,
}

impl PositionRow {
    pub(crate) fn into_position(self, account: &AccountId) -> Result<Position, BrokerError> {
        let class = self.asset_class.as_str().or(self.sec_type.as_str());
        let symbol = self
            .description
            .untrusted()
            .or_else(|| self.contract_desc.untrusted())
            .unwrap_or_else(|| self.ticker.shown());
        Ok(Position {
            account: account.clone(),
            conid: self.conid.conid().ok_or(unreadable("contract id of a position"))?,
            symbol,
            class: class.and_then(AssetClass::parse),
            quantity: self.position.decimal().ok_or(unreadable("quantity of a position"))?,
            market_price: self.market_price.decimal().or_else(|| self.mkt_price.decimal()),
            market_value: self.market_value.decimal().or_else(|| self.mkt_value.decimal()),
            average_cost: self.avg_cost.decimal().or_else(|| self.avg_price.decimal()),
            unrealized_pnl: self.unrealized_pnl.decimal(),
            currency: self.currency.currency().ok_or(unreadable("currency of a position"))?,
        })
    }
}
