//! The sidecar's end of `operator.sock`.
//!
//! It admits processes of the sidecar's own user, checks signatures, and hands verbs to the
//! [`OperatorDoor`]; it performs none itself. A verb that needs a signature never reaches
//! [`OperatorDoor::perform`] without a valid one. Once handed over, a verb runs to its end, whether
//! or not its operator waits for it. Tools aren't known here.

use aws_lc_rs::rand;
use core::future::Future;
use core::time::Duration;
use ibkr_agent_domain::{ErrorCode, OperatorKeyId, SidecarId};
use ibkr_agent_protocol::service::ErrorBody;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::keyring::{Keyring, OperatorDomain, hex};
use super::verb::{Challenge, Verb};
use super::wire::{
    Answer, FOLDER, Hello, MAX_FRAME_BYTES, Outcome, Request, SOCKET, VERSION, only_looks,
};
use crate::local::door::{Door, DoorError};
use crate::local::frames::{FrameError, Reader, Writer, encode, framed, receive, send_bytes};

/// Most operators at once.
pub const MAX_OPERATORS: usize = 16;

/// How long a connection may be silent: time to read an order and to type a passphrase.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// How long an operator waits for a verb.
pub const PERFORM_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a challenge.
const CHALLENGE_BYTES: usize = 32;

/// Who performs verbs.
pub trait OperatorDoor: Send + Sync + 'static {
    /// This installation.
    fn sidecar(&self) -> SidecarId;

    /// What signatures must be good for.
    fn domain(&self) -> OperatorDomain;

    /// The keys that may sign now.
    fn keyring(&self) -> Keyring;

    /// Performs a verb. `key` is whose signature was checked; a verb that needs one has one.
    fn perform(
        &self,
        verb: Verb,
        key: Option<OperatorKeyId>,
    ) -> impl Future<Output = Result<Value, ErrorBody>> + Send;

    /// Records that a verb was refused for want of a valid signature. The operator hears of it
    /// after this is done.
    fn refused(&self, verb: Verb, error: ErrorBody) -> impl Future<Output = ()> + Send;
}

/// Opens the operator's socket of a state folder. Only the owner of its store may.
///
/// # Errors
/// [`DoorError`].
pub async fn open_operator_door(state: &Path) -> Result<Door, DoorError> {
    Door::open(&state.join(FOLDER), SOCKET).await
}

/// Serves operators until `shutdown`; then lets verbs in hand finish for a bounded time.
pub async fn serve_operators<D: OperatorDoor>(
    socket: Door,
    door: Arc<D>,
    shutdown: CancellationToken,
) {
    let stop = shutdown.clone();
    let inside = move |stream| converse(stream, Arc::clone(&door), stop.clone());
    socket.serve(MAX_OPERATORS, shutdown, inside).await;
}

async fn converse<D: OperatorDoor>(stream: UnixStream, door: Arc<D>, shutdown: CancellationToken) {
    let (mut reader, mut writer) = framed(stream, MAX_FRAME_BYTES, MAX_FRAME_BYTES);
    if let Err(error) = requests(&mut reader, &mut writer, &door, &shutdown).await {
        tracing::info!(operator.error = %error, "an operator's connection ended early");
    }
}

/// A connection's requests, one after another.
async fn requests<D: OperatorDoor>(
    reader: &mut Reader,
    writer: &mut Writer,
    door: &Arc<D>,
    shutdown: &CancellationToken,
) -> Result<(), FrameError> {
    let mut challenge = fresh_challenge()?;
    let hello = Hello {
        version: VERSION,
        sidecar: door.sidecar().to_string(),
        domain: door.domain().as_str().to_owned(),
        challenge: challenge.clone(),
    };
    send_bytes(writer, encode(&hello)?).await?;
    loop {
        let received = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            received = tokio::time::timeout(IDLE_TIMEOUT, receive::<Request>(reader)) => received,
        };
        let (outcome, last) = match received {
            Err(_) | Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(request))) => (answer(door, &challenge, request).await, None),
            Ok(Err(error)) => (Err(not_understood(&error)), Some(error)),
        };
        challenge = fresh_challenge()?;
        send_answer(writer, outcome, &challenge).await?;
        if let Some(error) = last {
            return Err(error);
        }
    }
}

