//! The state folder: who owns it, and whether it was used before.
//!
//! ```text
//! nothing of ours there → installation.new → store, anchor, emergency file, identity
//!                       → installation.json: from here on every one of them must be there
//! ```
//!
//! `installation.json` holds the keys and is the mark of a folder in use. While it is called
//! `installation.new` the first start isn't done, and what is missing may be made. Without either,
//! anything else of ours is what is left of an installation, and nothing starts over it. The folder
//! itself is locked for as long as a sidecar owns it.

use crate::secrets::{Secrets, SecretsError, make_folder};
use ibkr_agent_audit::History;
use ibkr_agent_domain::ErrorCode;
use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The store's file.
pub(crate) const STORE_FILE: &str = "store.redb";
/// The emergency file.
pub(crate) const EMERGENCY_FILE: &str = "emergency.log";
/// The simulator's open operator key.
pub(crate) const DEMO_KEY_FILE: &str = "operator-demo.key";
/// The operator's sealed key for a real broker.
pub(crate) const KEY_FILE: &str = "operator.key";
/// The secrets of a folder in use.
const INSTALLATION_FILE: &str = "installation.json";
/// The secrets of a folder whose first start isn't done.
const SETUP_FILE: &str = "installation.new";
/// Who owns the folder now; taken away at an orderly end.
const OWNER_FILE: &str = "owner.pid";
/// What no new folder holds. The simulator's own file isn't ours; the halt's file and the owner's
/// number say nothing of an installation: a new folder with the first starts, halted.
const REMAINS: [&str; 7] = [
    STORE_FILE,
    "store.anchor",
    EMERGENCY_FILE,
    "identity.pk8",
    "relay.json",
    DEMO_KEY_FILE,
    KEY_FILE,
];

/// Why a state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process owns it.
    #[error("another process owns the state folder {}{}", .0.display(), end_of(.0))]
    Locked(PathBuf),
    /// The keys are gone, and other files aren't.
    #[error(
        "installation.json is missing, but {} is there: put it back from a backup, or name \
         another state folder and keep this one",
        found.join(", ")
    )]
    Remains {
        /// What is there.
        found: Vec<&'static str>,
    },
    /// It can't be read.
    #[error("the state folder can't be used: {0}")]
    Io(#[from] std::io::Error),
    /// The keys can't be read.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
}

impl FolderError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Locked(_) => ErrorCode::StoreLocked,
            Self::Remains { .. } => ErrorCode::StateIncomplete,
            // Nothing was read, so nothing can be said about what stands there.
            Self::Io(_) | Self::Secrets(SecretsError::Io(_)) => ErrorCode::StoreUnavailable,
            Self::Secrets(SecretsError::Damaged | SecretsError::Random) => ErrorCode::StoreDamaged,
        }
    }
}

/// How to end the process that holds a folder, where its number is known.
#[must_use]
pub fn end_of(path: &Path) -> String {
    match holder(path) {
        Holder::Process { pid: Some(pid), .. } => {
            format!(": process {pid}; if it hangs, kill -9 {pid} ends it")
        }
        Holder::Process { pid: None, .. } | Holder::Nobody | Holder::Unclear(_) => String::new(),
    }
}

/// A state folder that this process owns.
#[derive(Debug)]
pub(crate) struct StateFolder {
    path: PathBuf,
    secrets: Secrets,
    history: History,
    _lock: File,
}

impl StateFolder {
    /// Makes or takes the folder.
    ///
    /// # Errors
    /// [`FolderError`].
    pub(crate) fn take(path: &Path) -> Result<Self, FolderError> {
        make_folder(path)?;
        let lock = lock_of(path, path)?;
        // An owner that is just ending, or of the version before, holds the store only. Nothing is
        // touched under its hands. The store's own lock is taken when it is opened.
        let store = path.join(STORE_FILE);
        if store.is_file() {
            drop(lock_of(&store, path)?);
        }
        let (secrets, history) = find(path)?;
        name_owner(path);
        Ok(Self { path: path.to_owned(), secrets, history, _lock: lock })
    }

