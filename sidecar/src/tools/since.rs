//! What changed since a cursor: one look at all accounts, measured against the look before.
//!
//! Looks are taken one at a time and shared: a caller who waited for another's look that began
//! after its own call came needs none of its own.

use super::journal::{Change, Inside, Looked, Mark, Place, State};
use super::orders::unread_part;
use super::{Asked, Done, refusal_body};
use crate::engine::{Engine, Expired, Now, Owner};
use futures_util::future::join_all;
use ibkr_agent_domain::{
    AccountId, ApprovalId, BrokerName, BrokerOrder, BrokerOrderId, ClientOrderId, ErrorCode,
    Execution, SessionHealth, SessionState, Timestamp,
};
use ibkr_agent_protocol::catalogue::overview::{
    ApprovalRow, ChangesBasis, ChangesSince, ChangesSinceOutput, DEFAULT_CHANGES, MAX_SHOWN,
    RequestRow, SessionChange, account_fills_table, account_orders_table, approvals_table,
    requests_table,
};
use ibkr_agent_protocol::catalogue::{MAX_ROWS, PartFailure, Wire, count, invalid};
use ibkr_agent_protocol::service::ErrorBody;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Accounts of one look.
const MAX_ACCOUNTS: usize = 10;

/// How far back approvals and requests are compared: an approval lives 12 hours at most.
const RECENT: Duration = Duration::from_secs(24 * 3600);

/// This caller's approvals and requests as they are now.
#[derive(Debug, Default)]
struct Own {
    approvals: BTreeMap<ApprovalId, (Timestamp, ApprovalRow)>,
    requests: BTreeMap<ClientOrderId, (bool, RequestRow)>,
}

/// What is shown.
#[derive(Debug, Default)]
struct Shown {
    fills: Vec<Execution>,
    orders: Vec<BrokerOrder>,
    gone: Vec<String>,
    approvals: Vec<ApprovalRow>,
    requests: Vec<RequestRow>,
    halt_changed: bool,
    has_more: bool,
}

impl Asked<'_> {
    pub(super) async fn changes_since(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<ChangesSince>()?;
        let limit = count("limit", input.limit, DEFAULT_CHANGES, MAX_ROWS)?;
        let mark = match &input.cursor {
            Some(Wire(cursor)) => Some(Mark::parse(cursor.as_str()).ok_or_else(not_ours)?),
            None => None,
        };
        let arrived = Instant::now();
        let journal = &self.core.journal;
        let mut state = journal.state.lock().await;
        let (inside, own) = self.inside().await?;
        let halted = inside.halt.is_some_and(|(halted, _)| halted);
        let sessions = inside.sessions.clone();
        if state.began.is_none_or(|began| began < arrived) {
            self.look(&mut state, inside).await?;
        }
        let as_of = state.as_of.unwrap_or_else(|| self.now());
        let missing = state.missing.clone();
        let place = mark.as_ref().map(|mark| journal.place(&state, mark, as_of));
        if place == Some(Place::TooOld) {
            return Err(too_old());
        }
        let since = mark.as_ref().map(|mark| mark.time);
        let sessions = session_changes(sessions, since);
        Done::fitting(limit, None, |limit| {
            let (basis, shown, next) = match (&mark, &place) {
                (Some(_), Some(Place::After(number))) => {
                    let (shown, last) = after(&state, *number, &self.owner(), &own, limit);
                    (ChangesBasis::Complete, shown, journal.mark(last, as_of, 0))
                }
                (Some(mark), Some(Place::ByTime { from, then, skip })) => {
                    let (shown, skip) = by_time(&state, *from, *skip, &own, limit);
                    let next = match skip {
                        // What couldn't be read now is looked for again with the same cursor.
                        None if !missing.is_empty() => mark.clone(),
                        None => journal.mark(*then, as_of, 0),
                        Some(skip) => journal.mark(*then, mark.time, skip),
                    };
                    (ChangesBasis::ByTime, shown, next)
                }
                (_, _) => {
                    let shown = present(&state, &own, limit);
                    (ChangesBasis::Present, shown, journal.mark(state.newest(), as_of, 0))
                }
            };
            ChangesSinceOutput {
                backend: Wire(self.core.backend),
                as_of: Wire(as_of),
                basis: Wire(basis),
                since: since.map(Wire),
                next_cursor: next.to_text(),
                has_more: shown.has_more,
                fills: (!shown.fills.is_empty()).then(|| account_fills_table(&shown.fills)),
                orders: (!shown.orders.is_empty()).then(|| account_orders_table(&shown.orders)),
                gone_orders: shown.gone,
                requests: (!shown.requests.is_empty()).then(|| requests_table(&shown.requests)),
                approvals: (!shown.approvals.is_empty()).then(|| approvals_table(&shown.approvals)),
                sessions: sessions.clone(),
                trading_halted: halted,
                halt_changed: since.map(|_| shown.halt_changed),
                missing: missing.clone(),
            }
        })
    }

    /// Reads all accounts and lets the journal number what differs.
    async fn look(&self, state: &mut State, inside: Inside) -> Result<(), ErrorBody> {
        let (began, as_of) = (Instant::now(), self.now());
        let visible = self.core.brokers.accounts().await?;
        let real: Vec<_> = visible.iter().filter(|routed| !routed.is_pseudo()).collect();
        let mut missing: Vec<PartFailure> = Vec::new();
        if let Some(left_out) = real.len().checked_sub(MAX_ACCOUNTS).filter(|n| *n > 0) {
            let message = format!("{left_out} accounts are left out: {MAX_ACCOUNTS} are followed");
            let error = ErrorBody::new(ErrorCode::InputAmbiguousAccount, message);
            missing.push(PartFailure::new("accounts", error));
        }
        let reads = real.into_iter().take(MAX_ACCOUNTS).map(|routed| async move {
            let (broker, id) = (&routed.broker, &routed.info.id);
            let (orders, fills) =
                tokio::join!(self.in_time(broker.orders(id)), self.in_time(broker.executions(id)),);
            (id.clone(), orders, fills)
        });
        let mut looked = Vec::new();
        for (account, orders, fills) in join_all(reads).await {
            let mut read = |part: &str, error: &ErrorBody| {
                missing.push(PartFailure::new(&format!("{part} of {account}"), error.clone()));
            };
            if let Err(error) = &orders {
                read("orders", error);
            }
            if let Err(error) = &fills {
                read("fills", error);
            }
            if let Ok(orders) = &orders {
                missing.extend(unread_part(&format!("orders of {account}"), &orders.unread));
            }
            if let Ok(fills) = &fills {
                missing.extend(unread_part(&format!("fills of {account}"), &fills.unread));
            }
            looked.push(Looked { account, orders: orders.ok(), fills: fills.ok() });
        }
        state.take(looked, inside, as_of);
        state.began = Some(began);
        state.missing = missing;
        Ok(())
    }

    /// What the engine and the sessions are like now, and this caller's own part of it in words.
    async fn inside(&self) -> Result<(Inside, Own), ErrorBody> {
        let owner = self.owner();
        let look = self.core.engine.look(move |engine, now| seen_inside(engine, now, &owner));
        let (mut inside, own) = look.await.map_err(refusal_body)?;
        let brokers = self.core.brokers.all().iter();
        inside.sessions = brokers.map(|broker| (broker.name().clone(), broker.health())).collect();
        Ok((inside, own))
    }
}

