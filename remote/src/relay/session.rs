//! One link at the remote: the dull driver around [`RemoteEnd`].
//!
//! One task owns the link's state; a second one writes. The link enters the table of routes only
//! after its `hello` was verified against the identity key recorded at pairing. At the end of the
//! certificate's life the link takes no new calls; a renewal over the link extends it.

use core::future::pending;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::SplitStream;
use ibkr_agent_domain::{ErrorCode, SidecarId, Untrusted};
use ibkr_agent_protocol::catalogue::catalogue_hash;
use ibkr_agent_protocol::relay::frame::{
    EXPORTER_BYTES, GoAwayReason, Hello, Refusals, Refuse, RenewRefused, Renewed, VERSION,
    VERSIONS, Welcome, hello_text,
};
use ibkr_agent_protocol::relay::join::from_hex;
use ibkr_agent_protocol::relay::link::{RemoteAction, RemoteInput};
use ibkr_agent_protocol::relay::{Ended, RemoteEnd, decode, encode};
use ibkr_agent_protocol::service::{Progress, ToolReply};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::sync::{oneshot, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::routes::{Cut, Inbox, Link, Order};
use super::{Shared, writer};
use crate::pki::PeerIdentity;
use crate::relay::clock::from_unix;

/// Time for the last frames of a link to leave.
const LAST_WORDS: Duration = Duration::from_secs(2);
const SOFTWARE: &str = concat!("ibkr-agent-remote ", env!("CARGO_PKG_VERSION"));

struct Caller {
    reply: oneshot::Sender<ToolReply>,
    progress: Progress,
}

struct Session<'a> {
    shared: &'a Arc<Shared>,
    sidecar: SidecarId,
    exporter: [u8; EXPORTER_BYTES],
    end: RemoteEnd,
    link: Link,
    writer: mpsc::Sender<Bytes>,
    callers: HashMap<u64, Caller>,
    renewals: mpsc::Sender<Result<Renewed, RenewRefused>>,
    checkpoints: watch::Sender<Option<String>>,
    not_after: SystemTime,
    renewing: bool,
    ended: Option<Ended>,
}

/// Something that the driver waited for.
enum Woken {
    Message(Option<Result<Message, Error>>),
    Order(Order),
    Cancel(u64),
    Refusals(Refusals),
    Cut(Cut),
    Renewal(Result<Renewed, RenewRefused>),
    CertificateOver,
    Tick,
}

/// Runs a link to its end.
pub(super) async fn run<S>(
    socket: WebSocketStream<S>,
    peer: PeerIdentity,
    exporter: [u8; EXPORTER_BYTES],
    shared: &Arc<Shared>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, mut stream) = socket.split();
    let (writer, queue) = mpsc::channel(writer::QUEUE);
    let writing = tokio::spawn(writer::run(sink, queue));
    let (link, mut inbox) = shared.routes.prepare();
    let (renewals, mut renewed) = mpsc::channel(1);
    let (checkpoints, newest) = watch::channel(None);
    shared.tasks.spawn(keep_checkpoints(Arc::clone(shared), peer.sidecar.clone(), newest));
    let mut session = Session {
        shared,
        sidecar: peer.sidecar,
        exporter,
        end: RemoteEnd::new(shared.config.settings.clone(), Instant::now()),
        link,
        writer,
        callers: HashMap::new(),
        renewals,
        checkpoints,
        not_after: peer.not_after,
        renewing: false,
        ended: None,
    };
    while !session.end.is_ended() {
        let woken = wait(&session, &mut stream, &mut inbox, &mut renewed).await;
        if matches!(woken, Woken::Cancel(_)) {
            // The call that it cancels was ordered before: it must not be taken after.
            while let Ok(order) = inbox.orders.try_recv() {
                session.order(order);
            }
        }
        session.take(woken);
    }
    session.shared.routes.unregister(&session.sidecar, &session.link);
    // What was ordered and never reached the link ends as never sent.
    inbox.orders.close();
    while let Some(order) = inbox.orders.recv().await {
        session.order(order);
    }
    let Session { writer, sidecar, ended, end, .. } = session;
    let reason = ended.map_or_else(String::new, |ended| shown(&ended));
    let late = end.late_replies();
    tracing::info!(sidecar.id = %sidecar, relay.ended = %reason, relay.late = late, "link ended");
    drop(writer);
    let abort = writing.abort_handle();
    if tokio::time::timeout(LAST_WORDS, writing).await.is_err() {
        abort.abort();
    }
}

