//! Checkpoints, signed notes and cosignatures: golden bytes, refusals, parser laws.
//!
//! The golden note was made by another implementation of Ed25519 from the seeds given here; the
//! "cryptography is the answer" note is the published example of the format.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ibkr_agent_tlog::{
    Checkpoint, CheckpointError, Hash, KeyError, MAX_EXTENSIONS, MAX_NOTE_BYTES,
    MAX_NOTE_SIGNATURES, Note, NoteError, NoteSignature, ParseNoteError, SignatureKind, Signer,
    SigningError, Verifier, VerifyNoteError, Witness, empty_root, parse_note, sign_note,
};
use proptest::prelude::*;

const ROOT: &str = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";
const TIME: u64 = 1_700_000_000;
const LOG_KEY: &str = "ledger.example/sidecar-1+d0d447ca+\
    AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
const WITNESS_KEY: &str = "witness.example/w1+24b5d9fe+\
    BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY";
const GOLDEN: &str = "ledger.example/sidecar-1\n8\n\
    XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\nepoch 3\n\n\
    \u{2014} ledger.example/sidecar-1 0NRHyns7Kb1mTnjVch35zTo6NyZNe4qRtYwrAokfu3tHWvrbARA+\
    bNP+uoMCXdNpDEx/G1WiA4PP9pWsnp0Zu2nZwgY=\n\
    \u{2014} witness.example/w1 JLXZ/gAAAABlU/EAbiTJExCEPWZ7OoMuSgsVTd1NfYGYk3lDOHVYqu1+QazpISlc\
    XNKJUeVIZIFzrB+ZdxeJ/NlDeq770BVx5FGMAw==\n";

fn log() -> Signer {
    Signer::from_seed("ledger.example/sidecar-1", &[7; 32]).unwrap()
}

fn witness() -> Witness {
    Witness::from_seed("witness.example/w1", &[9; 32]).unwrap()
}

fn checkpoint() -> Checkpoint {
    let root = ROOT.parse().unwrap();
    let lines = vec!["epoch 3".to_owned()];
    Checkpoint::with_extensions("ledger.example/sidecar-1", 8, root, lines).unwrap()
}

fn known() -> [Verifier; 2] {
    [LOG_KEY.parse().unwrap(), WITNESS_KEY.parse().unwrap()]
}

fn cosigned() -> Note {
    let mut note = sign_note(&checkpoint().to_string(), &[&log()]).unwrap();
    note.add_signature(witness().cosign(&note, TIME).unwrap()).unwrap();
    note
}

#[test]
fn a_cosigned_checkpoint_has_the_golden_bytes() {
    assert_eq!(cosigned().to_string(), GOLDEN);
    assert_eq!(log().verifier().to_string(), LOG_KEY);
    assert_eq!(witness().verifier().to_string(), WITNESS_KEY);
}

#[test]
fn the_golden_note_verifies_and_tells_who_signed_when() {
    let note = parse_note(GOLDEN.as_bytes()).unwrap();
    assert_eq!(note.to_string(), GOLDEN);
    assert_eq!(Checkpoint::parse(note.text()).unwrap(), checkpoint());
    let known = known();
    let verified = note.verify(&known).unwrap();
    let seen: Vec<_> = verified.iter().map(|one| (one.verifier.name(), one.time)).collect();
    assert_eq!(seen, [("ledger.example/sidecar-1", None), ("witness.example/w1", Some(TIME))]);
    assert_eq!(note.verify_by(&known[1]), Ok(Some(TIME)));
    assert_eq!(
        known.map(|key| key.kind()),
        [SignatureKind::Ed25519, SignatureKind::CosignatureV1,]
    );
}

#[test]
fn the_published_example_note_verifies() {
    let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let note = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKv\
        qfqdngotpRZb6KE6RyyBwJnAM=\n";
    let verifier: Verifier = key.parse().unwrap();
    assert_eq!(verifier.to_string(), key);
    assert_eq!(parse_note(note.as_bytes()).unwrap().verify_by(&verifier), Ok(None));
}