fn not_ours() -> ErrorBody {
    invalid("cursor must be the next_cursor of an earlier answer")
}

fn too_old() -> ErrorBody {
    invalid("cursor is too old: the broker lists the orders of one day; call without cursor")
}

/// Sessions that changed since a time, and those that don't work.
fn session_changes(
    sessions: BTreeMap<BrokerName, SessionHealth>,
    since: Option<Timestamp>,
) -> Vec<SessionChange> {
    let is_told = |health: &SessionHealth| {
        let changed = since.is_some_and(|since| health.since >= since);
        changed || health.state != SessionState::Ready
    };
    let told = sessions.into_iter().filter(|(_, health)| is_told(health));
    told.map(|(name, health)| SessionChange {
        broker: name.to_string(),
        state: Wire(health.state),
        since: Wire(health.since),
        why: health.why.to_owned(),
    })
    .collect()
}

fn seen_inside(engine: &Engine, now: Now, owner: &Owner) -> (Inside, Own) {
    let is_recent = |time: Timestamp| now.wall.since(time) < RECENT;
    let (mut inside, mut own) = (Inside::default(), Own::default());
    let halt = engine.halt_entry();
    inside.halt = Some((halt.halted, halt.since));
    for entry in engine.approvals().filter(|entry| is_recent(entry.created_at)) {
        let expired = engine.has_expired(entry, now) == Expired::Yes;
        let status = if expired { "expired" } else { entry.status.as_str() };
        inside.approvals.insert(entry.id.clone(), (entry.owner.clone(), status));
        if entry.owner == *owner {
            let row = ApprovalRow {
                id: entry.id.to_string(),
                status,
                account: entry.account().clone(),
                order: entry.plan.summary(),
                expires_at: entry.expires_at,
            };
            own.approvals.insert(entry.id.clone(), (entry.created_at.max(entry.expires_at), row));
        }
    }
    let orders = engine.orders();
    for entry in orders.filter(|entry| is_recent(entry.updated_at) || !entry.state.is_final()) {
        inside.requests.insert(entry.id.clone(), (entry.owner.clone(), entry.state));
        if entry.owner == *owner {
            let row = RequestRow {
                client_order_id: entry.id.to_string(),
                broker_order_id: entry.broker_order_id.as_ref().map(ToString::to_string),
                status: entry.state.as_str(),
                order: entry.order.summary(),
                updated: entry.updated_at,
            };
            own.requests.insert(entry.id.clone(), (!entry.state.is_final(), row));
        }
    }
    (inside, own)
}

