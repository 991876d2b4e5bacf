//! Tree hashing and proofs: published vectors, an independent recursive model, and laws.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

use std::collections::BTreeMap;

use ibkr_agent_tlog::{
    Frontier, Hash, MAX_PROOF_HASHES, MAX_TREE_SIZE, MissingNode, NodeSource, ProofError,
    consistency_proof, empty_root, inclusion_proof, leaf_hash, node_hash, verify_consistency,
    verify_inclusion,
};
use proptest::prelude::*;

/// The leaves that Certificate Transparency implementations publish with their roots.
const LEAVES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[derive(Default)]
struct Stored(BTreeMap<(u8, u64), Hash>);

impl NodeSource for Stored {
    fn node(&self, level: u8, index: u64) -> Option<Hash> {
        self.0.get(&(level, index)).copied()
    }
}

fn grow(leaves: &[Hash]) -> (Frontier, Stored) {
    let (mut frontier, mut stored) = (Frontier::new(), Stored::default());
    for leaf in leaves {
        for node in frontier.append(*leaf).unwrap() {
            let before = stored.0.insert((node.level, node.index), node.hash);
            assert_eq!(before, None, "a complete node is reported once");
        }
    }
    (frontier, stored)
}

/// RFC 6962 §2.1 word for word.
fn model_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        _ => {
            let middle = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(middle);
            node_hash(&model_root(left), &model_root(right))
        }
    }
}

fn numbered(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

fn flipped(hash: &Hash, byte: usize) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[byte] ^= 1;
    Hash::from_bytes(bytes)
}

#[test]
fn roots_equal_the_published_vectors_at_every_size() {
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root().to_string(), ROOTS[0]);
    for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
        frontier.append(leaf_hash(leaf)).unwrap();
        assert_eq!(frontier.root().to_string(), *root);
    }
    assert_eq!(frontier.size(), 8);
}

#[test]
fn proofs_equal_the_shapes_of_the_rfc_example() {
    // RFC 6962 §2.1.3: a tree of seven leaves a..j.
    let leaves = numbered(7);
    let (_, stored) = grow(&leaves);
    let node = |level, index| stored.node(level, index).unwrap();
    let i = node(1, 2);
    let l = node_hash(&i, &leaves[6]);
    let path = |index| inclusion_proof(&stored, index, 7).unwrap();
    assert_eq!(path(0), [leaves[1], node(1, 1), l]);
    assert_eq!(path(3), [leaves[2], node(1, 0), l]);
    assert_eq!(path(4), [leaves[5], leaves[6], node(2, 0)]);
    assert_eq!(path(6), [i, node(2, 0)]);
    let consistency = |first| consistency_proof(&stored, first, 7).unwrap();
    assert_eq!(consistency(3), [leaves[2], leaves[3], node(1, 0), l]);
    assert_eq!(consistency(4), [l]);
    assert_eq!(consistency(6), [i, leaves[6], node(2, 0)]);
}

#[test]
fn a_leaf_never_hashes_like_a_node() {
    let (left, right) = (leaf_hash(b"left"), leaf_hash(b"right"));
    let joined = [left.as_bytes().as_slice(), right.as_bytes().as_slice()].concat();
    assert_ne!(leaf_hash(&joined), node_hash(&left, &right));
}

#[test]
fn every_proof_of_every_small_tree_holds() {
    let leaves = numbered(40);
    let (_, stored) = grow(&leaves);
    for size in 1..=40_u64 {
        let all = &leaves[..usize::try_from(size).unwrap()];
        let root = model_root(all);
        for (index, leaf) in (0..).zip(all) {
            let proof = inclusion_proof(&stored, index, size).unwrap();
            verify_inclusion(leaf, index, size, &proof, &root).unwrap();
        }
        for first in 0..=size {
            let old = model_root(&leaves[..usize::try_from(first).unwrap()]);
            let proof = consistency_proof(&stored, first, size).unwrap();
            assert!(proof.len() <= MAX_PROOF_HASHES);
            verify_consistency(first, &old, size, &root, &proof).unwrap();
        }
    }
}