    pub(crate) const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    pub(crate) const fn history(&self) -> History {
        self.history
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The first start is done: from here on every file must be there.
    ///
    /// # Errors
    /// An I/O error.
    pub(crate) fn complete(&mut self) -> std::io::Result<()> {
        if self.history == History::New {
            std::fs::rename(self.file(SETUP_FILE), self.file(INSTALLATION_FILE))?;
            File::open(&self.path)?.sync_all()?;
            self.history = History::Known;
        }
        Ok(())
    }
}

/// Whether a folder holds an installation of ours, or what is left of one. One that can't be looked
/// into counts as one.
#[must_use]
pub fn is_in_use(path: &Path) -> bool {
    let mut marks = [INSTALLATION_FILE, SETUP_FILE].into_iter().chain(REMAINS);
    marks.any(|name| match path.join(name).symlink_metadata() {
        Ok(_) => true,
        Err(error) => !matches!(
            error.kind(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
        ),
    })
}

impl Drop for StateFolder {
    fn drop(&mut self) {
        // One that stays is told from a living owner's by the lock.
        drop(std::fs::remove_file(self.file(OWNER_FILE)));
    }
}

/// Says who owns the folder, for whoever must end a process that hangs.
fn name_owner(path: &Path) {
    let (file, draft) = (path.join(OWNER_FILE), path.join("owner.new"));
    let text = format!("{}\n", std::process::id());
    let written = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &file));
    if written.is_err() {
        // Another process's number would be worse than none.
        drop(std::fs::remove_file(&file));
        tracing::warn!("sidecar.owner_not_named");
    }
}

/// Who holds a state folder.
#[derive(Debug)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A process.
    Process {
        /// Its number, where it can be found.
        pid: Option<u32>,
        /// Whether it is of a version that reads the halt's file before each order.
        reads_halt: bool,
    },
    /// It can't be found out.
    Unclear(std::io::Error),
}

/// Finds who holds a state folder, without touching anything in it.
#[must_use]
pub fn holder(path: &Path) -> Holder {
    let folder = match lock_of(path, path) {
        Ok(folder) => folder,
        Err(FolderError::Io(error)) => return Holder::Unclear(error),
        Err(_) => return held(path, path),
    };
    let store = path.join(STORE_FILE);
    // A version before this one held the store only.
    let found = match lock_of(&store, path) {
        Err(FolderError::Locked(_)) => held(&store, path),
        Ok(_) | Err(_) => Holder::Nobody,
    };
    drop(folder);
    found
}

fn held(locked: &Path, folder: &Path) -> Holder {
    let text = std::fs::read_to_string(folder.join(OWNER_FILE)).unwrap_or_default();
    let named: Option<u32> = text.trim().parse().ok();
    let system = system_holder(locked);
    // The system's word counts where it has one: the file may be another process's.
    let reads_halt = named.is_some() && system.is_none_or(|system| Some(system) == named);
    Holder::Process { pid: system.or(named), reads_halt }
}

/// Who holds the lock of a file, by Linux's table of locks.
fn system_holder(path: &Path) -> Option<u32> {
    let inode = path.metadata().ok()?.ino();
    holder_in(&std::fs::read_to_string("/proc/locks").ok()?, inode)
}

/// The holder of an inode's whole-file lock, if just one file of that number is locked.
fn holder_in(table: &str, inode: u64) -> Option<u32> {
    let mut holders = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = words.as_slice() else {
            return None;
        };
        (file.rsplit(':').next()?.parse() == Ok(inode)).then(|| pid.parse().ok())?
    });
    let pid = holders.next()?;
    // A process of another container has no number here.
    (holders.all(|other| other == pid) && pid != 0).then_some(pid)
}

/// Begins an installation for a verb that makes keys before the first start; nothing to do in a
/// folder that has begun.
///
/// # Errors
/// [`FolderError`].
pub fn begin(path: &Path) -> Result<(), FolderError> {
    make_folder(path)?;
    find(path).map(drop)
}

