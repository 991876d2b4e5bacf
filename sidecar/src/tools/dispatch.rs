//! From a tool's name to what runs it, one function per toolset.

use super::{Asked, Done};
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_protocol::catalogue::{ToolSpec, Toolset};
use ibkr_agent_protocol::service::ErrorBody;

type Answered = Result<Done, ErrorBody>;

impl Asked<'_> {
    pub(super) async fn dispatch(&self, spec: &ToolSpec) -> Answered {
        // Boxed: the largest tool's future would otherwise be part of every call's.
        match spec.toolset {
            Toolset::Session => Box::pin(self.session_tool(spec.name)).await,
            Toolset::Account => Box::pin(self.account_tool(spec.name)).await,
            Toolset::Market => Box::pin(self.market_tool(spec.name)).await,
            Toolset::Options => Box::pin(self.options_tool(spec.name)).await,
            Toolset::Research => Box::pin(self.research_tool(spec.name)).await,
            Toolset::Orders => Box::pin(self.orders_tool(spec.name)).await,
            Toolset::Control => Box::pin(self.control_tool(spec.name)).await,
        }
    }

    async fn session_tool(&self, name: &str) -> Answered {
        match name {
            "ibkr_health" => self.health().await,
            "ibkr_backend_status" => self.backend_status(),
            "ibkr_session_requirements" => self.session_requirements(),
            "ibkr_session_renew" => self.session_renew().await,
            "ibkr_resources_wait" => self.resources_wait().await,
            other => not_served(other),
        }
    }

    async fn account_tool(&self, name: &str) -> Answered {
        match name {
            "ibkr_accounts_list" => self.accounts_list().await,
            "ibkr_account_metadata" => self.account_metadata().await,
            "ibkr_account_summary" => self.account_summary().await,
            "ibkr_positions_list" => self.positions_list().await,
            "ibkr_portfolio_snapshot" => self.portfolio_snapshot().await,
            "ibkr_portfolio_overview" => self.portfolio_overview().await,
            "ibkr_pnl_daily" => self.pnl_daily().await,
            "ibkr_pnl_realtime" => self.pnl_realtime().await,
            "ibkr_account_ledger" => self.account_ledger().await,
            "ibkr_account_allocation" => self.account_allocation().await,
            "ibkr_account_performance" => self.account_performance().await,
            "ibkr_combo_positions" => self.combo_positions().await,
            "ibkr_transfer_history" => self.transfer_history().await,
            "ibkr_notifications_list" => self.notifications_list().await,
            other => not_served(other),
        }
    }

    async fn market_tool(&self, name: &str) -> Answered {
        match name {
            "ibkr_contracts_search" => self.contracts_search().await,
            "ibkr_contract_resolve" => self.contract_resolve().await,
            "ibkr_market_snapshot" => self.market_snapshot().await,
            "ibkr_instrument_brief" => self.instrument_brief().await,
            "ibkr_historical_bars" => self.historical_bars().await,
            "ibkr_market_depth" => self.market_depth().await,
            "ibkr_contract_details" => self.contract_details().await,
            "ibkr_futures_list" => self.futures_list().await,
            "ibkr_market_session" => self.market_session().await,
            "ibkr_market_holidays" => self.market_holidays().await,
            "ibkr_currency_rate" => self.currency_rate().await,
            "ibkr_currency_pairs" => self.currency_pairs().await,
            "ibkr_watchlists_list" => self.watchlists_list().await,
            other => not_served(other),
        }
    }

    async fn options_tool(&self, name: &str) -> Answered {
        match name {
            "ibkr_options_chain" => self.options_chain().await,
            "ibkr_option_greeks" => self.option_greeks().await,
            other => not_served(other),
        }
    }

    async fn research_tool(&self, name: &str) -> Answered {
        match name {
            "ibkr_scanner_run" => self.scanner_run().await,
            "ibkr_scanner_parameters" => self.scanner_parameters().await,
            "ibkr_fundamentals_get" => self.fundamentals_get().await,
            "ibkr_news_list" => self.news_list(),
            "ibkr_news_article" => self.news_article(),
            other => not_served(other),
        }
    }

    async fn orders_tool(&self, name: &str) -> Answered {
        match name {
            "ibkr_orders_list" => self.orders_list().await,
            "ibkr_executions_list" => self.executions_list().await,
            "ibkr_orders_history" => self.orders_history().await,
            "ibkr_order_status" => self.order_status().await,
            "ibkr_alerts_list" => self.alerts_list().await,
            "ibkr_changes_since" => self.changes_since().await,
            "ibkr_order_preview" => self.order_preview().await,
            "ibkr_approvals_create" => self.approvals_create().await,
            "ibkr_approval_status" => self.approval_status().await,
            "ibkr_paper_order_submit" => self.paper_submit().await,
            "ibkr_paper_order_cancel" => self.paper_cancel().await,
            "ibkr_order_outcome" => self.order_outcome().await,
            other => not_served(other),
        }
    }

    async fn control_tool(&self, name: &str) -> Answered {
        match name {
            "ibkr_kill_switch_status" => self.kill_switch_status().await,
            "ibkr_limits_status" => self.limits_status().await,
            "ibkr_audit_tail" => self.audit_tail().await,
            "ibkr_audit_export" => self.audit_export().await,
            other => not_served(other),
        }
    }
}

fn not_served(name: &str) -> Answered {
    let message = format!("{name} is declared but not served");
    Err(ErrorBody::new(ErrorCode::BrokerCapabilityUnavailable, message))
}
