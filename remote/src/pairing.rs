//! Pairing: join tokens are made here, used once here, and pairings are revoked here.
//!
//! `POST /pairing/enrol` stands on the relay's own TLS port and needs no client certificate: the
//! join token (256 random bits, looked up by its SHA-256, removed as it is used) is the
//! permission, and the identity key's signature the proof. Everything from outside is bounded and
//! the door is rate-limited. What is wrong with a refused token isn't said.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::StatusCode;
use ibkr_agent_domain::{ErrorCode, SidecarId};
use ibkr_agent_protocol::relay::frame::{MAX_PEM_BYTES, RenewRefused, Renewed};
use ibkr_agent_protocol::relay::join::{ENROL_PATH, MAX_ENROL_BYTES, enrol_text, from_hex};
use ibkr_agent_protocol::relay::{EnrolRefusal, EnrolReply, EnrolRequest, JoinToken};
use zeroize::Zeroizing;

use crate::pki::{Pki, PkiError};
use crate::relay::clock::{Clock, from_unix, unix};
use crate::relay::routes::{Cut, Routes};
use crate::store::{NewEnrolment, Store, StoreError, Subject};

/// Shortest life of a join token.
pub const MIN_JOIN_TTL: Duration = Duration::from_secs(60);
/// Longest life of a join token.
pub const MAX_JOIN_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// Life of a join token when nothing is said.
pub const DEFAULT_JOIN_TTL: Duration = Duration::from_secs(15 * 60);
/// Enrolments per second, all peers together; a join token can't be guessed at any rate.
const ENROLMENTS_PER_SECOND: u32 = 10;

/// Why a pairing verb failed.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A certificate couldn't be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The life asked for a join token is out of range.
    #[error("a join token lives {MIN_JOIN_TTL:?} to {MAX_JOIN_TTL:?}, not {asked:?}")]
    Ttl {
        /// What was asked.
        asked: Duration,
    },
    /// The proof of the identity key doesn't hold.
    #[error("the identity key's proof is wrong")]
    Proof,
    /// A field of the request is too long or not what it should be.
    #[error("the enrolment's {field} is unusable")]
    Field {
        /// The field.
        field: &'static str,
    },
    /// The worker that did it is gone.
    #[error("the pairing worker stopped")]
    Worker,
}

impl PairingError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::Pki(PkiError::Request(_) | PkiError::KeyKind)
            | Self::Ttl { .. }
            | Self::Field { .. } => ErrorCode::InputInvalid,
            Self::Pki(_) | Self::Worker => ErrorCode::InternalError,
            Self::Proof => ErrorCode::SidecarSessionInvalid,
        }
    }
}

/// What a join token permits.
#[derive(Debug, Clone)]
pub struct NewPairing {
    /// The sidecar that may enrol.
    pub sidecar: SidecarId,
    /// Whom it will serve.
    pub subjects: Vec<Subject>,
    /// How long the token lives.
    pub ttl: Duration,
}

/// A pairing as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairingSummary {
    /// The sidecar.
    pub sidecar: SidecarId,
    /// Whom it serves.
    pub subjects: Vec<Subject>,
    /// When it was paired.
    pub paired_at: SystemTime,
    /// When its newest certificate runs out.
    pub certificate_expires_at: Option<SystemTime>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// Makes a join token. Works on an open store without a running relay.
///
/// # Errors
/// [`PairingError`] for a life out of range, taken subjects, or a store that fails.
pub fn create(
    store: &Store,
    pki: &Pki,
    new: NewPairing,
    now: SystemTime,
) -> Result<JoinToken, PairingError> {
    if new.ttl < MIN_JOIN_TTL || new.ttl > MAX_JOIN_TTL {
        return Err(PairingError::Ttl { asked: new.ttl });
    }
    let mut secret = Zeroizing::new([0_u8; 32]);
    rand::fill(secret.as_mut_slice()).map_err(|_| PkiError::Random)?;
    let join = JoinToken::new(new.sidecar, pki.fingerprint(), *secret);
    let expires_at = now.checked_add(new.ttl).unwrap_or(now);
    store.add_join(&join.hash(), join.sidecar_id(), new.subjects, expires_at, now)?;
    Ok(join)
}

