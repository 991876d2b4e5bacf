//! Sabotage of `docs`: a stale, missing or empty page must be told, and checking must not write.
#![cfg(unix)]
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;
use xtask::docs::{self, DocsError, Mode};

/// One test at a time: a child that another thread starts would inherit the script's open file, and
/// a program that somebody has open for writing can't be run.
static ONE: Mutex<()> = Mutex::new(());

/// A folder with a stand-in for the binary, which runs this shell script.
fn stand_in(script: &str) -> (TempDir, PathBuf, MutexGuard<'static, ()>) {
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("folder");
    let binary = folder.path().join("ibkr-agent");
    std::fs::write(&binary, format!("#!/bin/sh\n{script}\n")).expect("script");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&binary, mode).expect("mode");
    (folder, binary, guard)
}

#[test]
fn written_pages_pass_the_check_until_one_changes() {
    let (root, binary, _guard) = stand_in("echo \"page $2\"");
    docs::run_with(root.path(), &binary, Mode::Write).expect("written");
    docs::run_with(root.path(), &binary, Mode::Check).expect("same");
    let page = root.path().join("docs/reference/tools.md");
    assert_eq!(std::fs::read_to_string(&page).expect("page"), "page tools\n");

    std::fs::write(&page, "page edited\n").expect("edit");
    let error = docs::run_with(root.path(), &binary, Mode::Check).expect_err("stale");
    assert!(error.to_string().contains("tools.md: differs from line 1"), "{error}");
    assert_eq!(std::fs::read_to_string(&page).expect("page"), "page edited\n");
}

#[test]
fn a_missing_page_is_stale_and_checking_does_not_write_it() {
    let (root, binary, _guard) = stand_in("echo page");
    let error = docs::run_with(root.path(), &binary, Mode::Check).expect_err("missing");
    let DocsError::Stale(stale) = error else { panic!("{error}") };
    assert_eq!(stale.len(), docs::PAGES.len());
    assert!(!root.path().join("docs").exists());
}

#[test]
fn an_empty_page_is_an_error_in_both_modes() {
    let (root, binary, _guard) = stand_in("true");
    for mode in [Mode::Check, Mode::Write] {
        let error = docs::run_with(root.path(), &binary, mode).expect_err("empty");
        assert!(matches!(error, DocsError::BadPage(_)), "{error}");
    }
}

#[test]
fn a_failing_binary_is_told_in_its_own_words() {
    let (root, binary, _guard) = stand_in("echo broken catalogue >&2; exit 3");
    let error = docs::run_with(root.path(), &binary, Mode::Check).expect_err("failed");
    assert!(error.to_string().contains("docs tools failed: broken catalogue"), "{error}");
}
