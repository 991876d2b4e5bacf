//! `docs/simulator.md` against the source: its table of what the client reads of IBKR's answers,
//! and sends in an order, names every such field, no other, and where IBKR shows each.
//!
//! The source is read as text: every struct that derives `Deserialize`, the figures of an account
//! summary that are picked by key, and the ticket. A form that this reader doesn't know fails.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a table or a source of another form stops the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A raw type and the name that one of its fields has on the wire.
type Field = (String, String);

const HEADING: &str = "## What the client reads, and where IBKR shows it";
/// Read where it is served; nothing depends on it.
const UNSHOWN: &str = "-";
/// Whose figures are picked out of a map by key.
const FIGURES: &str = "Figure";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// The modules that are compiled for tests only, by the name of their file.
fn test_modules(sources: &[(PathBuf, String)]) -> BTreeSet<String> {
    let declared = |source: &String| -> Vec<String> {
        let after = source.split("#[cfg(test)]\n").skip(1);
        let line = after.filter_map(|rest| rest.lines().next()?.strip_suffix(';'));
        line.filter_map(|line| Some(line.split_once("mod ")?.1.to_owned())).collect()
    };
    sources.iter().flat_map(|(_, source)| declared(source)).collect()
}

/// The part of a source that is no test: tests stand last.
fn product(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap().to_owned();
    words.fold(first, |all, word| {
        let (head, tail) = word.split_at(word.len().min(1));
        all + &head.to_uppercase() + tail
    })
}

/// The options of a `#[serde(…)]` line.
fn options(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix("#[serde(")?.strip_suffix(")]")?;
    Some(inner.split(',').map(str::trim).collect())
}

fn value<'a>(option: &'a str, name: &str) -> Option<&'a str> {
    let rest = option.strip_prefix(name)?.trim_start().strip_prefix('=')?;
    Some(rest.trim().trim_matches('"'))
}

/// The fields of every struct whose derives hold a word.
fn fields_of(source: &str, derive: &str) -> Vec<Field> {
    let mut lines = product(source).lines().map(str::trim);
    let mut fields = Vec::new();
    while let Some(line) = lines.next() {
        let derives = line.strip_prefix("#[derive(").and_then(|rest| rest.strip_suffix(")]"));
        if !derives.is_some_and(|all| all.split(", ").any(|one| one == derive)) {
            continue;
        }
        let mut is_camel = false;
        let name = loop {
            let line = lines.next().unwrap();
            if let Some(options) = options(line) {
                for option in options {
                    match (option, value(option, "rename_all")) {
                        ("default", _) => {}
                        (_, Some("camelCase")) => is_camel = true,
                        (_, _) => panic!("an option of a type that isn't understood: {line}"),
                    }
                }
            } else if let Some((_, name)) = line.split_once("struct ") {
                let name = name.strip_suffix(" {").unwrap_or_else(|| panic!("no fields: {line}"));
                break name.split('<').next().unwrap().to_owned();
            } else {
                assert!(line.starts_with("#[") || line.starts_with("//"), "{line}");
            }
        };
        let mut renamed = None;
        for line in lines.by_ref().take_while(|line| *line != "}") {
            if line.starts_with("//") || line.is_empty() {
            } else if let Some(options) = options(line) {
                for option in options {
                    if let Some(name) = value(option, "rename") {
                        renamed = Some(name.to_owned());
                    } else {
                        let is_plain = value(option, "skip_serializing_if").is_some();
                        assert!(is_plain, "an option of a field that isn't understood: {line}");
                    }
                }
            } else {
                let bare = line.strip_prefix("pub(crate) ").unwrap_or(line);
                let (own, _) = bare.split_once(": ").unwrap_or_else(|| panic!("no field: {line}"));
                let own = if is_camel { camel(own) } else { own.to_owned() };
                fields.push((name.clone(), renamed.take().unwrap_or(own)));
            }
        }
    }
    fields
}

/// The keys of the figures that `money("key")` picks out of a summary.
fn figures_of(source: &str) -> Vec<Field> {
    let keys = product(source).split("money(\"").skip(1);
    let keys = keys.map(|rest| rest.split('"').next().unwrap().to_owned());
    keys.map(|key| (FIGURES.to_owned(), key)).collect()
}

