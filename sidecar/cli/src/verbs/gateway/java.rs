//! Java, which the gateway needs and which its user installs: where it is and how old.

use crate::home::Environment;
use crate::verbs::doctor::report::Finding;
use ibkr_agent_domain::ErrorCode;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

const CHECK: &str = "gateway.java";
/// The oldest that runs the gateway.
const OLDEST: u32 = 8;
/// Time for `java -version`; a cold Java on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most that is read of what it says.
const MAX_OUTPUT: u64 = 16 * 1024;
/// Most folders of `PATH` that are looked into.
const MAX_FOLDERS: usize = 200;
const INSTALL: &str = "Install a Java runtime, such as the package openjdk-17-jre-headless or \
    temurin, or point JAVA_HOME at one.";

/// Finds Java as the gateway's own script would, with `JAVA_HOME` first.
pub(super) async fn look(environment: Environment<'_>) -> (Option<PathBuf>, Finding) {
    let home = environment("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    let path = environment("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).take(MAX_FOLDERS).map(|folder| folder.join("java"));
    let on_path = on_path.filter(|program| program.is_absolute());
    let Some(program) = home.iter().cloned().chain(on_path).find(|program| can_run(program)) else {
        let looked = match &home {
            Some(home) => format!("neither {} nor PATH ({path}) has it", home.display()),
            None => format!("JAVA_HOME isn't set and PATH ({path}) doesn't have it"),
        };
        let says = format!("Java wasn't found: {looked}.");
        return (
            None,
            Finding::fail(CHECK, ErrorCode::BrokerBackendUnavailable, says).next(INSTALL),
        );
    };
    let shown = program.display();
    let failed = |says: String| {
        (None, Finding::fail(CHECK, ErrorCode::BrokerBackendUnavailable, says).next(INSTALL))
    };
    let text = match version_text(&program).await {
        Ok(text) => text,
        Err(why) => return failed(format!("{shown} -version {why}.")),
    };
    match version(&text) {
        Some(found) if found >= OLDEST => {
            let says = format!("Java {found} at {shown}.");
            (Some(program), Finding::ok(CHECK, says))
        }
        Some(found) => failed(format!("{shown} is Java {found}; the gateway needs {OLDEST}.")),
        None => failed(format!("{shown} -version doesn't tell a version.")),
    }
}

fn can_run(program: &Path) -> bool {
    program
        .metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// What `java -version` says; it says it on standard error.
async fn version_text(program: &Path) -> Result<String, String> {
    let mut child = Command::new(program)
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("can't be started: {error}"))?;
    let talk = child.stderr.take();
    let ended = async {
        let mut text = Vec::new();
        if let Some(talk) = talk {
            let read = talk.take(MAX_OUTPUT).read_to_end(&mut text).await;
            read.map_err(|error| format!("can't be read: {error}"))?;
        }
        let status = child.wait().await.map_err(|error| format!("can't be awaited: {error}"))?;
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    };
    match tokio::time::timeout(PATIENCE, ended).await {
        Ok(Ok((status, text))) if status.success() => Ok(text),
        Ok(Ok((status, text))) => {
            let first = text.lines().next().unwrap_or_default();
            Err(format!("failed ({status}): {first}"))
        }
        Ok(Err(why)) => Err(why),
        Err(_) => Err(format!("didn't end in {} s", PATIENCE.as_secs())),
    }
}

/// The major version of `openjdk version "17.0.15" …` or `java version "1.8.0_292"`.
fn version(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("version \"")?;
    let (number, _) = rest.split_once('"')?;
    let mut parts = number.split(['.', '_', '-', '+']).map(str::parse::<u32>);
    match parts.next()?.ok()? {
        1 => parts.next()?.ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::report::Verdict;

    #[test]
    fn old_and_new_version_numbers_are_read() {
        let cases = [
            ("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK", Some(17)),
            ("java version \"1.8.0_292\"", Some(8)),
            ("java version \"1.7.0_80\"", Some(7)),
            ("openjdk version \"21-ea\" 2023-09-19", Some(21)),
            ("Picked up JAVA_TOOL_OPTIONS: -X\nopenjdk version \"11.0.2+9\"", Some(11)),
            ("java version \"nonsense\"", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(version(text), expected, "{text}");
        }
    }

    fn script(folder: &Path, text: &str) -> PathBuf {
        let bin = folder.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        super::super::write_script(&bin.join("java"), text);
        bin
    }

    #[tokio::test]
    async fn java_home_comes_before_path_and_what_was_tried_is_told() {
        let (new, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        script(new.path(), "echo 'openjdk version \"17.0.1\"' >&2");
        let bin = script(old.path(), "echo 'java version \"1.6.0_45\"' >&2");
        let home = new.path().to_str().unwrap().to_owned();
        let path = bin.to_str().unwrap().to_owned();

        let both = |name: &str| match name {
            "JAVA_HOME" => Some(home.clone()),
            "PATH" => Some(path.clone()),
            _ => None,
        };
        let (found, finding) = look(&both).await;
        assert!(found.unwrap().starts_with(new.path()), "{finding:?}");
        assert!(finding.says().starts_with("Java 17 at "), "{finding:?}");

        let only_path = |name: &str| both(name).filter(|_| name == "PATH");
        let (found, finding) = look(&only_path).await;
        assert!(found.is_none() && finding.says().contains("is Java 6"), "{finding:?}");

        let (found, finding) = look(&|_: &str| None).await;
        assert!(found.is_none() && finding.says().contains("JAVA_HOME isn't set"), "{finding:?}");
        assert_eq!(finding.verdict, Verdict::Fail(ErrorCode::BrokerBackendUnavailable));
    }

    #[tokio::test]
    async fn a_java_that_fails_says_so_in_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        script(folder.path(), "echo 'no Java runtime present' >&2; exit 2");
        let home = folder.path().to_str().unwrap().to_owned();
        let (found, finding) =
            look(&|name: &str| (name == "JAVA_HOME").then(|| home.clone())).await;
        assert!(found.is_none() && finding.says().contains("no Java runtime"), "{finding:?}");
    }
}
