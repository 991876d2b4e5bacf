//! Sabotage of `tidy`: a clean tree passes; each rule fires on its own breach, and on nothing near.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::tidy::{self, File, Rule, TidyError};

/// The rules that one file breaks, in the order found.
fn rules(name: &str, text: &str) -> Vec<Rule> {
    tidy::inspect(&File { name, text }).into_iter().map(|finding| finding.rule).collect()
}

/// A Rust file that opens as it should.
fn rust(body: &str) -> String {
    format!("//! What it is for.\n{body}\n")
}

fn member(dependencies: &str) -> String {
    format!("[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n\n{dependencies}\n")
}

#[test]
fn a_clean_tree_passes_and_says_how_much_it_read() {
    let tree = tempfile::tempdir().expect("folder");
    std::fs::write(tree.path().join("a.rs"), rust("fn a() {}")).expect("write");
    let summary = tidy::check(tree.path(), &[PathBuf::from("a.rs")]).expect("clean");
    assert_eq!(summary, "tidy: 1 files, ok");
}

#[test]
fn a_finding_names_file_line_and_rule() {
    let tree = tempfile::tempdir().expect("folder");
    std::fs::write(tree.path().join("a.rs"), rust("let a = 1; ")).expect("write");
    let error = tidy::check(tree.path(), &[PathBuf::from("a.rs")]).expect_err("untidy");
    assert!(error.to_string().contains("a.rs:2: white-space: "), "{error}");
}

#[test]
fn scanning_nothing_fails() {
    let tree = tempfile::tempdir().expect("folder");
    assert!(matches!(tidy::check(tree.path(), &[]), Err(TidyError::NoFiles)));
    let gone = [PathBuf::from("deleted.rs")];
    assert!(matches!(tidy::check(tree.path(), &gone), Err(TidyError::NoFiles)));
}

#[test]
fn only_tracked_files_are_read_and_a_tree_without_git_fails() {
    let tree = tempfile::tempdir().expect("folder");
    std::fs::write(tree.path().join("a.rs"), rust("")).expect("write");
    std::fs::write(tree.path().join("b.rs"), "fn untracked() {}\n").expect("write");
    assert!(matches!(tidy::run(tree.path()), Err(TidyError::Git(_))));
    git(tree.path(), &["init", "--quiet"]);
    assert!(matches!(tidy::run(tree.path()), Err(TidyError::NoFiles)));
    git(tree.path(), &["add", "a.rs"]);
    assert_eq!(tidy::run(tree.path()).expect("clean"), "tidy: 1 files, ok");
    git(tree.path(), &["add", "b.rs"]);
    assert!(matches!(tidy::run(tree.path()), Err(TidyError::Findings(_))));
}

fn git(folder: &Path, arguments: &[&str]) {
    let status = Command::new("git").args(arguments).current_dir(folder).status().expect("git");
    assert!(status.success());
}

#[test]
fn a_file_has_at_most_600_lines() {
    let lines = |count: usize| format!("//! Doc.\n{}", "//\n".repeat(count - 1));
    assert_eq!(rules("a.rs", &lines(600)), []);
    assert_eq!(rules("a.rs", &lines(601)), [Rule::FileLength]);
    assert_eq!(rules("a.md", &lines(601)), []);
}

#[test]
fn a_line_has_at_most_100_columns() {
    let line = |columns: usize| rust(&"é".repeat(columns));
    assert_eq!(rules("a.rs", &line(100)), []);
    assert_eq!(rules("a.rs", &line(101)), [Rule::LineLength]);
    assert_eq!(rules("a.py", &"x".repeat(101)), [Rule::LineLength]);
    assert_eq!(rules(".ci/run", &"x".repeat(101)), [Rule::LineLength]);
    let link = format!("// https://example.com/{}", "x".repeat(100));
    assert_eq!(rules("a.rs", &rust(&link)), []);
}

#[test]
fn a_wide_table_gives_its_reason_and_ends() {
    let row = "x".repeat(101);
    let open = "// tidy: wide table: one row per code";
    let end = "// tidy: end of table";
    assert_eq!(rules("a.rs", &rust(&format!("{open}\n{row}\n{end}"))), []);
    assert_eq!(rules("a.rs", &rust(&format!("{open}\n{end}\n{row}"))), [Rule::LineLength]);
    assert_eq!(rules("a.rs", &rust(&format!("{open}\n{row}"))), [Rule::LineLength]);
    let unreasoned = format!("// tidy: wide table:\n{row}\n{end}");
    assert_eq!(rules("a.rs", &rust(&unreasoned)), [Rule::LineLength]);
}

