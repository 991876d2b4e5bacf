//! Export of a caller's audit records with proofs that a third party can check offline.
//!
//! A line holds the leaf byte for byte and its RFC 6962 inclusion proof under the checkpoint of the
//! same answer. A caller gets its own records and those about its own approvals and orders, such
//! as the operator's yes and what the broker answered. Bounds: [`MAX_SCANNED`] leaves are looked
//! at and [`MAX_TOKENS`] tokens given per answer; the rest is behind the cursor, which also fixes
//! where the export ends, since every export writes a record itself.

use super::{Asked, Done, estimated_tokens, refusal_body};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ibkr_agent_audit::{Entry, Ledger, Snapshot, StoreFailure};
use ibkr_agent_domain::{ErrorCode, Timestamp};
use ibkr_agent_protocol::catalogue::audit::{AuditExport, AuditExportOutput};
use ibkr_agent_protocol::catalogue::{MAX_ROWS, count, invalid};
use ibkr_agent_protocol::service::ErrorBody;
use ibkr_agent_tlog::inclusion_proof;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// Leaves that are looked at for one answer.
const MAX_SCANNED: usize = 5_000;

/// Leaves that are read at a time.
const CHUNK: usize = 250;

/// Tokens of lines in one answer when a limit is given.
const MAX_TOKENS: usize = 20_000;

/// Tokens of lines in one answer when none is given.
const USUAL_TOKENS: usize = 1_000;

/// Which records belong to a caller.
#[derive(Debug, Default)]
struct Mine {
    actor: String,
    /// Ids of its approvals and requests.
    ids: BTreeSet<String>,
}

impl Mine {
    fn has(&self, entry: &Entry) -> bool {
        let named = ["approval_id", "client_order_id"].iter();
        entry.actor == self.actor
            || named.filter_map(|key| entry.references.get(*key)).any(|id| self.ids.contains(id))
    }
}

/// What is asked for.
#[derive(Debug)]
struct Wanted {
    mine: Mine,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    /// Where to go on, and where the export ends.
    span: Option<(u64, u64)>,
    lines: usize,
    tokens: usize,
}

#[derive(Serialize)]
struct Line<'a> {
    index: u64,
    proof: Vec<String>,
    record: &'a RawValue,
}

impl Asked<'_> {
    pub(super) async fn audit_export(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<AuditExport>()?;
        input.check_range()?;
        let span = input.cursor.as_ref().map(|cursor| span(cursor.0.as_str())).transpose()?;
        let wanted = Wanted {
            mine: self.mine().await?,
            from: input.from.map(|from| from.0),
            to: input.to.map(|to| to.0),
            span,
            lines: count("limit", input.limit, MAX_ROWS, MAX_ROWS)?,
            tokens: if input.limit.is_some() { MAX_TOKENS } else { USUAL_TOKENS },
        };
        let ledger = self.core.ledger.clone();
        let read = tokio::task::spawn_blocking(move || export(&ledger, &wanted)).await;
        let failed = |_| ErrorBody::new(ErrorCode::InternalError, "the log can't be read");
        let output = read.map_err(|_| failed(StoreFailure::Stopped))?.map_err(failed)?;
        Done::read(&output, None)
    }

    async fn mine(&self) -> Result<Mine, ErrorBody> {
        let (owner, actor) = (self.owner(), self.caller.requester.actor.label());
        let look = self.core.engine.look(move |engine, _| {
            let approvals = engine.approvals().filter(|entry| entry.owner == owner);
            let requests = engine.orders().filter(|entry| entry.owner == owner);
            let approvals = approvals.map(|entry| entry.id.to_string());
            approvals.chain(requests.map(|entry| entry.id.to_string())).collect()
        });
        Ok(Mine { actor, ids: look.await.map_err(refusal_body)? })
    }
}

/// Reads our cursor: where to go on, and where the export ends.
fn span(cursor: &str) -> Result<(u64, u64), ErrorBody> {
    let mut parts = cursor.split('.');
    let version = parts.next();
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
    match (version, number(), number(), parts.next()) {
        (Some("e1"), Some(next), Some(end), None) if next < end => Ok((next, end)),
        (_, _, _, _) => Err(invalid("cursor must be the next_cursor of an earlier answer")),
    }
}

