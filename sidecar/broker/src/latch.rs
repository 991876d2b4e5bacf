//! The kill switch's last check: a latch in memory and a file that any terminal can write. The
//! default is halted.
//!
//! The file counts by being there, whatever it holds, so that it stops orders also when it can't be
//! read. Where nobody can say whether it is there, it is. What was seen once stays: taking the file
//! away resumes nothing.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A file of the state folder that halts by being there.
#[derive(Debug, Clone)]
pub struct Sentinel {
    folder: PathBuf,
    file: PathBuf,
    identity: (u64, u64),
}

impl Sentinel {
    /// The file of a name in a folder, which must be there.
    ///
    /// # Errors
    /// An I/O error of the folder.
    pub fn beside(folder: &Path, name: &str) -> std::io::Result<Self> {
        let identity = identity(&folder.metadata()?);
        Ok(Self { folder: folder.to_owned(), file: folder.join(name), identity })
    }

    /// Whether it halts: it is there, or whether it is there can't be told. In a folder that was
    /// moved away or replaced nobody could put it where it is looked for.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match self.file.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                !self.folder.metadata().is_ok_and(|found| identity(&found) == self.identity)
            }
            Ok(_) | Err(_) => true,
        }
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Whether trading is halted; cheap to clone, shared by all clones.
#[derive(Debug, Clone)]
pub struct HaltLatch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    halted: AtomicBool,
    /// How often it was halted: what began before a halt isn't sent after a resume.
    halts: AtomicU64,
    /// Whether the file was seen, until somebody asks.
    seen: AtomicBool,
    sentinel: Option<Sentinel>,
}

/// A moment between two halts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(u64);

impl Default for HaltLatch {
    fn default() -> Self {
        Self::new(None)
    }
}

impl HaltLatch {
    /// A halted latch that also looks for a file.
    #[must_use]
    pub fn new(sentinel: Option<Sentinel>) -> Self {
        Self(Arc::new(Inner {
            halted: AtomicBool::new(true),
            halts: AtomicU64::new(0),
            seen: AtomicBool::new(false),
            sentinel,
        }))
    }

    /// Stops new orders at once.
    pub fn halt(&self) {
        self.0.halted.store(true, Ordering::SeqCst);
        self.0.halts.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets orders pass again. Only for whoever has checked the operator's signature.
    pub fn resume(&self) {
        self.0.halted.store(false, Ordering::SeqCst);
    }

    /// Whether trading is halted. Looks for the file.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        if self.0.halted.load(Ordering::SeqCst) {
            return true;
        }
        let is_up = self.0.sentinel.as_ref().is_some_and(Sentinel::is_up);
        if is_up {
            self.0.seen.store(true, Ordering::SeqCst);
            self.halt();
        }
        is_up
    }

    /// Now, for [`HaltLatch::stops`].
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.0.halts.load(Ordering::SeqCst))
    }

    /// Whether what began at a moment may not be sent: trading is halted, or was since.
    #[must_use]
    pub fn stops(&self, began: Epoch) -> bool {
        self.is_halted() || self.epoch() != began
    }

    /// Whether the file was seen on the way of an order since this was asked last.
    #[must_use]
    pub fn take_seen(&self) -> bool {
        self.0.seen.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> HaltLatch {
        let latch = HaltLatch::new(Some(Sentinel::beside(folder, "halt").unwrap()));
        latch.resume();
        latch
    }

    #[test]
    fn a_file_halts_by_being_there_whatever_it_is_and_taking_it_away_resumes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("halt");
        let (nothing, link) = (folder.path().join("nothing"), &file);
        let makers: [&dyn Fn(); 4] = [
            &|| std::fs::write(&file, b"").unwrap(),
            &|| std::fs::write(&file, [0xff; 64]).unwrap(),
            &|| std::fs::create_dir(&file).unwrap(),
            &|| std::os::unix::fs::symlink(&nothing, link).unwrap(),
        ];
        for make in makers {
            let latch = open(folder.path());
            assert!(!latch.is_halted());
            make();
            assert!(latch.clone().is_halted());
            if file.symlink_metadata().unwrap().is_dir() {
                std::fs::remove_dir(&file).unwrap();
            } else {
                std::fs::remove_file(&file).unwrap();
            }
            assert!(latch.is_halted() && latch.take_seen() && !latch.take_seen());
        }
    }

    #[test]
    fn a_folder_where_the_file_can_no_longer_be_put_halts() {
        let base = tempfile::tempdir().unwrap();
        let state = base.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let (moved, replaced, unreadable) = (open(&state), open(&state), open(&state));
        std::fs::rename(&state, base.path().join("elsewhere")).unwrap();
        assert!(moved.is_halted());
        std::fs::create_dir(&state).unwrap();
        assert!(replaced.is_halted());
        std::fs::remove_dir(&state).unwrap();
        std::fs::write(&state, b"").unwrap();
        assert!(unreadable.is_halted());
    }

    #[test]
    fn what_began_before_a_halt_is_stopped_also_after_the_resume() {
        let latch = HaltLatch::default();
        latch.resume();
        let began = latch.epoch();
        assert!(!latch.stops(began));
        latch.halt();
        latch.resume();
        assert!(latch.stops(began) && !latch.stops(latch.epoch()));
    }
}
