//! The operator's door to a running remote: a Unix socket in its state folder.
//!
//! A running remote holds its store alone, so the pairing verbs of the command line ask it here.
//! One line of JSON in, one out, then the connection ends. The folder is 0700, the socket 0600,
//! and the peer's uid is checked too. Nothing here reaches a sidecar's own operator verbs.

use crate::pairing::{Desk, NewPairing, PairingError, PairingSummary};
use crate::relay::clock::unix;
use crate::store::Subject;
use ibkr_agent_domain::{ErrorCode, SidecarId};
use ibkr_agent_protocol::service::ErrorBody;
use ibkr_agent_protocol::socket::SocketAddress;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The socket's name in the state folder.
pub const SOCKET_FILE: &str = "remote.sock";
/// Longest request line.
const MAX_REQUEST_BYTES: u64 = 64 * 1024;
/// Longest answer line.
const MAX_ANSWER_BYTES: u64 = 8 * 1024 * 1024;
/// Connections at once.
const MAX_CONNECTIONS: usize = 8;
/// Time for one exchange.
const TIMEOUT: Duration = Duration::from_secs(10);
const PRIVATE: u32 = 0o600;

/// A pairing verb.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Make a join token.
    Create {
        /// The sidecar that may enrol.
        sidecar_id: String,
        /// Whom it will serve.
        subjects: Vec<Subject>,
        /// Life of the token.
        ttl_seconds: u64,
    },
    /// Revoke a pairing and cut its link.
    Revoke {
        /// The sidecar.
        sidecar_id: String,
    },
    /// List the pairings.
    List {},
}

/// What a pairing verb answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// The join token, to be typed at the sidecar; shown once.
    Created {
        /// The sidecar.
        sidecar_id: String,
        /// The token, a secret until it is used.
        join_token: String,
        /// Fingerprint of the relay's CA, for comparing by eye.
        ca_fingerprint: String,
        /// Life of the token.
        ttl_seconds: u64,
    },
    /// It was revoked.
    Revoked {
        /// The sidecar.
        sidecar_id: String,
    },
    /// The pairings.
    Pairings(Vec<PairingView>),
    /// It failed.
    Failed(ErrorBody),
}

/// A pairing as the command line shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairingView {
    /// The sidecar.
    pub sidecar_id: String,
    /// Whom it serves.
    pub subjects: Vec<String>,
    /// When it was paired, RFC 3339.
    pub paired_at: String,
    /// When its newest certificate runs out, RFC 3339.
    pub certificate_expires_at: Option<String>,
    /// Whether it was revoked.
    pub revoked: bool,
}

impl From<PairingSummary> for PairingView {
    fn from(summary: PairingSummary) -> Self {
        let subject = |subject: &Subject| format!("{} {}", subject.issuer, subject.subject_text());
        Self {
            sidecar_id: summary.sidecar.to_string(),
            subjects: summary.subjects.iter().map(subject).collect(),
            paired_at: rfc3339(summary.paired_at),
            certificate_expires_at: summary.certificate_expires_at.map(rfc3339),
            revoked: summary.revoked,
        }
    }
}

fn rfc3339(time: std::time::SystemTime) -> String {
    let seconds = i64::try_from(unix(time)).unwrap_or_default();
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// Why the socket can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The socket can't be made.
    #[error("the admin socket {path} can't be made")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody listens: there is no running remote.
    #[error("no remote is running in {path}")]
    NotRunning {
        /// The state folder.
        path: PathBuf,
    },
    /// The socket isn't this user's.
    #[error("the admin socket {path} belongs to another user")]
    Foreign {
        /// The socket.
        path: PathBuf,
    },
    /// The exchange broke.
    #[error("the running remote didn't answer")]
    Exchange(#[source] std::io::Error),
}

/// A bound admin socket; the file is removed when it is dropped.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // It may be gone already; a stale one is replaced at the next start.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Makes the socket. The caller holds the store, so a socket that is there is a dead remote's.
///
/// # Errors
/// [`AdminError::Bind`].
pub fn bind(state_dir: &Path) -> Result<AdminSocket, AdminError> {
    let path = state_dir.join(SOCKET_FILE);
    let failed = |source| AdminError::Bind { path: path.clone(), source };
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let address = SocketAddress::of(&path).map_err(failed)?;
    let listener = UnixListener::bind(address.path()).map_err(failed)?;
    let private = std::fs::Permissions::from_mode(PRIVATE);
    std::fs::set_permissions(&path, private).map_err(failed)?;
    let owner = std::fs::metadata(&path).map_err(failed)?.uid();
    Ok(AdminSocket { listener, path, owner })
}

/// Serves pairing verbs until told to stop.
pub async fn run(socket: AdminSocket, desk: Desk, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = socket.listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let own = stream.peer_cred().is_ok_and(|peer| peer.uid() == socket.owner);
        let Ok(permit) = Arc::clone(&slots).try_acquire_owned() else { continue };
        if !own {
            tracing::warn!("another user tried the admin socket");
            continue;
        }
        let desk = desk.clone();
        tracker.spawn(async move {
            let exchanged = tokio::time::timeout(TIMEOUT, exchange(stream, &desk)).await;
            if !matches!(exchanged, Ok(Ok(()))) {
                tracing::debug!("an admin exchange broke");
            }
            drop(permit);
        });
    }
    tracker.close();
    tracker.wait().await;
}

