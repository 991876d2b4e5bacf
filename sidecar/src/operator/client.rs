//! The operator's end of `operator.sock`: the command line and the console speak through it.
//!
//! A verb is sent once and never repeated. When the connection ends before the answer, a verb that
//! changes something ends as `CALL_OUTCOME_UNKNOWN`.

use core::time::Duration;
use ibkr_agent_domain::{ErrorCode, SidecarId, Untrusted};
use ibkr_agent_protocol::service::ErrorBody;
use serde_json::Value;
use std::path::Path;

use super::keyring::OperatorDomain;
use super::keys::OperatorSigner;
use super::socket::PERFORM_TIMEOUT;
use super::verb::{Challenge, Verb};
use super::wire::{
    Answer, FOLDER, Hello, MAX_FRAME_BYTES, Outcome, Request, SOCKET, VERSION, only_looks,
};
use crate::local::door::{DoorError, knock};
use crate::local::frames::{FrameError, Reader, Writer, encode, framed, receive, send_bytes};

/// How long the sidecar may take to greet.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// How much longer than the sidecar's own time-out we wait.
const GRACE: Duration = Duration::from_secs(5);

/// Why no sidecar could be reached.
#[derive(Debug, thiserror::Error)]
pub enum OperatorConnectError {
    /// No process owns this state folder now.
    #[error("no sidecar is running on this state folder")]
    NotRunning,
    /// The socket can't be entered.
    #[error(transparent)]
    Door(DoorError),
    /// The sidecar didn't greet as it should.
    #[error("the sidecar didn't greet as expected: {0}")]
    Greeting(String),
    /// Another version runs.
    #[error("the running sidecar speaks version {0} of the operator's socket, not {VERSION}")]
    Version(u32),
}

impl From<OperatorConnectError> for ErrorBody {
    fn from(error: OperatorConnectError) -> Self {
        match error {
            OperatorConnectError::Door(door) => door.into(),
            OperatorConnectError::NotRunning
            | OperatorConnectError::Greeting(_)
            | OperatorConnectError::Version(_) => {
                Self::new(ErrorCode::SidecarUnavailable, error.to_string())
            }
        }
    }
}

#[derive(Debug)]
struct Link {
    reader: Reader,
    writer: Writer,
    challenge: Challenge,
}

/// A connection to the running sidecar. It may be silent for five minutes; connect anew after.
#[derive(Debug)]
pub struct OperatorClient {
    /// None once the connection failed: an answer must never be taken for another's.
    link: Option<Link>,
    sidecar: SidecarId,
    domain: OperatorDomain,
}

impl OperatorClient {
    /// Connects to the sidecar of a state folder.
    ///
    /// # Errors
    /// [`OperatorConnectError`]: [`OperatorConnectError::NotRunning`] when there is none.
    pub async fn connect(state: &Path) -> Result<Self, OperatorConnectError> {
        let stream = match knock(&state.join(FOLDER).join(SOCKET)).await {
            Ok(stream) => stream,
            Err(DoorError::Absent(_)) => return Err(OperatorConnectError::NotRunning),
            Err(error) => return Err(OperatorConnectError::Door(error)),
        };
        let (mut reader, writer) = framed(stream, MAX_FRAME_BYTES, MAX_FRAME_BYTES);
        let greeting = |text: &str| OperatorConnectError::Greeting(text.to_owned());
        let hello: Hello = match tokio::time::timeout(HELLO_TIMEOUT, receive(&mut reader)).await {
            Ok(Ok(Some(hello))) => hello,
            Ok(Ok(None)) => return Err(greeting("it closed the connection")),
            Ok(Err(error)) => return Err(greeting(&error.to_string())),
            Err(_) => return Err(greeting("it took too long")),
        };
        if hello.version != VERSION {
            return Err(OperatorConnectError::Version(hello.version));
        }
        let sidecar =
            SidecarId::parse(&hello.sidecar).map_err(|error| greeting(&error.to_string()))?;
        let domain = OperatorDomain::parse(&hello.domain)
            .ok_or_else(|| greeting(Untrusted::bounded(&hello.domain, 32).as_str()))?;
        let link = Link { reader, writer, challenge: hello.challenge };
        Ok(Self { link: Some(link), sidecar, domain })
    }

    /// Which installation answers.
    #[must_use]
    pub const fn sidecar(&self) -> &SidecarId {
        &self.sidecar
    }

    /// What signatures must be good for there.
    #[must_use]
    pub const fn domain(&self) -> OperatorDomain {
        self.domain
    }

    /// Has a verb performed, signed when a signer is given.
    ///
    /// # Errors
    /// What the sidecar answers; `SIGNATURE_INVALID` for a signer of another domain, which isn't
    /// used; `CALL_OUTCOME_UNKNOWN` when a verb that changes something got no answer.
    pub async fn call(
        &mut self,
        verb: Verb,
        signer: Option<&OperatorSigner>,
    ) -> Result<Value, ErrorBody> {
        let Some(mut link) = self.link.take() else {
            return Err(ErrorBody::new(
                ErrorCode::SidecarUnavailable,
                "the connection to the sidecar has ended",
            ));
        };
        let request = match self.request(verb, signer, &link.challenge) {
            Ok(request) => request,
            Err(error) => {
                self.link = Some(link);
                return Err(error);
            }
        };
        let bytes = match encode(&request) {
            Ok(bytes) if bytes.len() <= MAX_FRAME_BYTES => bytes,
            Ok(_) | Err(_) => {
                self.link = Some(link);
                return Err(ErrorBody::new(ErrorCode::InputInvalid, "the request is too long"));
            }
        };
        let waited = PERFORM_TIMEOUT.saturating_add(GRACE);
        match tokio::time::timeout(waited, exchange(&mut link, bytes)).await {
            Ok(Ok(Some(answer))) => {
                link.challenge = answer.challenge;
                self.link = Some(link);
                match answer.outcome {
                    Outcome::Ok(value) => Ok(value),
                    Outcome::Error(error) => Err(error),
                }
            }
            Ok(Ok(None)) => Err(unanswered(&request.verb, "the sidecar closed the connection")),
            Ok(Err(error)) => Err(unanswered(&request.verb, &error.to_string())),
            Err(_) => Err(unanswered(&request.verb, "the sidecar took too long")),
        }
    }

    fn request(
        &self,
        verb: Verb,
        signer: Option<&OperatorSigner>,
        challenge: &Challenge,
    ) -> Result<Request, ErrorBody> {
        let proof = match signer {
            Some(signer) if signer.domain() != self.domain => {
                return Err(ErrorBody::new(
                    ErrorCode::SignatureInvalid,
                    format!(
                        "the key is for the {}, and this sidecar serves the {}",
                        signer.domain(),
                        self.domain
                    ),
                ));
            }
            Some(signer) => Some(signer.prove(&self.sidecar, challenge, &verb)?),
            None => None,
        };
        Ok(Request { verb, proof })
    }
}

async fn exchange(link: &mut Link, request: bytes::Bytes) -> Result<Option<Answer>, FrameError> {
    send_bytes(&mut link.writer, request).await?;
    receive(&mut link.reader).await
}

fn unanswered(verb: &Verb, why: &str) -> ErrorBody {
    let (code, rest) = if only_looks(verb) {
        (ErrorCode::SidecarUnavailable, "")
    } else {
        (ErrorCode::CallOutcomeUnknown, "; it may have happened")
    };
    ErrorBody::new(code, format!("{} wasn't answered: {why}{rest}", verb.name()))
}
