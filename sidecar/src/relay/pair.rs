//! Pairing: keys are made here, the join token buys the first certificate.
//!
//! Trust at that moment is the CA fingerprint inside the join token: the relay must show a CA
//! certificate with that SHA-256, and a server certificate that this CA signed for its name.

use core::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ibkr_agent_domain::{Digest, ErrorCode, SidecarId, Untrusted};
use ibkr_agent_protocol::relay::join::{ENROL_PATH, MAX_ENROL_BYTES, enrol_text};
use ibkr_agent_protocol::relay::{EnrolRefusal, EnrolReply, EnrolRequest, JoinToken};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::folder::FolderError;

use super::credentials::{Credentials, CredentialsError, FreshKey, Identity, RelayUrl};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Why pairing failed.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A key or file can't be had.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The state folder can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// TLS can't be set up.
    #[error("TLS can't be set up")]
    Tls(#[source] Error),
    /// The relay can't be reached, or isn't the one that the join token names.
    #[error("the relay at {url} can't be reached, or is not the one that made the join token")]
    Unreachable {
        /// Its address.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The remote refused.
    #[error("the remote refused the pairing ({code}): {message}")]
    Refused {
        /// Its code, escaped.
        code: Untrusted,
        /// Its reason, escaped.
        message: Untrusted,
    },
    /// The remote's answer is too long or not an answer.
    #[error("the remote's answer can't be used")]
    Answer,
    /// The remote's CA isn't the one in the join token.
    #[error("the remote answered with another CA than the join token names")]
    WrongCa,
}

impl PairError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused { code, .. } => {
                ErrorCode::parse(code.as_str()).unwrap_or(ErrorCode::SidecarSessionInvalid)
            }
            Self::Unreachable { .. } => ErrorCode::SidecarUnavailable,
            Self::Answer | Self::WrongCa => ErrorCode::SidecarSessionInvalid,
            Self::Credentials(CredentialsError::Url) => ErrorCode::InputInvalid,
            Self::Folder(error) => error.code(),
            Self::Credentials(_) | Self::Tls(_) => ErrorCode::ConfigInvalid,
        }
    }
}

/// A pairing that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paired {
    /// The sidecar's id at the remote.
    pub sidecar_id: SidecarId,
    /// Its identity key, hexadecimal.
    pub identity: String,
    /// When the certificate runs out, unless it is renewed.
    pub certificate_expires_at: SystemTime,
}

/// Enrols with a join token and stores what comes back in the state folder. A pairing that is
/// there is replaced on success only.
///
/// # Errors
/// [`PairError`].
pub async fn pair(join: &JoinToken, url: &str, state_dir: &Path) -> Result<Paired, PairError> {
    let url = RelayUrl::parse(url)?;
    crate::folder::begin(state_dir)?;
    let identity = Identity::load_or_create(state_dir)?;
    let key = FreshKey::generate()?;
    let request = EnrolRequest {
        join_token: join.expose().as_str().to_owned(),
        csr_pem: key.csr_pem.clone(),
        identity_public_key: identity.public_hex(),
        proof: identity.sign_hex(enrol_text(join, &key.csr_pem).as_bytes()),
    };
    let reply = enrol(join, &url, &request).await?;
    let ca =
        CertificateDer::from_pem_slice(reply.ca_pem.as_bytes()).map_err(|_| PairError::Answer)?;
    if Digest::of(&ca) != *join.ca_fingerprint() {
        return Err(PairError::WrongCa);
    }
    CertificateDer::from_pem_slice(reply.certificate_pem.as_bytes())
        .map_err(|_| PairError::Answer)?;
    let credentials = Credentials {
        path: Credentials::path_in(state_dir),
        sidecar_id: join.sidecar_id().clone(),
        url,
        ca_pem: reply.ca_pem,
        certificate_pem: reply.certificate_pem,
        key_pem: key.key_pem,
        issued_at: SystemTime::now(),
        expires_at: super::credentials::from_unix(reply.expires_at),
    };
    credentials.save()?;
    Ok(Paired {
        sidecar_id: credentials.sidecar_id.clone(),
        identity: identity.public_hex(),
        certificate_expires_at: credentials.expires_at,
    })
}

async fn enrol(
    join: &JoinToken,
    url: &RelayUrl,
    request: &EnrolRequest,
) -> Result<EnrolReply, PairError> {
    let tls = pinned_tls(*join.ca_fingerprint()).map_err(PairError::Tls)?;
    let unreachable = |source| PairError::Unreachable { url: url.to_string(), source };
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .build()
        .map_err(unreachable)?;
    let address = format!("https://{}{ENROL_PATH}", url.authority());
    let mut response = client.post(address).json(request).send().await.map_err(unreachable)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len().saturating_add(chunk.len()) > MAX_ENROL_BYTES {
            return Err(PairError::Answer);
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|_| PairError::Answer);
    }
    let refusal: EnrolRefusal = serde_json::from_slice(&body).map_err(|_| PairError::Answer)?;
    Err(PairError::Refused {
        code: Untrusted::new(&refusal.code),
        message: Untrusted::new(&refusal.message),
    })
}

fn pinned_tls(fingerprint: Digest) -> Result<ClientConfig, Error> {
    let provider = Arc::new(default_provider());
    let verifier = PinnedCa { fingerprint, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Trusts exactly one CA, known by the SHA-256 of its certificate, which the relay sends along.
/// "Dangerous" only by rustls's name: the chain, name and dates are verified as ever.
struct PinnedCa {
    fingerprint: Digest,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for PinnedCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedCa({})", self.fingerprint)
    }
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = intermediates.iter().find(|ca| Digest::of(ca) == self.fingerprint);
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let pinned = pinned.ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        let inner = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|_| unknown())?;
        inner.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("the relay speaks TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
