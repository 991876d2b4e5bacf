//! The records of the store and their encoding: one version byte, then JSON.
//!
//! Unknown fields are refused: a record of this version has no others.

use ibkr_agent_domain::SidecarId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::StoreError;

const VERSION: u8 = 1;

/// Which subjects of an issuer a sidecar serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SubjectMatch {
    /// This one.
    Exact(String),
    /// Every subject of the issuer that no other sidecar names.
    Any,
}

/// A caller that a sidecar serves: an issuer and which of its subjects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The issuer, exact.
    pub issuer: String,
    /// Its subjects.
    pub subject: SubjectMatch,
}

impl Subject {
    /// Reads `*` as every subject, anything else as itself.
    #[must_use]
    pub fn new(issuer: &str, subject: &str) -> Self {
        let subject = match subject {
            "*" => SubjectMatch::Any,
            exact => SubjectMatch::Exact(exact.to_owned()),
        };
        Self { issuer: issuer.to_owned(), subject }
    }

    /// The subject, or `*`.
    #[must_use]
    pub fn subject_text(&self) -> &str {
        match &self.subject {
            SubjectMatch::Exact(subject) => subject,
            SubjectMatch::Any => "*",
        }
    }
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedCertificate {
    /// Hexadecimal serial number.
    pub serial: String,
    /// SHA-256 of its DER, hexadecimal.
    pub sha256: String,
    /// When it runs out, in seconds since 1970.
    pub expires_at: u64,
}

/// A sidecar that was paired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairing {
    pub(super) sidecar: String,
    /// The Ed25519 key that signs every `hello`.
    pub identity_key: [u8; 32],
    /// Whom it serves.
    pub subjects: Vec<Subject>,
    /// Its newest certificates.
    pub certificates: Vec<IssuedCertificate>,
    /// When it was paired, in seconds since 1970.
    pub paired_at: u64,
    /// Whether it was revoked.
    pub revoked: bool,
}

impl Pairing {
    pub(super) fn id(&self) -> Result<SidecarId, StoreError> {
        SidecarId::parse(&self.sidecar).map_err(|error| StoreError::Damaged {
            path: "pairings".to_owned(),
            what: error.to_string(),
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JoinRecord {
    pub(super) sidecar: String,
    pub(super) subjects: Vec<Subject>,
    pub(super) expires_at: u64,
}

pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, record).map_err(super::io)?;
    Ok(bytes)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|error| {
            StoreError::Damaged { path: "record".to_owned(), what: error.to_string() }
        }),
        Some((&found, _)) => Err(StoreError::Newer { found, known: VERSION }),
        None => Err(StoreError::Damaged { path: "record".to_owned(), what: "empty".to_owned() }),
    }
}
