//! The installation's own secrets: the log's signing key, the key of the account hashes, and the
//! name that both belong to. One file, 0600, made once and never changed. Which file that is, and
//! when one may be made, is for [`crate::folder`] to say.

use ibkr_agent_domain::SidecarId;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use zeroize::{Zeroize as _, Zeroizing};

const VERSION: u8 = 1;

/// Why the secrets can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file can't be read or written.
    #[error("the installation's secrets can't be read or written: {0}")]
    Io(#[from] std::io::Error),
    /// The file isn't what this program wrote.
    #[error("installation.json is damaged: put it back from a backup")]
    Damaged,
    /// No randomness.
    #[error("the system gives no random numbers")]
    Random,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u8,
    sidecar: String,
    log_seed: String,
    account_key: String,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.log_seed.zeroize();
        self.account_key.zeroize();
    }
}

/// The secrets; shown as the sidecar's name only.
pub struct Secrets {
    sidecar: SidecarId,
    log_seed: Zeroizing<[u8; 32]>,
    account_key: Zeroizing<[u8; 32]>,
}

impl core::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Secrets({})", self.sidecar)
    }
}

impl Secrets {
    /// Reads the secrets in a file; `None` without one.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, SecretsError> {
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(&Zeroizing::new(bytes)).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, SecretsError> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|_| SecretsError::Damaged)?;
        if stored.version != VERSION {
            return Err(SecretsError::Damaged);
        }
        let bytes_of = |text: &str| {
            let digest = ibkr_agent_domain::Digest::parse(text);
            digest.map(|d| Zeroizing::new(*d.as_bytes())).map_err(|_| SecretsError::Damaged)
        };
        Ok(Self {
            sidecar: SidecarId::parse(&stored.sidecar).map_err(|_| SecretsError::Damaged)?,
            log_seed: bytes_of(&stored.log_seed)?,
            account_key: bytes_of(&stored.account_key)?,
        })
    }

    /// Makes new ones in a file that isn't there yet.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub(crate) fn create(path: &Path) -> Result<Self, SecretsError> {
        let random = || {
            let mut bytes = Zeroizing::new([0_u8; 32]);
            let filled = aws_lc_rs::rand::fill(bytes.as_mut_slice());
            filled.map(|()| bytes).map_err(|_| SecretsError::Random)
        };
        let name = crate::tools::hex(random()?.get(..8).unwrap_or_default());
        let (log_seed, account_key) = (random()?, random()?);
        let stored = Stored {
            version: VERSION,
            sidecar: format!("sc-{name}"),
            log_seed: crate::tools::hex(log_seed.as_slice()),
            account_key: crate::tools::hex(account_key.as_slice()),
        };
        let bytes = serde_json::to_vec(&stored).map_err(|_| SecretsError::Damaged)?;
        let bytes = Zeroizing::new(bytes);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        Self::parse(&bytes)
    }

    /// The installation's name.
    #[must_use]
    pub const fn sidecar(&self) -> &SidecarId {
        &self.sidecar
    }

    /// The seed of the log's signing key.
    #[must_use]
    pub fn log_seed(&self) -> Zeroizing<[u8; 32]> {
        self.log_seed.clone()
    }

    /// The key of the account hashes.
    #[must_use]
    pub fn account_key(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.account_key.to_vec())
    }
}

/// Makes a folder of mode 0700, or tightens one that is there.
///
/// # Errors
/// An I/O error.
pub fn make_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}