/// Revokes a pairing. A running relay must be told too: use [`Desk::revoke`] there.
///
/// # Errors
/// [`PairingError::Store`] if there is no such pairing.
pub fn revoke(store: &Store, sidecar: &SidecarId) -> Result<(), PairingError> {
    Ok(store.revoke(sidecar)?)
}

/// Every pairing, revoked ones included.
#[must_use]
pub fn list(store: &Store) -> Vec<PairingSummary> {
    let directory = store.directory();
    let summaries = directory.iter().map(|(sidecar, pairing)| PairingSummary {
        sidecar: sidecar.clone(),
        subjects: pairing.subjects.clone(),
        paired_at: from_unix(pairing.paired_at),
        certificate_expires_at: pairing
            .certificates
            .last()
            .map(|certificate| from_unix(certificate.expires_at)),
        revoked: pairing.revoked,
    });
    summaries.collect()
}

/// The pairing desk of a running relay. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    pki: Arc<Pki>,
    routes: Routes,
    clock: Clock,
    lifetime: Duration,
    limiter: DefaultDirectRateLimiter,
}

impl Desk {
    pub(crate) fn new(
        store: Arc<Store>,
        pki: Arc<Pki>,
        routes: Routes,
        clock: Clock,
        lifetime: Duration,
    ) -> Self {
        let rate = NonZeroU32::new(ENROLMENTS_PER_SECOND).unwrap_or(NonZeroU32::MIN);
        let limiter = RateLimiter::direct(Quota::per_second(rate));
        Self(Arc::new(Inner { store, pki, routes, clock, lifetime, limiter }))
    }

    /// Makes a join token.
    ///
    /// # Errors
    /// As [`create`].
    pub async fn create(&self, new: NewPairing) -> Result<JoinToken, PairingError> {
        self.blocking(move |desk| create(&desk.store, &desk.pki, new, desk.clock.now())).await
    }

    /// Revokes a pairing and cuts its live link at once.
    ///
    /// # Errors
    /// As [`revoke`].
    pub async fn revoke(&self, sidecar: SidecarId) -> Result<(), PairingError> {
        self.blocking(move |desk| {
            revoke(&desk.store, &sidecar)?;
            desk.routes.cut(&sidecar, Cut::Revoked);
            tracing::warn!(sidecar.id = %sidecar, "pairing revoked");
            Ok(())
        })
        .await
    }

    /// Every pairing.
    #[must_use]
    pub fn list(&self) -> Vec<PairingSummary> {
        list(&self.0.store)
    }

    /// Uses a join token: records the identity key, issues the first certificate.
    ///
    /// # Errors
    /// [`PairingError`]; the token is used up only on success.
    pub async fn enrol(&self, request: EnrolRequest) -> Result<EnrolReply, PairingError> {
        self.blocking(move |desk| desk.enrol(&request)).await
    }

    /// Issues a certificate for a new key of a sidecar whose link has proved its identity.
    pub(crate) async fn renew(
        &self,
        sidecar: SidecarId,
        csr_pem: String,
    ) -> Result<Renewed, RenewRefused> {
        let renewed = self.blocking(move |desk| desk.renew(&sidecar, &csr_pem)).await;
        renewed.map_err(|error| RenewRefused { message: error.to_string() })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Inner) -> Result<T, PairingError> + Send + 'static,
    ) -> Result<T, PairingError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || job(&inner)).await;
        done.unwrap_or(Err(PairingError::Worker))
    }
}

