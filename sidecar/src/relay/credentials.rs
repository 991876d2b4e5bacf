//! Keys and certificates of a paired sidecar, in two private files of the state folder.
//!
//! `identity.pk8` is the Ed25519 key that signs every `hello` (and receipts); it is made once and
//! outlives pairings. `relay.json` holds the TLS key with the certificate that belongs to it, the
//! remote's CA and address; it is replaced whole, so key and certificate never come apart. Both
//! are 0600; keys are wiped from memory when dropped.

use core::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use ibkr_agent_domain::SidecarId;
use ibkr_agent_protocol::relay::join::to_hex;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

const IDENTITY_FILE: &str = "identity.pk8";
const CREDENTIALS_FILE: &str = "relay.json";
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIR: u32 = 0o700;
const DEFAULT_PORT: u16 = 443;

/// Why keys or certificates can't be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file can't be read or written.
    #[error("{file} can't be read or written")]
    Io {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file doesn't hold what it should.
    #[error("{file} is damaged: put it back, or move it away and pair the sidecar again")]
    Damaged {
        /// The file.
        file: String,
    },
    /// The sidecar was never paired.
    #[error("the sidecar is not paired: {file} is not there")]
    NotPaired {
        /// The file.
        file: String,
    },
    /// A key can't be made.
    #[error("a key can't be made")]
    Key,
    /// The address isn't a `wss://` or `https://` one.
    #[error("the relay's address must be wss://<host>[:<port>]")]
    Url,
}

/// Where a relay is: a host and a port, always with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl {
    host: String,
    port: u16,
}

impl RelayUrl {
    /// Reads `wss://<host>[:<port>]` (or `https://`); port 443 when none is given.
    ///
    /// # Errors
    /// [`CredentialsError::Url`] for anything else, such as a path or a user name.
    pub fn parse(text: &str) -> Result<Self, CredentialsError> {
        let uri: http::Uri = text.parse().map_err(|_| CredentialsError::Url)?;
        let is_tls = matches!(uri.scheme_str(), Some("wss" | "https"));
        let authority = uri.authority().ok_or(CredentialsError::Url)?;
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if !is_tls || !is_bare || host.is_empty() || authority.as_str().contains('@') {
            return Err(CredentialsError::Url);
        }
        let port = authority.port_u16().unwrap_or(DEFAULT_PORT);
        Ok(Self { host: host.to_owned(), port })
    }

    /// The host's name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `<host>:<port>` as an address on a URL's line.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wss://{}", self.authority())
    }
}

/// The sidecar's own name: an Ed25519 key that never leaves this machine.
pub struct Identity(Ed25519KeyPair);

impl Identity {
    /// Reads the key of a state folder, making folder and key if there is none.
    ///
    /// # Errors
    /// [`CredentialsError`] if the file is unreadable or damaged.
    pub fn load_or_create(state_dir: &Path) -> Result<Self, CredentialsError> {
        if let Some(identity) = Self::load(state_dir)? {
            return Ok(identity);
        }
        make_dir(state_dir)?;
        let key = Ed25519KeyPair::generate().map_err(|_| CredentialsError::Key)?;
        let document = key.to_pkcs8().map_err(|_| CredentialsError::Key)?;
        write_private(&state_dir.join(IDENTITY_FILE), document.as_ref())?;
        Ok(Self(key))
    }

    /// Reads the key of a state folder; `None` without one.
    ///
    /// # Errors
    /// [`CredentialsError`] if the file is unreadable or damaged.
    pub(crate) fn load(state_dir: &Path) -> Result<Option<Self>, CredentialsError> {
        let path = state_dir.join(IDENTITY_FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(&path)(source)),
        };
        let damaged = || CredentialsError::Damaged { file: path.display().to_string() };
        Ed25519KeyPair::from_pkcs8(&bytes).map(|key| Some(Self(key))).map_err(|_| damaged())
    }

    /// The public key, hexadecimal.
    #[must_use]
    pub fn public_hex(&self) -> String {
        to_hex(self.0.public_key().as_ref())
    }

    /// A signature, hexadecimal.
    #[must_use]
    pub fn sign_hex(&self, message: &[u8]) -> String {
        to_hex(self.0.sign(message).as_ref())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public_hex())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u8,
    sidecar_id: String,
    url: String,
    ca_pem: String,
    certificate_pem: String,
    key_pem: String,
    issued_at: u64,
    expires_at: u64,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.key_pem.zeroize();
    }
}

const VERSION: u8 = 1;

