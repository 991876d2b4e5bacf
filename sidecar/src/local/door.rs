//! A private Unix socket: its folder, its permissions, and the check of who is at the other end.
//!
//! The folder is ours and 0700, the socket 0600 before it can be seen, and both ends compare the
//! peer's user with their own. A socket file that nobody listens at is replaced; one that somebody
//! listens at is left alone. What is said over the socket is no concern of this file.

use core::future::Future;
use core::time::Duration;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_protocol::service::ErrorBody;
use ibkr_agent_protocol::socket::{MAX_SOCKET_PATH, SocketAddress};
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long accepting rests after a failure, so that a lack of descriptors doesn't spin.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// How often a door looks whether its socket file is still its own.
const LOST_INTERVAL: Duration = Duration::from_secs(1);

/// How long connections may go on after shutdown began.
const DRAIN: Duration = Duration::from_secs(8);

/// Why a door can't be opened or entered.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The folder can't be made or made private.
    #[error("the folder {} can't be made private", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder isn't a folder, or belongs to somebody else.
    #[error("{} isn't a folder of this user", .0.display())]
    ForeignFolder(PathBuf),
    /// The path doesn't fit into a socket address.
    #[error("the path {} is longer than the {MAX_SOCKET_PATH} bytes of a socket's", .0.display())]
    PathTooLong(PathBuf),
    /// Somebody listens there already.
    #[error("another process listens at {}", .0.display())]
    InUse(PathBuf),
    /// Something else than a socket is there.
    #[error("{} isn't a socket", .0.display())]
    NotASocket(PathBuf),
    /// Nobody listens there.
    #[error("nobody listens at {}", .0.display())]
    Absent(PathBuf),
    /// The other end belongs to another user.
    #[error("the other end belongs to user {peer}, not to user {own}")]
    WrongUser {
        /// Its user.
        peer: u32,
        /// Ours.
        own: u32,
    },
    /// The socket failed.
    #[error("the socket {} failed", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<DoorError> for ErrorBody {
    fn from(error: DoorError) -> Self {
        let code = match &error {
            DoorError::Absent(_) | DoorError::Io { .. } => ErrorCode::SidecarUnavailable,
            DoorError::InUse(_) => ErrorCode::StoreLocked,
            DoorError::Folder { .. }
            | DoorError::ForeignFolder(_)
            | DoorError::PathTooLong(_)
            | DoorError::NotASocket(_)
            | DoorError::WrongUser { .. } => ErrorCode::ConfigInvalid,
        };
        Self::new(code, error.to_string())
    }
}

/// The user that this process acts as.
///
/// # Errors
/// When no socket can be made.
fn own_user() -> io::Result<u32> {
    let (one, _other) = UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
}

fn admit(stream: &UnixStream, own: u32, path: &Path) -> Result<(), DoorError> {
    let peer = stream.peer_cred().map_err(|source| io_error(path, source))?.uid();
    if peer == own { Ok(()) } else { Err(DoorError::WrongUser { peer, own }) }
}

fn address(path: &Path) -> Result<SocketAddress, DoorError> {
    SocketAddress::of(path).map_err(|source| {
        if source.kind() == io::ErrorKind::InvalidFilename {
            DoorError::PathTooLong(path.to_owned())
        } else {
            io_error(path, source)
        }
    })
}

fn io_error(path: &Path, source: io::Error) -> DoorError {
    DoorError::Io { path: path.to_owned(), source }
}

/// Connects to a door of the same user.
///
/// # Errors
/// [`DoorError`]: [`DoorError::Absent`] when nobody listens there.
pub async fn knock(path: &Path) -> Result<UnixStream, DoorError> {
    let own = own_user().map_err(|source| io_error(path, source))?;
    knock_as(path, own).await
}

async fn knock_as(path: &Path, own: u32) -> Result<UnixStream, DoorError> {
    let address = match address(path) {
        Ok(address) => address,
        Err(DoorError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(DoorError::Absent(path.to_owned()));
        }
        Err(error) => return Err(error),
    };
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(address.path()));
    let stream = match connecting.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error))
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Err(DoorError::Absent(path.to_owned()));
        }
        Ok(Err(source)) => return Err(io_error(path, source)),
        Err(_) => return Err(io_error(path, io::ErrorKind::TimedOut.into())),
    };
    admit(&stream, own, path)?;
    Ok(stream)
}

/// A socket that listens. Dropping it takes the socket file away, if it is still the same file.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    file: (u64, u64),
    own: u32,
}

