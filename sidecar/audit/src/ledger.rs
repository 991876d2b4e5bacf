//! The handle of the log and its database: open, transact, read.

use crate::anchor::{Anchor, Place};
use crate::batch::{BY_ACTOR, Batch, Commit, LEAVES, META, NODES, StoreFailure};
use crate::doubt::{Doubt, StateFile};
use crate::files::{is_empty, set_aside};
use crate::mark::{Generations, Witness};
use crate::snapshot::Snapshot;
use crate::writer::{Committed, Job, Message, Writer};
use ibkr_agent_domain::{AccountId, Actor, Decision, Door, Record, RecordKind, Timestamp};
use ibkr_agent_tlog::{Checkpoint, Frontier, Hash, Signer, Verifier, parse_note};
use redb::{Database, ReadableDatabase, ReadableTable};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use tokio::sync::{oneshot, watch};
use zeroize::Zeroizing;

/// The newest format version of the store, and that of a new one. An older store
/// opens; whoever keeps rows in it rewrites them and says so with [`Batch::set_format`].
pub const FORMAT: u8 = 2;

/// How to open a ledger.
#[derive(Debug)]
pub struct LedgerConfig {
    /// Where it lives; `None` keeps it in memory, for simulations and tests.
    pub path: Option<PathBuf>,
    /// The log's name in checkpoints, such as `ibkr-agent/<sidecar id>`.
    pub origin: String,
    /// Seed of the key that signs checkpoints.
    pub signing_seed: Zeroizing<[u8; 32]>,
    /// Key of the account hashes.
    pub account_key: Zeroizing<Vec<u8>>,
    /// Now, for the first record of a new log.
    pub now: Timestamp,
}

/// What is known of a state folder before its log is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// It is being set up: nothing needs to be there.
    New,
    /// It was used before: a store and an anchor must be there.
    Known,
}

/// Why a ledger can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("another process holds the store {}", .0.display())]
    Locked(PathBuf),
    /// The folder was used before, and its log is gone.
    #[error("the store {} is missing or empty, and no anchor stands beside it", .0.display())]
    Missing(PathBuf),
    /// The file is gone, empty, or older than the anchor beside it.
    #[error("the store has {found} records, but its anchor says it had {anchored}")]
    RolledBack {
        /// Records found.
        found: u64,
        /// Records that the anchor proves.
        anchored: u64,
    },
    /// The store's past differs from what the anchor proves.
    #[error("the store's records differ from what its anchor proves")]
    Forked,
    /// A newer program wrote it.
    #[error("the store has version {0}, newer than this program's {FORMAT}")]
    Newer(u8),
    /// The anchor file isn't a checkpoint signed by this log's key.
    #[error("the anchor file isn't signed by this log's key")]
    Anchor,
    /// It can't be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Files can't be read or written.
    #[error("the store's files can't be opened: {0}")]
    Io(#[from] std::io::Error),
}

impl From<StoreFailure> for OpenError {
    fn from(failure: StoreFailure) -> Self {
        match failure {
            StoreFailure::Database(text) => Self::Damaged(text),
            other @ (StoreFailure::Stopped | StoreFailure::LateRefusal | StoreFailure::Damaged) => {
                Self::Damaged(other.to_string())
            }
        }
    }
}

/// Why a transaction had no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactError<E> {
    /// The job's own precondition failed; nothing was written.
    #[error("a precondition failed")]
    Refused(E),
    /// The store failed; trading stops.
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// The newest committed state of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Number of records.
    pub size: u64,
    /// Root hash of the tree.
    pub root: Hash,
    /// The checkpoint, signed with the log's key (C2SP note).
    pub checkpoint: String,
}

/// A cheap handle of the ledger. The last one dropped ends the writer.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(crate) database: Arc<Database>,
    jobs: mpsc::Sender<Message>,
    writable: Arc<AtomicBool>,
    committed: watch::Receiver<Committed>,
    verifier: Verifier,
    account_key: Arc<Zeroizing<Vec<u8>>>,
}