/// What a paired sidecar shows to the remote and expects from it.
#[derive(Clone)]
pub struct Credentials {
    pub(super) path: PathBuf,
    pub(super) sidecar_id: SidecarId,
    pub(super) url: RelayUrl,
    pub(super) ca_pem: String,
    pub(super) certificate_pem: String,
    pub(super) key_pem: Zeroizing<String>,
    pub(super) issued_at: SystemTime,
    pub(super) expires_at: SystemTime,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("sidecar_id", &self.sidecar_id)
            .field("url", &self.url)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads what pairing stored.
    ///
    /// # Errors
    /// [`CredentialsError::NotPaired`] if there is nothing, others if it can't be used.
    pub fn load(state_dir: &Path) -> Result<Self, CredentialsError> {
        let path = state_dir.join(CREDENTIALS_FILE);
        let file = path.display().to_string();
        let text = match std::fs::read(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(CredentialsError::NotPaired { file });
            }
            Err(source) => return Err(failed(&path)(source)),
        };
        let damaged = || CredentialsError::Damaged { file: file.clone() };
        let mut stored: Stored = serde_json::from_slice(&text).map_err(|_| damaged())?;
        if stored.version != VERSION {
            return Err(damaged());
        }
        Ok(Self {
            path,
            sidecar_id: SidecarId::parse(&stored.sidecar_id).map_err(|_| damaged())?,
            url: RelayUrl::parse(&stored.url)?,
            ca_pem: core::mem::take(&mut stored.ca_pem),
            certificate_pem: core::mem::take(&mut stored.certificate_pem),
            key_pem: Zeroizing::new(core::mem::take(&mut stored.key_pem)),
            issued_at: from_unix(stored.issued_at),
            expires_at: from_unix(stored.expires_at),
        })
    }

    /// The sidecar's id at the remote.
    #[must_use]
    pub const fn sidecar_id(&self) -> &SidecarId {
        &self.sidecar_id
    }

    /// Where the relay is.
    #[must_use]
    pub const fn url(&self) -> &RelayUrl {
        &self.url
    }

    /// When the certificate runs out.
    #[must_use]
    pub const fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// When the certificate was issued, in seconds of the Unix epoch.
    pub(crate) fn issued_unix(&self) -> u64 {
        unix(self.issued_at)
    }

    /// When a renewal is due: at half of the certificate's life.
    pub(super) fn renewal_due(&self) -> SystemTime {
        let life = self.expires_at.duration_since(self.issued_at).unwrap_or_default();
        self.issued_at.checked_add(life / 2).unwrap_or(self.issued_at)
    }

    /// The same pairing with a new key and its certificate.
    pub(super) fn renewed(
        &self,
        key_pem: Zeroizing<String>,
        certificate_pem: String,
        expires_at: u64,
        now: SystemTime,
    ) -> Self {
        let expires_at = from_unix(expires_at);
        Self { key_pem, certificate_pem, issued_at: now, expires_at, ..self.clone() }
    }

    /// Whether certificate and key belong together.
    pub(super) fn is_usable(&self) -> bool {
        let Ok(key) = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()) else {
            return false;
        };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes()).collect();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        chain.is_ok_and(|chain| {
            rustls::sign::CertifiedKey::from_der(chain, key, &provider)
                .is_ok_and(|certified| certified.keys_match().is_ok())
        })
    }

    /// Replaces the stored file, durably and at once.
    pub(super) fn save(&self) -> Result<(), CredentialsError> {
        let stored = Stored {
            version: VERSION,
            sidecar_id: self.sidecar_id.to_string(),
            url: self.url.to_string(),
            ca_pem: self.ca_pem.clone(),
            certificate_pem: self.certificate_pem.clone(),
            key_pem: self.key_pem.as_str().to_owned(),
            issued_at: unix(self.issued_at),
            expires_at: unix(self.expires_at),
        };
        let text = serde_json::to_vec(&stored).map_err(|_| CredentialsError::Key)?;
        write_private(&self.path, &Zeroizing::new(text))
    }

    pub(super) fn path_in(state_dir: &Path) -> PathBuf {
        state_dir.join(CREDENTIALS_FILE)
    }
}

/// A fresh TLS key and the request for its certificate.
pub(super) struct FreshKey {
    pub(super) key_pem: Zeroizing<String>,
    pub(super) csr_pem: String,
}

impl FreshKey {
    pub(super) fn generate() -> Result<Self, CredentialsError> {
        let key =
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| CredentialsError::Key)?;
        let mut params = CertificateParams::default();
        // The remote names the certificate; a request says only which key it is for.
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(|_| CredentialsError::Key)?;
        let csr_pem = request.pem().map_err(|_| CredentialsError::Key)?;
        Ok(Self { key_pem: Zeroizing::new(key.serialize_pem()), csr_pem })
    }
}

/// Makes a private folder, or makes an existing one private.
pub(super) fn make_dir(path: &Path) -> Result<(), CredentialsError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR)
        .create(path)
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(PRIVATE_DIR)))
        .map_err(failed(path))
}

fn write_private(path: &Path, contents: &[u8]) -> Result<(), CredentialsError> {
    let write = || -> std::io::Result<()> {
        let staged = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(PRIVATE_FILE)
            .open(&staged)?;
        file.set_permissions(Permissions::from_mode(PRIVATE_FILE))?;
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&staged, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> CredentialsError + use<> {
    let file = path.display().to_string();
    move |source| CredentialsError::Io { file, source }
}

pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(super) fn from_unix(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}
