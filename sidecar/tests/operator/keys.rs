//! Key files: sealed, private, never overwritten, and of one domain.

use ibkr_agent_gateway::operator::keys::MIN_PASSPHRASE_CHARS;
use ibkr_agent_gateway::operator::{
    KeyError, NewKey, OperatorDomain, create_key, describe_key, load_key,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn passphrase() -> SecretString {
    SecretString::from("correct horse battery")
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn a_brokers_key_opens_with_its_passphrase_only() {
    let folder = Folder::new();
    let path = folder.file("broker.json");
    let public_key = create_key(&path, &NewKey::Broker { passphrase: &passphrase() }).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let described = describe_key(&path).unwrap();
    assert_eq!(described.public_key, public_key);
    assert_eq!(described.domain, OperatorDomain::Broker);
    assert!(described.sealed);

    let signer = load_key(&path, OperatorDomain::Broker, Some(&passphrase())).unwrap();
    assert_eq!(signer.public_key(), public_key);
    assert!(!format!("{signer:?}").contains("seed"));
    let wrong = SecretString::from("correct horse batterz");
    assert!(matches!(
        load_key(&path, OperatorDomain::Broker, Some(&wrong)),
        Err(KeyError::WrongPassphrase)
    ));
    assert!(matches!(
        load_key(&path, OperatorDomain::Broker, None),
        Err(KeyError::PassphraseNeeded)
    ));
}

#[test]
fn a_brokers_passphrase_has_a_least_length() {
    let folder = Folder::new();
    let path = folder.file("broker.json");
    let short = SecretString::from("x".repeat(MIN_PASSPHRASE_CHARS - 1));
    let refused = create_key(&path, &NewKey::Broker { passphrase: &short });
    assert!(matches!(refused, Err(KeyError::WeakPassphrase)));
    assert!(!path.exists());
    let enough = SecretString::from("x".repeat(MIN_PASSPHRASE_CHARS));
    create_key(&path, &NewKey::Broker { passphrase: &enough }).unwrap();
}

#[test]
fn a_demo_key_is_refused_where_a_brokers_is_asked_for() {
    let folder = Folder::new();
    let open = folder.file("open.json");
    create_key(&open, &NewKey::Simulator { passphrase: None }).unwrap();
    load_key(&open, OperatorDomain::Simulator, None).unwrap();
    let sealed = folder.file("sealed.json");
    create_key(&sealed, &NewKey::Simulator { passphrase: Some(&passphrase()) }).unwrap();
    load_key(&sealed, OperatorDomain::Simulator, Some(&passphrase())).unwrap();
    for path in [&open, &sealed] {
        assert!(matches!(
            load_key(path, OperatorDomain::Broker, Some(&passphrase())),
            Err(KeyError::WrongDomain { found: OperatorDomain::Simulator, .. })
        ));
    }
}

#[test]
fn a_demo_key_that_is_relabelled_as_a_brokers_is_refused() {
    let folder = Folder::new();
    let open = folder.file("open.json");
    create_key(&open, &NewKey::Simulator { passphrase: None }).unwrap();
    edit(&open, |file| file["domain"] = json!("broker"));
    assert!(matches!(load_key(&open, OperatorDomain::Broker, None), Err(KeyError::Format { .. })));

    let sealed = folder.file("sealed.json");
    create_key(&sealed, &NewKey::Simulator { passphrase: Some(&passphrase()) }).unwrap();
    edit(&sealed, |file| {
        let secret = file.as_object_mut().unwrap().remove("secret").unwrap();
        file["domain"] = json!("broker");
        file["sealed"] = secret["sealed"].clone();
    });
    // The file's shape is right now; its parameters and what its seal covers aren't.
    assert_eq!(describe_key(&sealed).unwrap().domain, OperatorDomain::Broker);
    assert!(matches!(
        load_key(&sealed, OperatorDomain::Broker, Some(&passphrase())),
        Err(KeyError::WrongPassphrase)
    ));
    edit(&sealed, |file| file["sealed"]["kdf"] = json!("argon2id-m65536-t3-p4"));
    assert!(matches!(
        load_key(&sealed, OperatorDomain::Broker, Some(&passphrase())),
        Err(KeyError::WrongPassphrase)
    ));
}

#[test]
fn a_key_under_another_public_key_is_refused() {
    let folder = Folder::new();
    let path = folder.file("open.json");
    create_key(&path, &NewKey::Simulator { passphrase: None }).unwrap();
    edit(&path, |file| file["public_key"] = json!("00".repeat(32)));
    assert!(matches!(load_key(&path, OperatorDomain::Simulator, None), Err(KeyError::Damaged(_))));
}

#[test]
fn a_key_file_is_never_overwritten() {
    let folder = Folder::new();
    let path = folder.file("key.json");
    create_key(&path, &NewKey::Simulator { passphrase: None }).unwrap();
    let before = fs::read(&path).unwrap();
    let again = create_key(&path, &NewKey::Simulator { passphrase: None });
    assert!(matches!(again, Err(KeyError::Exists(_))));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let folder = Folder::new();
    let path = folder.file("key.json");
    create_key(&path, &NewKey::Simulator { passphrase: None }).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(load_key(&path, OperatorDomain::Simulator, None), Err(KeyError::Exposed(_))));
}

#[test]
fn a_key_file_of_another_version_or_with_more_in_it_is_refused() {
    let folder = Folder::new();
    for (name, field, value) in [
        ("version.json", "format", json!("ibkr-agent-operator-key/v2")),
        ("more.json", "note", json!("x")),
        ("domain.json", "domain", json!("moon")),
    ] {
        let path = folder.file(name);
        create_key(&path, &NewKey::Simulator { passphrase: None }).unwrap();
        edit(&path, |file| file[field] = value);
        assert!(matches!(describe_key(&path), Err(KeyError::Format { .. })), "{name}");
    }
}