#[test]
fn every_flipped_byte_of_a_cosigned_checkpoint_is_noticed() {
    let known = known();
    let good = GOLDEN.as_bytes();
    for position in 0..good.len() {
        for bit in [0x01, 0x20] {
            let mut bad = good.to_vec();
            bad[position] ^= bit;
            let both = parse_note(&bad)
                .ok()
                .and_then(|note| note.verify(&known).map(|verified| verified.len()).ok());
            assert_ne!(both, Some(2), "byte {position} flipped by {bit:#x}");
        }
    }
}

#[test]
fn a_bad_signature_of_a_known_key_refuses_the_whole_note() {
    let other = GOLDEN.replacen("\n8\n", "\n9\n", 1);
    let refused = parse_note(other.as_bytes()).unwrap().verify(&known()).unwrap_err();
    assert_eq!(refused, VerifyNoteError::BadSignature { name: "ledger.example/sidecar-1".into() });

    let mut note = sign_note("one\n", &[&log()]).unwrap();
    let stranger = Signer::from_seed("stranger", &[1; 32]).unwrap();
    let foreign = sign_note("two\n", &[&stranger]).unwrap().signatures()[0].clone();
    note.add_signature(foreign).unwrap();
    assert_eq!(note.verify_by(log().verifier()), Ok(None), "an unknown key's line is ignored");
    let keys = [log().verifier().clone(), stranger.verifier().clone()];
    assert!(matches!(note.verify(&keys), Err(VerifyNoteError::BadSignature { .. })));
    let nobody = Signer::from_seed("nobody", &[2; 32]).unwrap();
    assert_eq!(note.verify_by(nobody.verifier()), Err(VerifyNoteError::NoKnownSignature));
    assert_eq!(note.verify(&[]), Err(VerifyNoteError::NoKnownSignature));
}

#[test]
fn a_log_signature_is_no_cosignature_of_the_same_key() {
    let seed = [3; 32];
    let (signer, witness) =
        (Signer::from_seed("same", &seed).unwrap(), Witness::from_seed("same", &seed).unwrap());
    assert_eq!(signer.verifier().public_key(), witness.verifier().public_key());
    assert_ne!(signer.verifier().id(), witness.verifier().id());
    let note = sign_note(&checkpoint().to_string(), &[&signer]).unwrap();
    assert_eq!(note.verify_by(witness.verifier()), Err(VerifyNoteError::NoKnownSignature));
}

#[test]
fn a_witness_signs_checkpoints_only_and_the_latest_of_two_times_counts() {
    let note = sign_note("just words\n", &[&log()]).unwrap();
    let refused = SigningError::NotACheckpoint(CheckpointError::TooFewLines);
    assert_eq!(witness().cosign(&note, TIME), Err(refused));
    let mut note = cosigned();
    assert_eq!(witness().cosign(&note, 1 << 63), Err(SigningError::BadTime));
    note.add_signature(witness().cosign(&note, TIME + 5).unwrap()).unwrap();
    note.add_signature(witness().cosign(&note, TIME + 1).unwrap()).unwrap();
    assert_eq!(note.verify_by(witness().verifier()), Ok(Some(TIME + 5)));
    assert_eq!(note.verify(&known()).unwrap().len(), 2);
}

#[test]
fn malformed_notes_are_refused_by_cause() {
    let signature = GOLDEN.lines().nth(5).unwrap();
    let table: [(String, ParseNoteError); 12] = [
        (String::new(), ParseNoteError::NoSignatures),
        ("text\n".into(), ParseNoteError::NoSignatures),
        (format!("text\n{signature}\n"), ParseNoteError::NoSignatures),
        (format!("\n\n{signature}\n"), ParseNoteError::NoSignatures),
        (format!("text\n\n{signature}"), ParseNoteError::NoSignatures),
        (format!("te\txt\n\n{signature}\n"), ParseNoteError::NotText),
        (format!("text\r\n\n{signature}\n"), ParseNoteError::NotText),
        ("text\n\n\n".into(), ParseNoteError::NoSignatures),
        ("text\n\n- name AAAAAAAA\n".into(), ParseNoteError::BadSignatureLine),
        ("text\n\n\u{2014} na+me AAAAAAAA\n".into(), ParseNoteError::BadSignatureLine),
        ("text\n\n\u{2014} name AAAAAA==\n".into(), ParseNoteError::BadSignatureLine),
        ("text\n\n\u{2014} name AAAAAAB=\n".into(), ParseNoteError::BadSignatureLine),
    ];
    for (note, error) in table {
        assert_eq!(parse_note(note.as_bytes()), Err(error), "{note:?}");
    }
    assert_eq!(parse_note(b"\xff\n\n"), Err(ParseNoteError::NotText));
    let trailing_space = format!("text\n\n{signature} \n");
    assert_eq!(parse_note(trailing_space.as_bytes()), Err(ParseNoteError::BadSignatureLine));
}

