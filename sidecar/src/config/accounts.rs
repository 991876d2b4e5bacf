//! `accounts`: which accounts may be seen, and which ids can't be meant.
//!
//! The simulator's ids stand in every page that we print, so a real broker's configuration that
//! lists one was copied and never read. A rehearsal, the simulator served behind an address of its
//! own, says so with `accounts.simulated`, and lists nothing else.

use super::{Backing, ConfigError, broker::is_loopback, invalid};
use ibkr_agent_broker::BrokerConfig;
use ibkr_agent_domain::AccountId;
use ibkr_agent_protocol::config::RawConfig;
use std::collections::BTreeSet;

const KEY: &str = "accounts.allowed";
const SIMULATED_KEY: &str = "accounts.simulated";

/// Accounts of the embedded simulator.
const SIMULATED_ACCOUNTS: [&str; 2] = ["DU1234567", "DU7654321"];
/// The account that the simulator shows to its live login.
const SIMULATED_LIVE_ACCOUNT: &str = "U1234567";
/// What the examples say where an owner's own account belongs. No simulator has it.
const PLACEHOLDER: &str = "DU0000000";

/// Why an account can't be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountProblem {
    /// It stands for the owner's own in an example.
    Placeholder,
    /// It is the simulator's, and the broker is real.
    Simulated,
    /// It isn't the simulator's, and the file says that the simulator is meant.
    NotSimulated,
}

impl core::fmt::Display for AccountProblem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Placeholder => "only stands for your account's id in the example",
            Self::Simulated => "is an account of the simulator, and this broker is a real one",
            Self::NotSimulated => {
                "isn't an account of the simulator, which accounts.simulated says is meant"
            }
        })
    }
}

impl AccountProblem {
    /// What the file's owner does.
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::Placeholder | Self::Simulated => {
                "Put your own account's id there: IBKR's platforms show it beside your name, and a \
                 paper account's begins with DU."
            }
            Self::NotSimulated => {
                "Take accounts.simulated away: it is for rehearsals with ibkr-agent simulator run."
            }
        }
    }
}

pub(super) fn accounts(
    raw: &RawConfig,
    backing: &Backing,
) -> Result<BTreeSet<AccountId>, ConfigError> {
    if !raw.accounts.aliases.is_empty() {
        return Err(invalid("accounts.aliases", "isn't built in this version"));
    }
    check_rehearsal(raw, backing)?;
    let parse =
        |text: &str| AccountId::parse(text).map_err(|error| invalid(KEY, error.to_string()));
    let listed = match (&raw.accounts.allowed, backing) {
        (Some(listed), _) => listed.iter().map(|text| parse(text)).collect(),
        (None, Backing::Simulator) => SIMULATED_ACCOUNTS.into_iter().map(parse).collect(),
        (None, Backing::Brokers(_)) => {
            Err(invalid(KEY, "list the ids of the accounts that may be seen"))
        }
    };
    let listed: BTreeSet<AccountId> = listed?;
    let problem = |account: &AccountId| {
        let problem = problem(account.as_str(), backing, raw.accounts.simulated)?;
        let (key, account) = (KEY, account.to_string());
        Some(ConfigError::Account { key, account, problem })
    };
    match listed.iter().find_map(problem) {
        Some(error) => Err(error),
        None => Ok(listed),
    }
}

fn problem(account: &str, backing: &Backing, rehearses: bool) -> Option<AccountProblem> {
    let simulated = SIMULATED_ACCOUNTS.contains(&account) || account == SIMULATED_LIVE_ACCOUNT;
    match (backing, simulated, rehearses) {
        _ if account == PLACEHOLDER => Some(AccountProblem::Placeholder),
        (Backing::Simulator, _, _)
        | (Backing::Brokers(_), true, true)
        | (Backing::Brokers(_), false, false) => None,
        (Backing::Brokers(_), true, false) => Some(AccountProblem::Simulated),
        (Backing::Brokers(_), false, true) => Some(AccountProblem::NotSimulated),
    }
}

/// A rehearsal's broker is on this machine.
fn check_rehearsal(raw: &RawConfig, backing: &Backing) -> Result<(), ConfigError> {
    let Backing::Brokers(brokers) = backing else { return Ok(()) };
    let is_here = |broker: &BrokerConfig| {
        let uri: Option<http::Uri> = broker.base_url.parse().ok();
        uri.is_some_and(|uri| is_loopback(uri.host().unwrap_or_default()))
    };
    if raw.accounts.simulated && !brokers.iter().all(is_here) {
        let message = "is for a simulator on a loopback address, and a broker is elsewhere";
        return Err(invalid(SIMULATED_KEY, message));
    }
    Ok(())
}
