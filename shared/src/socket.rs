//! The address of a Unix socket, whose path may be longer than an address holds.
//!
//! A socket's address has room for about a hundred bytes, and a state folder may lie deeper than
//! that. Where the system shows a process its open folders as files (Linux: `/proc/self/fd`), a
//! socket is reached through its folder, opened for as long as the address is used.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Longest path in an address, in bytes: the smallest `sun_path` in use, less its closing zero.
pub const MAX_SOCKET_PATH: usize = 103;

/// Where a socket can be bound or connected to. Keep it until that is done.
#[derive(Debug)]
pub struct SocketAddress {
    path: PathBuf,
    /// Holds the folder that `path` goes through.
    _folder: Option<File>,
}

impl SocketAddress {
    /// The address of the socket at a path.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidFilename`] when the path fits into no address; what opening its
    /// folder says.
    pub fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= MAX_SOCKET_PATH {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        Self::through_its_folder(path)
    }

    #[cfg(target_os = "linux")]
    fn through_its_folder(path: &Path) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        let too_long = || io::Error::from(io::ErrorKind::InvalidFilename);
        let (folder, name) = path.parent().zip(path.file_name()).ok_or_else(too_long)?;
        let folder = File::open(folder)?;
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        if short.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(too_long());
        }
        Ok(Self { path: short, _folder: Some(folder) })
    }

    #[cfg(not(target_os = "linux"))]
    fn through_its_folder(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::InvalidFilename.into())
    }

    /// What to bind or to connect to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
