//! Operators' private keys: files that hold an Ed25519 seed, sealed under a passphrase.
//!
//! A key for a real broker is always sealed: its file form has no place for an open seed. A key for
//! the simulator may be open, and is refused wherever a broker's is asked for. The passphrase goes
//! through Argon2id into AES-256-GCM, which also covers format, domain and public key. A file names
//! its Argon2 parameters and never chooses them, so that it can't ask for weak ones.
//!
//! Nothing here reads a terminal or the environment.

use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use ibkr_agent_domain::{
    ApprovalTerms, Digest, ErrorCode, OperatorKeyId, OperatorSignature, SidecarId,
};
use ibkr_agent_protocol::service::ErrorBody;
use secrecy::{ExposeSecret as _, SecretString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

use super::keyring::{OperatorDomain, OperatorPublicKey, hex};
use super::verb::{Challenge, Proof, Verb, signed_text};
use file::{KeyFile, Secret};

mod file;

/// Shortest passphrase of a broker's key, in characters.
pub const MIN_PASSPHRASE_CHARS: usize = 12;

/// Largest key file.
const MAX_FILE_BYTES: u64 = 4 * 1024;

/// A seed in memory.
pub(super) type Seed = Zeroizing<[u8; 32]>;

/// Why a key can't be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The passphrase of a broker's key is too short.
    #[error("a passphrase needs at least {MIN_PASSPHRASE_CHARS} characters")]
    WeakPassphrase,
    /// A file is there already; keys are never overwritten.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The file can't be read or written.
    #[error("the key file {} can't be used", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Other users can read it.
    #[error("the key file {} can be read by others; make it 0600", .0.display())]
    Exposed(PathBuf),
    /// It isn't a key file of a version that we know.
    #[error("{} isn't a key file of a known version", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A field of it is wrong.
    #[error("the key file {} is damaged", .0.display())]
    Damaged(PathBuf),
    /// It belongs to another domain.
    #[error("the key is for the {found}, not for the {wanted}")]
    WrongDomain {
        /// The key's domain.
        found: OperatorDomain,
        /// The domain asked for.
        wanted: OperatorDomain,
    },
    /// It is sealed.
    #[error("the key is under a passphrase")]
    PassphraseNeeded,
    /// The passphrase is wrong, or the file was altered.
    #[error("the passphrase is wrong, or the key file was altered")]
    WrongPassphrase,
    /// The cryptography library failed.
    #[error("the cryptography library failed")]
    Crypto,
}

impl From<KeyError> for ErrorBody {
    fn from(error: KeyError) -> Self {
        let code = match &error {
            KeyError::WeakPassphrase | KeyError::Exists(_) => ErrorCode::InputInvalid,
            KeyError::PassphraseNeeded => ErrorCode::SignatureRequired,
            KeyError::WrongDomain { .. } | KeyError::WrongPassphrase => ErrorCode::SignatureInvalid,
            KeyError::Io { .. }
            | KeyError::Exposed(_)
            | KeyError::Format { .. }
            | KeyError::Damaged(_) => ErrorCode::ConfigInvalid,
            KeyError::Crypto => ErrorCode::InternalError,
        };
        Self::new(code, error.to_string())
    }
}

/// A key to make. Only the simulator's can go without a passphrase.
#[derive(Debug, Clone, Copy)]
pub enum NewKey<'a> {
    /// For a real broker.
    Broker {
        /// At least [`MIN_PASSPHRASE_CHARS`] characters, typed by a human.
        passphrase: &'a SecretString,
    },
    /// For the simulator.
    Simulator {
        /// None leaves the key open.
        passphrase: Option<&'a SecretString>,
    },
}

/// What a key file says without its passphrase. Its public key is proved only by loading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDescription {
    /// What its signatures are good for.
    pub domain: OperatorDomain,
    /// Its public half.
    pub public_key: OperatorPublicKey,
    /// Whether loading it needs a passphrase.
    pub sealed: bool,
}

/// A private key, ready to sign. The library wipes it when it is dropped.
pub struct OperatorSigner {
    domain: OperatorDomain,
    public_key: OperatorPublicKey,
    pair: Ed25519KeyPair,
}

impl core::fmt::Debug for OperatorSigner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OperatorSigner")
            .field("domain", &self.domain)
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

impl OperatorSigner {
    /// What its signatures are good for.
    #[must_use]
    pub const fn domain(&self) -> OperatorDomain {
        self.domain
    }

