//! The kill switch, the limits and the audit log, as agents may see them.

use super::{Asked, Done, refusal_body};
use crate::brokers::account_mode;
use ibkr_agent_audit::{Entry, TailQuery};
use ibkr_agent_domain::{ErrorCode, Timestamp, Untrusted};
use ibkr_agent_protocol::catalogue::audit::{
    AuditEventOutput, AuditTail, AuditTailOutput, DEFAULT_AUDIT_ROWS, HaltOutput, KillSwitchStatus,
    KillSwitchStatusOutput, LimitOutput, LimitsStatus, LimitsStatusOutput, audit_table,
};
use ibkr_agent_protocol::catalogue::{Detail, Wire, invalid};
use ibkr_agent_protocol::service::ErrorBody;
use rust_decimal::Decimal;

/// Most audit records of one answer.
const MAX_AUDIT_ROWS: u64 = 100;

/// Longest actor that is shown, in characters: no label is longer, since a caller is admitted by
/// what is shown of it.
const MAX_ACTOR_CHARS: usize = 2048;

impl Asked<'_> {
    pub(super) async fn kill_switch_status(&self) -> Result<Done, ErrorBody> {
        self.input::<KillSwitchStatus>()?;
        let halt = self.core.engine.look(|engine, _| engine.halt_entry().clone()).await;
        let halt = halt.map_err(refusal_body)?;
        let entry = HaltOutput {
            scope: "all accounts".to_owned(),
            since: Some(Wire(halt.since)),
            by: Wire(Untrusted::bounded(&halt.by, 128)),
            reason: Wire(Untrusted::bounded(&halt.reason, 200)),
            audit_event_id: halt.audit_event_id,
        };
        let mut halts = if halt.halted { vec![entry] } else { Vec::new() };
        halts.extend(halt.later.into_iter().filter(|_| halt.halted).map(|later| HaltOutput {
            scope: "all accounts".to_owned(),
            since: Some(Wire(later.since)),
            by: Wire(Untrusted::bounded(&later.by, 128)),
            reason: Wire(Untrusted::bounded(&later.reason, 200)),
            audit_event_id: None,
        }));
        Done::read(&KillSwitchStatusOutput { halted: halt.halted, halts }, None)
    }

    pub(super) async fn limits_status(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<LimitsStatus>()?;
        let routed = self.core.brokers.account(input.account_id.as_ref().map(|id| &id.0)).await?;
        let id = routed.info.id.clone();
        let account = id.clone();
        let mode = account_mode(&routed);
        let seen = self.core.engine.look(move |engine, now| {
            let policy = engine.policies().of(&account, mode).clone();
            (policy, engine.used(Some(&account), now))
        });
        let (policy, used) = seen.await.map_err(refusal_body)?;
        let tomorrow = self.core.engine.clock().next_trading_day();
        let limits = policy.limits();
        let day_left = limits.max_notional_per_day.amount - used.notional_today;
        let counted =
            |name: &str, limit: u32, used: u32, resets_at: Option<Timestamp>| LimitOutput {
                name: name.to_owned(),
                value: limit.to_string(),
                used: Some(used.to_string()),
                remaining: Some(limit.saturating_sub(used).to_string()),
                resets_at: resets_at.map(Wire),
            };
        let plain = |name: &str, value: String| LimitOutput {
            name: name.to_owned(),
            value,
            used: None,
            remaining: None,
            resets_at: None,
        };
        let rows = vec![
            plain("quantity", limits.max_quantity.normalize().to_string()),
            plain("notional", limits.max_notional.to_string()),
            LimitOutput {
                name: "notional_per_day".to_owned(),
                value: limits.max_notional_per_day.to_string(),
                used: Some(used.notional_today.normalize().to_string()),
                remaining: Some(day_left.max(Decimal::ZERO).normalize().to_string()),
                resets_at: tomorrow.map(Wire),
            },
            counted("orders_per_day", limits.max_orders_per_day, used.orders_today, tomorrow),
            counted("frequency", limits.max_orders_per_minute, used.orders_last_minute, None),
            plain("price_collar", format!("{} %", limits.collar_percent.normalize())),
            plain("drift", format!("{} %", limits.max_drift_percent.normalize())),
            plain("quote_age", format!("{} s", limits.max_quote_age.as_secs())),
        ];
        let output = LimitsStatusOutput {
            account_id: Wire(id.clone()),
            backend: Wire(self.core.backend),
            mode: Wire(account_mode(&routed)),
            as_of: Wire(self.now()),
            policy_id: limits.id.clone(),
            policy_hash: Wire(policy.hash()),
            limits: rows,
        };
        Done::read(&output, Some(id))
    }

    /// The caller's own records only.
    pub(super) async fn audit_tail(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<AuditTail>()?;
        let limit = match input.limit {
            None => DEFAULT_AUDIT_ROWS,
            Some(limit) => limit
                .within(1, MAX_AUDIT_ROWS)
                .and_then(|rows| usize::try_from(rows).ok())
                .ok_or_else(|| invalid(format!("limit must be 1 to {MAX_AUDIT_ROWS}")))?,
        };
        let before = match &input.cursor {
            None => None,
            Some(Wire(cursor)) => {
                let parsed = cursor.as_str().parse::<u64>();
                Some(parsed.map_err(|_| invalid("cursor must be an earlier next_cursor"))?)
            }
        };
        let query = TailQuery { actor: Some(self.caller.requester.actor.label()), before, limit };
        let ledger = self.core.ledger.clone();
        let read = tokio::task::spawn_blocking(move || ledger.snapshot()?.tail(&query)).await;
        let failed = || ErrorBody::new(ErrorCode::InternalError, "the log can't be read");
        let page = read.map_err(|_| failed())?.map_err(|_| failed())?;
        let kind = input.kind.as_ref().map(|kind| kind.0.as_str());
        let tool = input.tool.as_ref().map(|tool| tool.0.as_str());
        let events: Vec<AuditEventOutput> = page
            .entries
            .iter()
            .filter(|entry| kind.is_none_or(|kind| entry.kind == kind))
            .filter(|entry| tool.is_none_or(|tool| entry.tool.as_deref() == Some(tool)))
            .map(event)
            .collect();
        let full = input.detail == Some(Wire(Detail::Full));
        let output = AuditTailOutput {
            log_size: self.core.ledger.head().size,
            table: (!full).then(|| audit_table(&events)),
            events: full.then_some(events),
            next_cursor: page.next_before.map(|index| index.to_string()),
        };
        Done::read(&output, None)
    }
}

/// A record as agents see it.
pub(crate) fn event(entry: &Entry) -> AuditEventOutput {
    let time = Timestamp::parse(&entry.time).unwrap_or(Timestamp::from_millis(0));
    AuditEventOutput {
        event_id: format!("ev-{}", entry.index),
        index: entry.index,
        time: Wire(time),
        kind: entry.kind.clone(),
        actor: Wire(Untrusted::bounded(&entry.actor, MAX_ACTOR_CHARS)),
        door: entry.door.clone(),
        tool: entry.tool.clone(),
        account_hash: entry.account.clone(),
        decision: entry.decision.clone(),
        codes: entry.codes.clone(),
        references: entry.references.iter().map(|(key, id)| format!("{key}={id}")).collect(),
    }
}
