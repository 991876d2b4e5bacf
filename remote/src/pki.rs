//! The relay's two certificate authorities: one signs sidecars, the other the relay's own name.
//!
//! They are made once, kept 0600 in the state folder, and named uniquely per installation. Two,
//! so that a certificate of one side can't pass for the other's. A sidecar's request proves
//! possession of its key and gives nothing but that key: name, usage, dates and serial are ours
//! (a request may ask to be a CA; copying it would make it one).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use ibkr_agent_domain::{Digest, SidecarId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::extensions::GeneralName;

use crate::relay::clock::{from_unix, unix};
use crate::store::{IssuedCertificate, restrict, write_private};

const CLIENT_CA_FILE: &str = "relay-client-ca.pem";
const SERVER_CA_FILE: &str = "relay-server-ca.pem";
/// What every sidecar's certificate names, followed by its id.
pub const SPIFFE_PREFIX: &str = "spiffe://ibkr-agent/sidecar/";
/// Certificates begin this long before they are made, for clocks that lag.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
const CA_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
const SERVER_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// The relay's own certificate is made anew after this long.
pub const SERVER_RENEWAL: Duration = Duration::from_secs(12 * 3600);
const SERIAL_BYTES: usize = 16;

/// Why a key or certificate can't be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file can't be read or written.
    #[error("{file} can't be read or written")]
    Io {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no key and CA certificate.
    #[error("{file} doesn't hold a key and a CA certificate")]
    Damaged {
        /// The file.
        file: String,
    },
    /// The certificate request can't be read, or its signature is wrong.
    #[error("the certificate request can't be used")]
    Request(#[source] rcgen::Error),
    /// The request is for a key of another kind than ECDSA P-256.
    #[error("the certificate request must be for an ECDSA P-256 key")]
    KeyKind,
    /// Signing or encoding failed.
    #[error("a certificate can't be made")]
    Signing(#[source] rcgen::Error),
    /// The random source failed.
    #[error("no random bytes")]
    Random,
    /// TLS can't be set up with the keys.
    #[error("TLS can't be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A peer's certificate doesn't name exactly one sidecar.
    #[error("the certificate doesn't name exactly one sidecar")]
    PeerName,
}

#[derive(Debug)]
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A sidecar's certificate and what is remembered of it.
#[derive(Debug, Clone)]
pub struct Issued {
    /// In PEM.
    pub certificate_pem: String,
    /// Serial, hash, end.
    pub record: IssuedCertificate,
}

/// Who a verified client certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The sidecar.
    pub sidecar: SidecarId,
    /// When the certificate runs out.
    pub not_after: SystemTime,
}

/// Both authorities.
#[derive(Debug)]
pub struct Pki {
    client: Authority,
    server: Authority,
    server_name: String,
    fingerprint: Digest,
}

impl Pki {
    /// Reads the authorities of a state folder, making them if there are none.
    ///
    /// # Errors
    /// [`PkiError`] if a file is unreadable or isn't what it should be.
    pub fn open(state_dir: &Path, server_name: &str, now: SystemTime) -> Result<Self, PkiError> {
        let client = Authority::open(&state_dir.join(CLIENT_CA_FILE), "relay client CA", now)?;
        let server = Authority::open(&state_dir.join(SERVER_CA_FILE), "relay server CA", now)?;
        let fingerprint = Digest::of(&server.certificate);
        Ok(Self { client, server, server_name: server_name.to_owned(), fingerprint })
    }

    /// SHA-256 of the server CA's certificate: what a join token pins.
    #[must_use]
    pub const fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// The name that the relay's own certificate bears.
    #[must_use]
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// The server CA's certificate in PEM.
    #[must_use]
    pub fn server_ca_pem(&self) -> String {
        pem_of("CERTIFICATE", &self.server.certificate)
    }

    /// Issues a sidecar's certificate for the key of a request, and for nothing else in it.
    ///
    /// # Errors
    /// [`PkiError`] if the request is unusable.
    pub fn issue_client(
        &self,
        csr_pem: &str,
        sidecar: &SidecarId,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Issued, PkiError> {
        let mut request =
            CertificateSigningRequestParams::from_pem(csr_pem).map_err(PkiError::Request)?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(PkiError::KeyKind);
        }
        let serial = fresh_serial()?;
        let not_after = now.checked_add(lifetime).unwrap_or(now);
        let mut params = fresh_params("sidecar", &serial, now, not_after);
        let name = format!("{SPIFFE_PREFIX}{sidecar}");
        let name = name.try_into().map_err(PkiError::Signing)?;
        params.subject_alt_names = vec![SanType::URI(name)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.params = params;
        let certificate = request.signed_by(&self.client.issuer).map_err(PkiError::Signing)?;
        let record = IssuedCertificate {
            serial: hex(&serial),
            sha256: Digest::of(certificate.der()).to_string(),
            expires_at: unix(not_after),
        };
        Ok(Issued { certificate_pem: certificate.pem(), record })
    }

    /// TLS for the relay's port: 1.3 only, a fresh server certificate, client certificates of the
    /// client CA verified where sent, and no resumption (it would skip that verification).
    ///
    /// # Errors
    /// [`PkiError`] if it can't be set up.
    pub fn server_config(&self, now: SystemTime) -> Result<Arc<ServerConfig>, PkiError> {
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.client.certificate.clone()).map_err(tls)?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(tls)?;
        let (chain, key) = self.server_certificate(now)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(tls)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }

    fn server_certificate(
        &self,
        now: SystemTime,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::Signing)?;
        let named =
            CertificateParams::new([self.server_name.clone()]).map_err(PkiError::Signing)?;
        let not_after = now.checked_add(SERVER_LIFETIME).unwrap_or(now);
        let mut params = fresh_params("relay", &fresh_serial()?, now, not_after);
        params.subject_alt_names = named.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.server.issuer).map_err(PkiError::Signing)?;
        let chain = vec![certificate.der().clone(), self.server.certificate.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((chain, key))
    }
}