impl Inner {
    fn enrol(&self, request: &EnrolRequest) -> Result<EnrolReply, PairingError> {
        let join = JoinToken::parse(&request.join_token).map_err(|_| StoreError::JoinRefused)?;
        if *join.ca_fingerprint() != self.pki.fingerprint() {
            return Err(StoreError::JoinRefused.into());
        }
        if request.csr_pem.len() > MAX_PEM_BYTES {
            return Err(PairingError::Field { field: "csr_pem" });
        }
        // Nothing costly is done for a token that isn't there.
        if !self.store.has_join(&join.hash())? {
            return Err(StoreError::JoinRefused.into());
        }
        let identity_key = from_hex::<32>(&request.identity_public_key)
            .ok_or(PairingError::Field { field: "identity_public_key" })?;
        let proof = from_hex::<64>(&request.proof).ok_or(PairingError::Field { field: "proof" })?;
        UnparsedPublicKey::new(&ED25519, identity_key)
            .verify(enrol_text(&join, &request.csr_pem).as_bytes(), &proof)
            .map_err(|_| PairingError::Proof)?;
        let now = self.clock.now();
        let sidecar = join.sidecar_id().clone();
        let issued = self.pki.issue_client(&request.csr_pem, &sidecar, self.lifetime, now)?;
        let expires_at = issued.record.expires_at;
        let certificate = issued.record;
        let new = NewEnrolment { join: join.hash(), sidecar, identity_key, certificate };
        self.store.enrol(&new, now)?;
        // A link of an earlier pairing has another identity key.
        self.routes.cut(&new.sidecar, Cut::Revoked);
        tracing::info!(sidecar.id = %new.sidecar, expires_at, "sidecar paired");
        let certificate_pem = issued.certificate_pem;
        Ok(EnrolReply { certificate_pem, ca_pem: self.pki.server_ca_pem(), expires_at })
    }

    fn renew(&self, sidecar: &SidecarId, csr_pem: &str) -> Result<Renewed, PairingError> {
        let now = self.clock.now();
        let issued = self.pki.issue_client(csr_pem, sidecar, self.lifetime, now)?;
        let expires_at = issued.record.expires_at;
        self.store.renewed(sidecar, issued.record)?;
        tracing::info!(sidecar.id = %sidecar, expires_at, now = unix(now), "certificate renewed");
        Ok(Renewed { certificate_pem: issued.certificate_pem, expires_at })
    }
}

/// The enrolment door, for the relay's own port.
pub fn router(desk: Desk) -> Router {
    Router::new()
        .route(ENROL_PATH, post(enrol))
        .layer(DefaultBodyLimit::max(MAX_ENROL_BYTES))
        .with_state(desk)
}

async fn enrol(
    State(desk): State<Desk>,
    body: Result<Json<EnrolRequest>, JsonRejection>,
) -> Response {
    if desk.0.limiter.check().is_err() {
        let code = ErrorCode::AuthRateLimited;
        return refusal(StatusCode::TOO_MANY_REQUESTS, code, "Too many enrolments at once.");
    }
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => {
            let message = "The body is not an enrolment.";
            return refusal(rejection.status(), ErrorCode::InputInvalid, message);
        }
    };
    match desk.enrol(request).await {
        Ok(reply) => Json(reply).into_response(),
        Err(error) => {
            tracing::warn!(error.code = %error.code(), "enrolment refused");
            refusal(status(&error), error.code(), &shown(&error))
        }
    }
}

const fn status(error: &PairingError) -> StatusCode {
    match error {
        PairingError::Store(StoreError::JoinRefused | StoreError::NotPaired(_))
        | PairingError::Proof => StatusCode::FORBIDDEN,
        PairingError::Store(StoreError::SubjectTaken { .. } | StoreError::Full { .. }) => {
            StatusCode::CONFLICT
        }
        PairingError::Pki(PkiError::Request(_) | PkiError::KeyKind)
        | PairingError::Ttl { .. }
        | PairingError::Field { .. } => StatusCode::BAD_REQUEST,
        PairingError::Store(_) | PairingError::Pki(_) | PairingError::Worker => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// The text for a stranger: it names no path and no other sidecar.
fn shown(error: &PairingError) -> String {
    match status(error) {
        StatusCode::INTERNAL_SERVER_ERROR => "The relay failed; see its log.".to_owned(),
        StatusCode::CONFLICT => "The pairing can't be recorded; see the relay's log.".to_owned(),
        _ => error.to_string(),
    }
}

fn refusal(status: StatusCode, code: ErrorCode, message: &str) -> Response {
    let body = EnrolRefusal { code: code.as_str().to_owned(), message: message.to_owned() };
    (status, Json(body)).into_response()
}