fn read_fields() -> BTreeSet<Field> {
    let mut all = BTreeSet::new();
    let sources = sources(&root());
    let tests = test_modules(&sources);
    let is_test = |path: &Path| {
        path.file_stem().is_some_and(|stem| tests.iter().any(|name| stem == name.as_str()))
    };
    for (path, source) in sources.into_iter().filter(|(path, _)| !is_test(path)) {
        all.extend(fields_of(&source, "Deserialize"));
        if path.ends_with("wire/ticket.rs") {
            all.extend(fields_of(&source, "Serialize"));
        }
        if path.ends_with("wire/portfolio.rs") {
            all.extend(figures_of(&source));
        }
    }
    all
}

/// The page's section: its named sources, and each row's cells.
fn section() -> (BTreeSet<String>, Vec<Vec<String>>) {
    let page = root().join("../../../docs/simulator.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split(HEADING).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut named = BTreeSet::new();
    for line in section.lines().filter(|line| line.starts_with("| ")) {
        let inner = line.trim_start_matches("| ").trim_end_matches(" |");
        let cells: Vec<String> = inner.split(" | ").map(|cell| cell.trim().to_owned()).collect();
        match cells.len() {
            2 => {
                named.insert(cells[0].clone());
            }
            6 => rows.push(cells),
            other => panic!("{other} cells: {line}"),
        }
    }
    let is_head = |row: &Vec<String>| row[0] == "type";
    rows.retain(|row| !is_head(row));
    (named, rows)
}

fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_table_names_every_field_that_the_client_reads_and_no_other() {
    let read = read_fields();
    assert!(read.len() > 250, "{} fields", read.len());
    let mut told: BTreeMap<Field, usize> = BTreeMap::new();
    for row in section().1 {
        let fields = names(&row[2]);
        assert!(!fields.is_empty(), "a row without a field: {row:?}");
        for field in fields {
            *told.entry((row[0].clone(), field)).or_default() += 1;
        }
    }
    let twice: Vec<_> = told.iter().filter(|(_, rows)| **rows > 1).collect();
    assert!(twice.is_empty(), "told more than once: {twice:?}");
    let told: BTreeSet<Field> = told.into_keys().collect();
    let missing: Vec<_> = read.difference(&told).collect();
    let gone: Vec<_> = told.difference(&read).collect();
    assert!(missing.is_empty(), "read, but not in the table of docs/simulator.md: {missing:?}");
    assert!(gone.is_empty(), "in the table of docs/simulator.md, but not read: {gone:?}");
}

#[test]
fn every_row_says_where_ibkr_shows_it_what_form_it_has_and_what_it_is_for() {
    let (named, rows) = section();
    for row in rows {
        for cell in &row {
            assert!(!cell.is_empty(), "an empty cell: {row:?}");
        }
        for source in row[5].split(' ') {
            assert!(named.contains(source), "{source} isn't a source of the page: {row:?}");
        }
        let is_unshown = row[5].split(' ').any(|source| source == UNSHOWN);
        let waits = row[4].contains("nothing depends on it");
        assert!(!is_unshown || waits, "shown nowhere, so nothing may depend on it: {row:?}");
    }
}

#[test]
fn a_field_that_is_added_renamed_or_hidden_is_seen() {
    let source = "#[derive(Deserialize, Default)]\n\
        #[serde(default, rename_all = \"camelCase\")]\n\
        pub(crate) struct Row {\n    /// Why.\n    total_size: Scalar,\n    \
        #[serde(rename = \"order_ref\")]\n    reference: Scalar,\n}\n\
        #[derive(Debug)]\nstruct Other {\n    a: u8,\n}\n";
    let field = |name: &str| ("Row".to_owned(), name.to_owned());
    assert_eq!(fields_of(source, "Deserialize"), [field("totalSize"), field("order_ref")]);
    let hidden = source.replace("rename = \"order_ref\"", "flatten");
    assert!(std::panic::catch_unwind(|| fields_of(&hidden, "Deserialize")).is_err());
    let tuple = "#[derive(Deserialize)]\nstruct Pair(u8, u8);\n";
    assert!(std::panic::catch_unwind(|| fields_of(tuple, "Deserialize")).is_err());
}
