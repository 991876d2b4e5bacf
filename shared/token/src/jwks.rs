//! A JSON Web Key Set (RFC 7517): which keys are usable, and for exactly which algorithm.
//!
//! Keys are read one by one, so that an odd one doesn't take the set down. Usable are RSA keys of
//! 2048 to 8192 bits, P-256 and Ed25519 keys that may verify signatures. Symmetric keys, keys that
//! show their private half, and keys given twice within one object are left out.
//!
//! Invariant: a [`Key`] has one algorithm. An RSA key that declares none is RS256.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::header::{parse_object, present};

/// Most usable keys that are kept of one set.
pub const MAX_KEYS: usize = 64;
/// Longest key id.
pub(crate) const MAX_KID_BYTES: usize = 256;

const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
const MAX_RSA_EXPONENT_BYTES: usize = 8;
const COORDINATE_BYTES: usize = 32;

/// The algorithms that are accepted, all asymmetric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyAlgorithm {
    Rs256,
    Ps256,
    Es256,
    EdDsa,
}

impl KeyAlgorithm {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    const fn library(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Ps256 => Algorithm::PS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// One public key and the one algorithm that it verifies.
pub(crate) struct Key {
    kid: Option<String>,
    algorithm: KeyAlgorithm,
    material: Material,
    decoding: DecodingKey,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: String, e: String },
    P256 { x: String, y: String },
    Ed25519 { x: String },
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid
            && self.algorithm == other.algorithm
            && self.material == other.material
    }
}

impl Key {
    /// Whether the signature (base64url) over the message holds, under this key's algorithm.
    pub(crate) fn verifies(&self, message: &str, signature: &str) -> bool {
        let algorithm = self.algorithm.library();
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, algorithm)
            .unwrap_or(false)
    }
}

/// What a set holds for a token's header.
#[derive(Debug)]
pub(crate) enum Lookup<'a> {
    /// Keys of that id and algorithm; more than one only if the issuer gave an id twice.
    Found(Vec<&'a Key>),
    /// Keys of that id, for other algorithms.
    OtherAlgorithm,
    /// No key of that id.
    Unknown,
}

/// Finds the keys that may have signed. Without an id the set must leave no choice.
pub(crate) fn find<'a>(keys: &'a [Key], kid: Option<&str>, algorithm: KeyAlgorithm) -> Lookup<'a> {
    let same = |key: &&Key| key.algorithm == algorithm;
    let Some(kid) = kid else {
        let fitting: Vec<_> = keys.iter().filter(same).collect();
        return if fitting.len() == 1 { Lookup::Found(fitting) } else { Lookup::Unknown };
    };
    let named = || keys.iter().filter(|key| key.kid.as_deref() == Some(kid));
    let fitting: Vec<_> = named().filter(same).collect();
    if !fitting.is_empty() {
        return Lookup::Found(fitting);
    }
    match named().next() {
        Some(_) => Lookup::OtherAlgorithm,
        None => Lookup::Unknown,
    }
}

#[derive(Deserialize)]
struct WireSet {
    keys: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct WireKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    #[serde(default, rename = "d", deserialize_with = "present")]
    shows_private_half: bool,
}

/// Reads a key set; `None` if the document isn't one. Unusable keys are left out.
pub(crate) fn parse_set(json: &[u8]) -> Option<Vec<Key>> {
    let set: WireSet = parse_object(json.trim_ascii_start()).ok()?;
    let keys = set.keys.iter().filter_map(|raw| {
        let wire: WireKey = parse_object(raw.get().as_bytes()).ok()?;
        wire.usable()
    });
    Some(keys.take(MAX_KEYS).collect())
}

impl WireKey {
    fn usable(self) -> Option<Key> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let named = self.kid.as_ref().is_none_or(|kid| kid.len() <= MAX_KID_BYTES);
        if !signs || !verifies || !named || self.shows_private_half {
            return None;
        }
        let (material, natural) = self.material()?;
        let algorithm = match self.alg.as_deref() {
            None => natural,
            Some(name) => {
                KeyAlgorithm::parse(name).filter(|declared| fits(&material, *declared))?
            }
        };
        let decoding = match &material {
            Material::Rsa { n, e } => DecodingKey::from_rsa_components(n, e),
            Material::P256 { x, y } => DecodingKey::from_ec_components(x, y),
            Material::Ed25519 { x } => DecodingKey::from_ed_components(x),
        };
        Some(Key { kid: self.kid, algorithm, material, decoding: decoding.ok()? })
    }

    /// The key's numbers, checked for length, and its algorithm if it declares none.
    fn material(&self) -> Option<(Material, KeyAlgorithm)> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => {
                let (n, e) = (self.n.clone()?, self.e.clone()?);
                let fits = RSA_MODULUS_BYTES.contains(&decoded_len(&n)?)
                    && (1..=MAX_RSA_EXPONENT_BYTES).contains(&decoded_len(&e)?);
                fits.then_some((Material::Rsa { n, e }, KeyAlgorithm::Rs256))
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (self.x.clone()?, self.y.clone()?);
                let fits =
                    decoded_len(&x)? == COORDINATE_BYTES && decoded_len(&y)? == COORDINATE_BYTES;
                fits.then_some((Material::P256 { x, y }, KeyAlgorithm::Es256))
            }
            ("OKP", Some("Ed25519")) => {
                let x = self.x.clone()?;
                let fits = decoded_len(&x)? == COORDINATE_BYTES;
                fits.then_some((Material::Ed25519 { x }, KeyAlgorithm::EdDsa))
            }
            _ => None,
        }
    }
}

const fn fits(material: &Material, algorithm: KeyAlgorithm) -> bool {
    match algorithm {
        KeyAlgorithm::Rs256 | KeyAlgorithm::Ps256 => matches!(material, Material::Rsa { .. }),
        KeyAlgorithm::Es256 => matches!(material, Material::P256 { .. }),
        KeyAlgorithm::EdDsa => matches!(material, Material::Ed25519 { .. }),
    }
}

fn decoded_len(text: &str) -> Option<usize> {
    URL_SAFE_NO_PAD.decode(text).ok().map(|bytes| bytes.len())
}
