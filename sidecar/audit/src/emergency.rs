//! The file that takes records of cancels and halts when the log can't be written.
//!
//! Preallocated, so that a full disk doesn't stop a cancel. Only [`RiskReducing`] values fit. The
//! records are folded into the log at the next start, in the order in which they were written.
//!
//! ```text
//! mark, 512 bytes (mark.rs) │ record \n │ record \n │ … │ zeros up to 64 KiB
//! ```
//!
//! A file that isn't so is moved aside under another name, never emptied, and is a doubt. The one
//! exception is a last record without its end: its effect was never permitted.

use crate::batch::Recorded;
use crate::doubt::{Doubt, StateFile};
use crate::entry::{Entry, EventId};
use crate::files::{set_aside, write_private};
use crate::mark::{MARK_BYTES, MARK_START, Mark, Witness};
use ibkr_agent_domain::{RiskReducing, Timestamp};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// Size of the file in bytes: room for at least 60 records.
const SIZE: usize = 64 * 1024;
/// How a record's line begins.
const RECORD_START: &[u8] = b"{\"v\":";
/// Longest record.
const MAX_RECORD: usize = 8 * 1024;

/// The emergency file of one sidecar. One owner writes.
#[derive(Debug)]
pub struct Emergency {
    file: File,
    used: usize,
    count: u64,
    account_key: zeroize::Zeroizing<Vec<u8>>,
}

/// An emergency file as it was found.
#[derive(Debug)]
pub struct FoundEmergency {
    /// The file, usable in any case.
    pub emergency: Emergency,
    /// Every record that could be read.
    pub waiting: Vec<Entry>,
    /// What the file says of the log; for [`crate::Ledger::open_witnessed`].
    pub witness: Witness,
    /// It was missing, or couldn't be read whole and was moved aside.
    pub doubt: Option<Doubt>,
}

/// What the bytes of a file hold.
struct Contents {
    mark: Option<Mark>,
    waiting: Vec<Entry>,
    /// Where the last whole line ends.
    end: usize,
    torn: bool,
    sound: bool,
}

impl Contents {
    fn parse(bytes: &[u8]) -> Self {
        let end =
            bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end.saturating_add(1));
        let (whole, rest) = bytes.split_at(end);
        let tail = trimmed(rest);
        let mut found = Self {
            mark: None,
            waiting: Vec::new(),
            end,
            torn: !tail.is_empty(),
            sound: bytes.len() == SIZE && (tail.is_empty() || is_torn_record(rest)),
        };
        let lines = whole.split(|byte| *byte == b'\n').map(trimmed);
        for (number, line) in lines.filter(|line| !line.is_empty()).enumerate() {
            if number == 0 && line.starts_with(MARK_START) {
                found.mark = serde_json::from_slice(line).ok();
                found.sound &= found.mark.is_some();
            } else if let Ok(entry) = serde_json::from_slice(line) {
                found.waiting.push(entry);
            } else {
                found.sound = false;
            }
        }
        found
    }
}

/// Without the zeros around it.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(start, |end| end.saturating_add(1));
    bytes.get(start..end).unwrap_or_default()
}

/// Whether what follows the last whole record is the beginning of another one.
fn is_torn_record(rest: &[u8]) -> bool {
    let start = rest.iter().position(|byte| *byte != 0).unwrap_or_default();
    let record = trimmed(rest);
    let known = RECORD_START.len().min(record.len());
    // The first record of a file without a mark follows the room for one.
    (start == 0 || start == MARK_BYTES)
        && record.len() <= MAX_RECORD
        && record.get(..known) == RECORD_START.get(..known)
        && !record.contains(&0)
}

impl Emergency {
    /// Opens or preallocates the file; returns the records that wait in it.
    ///
    /// # Errors
    /// An I/O error; also for a file that can't be read whole.
    pub fn open(path: &Path, account_key: &[u8]) -> std::io::Result<(Self, Vec<Entry>)> {
        let found = Self::find(path, account_key)?;
        match found.doubt {
            None | Some(Doubt::Missing(_)) => Ok((found.emergency, found.waiting)),
            Some(doubt) => Err(std::io::Error::other(doubt.to_string())),
        }
    }

    /// Opens the file, or puts a new one in the place of a missing or unreadable one.
    ///
    /// # Errors
    /// An I/O error.
    pub fn find(path: &Path, account_key: &[u8]) -> std::io::Result<FoundEmergency> {
        let bytes = match read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let contents = bytes.as_deref().map(Contents::parse);
        let doubt = match &contents {
            None => Some(Doubt::Missing(StateFile::Emergency)),
            Some(contents) if contents.sound => None,
            Some(_) => {
                set_aside(path)?;
                Some(Doubt::Unreadable(StateFile::Emergency))
            }
        };
        if doubt.is_some() {
            write_private(path, &vec![0_u8; SIZE])?;
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let witness = file.try_clone()?;
        let mut emergency = Self {
            file,
            used: MARK_BYTES,
            count: 0,
            account_key: zeroize::Zeroizing::new(account_key.to_vec()),
        };
        let mut found = contents.unwrap_or_else(|| Contents::parse(&vec![0_u8; SIZE]));
        if doubt.is_none() {
            emergency.used = found.end.max(MARK_BYTES);
            emergency.count = u64::try_from(found.waiting.len()).unwrap_or(u64::MAX);
            if found.torn {
                emergency.blank_from(found.end)?;
            }
        } else {
            found.mark = None;
        }
        let witness = Witness { file: witness, found: found.mark };
        Ok(FoundEmergency { emergency, waiting: found.waiting, witness, doubt })
    }

    /// Blanks the rest of the file, so that the next record doesn't run into what stands there.
    fn blank_from(&mut self, start: usize) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(u64::try_from(start).map_err(std::io::Error::other)?))?;
        self.file.write_all(&vec![0_u8; SIZE.saturating_sub(start)])?;
        self.file.sync_data()
    }

    /// Records a risk-reducing act, durably.
    ///
    /// # Errors
    /// An I/O error, also when the file is full.
    pub fn record<T: RiskReducing>(
        &mut self,
        value: T,
        now: Timestamp,
    ) -> std::io::Result<Recorded<T>> {
        let entry = Entry::new(self.count, now, &value.to_record(), &self.account_key);
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        let end = self.used.saturating_add(line.len());
        if end > SIZE {
            return Err(std::io::Error::other("the emergency file is full"));
        }
        let start = u64::try_from(self.used).map_err(std::io::Error::other)?;
        self.file.seek(SeekFrom::Start(start))?;
        self.file.write_all(&line)?;
        self.file.sync_data()?;
        self.used = end;
        let event = EventId::emergency(self.count);
        self.count = self.count.saturating_add(1);
        Ok(Recorded::emergency(value, event))
    }

    /// Empties the file, but for its mark, after its records were folded into the log.
    ///
    /// # Errors
    /// An I/O error.
    pub fn clear(&mut self) -> std::io::Result<()> {
        let mut start = vec![0_u8; MARK_START.len()];
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_exact(&mut start)?;
        self.blank_from(if start == MARK_START { MARK_BYTES } else { 0 })?;
        self.used = MARK_BYTES;
        self.count = 0;
        Ok(())
    }
}

/// The file's bytes, and one more than it may have if it has more.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(SIZE);
    let limit = u64::try_from(SIZE).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