#[test]
fn notes_are_bounded_on_both_sides() {
    let line = |n: usize| format!("\u{2014} key{n} AAAAAAAA\n");
    let lines = |count| (0..count).map(line).collect::<String>();
    let full = parse_note(format!("t\n\n{}", lines(MAX_NOTE_SIGNATURES)).as_bytes());
    let mut full = full.unwrap();
    let over = format!("t\n\n{}", lines(MAX_NOTE_SIGNATURES + 1));
    assert_eq!(parse_note(over.as_bytes()), Err(ParseNoteError::TooManySignatures));
    let extra = NoteSignature::parse("\u{2014} more AAAAAAAA").unwrap();
    assert_eq!(full.add_signature(extra), Err(NoteError::TooManySignatures));
    assert_eq!(full.add_signature(full.signatures()[0].clone()), Ok(()));

    let tail = format!("\n\n{}", line(1));
    let fits = format!("{}{tail}", "x".repeat(MAX_NOTE_BYTES - tail.len()));
    assert!(parse_note(fits.as_bytes()).is_ok());
    let over = format!("x{fits}");
    assert_eq!(parse_note(over.as_bytes()), Err(ParseNoteError::TooLarge));
    let text = format!("{}\n", "x".repeat(MAX_NOTE_BYTES - 20));
    assert_eq!(sign_note(&text, &[&log()]), Err(NoteError::TooLarge));
}

#[test]
fn only_texts_that_read_back_are_signed() {
    for bad in ["", "\n", "no newline", "bell\u{7}\n", "cr\r\n"] {
        assert_eq!(sign_note(bad, &[&log()]), Err(NoteError::BadText), "{bad:?}");
    }
    assert_eq!(sign_note("text\n", &[]), Err(NoteError::NoSigner));
}

#[test]
fn malformed_checkpoints_are_refused_by_cause() {
    let root = "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=";
    let table = [
        ("".to_owned(), CheckpointError::Unterminated),
        (format!("log\n8\n{root}"), CheckpointError::Unterminated),
        ("log\n8\n".into(), CheckpointError::TooFewLines),
        (format!("\n8\n{root}\n"), CheckpointError::BadOrigin),
        (format!("l\tog\n8\n{root}\n"), CheckpointError::BadOrigin),
        (format!("log\n08\n{root}\n"), CheckpointError::BadSize),
        (format!("log\n+8\n{root}\n"), CheckpointError::BadSize),
        (format!("log\n\n{root}\n"), CheckpointError::BadSize),
        (format!("log\n9223372036854775808\n{root}\n"), CheckpointError::BadSize),
        (format!("log\n99999999999999999999\n{root}\n"), CheckpointError::BadSize),
        (format!("log\n0\n{root}\n"), CheckpointError::BadEmptyRoot),
        ("log\n8\nXcna\n".into(), CheckpointError::BadRoot),
        (format!("log\n8\n{}\n", root.trim_end_matches('=')), CheckpointError::BadRoot),
        (format!("log\n8\n{}\n", root.replace("yg=", "yh=")), CheckpointError::BadRoot),
        (format!("log\n8\n{root}\n\n"), CheckpointError::BadExtension),
    ];
    for (text, error) in table {
        assert_eq!(Checkpoint::parse(&text), Err(error), "{text:?}");
    }
    let extended = |count| format!("log\n8\n{root}\n{}", "x\n".repeat(count));
    assert_eq!(extended(MAX_EXTENSIONS).parse::<Checkpoint>().unwrap().extensions().len(), 16);
    let over = extended(MAX_EXTENSIONS + 1).parse::<Checkpoint>();
    assert_eq!(over, Err(CheckpointError::TooManyExtensions));
    assert!(Checkpoint::new("log", (1 << 63) - 1, empty_root()).is_ok());
    assert_eq!(Checkpoint::new("log", 1 << 63, empty_root()), Err(CheckpointError::BadSize));
}

