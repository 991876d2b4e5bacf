//! The verbs that are a tool call: one pure table from flags to a tool and its arguments.

mod reads;
mod research;

use crate::args::{
    AccountArgs, AccountsVerb, ApprovalsVerb, AuditVerb, BackendVerb, ExecutionsVerb,
    InstrumentArgs, KillSwitchVerb, LimitsVerb, ListArgs, MarketVerb, OrderFilter, OrdersVerb,
    OutcomeArgs, PositionsVerb, PreviewArgs, SessionVerb, Verb,
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
        Verb::Accounts(AccountsVerb::Metadata(of)) => Some(("ibkr_account_metadata", account(of))),
        Verb::Account(verb) => Some(reads::account_verb(verb)),
        Verb::Portfolio(verb) => Some(reads::portfolio(verb)),
        Verb::Positions(verb) => Some(reads::positions(verb)),
        Verb::Contracts(verb) => Some(reads::contracts(verb)),
        Verb::Market(verb) => Some(reads::market(verb)),
        Verb::Options(verb) => Some(research::options(verb)),
        Verb::Scanner(verb) => Some(research::scanner(verb)),
        Verb::Currency(verb) => Some(research::currency(verb)),
        Verb::Fundamentals(verb) => Some(research::fundamentals(verb)),
        Verb::News(verb) => Some(research::news(verb)),
        Verb::Watchlists(verb) => Some(research::watchlists(verb)),
        Verb::Alerts(verb) => Some(research::alerts(verb)),
        Verb::Notifications(verb) => Some(research::notifications(verb)),
        Verb::Changes(verb) => Some(research::changes(verb)),
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
        Verb::Audit(AuditVerb::Export { from, to, limit, cursor }) => Some((
            "ibkr_audit_export",
            Arguments::new()
                .text("from", from.as_deref())
                .text("to", to.as_deref())
                .number("limit", *limit)
                .text("cursor", cursor.as_deref()),
        )),
        Verb::Status
        | Verb::Session(SessionVerb::TakeOver { .. })
        | Verb::Approvals(_)
        | Verb::Questions(_)
        | Verb::KillSwitch(_)
        | Verb::State(_)
        | Verb::Callers(_)
        | Verb::Audit(_)
        | Verb::Operator(_)
        | Verb::Demo(_)
        | Verb::Doctor(_)
        | Verb::Gateway(_)
        | Verb::Mcp(_)
        | Verb::Sidecar(_)
        | Verb::Config(_)
        | Verb::Policy(_)
        | Verb::Simulator(_)
        | Verb::Docs { .. } => None,
    }
}

fn account(of: &AccountArgs) -> Arguments {
    Arguments::new().text("account_id", of.account.as_deref())
}

/// Whether a verb asks to be shown every change.
#[expect(clippy::wildcard_enum_match_arm, reason = "three verbs have the flag; the rest do not")]
pub(crate) fn watches(verb: &Verb) -> bool {
    match verb {
        Verb::Market(MarketVerb::Snapshot { watch, .. })
        | Verb::Positions(PositionsVerb::List { watch, .. })
        | Verb::Orders(OrdersVerb::List { watch, .. }) => watch.watch,
        _ => false,
    }
}

fn instrument(of: &InstrumentArgs) -> Arguments {
    Arguments::new()
        .text("contract_id", of.contract_id.as_deref())
        .text("instrument", of.instrument.as_deref())
}

fn rows(arguments: Arguments, list: &ListArgs) -> Arguments {
    arguments.number("limit", list.limit).text("cursor", list.cursor.as_deref()).full(list.full)
}

const fn filter_name(filter: OrderFilter) -> &'static str {
    match filter {
        OrderFilter::Open => "open",
        OrderFilter::All => "all",
    }
}

fn orders(verb: &OrdersVerb) -> Option<Planned> {
    match verb {
        OrdersVerb::List { account: of, status, symbol, list, .. } => {
            let arguments = account(of)
                .text("status", status.map(filter_name))
                .text("symbol", symbol.as_deref());
            Some(("ibkr_orders_list", rows(arguments, list)))
        }
        OrdersVerb::History(which) => {
            let arguments = account(&which.account)
                .text("from", which.from.as_deref())
                .text("to", which.to.as_deref())
                .text("symbol", which.symbol.as_deref())
                .text("status", which.status.map(filter_name));
            Some(("ibkr_orders_history", rows(arguments, &which.list)))
        }
        OrdersVerb::Status { account: of, broker_order_id } => {
            Some(("ibkr_order_status", account(of).text("broker_order_id", Some(broker_order_id))))
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
        OrdersVerb::Cancel(_)
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
    let ExecutionsVerb::List { account: of, from, to, symbol, broker_order_id, list } = verb;
    let arguments = account(of)
        .text("from", from.as_deref())
        .text("to", to.as_deref())
        .text("symbol", symbol.as_deref())
        .text("broker_order_id", broker_order_id.as_deref());
    ("ibkr_executions_list", rows(arguments, list))
}

#[cfg(test)]
mod tests;
