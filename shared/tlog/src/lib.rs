//! Merkle tree log: RFC 6962 hashing and proofs, C2SP checkpoints, signed notes and cosignatures.
//!
//! The sidecar proves with this crate, the remote and other witnesses check and cosign, and an
//! auditor verifies offline. Everything here is pure: no I/O, no clock, no async, no storage.
//!
//! Sources: RFC 6962 §2.1 and RFC 9162 §2.1 (tree, proofs), c2sp.org/tlog-checkpoint,
//! c2sp.org/signed-note and c2sp.org/tlog-cosignature (`cosignature/v1`, Ed25519).
//!
//! Invariants: parsers never panic and accept exactly one spelling of a value, so that what
//! parses encodes back to the same bytes; a tree never holds more than [`MAX_TREE_SIZE`] leaves.
//!
//! Not here: the ML-DSA-44 cosignature type, tiles, and any decision about which keys to trust.

mod checkpoint;
mod frontier;
mod hash;
mod key;
mod note;
mod proof;

pub use checkpoint::{Checkpoint, CheckpointError, MAX_EXTENSIONS};
pub use frontier::{Frontier, MissingNode, Node, TreeFull};
pub use hash::{Hash, HashFormatError, MAX_TREE_SIZE, empty_root, leaf_hash, node_hash};
pub use key::{KeyError, SignatureKind, Signer, SigningError, Verifier, Witness};
pub use note::{
    MAX_NOTE_BYTES, MAX_NOTE_SIGNATURES, Note, NoteError, NoteSignature, ParseNoteError,
    VerifiedSignature, VerifyNoteError, parse_note, sign_note,
};
pub use proof::{
    MAX_PROOF_HASHES, NodeSource, ProofError, consistency_proof, inclusion_proof,
    verify_consistency, verify_inclusion,
};
