//! The key file's JSON, and the sealing of a seed. No I/O.
//!
//! `domain` decides the shape: a broker's key has `sealed` and nothing else that could hold a seed.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KeyError, Seed};
use crate::operator::keyring::{OperatorDomain, OperatorPublicKey, hex, unhex};

/// Bytes of salt.
const SALT_BYTES: usize = 16;

/// Bytes of a sealed seed: the seed and the tag.
const SEALED_BYTES: usize = 48;

/// Version of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Format {
    #[serde(rename = "ibkr-agent-operator-key/v1")]
    V1,
}

/// Parameters of the passphrase's hash, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kdf {
    /// 64 MiB, 3 passes, 4 lanes: the second choice of RFC 9106 section 4.
    #[serde(rename = "argon2id-m65536-t3-p4")]
    Strong,
    /// 19 MiB, 2 passes, 1 lane: quick, for the simulator's keys alone.
    #[serde(rename = "argon2id-m19456-t2-p1")]
    Quick,
}

impl Kdf {
    const fn name(self) -> &'static str {
        match self {
            Self::Strong => "argon2id-m65536-t3-p4",
            Self::Quick => "argon2id-m19456-t2-p1",
        }
    }

    const fn of(domain: OperatorDomain) -> Self {
        match domain {
            OperatorDomain::Broker => Self::Strong,
            OperatorDomain::Simulator => Self::Quick,
        }
    }

    fn params(self) -> Result<Params, KeyError> {
        let (memory, passes, lanes) = match self {
            Self::Strong => (65_536, 3, 4),
            Self::Quick => (19_456, 2, 1),
        };
        Params::new(memory, passes, lanes, Some(32)).map_err(|_| KeyError::Crypto)
    }
}

/// A seed under a passphrase. All bytes are hexadecimal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    kdf: Kdf,
    salt: String,
    nonce: String,
    ciphertext: String,
}

/// A simulator key's seed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Secret {
    /// Hexadecimal, for all to read who can read the file.
    Open(String),
    /// Under a passphrase.
    Sealed(Sealed),
}

/// A key file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "domain", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum KeyFile {
    /// For a real broker.
    Broker { format: Format, public_key: String, sealed: Sealed },
    /// For the simulator.
    Simulator { format: Format, public_key: String, secret: Secret },
}

impl KeyFile {
    pub(super) fn broker(public_key: OperatorPublicKey, sealed: Sealed) -> Self {
        Self::Broker { format: Format::V1, public_key: public_key.to_string(), sealed }
    }

    pub(super) fn simulator(public_key: OperatorPublicKey, secret: Secret) -> Self {
        Self::Simulator { format: Format::V1, public_key: public_key.to_string(), secret }
    }

    pub(super) fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub(super) fn to_json(&self) -> Result<Zeroizing<String>, serde_json::Error> {
        serde_json::to_string_pretty(self).map(Zeroizing::new)
    }

    pub(super) const fn domain(&self) -> OperatorDomain {
        match self {
            Self::Broker { .. } => OperatorDomain::Broker,
            Self::Simulator { .. } => OperatorDomain::Simulator,
        }
    }

    pub(super) fn public_key(&self) -> &str {
        match self {
            Self::Broker { public_key, .. } | Self::Simulator { public_key, .. } => public_key,
        }
    }

    pub(super) const fn sealed(&self) -> Option<&Sealed> {
        match self {
            Self::Broker { sealed, .. }
            | Self::Simulator { secret: Secret::Sealed(sealed), .. } => Some(sealed),
            Self::Simulator { secret: Secret::Open(_), .. } => None,
        }
    }

    pub(super) fn open_seed(&self) -> Option<Seed> {
        match self {
            Self::Simulator { secret: Secret::Open(seed), .. } => {
                unhex::<32>(seed).map(Zeroizing::new)
            }
            Self::Broker { .. } | Self::Simulator { secret: Secret::Sealed(_), .. } => None,
        }
    }
}

/// Seals a seed with the parameters of its domain.
pub(super) fn seal(
    domain: OperatorDomain,
    public_key: OperatorPublicKey,
    seed: &Seed,
    passphrase: &SecretString,
) -> Result<Sealed, KeyError> {
    let kdf = Kdf::of(domain);
    let mut salt = [0_u8; SALT_BYTES];
    let mut nonce = [0_u8; NONCE_LEN];
    rand::fill(&mut salt).map_err(|_| KeyError::Crypto)?;
    rand::fill(&mut nonce).map_err(|_| KeyError::Crypto)?;
    let key = derive(kdf, passphrase, &salt)?;
    let mut sealed = seed.to_vec();
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        covered(domain, public_key, kdf),
        &mut sealed,
    )
    .map_err(|_| KeyError::Crypto)?;
    Ok(Sealed { kdf, salt: hex(&salt), nonce: hex(&nonce), ciphertext: hex(&sealed) })
}

/// Opens a sealed seed. The parameters must be those of its domain.
pub(super) fn unseal(
    domain: OperatorDomain,
    public_key: OperatorPublicKey,
    sealed: &Sealed,
    passphrase: &SecretString,
) -> Result<Seed, KeyError> {
    let kdf = Kdf::of(domain);
    let parts = (
        unhex::<SALT_BYTES>(&sealed.salt),
        unhex::<NONCE_LEN>(&sealed.nonce),
        unhex::<SEALED_BYTES>(&sealed.ciphertext),
    );
    let (Some(salt), Some(nonce), Some(ciphertext)) = parts else {
        return Err(KeyError::WrongPassphrase);
    };
    if sealed.kdf != kdf {
        return Err(KeyError::WrongPassphrase);
    }
    let key = derive(kdf, passphrase, &salt)?;
    let mut buffer = Zeroizing::new(ciphertext);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let opened = key
        .open_in_place(nonce, covered(domain, public_key, kdf), buffer.as_mut_slice())
        .map_err(|_| KeyError::WrongPassphrase)?;
    let mut seed: Seed = Zeroizing::new([0; 32]);
    for (slot, byte) in seed.iter_mut().zip(opened.iter()) {
        *slot = *byte;
    }
    Ok(seed)
}

/// What the seal covers besides the seed.
fn covered(domain: OperatorDomain, public_key: OperatorPublicKey, kdf: Kdf) -> Aad<String> {
    Aad::from(format!("ibkr-agent-operator-key/v1\n{domain}\n{}\n{public_key}\n", kdf.name()))
}

fn derive(kdf: Kdf, passphrase: &SecretString, salt: &[u8]) -> Result<LessSafeKey, KeyError> {
    let params = kdf.params()?;
    let mut memory = Zeroizing::new(vec![Block::default(); params.block_count()]);
    let mut key = Zeroizing::new([0_u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(
            passphrase.expose_secret().as_bytes(),
            salt,
            key.as_mut_slice(),
            memory.as_mut_slice(),
        )
        .map_err(|_| KeyError::Crypto)?;
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| KeyError::Crypto)?;
    Ok(LessSafeKey::new(key))
}