#[test]
fn a_rust_file_opens_with_its_purpose() {
    assert_eq!(rules("a.rs", "fn a() {}\n"), [Rule::ModuleDoc]);
    assert_eq!(rules("a.rs", "\n//! Late.\n"), [Rule::ModuleDoc]);
    assert_eq!(rules("a.rs", ""), [Rule::ModuleDoc]);
}

#[test]
fn leftovers_are_found() {
    let marks = [concat!("// TO", "DO: later"), concat!("// FIX", "ME"), concat!("to", "do!()")];
    for mark in marks {
        assert_eq!(rules("a.rs", &rust(mark)), [Rule::Leftover], "{mark}");
    }
    assert_eq!(rules("a.rs", &rust(concat!("unimple", "mented!()"))), [Rule::Leftover]);
    assert_eq!(rules("a.rs", &rust(concat!("#[ig", "nore = \"slow\"]"))), [Rule::Leftover]);
    assert_eq!(rules("a.sh", concat!("# TO", "DO\n")), [Rule::Leftover]);
    assert_eq!(rules("a.rs", &rust(concat!("// METO", "DOS"))), []);
}

#[test]
fn white_space_is_tidy() {
    assert_eq!(rules("a.rs", &rust("\tlet a;")), [Rule::WhiteSpace]);
    assert_eq!(rules("a.md", "word  \n"), [Rule::WhiteSpace]);
    assert_eq!(rules("a.md", "word\r\n"), [Rule::WhiteSpace]);
    assert_eq!(rules("tests/fail/a.stderr", "error:  \n"), []);
    assert_eq!(rules("vendor/a.min.js", "x \n"), []);
}

#[test]
fn hidden_characters_are_found_in_every_text_file() {
    for point in ['\u{202E}', '\u{200B}', '\u{2066}', '\u{FEFF}', '\u{1B}', '\u{7F}', '\u{E0041}'] {
        let text = format!("a{point}b\n");
        assert_eq!(rules("a.snap", &text), [Rule::HiddenCharacter], "{point:?}");
        assert_eq!(rules("fixtures/fuzz/corpus/text/a", &text), [], "{point:?} is fed to a fuzzer");
    }
    assert_eq!(rules("a.md", "naïve – “quoted” → ∅ 東京\n"), []);
}

#[test]
fn mod_files_are_refused() {
    assert_eq!(rules("src/engine/mod.rs", &rust("")), [Rule::ModFile]);
    assert_eq!(rules("src/engine/model.rs", &rust("")), []);
}

#[test]
fn a_member_crate_takes_the_workspace_lints() {
    assert_eq!(rules("a/Cargo.toml", &member("")), []);
    assert_eq!(rules("a/Cargo.toml", "[package]\nname = \"x\"\n"), [Rule::Lints]);
    let elsewhere = "[package]\nname = \"x\"\n\n[features]\nworkspace = true\n";
    assert!(rules("a/Cargo.toml", elsewhere).contains(&Rule::Lints));
    assert_eq!(rules("Cargo.toml", "[workspace]\nmembers = []\n"), []);
}

#[test]
fn a_dependency_takes_its_version_from_the_root_table() {
    let lawful = "[dependencies]\n# a = \"1\"\na.workspace = true\n\
                  b = { workspace = true, features = [\"x\"] }\n\n\
                  [dev-dependencies.c]\nworkspace = true\nfeatures = [\"y\"]\n";
    assert_eq!(rules("a/Cargo.toml", &member(lawful)), []);
    for section in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.build-dependencies"] {
        for line in ["a = \"1\"", "a = { version = \"1\" }", "a = { path = \"../a\" }"] {
            let text = member(&format!("[{section}]\n{line}"));
            assert_eq!(rules("a/Cargo.toml", &text), [Rule::RootTable], "{section} {line}");
        }
        let text = member(&format!("[{section}.a]\nversion = \"1\""));
        assert_eq!(rules("a/Cargo.toml", &text), [Rule::RootTable], "{section}.a");
    }
}