#[test]
fn the_edge_is_rebuilt_from_the_store_and_goes_on_alike() {
    for size in 0..70_u64 {
        let (mut grown, stored) = grow(&numbered(size));
        let mut rebuilt = Frontier::from_source(size, &stored).unwrap();
        assert_eq!(rebuilt, grown);
        let leaf = leaf_hash(b"next");
        assert_eq!(rebuilt.append(leaf), grown.append(leaf));
        assert_eq!(rebuilt.root(), grown.root());
    }
}

#[test]
fn a_missing_node_is_named_and_nothing_is_made_up() {
    let (_, mut stored) = grow(&numbered(7));
    stored.0.remove(&(1, 2));
    let missing = MissingNode { level: 1, index: 2 };
    assert_eq!(Frontier::from_source(7, &stored), Err(missing));
    assert_eq!(inclusion_proof(&stored, 0, 7), Err(ProofError::MissingNode(missing)));
    assert_eq!(consistency_proof(&stored, 4, 7), Err(ProofError::MissingNode(missing)));
}

#[test]
fn impossible_questions_are_refused() {
    let (frontier, stored) = grow(&numbered(4));
    let (root, leaf) = (frontier.root(), leaf_hash(b""));
    let outside = ProofError::LeafOutsideTree { index: 4, size: 4 };
    assert_eq!(inclusion_proof(&stored, 4, 4), Err(outside));
    assert_eq!(verify_inclusion(&leaf, 4, 4, &[], &root), Err(outside));
    let empty = ProofError::LeafOutsideTree { index: 0, size: 0 };
    assert_eq!(verify_inclusion(&leaf, 0, 0, &[], &empty_root()), Err(empty));
    let reversed = ProofError::SizesReversed { first: 5, second: 4 };
    assert_eq!(consistency_proof(&stored, 5, 4), Err(reversed));
    assert_eq!(verify_consistency(5, &root, 4, &root, &[]), Err(reversed));
    let size = MAX_TREE_SIZE + 1;
    let large = ProofError::TreeTooLarge { size };
    assert_eq!(inclusion_proof(&stored, 0, size), Err(large));
    assert_eq!(verify_consistency(1, &root, size, &root, &[]), Err(large));
}

#[test]
fn the_proofs_without_hashes_still_compare_roots() {
    let (one, two) = (leaf_hash(b"1"), leaf_hash(b"2"));
    verify_consistency(3, &one, 3, &one, &[]).unwrap();
    let mismatch = Err(ProofError::RootMismatch);
    assert_eq!(verify_consistency(3, &one, 3, &two, &[]), mismatch);
    assert_eq!(verify_consistency(0, &one, 3, &two, &[]), mismatch);
    assert_eq!(verify_consistency(0, &empty_root(), 0, &two, &[]), mismatch);
    verify_consistency(0, &empty_root(), 3, &two, &[]).unwrap();
    let long = Err(ProofError::WrongLength { hashes: 1 });
    assert_eq!(verify_consistency(3, &one, 3, &one, &[two]), long);
    assert_eq!(verify_consistency(0, &empty_root(), 3, &one, &[two]), long);
}

#[test]
fn a_full_tree_takes_no_leaf_and_a_nearly_full_one_takes_one() {
    struct Everywhere;
    impl NodeSource for Everywhere {
        fn node(&self, _: u8, _: u64) -> Option<Hash> {
            Some(empty_root())
        }
    }
    let mut nearly = Frontier::from_source(MAX_TREE_SIZE - 1, &Everywhere).unwrap();
    nearly.append(empty_root()).unwrap();
    let before = nearly.clone();
    assert!(nearly.append(empty_root()).is_err());
    assert_eq!(nearly, before);
    let proof = inclusion_proof(&Everywhere, MAX_TREE_SIZE - 1, MAX_TREE_SIZE).unwrap();
    assert!(proof.len() <= MAX_PROOF_HASHES);
    let proof = consistency_proof(&Everywhere, MAX_TREE_SIZE - 1, MAX_TREE_SIZE).unwrap();
    assert!(proof.len() <= MAX_PROOF_HASHES);
}

