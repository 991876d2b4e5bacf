//! The folder into which a user unpacked IBKR's Client Portal Gateway: is everything there?
//!
//! Nothing is downloaded and nothing of it is part of this program.

use crate::verbs::doctor::report::Finding;
use ibkr_agent_domain::ErrorCode;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const CHECK: &str = "gateway.folder";
/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 1000;
/// Where a user gets it.
const GET_IT: &str = "Download the Client Portal Gateway from IBKR's Client Portal API page, \
    unpack it, and name the unpacked folder, the one with bin, dist and root, with --dir.";

/// Looks at the folder. Gives its absolute path when a gateway can be started from it.
pub(super) fn look(dir: &Path) -> (Option<PathBuf>, Finding) {
    let shown = dir.display();
    let Ok(root) = dir.canonicalize() else {
        let says = format!("{shown} doesn't exist or can't be entered.");
        return (None, Finding::fail(CHECK, ErrorCode::InputInvalid, says).next(GET_IT));
    };
    if root.is_file() {
        let says = format!("{shown} is a file, not the unpacked folder.");
        return (None, Finding::fail(CHECK, ErrorCode::InputInvalid, says).next(GET_IT));
    }
    let missing = missing(&root);
    if missing.is_empty() {
        let finding = match open_to_others(&root) {
            Some(path) => Finding::warn(
                CHECK,
                format!("Everything is there, but other users may change {}.", path.display()),
            )
            .next(
                "Take the right to write there from group and others: that program sees a login.",
            ),
            None => Finding::ok(CHECK, format!("{} is a Client Portal Gateway.", root.display())),
        };
        return (Some(root), finding);
    }
    let says = format!("{shown} has no {}.", missing.join(", no "));
    let inner = root.join("clientportal.gw");
    let next = if missing.len() > 1 && inner.is_dir() {
        format!("The gateway seems to be in {}: name that folder.", inner.display())
    } else {
        GET_IT.to_owned()
    };
    (None, Finding::fail(CHECK, ErrorCode::InputInvalid, says).next(next))
}

fn missing(root: &Path) -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !root.join("bin/run.sh").is_file() && !root.join("bin/run.bat").is_file() {
        missing.push("bin/run.sh or bin/run.bat");
    }
    if !has_jar(&root.join("dist"), "clientportal") {
        missing.push("dist/*clientportal*.jar");
    }
    if !has_jar(&root.join("build/lib/runtime"), "") {
        missing.push("build/lib/runtime/*.jar");
    }
    if !root.join("root/conf.yaml").is_file() {
        missing.push("root/conf.yaml");
    }
    missing
}

fn has_jar(folder: &Path, part: &str) -> bool {
    let Ok(entries) = folder.read_dir() else {
        return false;
    };
    entries.take(MAX_ENTRIES).flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_jar = Path::new(&*name).extension().is_some_and(|ending| ending == "jar");
        is_jar && name.contains(part)
    })
}

/// The first of the places that Java loads code or configuration from which others may write.
fn open_to_others(root: &Path) -> Option<PathBuf> {
    let places = ["", "dist", "build/lib/runtime", "root", "root/conf.yaml"];
    let is_open = |path: &PathBuf| {
        path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o022 != 0)
    };
    places.into_iter().map(|place| root.join(place)).find(is_open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::report::Verdict;

    fn file(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn what_is_missing_is_named_and_a_folder_too_high_is_noticed() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("clientportal.gw");
        let all = ["bin/run.sh", "dist/x.clientportal.gw.jar", "build/lib/runtime/a.jar"];
        for name in all.iter().chain(&["root/conf.yaml"]) {
            file(&root.join(name));
        }
        let (found, finding) = look(&root);
        assert_eq!(found.unwrap(), root.canonicalize().unwrap());
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");

        let (found, finding) = look(base.path());
        assert!(found.is_none() && format!("{finding:?}").contains("name that folder"));

        for name in all {
            std::fs::remove_file(root.join(name)).unwrap();
            let (found, finding) = look(&root);
            let folder = name.split('/').next().unwrap();
            assert!(found.is_none() && finding.says().contains(folder), "{finding:?}");
            file(&root.join(name));
        }
        let (found, finding) = look(&root.join("bin/run.sh"));
        assert!(found.is_none() && finding.says().contains("is a file"), "{finding:?}");
        let (found, finding) = look(&root.join("absent"));
        assert!(found.is_none() && finding.says().contains("doesn't exist"), "{finding:?}");
    }

    #[test]
    fn a_gateway_that_others_may_change_is_a_warning() {
        let base = tempfile::tempdir().unwrap();
        for name in ["bin/run.bat", "dist/clientportal.jar", "build/lib/runtime/a.jar"] {
            file(&base.path().join(name));
        }
        file(&base.path().join("root/conf.yaml"));
        let dist = base.path().join("dist");
        std::fs::set_permissions(&dist, std::fs::Permissions::from_mode(0o777)).unwrap();
        let (found, finding) = look(base.path());
        assert!(found.is_some());
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(finding.says().contains("dist"), "{finding:?}");
    }
}