impl Door {
    /// Opens a door in a folder, which is made private.
    ///
    /// # Errors
    /// [`DoorError`]: [`DoorError::InUse`] when somebody listens there already.
    pub async fn open(folder: &Path, name: &str) -> Result<Self, DoorError> {
        let path = folder.join(name);
        let own = own_user().map_err(|source| io_error(&path, source))?;
        private_folder(folder, own)?;
        match knock_as(&path, own).await {
            Err(DoorError::Absent(_)) => {}
            Ok(_) => return Err(DoorError::InUse(path)),
            // Only a queue that is full of callers answers so: somebody listens.
            Err(DoorError::Io { source, .. })
                if matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                return Err(DoorError::InUse(path));
            }
            Err(error) => return Err(error),
        }
        not_something_else(&path)?;
        Self::bind(folder, path, own)
    }

    /// Binds under another name first, so that the socket is private before it has its own.
    fn bind(folder: &Path, path: PathBuf, own: u32) -> Result<Self, DoorError> {
        let unique = uuid::Uuid::now_v7().simple().to_string();
        let suffix: String = unique.chars().rev().take(8).collect();
        let draft = folder.join(format!(".{suffix}"));
        let address = address(&draft)?;
        let bound = UnixListener::bind(address.path());
        let listener = bound.map_err(|source| io_error(&draft, source))?;
        let file = std::fs::set_permissions(&draft, Permissions::from_mode(0o600))
            .and_then(|()| std::fs::symlink_metadata(&draft))
            .and_then(|file| std::fs::rename(&draft, &path).map(|()| (file.dev(), file.ino())));
        match file {
            Ok(file) => Ok(Self { listener, path, file, own }),
            Err(source) => {
                // The draft is of no use to anybody; that it can't go away changes nothing.
                drop(std::fs::remove_file(&draft));
                Err(io_error(&path, source))
            }
        }
    }

    /// The next caller, of the same user.
    ///
    /// # Errors
    /// [`DoorError::WrongUser`] for somebody else, [`DoorError::Io`] when accepting fails. The door
    /// stays open either way.
    pub async fn accept(&self) -> Result<UnixStream, DoorError> {
        let accepted = self.listener.accept().await;
        let (stream, _) = accepted.map_err(|source| io_error(&self.path, source))?;
        admit(&stream, self.own, &self.path)?;
        Ok(stream)
    }

    /// Opens the door anew where somebody took its socket file away: who comes would find nobody,
    /// and could neither halt nor cancel.
    async fn open_again_if_lost(&mut self) {
        if self.is_there() {
            return;
        }
        let Some((folder, name)) = self.path.parent().zip(self.path.file_name()) else {
            return;
        };
        // A state folder that is gone isn't made anew.
        if !folder.parent().is_some_and(Path::is_dir) {
            return;
        }
        match Self::open(folder, &name.to_string_lossy()).await {
            Ok(door) => {
                tracing::warn!(door.path = %self.path.display(), "local.door_opened_again");
                *self = door;
            }
            Err(error) => {
                tracing::warn!(door.path = %self.path.display(), door.error = %error,
                    "local.door_lost");
            }
        }
    }

    fn is_there(&self) -> bool {
        std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.file)
    }

    /// Serves callers, at most `limit` at once, until `shutdown`; then closes the door, lets those
    /// inside finish for a bounded time, and returns.
    pub(crate) async fn serve<F, Fut>(
        mut self,
        limit: usize,
        shutdown: CancellationToken,
        inside: F,
    ) where
        F: Fn(UnixStream) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(limit));
        let callers = TaskTracker::new();
        let mut lost = tokio::time::interval(LOST_INTERVAL);
        lost.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = lost.tick() => {
                    self.open_again_if_lost().await;
                    continue;
                }
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok(stream) => match Arc::clone(&slots).try_acquire_owned() {
                    Ok(slot) => {
                        callers.spawn(hold(slot, inside(stream)));
                    }
                    Err(_) => {
                        tracing::warn!(door.path = %self.path.display(), door.limit = limit,
                            "a local connection was refused: too many are open");
                    }
                },
                Err(error) => {
                    tracing::warn!(door.path = %self.path.display(), door.error = %error,
                        "a local connection was refused");
                    if !matches!(error, DoorError::WrongUser { .. }) {
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                }
            }
        }
        let path = self.path.clone();
        drop(self);
        callers.close();
        if tokio::time::timeout(DRAIN, callers.wait()).await.is_err() {
            tracing::warn!(door.path = %path.display(),
                "local connections were cut: they didn't finish in time");
        }
    }
}

async fn hold(slot: OwnedSemaphorePermit, caller: impl Future<Output = ()>) {
    caller.await;
    drop(slot);
}

impl Drop for Door {
    fn drop(&mut self) {
        if self.is_there() {
            // A socket file that stays is replaced by the next one who opens the door.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

fn private_folder(folder: &Path, own: u32) -> Result<(), DoorError> {
    let failed = |source| DoorError::Folder { path: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let found = std::fs::symlink_metadata(folder).map_err(failed)?;
    if !found.is_dir() || found.uid() != own {
        return Err(DoorError::ForeignFolder(folder.to_owned()));
    }
    if found.mode() & 0o077 != 0 {
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

fn not_something_else(path: &Path) -> Result<(), DoorError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(()),
        Ok(_) => Err(DoorError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(io_error(path, source)),
    }
}

#[cfg(test)]
mod tests;