impl Ledger {
    /// Opens or creates a ledger on its own: an absent anchor is made anew.
    ///
    /// # Errors
    /// [`OpenError`] when it is locked, damaged, emptied, older than its anchor or newer than us.
    pub fn open(config: LedgerConfig) -> Result<Self, OpenError> {
        let signer = signer_of(&config)?;
        let anchor_path = config.path.as_ref().map(|path| path.with_extension("anchor"));
        let anchor = match &anchor_path {
            Some(path) => Anchor::read(path, signer.verifier())?,
            None => Anchor::Missing,
        };
        if matches!(anchor, Anchor::Unreadable) {
            return Err(OpenError::Anchor);
        }
        let database = open_database(config.path.as_deref(), anchor.checkpoint())?;
        let place = anchor_path.map_or(Place::Nowhere, Place::Alone);
        Self::start(config, database, signer, anchor.checkpoint(), place)
    }

    /// Opens or creates a ledger in a state folder whose emergency file remembers it, and tells
    /// what doesn't fit. Nothing on disk vouches for what was found until [`Self::stamp`].
    ///
    /// # Errors
    /// [`OpenError`] as for [`Self::open`]; [`OpenError::Missing`] for a log that must be there.
    pub fn open_witnessed(
        config: LedgerConfig,
        witness: Witness,
        history: History,
    ) -> Result<(Self, Vec<Doubt>), OpenError> {
        let Some(path) = config.path.clone() else {
            return Err(OpenError::Io(std::io::Error::other("a witness needs a store on disk")));
        };
        let signer = signer_of(&config)?;
        let anchor_path = path.with_extension("anchor");
        let anchor = Anchor::read(&anchor_path, signer.verifier())?;
        if history == History::Known && anchor.checkpoint().is_none() && is_empty(&path) {
            return Err(OpenError::Missing(path));
        }
        let database = open_database(Some(&path), anchor.checkpoint())?;
        let generation = stored_generation(&database)?;
        let size = load_frontier(&database)?.size();
        if history == History::Known && size == 0 {
            return Err(OpenError::Missing(path));
        }
        let mut doubts = match (&anchor, history) {
            (Anchor::Found(_), _) | (Anchor::Missing, History::New) => Vec::new(),
            (Anchor::Missing, History::Known) => vec![Doubt::Missing(StateFile::Anchor)],
            (Anchor::Unreadable, _) => {
                set_aside(&anchor_path)?;
                vec![Doubt::Unreadable(StateFile::Anchor)]
            }
        };
        let found = Generations {
            origin: &config.origin,
            store: generation,
            anchor: anchor.generation(),
            emergency: witness.found.as_ref(),
            size,
        };
        doubts.extend(found.doubts());
        let newest = found.newest();
        let place = Place::Witnessed { path: anchor_path, witness, generation: newest, set: false };
        let ledger = Self::start(config, database, signer, anchor.checkpoint(), place)?;
        Ok((ledger, doubts))
    }

    /// Opens a ledger over a storage of the caller's, without an anchor: for simulated disks.
    ///
    /// # Errors
    /// [`OpenError`] as for [`Self::open`].
    #[doc(hidden)]
    pub fn open_over(
        config: LedgerConfig,
        storage: impl redb::StorageBackend,
    ) -> Result<Self, OpenError> {
        let signer = signer_of(&config)?;
        let database = Database::builder()
            .create_with_backend(storage)
            .map_err(|error| OpenError::Damaged(error.to_string()))?;
        Self::start(config, Arc::new(database), signer, None, Place::Nowhere)
    }

