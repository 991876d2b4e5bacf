//! Rules for every text file: hidden characters, white space, long lines, leftovers, secrets and
//! machine paths.
//!
//! A table whose rows would be harder to read when broken may stand between the comments
//! `// tidy: wide table: <reason>` and `// tidy: end of table`; only line length is spared there.
//!
//! Recorded data (snapshots, compiler output, minified vendor files) is exempt from the white-space
//! rules, never from those about hidden characters and secrets. What is fed to the fuzzers is
//! bytes, not text: only secrets and machine paths are looked for there.

use super::{File, Finding, Rule};

/// The longest line of code, in characters.
pub const MAX_COLUMNS: usize = 100;

/// Files whose white space people write.
const WRITTEN: &[&str] =
    &["rs", "toml", "md", "yml", "yaml", "json", "sh", "py", "mjs", "ts", "css", "html"];
/// Files that hold code, so that line length and leftovers count.
const CODE: &[&str] = &["rs", "sh", "py", "mjs", "ts"];
/// Opens a table with wide rows; a reason must follow.
const WIDE_TABLE: &str = "// tidy: wide table: ";
const END_OF_TABLE: &str = "// tidy: end of table";
/// Marks of unfinished work; each is split so that this line doesn't match itself.
const MARKERS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];
/// Leftovers that only Rust has.
const RUST_LEFTOVERS: &[&str] =
    &[concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ig", "nore")];
/// Folders at the root of a build machine that no file may name.
const MACHINE_ROOTS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];
/// Prefixes of well-known tokens, with the number of token characters that must follow.
const TOKENS: &[(&str, usize)] = &[
    (concat!("AK", "IA"), 16),
    (concat!("AS", "IA"), 16),
    (concat!("gh", "p_"), 36),
    (concat!("github", "_pat_"), 40),
    (concat!("xo", "xb-"), 20),
    (concat!("xo", "xp-"), 20),
    (concat!("sk", "-ant-"), 20),
    (concat!("np", "m_"), 36),
];

/// Bytes that are fed to the fuzzers.
const CORPUS: &str = "fixtures/fuzz/corpus/";

/// Every finding of the text rules in one file.
#[must_use]
pub fn inspect(file: &File<'_>) -> Vec<Finding> {
    let written = WRITTEN.contains(&file.extension()) && !file.base().contains(".min.");
    let code = CODE.contains(&file.extension()) || file.base() == "run";
    let is_text = !file.name.starts_with(CORPUS);
    let mut findings = Vec::new();
    let mut wide_since = None;
    for (number, line) in file.numbered() {
        match line.trim() {
            END_OF_TABLE => wide_since = None,
            trimmed if trimmed.starts_with(WIDE_TABLE) => wide_since = Some(number),
            _ => {}
        }
        let mut add = |rule, detail: String| findings.push(file.finding(number, rule, detail));
        let hidden = line.chars().find(|character| is_text && is_hidden(*character));
        if let Some(character) = hidden {
            let point = u32::from(character);
            add(Rule::HiddenCharacter, format!("U+{point:04X}"));
        }
        if is_text && (written || code) {
            if line.contains('\t') {
                add(Rule::WhiteSpace, "tab".to_owned());
            }
            if line.trim_end() != line {
                add(Rule::WhiteSpace, "white space at the end of the line".to_owned());
            }
        }
        if code {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS && wide_since.is_none() && !is_bare_link(line) {
                add(Rule::LineLength, format!("{columns} columns, at most {MAX_COLUMNS}"));
            }
            if let Some(leftover) = leftover(line, file.extension()) {
                add(Rule::Leftover, leftover.to_owned());
            }
        }
        if let Some(secret) = secret(line) {
            add(Rule::Secret, format!("looks like {secret}"));
        }
        if let Some(folder) = machine_path(line) {
            add(Rule::MachinePath, format!("names {folder}"));
        }
    }
    if let Some(number) = wide_since {
        let detail = format!("the wide table lacks its `{END_OF_TABLE}`");
        findings.push(file.finding(number, Rule::LineLength, detail));
    }
    findings
}

/// Control characters, and those that change the order or hide: bidirectional controls, zero-width
/// spaces and joiners, the byte order mark. Tab, and a carriage return before the line feed, have
/// their own rule.
fn is_hidden(character: char) -> bool {
    let allowed = matches!(character, '\t' | '\r');
    let invisible = matches!(u32::from(character),
        0x00AD | 0x061C | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E
        | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB | 0xE0000..=0xE007F);
    (character.is_control() && !allowed) || invisible
}

/// A comment that holds nothing but one link can't be broken over lines.
fn is_bare_link(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_comment = words.first().is_some_and(|word| word.starts_with("//") || *word == "#");
    is_comment && words.len() == 2 && words.iter().any(|word| word.contains("://"))
}

fn leftover(line: &str, extension: &str) -> Option<&'static str> {
    let marker = MARKERS.iter().find(|marker| has_word(line, marker));
    let rust = RUST_LEFTOVERS.iter().filter(|_| extension == "rs");
    marker.or_else(|| rust.into_iter().find(|leftover| line.contains(**leftover))).copied()
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let after = line.get(start + word.len()..).and_then(|text| text.chars().next());
        let joins = |character: char| character.is_alphanumeric() || character == '_';
        !before.is_some_and(joins) && !after.is_some_and(joins)
    })
}

fn secret(line: &str) -> Option<&'static str> {
    let header = concat!("-----BE", "GIN ");
    let footer = concat!("PRIVATE ", "KEY-----");
    let is_key = line
        .split_once(header)
        .and_then(|(_, rest)| rest.split_once(footer))
        .is_some_and(|(kind, _)| kind.len() <= 20);
    if is_key {
        return Some("a private key");
    }
    let found = TOKENS.iter().find(|(prefix, length)| {
        line.match_indices(prefix).any(|(start, _)| {
            let before = line.get(..start).and_then(|text| text.chars().next_back());
            let rest = line.get(start + prefix.len()..).unwrap_or("");
            let token = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            !before.is_some_and(|character| character.is_ascii_alphanumeric())
                && rest.chars().take_while(token).count() >= *length
        })
    });
    found.map(|_| "an access token")
}

/// A path is named when its root folder starts a word: `a/b/` inside a longer path doesn't count.
fn machine_path(line: &str) -> Option<&'static str> {
    let starts = |before: Option<char>| {
        !before.is_some_and(|character| {
            character.is_alphanumeric() || matches!(character, '/' | '.' | '_' | '-' | '}' | '*')
        })
    };
    MACHINE_ROOTS.iter().copied().find(|folder| {
        line.match_indices(folder)
            .any(|(start, _)| starts(line.get(..start).and_then(|text| text.chars().next_back())))
    })
}
