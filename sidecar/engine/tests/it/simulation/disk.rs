//! A disk in memory, of which somebody can keep a copy and put it back.

use redb::StorageBackend;
use std::io::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard};

/// A handle of the disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Vec<u8>>>);

impl Disk {
    /// What is on it now.
    pub(super) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.bytes().clone())))
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().expect("nobody panicked")
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64> {
        u64::try_from(self.bytes().len()).map_err(Error::other)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).map_err(Error::other)?;
        let bytes = self.bytes();
        let found = bytes.get(start..start + out.len());
        out.copy_from_slice(found.ok_or_else(|| Error::other("read past the end"))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.bytes().resize(usize::try_from(len).map_err(Error::other)?, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let start = usize::try_from(offset).map_err(Error::other)?;
        let end = start + data.len();
        let mut bytes = self.bytes();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(data);
        Ok(())
    }
}