    fn start(
        config: LedgerConfig,
        database: Arc<Database>,
        signer: Signer,
        anchor: Option<&Checkpoint>,
        place: Place,
    ) -> Result<Self, OpenError> {
        prepare_tables(&database)?;
        let frontier = load_frontier(&database)?;
        check_anchor(&database, &frontier, anchor)?;
        let checkpoint = stored_checkpoint(&database)?;
        let is_new = frontier.size() == 0 && checkpoint.is_empty();
        let verifier = signer.verifier().clone();
        if !is_new {
            check_checkpoint(&checkpoint, &frontier, &verifier)?;
        }
        let (committed_sender, committed) =
            watch::channel(Committed { size: frontier.size(), root: frontier.root(), checkpoint });
        // Bounded by admission: every job belongs to a call in flight.
        let (jobs, receiver) = mpsc::channel();
        let writable = Arc::new(AtomicBool::new(true));
        let account_key = Arc::new(config.account_key);
        let writer = Writer {
            database: Arc::clone(&database),
            frontier,
            signer,
            origin: config.origin,
            account_key: Zeroizing::new(account_key.to_vec()),
            place,
            writable: Arc::clone(&writable),
            committed: committed_sender,
            next_batch: 1,
        };
        std::thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || writer.run(&receiver))?;
        let ledger = Self { database, jobs, writable, committed, verifier, account_key };
        if is_new {
            ledger.write_genesis(config.now)?;
        }
        Ok(ledger)
    }

    fn write_genesis(&self, now: Timestamp) -> Result<(), OpenError> {
        let (sender, receiver) = mpsc::channel();
        let record =
            Record::new(RecordKind::Genesis, Actor::System, Door::Internal, Decision::Stated);
        let job: Job = Box::new(move |batch| {
            let appended = batch.append(record, now).map(|_slot| ());
            batch.wrote = appended.is_err();
            Box::new(move |committed| {
                drop(sender.send(committed.and(appended)));
            })
        });
        let sent = self.jobs.send(Message::Job(job));
        sent.map_err(|_| OpenError::from(StoreFailure::Stopped))?;
        receiver.recv().map_err(|_| OpenError::from(StoreFailure::Stopped))??;
        Ok(())
    }

    /// Puts a job into the next batch at once, in the order of the calls of this function; the
    /// future waits until it is durable.
    ///
    /// The job checks its preconditions before its first write; an error after a write fails the
    /// whole batch and stops the store. Dropping the future doesn't withdraw the job.
    ///
    /// # Errors
    /// [`TransactError::Refused`] with the job's own error, [`TransactError::Store`] otherwise.
    pub fn transact<R, E, J>(
        &self,
        job: J,
    ) -> impl Future<Output = Result<(R, Commit), TransactError<E>>> + Send + use<R, E, J>
    where
        J: FnOnce(&mut Batch<'_>) -> Result<R, TransactError<E>> + Send + 'static,
        R: Send + 'static,
        E: Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |batch| {
            let result = job(batch);
            if result.is_ok() {
                batch.wrote = false;
            }
            Box::new(move |committed: Result<u64, StoreFailure>| {
                let answer = match (committed, result) {
                    (Ok(batch), Ok(value)) => Ok((value, Commit { batch })),
                    (_, Err(error)) => Err(error),
                    (Err(failure), Ok(_)) => Err(TransactError::Store(failure)),
                };
                // A caller that no longer waits doesn't undo what is committed.
                drop(sender.send(answer));
            })
        });
        let sent = self.jobs.send(Message::Job(job)).is_ok();
        async move {
            let stopped = || TransactError::Store(StoreFailure::Stopped);
            if !sent {
                return Err(stopped());
            }
            receiver.await.map_err(|_| stopped())?
        }
    }

    /// Begins a new generation: from here on store, anchor and emergency file vouch for each
    /// other. To be called when what an opening found has been recorded, and at an orderly end.
    ///
    /// # Errors
    /// [`StoreFailure`] when a file can't be written; the store has stopped then.
    pub async fn stamp(&self) -> Result<(), StoreFailure> {
        let (sender, receiver) = oneshot::channel();
        self.jobs.send(Message::Stamp(sender)).map_err(|_| StoreFailure::Stopped)?;
        receiver.await.map_err(|_| StoreFailure::Stopped)?
    }

    /// A consistent view of everything committed so far.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn snapshot(&self) -> Result<Snapshot, StoreFailure> {
        Ok(Snapshot { txn: self.database.begin_read()? })
    }

    /// Whether writes are still accepted.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Acquire)
    }

    /// The newest committed state.
    #[must_use]
    pub fn head(&self) -> Head {
        let committed = self.committed.borrow().clone();
        Head { size: committed.size, root: committed.root, checkpoint: committed.checkpoint }
    }

    /// Waits until the log holds more than `size` records; `None` when it ends before.
    pub async fn grown_past(&self, size: u64) -> Option<Head> {
        let mut committed = self.committed.clone();
        committed.wait_for(|committed| committed.size > size).await.ok()?;
        Some(self.head())
    }

    /// The public key that checkpoints are signed with.
    #[must_use]
    pub const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The keyed hash under which an account stands in the log.
    #[must_use]
    pub fn account_hash(&self, account: &AccountId) -> String {
        crate::entry::account_hash(&self.account_key, account)
    }
}

