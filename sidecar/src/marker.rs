//! The halt's file of a state folder, which halts by being there.
//!
//! Any terminal of the folder's user can write it, also while the sidecar hangs, has lost its
//! sockets or doesn't run: it is read last before an order is written (`broker::latch`), by the
//! running sidecar a few times a second, and at each start. It holds one JSON line for each halt,
//! `{"since":…,"reason":…}`; an empty one, made by hand, halts as well. Only a signed resume takes
//! it away, and only if it holds nothing that the sidecar hasn't taken in: a halt of that very
//! moment isn't lost. Taking it away by hand resumes nothing.

use crate::engine::FoundHalt;
use ibkr_agent_domain::{Timestamp, Untrusted};
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The file.
pub const HALT_FILE: &str = "halt";
/// What it is called while a resume takes it away.
const LEAVING_FILE: &str = "halt.leaving";
/// Most bytes that are read and written.
const MAX_BYTES: u64 = 16 * 1024;
/// Longest reason, in characters.
pub const MAX_REASON: usize = 200;
/// How often a halt is written anew when a resume takes the file away under it.
const TRIES: usize = 5;

/// What stands for a file, or a line of it, that says nothing.
const BY_HAND: &str = "by hand: the file halt was put into the state folder";
const UNREADABLE: &str = "the file halt in the state folder can't be read";
/// What stands for a file that was seen before an order and is gone.
const GONE: &str = "the file halt was there before an order, and is gone";

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    since: String,
    reason: String,
}

/// Writes a halt into a state folder, which must be there. An older halt stays in front of it.
/// What is there already and takes no line, such as a folder, halts as it is.
///
/// # Errors
/// An I/O error when nothing that halts is there afterwards.
pub fn write(folder: &Path, reason: &str, now: Timestamp) -> io::Result<()> {
    let path = folder.join(HALT_FILE);
    let mut failed = None;
    for _ in 0..TRIES {
        match append(&path, reason, now) {
            Ok(file) if is_same(&file, &path) => return sync(folder),
            Ok(_) => {}
            Err(error) => failed = Some(error),
        }
        if let (Some(error), Err(_)) = (&failed, path.symlink_metadata()) {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        if failed.is_some() {
            return Ok(());
        }
    }
    path.symlink_metadata().map(drop)
}

fn append(path: &Path, reason: &str, now: Timestamp) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let reason = Untrusted::bounded(reason, MAX_REASON).to_string();
    let mut line = serde_json::to_vec(&Line { since: now.to_string(), reason })?;
    line.push(b'\n');
    let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
    if file.metadata()?.len().saturating_add(length) <= MAX_BYTES {
        file.write_all(&line)?;
        file.sync_data()?;
    }
    Ok(file)
}

fn is_same(file: &File, path: &Path) -> bool {
    let one = |found: &Metadata| (found.dev(), found.ino());
    let (open, there) = (file.metadata(), path.symlink_metadata());
    open.is_ok_and(|open| there.is_ok_and(|there| one(&open) == one(&there)))
}

/// The file is there, so it halts; that a power cut could lose it changes nothing now.
fn sync(folder: &Path) -> io::Result<()> {
    drop(File::open(folder).and_then(|folder| folder.sync_all()));
    Ok(())
}

/// What tells one state of the file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape(u64, u64, u64, i64, i64);

impl Shape {
    fn of(found: &Metadata) -> Self {
        Self(found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec())
    }
}

/// The running sidecar's end of the file.
#[derive(Debug)]
pub(crate) struct Marker {
    folder: PathBuf,
    /// What was last taken in: none while the file isn't there.
    known: Option<(Option<Shape>, Vec<FoundHalt>)>,
}

impl Marker {
    pub(crate) fn new(folder: &Path) -> Self {
        // A resume that ended in the middle: whether it was recorded is for the log to say, and the
        // operator resumes again.
        let leaving = folder.join(LEAVING_FILE);
        if folder.join(HALT_FILE).symlink_metadata().is_err() {
            drop(std::fs::rename(&leaving, folder.join(HALT_FILE)));
        }
        Self { folder: folder.to_owned(), known: None }
    }

    /// Halts that weren't taken in yet. `was_seen`: an order met the file meanwhile.
    pub(crate) fn news(&mut self, was_seen: bool) -> Vec<FoundHalt> {
        let path = self.folder.join(HALT_FILE);
        let shape = match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let gone = FoundHalt { since: None, reason: GONE.to_owned() };
                let was_known = self.known.take().is_some();
                return if was_seen && !was_known { vec![gone] } else { Vec::new() };
            }
            Ok(found) => Some(Shape::of(&found)),
            Err(_) => None,
        };
        if self.known.as_ref().is_some_and(|(known, _)| *known == shape) {
            return Vec::new();
        }
        let found = read(&path);
        self.known = Some((shape, found.clone()));
        found
    }

    /// Takes the file away, if it holds nothing but what was taken in; whether none halts any more.
    pub(crate) fn take_away(&mut self) -> bool {
        let (path, leaving) = (self.folder.join(HALT_FILE), self.folder.join(LEAVING_FILE));
        let known = match self.known.take() {
            Some((_, known)) => known,
            None => Vec::new(),
        };
        match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return true,
            Ok(found) if found.is_file() || found.is_symlink() => {}
            Ok(_) | Err(_) => return false,
        }
        let is_known = |path: &Path| read(path) == known;
        if !is_known(&path) || std::fs::rename(&path, &leaving).is_err() {
            return false;
        }
        // Whoever wrote between the two looks is back where the next start and look find it.
        if !is_known(&leaving) {
            if std::fs::hard_link(&leaving, &path).is_ok() {
                drop(std::fs::remove_file(&leaving));
            }
            return false;
        }
        let is_away = std::fs::remove_file(&leaving).is_ok();
        is_away && path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }
}