/// Open orders, pending approvals, unfinished requests.
fn present(state: &State, own: &Own, limit: usize) -> Shown {
    let all = state.accounts.values().filter_map(|seen| seen.orders.as_ref());
    let open = all.flat_map(BTreeMap::values).filter(|order| order.status.is_open());
    let mut orders: Vec<BrokerOrder> = open.cloned().collect();
    orders.sort_by_key(|order| core::cmp::Reverse(order.updated));
    orders.truncate(limit);
    let rows = own.approvals.values().map(|(_, row)| row);
    let pending = rows.filter(|row| row.status == "pending").take(MAX_SHOWN);
    let unfinished = own.requests.values().filter(|(unfinished, _)| *unfinished);
    Shown {
        orders,
        approvals: pending.cloned().collect(),
        requests: unfinished.map(|(_, row)| row).take(limit).cloned().collect(),
        ..Shown::default()
    }
}

/// Everything after a number, as it is now, and the number up to which it was told.
fn after(state: &State, number: u64, owner: &Owner, own: &Own, limit: usize) -> (Shown, u64) {
    let mut shown = Shown::default();
    let mut orders: BTreeSet<(&AccountId, &BrokerOrderId)> = BTreeSet::new();
    let mut approvals: BTreeSet<&ApprovalId> = BTreeSet::new();
    let mut requests: BTreeSet<&ClientOrderId> = BTreeSet::new();
    let mut last = number;
    for (number, change) in state.after(number) {
        let room = match change {
            Change::Fill(_) => shown.fills.len() < limit,
            Change::Order(account, id) => orders.len() < limit || orders.contains(&(account, id)),
            Change::Gone(..) => shown.gone.len() < limit,
            Change::Approval(whose, id) => {
                whose != owner || approvals.len() < limit || approvals.contains(id)
            }
            Change::Request(whose, id) => {
                whose != owner || requests.len() < limit || requests.contains(id)
            }
            Change::Session(_) | Change::Halt => true,
        };
        if !room {
            shown.has_more = true;
            break;
        }
        last = number;
        match change {
            Change::Fill(fill) => shown.fills.push(fill.as_ref().clone()),
            Change::Order(account, id) => drop(orders.insert((account, id))),
            Change::Gone(_, id) => shown.gone.push(id.to_string()),
            Change::Approval(whose, id) if whose == owner => drop(approvals.insert(id)),
            Change::Request(whose, id) if whose == owner => drop(requests.insert(id)),
            Change::Approval(..) | Change::Request(..) | Change::Session(_) => {}
            Change::Halt => shown.halt_changed = true,
        }
    }
    let now = |(account, id): (&AccountId, &BrokerOrderId)| {
        state.accounts.get(account)?.orders.as_ref()?.get(id).cloned()
    };
    shown.orders = orders.into_iter().filter_map(now).collect();
    let rows = approvals.into_iter().filter_map(|id| own.approvals.get(id));
    shown.approvals = rows.map(|(_, row)| row.clone()).collect();
    let rows = requests.into_iter().filter_map(|id| own.requests.get(id));
    shown.requests = rows.map(|(_, row)| row.clone()).collect();
    (shown, last)
}

/// What happened from a time on, from the `skip`th item; where to go on, if there is more.
fn by_time(
    state: &State,
    from: Timestamp,
    skip: usize,
    own: &Own,
    limit: usize,
) -> (Shown, Option<usize>) {
    let seen = state.accounts.values();
    let mut fills: Vec<&Execution> =
        seen.clone().flat_map(|seen| &seen.listed).filter(|fill| fill.time >= from).collect();
    fills.sort_by_key(|fill| (fill.time, fill.id.as_str()));
    let orders = seen.filter_map(|seen| seen.orders.as_ref()).flat_map(BTreeMap::values);
    let orders = orders.filter(|order| match order.updated {
        Some(updated) => updated >= from,
        None => true,
    });
    let orders: Vec<&BrokerOrder> = orders.collect();
    let (fill_count, all) = (fills.len(), fills.len().saturating_add(orders.len()));
    let end = skip.saturating_add(limit).min(all);
    let is_first = skip == 0;
    let has_more = end < all;
    let (halted, halt_since) = state.halt();
    let shown = Shown {
        fills: fills.into_iter().take(end).skip(skip).cloned().collect(),
        orders: orders
            .into_iter()
            .take(end.saturating_sub(fill_count))
            .skip(skip.saturating_sub(fill_count))
            .cloned()
            .collect(),
        approvals: own
            .approvals
            .values()
            .filter(|(latest, _)| is_first && *latest >= from)
            .map(|(_, row)| row.clone())
            .take(MAX_ROWS)
            .collect(),
        requests: own
            .requests
            .values()
            .filter(|(_, row)| is_first && row.updated >= from)
            .map(|(_, row)| row.clone())
            .take(MAX_ROWS)
            .collect(),
        // A gateway that was never halted counts its time from its start.
        halt_changed: is_first && halted && halt_since >= from,
        has_more,
        ..Shown::default()
    };
    (shown, has_more.then_some(end))
}