fn not_understood(error: &FrameError) -> ErrorBody {
    ErrorBody::new(ErrorCode::InputInvalid, format!("the request wasn't understood: {error}"))
}

async fn send_answer(
    writer: &mut Writer,
    outcome: Result<Value, ErrorBody>,
    challenge: &Challenge,
) -> Result<(), FrameError> {
    let answer = |outcome| Answer { outcome, challenge: challenge.clone() };
    let mut bytes = encode(&answer(Outcome::from(outcome)))?;
    if bytes.len() > MAX_FRAME_BYTES {
        let error = ErrorBody::new(
            ErrorCode::InputInvalid,
            format!("the answer is longer than {MAX_FRAME_BYTES} bytes: ask for less at once"),
        );
        bytes = encode(&answer(Outcome::Error(error)))?;
    }
    send_bytes(writer, bytes).await
}

async fn answer<D: OperatorDoor>(
    door: &Arc<D>,
    challenge: &Challenge,
    request: Request,
) -> Result<Value, ErrorBody> {
    let verb = request.verb.clone();
    match checked_key(door.as_ref(), challenge, &request) {
        Ok(key) => perform(door, verb, key).await,
        Err(error) => {
            let recorder = Arc::clone(door);
            let told = error.clone();
            let recorded = tokio::spawn(async move { recorder.refused(verb, told).await });
            if tokio::time::timeout(PERFORM_TIMEOUT, recorded).await.is_err() {
                tracing::error!("a refused operator verb wasn't recorded in time");
            }
            Err(error)
        }
    }
}

/// Whose valid signature came along. A proof that is there must hold, needed or not.
fn checked_key<D: OperatorDoor>(
    door: &D,
    challenge: &Challenge,
    request: &Request,
) -> Result<Option<OperatorKeyId>, ErrorBody> {
    match &request.proof {
        Some(proof) => {
            let keyring = door.keyring();
            if keyring.domain() != door.domain() {
                return Err(ErrorBody::new(
                    ErrorCode::SignatureInvalid,
                    "the enrolled keys belong to another domain",
                ));
            }
            keyring.verify(&door.sidecar(), challenge, &request.verb, proof).map(Some)
        }
        None if request.verb.needs_signature() => Err(ErrorBody::new(
            ErrorCode::SignatureRequired,
            format!("{} needs an operator's signature", request.verb.name()),
        )),
        None => Ok(None),
    }
}

async fn perform<D: OperatorDoor>(
    door: &Arc<D>,
    verb: Verb,
    key: Option<OperatorKeyId>,
) -> Result<Value, ErrorBody> {
    let name = verb.name();
    let looks = only_looks(&verb);
    let performer = Arc::clone(door);
    // Its own task: an operator who leaves, or a time-out, must not stop a verb halfway.
    let task = tokio::spawn(async move { performer.perform(verb, key).await });
    match tokio::time::timeout(PERFORM_TIMEOUT, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => {
            tracing::error!(operator.verb = name, operator.error = %error, "a verb failed badly");
            Err(ErrorBody::new(ErrorCode::InternalError, format!("{name} failed")))
        }
        Err(_) if looks => {
            Err(ErrorBody::new(ErrorCode::CallTimedOut, format!("{name} took too long")))
        }
        Err(_) => Err(ErrorBody::new(
            ErrorCode::CallOutcomeUnknown,
            format!("{name} took too long and may still happen"),
        )),
    }
}

fn fresh_challenge() -> Result<Challenge, FrameError> {
    let mut bytes = [0_u8; CHALLENGE_BYTES];
    rand::fill(&mut bytes).map_err(|_| FrameError::Io(std::io::Error::other("no random bytes")))?;
    Ok(Challenge(hex(&bytes)))
}