    /// Its public half.
    #[must_use]
    pub const fn public_key(&self) -> OperatorPublicKey {
        self.public_key
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> OperatorKeyId {
        self.public_key.id()
    }

    /// Signs a verb for one sidecar and challenge, in this key's own domain.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when the library fails.
    pub fn prove(
        &self,
        sidecar: &SidecarId,
        challenge: &Challenge,
        verb: &Verb,
    ) -> Result<Proof, KeyError> {
        let text = signed_text(sidecar, self.domain.as_str(), challenge, verb)
            .map_err(|_| KeyError::Crypto)?;
        let signature = self.pair.try_sign(text.as_bytes()).map_err(|_| KeyError::Crypto)?;
        Ok(Proof { key: self.id().to_string(), signature: hex(signature.as_ref()) })
    }

    /// The yes to approval bytes of this digest, with the signature that is kept.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when the library fails.
    pub fn approve(&self, id: &str, digest: &Digest) -> Result<Verb, KeyError> {
        let text = ApprovalTerms::signed_text(digest);
        let signature = self.pair.try_sign(text.as_bytes()).map_err(|_| KeyError::Crypto)?;
        let bytes = signature.as_ref().try_into().map_err(|_| KeyError::Crypto)?;
        Ok(Verb::Approve {
            id: id.to_owned(),
            digest: digest.to_string(),
            signature: OperatorSignature::from_bytes(bytes).to_string(),
        })
    }
}

/// Makes a key and writes its file, 0600, which must not exist yet.
///
/// Takes a good part of a second and 64 MiB under a passphrase: don't call it on an async thread.
///
/// # Errors
/// [`KeyError`].
pub fn create_key(path: &Path, new: &NewKey<'_>) -> Result<OperatorPublicKey, KeyError> {
    let mut seed: Seed = Zeroizing::new([0; 32]);
    rand::fill(seed.as_mut_slice()).map_err(|_| KeyError::Crypto)?;
    let public_key = public_of(&seed)?;
    let file = match new {
        NewKey::Broker { passphrase } => {
            if passphrase.expose_secret().chars().count() < MIN_PASSPHRASE_CHARS {
                return Err(KeyError::WeakPassphrase);
            }
            KeyFile::broker(
                public_key,
                file::seal(OperatorDomain::Broker, public_key, &seed, passphrase)?,
            )
        }
        NewKey::Simulator { passphrase: Some(passphrase) } => {
            let sealed = file::seal(OperatorDomain::Simulator, public_key, &seed, passphrase)?;
            KeyFile::simulator(public_key, Secret::Sealed(sealed))
        }
        NewKey::Simulator { passphrase: None } => {
            KeyFile::simulator(public_key, Secret::Open(hex(seed.as_slice())))
        }
    };
    write_new(path, &file)?;
    Ok(public_key)
}

/// Loads a key for a domain.
///
/// As costly as [`create_key`] under a passphrase.
///
/// # Errors
/// [`KeyError`]: [`KeyError::WrongDomain`] for a key of the other domain, whatever its passphrase.
pub fn load_key(
    path: &Path,
    wanted: OperatorDomain,
    passphrase: Option<&SecretString>,
) -> Result<OperatorSigner, KeyError> {
    let file = read(path)?;
    let found = file.domain();
    if found != wanted {
        return Err(KeyError::WrongDomain { found, wanted });
    }
    let damaged = || KeyError::Damaged(path.to_owned());
    let public_key: OperatorPublicKey = file.public_key().parse().map_err(|_| damaged())?;
    let seed = match file.sealed() {
        Some(sealed) => {
            let passphrase = passphrase.ok_or(KeyError::PassphraseNeeded)?;
            file::unseal(found, public_key, sealed, passphrase)?
        }
        None => file.open_seed().ok_or_else(damaged)?,
    };
    let pair = Ed25519KeyPair::from_seed_and_public_key(seed.as_slice(), public_key.as_bytes())
        .map_err(|_| damaged())?;
    Ok(OperatorSigner { domain: found, public_key, pair })
}

/// What a key file says of itself.
///
/// # Errors
/// [`KeyError`] when it can't be read as one.
pub fn describe_key(path: &Path) -> Result<KeyDescription, KeyError> {
    let file = read(path)?;
    let public_key = file.public_key().parse().map_err(|_| KeyError::Damaged(path.to_owned()))?;
    Ok(KeyDescription { domain: file.domain(), public_key, sealed: file.sealed().is_some() })
}

fn public_of(seed: &Seed) -> Result<OperatorPublicKey, KeyError> {
    let pair =
        Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| KeyError::Crypto)?;
    let bytes: [u8; 32] = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Crypto)?;
    Ok(OperatorPublicKey::from_bytes(bytes))
}

fn io_error(path: &Path, source: io::Error) -> KeyError {
    if source.kind() == io::ErrorKind::AlreadyExists {
        KeyError::Exists(path.to_owned())
    } else {
        KeyError::Io { path: path.to_owned(), source }
    }
}

fn write_new(path: &Path, key: &KeyFile) -> Result<(), KeyError> {
    let failed = |source| io_error(path, source);
    let text = key.to_json().map_err(|_| KeyError::Crypto)?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(source) = written {
        // Half a key is of no use; the error that made it so is what the caller hears.
        drop(std::fs::remove_file(path));
        return Err(io_error(path, source));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or_else(|| Path::new("."))).map_err(failed)?;
    folder.sync_all().map_err(failed)
}

fn read(path: &Path) -> Result<KeyFile, KeyError> {
    let failed = |source| io_error(path, source);
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || found.len() > MAX_FILE_BYTES {
        return Err(KeyError::Damaged(path.to_owned()));
    }
    if found.mode() & 0o077 != 0 {
        return Err(KeyError::Exposed(path.to_owned()));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
    KeyFile::from_json(&text).map_err(|source| KeyError::Format { path: path.to_owned(), source })
}
