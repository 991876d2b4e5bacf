//! The connection: made when the session is ready, kept alive, given up when it is silent, made
//! again with growing pauses that are reset only after a stable period.
//!
//! The gateway answers 101 before it has anything upstream, and stays silent for ever if it gets
//! nothing: so a connection counts only once a frame came.
//!
//! Bounds: frames of [`MAX_FRAME`], one connection, a time-out on connecting and on each write.

use super::desk::{Silence, Told};
use super::{Moment, Streams};
use crate::client::ClientPortal;
use crate::pacing::Lane;
use crate::transport::Stream as Connection;
use crate::wire::stream::parse_frame;
use core::time::Duration;
use futures_util::{SinkExt as _, StreamExt as _};
use ibkr_agent_domain::{BrokerEvent, NotSent, SessionState, Untrusted};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::sync::CancellationToken;

/// Largest frame that is taken.
const MAX_FRAME: usize = 1024 * 1024;
const BUFFER: usize = 16 * 1024;
const MAX_WRITE_BUFFER: usize = 256 * 1024;
/// How long one write may take.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// Pauses between connections.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a connection must have stood for the pauses to start over.
const STABLE: Duration = Duration::from_secs(60);

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The session isn't ready any more.
    Session,
    /// It couldn't be made, or broke.
    Broken(&'static str),
}

/// Holds the connection up until shutdown.
pub(crate) async fn supervise(broker: &ClientPortal, shutdown: &CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        let turn = async {
            broker.session().until(|state| state == SessionState::Ready).await;
            one(broker).await
        };
        let end = tokio::select! {
            () = shutdown.cancelled() => End::Session,
            end = turn => end,
        };
        let now = broker.moment();
        let stood = broker.streams().desk().age(now.mono);
        broker.streams().desk().disconnect(now);
        if shutdown.is_cancelled() {
            return;
        }
        let why = match end {
            End::Session => continue,
            End::Broken(why) => why,
        };
        broker.streams().desk().note_failure(Untrusted::new(why));
        pause = if stood >= STABLE { FIRST_PAUSE } else { pause };
        let wait = crate::keeper::jittered(pause);
        tracing::debug!(why, retry_ms = wait.as_millis(), "the broker's stream is down");
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(wait) => {}
        }
    }
}

/// One connection from its making to its end.
async fn one(broker: &ClientPortal) -> End {
    let streams = broker.streams();
    // Most topics want the account list to have been asked for.
    if broker.known().await.is_err() {
        return End::Broken("the account list can't be read");
    }
    let patience = broker.transport().request_timeout();
    let mut socket = match timeout(patience, dial(broker)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(why)) => return End::Broken(why),
        Err(_) => return End::Broken("the gateway didn't answer in time"),
    };
    streams.desk().connect(broker.moment());
    let lost = broker.session().until(|state| state != SessionState::Ready);
    tokio::select! {
        () = lost => {
            // Politeness only: the other end may be gone.
            drop(timeout(WRITE_LIMIT, socket.close(None)).await);
            End::Session
        }
        why = converse(broker, &mut socket) => End::Broken(why),
    }
}

type Socket = WebSocketStream<Box<dyn Connection>>;

async fn dial(broker: &ClientPortal) -> Result<Socket, &'static str> {
    let transport = broker.transport();
    let deadline = Instant::now() + transport.request_timeout();
    let turn = transport.limiter().acquire(Lane::KeepAlive, deadline).await;
    let _turn = turn.map_err(|_| "the broker's limits leave no room")?;
    let uri = transport.stream_url().parse().map_err(|_| "the address can't be used")?;
    let request = ClientRequestBuilder::new(uri).with_header("User-Agent", crate::transport::AGENT);
    let limits = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let stream = transport.open().await.map_err(NotSent::sentence)?;
    let dialled = Box::pin(client_async_with_config(request, stream, Some(limits))).await;
    let (socket, _) = dialled.map_err(|_| "the gateway refused the stream")?;
    Ok(socket)
}

/// Sends what is due and takes in what comes, until the connection can't be used any more.
async fn converse(broker: &ClientPortal, socket: &mut Socket) -> &'static str {
    let streams = broker.streams();
    loop {
        let due = streams.desk().poll(Instant::now());
        let (messages, next) = match due {
            Ok(due) => due,
            Err(Silence::FirstFrame) => return "the stream was silent from the start",
            Err(Silence::Session) => return "the gateway has no session for the stream",
            Err(Silence::Heartbeat) => return "the stream fell silent",
        };
        for message in messages {
            match timeout(WRITE_LIMIT, socket.send(Message::text(message))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return "the stream broke",
                Err(_) => return "the stream took no more",
            }
        }
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => take(broker, text.as_bytes()),
                Some(Ok(Message::Binary(bytes))) => take(broker, &bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return "the gateway ended the stream",
                Some(Err(_)) => return "the stream broke",
            },
            () = sleep_until(next) => {}
            () = streams.work.notified() => {}
        }
    }
}

fn take(broker: &ClientPortal, bytes: &[u8]) {
    let Some(frame) = parse_frame(bytes) else {
        tracing::debug!(bytes = bytes.len(), "a frame of the stream isn't understood");
        return;
    };
    let streams: &Streams = broker.streams();
    let now: Moment = broker.moment();
    let told = streams.desk().hear(frame, now);
    told.iter().for_each(|told| end_lists(broker, told));
    let looks = streams.publish(told);
    if looks.preflight {
        broker.session().forget();
    }
    if looks.session || looks.preflight {
        broker.session().lost.notify_one();
    }
}

/// What an event tells makes a look due: a list of orders that was read before no longer counts.
fn end_lists(broker: &ClientPortal, told: &Told) {
    let Told::Event(event) = told else { return };
    match event.as_ref() {
        BrokerEvent::Order(order) => broker.lists().touch(&order.account),
        BrokerEvent::Execution(fill) => broker.lists().touch(&fill.account),
        BrokerEvent::Resumed => broker.lists().forget(),
        BrokerEvent::Quote(_)
        | BrokerEvent::ProfitAndLoss(_)
        | BrokerEvent::Session(_)
        | BrokerEvent::Reminder { .. }
        | BrokerEvent::Notification { .. } => {}
    }
}
