//! The accept loop: connections in, HTTP/1.1 and HTTP/2 requests to a router, a drain at the end.
//!
//! It knows nothing of MCP; the remote, the local HTTP mode and the benches use it. TLS isn't its
//! business: the endpoint sits behind the operator's TLS proxy or on loopback.
//!
//! Bounds: [`ServeOptions::max_connections`]; a connection must begin a request within
//! [`ServeOptions::header_read_timeout`] and isn't kept longer than [`ServeOptions::idle_timeout`]
//! without one. A request whose answer nobody takes ends its connection after
//! [`ServeOptions::stall_timeout`]: HTTP/2 lets a client hold an answer back for ever (RFC 9113
//! §5.2.1). At the bound the connection that has been idle longest gives way to a new one, so idle
//! sockets never keep anybody out. An error or a panic on one connection ends that one only.

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Pause after an accept error that concerns the whole process (no file descriptors left).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// How long a new connection waits for an idle one to give way.
const EVICTION_WAIT: Duration = Duration::from_secs(1);

/// Header list limit of HTTP/2 and buffer limit of HTTP/1.1, in bytes.
const MAX_HEADER_BYTES: u32 = 64 * 1024;

/// Requests that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 64;

/// Bounds of the accept loop.
#[derive(Debug, Clone, Copy)]
pub struct ServeOptions {
    /// Connections open at once.
    pub max_connections: usize,
    /// Time for the first request of a connection, and for each request's headers.
    pub header_read_timeout: Duration,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// How long a request may stand still: not answered, or no part of its answer taken. Longer
    /// than any answer takes to begin, and than the pauses of an event stream.
    pub stall_timeout: Duration,
    /// How long requests in flight may go on after shutdown.
    pub drain_timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(180),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// The other end of the connection, as an extension of each request. A fact of the socket: headers
/// such as `Forwarded` have no part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Serves a router until `shutdown`, then drains.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(options.max_connections.max(1)));
    let registry = Registry::default();
    let tracker = TaskTracker::new();
    let hard_stop = CancellationToken::new();
    let mut next_id = 0_u64;
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_connection_error(&error) => continue,
            Err(error) => {
                tracing::warn!(error = %error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let Some(permit) = slot(&slots, &registry).await else {
            tracing::warn!(peer.ip = %peer.ip(), "connection limit reached with none idle");
            continue;
        };
        next_id = next_id.wrapping_add(1);
        let activity = Arc::new(Activity::new());
        let connection = Connection {
            entry: registry.insert(next_id, Arc::clone(&activity)),
            permit,
            activity,
            peer,
            options,
            shutdown: shutdown.clone(),
            hard_stop: hard_stop.clone(),
        };
        tracker.spawn(connection.run(stream, router.clone()));
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(options.drain_timeout, tracker.wait()).await.is_err() {
        hard_stop.cancel();
        tracker.wait().await;
    }
}

/// Errors of the one connection that was being accepted, not of the listener.
fn is_connection_error(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    let kind = error.kind();
    kind == ErrorKind::ConnectionAborted
        || kind == ErrorKind::ConnectionReset
        || kind == ErrorKind::ConnectionRefused
        || kind == ErrorKind::Interrupted
}

/// A free slot, made by ending the longest idle connection if there is none.
async fn slot(slots: &Arc<Semaphore>, registry: &Registry) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(slots).try_acquire_owned() {
        return Some(permit);
    }
    if !registry.evict_longest_idle() {
        return None;
    }
    let acquired = tokio::time::timeout(EVICTION_WAIT, Arc::clone(slots).acquire_owned()).await;
    acquired.ok()?.ok()
}

/// What one connection is doing; shared by its task, its requests and the registry.
#[derive(Debug)]
struct Activity {
    state: Mutex<ActivityState>,
    evicted: CancellationToken,
}

#[derive(Debug)]
struct ActivityState {
    /// The requests in flight, and when each last got on.
    in_flight: BTreeMap<u64, Instant>,
    next_request: u64,
    served_any: bool,
    since: Instant,
}

impl Activity {
    fn new() -> Self {
        let state = ActivityState {
            in_flight: BTreeMap::new(),
            next_request: 0,
            served_any: false,
            since: Instant::now(),
        };
        Self { state: Mutex::new(state), evicted: CancellationToken::new() }
    }

