//! Account descriptions: `/portfolio/accounts`, `/portfolio/{id}/meta`.

use super::{Scalar, unreadable};
use crate::BrokerError;
use ibkr_agent_domain::AccountInfo;
use serde::Deserialize;

/// What the broker calls all accounts of a login together.
const ALL_ACCOUNTS: &str = "All";

/// One account as the portfolio paths describe it.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PortfolioAccount {
    id: Scalar,
    account_id: Scalar,
    account_title: Scalar,
    display_name: Scalar,
    account_alias: Scalar,
    currency: Scalar,
    #[serde(rename = "type")]
    kind: Scalar,
    trading_type: Scalar,
    no_client_trading: Scalar,
    brokerage_access: Scalar,
}

impl TryFrom<PortfolioAccount> for AccountInfo {
    type Error = BrokerError;

    /// Whether the login is a paper one is not told here.
    fn try_from(raw: PortfolioAccount) -> Result<Self, BrokerError> {
        let id = raw.account_id.account().or_else(|| raw.id.account());
        let id = id.ok_or(unreadable("account id"))?;
        // The pseudo-account of a login with several accounts can be read, never traded.
        let closed = id.as_str().eq_ignore_ascii_case(ALL_ACCOUNTS)
            || raw.no_client_trading.is_true() == Some(true)
            || raw.brokerage_access.is_true() == Some(false);
        Ok(Self {
            id,
            alias: raw.account_alias.untrusted(),
            title: raw.account_title.untrusted().unwrap_or_else(|| raw.display_name.shown()),
            currency: raw.currency.currency(),
            kind: raw.kind.shown(),
            trading_type: raw.trading_type.shown(),
            is_paper: None,
            can_trade: !closed,
        })
    }
}
