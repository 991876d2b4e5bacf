//! The file that takes records of cancels and halts when the log can't be written.
//!
//! Preallocated, so that a full disk doesn't stop a cancel. Only [`RiskReducing`] values fit. The
//! records are folded into the log at the next start, in the order in which they were written.

use crate::batch::Recorded;
use crate::entry::{Entry, EventId};
use ibkr_agent_domain::{RiskReducing, Timestamp};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Size of the file in bytes: room for at least 60 records.
const SIZE: usize = 64 * 1024;

/// The emergency file of one sidecar. One owner writes.
#[derive(Debug)]
pub struct Emergency {
    file: File,
    used: usize,
    count: u64,
    account_key: zeroize::Zeroizing<Vec<u8>>,
}

impl Emergency {
    /// Opens or preallocates the file; returns the records that wait in it.
    ///
    /// # Errors
    /// An I/O error.
    pub fn open(path: &Path, account_key: &[u8]) -> std::io::Result<(Self, Vec<Entry>)> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut bytes = Vec::with_capacity(SIZE);
        let limit = u64::try_from(SIZE).unwrap_or(u64::MAX);
        std::io::Read::by_ref(&mut file).take(limit).read_to_end(&mut bytes)?;
        if bytes.len() < SIZE {
            bytes.resize(SIZE, 0);
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&bytes)?;
            file.sync_all()?;
        }
        let used =
            bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end.saturating_add(1));
        let (whole, rest) = bytes.split_at(used);
        // A torn last line is left out, since its effect was never permitted, and blanked, so that
        // the next record doesn't run into it.
        if rest.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(u64::try_from(used).map_err(std::io::Error::other)?))?;
            file.write_all(&vec![0_u8; rest.len()])?;
            file.sync_data()?;
        }
        let lines = whole.split(|byte| *byte == b'\n');
        let waiting: Vec<Entry> =
            lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let count = u64::try_from(waiting.len()).unwrap_or(u64::MAX);
        let account_key = zeroize::Zeroizing::new(account_key.to_vec());
        Ok((Self { file, used, count, account_key }, waiting))
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

    /// Empties the file after its records were folded into the log.
    ///
    /// # Errors
    /// An I/O error.
    pub fn clear(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&vec![0_u8; SIZE])?;
        self.file.sync_data()?;
        self.used = 0;
        self.count = 0;
        Ok(())
    }
}
