//! What a commit records, on its way through it: proposed by the engine, appended to a batch,
//! durable.
//!
//! One list of kinds for all three, so that what comes out of a commit is what went in. A permit
//! can be spent only where it is durable.

use core::fmt;
use ibkr_agent_audit::{Batch, Commit, EventId, Recorded, Slot, StoreFailure};
use ibkr_agent_domain::{Record, Timestamp};
use ibkr_agent_gates::{Cancel, Halt, Permit, Place, Reply, TakeOver};

/// How far a commit has come.
pub trait Stage {
    /// What holds a value there.
    type Of<T: fmt::Debug>: fmt::Debug;
}

/// Proposed: nothing is written.
#[derive(Debug)]
pub enum Proposed {}

impl Stage for Proposed {
    type Of<T: fmt::Debug> = T;
}

/// Appended to a batch that isn't committed yet.
#[derive(Debug)]
pub enum Batched {}

impl Stage for Batched {
    type Of<T: fmt::Debug> = Slot<T>;
}

/// Committed.
#[derive(Debug)]
pub enum Durable {}

impl Stage for Durable {
    type Of<T: fmt::Debug> = Recorded<T>;
}

/// What a commit records.
#[derive(Debug)]
pub enum Pending<S: Stage> {
    /// A record.
    Record(S::Of<Record>),
    /// A permit to place.
    Place(S::Of<Permit<Place>>),
    /// A permit to cancel.
    Cancel(S::Of<Permit<Cancel>>),
    /// A permit to answer.
    Reply(S::Of<Permit<Reply>>),
    /// A permit to halt.
    Halt(S::Of<Permit<Halt>>),
    /// A permit to take the brokerage session.
    TakeOver(S::Of<Permit<TakeOver>>),
}

/// What the engine wants recorded.
pub type Payload = Pending<Proposed>;

impl Pending<Proposed> {
    /// Appends it to a batch.
    pub(crate) fn append(
        self,
        batch: &mut Batch<'_>,
        now: Timestamp,
    ) -> Result<Pending<Batched>, StoreFailure> {
        Ok(match self {
            Self::Record(record) => Pending::Record(batch.append(record, now)?),
            Self::Place(permit) => Pending::Place(batch.append(permit, now)?),
            Self::Cancel(permit) => Pending::Cancel(batch.append(permit, now)?),
            Self::Reply(permit) => Pending::Reply(batch.append(permit, now)?),
            Self::Halt(permit) => Pending::Halt(batch.append(permit, now)?),
            Self::TakeOver(permit) => Pending::TakeOver(batch.append(permit, now)?),
        })
    }
}

impl Pending<Batched> {
    /// Turns what waited into what was recorded.
    ///
    /// # Errors
    /// [`StoreFailure::Damaged`] if the commit is another batch's, which is a defect.
    pub fn redeem(self, commit: &Commit) -> Result<Pending<Durable>, StoreFailure> {
        let damaged = |_| StoreFailure::Damaged;
        Ok(match self {
            Self::Record(slot) => Pending::Record(commit.redeem(slot).map_err(damaged)?),
            Self::Place(slot) => Pending::Place(commit.redeem(slot).map_err(damaged)?),
            Self::Cancel(slot) => Pending::Cancel(commit.redeem(slot).map_err(damaged)?),
            Self::Reply(slot) => Pending::Reply(commit.redeem(slot).map_err(damaged)?),
            Self::Halt(slot) => Pending::Halt(commit.redeem(slot).map_err(damaged)?),
            Self::TakeOver(slot) => Pending::TakeOver(commit.redeem(slot).map_err(damaged)?),
        })
    }
}

impl Pending<Durable> {
    /// The id of its record.
    #[must_use]
    pub const fn event(&self) -> &EventId {
        match self {
            Self::Record(recorded) => recorded.event(),
            Self::Place(recorded) => recorded.event(),
            Self::Cancel(recorded) => recorded.event(),
            Self::Reply(recorded) => recorded.event(),
            Self::Halt(recorded) => recorded.event(),
            Self::TakeOver(recorded) => recorded.event(),
        }
    }
}
