//! The right edge of a growing tree: everything needed to append and to know the root.
//!
//! Holds one hash per complete subtree on the right edge (at most 63). It stores nothing:
//! [`Frontier::append`] returns the nodes that became complete so that a store can persist them,
//! and [`Frontier::from_source`] rebuilds the edge from that store at start.
//!
//! Invariant: `peaks` has exactly one hash per set bit of `size`, largest subtree first.

use crate::hash::{Hash, MAX_TREE_SIZE, empty_root, node_hash};
use crate::proof::{NodeSource, peaks_of};

/// A complete subtree: `index` counts the nodes of its `level` from the left, leaves are level 0.
///
/// Its hash never changes once the subtree is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Height above the leaves; the subtree covers `2^level` leaves.
    pub level: u8,
    /// Position among the nodes of this level, from 0.
    pub index: u64,
    /// Hash of the subtree.
    pub hash: Hash,
}

/// The tree holds [`MAX_TREE_SIZE`] leaves and takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tree is full")]
pub struct TreeFull;

/// A node that must exist in a tree of the given size isn't in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tree node at level {level}, index {index} is missing")]
pub struct MissingNode {
    /// Height above the leaves.
    pub level: u8,
    /// Position among the nodes of this level.
    pub index: u64,
}

/// Right edge of a tree: appends in logarithmic time, knows size and root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The edge of an empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// Rebuilds the edge of a tree of `size` leaves from stored nodes.
    ///
    /// # Errors
    /// [`MissingNode`] if the source lacks a node that a tree of this size has.
    pub fn from_source(size: u64, source: &impl NodeSource) -> Result<Self, MissingNode> {
        let peaks = peaks_of(0, size)
            .map(|(level, index)| source.node(level, index).ok_or(MissingNode { level, index }))
            .collect::<Result<_, _>>()?;
        Ok(Self { size, peaks })
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Root hash of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        fold_peaks(&self.peaks).unwrap_or_else(empty_root)
    }

    /// Appends a leaf. Returns every node that became complete, the leaf first, upwards.
    ///
    /// # Errors
    /// [`TreeFull`] at [`MAX_TREE_SIZE`] leaves; the edge is then unchanged.
    pub fn append(&mut self, leaf: Hash) -> Result<Vec<Node>, TreeFull> {
        if self.size >= MAX_TREE_SIZE {
            return Err(TreeFull);
        }
        let mut node = Node { level: 0, index: self.size, hash: leaf };
        let mut completed = vec![node];
        // An odd index is a right child: its left sibling is the last peak.
        while node.index & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            node = Node {
                level: node.level + 1,
                index: node.index >> 1,
                hash: node_hash(&left, &node.hash),
            };
            completed.push(node);
        }
        self.peaks.push(node.hash);
        self.size += 1;
        Ok(completed)
    }
}

/// Joins complete subtrees, largest first, into the hash over all of them.
pub(crate) fn fold_peaks(peaks: &[Hash]) -> Option<Hash> {
    let (last, rest) = peaks.split_last()?;
    Some(rest.iter().rev().fold(*last, |right, left| node_hash(left, &right)))
}