async fn exchange(mut stream: UnixStream, desk: &Desk) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = Vec::new();
    BufReader::new(reader.take(MAX_REQUEST_BYTES)).read_until(b'\n', &mut line).await?;
    let answer = match serde_json::from_slice(&line) {
        Ok(request) => answer(desk, request).await,
        Err(_) => {
            let message = "the request isn't one of the pairing verbs";
            Answer::Failed(ErrorBody::new(ErrorCode::InputInvalid, message))
        }
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await?;
    writer.shutdown().await
}

async fn answer(desk: &Desk, request: Request) -> Answer {
    match request {
        Request::Create { sidecar_id, subjects, ttl_seconds } => {
            let ttl = Duration::from_secs(ttl_seconds);
            let sidecar = match sidecar(&sidecar_id) {
                Ok(sidecar) => sidecar,
                Err(failed) => return failed,
            };
            created(desk.create(NewPairing { sidecar, subjects, ttl }).await, ttl_seconds)
        }
        Request::Revoke { sidecar_id } => match sidecar(&sidecar_id) {
            Ok(sidecar) => revoked(desk.revoke(sidecar).await, sidecar_id),
            Err(failed) => failed,
        },
        Request::List {} => listed(desk.list()),
    }
}

fn sidecar(text: &str) -> Result<SidecarId, Answer> {
    SidecarId::parse(text)
        .map_err(|error| Answer::Failed(ErrorBody::new(ErrorCode::InputInvalid, error.to_string())))
}

/// The answer to a creation.
pub(crate) fn created(
    result: Result<ibkr_agent_protocol::relay::JoinToken, PairingError>,
    ttl_seconds: u64,
) -> Answer {
    match result {
        Ok(token) => Answer::Created {
            sidecar_id: token.sidecar_id().to_string(),
            join_token: token.expose().to_string(),
            ca_fingerprint: token.ca_fingerprint().to_string(),
            ttl_seconds,
        },
        Err(error) => failed(&error),
    }
}

/// The answer to a revocation.
pub(crate) fn revoked(result: Result<(), PairingError>, sidecar_id: String) -> Answer {
    match result {
        Ok(()) => Answer::Revoked { sidecar_id },
        Err(error) => failed(&error),
    }
}

/// The answer to a listing.
pub(crate) fn listed(pairings: Vec<PairingSummary>) -> Answer {
    Answer::Pairings(pairings.into_iter().map(PairingView::from).collect())
}

fn failed(error: &PairingError) -> Answer {
    Answer::Failed(ErrorBody::new(error.code(), error.to_string()))
}

/// Asks the remote that runs in a state folder.
///
/// # Errors
/// [`AdminError`]; [`AdminError::NotRunning`] if nobody listens there.
pub async fn ask(state_dir: &Path, request: &Request) -> Result<Answer, AdminError> {
    let path = state_dir.join(SOCKET_FILE);
    let not_running = || AdminError::NotRunning { path: state_dir.to_owned() };
    let owner = std::fs::metadata(state_dir).map_err(|_| not_running())?.uid();
    let address = SocketAddress::of(&path).map_err(|_| not_running())?;
    let mut stream = UnixStream::connect(address.path()).await.map_err(|_| not_running())?;
    let foreign = || AdminError::Foreign { path: path.clone() };
    if stream.peer_cred().map_err(AdminError::Exchange)?.uid() != owner {
        return Err(foreign());
    }
    let talk = async {
        let mut bytes = serde_json::to_vec(request)?;
        bytes.push(b'\n');
        stream.write_all(&bytes).await?;
        let mut line = Vec::new();
        BufReader::new((&mut stream).take(MAX_ANSWER_BYTES)).read_until(b'\n', &mut line).await?;
        Ok(serde_json::from_slice(&line)?)
    };
    let timed = tokio::time::timeout(TIMEOUT, talk).await;
    timed.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(AdminError::Exchange)
}
