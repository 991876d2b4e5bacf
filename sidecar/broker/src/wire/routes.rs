//! Where an order on a contract can be sent: `valid_exchanges`, `smart_available` and `exchange`
//! of contract info. Definitions and positions can't say: their `allExchanges` never holds
//! `SMART`, and names places that take no orders.

use super::rules::ContractInfo;
use super::unreadable;
use crate::BrokerError;
use ibkr_agent_domain::Untrusted;

/// Where the broker routes itself.
pub(crate) const SMART: &str = "SMART";
/// Most exchanges that are told of one contract.
const MAX_EXCHANGES: usize = 64;
/// Longest name of an exchange.
const MAX_NAME: usize = 32;

/// The exchanges that take an order on one contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Routes {
    /// Without `SMART`.
    exchanges: Vec<String>,
    is_smart: bool,
    /// What the broker names as the contract's exchange.
    usual: Option<String>,
}

impl From<&ContractInfo> for Routes {
    fn from(info: &ContractInfo) -> Self {
        let listed = info.exchanges();
        let says_smart = listed.iter().any(|name| name == SMART);
        let is_place = |name: &String| name != SMART;
        Self {
            is_smart: info.smart_available.is_true().unwrap_or(says_smart),
            exchanges: listed.into_iter().filter(is_place).take(MAX_EXCHANGES).collect(),
            usual: info.exchange.as_str().map(str::to_owned).filter(is_place),
        }
    }
}

impl Routes {
    /// Where an order goes: `SMART` unless another exchange is named, the contract's own where the
    /// broker doesn't route it.
    ///
    /// # Errors
    /// `ExchangeNotAllowed` for a named exchange that takes no order on this contract, and an
    /// unreadable answer where none is named and none is plainly its own: nothing is guessed.
    pub(crate) fn decide(&self, asked: Option<&str>) -> Result<String, BrokerError> {
        if let Some(asked) = asked {
            return self.named(asked).ok_or_else(|| self.refusal(asked));
        }
        if self.is_smart {
            return Ok(SMART.to_owned());
        }
        let only = || match self.exchanges.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        };
        self.usual.clone().or_else(only).ok_or(unreadable("exchange of a contract"))
    }

    /// Whether an order can be sent to a named exchange.
    pub(crate) fn allows(&self, asked: &str) -> bool {
        self.named(asked).is_some()
    }

    pub(crate) fn refusal(&self, asked: &str) -> BrokerError {
        let smart = self.is_smart.then_some(SMART);
        let names = smart.into_iter().chain(self.exchanges.iter().map(String::as_str));
        BrokerError::ExchangeNotAllowed {
            asked: Untrusted::bounded(asked, MAX_NAME),
            allowed: names.map(|name| Untrusted::bounded(name, MAX_NAME)).collect(),
        }
    }

    /// An exchange as the broker spells it. `NASDAQ.NMS` is how listings name `NASDAQ`.
    fn named(&self, asked: &str) -> Option<String> {
        if asked.eq_ignore_ascii_case(SMART) {
            return self.is_smart.then(|| SMART.to_owned());
        }
        let find = |wanted: &str| {
            let places = self.exchanges.iter().chain(&self.usual);
            places.into_iter().find(|name| name.eq_ignore_ascii_case(wanted)).cloned()
        };
        find(asked).or_else(|| find(asked.split('.').next()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(json: &str) -> Routes {
        let info: ContractInfo = serde_json::from_str(json).unwrap();
        Routes::from(&info)
    }

    const STOCK: &str = r#"{"valid_exchanges":"SMART,AMEX,NYSE,NASDAQ,IBKRATS","exchange":"SMART",
        "smart_available":true}"#;

    #[test]
    fn an_order_goes_to_smart_unless_an_allowed_exchange_is_named() {
        let stock = routes(STOCK);
        for (asked, wanted) in [
            (None, "SMART"),
            (Some("SMART"), "SMART"),
            (Some("smart"), "SMART"),
            (Some("NYSE"), "NYSE"),
            (Some("nasdaq"), "NASDAQ"),
            (Some("NASDAQ.NMS"), "NASDAQ"),
        ] {
            assert_eq!(stock.decide(asked).as_deref(), Ok(wanted), "{asked:?}");
        }
    }

    #[test]
    fn an_exchange_that_takes_no_order_is_refused_by_name_with_those_that_do() {
        let refused = routes(STOCK).decide(Some("IBIS")).unwrap_err();
        assert_eq!(refused.code().as_str(), "INPUT_INVALID_CONTRACT");
        assert_eq!(
            refused.to_string(),
            "no order on this contract can be sent to IBIS, only to SMART, AMEX, NYSE, NASDAQ, \
             IBKRATS"
        );
        assert!(routes("{}").decide(Some("NYSE")).is_err());
    }

    #[test]
    fn what_the_broker_does_not_route_goes_to_its_own_exchange_or_nowhere() {
        let future = r#"{"valid_exchanges":"CME,QBALGO","exchange":"CME","smart_available":false}"#;
        assert_eq!(routes(future).decide(None).as_deref(), Ok("CME"));
        assert_eq!(routes(future).decide(Some("QBALGO")).as_deref(), Ok("QBALGO"));
        assert!(routes(future).decide(Some("SMART")).is_err());
        let pair = r#"{"valid_exchanges":"IDEALPRO","smart_available":false}"#;
        assert_eq!(routes(pair).decide(None).as_deref(), Ok("IDEALPRO"));
        for unclear in ["{}", r#"{"valid_exchanges":"A,B"}"#] {
            assert!(routes(unclear).decide(None).is_err(), "{unclear}");
        }
    }

    #[test]
    fn smart_counts_by_the_flag_and_without_it_by_the_list() {
        let silent = r#"{"valid_exchanges":"SMART,NYSE"}"#;
        assert_eq!(routes(silent).decide(None).as_deref(), Ok("SMART"));
        let never = r#"{"valid_exchanges":"SMART,NYSE","smart_available":false,"exchange":"NYSE"}"#;
        assert_eq!(routes(never).decide(None).as_deref(), Ok("NYSE"));
    }
}
