//! The verbs that are a tool call: one pure table from flags to a tool and its arguments.

use crate::args::{
    AccountArgs, AccountVerb, AccountsVerb, ApprovalsVerb, AuditVerb, BackendVerb, ContractFilter,
    ContractsVerb, ExecutionsVerb, KillSwitchVerb, LimitsVerb, ListArgs, MarketVerb, OrderFilter,
    OrdersVerb, OutcomeArgs, PortfolioVerb, PositionsVerb, PreviewArgs, SessionVerb, Verb,
};
use crate::arguments::Arguments;

/// A tool and its arguments.
pub(crate) type Planned = (&'static str, Arguments);

/// The tool call that a verb is, if it is one.
pub(crate) fn planned(verb: &Verb) -> Option<Planned> {
    let plain = |tool| Some((tool, Arguments::new()));
    match verb {
        Verb::Health => plain("ibkr_health"),
        Verb::Backend(BackendVerb::Status) => plain("ibkr_backend_status"),
        Verb::Session(SessionVerb::Requirements) => plain("ibkr_session_requirements"),
        Verb::Session(SessionVerb::Renew) => plain("ibkr_session_renew"),
        Verb::Accounts(AccountsVerb::List) => plain("ibkr_accounts_list"),
        Verb::Accounts(AccountsVerb::Metadata(of)) | Verb::Account(AccountVerb::Metadata(of)) => {
            Some(("ibkr_account_metadata", account(of)))
        }
        Verb::Account(AccountVerb::Summary(of)) => Some(("ibkr_account_summary", account(of))),
        Verb::Portfolio(PortfolioVerb::Snapshot { account: of, full }) => {
            Some(("ibkr_portfolio_snapshot", account(of).full(*full)))
        }
        Verb::Positions(verb) => Some(positions(verb)),
        Verb::Contracts(verb) => Some(contracts(verb)),
        Verb::Market(verb) => Some(market(verb)),
        Verb::Orders(verb) => orders(verb),
        Verb::Executions(verb) => Some(executions(verb)),
        Verb::Approvals(ApprovalsVerb::Status { approval_id, wait_seconds }) => Some((
            "ibkr_approval_status",
            Arguments::new()
                .text("approval_id", Some(approval_id))
                .number("wait_seconds", *wait_seconds),
        )),
        Verb::KillSwitch(KillSwitchVerb::Status(of)) => {
            Some(("ibkr_kill_switch_status", account(of)))
        }
        Verb::Limits(LimitsVerb::Show(of)) => Some(("ibkr_limits_status", account(of))),
        Verb::Audit(AuditVerb::Tail(which)) if which.own => Some((
            "ibkr_audit_tail",
            Arguments::new()
                .number("limit", which.limit)
                .text("cursor", which.cursor.as_deref())
                .text("kind", which.kind.as_deref())
                .text("tool", which.tool.as_deref())
                .full(true),
        )),
        Verb::Status
        | Verb::Approvals(_)
        | Verb::Questions(_)
        | Verb::KillSwitch(_)
        | Verb::Callers(_)
        | Verb::Audit(_)
        | Verb::Operator(_)
        | Verb::Demo(_)
        | Verb::Doctor(_)
        | Verb::Gateway(_)
        | Verb::Mcp(_)
        | Verb::Sidecar(_)
        | Verb::Config(_)
        | Verb::Simulator(_)
        | Verb::Docs { .. } => None,
    }
}

fn account(of: &AccountArgs) -> Arguments {
    Arguments::new().text("account_id", of.account.as_deref())
}

trait ListArguments {
    fn rows(self, list: &ListArgs) -> Self;
    fn filter(self, filter: &ContractFilter) -> Self;
}

impl ListArguments for Arguments {
    fn rows(self, list: &ListArgs) -> Self {
        self.number("limit", list.limit).text("cursor", list.cursor.as_deref()).full(list.full)
    }

    fn filter(self, filter: &ContractFilter) -> Self {
        self.text("asset_class", filter.asset_class.as_deref())
            .text("currency", filter.currency.as_deref())
            .text("exchange", filter.exchange.as_deref())
    }
}

fn positions(verb: &PositionsVerb) -> Planned {
    let PositionsVerb::List { account: of, asset_class, symbol, list } = verb;
    let arguments = account(of)
        .text("asset_class", asset_class.as_deref())
        .text("symbol", symbol.as_deref())
        .rows(list);
    ("ibkr_positions_list", arguments)
}

fn contracts(verb: &ContractsVerb) -> Planned {
    match verb {
        ContractsVerb::Search { query, filter, limit, full } => (
            "ibkr_contracts_search",
            Arguments::new()
                .text("query", Some(query))
                .filter(filter)
                .number("limit", *limit)
                .full(*full),
        ),
        ContractsVerb::Resolve { symbol, filter } => {
            ("ibkr_contract_resolve", Arguments::new().text("symbol", Some(symbol)).filter(filter))
        }
    }
}

fn market(verb: &MarketVerb) -> Planned {
    let MarketVerb::Snapshot { contract_id, instrument, fields } = verb;
    let arguments = match (contract_id.as_slice(), instrument.as_slice()) {
        ([one], []) => Arguments::new().text("contract_id", Some(one)),
        ([], [one]) => Arguments::new().text("instrument", Some(one)),
        (ids, names) => Arguments::new().list("contract_ids", ids).list("instruments", names),
    };
    ("ibkr_market_snapshot", arguments.list("fields", fields))
}

fn orders(verb: &OrdersVerb) -> Option<Planned> {
    match verb {
        OrdersVerb::List { account: of, status, list } => {
            let status = status.map(|filter| match filter {
                OrderFilter::Open => "open",
                OrderFilter::All => "all",
            });
            Some(("ibkr_orders_list", account(of).text("status", status).rows(list)))
        }
        OrdersVerb::Outcome(which) => Some(("ibkr_order_outcome", outcome(which))),
        OrdersVerb::Preview(order) => Some(("ibkr_order_preview", preview(order))),
        OrdersVerb::Submit(order) => Some((
            "ibkr_paper_order_submit",
            Arguments::new()
                .text("account_id", Some(&order.account))
                .text("approval_id", Some(&order.approval_id))
                .text("idempotency_key", order.idempotency_key.as_deref()),
        )),
        OrdersVerb::Cancel(order) if !order.as_operator => Some((
            "ibkr_paper_order_cancel",
            Arguments::new()
                .text("account_id", Some(&order.account))
                .text("broker_order_id", Some(&order.broker_order_id))
                .text("idempotency_key", order.idempotency_key.as_deref()),
        )),
        // The generic write names exist to be refused and recorded, whatever follows them.
        OrdersVerb::Modify(_) => Some(("ibkr_order_modify", Arguments::new())),
        OrdersVerb::Approve(_) => Some(("ibkr_order_approve", Arguments::new())),
        OrdersVerb::Status { .. }
        | OrdersVerb::Cancel(_)
        | OrdersVerb::Settle { .. }
        | OrdersVerb::LiveSubmit(_)
        | OrdersVerb::LiveCancel(_) => None,
    }
}

fn outcome(which: &OutcomeArgs) -> Arguments {
    Arguments::new()
        .text("call_id", which.call_id.as_deref())
        .text("approval_id", which.approval_id.as_deref())
        .text("idempotency_key", which.idempotency_key.as_deref())
        .text("client_order_id", which.client_order_id.as_deref())
}

fn preview(order: &PreviewArgs) -> Arguments {
    Arguments::new()
        .text("account_id", Some(&order.account))
        .text("symbol", order.symbol.as_deref())
        .text("contract_id", order.contract_id.as_deref())
        .text("instrument", order.instrument.as_deref())
        .text("side", Some(&order.side))
        .text("quantity", Some(&order.quantity))
        .text("order_type", Some(&order.order_type))
        .text("limit_price", order.limit_price.as_deref())
        .text("time_in_force", order.time_in_force.as_deref())
        .switch("outside_rth", order.outside_rth)
        .text("asset_class", order.asset_class.as_deref())
        .text("currency", order.currency.as_deref())
        .text("exchange", order.exchange.as_deref())
}

fn executions(verb: &ExecutionsVerb) -> Planned {
    let ExecutionsVerb::List { account: of, from, to, list } = verb;
    let arguments = account(of).text("from", from.as_deref()).text("to", to.as_deref()).rows(list);
    ("ibkr_executions_list", arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;
    use ibkr_agent_protocol::catalogue;
    use std::collections::BTreeSet;

    const LINES: &[(&str, &str)] = &[
        ("health", "{}"),
        ("backend status", "{}"),
        ("session requirements", "{}"),
        ("session renew", "{}"),
        ("accounts list", "{}"),
        ("account metadata --account DU1", r#"{"account_id":"DU1"}"#),
        ("account summary --account DU1", r#"{"account_id":"DU1"}"#),
        ("portfolio snapshot --full", r#"{"detail":"full"}"#),
        (
            "positions list --account DU1 --symbol AAPL --limit 5",
            r#"{"account_id":"DU1","limit":5,"symbol":"AAPL"}"#,
        ),
        ("contracts search AAPL --exchange NYSE", r#"{"exchange":"NYSE","query":"AAPL"}"#),
        (
            "contracts resolve AAPL --asset-class stock --currency USD --exchange SMART",
            r#"{"asset_class":"stock","currency":"USD","exchange":"SMART","symbol":"AAPL"}"#,
        ),
        ("market snapshot --contract-id 265598", r#"{"contract_id":"265598"}"#),
        ("market snapshot --contract-id 1,2", r#"{"contract_ids":["1","2"]}"#),
        (
            "market snapshot --instrument AAPL --fields bid,ask",
            r#"{"fields":["bid","ask"],"instrument":"AAPL"}"#,
        ),
        ("orders list --status all", r#"{"status":"all"}"#),
        ("orders outcome --call-id c1", r#"{"call_id":"c1"}"#),
        (
            "orders preview --account DU1 --symbol AAPL --side buy --quantity 1 \
             --limit-price 100 --enable-preview",
            r#"{"account_id":"DU1","limit_price":"100","order_type":"limit","quantity":"1",
                "side":"buy","symbol":"AAPL"}"#,
        ),
        (
            "orders submit --account DU1 --approval-id a --idempotency-key k --enable-paper",
            r#"{"account_id":"DU1","approval_id":"a","idempotency_key":"k"}"#,
        ),
        (
            "orders cancel --account DU1 --broker-order-id 7 --idempotency-key k --enable-paper",
            r#"{"account_id":"DU1","broker_order_id":"7","idempotency_key":"k"}"#,
        ),
        ("executions list --from 2026-01-01T00:00:00Z", r#"{"from":"2026-01-01T00:00:00Z"}"#),
        ("approvals status a --wait-seconds 3", r#"{"approval_id":"a","wait_seconds":3}"#),
        ("kill-switch status", "{}"),
        ("limits show --account DU1", r#"{"account_id":"DU1"}"#),
        ("audit tail --limit 20 --own", r#"{"detail":"full","limit":20}"#),
    ];

    fn plan(line: &str) -> Option<Planned> {
        let words = std::iter::once("ibkr-agent").chain(line.split_whitespace());
        planned(&Cli::try_parse_from(words).unwrap().verb)
    }

    fn sorted(json: &str) -> serde_json::Value {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_flag_arrives_under_the_tools_own_name() {
        for (line, expected) in LINES {
            let (tool, arguments) = plan(line).unwrap();
            let sent = arguments.into_raw().unwrap();
            assert_eq!(sorted(sent.get()), sorted(expected), "{line}");
            let schema = catalogue::find(tool).unwrap().input_schema();
            let known = schema["properties"].as_object().unwrap();
            for key in sorted(sent.get()).as_object().unwrap().keys() {
                assert!(known.contains_key(key), "{line}: {tool} has no {key}");
            }
        }
    }

    #[test]
    fn every_tool_has_a_verb() {
        let mut reached: BTreeSet<&str> =
            LINES.iter().filter_map(|(line, _)| plan(line)).map(|(tool, _)| tool).collect();
        // `approvals create` asks and approves: it has a file of its own.
        reached.insert("ibkr_approvals_create");
        let all: BTreeSet<&str> = catalogue::all().iter().map(|spec| spec.name).collect();
        assert_eq!(all.difference(&reached).collect::<Vec<_>>(), Vec::<&&str>::new());
    }

    #[test]
    fn the_generic_write_names_go_to_the_service_to_be_refused_and_recorded() {
        for line in ["orders modify --account DU1 7 --limit-price 3", "orders approve x"] {
            let (tool, arguments) = plan(line).unwrap();
            assert!(catalogue::FORBIDDEN.contains(&tool), "{line}");
            assert_eq!(arguments, Arguments::new());
        }
    }
}
