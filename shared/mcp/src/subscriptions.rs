//! What one session of the older protocol revisions follows (`resources/subscribe`). Newer clients
//! name their resources in one `subscriptions/listen` request instead.
//!
//! Each session has one follower over all its resources; a change of the set starts it anew. It
//! ends with the session.

use crate::resources::{follow, followable};
use ibkr_agent_protocol::catalogue::resources::MAX_WATCHED;
use ibkr_agent_protocol::service::ToolService;
use rmcp::RoleServer;
use rmcp::model::ResourceUpdatedNotificationParam;
use rmcp::service::Peer;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Debug, Default)]
struct Followed {
    uris: BTreeSet<String>,
    /// Ends the follower when it is replaced or the session goes.
    follower: Option<DropGuard>,
}

/// The resources that a session follows.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<Followed>);

/// As many resources are followed as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Subscriptions {
    fn lock(&self) -> MutexGuard<'_, Followed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows one more.
    pub(crate) fn add<S: ToolService>(
        &self,
        uri: String,
        service: &Arc<S>,
        caller: S::Caller,
        peer: &Peer<RoleServer>,
    ) -> Result<(), TooMany> {
        let mut followed = self.lock();
        if followed.uris.len() >= MAX_WATCHED && !followed.uris.contains(&uri) {
            return Err(TooMany);
        }
        if followed.uris.insert(uri) {
            restart(&mut followed, service, caller, peer);
        }
        Ok(())
    }

    /// Follows one less.
    pub(crate) fn remove<S: ToolService>(
        &self,
        uri: &str,
        service: &Arc<S>,
        caller: S::Caller,
        peer: &Peer<RoleServer>,
    ) {
        let mut followed = self.lock();
        if followed.uris.remove(uri) {
            restart(&mut followed, service, caller, peer);
        }
    }
}

fn restart<S: ToolService>(
    followed: &mut Followed,
    service: &Arc<S>,
    caller: S::Caller,
    peer: &Peer<RoleServer>,
) {
    let uris: Vec<String> = followed.uris.iter().cloned().collect();
    let resources = followable(&uris);
    followed.follower = None;
    if resources.is_empty() {
        return;
    }
    let ended = CancellationToken::new();
    let (service, peer) = (Arc::clone(service), peer.clone());
    let told = move |uri: String| {
        let peer = peer.clone();
        async move {
            let update = ResourceUpdatedNotificationParam::new(uri);
            peer.notify_resource_updated(update).await.is_ok()
        }
    };
    tokio::spawn(follow(service, caller, resources, ended.clone(), told));
    followed.follower = Some(ended.drop_guard());
}
