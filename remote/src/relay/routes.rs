//! The way to a sidecar: whose calls go where, and the live links.
//!
//! Readers take a snapshot; the table changes only when a link begins or ends. A call's future may
//! be dropped: the sidecar is then asked to cancel, and whatever it answers is dropped.

use core::future::Future;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use ibkr_agent_domain::{CallId, ErrorCode, SidecarId};
use ibkr_agent_protocol::relay::CallerToken;
use ibkr_agent_protocol::relay::frame::MAX_TOOL_NAME_BYTES;
use ibkr_agent_protocol::relay::frame::Refusals;
use ibkr_agent_protocol::relay::link::cut_reply;
use ibkr_agent_protocol::service::{
    ErrorBody, MAX_ARGUMENT_BYTES, Progress, ToolCall, ToolEvent, ToolReply,
};
use ibkr_agent_token::BearerToken;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// Calls that may wait for a link's task to take them.
const ORDERS: usize = 256;
/// Events that a slow listener may miss before it is told that it lagged.
const EVENTS: usize = 256;

/// Frames of refusals that may wait for a link's task; a second's worth is at most this many.
const REFUSALS: usize = 16;

/// Why a caller has no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No paired sidecar serves this subject of this issuer.
    #[error("no paired sidecar serves this user")]
    NotPaired,
}

impl RouteError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NotPaired => ErrorCode::SidecarPairingRequired,
        }
    }
}

/// Whoever brings calls to sidecars: the relay's own links, or a message broker later.
pub trait SidecarRoute: Clone + Send + Sync + 'static {
    /// The sidecar that serves a subject of an issuer.
    ///
    /// # Errors
    /// [`RouteError`] if none does.
    fn route_for(&self, issuer: &str, subject: &str) -> Result<SidecarId, RouteError>;

    /// Brings a call to a sidecar and its answer back. Always answers. The token goes along for
    /// the sidecar to verify; it is kept nowhere.
    fn call(
        &self,
        sidecar: &SidecarId,
        token: &BearerToken,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> impl Future<Output = ToolReply> + Send;

    /// The sidecars with a live link.
    fn connected(&self) -> Vec<SidecarId>;

    /// Whether a sidecar has a live link.
    fn is_connected(&self, sidecar: &SidecarId) -> bool;
}

/// Why a live link is cut from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The pairing was revoked or made anew: at once.
    Revoked,
    /// A newer link of the same sidecar took its place: calls in flight may finish.
    Displaced,
    /// The relay stops: calls in flight may finish.
    ShuttingDown,
}

/// A call on its way to a link's task.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) number: u64,
    pub(super) call: ToolCall,
    pub(super) token: CallerToken,
    pub(super) reply: oneshot::Sender<ToolReply>,
    pub(super) progress: Progress,
}

/// What a link's task listens to.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) cancels: mpsc::UnboundedReceiver<u64>,
    pub(super) refusals: mpsc::Receiver<Refusals>,
    pub(super) cut: watch::Receiver<Option<Cut>>,
}

/// One live link, as callers see it.
#[derive(Debug, Clone)]
pub(super) struct Link {
    serial: u64,
    numbers: Arc<AtomicU64>,
    orders: mpsc::Sender<Order>,
    /// Unbounded, yet never longer than the calls of the link: each is cancelled at most twice.
    cancels: mpsc::UnboundedSender<u64>,
    refusals: mpsc::Sender<Refusals>,
    cut: watch::Sender<Option<Cut>>,
}

#[derive(Debug)]
struct Table {
    store: Arc<Store>,
    serial: AtomicU64,
    links: ArcSwap<HashMap<SidecarId, Link>>,
    events: broadcast::Sender<(SidecarId, ToolEvent)>,
}

/// The live links and the directory behind them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Routes(Arc<Table>);

