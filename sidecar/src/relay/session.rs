//! One link at the sidecar: the dull driver around [`SidecarEnd`].
//!
//! One task owns the link's state, a second one writes, each call has its own. At half of the
//! certificate's life the driver asks for a new one, for a new key.

use core::future::pending;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::StreamExt as _;
use ibkr_agent_domain::Untrusted;
use ibkr_agent_protocol::catalogue::catalogue_hash;
use ibkr_agent_protocol::relay::frame::{
    GoAwayReason, Hello, RenewRefused, Renewed, VERSIONS, Welcome, hello_text,
};
use ibkr_agent_protocol::relay::link::{SidecarAction, SidecarInput};
use ibkr_agent_protocol::relay::{CallerToken, Ended, Settings, SidecarEnd, decode, encode};
use ibkr_agent_protocol::service::{ToolCall, ToolEvent};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::calls::{Report, Runner, is_read};
use super::credentials::{Credentials, FreshKey, Identity};
use super::dial::{DialError, Dialled, from_websocket};
use super::refusals::Teller;
use super::{Advice, RelayDoor, RelayStatus, writer};

/// Time for the last frames of a link to leave.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Reports of calls that may wait for the link.
const REPORTS: usize = 512;
/// Pause after a refused or unanswered renewal.
const RENEWAL_PAUSE: Duration = Duration::from_secs(60);
const SOFTWARE: &str = concat!("ibkr-agent ", env!("CARGO_PKG_VERSION"));

/// What every link of a dialler shares.
pub(super) struct Context<D> {
    pub(super) settings: Settings,
    pub(super) identity: Identity,
    pub(super) credentials: ArcSwap<Credentials>,
    pub(super) runner: Runner<D>,
    pub(super) status: watch::Sender<RelayStatus>,
    pub(super) events: broadcast::Sender<ToolEvent>,
    pub(super) checkpoint: watch::Sender<Option<String>>,
    pub(super) refusals: Teller,
}

struct Session<'a, D> {
    context: &'a Context<D>,
    end: SidecarEnd,
    writer: mpsc::Sender<Bytes>,
    reports: mpsc::Sender<Report>,
    running: HashMap<u64, (CancellationToken, bool)>,
    welcome: Option<Welcome>,
    since: SystemTime,
    fresh_key: Option<FreshKey>,
    renew_at: SystemTime,
    /// The transport's own error, which may say more than that it closed.
    error: Option<DialError>,
    ended: Option<Ended>,
}

enum Woken {
    Message(Option<Result<Message, Error>>),
    Report(Report),
    Event(ToolEvent),
    Checkpoint(Option<String>),
    Renew,
    Shutdown,
    Tick,
}

/// Runs a link to its end and says why it ended.
pub(super) async fn run<D: RelayDoor>(
    dialled: Dialled,
    context: &Context<D>,
    shutdown: &CancellationToken,
) -> DialError {
    let Dialled { socket, exporter } = dialled;
    let (sink, mut stream) = socket.split();
    let (writer, queue) = mpsc::channel(writer::QUEUE);
    let writing = tokio::spawn(writer::run(sink, queue));
    let (reports_in, mut reports) = mpsc::channel(REPORTS);
    let mut events = context.events.subscribe();
    let mut checkpoints = context.checkpoint.subscribe();
    checkpoints.mark_changed();
    let mut session = Session::start(context, &exporter, writer, reports_in);
    let mut is_stopping = false;
    while !session.end.is_ended() {
        let is_open = session.end.is_open();
        let renew_in = session.renew_at.duration_since(SystemTime::now()).unwrap_or_default();
        let woken = tokio::select! {
            message = stream.next() => Woken::Message(message),
            Some(report) = reports.recv() => Woken::Report(report),
            Ok(event) = events.recv() => Woken::Event(event),
            Ok(()) = checkpoints.changed(), if is_open => {
                Woken::Checkpoint(checkpoints.borrow_and_update().clone())
            }
            () = tokio::time::sleep(renew_in), if is_open => Woken::Renew,
            () = shutdown.cancelled(), if !is_stopping => Woken::Shutdown,
            () = tick(session.end.next_deadline()) => Woken::Tick,
        };
        is_stopping |= matches!(woken, Woken::Shutdown);
        session.take(woken);
    }
    let reason = session.finish();
    let abort = writing.abort_handle();
    if tokio::time::timeout(LAST_WORDS, writing).await.is_err() {
        abort.abort();
    }
    reason
}

