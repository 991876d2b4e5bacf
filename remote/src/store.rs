//! The remote's store: join tokens, pairings, checkpoints. Never payloads, never access tokens.
//!
//! One redb file, 0600, held by one process. Beside it stands an anchor (store id and generation):
//! a store that is emptied, replaced or older than its anchor is refused, because it would forget
//! revocations. Of a join token only the SHA-256 is kept, and it is removed in the transaction
//! that records the pairing. Commits block: call from a blocking thread.

mod directory;
mod file;
mod record;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use ibkr_agent_domain::{Digest, ErrorCode, SidecarId};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::relay::clock::{from_unix, unix};

pub use directory::Directory;
pub(crate) use file::{restrict, write_private};
pub use record::{IssuedCertificate, Pairing, Subject, SubjectMatch};

use record::{JoinRecord, decode, encode};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const JOINS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("join_tokens");
const PAIRINGS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("pairings");
const CHECKPOINTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("checkpoints");

/// Most join tokens that may wait to be used.
pub const MAX_OPEN_JOINS: usize = 256;
/// Most pairings.
pub const MAX_PAIRINGS: usize = 4096;
/// Most subjects of one pairing.
pub const MAX_SUBJECTS: usize = 64;
/// Certificates that a pairing remembers, newest last.
const REMEMBERED_CERTIFICATES: usize = 8;

/// Why the store can't be used, or refused a change.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process (or another handle in this one) holds the file.
    #[error("another process holds the remote's store {path}")]
    Locked {
        /// The file.
        path: String,
    },
    /// The file is empty or of another installation, but the anchor knows one.
    #[error("the store {path} is empty or replaced: its anchor names store {expected}")]
    Emptied {
        /// The file.
        path: String,
        /// The id in the anchor.
        expected: String,
    },
    /// The file is older than the anchor.
    #[error("the store {path} is at generation {found}, its anchor at {expected}")]
    RolledBack {
        /// The file.
        path: String,
        /// The store's generation.
        found: u64,
        /// The anchor's generation.
        expected: u64,
    },
    /// The file, the anchor or a record can't be read.
    #[error("the store {path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// A record or the store is of a newer version.
    #[error("the store holds version {found}; this program reads version {known}")]
    Newer {
        /// The version found.
        found: u8,
        /// The version known.
        known: u8,
    },
    /// Reading or writing failed.
    #[error("the store can't be read or written")]
    Io(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A bound was reached.
    #[error("no more than {limit} {what}")]
    Full {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A subject already belongs to another sidecar.
    #[error("subject {subject} of {issuer} already belongs to sidecar {owner}")]
    SubjectTaken {
        /// The issuer.
        issuer: String,
        /// The subject or `*`.
        subject: String,
        /// Whose it is.
        owner: SidecarId,
    },
    /// The join token is unknown, was used or has expired; which of them isn't said.
    #[error("the join token is not valid")]
    JoinRefused,
    /// No such pairing, or it was revoked.
    #[error("sidecar {0} is not paired")]
    NotPaired(SidecarId),
}

impl StoreError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Locked { .. } => ErrorCode::StoreLocked,
            Self::Emptied { .. }
            | Self::RolledBack { .. }
            | Self::Damaged { .. }
            | Self::Newer { .. } => ErrorCode::StoreDamaged,
            Self::Io(_) => ErrorCode::InternalError,
            Self::Full { .. } | Self::SubjectTaken { .. } => ErrorCode::InputInvalid,
            Self::JoinRefused | Self::NotPaired(_) => ErrorCode::SidecarPairingRequired,
        }
    }
}

/// Anything that redb or the file system answers.
fn io<E: std::error::Error + Send + Sync + 'static>(error: E) -> StoreError {
    StoreError::Io(Box::new(error))
}

/// The open store. Cheap to share behind an [`Arc`]; reads of the directory never block.
#[derive(Debug)]
pub struct Store {
    database: Database,
    place: file::Place,
    /// Writes are serialised so that the anchor always follows the newest commit.
    writer: Mutex<()>,
    directory: ArcSwap<Directory>,
}

