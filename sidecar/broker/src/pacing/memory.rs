//! When the paths with narrow limits were last asked, beyond the life of this process: IBKR counts
//! by address and knows nothing of our restarts, and one request too soon puts the address into its
//! penalty box for 15 minutes.
//!
//! A small file, replaced before each such request is sent; nothing in it is secret. A file that
//! isn't there is a first start. What can't be understood counts as asked just now.

use super::windows::Lane;
use crate::Clock;
use core::time::Duration;
use ibkr_agent_domain::Timestamp;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How much later than it was noted a request of a process that was killed may have arrived.
const LATE: Duration = Duration::from_secs(1);
/// A larger file isn't ours.
const MAX_BYTES: u64 = 16 * 1024;

/// The file.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    asked: Mutex<BTreeMap<Lane, Timestamp>>,
}

impl Memory {
    /// Opens a file, and how long ago each path in it was asked.
    pub(super) fn open(path: PathBuf, clock: Arc<dyn Clock>) -> (Self, BTreeMap<Lane, Duration>) {
        let now = clock.now();
        let asked = read(&path).unwrap_or_else(|error| {
            tracing::warn!(error = %error, "the times of earlier requests can't be read");
            Lane::narrow().map(|lane| (lane, now)).collect()
        });
        // One that lies ahead of a clock that was set back was just now.
        let age = |at: &Timestamp| now.since(*at).saturating_sub(LATE);
        let ages = asked.iter().map(|(lane, at)| (*lane, age(at))).collect();
        (Self { path, clock, asked: Mutex::new(asked) }, ages)
    }

    /// Notes a request that is about to be sent.
    pub(super) fn note(&self, lane: Lane) {
        if !lane.is_narrow() {
            return;
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(lane, self.clock.now());
        if let Err(error) = write(&self.path, &asked) {
            // Without it a restart may ask too soon; this process keeps the limits all the same.
            tracing::warn!(error = %error, "the times of requests can't be kept");
        }
    }
}

fn read(path: &Path) -> Result<BTreeMap<Lane, Timestamp>, Error> {
    match std::fs::metadata(path) {
        Ok(file) if file.len() > MAX_BYTES => return Err(ErrorKind::InvalidData.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Ok(_) | Err(_) => {}
    }
    let line = |line: &str| {
        let (name, millis) = line.split_once(' ')?;
        let lane = Lane::narrow().find(|lane| lane.name() == Some(name))?;
        Some((lane, Timestamp::from_millis(millis.parse().ok()?)))
    };
    let text = std::fs::read_to_string(path)?;
    let rows: Option<BTreeMap<Lane, Timestamp>> = text.lines().map(line).collect();
    rows.ok_or_else(|| ErrorKind::InvalidData.into())
}

fn write(path: &Path, asked: &BTreeMap<Lane, Timestamp>) -> Result<(), Error> {
    let line =
        |(lane, at): (&Lane, &Timestamp)| Some(format!("{} {}\n", lane.name()?, at.as_millis()));
    let text: String = asked.iter().filter_map(line).collect();
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, path)
}
