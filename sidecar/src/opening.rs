//! Opens a state folder: every file is read, held against what the others remember, and only then
//! taken into use.
//!
//! ```text
//! folder (lock, keys) → emergency file → ledger → identity, operator's key, pairing
//!   → one transaction: the emergency file's records, what was seen, a halt for what is in doubt
//!   → a new generation → the folder is complete
//! ```
//!
//! A file that nothing can go on without (the keys, the store) is an error. Any other that is
//! missing, unreadable, another installation's or older than the rest starts the sidecar halted,
//! until an operator signs the cause.

use crate::app::{SidecarConfig, StartError};
use crate::clock::Clock;
use crate::engine::{OperatorKeyEntry, Restored, store};
use crate::folder::{DEMO_KEY_FILE, EMERGENCY_FILE, KEY_FILE, STORE_FILE, StateFolder};
use crate::operator::OperatorDomain;
use crate::operator::keys::{KeyError, describe_key};
use crate::relay::{Credentials, CredentialsError, Identity};
use ibkr_agent_audit::{
    Batch, Doubt, Emergency, Entry, FoundEmergency, History, Ledger, LedgerConfig, Snapshot,
    StateFile, StoreFailure, Table, TransactError,
};
use ibkr_agent_domain::{Actor, Decision, Digest, Door, ErrorCode, Record, RecordKind, Timestamp};
use std::collections::BTreeMap;
use std::path::Path;

/// What other files were when last seen, by the names below.
const SEEN: Table = Table::new("files_seen");
const IDENTITY: &str = "identity";
const RELAY: &str = "relay";

/// A state folder in use.
#[derive(Debug)]
pub(crate) struct OpenState {
    pub(crate) folder: StateFolder,
    pub(crate) ledger: Ledger,
    pub(crate) emergency: Emergency,
    pub(crate) identity: Identity,
    pub(crate) restored: Restored,
}

/// Opens the folder.
///
/// # Errors
/// [`StartError`] when it is in use elsewhere, or what it can't go on without is gone.
pub(crate) async fn open(config: &SidecarConfig, clock: &Clock) -> Result<OpenState, StartError> {
    let mut folder = StateFolder::take(&config.state_dir)?;
    let history = folder.history();
    let account_key = folder.secrets().account_key();
    let FoundEmergency { mut emergency, waiting, witness, doubt } =
        Emergency::find(&folder.file(EMERGENCY_FILE), &account_key)?;
    let mut doubts = Doubts::default();
    doubts.extend(doubt.filter(|_| history == History::Known));
    let now = clock.now().wall;
    let ledger_config = LedgerConfig {
        path: Some(folder.file(STORE_FILE)),
        origin: format!("ibkr-agent/{}", folder.secrets().sidecar()),
        signing_seed: folder.secrets().log_seed(),
        account_key,
        now,
    };
    let (ledger, found) = Ledger::open_witnessed(ledger_config, witness, history)?;
    doubts.extend(found);
    let snapshot = ledger.snapshot().map_err(|_| StartError::Restore)?;
    let recall = |name| seen(&snapshot, name).map_err(|_| StartError::Restore);
    let (identity, doubt) = identity(folder.path(), history, recall(IDENTITY)?.as_deref())?;
    doubts.extend(doubt);
    let (pairing, doubt) = pairing(folder.path(), recall(RELAY)?.as_deref())?;
    doubts.extend(doubt);
    let keys = store::enrolled_keys(&snapshot).map_err(|_| StartError::Restore)?;
    doubts.extend(operator_key(config, &keys)?);
    drop(snapshot);
    let folds = !waiting.is_empty();
    let files = [(IDENTITY, Some(identity.public_hex())), (RELAY, pairing)];
    let must_be_recorded = folds || !doubts.0.is_empty() || history == History::New;
    let recorded = record(&ledger, waiting, files, doubts, now).await;
    if recorded.is_err() && must_be_recorded {
        return Err(StartError::Unrecorded);
    }
    if folds {
        emergency.clear()?;
    }
    upgrade(&ledger, now).await;
    match ledger.stamp().await {
        Ok(()) => folder.complete()?,
        Err(_) if history == History::New => return Err(StartError::Unrecorded),
        // The log has stopped: nothing but cancels and halts passes, which a start must not cost.
        Err(error) => tracing::warn!(%error, "sidecar.starts_without_log"),
    }
    let snapshot = ledger.snapshot().map_err(|_| StartError::Restore)?;
    let restored = store::restore(&snapshot).map_err(|_| StartError::Restore)?;
    Ok(OpenState { folder, ledger, emergency, identity, restored })
}

/// Writes the rows of an older store as this version's. Where that can't be written, the log has
/// stopped and cancels still pass: what is read doesn't wait for it.
async fn upgrade(ledger: &Ledger, now: Timestamp) {
    let older = ledger.snapshot().and_then(|snapshot| store::is_older(&snapshot));
    if !older.unwrap_or(false) {
        return;
    }
    let done = ledger.transact::<(), (), _>(move |batch| Ok(store::upgrade(batch, now)?));
    match done.await {
        Ok(_) => tracing::info!("sidecar.store_upgraded"),
        Err(_) => tracing::warn!("sidecar.store_not_upgraded"),
    }
}

/// At an orderly end: remembers the files that change while it runs, and begins a generation, so
/// that a copy from before the end is told from what stands there.
pub(crate) async fn seal(folder: &StateFolder, ledger: &Ledger) {
    let pairing = pairing(folder.path(), None).ok().and_then(|(pairing, _)| pairing);
    let remembered =
        ledger.transact::<(), (), _>(move |batch| Ok(remember(batch, RELAY, pairing.as_deref())?));
    if remembered.await.is_err() || ledger.stamp().await.is_err() {
        tracing::warn!("sidecar.state_not_sealed");
    }
}