/// What an enrolment brings to a pairing.
#[derive(Debug, Clone)]
pub struct NewEnrolment {
    /// SHA-256 of the join token's secret.
    pub join: Digest,
    /// The sidecar that the token names.
    pub sidecar: SidecarId,
    /// Its identity key.
    pub identity_key: [u8; 32],
    /// The certificate that it is about to get.
    pub certificate: IssuedCertificate,
}

impl Store {
    /// Opens the store in a state folder, making both if there is none.
    ///
    /// # Errors
    /// [`StoreError`] when it is held, emptied, rolled back, damaged or of a newer version.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let (database, place) = file::open(state_dir)?;
        let store = Self {
            database,
            place,
            writer: Mutex::new(()),
            directory: ArcSwap::from_pointee(Directory::default()),
        };
        store.refresh()?;
        Ok(store)
    }

    /// Who is paired with whom, as of the last commit.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Remembers a join token until it is used or expires. Expired ones are removed meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] when a subject is taken, a bound is reached or the commit fails.
    pub fn add_join(
        &self,
        hash: &Digest,
        sidecar: &SidecarId,
        subjects: Vec<Subject>,
        expires_at: SystemTime,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        if subjects.is_empty() || subjects.len() > MAX_SUBJECTS {
            return Err(StoreError::Full {
                what: "subjects (and at least 1)",
                limit: MAX_SUBJECTS,
            });
        }
        self.directory().check_free(sidecar, &subjects)?;
        let record =
            JoinRecord { sidecar: sidecar.to_string(), subjects, expires_at: unix(expires_at) };
        let bytes = encode(&record)?;
        self.write(|transaction| {
            let mut joins = transaction.open_table(JOINS).map_err(io)?;
            let mut expired = Vec::new();
            let mut open = 0_usize;
            for row in joins.iter().map_err(io)? {
                let (key, value) = row.map_err(io)?;
                if from_unix(decode::<JoinRecord>(value.value())?.expires_at) <= now {
                    expired.push(key.value().to_vec());
                } else {
                    open = open.saturating_add(1);
                }
            }
            for key in &expired {
                joins.remove(key.as_slice()).map_err(io)?;
            }
            if open >= MAX_OPEN_JOINS {
                return Err(StoreError::Full { what: "open join tokens", limit: MAX_OPEN_JOINS });
            }
            joins.insert(hash.as_bytes().as_slice(), bytes.as_slice()).map_err(io)?;
            Ok(())
        })
    }

    /// Whether a join token waits to be used, expired or not.
    ///
    /// # Errors
    /// [`StoreError`] if it can't be read.
    pub fn has_join(&self, hash: &Digest) -> Result<bool, StoreError> {
        let transaction = self.database.begin_read().map_err(io)?;
        match transaction.open_table(JOINS) {
            Ok(table) => Ok(table.get(hash.as_bytes().as_slice()).map_err(io)?.is_some()),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(io(error)),
        }
    }

    /// Uses a join token and records the pairing, in one transaction. A second use is refused.
    ///
    /// # Errors
    /// [`StoreError::JoinRefused`] for a token that is unknown, used, expired or of another
    /// sidecar; other variants when the pairing can't be recorded (the token then stays).
    pub fn enrol(&self, new: &NewEnrolment, now: SystemTime) -> Result<(), StoreError> {
        let directory = self.directory();
        self.write(|transaction| {
            let mut joins = transaction.open_table(JOINS).map_err(io)?;
            let record = match joins.remove(new.join.as_bytes().as_slice()).map_err(io)? {
                Some(value) => decode::<JoinRecord>(value.value())?,
                None => return Err(StoreError::JoinRefused),
            };
            if from_unix(record.expires_at) <= now || record.sidecar != new.sidecar.as_str() {
                return Err(StoreError::JoinRefused);
            }
            directory.check_free(&new.sidecar, &record.subjects)?;
            let is_new = directory.pairing(&new.sidecar).is_none();
            if is_new && directory.len() >= MAX_PAIRINGS {
                return Err(StoreError::Full { what: "pairings", limit: MAX_PAIRINGS });
            }
            let pairing = Pairing {
                sidecar: new.sidecar.to_string(),
                identity_key: new.identity_key,
                subjects: record.subjects,
                certificates: vec![new.certificate.clone()],
                paired_at: unix(now),
                revoked: false,
            };
            let mut pairings = transaction.open_table(PAIRINGS).map_err(io)?;
            let bytes = encode(&pairing)?;
            pairings.insert(new.sidecar.as_str(), bytes.as_slice()).map_err(io)?;
            Ok(())
        })
    }

    /// Records a renewed certificate.
    ///
    /// # Errors
    /// [`StoreError::NotPaired`] if the pairing is gone or revoked.
    pub fn renewed(
        &self,
        sidecar: &SidecarId,
        certificate: IssuedCertificate,
    ) -> Result<(), StoreError> {
        self.change(sidecar, |pairing| {
            if pairing.revoked {
                return Err(StoreError::NotPaired(sidecar.clone()));
            }
            pairing.certificates.push(certificate);
            let extra = pairing.certificates.len().saturating_sub(REMEMBERED_CERTIFICATES);
            pairing.certificates.drain(..extra);
            Ok(())
        })
    }

    /// Revokes a pairing. It stays on record, so that it can be seen; pairing again un-revokes.
    ///
    /// # Errors
    /// [`StoreError::NotPaired`] if there is none.
    pub fn revoke(&self, sidecar: &SidecarId) -> Result<(), StoreError> {
        self.change(sidecar, |pairing| {
            pairing.revoked = true;
            Ok(())
        })
    }

    /// Keeps a sidecar's newest checkpoint, as the text that it signed.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the commit fails.
    pub fn put_checkpoint(&self, sidecar: &SidecarId, note: &str) -> Result<(), StoreError> {
        let _one = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.database.begin_write().map_err(io)?;
        {
            let mut table = transaction.open_table(CHECKPOINTS).map_err(io)?;
            let bytes = encode(&note)?;
            table.insert(sidecar.as_str(), bytes.as_slice()).map_err(io)?;
        }
        transaction.commit().map_err(io)
    }

    /// A sidecar's newest checkpoint.
    ///
    /// # Errors
    /// [`StoreError`] if it can't be read.
    pub fn checkpoint(&self, sidecar: &SidecarId) -> Result<Option<String>, StoreError> {
        let transaction = self.database.begin_read().map_err(io)?;
        let table = match transaction.open_table(CHECKPOINTS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let Some(value) = table.get(sidecar.as_str()).map_err(io)? else {
            return Ok(None);
        };
        decode(value.value()).map(Some)
    }

    fn change(
        &self,
        sidecar: &SidecarId,
        change: impl FnOnce(&mut Pairing) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut pairings = transaction.open_table(PAIRINGS).map_err(io)?;
            let mut pairing = match pairings.get(sidecar.as_str()).map_err(io)? {
                Some(value) => decode::<Pairing>(value.value())?,
                None => return Err(StoreError::NotPaired(sidecar.clone())),
            };
            change(&mut pairing)?;
            let bytes = encode(&pairing)?;
            pairings.insert(sidecar.as_str(), bytes.as_slice()).map_err(io)?;
            Ok(())
        })
    }

    /// One change: its rows and the next generation in one commit, then the anchor, then readers.
    fn write(
        &self,
        job: impl FnOnce(&redb::WriteTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let _one = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.database.begin_write().map_err(io)?;
        if let Err(error) = job(&transaction) {
            transaction.abort().map_err(io)?;
            return Err(error);
        }
        let generation = self.place.advance(&transaction)?;
        transaction.commit().map_err(io)?;
        self.place.write_anchor(generation)?;
        self.refresh()
    }

    fn refresh(&self) -> Result<(), StoreError> {
        let transaction = self.database.begin_read().map_err(io)?;
        let mut pairings = Vec::new();
        match transaction.open_table(PAIRINGS) {
            Ok(table) => {
                for row in table.iter().map_err(io)? {
                    let (_, value) = row.map_err(io)?;
                    pairings.push(decode::<Pairing>(value.value())?);
                }
            }
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(io(error)),
        }
        self.directory.store(Arc::new(Directory::new(pairings)?));
        Ok(())
    }
}
