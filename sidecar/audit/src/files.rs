//! Files that are written in one step, and files that are kept under another name.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Most files of one name that are moved aside.
const MAX_ASIDE: u32 = 1000;

/// Writes a file of mode 0600 in one durable step: a reader sees the old or the new content.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file: File =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&partial, path)?;
    sync_folder_of(path)
}

/// Gives a file that can't be used another name in its folder; nothing of it is lost.
pub(crate) fn set_aside(path: &Path) -> std::io::Result<()> {
    for number in 1..=MAX_ASIDE {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".set-aside-{number}"));
        let aside = PathBuf::from(name);
        // Without a race: one process owns the folder.
        match std::fs::symlink_metadata(&aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::warn!(file = %aside.display(), "store.file_set_aside");
                std::fs::rename(path, &aside)?;
                return sync_folder_of(path);
            }
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other("too many files were moved aside; look at them and move them away"))
}

fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Whether a file is empty or not there.
pub(crate) fn is_empty(path: &Path) -> bool {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len()) == 0
}