impl Authority {
    fn open(path: &Path, name: &str, now: SystemTime) -> Result<Self, PkiError> {
        let file = path.display().to_string();
        let failed = |source| PkiError::Io { file: file.clone(), source };
        match std::fs::read(path) {
            Ok(text) => {
                restrict(path).map_err(failed)?;
                Self::read(&text).ok_or(PkiError::Damaged { file })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (text, authority) = Self::make(name, now)?;
                write_private(path, text.as_bytes()).map_err(failed)?;
                Ok(authority)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn read(text: &[u8]) -> Option<Self> {
        let key = PrivateKeyDer::from_pem_slice(text).ok()?;
        let certificate = CertificateDer::from_pem_slice(text).ok()?.into_owned();
        let key = KeyPair::try_from(&key).ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).ok()?;
        if !parsed.is_ca() || parsed.public_key().subject_public_key.data != key.public_key_raw() {
            return None;
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).ok()?;
        Some(Self { certificate, issuer })
    }

    fn make(name: &str, now: SystemTime) -> Result<(String, Self), PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::Signing)?;
        let serial = fresh_serial()?;
        let not_after = now.checked_add(CA_LIFETIME).unwrap_or(now);
        let unique = hex(&serial);
        let mut params = fresh_params(&format!("{name} {unique}"), &serial, now, not_after);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = false;
        let certificate = params.self_signed(&key).map_err(PkiError::Signing)?;
        let text = format!("{}{}", key.serialize_pem(), certificate.pem());
        let authority = Self::read(text.as_bytes()).ok_or(PkiError::Damaged { file: unique })?;
        Ok((text, authority))
    }
}

/// Who a client certificate names. The chain was verified in the handshake; this reads the name.
///
/// # Errors
/// [`PkiError::PeerName`] unless there is exactly one URI name and it is a sidecar's.
pub fn peer_identity(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, PkiError> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|_| PkiError::PeerName)?;
    let names = parsed.subject_alternative_name().map_err(|_| PkiError::PeerName)?;
    let names = names.ok_or(PkiError::PeerName)?;
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
        return Err(PkiError::PeerName);
    };
    let id = uri.strip_prefix(SPIFFE_PREFIX).ok_or(PkiError::PeerName)?;
    let sidecar = SidecarId::parse(id).map_err(|_| PkiError::PeerName)?;
    let not_after = parsed.validity().not_after.timestamp();
    let not_after = u64::try_from(not_after).map_err(|_| PkiError::PeerName)?;
    Ok(PeerIdentity { sidecar, not_after: from_unix(not_after) })
}

/// Parameters with our name, dates and serial; nothing of the library's defaults but its shape.
fn fresh_params(
    name: &str,
    serial: &[u8],
    now: SystemTime,
    not_after: SystemTime,
) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let begin = now.checked_sub(BACKDATE).unwrap_or(now);
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, format!("IBKR Agent Gateway {name}"));
    params.distinguished_name = subject;
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.not_before = epoch + Duration::from_secs(unix(begin));
    params.not_after = epoch + Duration::from_secs(unix(not_after));
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params
}

/// 16 random bytes: top bit clear (a positive number), next bit set (no leading zero).
fn fresh_serial() -> Result<[u8; SERIAL_BYTES], PkiError> {
    let mut serial = [0_u8; SERIAL_BYTES];
    rand::fill(&mut serial).map_err(|_| PkiError::Random)?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    Ok(serial)
}

fn hex(bytes: &[u8]) -> String {
    ibkr_agent_protocol::relay::join::to_hex(bytes)
}

fn tls<E: std::error::Error + Send + Sync + 'static>(error: E) -> PkiError {
    PkiError::Tls(Box::new(error))
}

/// PEM (RFC 7468) of some DER.
fn pem_of(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (index, c) in text.chars().enumerate() {
        if index > 0 && index.is_multiple_of(64) {
            pem.push('\n');
        }
        pem.push(c);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}