/// Every halt that the file holds; one that stands for it where it can't be read.
fn read(path: &Path) -> Vec<FoundHalt> {
    let unreadable = || vec![FoundHalt { since: None, reason: UNREADABLE.to_owned() }];
    let Ok(found) = path.symlink_metadata() else {
        return unreadable();
    };
    let made = found.mtime().checked_mul(1000).map(Timestamp::from_millis);
    let mut bytes = Vec::new();
    let read = match found.is_file() {
        true => File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)),
        false => Err(ErrorKind::InvalidInput.into()),
    };
    if read.is_err() {
        return unreadable();
    }
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let parsed = lines.map(|line| {
        let line: Option<Line> = serde_json::from_slice(line).ok();
        let halt = line.and_then(|line| {
            let since = Timestamp::parse(&line.since).ok()?;
            let reason = Untrusted::bounded(&line.reason, MAX_REASON).to_string();
            Some(FoundHalt { since: Some(since), reason })
        });
        halt.unwrap_or_else(|| FoundHalt { since: made, reason: BY_HAND.to_owned() })
    });
    let mut halts: Vec<FoundHalt> = parsed.collect();
    if halts.is_empty() {
        halts.push(FoundHalt { since: made, reason: BY_HAND.to_owned() });
    }
    halts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(found: &[FoundHalt]) -> Vec<&str> {
        found.iter().map(|halt| halt.reason.as_str()).collect()
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000)
    }

    #[test]
    fn a_second_halt_stands_behind_the_first_and_each_is_news_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut marker = Marker::new(folder.path());
        assert!(marker.news(false).is_empty());
        write(folder.path(), "first", now()).unwrap();
        let found = marker.news(false);
        assert_eq!((reasons(&found), found[0].since), (vec!["first"], Some(now())));
        assert!(marker.news(true).is_empty());
        write(folder.path(), "second\nline", now()).unwrap();
        assert_eq!(reasons(&marker.news(false)), ["first", "second\\u{a}line"]);
    }

    #[test]
    fn whatever_lies_there_is_a_halt_also_when_it_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(HALT_FILE);
        for (bytes, expected) in
            [(&b""[..], BY_HAND), (b"stop!", BY_HAND), (&[0xff, 0, 0xff], BY_HAND)]
        {
            std::fs::write(&path, bytes).unwrap();
            let found = Marker::new(folder.path()).news(false);
            assert_eq!(reasons(&found), [expected], "{bytes:?}");
            assert!(found[0].since.is_some());
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let mut marker = Marker::new(folder.path());
        assert_eq!(reasons(&marker.news(false)), [UNREADABLE]);
        // It is nothing that we made, so it isn't ours to take away.
        assert!(!marker.take_away() && path.is_dir());
        // And a line more isn't needed: it halts.
        write(folder.path(), "more", now()).unwrap();
    }

    #[test]
    fn a_file_that_an_order_met_and_that_is_gone_is_a_halt() {
        let folder = tempfile::tempdir().unwrap();
        let mut marker = Marker::new(folder.path());
        assert_eq!(reasons(&marker.news(true)), [GONE]);
        write(folder.path(), "first", now()).unwrap();
        marker.news(false);
        std::fs::remove_file(folder.path().join(HALT_FILE)).unwrap();
        assert!(marker.news(true).is_empty(), "it was taken in");
    }

    #[test]
    fn only_a_file_that_was_taken_in_whole_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut marker = Marker::new(folder.path());
        assert!(marker.take_away(), "there is none");
        write(folder.path(), "first", now()).unwrap();
        marker.news(false);
        write(folder.path(), "in the last moment", now()).unwrap();
        assert!(!marker.take_away());
        assert_eq!(reasons(&marker.news(false)), ["first", "in the last moment"]);
        assert!(marker.take_away());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_resume_that_ended_in_the_middle_is_found_halted_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "first", now()).unwrap();
        let path = folder.path().join(HALT_FILE);
        std::fs::rename(&path, folder.path().join(LEAVING_FILE)).unwrap();
        assert_eq!(reasons(&Marker::new(folder.path()).news(false)), ["first"]);
        assert!(path.exists());
    }

    #[test]
    fn where_nothing_can_be_written_nobody_is_told_that_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        assert!(write(&absent, "first", now()).is_err());
        let file = folder.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(write(&file, "first", now()).is_err());
    }

    #[test]
    fn a_file_that_is_full_takes_no_more_and_still_halts() {
        let folder = tempfile::tempdir().unwrap();
        let reason = "x".repeat(MAX_REASON);
        for _ in 0..100 {
            write(folder.path(), &reason, now()).unwrap();
        }
        let length = folder.path().join(HALT_FILE).metadata().unwrap().len();
        assert!(length > MAX_BYTES / 2 && length <= MAX_BYTES, "{length}");
    }
}
