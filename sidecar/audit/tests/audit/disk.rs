//! A disk that dies: after a number of operations every one fails, and what was written since the
//! last sync survives sector by sector or not at all.

use super::support::Random;
use redb::StorageBackend;
use std::collections::BTreeSet;
use std::io::{Error, Result};
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

#[derive(Debug, Default)]
struct State {
    /// What survives for sure.
    durable: Vec<u8>,
    /// What is read.
    current: Vec<u8>,
    /// Sectors written since the last sync.
    unsynced: BTreeSet<usize>,
    /// Operations until the end; `None` never dies.
    left: Option<u64>,
}

/// A handle of the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// A disk that dies after some operations.
    pub(crate) fn dying_after(operations: u64) -> Self {
        let disk = Self::default();
        disk.0.lock().unwrap().left = Some(operations);
        disk
    }

    /// Every operation from here on fails.
    pub(crate) fn die(&self) {
        self.0.lock().unwrap().left = Some(0);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.lock().unwrap().left == Some(0)
    }

    /// What is found after the power is back: some of the unsynced sectors, in any order.
    pub(crate) fn after_the_loss(&self, random: &mut Random) -> Self {
        let state = self.0.lock().unwrap();
        let mut bytes = state.durable.clone();
        if state.current.len() > bytes.len() && random.below(2) == 0 {
            bytes.resize(state.current.len(), 0);
        }
        for sector in &state.unsynced {
            let (start, end) = (sector * SECTOR, (sector + 1) * SECTOR);
            let end = end.min(state.current.len()).min(bytes.len());
            if start < end && random.below(2) == 0 {
                bytes[start..end].copy_from_slice(&state.current[start..end]);
            }
        }
        let survivor = State { durable: bytes.clone(), current: bytes, ..State::default() };
        Self(Arc::new(Mutex::new(survivor)))
    }

    fn operate<T>(&self, operation: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.0.lock().unwrap();
        if let Some(left) = &mut state.left {
            if *left == 0 {
                return Err(Error::other("the power is gone"));
            }
            *left -= 1;
        }
        operation(&mut state)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64> {
        self.operate(|state| u64::try_from(state.current.len()).map_err(Error::other))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.operate(|state| {
            let start = usize::try_from(offset).map_err(Error::other)?;
            let found = state.current.get(start..start + out.len());
            out.copy_from_slice(found.ok_or_else(|| Error::other("read past the end"))?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.operate(|state| {
            state.current.resize(usize::try_from(len).map_err(Error::other)?, 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> Result<()> {
        self.operate(|state| {
            let length = state.current.len();
            state.durable.resize(length, 0);
            for sector in std::mem::take(&mut state.unsynced) {
                let (start, end) = (sector * SECTOR, ((sector + 1) * SECTOR).min(length));
                if start < end {
                    state.durable[start..end].copy_from_slice(&state.current[start..end]);
                }
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.operate(|state| {
            let start = usize::try_from(offset).map_err(Error::other)?;
            let end = start + data.len();
            if state.current.len() < end {
                state.current.resize(end, 0);
            }
            state.current[start..end].copy_from_slice(data);
            state.unsynced.extend(start / SECTOR..end.div_ceil(SECTOR));
            Ok(())
        })
    }
}