/// A store that no process runs on, opened to be looked at. It needs no key.
pub struct StoreFile(Opened);

impl core::fmt::Debug for StoreFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("StoreFile").finish_non_exhaustive()
    }
}

enum Opened {
    Sound(redb::ReadOnlyDatabase),
    Repaired(Database),
}

impl StoreFile {
    /// Opens the file. One that its last process left in a hurry is put in order first, as any
    /// start would.
    ///
    /// # Errors
    /// [`StoreFailure`] when it isn't there or is in use.
    pub fn open(path: &Path) -> Result<Self, StoreFailure> {
        let failed = |error: redb::DatabaseError| StoreFailure::Database(error.to_string());
        match redb::ReadOnlyDatabase::open(path) {
            Ok(database) => Ok(Self(Opened::Sound(database))),
            Err(redb::DatabaseError::RepairAborted) => Database::open(path)
                .map(|database| Self(Opened::Repaired(database)))
                .map_err(failed),
            Err(error) => Err(failed(error)),
        }
    }

    /// A view of it, good for as long as this value lives.
    ///
    /// # Errors
    /// [`StoreFailure`] when the database fails.
    pub fn snapshot(&self) -> Result<Snapshot, StoreFailure> {
        let txn = match &self.0 {
            Opened::Sound(database) => database.begin_read()?,
            Opened::Repaired(database) => database.begin_read()?,
        };
        Ok(Snapshot { txn })
    }
}

fn signer_of(config: &LedgerConfig) -> Result<Signer, OpenError> {
    Signer::from_seed(&config.origin, &config.signing_seed)
        .map_err(|error| OpenError::Damaged(error.to_string()))
}

/// The generation that the store was last stamped with; zero without one.
fn stored_generation(database: &Database) -> Result<u64, OpenError> {
    let txn = database.begin_read().map_err(StoreFailure::from)?;
    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(0),
        Err(error) => return Err(StoreFailure::from(error).into()),
    };
    let Some(value) = meta.get("generation").map_err(StoreFailure::from)? else {
        return Ok(0);
    };
    let bytes = <[u8; 8]>::try_from(value.value());
    bytes.map(u64::from_be_bytes).map_err(|_| OpenError::Damaged("generation".to_owned()))
}

