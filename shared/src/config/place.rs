//! Which configuration file a program takes: the one that is named, else one that every terminal
//! of this user finds by itself.
//!
//! Order: `--config`, `IBKR_CONFIG`, `$XDG_CONFIG_HOME/ibkr-agent/config.yaml`,
//! `~/.config/ibkr-agent/config.yaml`; the same on every system. A file that nobody named must be
//! this user's (or root's) alone to write, and so must its folder: whoever can write it chooses the
//! broker and the limits.

use core::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The variable that names a file.
pub const VARIABLE: &str = "IBKR_CONFIG";

/// Below the configuration folder of the user.
const DEFAULT_FILE: &str = "ibkr-agent/config.yaml";

/// Bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;

/// Reads one variable of the environment; empty counts as absent.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Who said which file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// `--config`.
    Flag,
    /// `IBKR_CONFIG`.
    Variable,
    /// Nobody: it lies where every program of ours looks.
    Default,
}

impl FoundBy {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "--config",
            Self::Variable => VARIABLE,
            Self::Default => "default file",
        }
    }
}

/// A configuration file and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path; absolute, unless the working folder is gone.
    pub path: PathBuf,
    /// Who said so.
    pub by: FoundBy,
}

/// Why a file can't be taken.
#[derive(Debug)]
pub enum ReadProblem {
    /// It can't be read.
    Io(io::Error),
    /// A default file, or its folder, that somebody else can write.
    Open(PathBuf),
}

impl fmt::Display for ReadProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Open(path) => write!(f, "others can write {}", path.display()),
        }
    }
}

impl std::error::Error for ReadProblem {}

impl From<io::Error> for ReadProblem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Where the default file is, whether it exists or not; none without a home.
#[must_use]
pub fn default_file(environment: Environment<'_>) -> Option<PathBuf> {
    // The XDG rule: a relative value is invalid and must be ignored.
    let xdg = environment("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || environment("HOME").map(|home| PathBuf::from(home).join(".config"));
    xdg.or_else(home).map(|folder| folder.join(DEFAULT_FILE))
}

/// The file that a program takes, if there is one. A file that was named isn't looked at here, so
/// that a wrong name is an error and never another file.
#[must_use]
pub fn find(flag: Option<&Path>, environment: Environment<'_>) -> Option<Found> {
    let named = |path: &Path, by| Found {
        path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        by,
    };
    if let Some(path) = flag {
        return Some(named(path, FoundBy::Flag));
    }
    if let Some(path) = environment(VARIABLE) {
        return Some(named(Path::new(&path), FoundBy::Variable));
    }
    let path = default_file(environment)?;
    // Only a file that surely isn't there is passed over: one that can't be looked at is an error.
    let absent = path.symlink_metadata().is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    });
    (!absent).then_some(Found { path, by: FoundBy::Default })
}

/// Reads a file, a byte past `most` at most.
///
/// # Errors
/// [`ReadProblem`].
pub fn read(found: &Found, most: usize) -> Result<String, ReadProblem> {
    let file = File::open(&found.path)?;
    if found.by == FoundBy::Default {
        check_owned(&file.metadata()?, &found.path)?;
        let folder = found.path.parent().unwrap_or(Path::new("/"));
        check_owned(&folder.metadata()?, folder)?;
    }
    let most = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    file.take(most).read_to_string(&mut text)?;
    Ok(text)
}

fn check_owned(metadata: &Metadata, path: &Path) -> Result<(), ReadProblem> {
    let owner = metadata.uid();
    let ours = owner == 0 || owner == rustix::process::geteuid().as_raw();
    if ours && metadata.mode() & OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(ReadProblem::Open(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    fn found(flag: Option<&str>, variables: &[(&str, &str)]) -> Option<Found> {
        let look = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        find(flag.map(Path::new), &look)
    }

    /// A folder of its own below the system's, with a default file in it.
    fn world(name: &str) -> (PathBuf, PathBuf) {
        let id = uuid::Uuid::now_v7().simple().to_string();
        let base = std::env::temp_dir().join(format!("ibkr-agent-place-{name}-{id}"));
        let folder = base.join("ibkr-agent");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        let file = folder.join("config.yaml");
        std::fs::write(&file, "# nothing\n").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        (base, file)
    }

    #[test]
    fn the_flag_wins_then_the_variable_then_the_default_file() {
        let (base, file) = world("order");
        let xdg = base.to_str().unwrap();
        let all = [("IBKR_CONFIG", "/v.yaml"), ("XDG_CONFIG_HOME", xdg), ("HOME", "/nowhere")];
        let is = |path: &Path, by| Some(Found { path: path.to_owned(), by });
        assert_eq!(found(Some("/f.yaml"), &all), is(Path::new("/f.yaml"), FoundBy::Flag));
        assert_eq!(found(None, &all), is(Path::new("/v.yaml"), FoundBy::Variable));
        assert_eq!(found(None, &all[1..]), is(&file, FoundBy::Default));
        assert_eq!(found(None, &all[2..]), None);
        assert_eq!(found(None, &[("XDG_CONFIG_HOME", "relative")]), None);
        let home = default_file(&|name| (name == "HOME").then(|| "/h".to_owned()));
        assert_eq!(home, Some(PathBuf::from("/h/.config/ibkr-agent/config.yaml")));
        assert!(found(Some("r.yaml"), &[]).unwrap().path.is_absolute());
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_default_file_that_others_can_write_or_replace_is_refused() {
        let (base, file) = world("open");
        let taken = Found { path: file.clone(), by: FoundBy::Default };
        assert_eq!(read(&taken, 100).unwrap(), "# nothing\n");
        for mode in [0o620, 0o602, 0o666] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read(&taken, 100), Err(ReadProblem::Open(_))), "{mode:o}");
        }
        let named = Found { path: file.clone(), by: FoundBy::Flag };
        assert!(read(&named, 100).is_ok(), "who names a file has looked at it");
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let folder = file.parent().unwrap();
        std::fs::set_permissions(folder, Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(read(&taken, 100), Err(ReadProblem::Open(path)) if path == folder));
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_default_file_that_cannot_be_read_is_an_error_and_not_the_simulator() {
        let (base, file) = world("unread");
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("nowhere", &file).unwrap();
        let xdg = base.to_str().unwrap();
        let taken = found(None, &[("XDG_CONFIG_HOME", xdg)]).unwrap();
        assert!(matches!(read(&taken, 100), Err(ReadProblem::Io(_))));
        std::fs::remove_dir_all(base).unwrap();
    }
}
