//! Who approved what, shown later; and a store that its own user edited with another program.

use crate::support::{Home, Server};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::Value;

const PREVIEW: &str = "orders preview --account DU1234567 --symbol AAPL --side buy --quantity 1 \
    --limit-price 100 --enable-preview";

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key}: {value}")).to_owned()
}

/// An approval that was asked for, and with `--ask-only` left undecided.
fn asked(home: &Home, how: &str) -> String {
    let id = text(&home.json(PREVIEW).json(), "preview_id");
    let line = format!("approvals create --account DU1234567 --preview-id {id} {how}");
    text(&home.json(&line).json(), "approval_id")
}

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Reads a row, past every program of ours.
fn row(home: &Home, table: &'static str, key: &str) -> Value {
    let database = Database::open(home.state().join("store.redb")).unwrap();
    let read = database.begin_read().unwrap();
    let table = read.open_table(Rows::new(table)).unwrap();
    let value = table.get(key.as_bytes()).unwrap().unwrap();
    serde_json::from_slice(&value.value()[1..]).unwrap()
}

/// Changes a row, as anybody can who may write the file.
fn edit(home: &Home, table: &'static str, key: &str, change: impl FnOnce(&mut Value)) {
    let database = Database::open(home.state().join("store.redb")).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut table = write.open_table(Rows::new(table)).unwrap();
        let mut bytes = table.get(key.as_bytes()).unwrap().unwrap().value().to_vec();
        let mut value: Value = serde_json::from_slice(&bytes[1..]).unwrap();
        change(&mut value);
        bytes.truncate(1);
        serde_json::to_writer(&mut bytes, &value).unwrap();
        table.insert(key.as_bytes(), bytes.as_slice()).unwrap();
    }
    write.commit().unwrap();
}

fn submit(home: &Home, approval: &str) -> (i32, String) {
    let line = format!("orders submit --account DU1234567 --approval-id {approval} --enable-paper");
    home.json(&line).error()
}

/// The log doesn't verify, and the approval is named.
fn found(home: &Home, approval: &str) {
    let ran = home.json("audit verify");
    assert_eq!(ran.error(), (2, "AUDIT_CHAIN_INVALID".to_owned()));
    assert!(ran.stderr.contains(approval), "{ran:?}");
}

fn orders_at_the_broker(home: &Home) -> usize {
    let list = home.json("orders list --account DU1234567 --status all").json();
    list["count"].as_u64().map_or_else(
        || list["orders"].as_array().map_or(0, Vec::len),
        |count| usize::try_from(count).unwrap(),
    )
}

#[test]
fn a_row_edited_to_approved_is_refused_at_submit_and_found_by_audit_verify() {
    let home = Home::new();
    let approval = asked(&home, "--ask-only");
    home.json("audit verify").json();
    edit(&home, "approvals", &approval, |row| row["status"] = "approved".into());
    assert_eq!(submit(&home, &approval), (1, "APPROVAL_UNSIGNED".to_owned()));
    assert_eq!(orders_at_the_broker(&home), 0);
    found(&home, &approval);
    let proof = home.json(&format!("approvals verify {approval}"));
    assert_eq!(proof.error(), (2, "AUDIT_CHAIN_INVALID".to_owned()));
}

#[test]
fn a_signature_moved_to_another_approval_is_refused_and_found() {
    let home = Home::new();
    let given = asked(&home, "");
    let other = asked(&home, "--ask-only");
    let signed = row(&home, "approvals", &given);
    edit(&home, "approvals", &other, |row| {
        for key in ["status", "approved_by", "signed"] {
            row[key] = signed[key].clone();
        }
    });
    assert_eq!(submit(&home, &other), (1, "APPROVAL_UNSIGNED".to_owned()));
    found(&home, &other);
    let proof = home.json(&format!("approvals verify {other}"));
    assert_eq!(proof.error(), (2, "AUDIT_CHAIN_INVALID".to_owned()));
    home.json(&format!("approvals verify {given}")).json();
}

#[test]
fn an_approved_row_with_a_longer_life_is_refused_and_found() {
    let home = Home::new();
    let approval = asked(&home, "");
    edit(&home, "approvals", &approval, |row| {
        row["expires_at"] = (row["expires_at"].as_i64().unwrap() + 86_400_000).into();
    });
    assert_eq!(submit(&home, &approval), (1, "APPROVAL_UNSIGNED".to_owned()));
    found(&home, &approval);
}

#[test]
fn an_operator_key_written_into_the_store_signs_nothing() {
    let home = Home::new();
    let key = home.json("operator init --label me").json();
    let id = text(&key, "key");
    edit(&home, "operator_keys", &id, |row| row["public_key"] = "ab".repeat(32).into());
    let approval = asked(&home, "--ask-only");
    let line = format!("approvals approve {approval}");
    assert_eq!(home.json(&line).error(), (4, "SIGNATURE_INVALID".to_owned()));
    found(&home, &id);
}

#[test]
fn a_yes_is_shown_from_the_files_by_the_running_sidecar_and_from_an_exported_proof_alone() {
    let home = Home::new();
    let key = home.json("operator init --label me").json();
    let approval = asked(&home, "");
    let line = format!("approvals verify {approval}");
    let from_files = home.json(&line);
    let proof = from_files.json();
    assert_eq!(proof["verified"], true);
    assert_eq!(proof["operator_key"], key["key"]);
    assert_eq!(proof["public_key"], key["public_key"]);
    assert!(text(&proof, "approval_bytes").contains(&format!("approval={approval}\n")));
    let mut server = Server::start(&home, &["sidecar", "run", "--json"]);
    assert_eq!(server.line()["running"], true);
    assert_eq!(home.json(&line).json(), proof);
    assert_eq!(server.terminate().0, 0);
    // Elsewhere: nothing but the file and the public key.
    let elsewhere = Home::new();
    let verify = |proof: &str, key: &str| {
        let file = elsewhere.file("proof.json", proof);
        elsewhere.json(&format!("approvals verify --file {file} --public-key {key}"))
    };
    let public_key = text(&key, "public_key");
    assert_eq!(verify(&from_files.stdout, &public_key).json()["verified"], true);
    let broken = (2, "AUDIT_CHAIN_INVALID".to_owned());
    assert_eq!(verify(&from_files.stdout, &"ab".repeat(32)).error(), broken);
    let longer = from_files.stdout.replace("position=100", "position=900");
    assert_ne!(longer, from_files.stdout);
    assert_eq!(verify(&longer, &public_key).error(), broken);
    assert!(!elsewhere.state().exists(), "a verification made a state folder");
}

#[test]
fn an_approval_that_nobody_signed_has_nothing_to_verify() {
    let home = Home::new();
    let approval = asked(&home, "--ask-only");
    let line = format!("approvals verify {approval}");
    assert_eq!(home.json(&line).error(), (2, "INPUT_INVALID".to_owned()));
    assert_eq!(home.json("approvals verify ap-none").error().1, "APPROVAL_NOT_FOUND");
}
