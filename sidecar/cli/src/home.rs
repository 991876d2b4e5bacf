//! Where the state lives: one folder per domain, so that simulator and broker never share a file.
//!
//! Order: `--state-dir`, `IBKR_AGENT_HOME`, `$XDG_STATE_HOME/ibkr-agent`,
//! `~/.local/state/ibkr-agent`; below it `simulator/` or `broker/`. Folders that we make are 0700.

use crate::failure::Failure;
use ibkr_agent_domain::ErrorCode;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Reads one variable of the environment; empty counts as absent.
pub(crate) use ibkr_agent_protocol::config::place::Environment;

/// The base folder that this command line or the environment names, if one does.
pub(crate) fn named(
    flag: Option<&Path>,
    environment: Environment<'_>,
) -> Result<Option<PathBuf>, Failure> {
    let named =
        flag.map(Path::to_owned).or_else(|| environment("IBKR_AGENT_HOME").map(PathBuf::from));
    named.map(|folder| absolute(&folder)).transpose()
}

/// The base folder, before the domain is known.
pub(crate) fn base(flag: Option<&Path>, environment: Environment<'_>) -> Result<PathBuf, Failure> {
    if let Some(folder) = flag {
        return absolute(folder);
    }
    if let Some(folder) = environment("IBKR_AGENT_HOME") {
        return absolute(Path::new(&folder));
    }
    // The XDG rule: a relative value is invalid and must be ignored.
    let xdg = environment("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || environment("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    xdg.or_else(home).map(|folder| folder.join("ibkr-agent")).ok_or_else(|| {
        Failure::new(ErrorCode::ConfigInvalid, "neither HOME nor XDG_STATE_HOME is set")
            .next_step("Name the state folder with --state-dir or IBKR_AGENT_HOME.")
    })
}

/// Makes the folder of a domain, private to its owner, and gives its path.
pub(crate) fn prepare(base: &Path, domain: &str) -> Result<PathBuf, Failure> {
    let folder = base.join(domain);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| {
        let what = format!("the state folder {} can't be made", folder.display());
        unusable(&what, &error)
    })?;
    check_private(&folder)?;
    Ok(folder)
}

/// Refuses a folder that others may enter: it holds the audit log and keys.
fn check_private(folder: &Path) -> Result<(), Failure> {
    let metadata = folder.metadata().map_err(|error| {
        let what = format!("the state folder {} can't be read", folder.display());
        unusable(&what, &error)
    })?;
    if metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    // It may have been made by hand with the usual mask: shut it rather than complain, and
    // complain where it isn't ours to shut.
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(folder, private).map_err(|error| {
        let what = format!("the state folder {} is open to others", folder.display());
        unusable(&what, &error)
    })
}

fn unusable(what: &str, error: &std::io::Error) -> Failure {
    Failure::because(ErrorCode::StoreUnavailable, what, error)
        .next_step("Make the folder yours and writable, or name another with --state-dir.")
}

fn absolute(folder: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(folder).map_err(|error| {
        Failure::because(ErrorCode::ConfigInvalid, "the state folder has no usable path", &error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(flag: Option<&str>, variables: &[(&str, &str)]) -> Result<PathBuf, Failure> {
        let find = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        base(flag.map(Path::new), &find)
    }

    #[test]
    fn the_flag_wins_then_our_variable_then_xdg_then_home() {
        let all = [("IBKR_AGENT_HOME", "/a"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        let path = |text: &str| Ok(PathBuf::from(text));
        assert_eq!(chosen(Some("/f"), &all), path("/f"));
        assert_eq!(chosen(None, &all), path("/a"));
        assert_eq!(chosen(None, &all[1..]), path("/x/ibkr-agent"));
        assert_eq!(chosen(None, &all[2..]), path("/h/.local/state/ibkr-agent"));
        let relative = [("XDG_STATE_HOME", "x"), ("HOME", "/h")];
        assert_eq!(chosen(None, &relative), path("/h/.local/state/ibkr-agent"));
        assert_eq!(chosen(None, &[]).unwrap_err().exit_code(), 7);
    }

    #[test]
    fn the_folder_is_private_also_when_it_was_not() {
        let base = tempfile::tempdir().unwrap();
        let folder = prepare(base.path(), "simulator").unwrap();
        assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        prepare(base.path(), "simulator").unwrap();
        assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
        let in_a_file = prepare(Path::new("/dev/null"), "simulator").unwrap_err();
        assert_eq!(in_a_file.0.code, "STORE_UNAVAILABLE");
        assert!(in_a_file.0.user_action.contains("--state-dir"), "{in_a_file}");
    }
}