async fn tick(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

impl<'a, D: RelayDoor> Session<'a, D> {
    fn start(
        context: &'a Context<D>,
        exporter: &[u8; 32],
        writer: mpsc::Sender<Bytes>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let credentials = context.credentials.load();
        let sidecar_id = credentials.sidecar_id().clone();
        let versions = VERSIONS.to_vec();
        let catalogue_hash = catalogue_hash();
        let text = hello_text(exporter, &sidecar_id, &versions, &catalogue_hash);
        let signature = context.identity.sign_hex(text.as_bytes());
        let software = SOFTWARE.to_owned();
        let hello = Hello { sidecar_id, versions, catalogue_hash, software, signature };
        let (end, first) = SidecarEnd::start(context.settings.clone(), hello, Instant::now());
        let mut session = Self {
            context,
            end,
            writer,
            reports,
            running: HashMap::new(),
            welcome: None,
            since: SystemTime::now(),
            fresh_key: None,
            renew_at: credentials.renewal_due(),
            error: None,
            ended: None,
        };
        session.act(SidecarAction::Send(first));
        session
    }

    fn take(&mut self, woken: Woken) {
        match woken {
            Woken::Message(message) => self.message(message),
            Woken::Report(Report::Progress { number, update }) => {
                self.handle(SidecarInput::Progress { number, update });
            }
            Woken::Report(Report::Finished { number, reply }) => {
                self.running.remove(&number);
                self.handle(SidecarInput::Finished { number, reply });
            }
            Woken::Event(event) => self.handle(SidecarInput::Event(event)),
            Woken::Checkpoint(Some(note)) => self.handle(SidecarInput::Checkpoint { note }),
            Woken::Checkpoint(None) => {}
            Woken::Renew => self.ask_renewal(),
            Woken::Shutdown => self.handle(SidecarInput::GoAway(GoAwayReason::ShuttingDown)),
            Woken::Tick => self.handle(SidecarInput::Tick),
        }
    }

    fn message(&mut self, message: Option<Result<Message, Error>>) {
        match message {
            Some(Ok(Message::Binary(bytes))) => match decode(&bytes) {
                Ok(message) => self.handle(SidecarInput::Received(message)),
                Err(error) => {
                    let reason = Untrusted::new(&format!("unreadable frame: {error}")).to_string();
                    self.error = Some(DialError { reason, advice: Advice::Wait });
                    self.handle(SidecarInput::Closed);
                }
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Err(error)) => {
                self.error = Some(from_websocket(&error));
                self.handle(SidecarInput::Closed);
            }
            Some(Ok(Message::Text(_) | Message::Close(_) | Message::Frame(_))) | None => {
                self.handle(SidecarInput::Closed);
            }
        }
    }

    fn handle(&mut self, input: SidecarInput) {
        for action in self.end.handle(input, Instant::now()) {
            self.act(action);
        }
    }

    fn act(&mut self, action: SidecarAction) {
        match action {
            SidecarAction::Send(message) => {
                let sent = match encode(&message) {
                    Ok(bytes) => self.writer.try_send(bytes.into()).is_ok(),
                    Err(error) => {
                        tracing::error!(error = %error, "a relay frame can't be written");
                        false
                    }
                };
                if !sent && !self.end.is_ended() {
                    self.handle(SidecarInput::Closed);
                }
            }
            SidecarAction::Welcomed(welcome) => self.welcomed(welcome),
            SidecarAction::Start { number, call, token } => self.start_call(number, call, token),
            SidecarAction::Cancel { number } => {
                if let Some((cancelled, _)) = self.running.get(&number) {
                    cancelled.cancel();
                }
            }
            SidecarAction::Renewal(Ok(renewed)) => self.renewed(renewed),
            SidecarAction::Renewal(Err(RenewRefused { message })) => {
                let message = Untrusted::new(&message);
                tracing::warn!(%message, "the certificate was not renewed");
                self.fresh_key = None;
            }
            SidecarAction::Refusals(refusals) => {
                let replica = self.welcome.as_ref().map_or("", |welcome| &welcome.replica_id);
                self.context.refusals.tell(replica, refusals);
            }
            SidecarAction::GoingAway(reason) => {
                tracing::info!(relay.reason = ?reason, "the remote drains the link");
            }
            SidecarAction::Close(ended) => self.ended = Some(ended),
        }
    }

    fn welcomed(&mut self, welcome: Welcome) {
        if welcome.catalogue_hash != catalogue_hash() {
            let software = Untrusted::new(&welcome.software);
            tracing::warn!(%software, "the remote's tool catalogue differs");
        }
        self.since = SystemTime::now();
        self.welcome = Some(welcome);
        self.report_connected();
        tracing::info!("relay link open");
    }

    fn report_connected(&self) {
        let Some(welcome) = &self.welcome else { return };
        self.context.status.send_replace(RelayStatus::Connected {
            replica_id: Untrusted::new(&welcome.replica_id).to_string(),
            since: self.since,
            certificate_expires_at: self.context.credentials.load().expires_at(),
        });
    }

    fn start_call(&mut self, number: u64, call: ToolCall, token: CallerToken) {
        let cancelled = CancellationToken::new();
        self.running.insert(number, (cancelled.clone(), is_read(&call.tool)));
        self.context.runner.start(number, call, token, cancelled, self.reports.clone());
    }

    fn ask_renewal(&mut self) {
        let pause = SystemTime::now().checked_add(RENEWAL_PAUSE);
        self.renew_at = pause.unwrap_or_else(SystemTime::now);
        match FreshKey::generate() {
            Ok(key) => {
                let csr_pem = key.csr_pem.clone();
                self.fresh_key = Some(key);
                self.handle(SidecarInput::Renew { csr_pem });
            }
            Err(error) => tracing::error!(error = %error, "no key for the renewal"),
        }
    }

    fn renewed(&mut self, renewed: Renewed) {
        let Some(key) = self.fresh_key.take() else {
            tracing::warn!("a certificate came that nobody asked for");
            return;
        };
        let Renewed { certificate_pem, expires_at } = renewed;
        let current = self.context.credentials.load();
        let now = SystemTime::now();
        let next = current.renewed(key.key_pem, certificate_pem, expires_at, now);
        if !next.is_usable() {
            tracing::error!("the renewed certificate doesn't belong to the key it was asked for");
            return;
        }
        // A small file, written once in half a certificate's life.
        if let Err(error) = next.save() {
            tracing::error!(error = %error, "the renewed certificate can't be stored");
            return;
        }
        self.renew_at = next_renewal(next.renewal_due(), now);
        self.context.credentials.store(std::sync::Arc::new(next));
        self.report_connected();
        tracing::info!("client certificate renewed");
    }

    /// Reads that nobody waits for any more are asked to stop; writes run on.
    fn finish(self) -> DialError {
        for (cancelled, is_read) in self.running.values() {
            if *is_read {
                cancelled.cancel();
            }
        }
        if let (Some(Ended::Closed), Some(error)) = (&self.ended, self.error) {
            return error;
        }
        let Some(ended) = self.ended else {
            return DialError { reason: "the link ended".to_owned(), advice: Advice::Wait };
        };
        let advice = match &ended {
            Ended::Revoked => Advice::PairAgain,
            Ended::Refused(refuse) if is_about_pairing(&refuse.code) => Advice::PairAgain,
            Ended::Refused(_)
            | Ended::HandshakeTimeout
            | Ended::Silent
            | Ended::Closed
            | Ended::Drained(_)
            | Ended::Violation(_) => Advice::Wait,
        };
        DialError { reason: Untrusted::new(&ended.to_string()).to_string(), advice }
    }
}

/// When to ask again after a renewal: a remote that hands out certificates that are nearly over
/// can't make us ask without a pause.
fn next_renewal(due: SystemTime, now: SystemTime) -> SystemTime {
    now.checked_add(RENEWAL_PAUSE).map_or(due, |earliest| due.max(earliest))
}

fn is_about_pairing(code: &str) -> bool {
    matches!(code, "SIDECAR_PAIRING_REQUIRED" | "SIDECAR_SESSION_INVALID")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_over_at_once_is_not_renewed_without_a_pause() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let earliest = now + RENEWAL_PAUSE;
        for due in [SystemTime::UNIX_EPOCH, now, now + Duration::from_secs(1)] {
            assert_eq!(next_renewal(due, now), earliest);
        }
        let later = now + Duration::from_secs(3600);
        assert_eq!(next_renewal(later, now), later);
    }
}