fn lock_of(path: &Path, folder: &Path) -> Result<File, FolderError> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FolderError::Locked(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn find(path: &Path) -> Result<(Secrets, History), FolderError> {
    if let Some(secrets) = Secrets::load(&path.join(INSTALLATION_FILE))? {
        return Ok((secrets, History::Known));
    }
    let setup = path.join(SETUP_FILE);
    let found: Vec<&str> =
        REMAINS.into_iter().filter(|name| path.join(name).symlink_metadata().is_ok()).collect();
    match Secrets::load(&setup) {
        Ok(Some(secrets)) => return Ok((secrets, History::New)),
        // A start that ended while it wrote its very first file.
        Err(SecretsError::Damaged) if found.is_empty() => std::fs::remove_file(&setup)?,
        Err(error) => return Err(error.into()),
        Ok(None) => {}
    }
    if found.is_empty() {
        return Ok((Secrets::create(&setup)?, History::New));
    }
    Err(FolderError::Remains { found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibkr_agent_domain::Timestamp;

    #[test]
    fn a_new_folder_needs_nothing_and_one_with_remains_does_not_start() {
        let folder = tempfile::tempdir().unwrap();
        let taken = StateFolder::take(folder.path()).unwrap();
        assert_eq!(taken.history(), History::New);
        assert!(matches!(StateFolder::take(folder.path()), Err(FolderError::Locked(_))));
        drop(taken);
        // Until it is complete, the next start goes on with the same keys.
        let mut again = StateFolder::take(folder.path()).unwrap();
        assert_eq!(again.history(), History::New);
        let name = again.secrets().sidecar().clone();
        again.complete().unwrap();
        drop(again);
        let known = StateFolder::take(folder.path()).unwrap();
        assert_eq!((known.history(), known.secrets().sidecar()), (History::Known, &name));
        drop(known);
        std::fs::remove_file(folder.path().join(INSTALLATION_FILE)).unwrap();
        for name in REMAINS {
            std::fs::write(folder.path().join(name), b"x").unwrap();
            let refused = StateFolder::take(folder.path());
            assert!(
                matches!(&refused, Err(FolderError::Remains { found }) if found == &[name]),
                "{name}: {refused:?}"
            );
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
    }

    #[test]
    fn the_owner_is_named_while_it_lives_and_told_from_one_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let taken = StateFolder::take(folder.path()).unwrap();
        let own = std::process::id();
        let found = holder(folder.path());
        assert!(
            matches!(found, Holder::Process { pid: Some(pid), reads_halt: true } if pid == own),
            "{found:?}"
        );
        drop(taken);
        assert!(matches!(holder(folder.path()), Holder::Nobody));
        // What a crash leaves names nobody.
        std::fs::write(folder.path().join(OWNER_FILE), "1\n").unwrap();
        assert!(matches!(holder(folder.path()), Holder::Nobody));
        assert!(matches!(holder(&folder.path().join("absent")), Holder::Unclear(_)));
    }

    #[test]
    fn an_owner_of_an_older_version_is_not_said_to_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        StateFolder::take(folder.path()).unwrap().complete().unwrap();
        let store = File::create(folder.path().join(STORE_FILE)).unwrap();
        store.lock().unwrap();
        assert!(matches!(holder(folder.path()), Holder::Process { reads_halt: false, .. }));
    }

    #[test]
    fn the_systems_table_names_the_holder_of_one_file_only() {
        let table = "1: FLOCK  ADVISORY  WRITE 4242 08:01:77 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 7 08:01:78 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 1 08:01:79 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 2 08:02:79 0 EOF\n\
                     5: FLOCK  ADVISORY  WRITE 0 08:02:80 0 EOF\n";
        let found = [77, 78, 79, 80, 81].map(|inode| holder_in(table, inode));
        assert_eq!(found, [Some(4242), None, None, None, None]);
    }

    #[test]
    fn a_new_folder_in_which_somebody_halted_already_is_new() {
        let folder = tempfile::tempdir().unwrap();
        crate::marker::write(folder.path(), "before", Timestamp::from_millis(0)).unwrap();
        assert_eq!(StateFolder::take(folder.path()).unwrap().history(), History::New);
    }

    #[test]
    fn a_store_that_somebody_still_holds_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        StateFolder::take(folder.path()).unwrap().complete().unwrap();
        let store = File::create(folder.path().join(STORE_FILE)).unwrap();
        store.lock().unwrap();
        assert!(matches!(StateFolder::take(folder.path()), Err(FolderError::Locked(_))));
        drop(store);
        StateFolder::take(folder.path()).unwrap();
    }

    #[test]
    fn a_start_that_died_while_it_wrote_its_keys_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(SETUP_FILE), b"{\"ver").unwrap();
        assert_eq!(StateFolder::take(folder.path()).unwrap().history(), History::New);
        std::fs::write(folder.path().join(SETUP_FILE), b"").unwrap();
        std::fs::write(folder.path().join(STORE_FILE), b"x").unwrap();
        assert!(matches!(StateFolder::take(folder.path()), Err(FolderError::Secrets(_))));
    }
}
