//! What a contract is, what an order on it may look like, when it trades.

use crate::BrokerError;
use crate::client::ClientPortal;
use crate::transport::Request;
use crate::wire::routes::Routes;
use crate::wire::rules::{ContractInfo, Rules, Schedule};
use ibkr_agent_domain::{Conid, Contract, ContractDetails, ContractRules, Side, TradingHours};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RulesBody {
    conid: u64,
    is_buy: bool,
}

impl ClientPortal {
    pub(crate) async fn read_contract(&self, conid: Conid) -> Result<Contract, BrokerError> {
        let found = self.define(vec![conid]).await?;
        Contract::try_from(found.first().ok_or(BrokerError::UnknownContract)?)
    }

    pub(crate) async fn read_contract_details(
        &self,
        conid: Conid,
    ) -> Result<ContractDetails, BrokerError> {
        let found = self.define(vec![conid]).await?;
        let definition = found.first().ok_or(BrokerError::UnknownContract)?;
        self.read_contract_info(conid).await?.into_details(definition)
    }

    async fn read_contract_info(&self, conid: Conid) -> Result<ContractInfo, BrokerError> {
        let request = Request::get(format!("/iserver/contract/{conid}/info"));
        let info: ContractInfo = match self.fetch_as(&request, "contract").await {
            Err(BrokerError::Rejected { .. }) => return Err(BrokerError::UnknownContract),
            other => other?,
        };
        self.caches().routes.keep(conid, Routes::from(&info));
        Ok(info)
    }

    /// The exchanges that take an order on a contract.
    pub(crate) async fn read_routes(&self, conid: Conid) -> Result<Routes, BrokerError> {
        if let Some(routes) = self.caches().routes.find(&conid) {
            return Ok(routes);
        }
        Ok(Routes::from(&self.read_contract_info(conid).await?))
    }

    pub(crate) async fn route_contract(
        &self,
        contract: &Contract,
        asked: Option<&str>,
    ) -> Result<Contract, BrokerError> {
        let exchange = self.read_routes(contract.conid).await?.decide(asked)?;
        Ok(Contract { exchange, ..contract.clone() })
    }

    pub(crate) async fn read_contract_rules(
        &self,
        conid: Conid,
        side: Side,
    ) -> Result<ContractRules, BrokerError> {
        let ask = RulesBody {
            conid: conid.get(),
            is_buy: match side {
                Side::Buy => true,
                Side::Sell => false,
            },
        };
        let body = serde_json::to_vec(&ask)
            .map_err(|_| BrokerError::InvalidRequest { what: "contract rules" })?;
        let request = Request::post("/iserver/contract/rules").json(body);
        let rules: Rules = match self.fetch_as(&request, "contract rules").await {
            Err(BrokerError::Rejected { .. }) => return Err(BrokerError::UnknownContract),
            other => other?,
        };
        Ok(rules.into_rules(conid))
    }

    pub(crate) async fn read_trading_hours(
        &self,
        conid: Conid,
    ) -> Result<TradingHours, BrokerError> {
        let request = Request::get("/contract/trading-schedule").param("conid", conid.to_string());
        let schedule: Schedule = match self.fetch_as(&request, "trading schedule").await {
            Err(BrokerError::Rejected { .. }) => return Err(BrokerError::UnknownContract),
            other => other?,
        };
        schedule.into_hours(conid)
    }
}