    fn with<T>(&self, use_state: impl FnOnce(&mut ActivityState) -> T) -> T {
        use_state(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin(self: &Arc<Self>) -> InFlight {
        let request = self.with(|state| {
            let request = state.next_request;
            state.next_request = request.wrapping_add(1);
            state.in_flight.insert(request, Instant::now());
            state.served_any = true;
            request
        });
        InFlight { activity: Arc::clone(self), request }
    }

    /// When the connection will have been idle, or one of its requests have stood still, too long.
    fn deadline(&self, options: &ServeOptions) -> Instant {
        self.with(|state| {
            let idle =
                if state.served_any { options.idle_timeout } else { options.header_read_timeout };
            match state.in_flight.values().min() {
                Some(got_on) => *got_on + options.stall_timeout,
                None => state.since + idle,
            }
        })
    }

    /// Returns once the connection has been idle, or one of its requests has stood still, too long.
    async fn expired(&self, options: &ServeOptions) {
        // What changes meanwhile is overdue one of these limits from now at the earliest.
        let step = options.idle_timeout.min(options.stall_timeout);
        loop {
            let now = Instant::now();
            let deadline = self.deadline(options);
            if deadline <= now {
                return;
            }
            tokio::time::sleep_until(deadline.min(now + step)).await;
        }
    }
}

/// Held by a request until its response body has been sent or dropped.
#[derive(Debug)]
struct InFlight {
    activity: Arc<Activity>,
    request: u64,
}

impl InFlight {
    fn gets_on(&self) {
        self.activity.with(|state| state.in_flight.insert(self.request, Instant::now()));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.activity.with(|state| {
            state.in_flight.remove(&self.request);
            state.since = Instant::now();
        });
    }
}

/// The open connections, oldest first.
#[derive(Debug, Default, Clone)]
struct Registry(Arc<Mutex<BTreeMap<u64, Arc<Activity>>>>);

impl Registry {
    fn insert(&self, id: u64, activity: Arc<Activity>) -> RegistryEntry {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, activity);
        RegistryEntry { registry: self.clone(), id }
    }

    fn evict_longest_idle(&self) -> bool {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = open.values().filter(|activity| !activity.evicted.is_cancelled());
        let longest = idle
            .filter_map(|activity| {
                activity.with(|state| state.in_flight.is_empty().then_some((state.since, activity)))
            })
            .min_by_key(|(since, _)| *since);
        longest.inspect(|(_, activity)| activity.evicted.cancel()).is_some()
    }
}

struct RegistryEntry {
    registry: Registry,
    id: u64,
}

impl Drop for RegistryEntry {
    fn drop(&mut self) {
        self.registry.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// One accepted connection; dropping it frees its slot and its registry entry.
struct Connection {
    entry: RegistryEntry,
    permit: OwnedSemaphorePermit,
    activity: Arc<Activity>,
    peer: SocketAddr,
    options: ServeOptions,
    shutdown: CancellationToken,
    hard_stop: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, router: Router) {
        // Without it, small streamed answers wait for the peer's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error = %error, "the peer left before it was served");
            return;
        }
        let activity = Arc::clone(&self.activity);
        let peer = Peer(self.peer);
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let guard = activity.begin();
            request.extensions_mut().insert(peer);
            let router = router.clone();
            async move {
                let response = router.oneshot(request.map(Body::new)).await?;
                Ok::<_, std::convert::Infallible>(tracked(response, guard))
            }
        });
        let builder = self.builder();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut expired = pin!(self.activity.expired(&self.options));
        let mut draining = false;
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        let ip = self.peer.ip();
                        tracing::debug!(peer.ip = %ip, error = %error, "connection ended");
                    }
                    break;
                }
                () = &mut expired => break,
                () = self.activity.evicted.cancelled() => break,
                () = self.hard_stop.cancelled() => break,
                () = self.shutdown.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
        drop((self.entry, self.permit));
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        let buffer = usize::try_from(MAX_HEADER_BYTES).unwrap_or(usize::MAX);
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.idle_timeout.max(self.options.header_read_timeout))
            .max_buf_size(buffer);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .keep_alive_interval(self.options.idle_timeout)
            .keep_alive_timeout(self.options.header_read_timeout);
        builder
    }
}

fn tracked(response: Response<Body>, guard: InFlight) -> Response<TrackedBody> {
    response.map(|inner| TrackedBody { inner, guard })
}

/// A response body that keeps its connection busy until it ends.
struct TrackedBody {
    inner: Body,
    guard: InFlight,
}

impl HttpBody for TrackedBody {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if polled.is_ready() {
            self.guard.gets_on();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