#[test]
fn malformed_verifier_keys_are_refused_by_cause() {
    let key = "AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
    let table = [
        ("name".to_owned(), KeyError::BadFormat),
        ("name+d0d447ca".into(), KeyError::BadFormat),
        (format!("ledger.example/sidecar-1+D0D447CA+{key}"), KeyError::BadFormat),
        (format!("ledger.example/sidecar-1+d0d447cb+{key}"), KeyError::WrongId),
        (format!("ledger.example/sidecar-2+d0d447ca+{key}"), KeyError::WrongId),
        (format!("+d0d447ca+{key}"), KeyError::BadName),
        (format!("two words+d0d447ca+{key}"), KeyError::BadName),
        (format!("name+d0d447ca+{}", key.replacen('A', "B", 1)), KeyError::UnsupportedType(5)),
        ("name+d0d447ca+AepK".into(), KeyError::BadFormat),
        ("name+d0d447ca+".into(), KeyError::BadFormat),
    ];
    for (text, error) in table {
        assert_eq!(text.parse::<Verifier>(), Err(error), "{text}");
    }
    assert_eq!(Signer::from_seed("a b", &[1; 32]).unwrap_err(), KeyError::BadName);
    assert_eq!(Witness::from_seed(&"n".repeat(257), &[1; 32]).unwrap_err(), KeyError::BadName);
    assert!(Witness::from_seed(&"n".repeat(256), &[1; 32]).is_ok());
}

#[test]
fn debug_of_a_private_key_shows_no_seed() {
    let shown = format!("{:?} {:?}", log(), witness());
    assert!(shown.contains("ledger.example"), "{shown}");
    for seed in ["7, 7, 7", "0707", "9, 9, 9", "0909", "BwcH"] {
        assert!(!shown.contains(seed), "{shown}");
    }
}

proptest! {
    #[test]
    fn parsers_never_panic_and_have_one_spelling(text in "\\PC{0,40}(\n\\PC{0,40}){0,6}\n?") {
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.to_string(), text.clone());
        }
        if let Ok(note) = parse_note(text.as_bytes()) {
            prop_assert_eq!(note.to_string(), text.clone());
        }
        if let Ok(verifier) = text.parse::<Verifier>() {
            prop_assert_eq!(verifier.to_string(), text);
        }
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(note) = parse_note(&bytes) {
            prop_assert_eq!(note.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn damaged_notes_never_panic_and_read_back(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = GOLDEN.as_bytes().to_vec();
        for (at, byte) in cuts {
            let at = at.index(bytes.len());
            if byte & 1 == 0 { bytes[at] = byte; } else { bytes.remove(at); }
        }
        if let Ok(note) = parse_note(&bytes) {
            prop_assert_eq!(note.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn checkpoints_read_back(
        origin in "[a-z][a-z0-9./-]{0,30}",
        size in 1_u64..(1 << 63),
        root in any::<[u8; 32]>(),
        lines in prop::collection::vec("[ -~]{1,20}", 0..4),
    ) {
        let root = Hash::from_bytes(root);
        let made = Checkpoint::with_extensions(&origin, size, root, lines).unwrap();
        prop_assert_eq!(Checkpoint::parse(&made.to_string()), Ok(made.clone()));
        let note = sign_note(&made.to_string(), &[&log()]).unwrap();
        let read = parse_note(note.to_string().as_bytes()).unwrap();
        prop_assert_eq!(read.verify_by(log().verifier()), Ok(None));
    }
}