fn export(ledger: &Ledger, wanted: &Wanted) -> Result<AuditExportOutput, StoreFailure> {
    // The head first: a snapshot taken after it holds at least its records.
    let head = ledger.head();
    let snapshot = ledger.snapshot()?;
    let (start, end) = match wanted.span {
        Some((next, end)) => (next, end.min(head.size)),
        None => (first_at(&snapshot, wanted.from, head.size)?, head.size),
    };
    let (mut lines, mut tokens) = (Vec::new(), 0_usize);
    let mut next = start;
    let (mut scanned, mut is_full) = (0_usize, false);
    'scan: while next < end && scanned < MAX_SCANNED {
        let chunk = snapshot.leaves(next, CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        for (index, leaf) in chunk.into_iter().take_while(|(index, _)| *index < end) {
            scanned = scanned.saturating_add(1);
            let entry: Entry = serde_json::from_slice(&leaf).map_err(|_| StoreFailure::Damaged)?;
            if wanted.mine.has(&entry) && in_range(&entry, wanted)? {
                let line = line(&snapshot, index, &leaf, head.size)?;
                let longer = tokens.saturating_add(tokens_of(&line)?);
                let too_long = !lines.is_empty() && longer > wanted.tokens;
                is_full = too_long || lines.len() >= wanted.lines;
                if is_full {
                    break 'scan;
                }
                tokens = longer;
                lines.push(line);
            }
            next = index.saturating_add(1);
        }
    }
    Ok(AuditExportOutput {
        checkpoint: head.checkpoint,
        key: ledger.verifier().to_string(),
        lines,
        next_cursor: (is_full || next < end).then(|| format!("e1.{next}.{end}")),
    })
}

fn line(snapshot: &Snapshot, index: u64, leaf: &[u8], size: u64) -> Result<String, StoreFailure> {
    let damaged = |()| StoreFailure::Damaged;
    let proof = inclusion_proof(snapshot, index, size).map_err(|_| damaged(()))?;
    let text = core::str::from_utf8(leaf).map_err(|_| damaged(()))?;
    let record: &RawValue = serde_json::from_str(text).map_err(|_| damaged(()))?;
    let proof = proof.iter().map(|hash| STANDARD.encode(hash.as_bytes())).collect();
    serde_json::to_string(&Line { index, proof, record }).map_err(|_| damaged(()))
}

/// Tokens of a line as it stands in the answer, a JSON string.
fn tokens_of(line: &str) -> Result<usize, StoreFailure> {
    let escaped = serde_json::to_string(line).map_err(|_| StoreFailure::Damaged)?;
    Ok(estimated_tokens(&escaped))
}

fn in_range(entry: &Entry, wanted: &Wanted) -> Result<bool, StoreFailure> {
    let time = Timestamp::parse(&entry.time).map_err(|_| StoreFailure::Damaged)?;
    let begun = wanted.from.is_none_or(|from| time >= from);
    Ok(begun && wanted.to.is_none_or(|to| time < to))
}

/// The first position whose record isn't before a time. The log's clock never goes back, but
/// records that were folded in from the emergency file keep their own time and are passed over.
fn first_at(snapshot: &Snapshot, from: Option<Timestamp>, size: u64) -> Result<u64, StoreFailure> {
    let Some(from) = from else { return Ok(0) };
    let (mut low, mut high) = (0, size);
    while low < high {
        let middle = low + (high - low) / 2;
        match next_time(snapshot, middle, high)? {
            Some((index, time)) if time < from => low = index.saturating_add(1),
            Some(_) | None => high = middle,
        }
    }
    // A folded record just before may be from within the range.
    Ok(low.saturating_sub(u64::try_from(CHUNK).unwrap_or(0)))
}

/// Position and time of the first record from `index` on that was written in its turn.
fn next_time(
    snapshot: &Snapshot,
    index: u64,
    end: u64,
) -> Result<Option<(u64, Timestamp)>, StoreFailure> {
    let mut next = index;
    while next < end {
        let leaves = snapshot.leaves(next, 1)?;
        let Some((found, leaf)) = leaves.first() else { return Ok(None) };
        let entry: Entry = serde_json::from_slice(leaf).map_err(|_| StoreFailure::Damaged)?;
        if !entry.details.iter().any(|detail| detail == "from_emergency_file") {
            let time = Timestamp::parse(&entry.time).map_err(|_| StoreFailure::Damaged)?;
            return Ok((*found < end).then_some((*found, time)));
        }
        next = found.saturating_add(1);
    }
    Ok(None)
}