impl Routes {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self(Arc::new(Table {
            store,
            serial: AtomicU64::new(1),
            links: ArcSwap::default(),
            events: broadcast::Sender::new(EVENTS),
        }))
    }

    /// What happens at the sidecars outside any call. A listener that lags misses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<(SidecarId, ToolEvent)> {
        self.0.events.subscribe()
    }

    pub(super) fn publish(&self, sidecar: &SidecarId, event: ToolEvent) {
        // Nobody listening is no fault.
        drop(self.0.events.send((sidecar.clone(), event)));
    }

    /// Hands refusals to a sidecar's live link; says whether there is one that takes them.
    pub(crate) fn tell_refusals(&self, sidecar: &SidecarId, refusals: Refusals) -> bool {
        let links = self.0.links.load();
        links.get(sidecar).is_some_and(|link| link.refusals.try_send(refusals).is_ok())
    }

    /// Cuts a sidecar's live link, if there is one.
    pub fn cut(&self, sidecar: &SidecarId, why: Cut) {
        if let Some(link) = self.0.links.load().get(sidecar) {
            link.cut.send_replace(Some(why));
        }
    }

    /// Cuts every live link.
    pub fn cut_all(&self, why: Cut) {
        for link in self.0.links.load().values() {
            link.cut.send_replace(Some(why));
        }
    }

    /// A link that isn't in the table yet.
    pub(super) fn prepare(&self) -> (Link, Inbox) {
        let (orders_in, orders) = mpsc::channel(ORDERS);
        let (cancels_in, cancels) = mpsc::unbounded_channel();
        let (refusals_in, refusals) = mpsc::channel(REFUSALS);
        let (cut_in, cut) = watch::channel(None);
        let link = Link {
            serial: self.0.serial.fetch_add(1, Ordering::Relaxed),
            numbers: Arc::new(AtomicU64::new(1)),
            orders: orders_in,
            cancels: cancels_in,
            refusals: refusals_in,
            cut: cut_in,
        };
        (link, Inbox { orders, cancels, refusals, cut })
    }

    /// Puts a link into the table. The newest wins: an older one is told that it was displaced.
    pub(super) fn register(&self, sidecar: &SidecarId, link: &Link) {
        let before = self.0.links.rcu(|links| {
            let mut links = HashMap::clone(links);
            links.insert(sidecar.clone(), link.clone());
            links
        });
        if let Some(older) = before.get(sidecar) {
            tracing::warn!(sidecar.id = %sidecar, "a newer link displaced an older one");
            older.cut.send_replace(Some(Cut::Displaced));
        }
    }

    /// Takes a link out of the table, unless a newer one has its place.
    pub(super) fn unregister(&self, sidecar: &SidecarId, link: &Link) {
        self.0.links.rcu(|links| {
            let mut links = HashMap::clone(links);
            if links.get(sidecar).is_some_and(|current| current.serial == link.serial) {
                links.remove(sidecar);
            }
            links
        });
    }
}

/// Asks for cancellation when a call's future is dropped before its answer.
struct CancelOnDrop {
    link: Link,
    number: u64,
    answered: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.answered {
            // A link that is gone has nothing to cancel.
            let _ = self.link.cancels.send(self.number);
        }
    }
}

impl SidecarRoute for Routes {
    fn route_for(&self, issuer: &str, subject: &str) -> Result<SidecarId, RouteError> {
        let directory = self.0.store.directory();
        directory.route(issuer, subject).cloned().ok_or(RouteError::NotPaired)
    }

    async fn call(
        &self,
        sidecar: &SidecarId,
        token: &BearerToken,
        call: ToolCall,
        progress: Progress,
        cancelled: CancellationToken,
    ) -> ToolReply {
        let Some(link) = self.0.links.load().get(sidecar).cloned() else {
            return unavailable(call.call_id);
        };
        // A call that no frame can hold would end the link, and every call on it.
        if call.tool.len() > MAX_TOOL_NAME_BYTES || call.arguments.get().len() > MAX_ARGUMENT_BYTES
        {
            let message = "The tool's name or the arguments are too long.";
            return ToolReply::failure(
                call.call_id,
                ErrorBody::new(ErrorCode::InputInvalid, message),
            );
        }
        let number = link.numbers.fetch_add(1, Ordering::Relaxed);
        let (call_id, tool) = (call.call_id.clone(), call.tool.clone());
        let token = CallerToken::new(token.expose().to_owned());
        let (reply, mut answer) = oneshot::channel();
        match link.orders.try_send(Order { number, call, token, reply, progress }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let message = "Too many calls wait for the sidecar.";
                let error = ErrorBody::new(ErrorCode::SidecarBusy, message);
                return ToolReply::failure(call_id, error);
            }
            Err(TrySendError::Closed(_)) => return unavailable(call_id),
        }
        let mut guard = CancelOnDrop { link, number, answered: false };
        let answer = tokio::select! {
            answer = &mut answer => answer,
            () = cancelled.cancelled() => {
                let _ = guard.link.cancels.send(number);
                answer.await
            }
        };
        guard.answered = true;
        // A link's task that ends without an answer leaves the outcome unknown.
        answer.unwrap_or_else(|_| cut_reply(call_id, &tool))
    }

    fn connected(&self) -> Vec<SidecarId> {
        let mut connected: Vec<_> = self.0.links.load().keys().cloned().collect();
        connected.sort();
        connected
    }

    fn is_connected(&self, sidecar: &SidecarId) -> bool {
        self.0.links.load().contains_key(sidecar)
    }
}

fn unavailable(call_id: CallId) -> ToolReply {
    let error = ErrorBody::new(ErrorCode::SidecarUnavailable, "The sidecar is not connected.");
    ToolReply::failure(call_id, error)
}
