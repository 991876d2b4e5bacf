//! The store's file, its lock, its permissions and the anchor beside it.
//!
//! The anchor names the store's id and the generation of its last change of pairings. It is
//! written after the commit, so a crash between the two leaves the store ahead, never behind.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _};
use serde::{Deserialize, Serialize};

use super::{META, StoreError, io};

const STORE_FILE: &str = "remote.redb";
const ANCHOR_FILE: &str = "remote.anchor";
const STORE_ID: &str = "store_id";
const GENERATION: &str = "generation";
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIR: u32 = 0o700;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Anchor {
    store_id: String,
    generation: u64,
}

/// Where the store is and which one it is.
#[derive(Debug)]
pub(super) struct Place {
    anchor: PathBuf,
    store_id: String,
}

impl Place {
    /// Counts one change in its own transaction.
    pub(super) fn advance(&self, transaction: &redb::WriteTransaction) -> Result<u64, StoreError> {
        let mut meta = transaction.open_table(META).map_err(io)?;
        let found = meta.get(GENERATION).map_err(io)?.map(|value| number(value.value()));
        let next = found.flatten().unwrap_or(0).saturating_add(1);
        meta.insert(GENERATION, next.to_be_bytes().as_slice()).map_err(io)?;
        Ok(next)
    }

    pub(super) fn write_anchor(&self, generation: u64) -> Result<(), StoreError> {
        let anchor = Anchor { store_id: self.store_id.clone(), generation };
        let text = serde_json::to_vec(&anchor).map_err(io)?;
        write_private(&self.anchor, &text).map_err(io)
    }
}

/// Opens or makes the store in a folder.
pub(super) fn open(state_dir: &Path) -> Result<(Database, Place), StoreError> {
    make_dir(state_dir).map_err(io)?;
    let path = state_dir.join(STORE_FILE);
    let anchor_path = state_dir.join(ANCHOR_FILE);
    let shown = path.display().to_string();
    let anchor = read_anchor(&anchor_path, &shown)?;
    let size = path.metadata().map_or(0, |metadata| metadata.len());
    if let Some(anchor) = anchor.as_ref().filter(|_| size == 0) {
        return Err(StoreError::Emptied { path: shown, expected: anchor.store_id.clone() });
    }
    let database = open_database(&path, &shown)?;
    let (found_id, generation) = identity(&database)?;
    let store_id = match (found_id, anchor) {
        (Some(found), Some(anchor)) if found == anchor.store_id => {
            if generation < anchor.generation {
                let expected = anchor.generation;
                return Err(StoreError::RolledBack { path: shown, found: generation, expected });
            }
            found
        }
        (_, Some(anchor)) => {
            return Err(StoreError::Emptied { path: shown, expected: anchor.store_id });
        }
        (Some(found), None) => found,
        (None, None) if size == 0 => name_store(&database)?,
        (None, None) => {
            return Err(StoreError::Damaged { path: shown, what: "it has no id".to_owned() });
        }
    };
    let place = Place { anchor: anchor_path, store_id };
    place.write_anchor(generation)?;
    Ok((database, place))
}

fn open_database(path: &Path, shown: &str) -> Result<Database, StoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .open(path)
        .map_err(io)?;
    file.set_permissions(Permissions::from_mode(PRIVATE_FILE)).map_err(io)?;
    let refused = |error: DatabaseError| {
        let path = shown.to_owned();
        if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
            StoreError::Locked { path }
        } else {
            StoreError::Damaged { path, what: error.to_string() }
        }
    };
    let backend = FileBackend::new(file).map_err(refused)?;
    Builder::new().create_with_backend(backend).map_err(refused)
}

fn identity(database: &Database) -> Result<(Option<String>, u64), StoreError> {
    let transaction = database.begin_read().map_err(io)?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok((None, 0)),
        Err(error) => return Err(io(error)),
    };
    let id = meta.get(STORE_ID).map_err(io)?;
    let id = id.map(|value| String::from_utf8_lossy(value.value()).into_owned());
    let generation = meta.get(GENERATION).map_err(io)?.and_then(|value| number(value.value()));
    Ok((id, generation.unwrap_or(0)))
}

fn name_store(database: &Database) -> Result<String, StoreError> {
    let id = uuid::Uuid::now_v7().to_string();
    let transaction = database.begin_write().map_err(io)?;
    {
        let mut meta = transaction.open_table(META).map_err(io)?;
        meta.insert(STORE_ID, id.as_bytes()).map_err(io)?;
    }
    transaction.commit().map_err(io)?;
    Ok(id)
}

fn read_anchor(path: &Path, shown: &str) -> Result<Option<Anchor>, StoreError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| StoreError::Damaged {
        path: shown.to_owned(),
        what: format!("its anchor can't be read: {error}"),
    })
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// Makes a private folder, or makes an existing one private.
pub(crate) fn make_dir(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(PRIVATE_DIR))
}

/// Makes an existing file private.
pub(crate) fn restrict(path: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(PRIVATE_FILE))
}

/// Replaces a file by a private one with other contents, durably and at once.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> std::io::Result<()> {
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
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}
