//! The anchor beside the store: the newest checkpoint, signed, with the store's generation.
//!
//! The generation is an extension line of the checkpoint, so the log's key signs it too. An anchor
//! that can't be renewed stops the store: a stale one would let an older store pass later.

use crate::files::write_private;
use crate::ledger::OpenError;
use crate::mark::{Durable, Mark, Witness};
use crate::writer::Committed;
use ibkr_agent_tlog::{Checkpoint, Signer, Verifier, parse_note, sign_note};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// How the extension line begins.
const GENERATION: &str = "generation ";

/// An anchor as it was found.
#[derive(Debug)]
pub(crate) enum Anchor {
    /// There is none.
    Missing,
    /// It isn't a signed checkpoint.
    Unreadable,
    /// One that the log's key signed.
    Found(Checkpoint),
}

impl Anchor {
    pub(crate) fn read(path: &Path, verifier: &Verifier) -> Result<Self, OpenError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::Missing),
            Err(error) => return Err(error.into()),
        };
        let Ok(note) = parse_note(&bytes) else {
            return Ok(Self::Unreadable);
        };
        note.verify_by(verifier).map_err(|_| OpenError::Anchor)?;
        Checkpoint::parse(note.text()).map(Self::Found).map_err(|_| OpenError::Anchor)
    }

    pub(crate) const fn checkpoint(&self) -> Option<&Checkpoint> {
        match self {
            Self::Found(checkpoint) => Some(checkpoint),
            Self::Missing | Self::Unreadable => None,
        }
    }

    /// The generation that it names; zero for one from before there were any.
    pub(crate) fn generation(&self) -> Option<u64> {
        let lines = self.checkpoint()?.extensions();
        let named = lines.iter().find_map(|line| line.strip_prefix(GENERATION)?.parse().ok());
        Some(named.unwrap_or(0))
    }
}

/// Where the log's newest state is kept beside the store.
#[derive(Debug)]
pub(crate) enum Place {
    /// Nowhere: the store is in memory.
    Nowhere,
    /// In the anchor only.
    Alone(PathBuf),
    /// In the anchor and in the emergency file's mark.
    Witnessed {
        /// The anchor.
        path: PathBuf,
        /// The mark.
        witness: Witness,
        /// The newest generation that is known.
        generation: u64,
        /// Whether this run has begun a generation; before, nothing is renewed.
        set: bool,
    },
}

impl Place {
    /// Renews the anchor. One that fails is told to the mark, which needs no room on the disk.
    pub(crate) fn renew(
        &self,
        committed: &Committed,
        origin: &str,
        signer: &Signer,
    ) -> std::io::Result<()> {
        match self {
            Self::Nowhere | Self::Witnessed { set: false, .. } => Ok(()),
            Self::Alone(path) => write_private(path, committed.checkpoint.as_bytes()),
            Self::Witnessed { path, witness, generation, set: true } => {
                let text = signed(committed, origin, signer, *generation)?;
                let written = write_private(path, text.as_bytes());
                let mark = Mark {
                    mark: 1,
                    origin: origin.to_owned(),
                    generation: *generation,
                    next: None,
                    size: committed.size,
                    anchor_failed: written.is_err(),
                };
                let durable = if written.is_err() { Durable::Yes } else { Durable::No };
                let marked = witness.write(&mark, durable);
                written.and(marked)
            }
        }
    }

    /// Begins a generation; `store` writes its number into the store, durably.
    pub(crate) fn begin(
        &mut self,
        committed: &Committed,
        origin: &str,
        signer: &Signer,
        store: impl FnOnce(u64) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let Self::Witnessed { path, witness, generation, set } = self else {
            return self.renew(committed, origin, signer);
        };
        let next = generation.saturating_add(1);
        let mut mark = Mark {
            mark: 1,
            origin: origin.to_owned(),
            generation: *generation,
            next: Some(next),
            size: committed.size,
            anchor_failed: false,
        };
        witness.write(&mark, Durable::Yes)?;
        write_private(path, signed(committed, origin, signer, next)?.as_bytes())?;
        store(next)?;
        mark.generation = next;
        mark.next = None;
        witness.write(&mark, Durable::Yes)?;
        *generation = next;
        *set = true;
        Ok(())
    }
}

fn signed(
    committed: &Committed,
    origin: &str,
    signer: &Signer,
    generation: u64,
) -> std::io::Result<String> {
    let line = format!("{GENERATION}{generation}");
    let checkpoint =
        Checkpoint::with_extensions(origin, committed.size, committed.root, vec![line])
            .map_err(Error::other)?;
    let note = sign_note(&checkpoint.to_string(), &[signer]).map_err(Error::other)?;
    Ok(note.to_string())
}