/// What a file was when last seen.
fn seen(snapshot: &Snapshot, file: &str) -> Result<Option<String>, StoreFailure> {
    let found = snapshot.get(SEEN, file.as_bytes())?;
    found.map(|text| String::from_utf8(text).map_err(|_| StoreFailure::Damaged)).transpose()
}

/// Remembers what a file is; `None` for one that isn't there.
fn remember(batch: &mut Batch<'_>, file: &str, text: Option<&str>) -> Result<(), StoreFailure> {
    match text {
        Some(text) => batch.put(SEEN, file.as_bytes(), text.as_bytes()),
        None => batch.delete(SEEN, file.as_bytes()),
    }
}

/// What is in doubt, once for each file.
#[derive(Debug, Default)]
struct Doubts(BTreeMap<StateFile, Doubt>);

impl Doubts {
    fn extend(&mut self, found: impl IntoIterator<Item = Doubt>) {
        for doubt in found {
            self.0.entry(doubt.file()).or_insert(doubt);
        }
    }

    /// The code, and each file with what is wrong: the text that an operator signs.
    fn cause(&self) -> Option<(ErrorCode, String)> {
        let codes = self.0.values().map(|doubt| doubt.code());
        // An older file weighs more: orders may be missing from the log.
        let code = codes.max_by_key(|code| *code == ErrorCode::StateRestored)?;
        let list: Vec<String> = self.0.values().map(Doubt::to_string).collect();
        Some((code, format!("{code}: {}", list.join(", "))))
    }

    fn record(&self, code: ErrorCode, cause: &str) -> Record {
        let mut record =
            Record::new(RecordKind::Halted, Actor::System, Door::Internal, Decision::Stated);
        record.codes.push(code);
        record.input = Some(Digest::of(cause.as_bytes()));
        let told = self.0.values().flat_map(|doubt| [doubt.file().as_str(), doubt.what()]);
        record.details.extend(told);
        record
    }
}

async fn record(
    ledger: &Ledger,
    waiting: Vec<Entry>,
    files: [(&'static str, Option<String>); 2],
    doubts: Doubts,
    now: Timestamp,
) -> Result<(), TransactError<()>> {
    let cause = doubts.cause();
    if let Some((_, cause)) = &cause {
        tracing::warn!(state.cause = %cause, "sidecar.starts_halted");
    }
    let job = ledger.transact(move |batch| {
        store::take_over(batch, waiting)?;
        for (name, text) in &files {
            remember(batch, name, text.as_deref())?;
        }
        if let Some((code, cause)) = &cause {
            store::halt_at_start(batch, cause, doubts.record(*code, cause), now)?;
        }
        Ok(())
    });
    job.await.map(drop)
}

/// The identity key: one that is missing is made anew, and is in doubt in a folder in use.
fn identity(
    folder: &Path,
    history: History,
    seen: Option<&str>,
) -> Result<(Identity, Option<Doubt>), StartError> {
    let found = Identity::load(folder)?;
    let is_missing = found.is_none() && history == History::Known;
    let identity = match found {
        Some(identity) => identity,
        None => Identity::load_or_create(folder)?,
    };
    let is_other = seen.is_some_and(|seen| seen != identity.public_hex());
    let doubt = match (is_missing, is_other) {
        (true, _) => Some(Doubt::Missing(StateFile::Identity)),
        (false, true) => Some(Doubt::Foreign(StateFile::Identity)),
        (false, false) => None,
    };
    Ok((identity, doubt))
}

/// The pairing: when its certificate was issued, to be remembered, and what is in doubt.
fn pairing(
    folder: &Path,
    seen: Option<&str>,
) -> Result<(Option<String>, Option<Doubt>), StartError> {
    let issued = match Credentials::load(folder) {
        Ok(credentials) => credentials.issued_unix(),
        Err(CredentialsError::NotPaired { .. }) => {
            return Ok((None, seen.map(|_| Doubt::Missing(StateFile::Relay))));
        }
        Err(CredentialsError::Damaged { .. } | CredentialsError::Url | CredentialsError::Key) => {
            return Ok((None, Some(Doubt::Unreadable(StateFile::Relay))));
        }
        Err(error @ CredentialsError::Io { .. }) => return Err(error.into()),
    };
    let newest: Option<u64> = seen.and_then(|seen| seen.parse().ok());
    let is_older = newest.is_some_and(|newest| issued < newest);
    Ok((Some(issued.to_string()), is_older.then_some(Doubt::Older(StateFile::Relay))))
}

/// The operator's key file against the enrolled keys. Without an enrolled key there is nothing to
/// compare, and nothing can be approved.
fn operator_key(
    config: &SidecarConfig,
    enrolled: &[OperatorKeyEntry],
) -> Result<Option<Doubt>, StartError> {
    if enrolled.is_empty() {
        return Ok(None);
    }
    let name = match config.domain {
        OperatorDomain::Simulator => DEMO_KEY_FILE,
        OperatorDomain::Broker => KEY_FILE,
    };
    let found = match describe_key(&config.state_dir.join(name)) {
        Ok(key) => key.public_key.to_string(),
        Err(KeyError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Some(Doubt::Missing(StateFile::OperatorKey)));
        }
        Err(KeyError::Format { .. } | KeyError::Damaged(_)) => {
            return Ok(Some(Doubt::Unreadable(StateFile::OperatorKey)));
        }
        // Told to whoever signs with it.
        Err(KeyError::Exposed(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let is_enrolled = enrolled.iter().any(|key| key.public_key == found);
    Ok((!is_enrolled).then_some(Doubt::Foreign(StateFile::OperatorKey)))
}