#[test]
fn lock_files_name_the_public_registries_only() {
    let cargo = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
    assert_eq!(rules("Cargo.lock", cargo), []);
    assert_eq!(rules("Cargo.lock", "source = \"git+https://x/y\"\n"), [Rule::LockSource]);
    let npm = concat!("\"resolved\": \"https://registry.np", "mjs.org/a/-/a-1.tgz\",\n");
    assert_eq!(rules("a/package-lock.json", npm), []);
    let mirror = "\"resolved\": \"https://mirror.example/a.tgz\",\n";
    assert_eq!(rules("a/package-lock.json", mirror), [Rule::LockSource]);
}

#[test]
fn only_the_printer_prints() {
    let print = rust(concat!("    print", "ln!(\"x\");"));
    assert_eq!(rules("remote/src/lib.rs", &print), [Rule::Printer]);
    assert_eq!(rules("remote/src/lib.rs", &rust(concat!("print", "!(\"x\");"))), [Rule::Printer]);
    for lawful in ["sidecar/cli/src/print.rs", "a/tests/b.rs", "a/examples/b.rs", "a/build.rs"] {
        assert_eq!(rules(lawful, &print), [], "{lawful}");
    }
    let harmless = [concat!("eprint", "ln!();"), concat!("/// print", "ln!();")];
    for line in harmless {
        assert_eq!(rules("remote/src/lib.rs", &rust(line)), [], "{line}");
    }
    let tests = rust(concat!("#[cfg(test)]\nmod tests { fn a() { print", "ln!() } }"));
    assert_eq!(rules("remote/src/lib.rs", &tests), []);
}

#[test]
fn pure_code_reads_no_clock() {
    let folders = ["shared/domain/src/a.rs", "sidecar/gates/src/a.rs", "shared/tlog/src/a.rs"];
    let engine = ["sidecar/engine/src/lib.rs", "sidecar/engine/src/submit.rs"];
    for name in folders.iter().chain(&engine) {
        for clock in [concat!("Instant", "::now()"), concat!("std::time::SystemTime", "::now()")] {
            assert_eq!(rules(name, &rust(&format!("let a = {clock};"))), [Rule::Clock], "{name}");
        }
        assert_eq!(rules(name, &rust(concat!("// no Instant", "::now here"))), [], "{name}");
    }
    let driver = rust(concat!("let a = Instant", "::now();"));
    for name in ["sidecar/src/driver.rs", "sidecar/engine/benches/history.rs"] {
        assert_eq!(rules(name, &driver), [], "{name}");
    }
}

#[test]
fn secrets_are_found_and_not_repeated() {
    let key = concat!("-----BE", "GIN EC PRIVATE ", "KEY-----\n");
    assert_eq!(rules("fixtures/a.pem", key), [Rule::Secret]);
    let token = format!("{}{}", concat!("AK", "IA"), "ABCDEFGHIJKLMNOP");
    let findings = tidy::inspect(&File { name: "a.yaml", text: &token });
    assert_eq!(findings.len(), 1);
    assert!(findings.iter().all(|finding| !finding.to_string().contains(&token)));
    assert_eq!(rules("a.md", concat!("AK", "IA is a prefix\n")), []);
    assert_eq!(rules("a.pem", "-----BEGIN CERTIFICATE-----\n"), []);
}

#[test]
fn machine_paths_are_found() {
    for line in [concat!("see /wo", "rk/main/x"), concat!("\"/ro", "ot/.cargo\"")] {
        assert_eq!(rules("a.md", line), [Rule::MachinePath], "{line}");
    }
    for line in [concat!("https://example.com/wo", "rk/x"), "/works/x", concat!("../wo", "rk/x")] {
        assert_eq!(rules("a.md", line), [], "{line}");
    }
}

#[test]
fn the_checker_keeps_its_own_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["src", "src/tidy", "tests"];
    let entries = folders.iter().flat_map(|folder| root.join(folder).read_dir().expect("folder"));
    let files = entries.map(|entry| entry.expect("entry").path());
    let files: Vec<PathBuf> = files
        .filter(|path| path.is_file())
        .map(|path| path.strip_prefix(root).expect("inside").to_path_buf())
        .collect();
    tidy::check(root, &files).unwrap_or_else(|error| panic!("{error}"));
}
