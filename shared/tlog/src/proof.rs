//! Inclusion and consistency proofs: made from stored nodes, verified from hashes alone.
//!
//! Shapes follow RFC 6962 §2.1.1-2.1.2; verification follows RFC 9162 §2.1.3.2 and §2.1.4.2.
//! Any tree is consistent with the empty tree: that proof holds no hash.
//!
//! Making a proof needs only complete subtrees, so a store keeps no partial node.

use crate::frontier::{MissingNode, fold_peaks};
use crate::hash::{Hash, MAX_TREE_SIZE, empty_root, node_hash};

/// Most hashes in a proof over a tree of at most [`MAX_TREE_SIZE`] leaves.
pub const MAX_PROOF_HASHES: usize = 64;

/// Read access to the complete subtrees of a tree.
pub trait NodeSource {
    /// Hash of the complete subtree `index` at `level`; `None` if it isn't stored.
    fn node(&self, level: u8, index: u64) -> Option<Hash>;
}

impl<T: NodeSource + ?Sized> NodeSource for &T {
    fn node(&self, level: u8, index: u64) -> Option<Hash> {
        (**self).node(level, index)
    }
}

/// Why a proof can't be made or doesn't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf lies outside the tree.
    #[error("leaf {index} is outside a tree of {size} leaves")]
    LeafOutsideTree {
        /// Index asked for.
        index: u64,
        /// Size of the tree.
        size: u64,
    },
    /// The older tree is larger than the newer one.
    #[error("a tree of {first} leaves can't be older than one of {second}")]
    SizesReversed {
        /// Size of the older tree.
        first: u64,
        /// Size of the newer tree.
        second: u64,
    },
    /// The tree is larger than [`MAX_TREE_SIZE`].
    #[error("a tree of {size} leaves is too large")]
    TreeTooLarge {
        /// Size of the tree.
        size: u64,
    },
    /// The store lacks a node that the tree must have.
    #[error(transparent)]
    MissingNode(#[from] MissingNode),
    /// The proof has more or fewer hashes than these sizes need.
    #[error("the proof has the wrong number of hashes ({hashes})")]
    WrongLength {
        /// Number of hashes in the proof.
        hashes: usize,
    },
    /// The proof leads to another root than the one given.
    #[error("the proof leads to another root")]
    RootMismatch,
}

/// Complete subtrees that tile the leaves `start..end`, largest first.
///
/// `start` must be a multiple of the largest power of two not above `end - start`, which holds for
/// every range that occurs in a proof.
pub(crate) fn peaks_of(start: u64, end: u64) -> impl Iterator<Item = (u8, u64)> {
    let mut position = start;
    std::iter::from_fn(move || {
        let level = end.checked_sub(position)?.checked_ilog2()?;
        let index = position >> level;
        position += 1_u64 << level;
        Some((u8::try_from(level).ok()?, index))
    })
}

fn range_hash(source: &impl NodeSource, start: u64, end: u64) -> Result<Hash, MissingNode> {
    let peaks = peaks_of(start, end)
        .map(|(level, index)| source.node(level, index).ok_or(MissingNode { level, index }))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(fold_peaks(&peaks).unwrap_or_else(empty_root))
}

/// Largest power of two smaller than `count`, which is at least 2.
fn split_point(count: u64) -> u64 {
    1 << (count - 1).checked_ilog2().unwrap_or(0)
}

fn check_sizes(first: u64, second: u64) -> Result<(), ProofError> {
    if second > MAX_TREE_SIZE {
        return Err(ProofError::TreeTooLarge { size: second });
    }
    if first > second {
        return Err(ProofError::SizesReversed { first, second });
    }
    Ok(())
}

fn check_leaf(index: u64, size: u64) -> Result<(), ProofError> {
    if size > MAX_TREE_SIZE {
        return Err(ProofError::TreeTooLarge { size });
    }
    if index >= size {
        return Err(ProofError::LeafOutsideTree { index, size });
    }
    Ok(())
}

/// Proof that leaf `index` is in the tree of `size` leaves: siblings from the leaf upwards.
///
/// # Errors
/// [`ProofError::LeafOutsideTree`], [`ProofError::TreeTooLarge`], [`ProofError::MissingNode`].
pub fn inclusion_proof(
    source: &impl NodeSource,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, ProofError> {
    check_leaf(index, size)?;
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split_point(end - start);
        if index < middle {
            path.push(range_hash(source, middle, end)?);
            end = middle;
        } else {
            path.push(range_hash(source, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves with this `root`.
///
/// # Errors
/// Any [`ProofError`] but `MissingNode`: the statement isn't proved.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    check_leaf(index, size)?;
    let wrong_length = ProofError::WrongLength { hashes: proof.len() };
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            skip_to_right_child(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    if hash != *root {
        return Err(ProofError::RootMismatch);
    }
    Ok(())
}

/// Climbs past levels on which the node is the last one and has no sibling.
fn skip_to_right_child(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

/// Proof that the tree of `first` leaves is a prefix of the tree of `second` leaves.
///
/// # Errors
/// [`ProofError::SizesReversed`], [`ProofError::TreeTooLarge`], [`ProofError::MissingNode`].
pub fn consistency_proof(
    source: &impl NodeSource,
    first: u64,
    second: u64,
) -> Result<Vec<Hash>, ProofError> {
    check_sizes(first, second)?;
    if first == 0 {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, second);
    let mut path = Vec::new();
    while first != end {
        let middle = start + split_point(end - start);
        if first <= middle {
            path.push(range_hash(source, middle, end)?);
            end = middle;
        } else {
            path.push(range_hash(source, start, middle)?);
            start = middle;
        }
    }
    // A subtree that starts at 0 is the whole older tree, whose root the verifier has.
    if start != 0 {
        path.push(range_hash(source, start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks that the tree (`first`, `first_root`) is a prefix of the tree (`second`, `second_root`).
///
/// # Errors
/// Any [`ProofError`] but `MissingNode`: the statement isn't proved.
pub fn verify_consistency(
    first: u64,
    first_root: &Hash,
    second: u64,
    second_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    check_sizes(first, second)?;
    let wrong_length = ProofError::WrongLength { hashes: proof.len() };
    if first == 0 || first == second {
        return verify_trivial(first, first_root, second, second_root, proof);
    }
    // When the older tree is one complete subtree its root is the start and isn't sent.
    let (start, rest) = if first.is_power_of_two() {
        (first_root, proof)
    } else {
        proof.split_first().ok_or(wrong_length)?
    };
    let (mut node, mut last) = (first - 1, second - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (*start, *start);
    for hash in rest {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            old = node_hash(hash, &old);
            new = node_hash(hash, &new);
            skip_to_right_child(&mut node, &mut last);
        } else {
            new = node_hash(&new, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    if old != *first_root || new != *second_root {
        return Err(ProofError::RootMismatch);
    }
    Ok(())
}

/// The two cases without hashes: from the empty tree, and from a tree to itself.
fn verify_trivial(
    first: u64,
    first_root: &Hash,
    second: u64,
    second_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if !proof.is_empty() {
        return Err(ProofError::WrongLength { hashes: proof.len() });
    }
    if first == 0 && *first_root != empty_root() {
        return Err(ProofError::RootMismatch);
    }
    if first == second && first_root != second_root {
        return Err(ProofError::RootMismatch);
    }
    Ok(())
}