fn open_database(
    path: Option<&Path>,
    anchor: Option<&Checkpoint>,
) -> Result<Arc<Database>, OpenError> {
    let Some(path) = path else {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().create_with_backend(backend);
        return database.map(Arc::new).map_err(|error| OpenError::Damaged(error.to_string()));
    };
    if let (true, Some(anchor)) = (is_empty(path), anchor) {
        return Err(OpenError::RolledBack { found: 0, anchored: anchor.size() });
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let opened = redb::backends::FileBackend::new(file)
        .and_then(|backend| Database::builder().create_with_backend(backend));
    match opened {
        Ok(database) => Ok(Arc::new(database)),
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => Err(OpenError::Locked(path.to_owned())),
        Err(error) => Err(OpenError::Damaged(error.to_string())),
    }
}

fn prepare_tables(database: &Database) -> Result<(), OpenError> {
    let txn = database.begin_write().map_err(StoreFailure::from)?;
    {
        txn.open_table(LEAVES).map_err(StoreFailure::from)?;
        txn.open_table(NODES).map_err(StoreFailure::from)?;
        txn.open_table(BY_ACTOR).map_err(StoreFailure::from)?;
        let mut meta = txn.open_table(META).map_err(StoreFailure::from)?;
        let found = meta.get("version").map_err(StoreFailure::from)?;
        let found = found.map(|guard| guard.value().first().copied().unwrap_or(u8::MAX));
        match found {
            Some(version) if version > FORMAT => return Err(OpenError::Newer(version)),
            Some(_) => {}
            None => {
                let version: &[u8] = &[FORMAT];
                meta.insert("version", version).map_err(StoreFailure::from)?;
            }
        }
    }
    txn.commit().map_err(StoreFailure::from)?;
    Ok(())
}

fn load_frontier(database: &Database) -> Result<Frontier, OpenError> {
    let txn = database.begin_read().map_err(StoreFailure::from)?;
    let snapshot = Snapshot { txn };
    let leaves = match snapshot.txn.open_table(LEAVES) {
        Ok(leaves) => leaves,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Frontier::new()),
        Err(error) => return Err(StoreFailure::from(error).into()),
    };
    let last = leaves.last().map_err(StoreFailure::from)?;
    let size = last.map_or(0, |(index, _)| index.value().saturating_add(1));
    Frontier::from_source(size, &snapshot).map_err(|error| OpenError::Damaged(error.to_string()))
}

fn check_anchor(
    database: &Database,
    frontier: &Frontier,
    anchor: Option<&Checkpoint>,
) -> Result<(), OpenError> {
    let Some(anchor) = anchor else { return Ok(()) };
    if frontier.size() < anchor.size() {
        let found = frontier.size();
        return Err(OpenError::RolledBack { found, anchored: anchor.size() });
    }
    let snapshot = Snapshot { txn: database.begin_read().map_err(StoreFailure::from)? };
    let then = Frontier::from_source(anchor.size(), &snapshot)
        .map_err(|error| OpenError::Damaged(error.to_string()))?;
    if then.root() == anchor.root() { Ok(()) } else { Err(OpenError::Forked) }
}

/// The stored checkpoint covers exactly what is stored: they are committed together. Without this
/// a log that was cut would be signed anew by the next record.
fn check_checkpoint(text: &str, frontier: &Frontier, verifier: &Verifier) -> Result<(), OpenError> {
    let damaged = |what: &str| OpenError::Damaged(what.to_owned());
    let unsigned = || damaged("the checkpoint isn't signed by the log's key");
    let note = parse_note(text.as_bytes()).map_err(|_| unsigned())?;
    note.verify_by(verifier).map_err(|_| unsigned())?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|_| unsigned())?;
    if checkpoint.size() == frontier.size() && checkpoint.root() == frontier.root() {
        Ok(())
    } else {
        Err(damaged("the records aren't those that the stored checkpoint covers"))
    }
}

fn stored_checkpoint(database: &Database) -> Result<String, OpenError> {
    let txn = database.begin_read().map_err(StoreFailure::from)?;
    let meta = txn.open_table(META).map_err(StoreFailure::from)?;
    let value = meta.get("checkpoint").map_err(StoreFailure::from)?;
    let bytes = value.map(|guard| guard.value().to_vec()).unwrap_or_default();
    String::from_utf8(bytes).map_err(|_| OpenError::Damaged("checkpoint".to_owned()))
}