async fn wait<S>(
    session: &Session<'_>,
    stream: &mut SplitStream<WebSocketStream<S>>,
    inbox: &mut Inbox,
    renewed: &mut mpsc::Receiver<Result<Renewed, RenewRefused>>,
) -> Woken
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let life = session.not_after.duration_since(session.shared.config.clock.now());
    let life = life.unwrap_or_default();
    let is_open = session.end.is_open();
    tokio::select! {
        message = stream.next() => Woken::Message(message),
        Some(order) = inbox.orders.recv() => Woken::Order(order),
        Some(number) = inbox.cancels.recv() => Woken::Cancel(number),
        Some(refusals) = inbox.refusals.recv() => Woken::Refusals(refusals),
        cut = cut(&mut inbox.cut) => Woken::Cut(cut),
        Some(result) = renewed.recv() => Woken::Renewal(result),
        () = tokio::time::sleep(life), if is_open => Woken::CertificateOver,
        () = tick(session.end.next_deadline()) => Woken::Tick,
    }
}

async fn cut(cut: &mut watch::Receiver<Option<Cut>>) -> Cut {
    loop {
        if cut.changed().await.is_err() {
            return pending().await;
        }
        if let Some(why) = *cut.borrow_and_update() {
            return why;
        }
    }
}

async fn tick(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

impl Session<'_> {
    fn take(&mut self, woken: Woken) {
        match woken {
            Woken::Message(message) => self.message(message),
            Woken::Order(order) => self.order(order),
            Woken::Cancel(number) => self.handle(RemoteInput::Cancel { number }),
            Woken::Refusals(refusals) => self.handle(RemoteInput::Refusals(refusals)),
            Woken::Cut(Cut::Revoked) => self.handle(RemoteInput::Revoke),
            Woken::Cut(Cut::Displaced) => {
                self.handle(RemoteInput::GoAway(GoAwayReason::Displaced));
            }
            Woken::Cut(Cut::ShuttingDown) => {
                self.handle(RemoteInput::GoAway(GoAwayReason::ShuttingDown));
            }
            Woken::Renewal(result) => {
                self.renewing = false;
                if let Ok(renewed) = &result {
                    self.not_after = from_unix(renewed.expires_at);
                }
                self.handle(RemoteInput::Renewal(result));
            }
            Woken::CertificateOver => {
                self.handle(RemoteInput::GoAway(GoAwayReason::CertificateExpired));
            }
            Woken::Tick => self.handle(RemoteInput::Tick),
        }
    }

    fn message(&mut self, message: Option<Result<Message, Error>>) {
        match message {
            Some(Ok(Message::Binary(bytes))) => match decode(&bytes) {
                Ok(message) => self.handle(RemoteInput::Received(message)),
                Err(error) => {
                    let id = &self.sidecar;
                    tracing::warn!(sidecar.id = %id, error = %error, "unreadable relay frame");
                    self.handle(RemoteInput::Closed);
                }
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Text(_) | Message::Close(_) | Message::Frame(_)) | Err(_)) | None => {
                self.handle(RemoteInput::Closed);
            }
        }
    }

    fn order(&mut self, order: Order) {
        let Order { number, call, token, reply, progress } = order;
        if reply.is_closed() {
            return; // The caller left before anything was sent.
        }
        self.callers.insert(number, Caller { reply, progress });
        self.handle(RemoteInput::Call { number, call, token });
    }

    fn handle(&mut self, input: RemoteInput) {
        for action in self.end.handle(input, Instant::now()) {
            self.act(action);
        }
    }

    fn act(&mut self, action: RemoteAction) {
        match action {
            RemoteAction::Send(message) => {
                let sent = match encode(&message) {
                    Ok(bytes) => self.writer.try_send(bytes.into()).is_ok(),
                    Err(error) => {
                        tracing::error!(error = %error, "a relay frame can't be written");
                        false
                    }
                };
                if !sent && !self.end.is_ended() {
                    self.handle(RemoteInput::Closed);
                }
            }
            RemoteAction::Verify(hello) => self.verify(&hello),
            RemoteAction::Answer { number, reply } => {
                if let Some(caller) = self.callers.remove(&number) {
                    // A caller that is gone has no use for its answer.
                    drop(caller.reply.send(*reply));
                }
            }
            RemoteAction::Progress { number, update } => {
                if let Some(caller) = self.callers.get(&number) {
                    caller.progress.report(update.progress, &update.message);
                }
            }
            RemoteAction::Event(event) => self.shared.routes.publish(&self.sidecar, event),
            RemoteAction::Renew { csr_pem } => self.renew(csr_pem),
            RemoteAction::Checkpoint { note } => {
                self.checkpoints.send_replace(Some(note));
            }
            RemoteAction::Close(ended) => self.ended = Some(ended),
        }
    }

    fn verify(&mut self, hello: &Hello) {
        if let Err((code, message)) = self.judge(hello) {
            let id = &self.sidecar;
            tracing::warn!(sidecar.id = %id, error.code = %code, "hello refused: {message}");
            return self.handle(RemoteInput::Refuse(Refuse {
                code: code.as_str().to_owned(),
                message: message.to_owned(),
                versions: VERSIONS.to_vec(),
            }));
        }
        if hello.catalogue_hash != catalogue_hash() {
            let software = Untrusted::new(&hello.software);
            let id = &self.sidecar;
            tracing::warn!(sidecar.id = %id, %software, "the sidecar's tool catalogue differs");
        }
        self.handle(RemoteInput::Accept(Welcome {
            version: VERSION,
            replica_id: self.shared.config.replica_id.clone(),
            catalogue_hash: catalogue_hash(),
            software: SOFTWARE.to_owned(),
        }));
        if !self.end.is_open() {
            return;
        }
        self.shared.routes.register(&self.sidecar, &self.link);
        tracing::info!(sidecar.id = %self.sidecar, "link open");
        // Revoked or stopped between the check and the entry into the table: nobody cut this link.
        if self.shared.store.directory().active(&self.sidecar).is_none() {
            self.handle(RemoteInput::Revoke);
        } else if self.shared.stopping.is_cancelled() {
            self.handle(RemoteInput::GoAway(GoAwayReason::ShuttingDown));
        }
    }

    fn judge(&self, hello: &Hello) -> Result<(), (ErrorCode, &'static str)> {
        if hello.sidecar_id != self.sidecar {
            let message = "The hello names another sidecar than the certificate.";
            return Err((ErrorCode::SidecarSessionInvalid, message));
        }
        let directory = self.shared.store.directory();
        let Some(pairing) = directory.active(&self.sidecar) else {
            let message = "The sidecar is not paired, or its pairing was revoked.";
            return Err((ErrorCode::SidecarPairingRequired, message));
        };
        let wrong = (ErrorCode::SidecarSessionInvalid, "The hello's signature is wrong.");
        let signature = from_hex::<64>(&hello.signature).ok_or(wrong)?;
        let text =
            hello_text(&self.exporter, &self.sidecar, &hello.versions, &hello.catalogue_hash);
        UnparsedPublicKey::new(&ED25519, pairing.identity_key)
            .verify(text.as_bytes(), &signature)
            .map_err(|_| wrong)
    }

    fn renew(&mut self, csr_pem: String) {
        if self.renewing {
            let message = "A renewal is under way.".to_owned();
            return self.handle(RemoteInput::Renewal(Err(RenewRefused { message })));
        }
        self.renewing = true;
        let desk = self.shared.desk.clone();
        let sidecar = self.sidecar.clone();
        let results = self.renewals.clone();
        self.shared.tasks.spawn(async move {
            let result = desk.renew(sidecar, csr_pem).await;
            // A link that ended meanwhile gets its certificate by asking again.
            drop(results.send(result).await);
        });
    }
}

/// Stores the newest checkpoint; those that come faster than the disk are skipped.
async fn keep_checkpoints(
    shared: Arc<Shared>,
    sidecar: SidecarId,
    mut newest: watch::Receiver<Option<String>>,
) {
    while newest.changed().await.is_ok() {
        let Some(note) = newest.borrow_and_update().clone() else { continue };
        let store = Arc::clone(&shared.store);
        let id = sidecar.clone();
        let stored = tokio::task::spawn_blocking(move || store.put_checkpoint(&id, &note)).await;
        if !matches!(stored, Ok(Ok(()))) {
            tracing::error!(sidecar.id = %sidecar, "a checkpoint could not be stored");
        }
    }
}

fn shown(ended: &Ended) -> String {
    Untrusted::new(&ended.to_string()).to_string()
}
