//! Waiting for a resource to change.

use super::{Asked, Done};
use crate::changes::Cursor;
use ibkr_agent_domain::{ErrorCode, Watch};
use ibkr_agent_protocol::catalogue::resources::{Resource, ResourcesWait, ResourcesWaitOutput};
use ibkr_agent_protocol::catalogue::{Wire, invalid};
use ibkr_agent_protocol::service::ErrorBody;
use std::time::Duration;
use tokio::time::Instant;

/// How long further changes are collected after the first, so that a burst is one answer.
const SETTLE: Duration = Duration::from_millis(500);

impl Asked<'_> {
    pub(super) async fn resources_wait(&self) -> Result<Done, ErrorBody> {
        let input = self.input::<ResourcesWait>()?;
        let (resources, wait) = (input.watched()?, input.wait()?);
        for resource in &resources {
            self.follow(resource).await?;
        }
        let changes = &self.core.changes;
        // Subscribed before the first look, so that no change falls between.
        let mut counts = changes.subscribe();
        let Some(Wire(cursor)) = &input.cursor else {
            return waited(Vec::new(), changes.cursor());
        };
        let since = Cursor::parse(cursor.as_str())
            .ok_or_else(|| invalid("cursor must be the cursor of an earlier answer"))?;
        let deadline = Instant::now() + wait;
        loop {
            if !changes.since(since, &resources).is_empty() {
                tokio::time::sleep_until(deadline.min(Instant::now() + SETTLE)).await;
                break;
            }
            if Instant::now() >= deadline {
                break;
            }
            tokio::select! {
                changed = counts.changed() => if changed.is_err() { break },
                () = tokio::time::sleep_until(deadline) => {}
                () = self.cancelled.cancelled() => {
                    let message = "the caller withdrew the call";
                    return Err(ErrorBody::new(ErrorCode::CallCancelled, message));
                }
            }
        }
        let cursor = changes.cursor();
        waited(changes.since(since, &resources), cursor)
    }

    /// Checks that the caller may read a resource, and has it watched at its broker.
    async fn follow(&self, resource: &Resource) -> Result<(), ErrorBody> {
        let Some(spec) = resource.spec() else {
            return Err(invalid("no tool reads this resource"));
        };
        if !self.caller.scopes.contains(spec.scope) {
            let message = format!("{resource} needs the scope {}", spec.scope);
            return Err(ErrorBody::new(ErrorCode::AuthMissingScope, message));
        }
        let (broker, what) = match resource {
            Resource::Positions(id) | Resource::Orders(id) | Resource::ProfitAndLoss(id) => {
                let routed = self.core.brokers.account(Some(id)).await?;
                (routed.broker, Watch::Account(id.clone()))
            }
            Resource::Quote(conid) => (self.core.brokers.market()?.clone(), Watch::Quote(*conid)),
            Resource::Approval(_) | Resource::Order(_) => return self.owns(resource).await,
        };
        self.core.changes.follow(&broker, what).map_err(|_| {
            let message = "too many quotes and accounts are followed at once: wait for fewer";
            ErrorBody::new(ErrorCode::SidecarBusy, message)
        })
    }

    /// An approval or an order is its owner's only.
    async fn owns(&self, resource: &Resource) -> Result<(), ErrorBody> {
        let (resource, requester) = (resource.clone(), self.caller.requester.clone());
        let missing = match resource {
            Resource::Order(_) => ErrorCode::OrderNotFound,
            Resource::Approval(_)
            | Resource::Positions(_)
            | Resource::Orders(_)
            | Resource::ProfitAndLoss(_)
            | Resource::Quote(_) => ErrorCode::ApprovalNotFound,
        };
        let owned = self.core.engine.look(move |engine, _| engine.is_owner(&requester, &resource));
        if owned.await.map_err(super::refusal_body)? {
            Ok(())
        } else {
            Err(ErrorBody::new(missing, "there is no such resource for this caller"))
        }
    }
}

fn waited(changed: Vec<Resource>, cursor: Cursor) -> Result<Done, ErrorBody> {
    let changed = changed.into_iter().map(Wire).collect();
    Done::read(&ResourcesWaitOutput { changed, cursor: cursor.to_string() }, None)
}