#[test]
fn a_hash_has_one_spelling() {
    let text = ROOTS[1];
    assert_eq!(text.parse::<Hash>().unwrap().to_string(), text);
    for bad in ["", &text[1..], &format!("{text}0"), &text.to_uppercase(), &text.replace('6', "g")]
    {
        assert!(bad.parse::<Hash>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn a_changed_inclusion_proof_fails(
        size in 1_u64..200,
        pick in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in 0_usize..32,
    ) {
        let leaves = numbered(size);
        let (frontier, stored) = grow(&leaves);
        let (root, index) = (frontier.root(), pick.index(leaves.len()));
        let (leaf, index) = (leaves[index], u64::try_from(index).unwrap());
        let proof = inclusion_proof(&stored, index, size).unwrap();
        verify_inclusion(&leaf, index, size, &proof, &root).unwrap();

        let holds = |leaf: &Hash, proof: &[Hash], root: &Hash| {
            verify_inclusion(leaf, index, size, proof, root).is_ok()
        };
        prop_assert!(!holds(&flipped(&leaf, byte), &proof, &root));
        prop_assert!(!holds(&leaf, &proof, &flipped(&root, byte)));
        let longer = [proof.as_slice(), &[leaf]].concat();
        prop_assert!(!holds(&leaf, &longer, &root));
        if !proof.is_empty() {
            let mut changed = proof.clone();
            let at = at.index(proof.len());
            changed[at] = flipped(&changed[at], byte);
            prop_assert!(!holds(&leaf, &changed, &root));
            prop_assert!(!holds(&leaf, &proof[1..], &root));
        }
        for other in (0..size).filter(|other| *other != index) {
            prop_assert!(verify_inclusion(&leaf, other, size, &proof, &root).is_err());
        }
    }

    #[test]
    fn a_changed_consistency_proof_fails(
        second in 2_u64..200,
        pick in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in 0_usize..32,
    ) {
        let leaves = numbered(second);
        let (frontier, stored) = grow(&leaves);
        let new = frontier.root();
        let first = pick.index(leaves.len() - 1) + 1;
        let (old, first) = (model_root(&leaves[..first]), u64::try_from(first).unwrap());
        let proof = consistency_proof(&stored, first, second).unwrap();
        verify_consistency(first, &old, second, &new, &proof).unwrap();

        let holds = |old: &Hash, new: &Hash, proof: &[Hash]| {
            verify_consistency(first, old, second, new, proof).is_ok()
        };
        prop_assert!(!holds(&flipped(&old, byte), &new, &proof));
        prop_assert!(!holds(&old, &flipped(&new, byte), &proof));
        let mut changed = proof.clone();
        let at = at.index(proof.len());
        changed[at] = flipped(&changed[at], byte);
        prop_assert!(!holds(&old, &new, &changed));
        prop_assert!(!holds(&old, &new, &proof[1..]));
        let longer = [proof.as_slice(), &[old]].concat();
        prop_assert!(!holds(&old, &new, &longer));
    }

    #[test]
    fn a_rewritten_history_has_no_proof(
        second in 2_u64..100,
        pick in any::<prop::sample::Index>(),
    ) {
        let leaves = numbered(second);
        let first = pick.index(leaves.len() - 1) + 1;
        let old = model_root(&leaves[..first]);
        let mut rewritten = leaves;
        rewritten[pick.index(first)] = leaf_hash(b"another record");
        let (frontier, stored) = grow(&rewritten);
        let first = u64::try_from(first).unwrap();
        let proof = consistency_proof(&stored, first, second).unwrap();
        let outcome = verify_consistency(first, &old, second, &frontier.root(), &proof);
        prop_assert_eq!(outcome, Err(ProofError::RootMismatch));
    }

    #[test]
    fn verifying_never_panics(
        a in any::<u64>(), b in any::<u64>(),
        proof in prop::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let proof: Vec<_> = proof.into_iter().map(Hash::from_bytes).collect();
        let root = leaf_hash(b"root");
        prop_assert!(verify_inclusion(&root, a, b, &proof, &empty_root()).is_err());
        prop_assert!(a == 0 || verify_consistency(a, &root, b, &empty_root(), &proof).is_err());
    }
}
