//! Checkpoint text: what a log states about itself at one size (c2sp.org/tlog-checkpoint).
//!
//! ```text
//! <origin>\n<decimal size>\n<base64 root>\n[<extension>\n]...
//! ```
//! The text is what a note signs. Parsing is strict: what parses encodes back to the same bytes.
//! Signatures are in [`crate::Note`]; this type says nothing about trust.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::{Hash, MAX_TREE_SIZE, empty_root};

/// Most extension lines that a checkpoint may carry.
pub const MAX_EXTENSIONS: usize = 16;

/// Why a checkpoint can't be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The text doesn't end in a newline.
    #[error("the checkpoint doesn't end in a newline")]
    Unterminated,
    /// Fewer than the three mandatory lines.
    #[error("the checkpoint has fewer than three lines")]
    TooFewLines,
    /// The origin is empty or holds a control character.
    #[error("the origin is empty or holds a control character")]
    BadOrigin,
    /// The size isn't a canonical decimal number up to [`MAX_TREE_SIZE`].
    #[error("the tree size isn't a canonical decimal number in range")]
    BadSize,
    /// The root isn't the canonical base64 of 32 bytes.
    #[error("the root hash isn't the base64 of 32 bytes")]
    BadRoot,
    /// The tree is empty and the root isn't the root of the empty tree.
    #[error("the root of an empty tree is fixed and this is another")]
    BadEmptyRoot,
    /// An extension line is empty or holds a control character.
    #[error("an extension line is empty or holds a control character")]
    BadExtension,
    /// More than [`MAX_EXTENSIONS`] extension lines.
    #[error("the checkpoint has too many extension lines")]
    TooManyExtensions,
}

/// Origin, size and root of a log at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// Makes a checkpoint without extension lines.
    ///
    /// # Errors
    /// A [`CheckpointError`] for the part that can't be written.
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, CheckpointError> {
        Self::with_extensions(origin, size, root, Vec::new())
    }

    /// Makes a checkpoint with extension lines (opaque; a witness makes no statement on them).
    ///
    /// # Errors
    /// A [`CheckpointError`] for the part that can't be written.
    pub fn with_extensions(
        origin: &str,
        size: u64,
        root: Hash,
        extensions: Vec<String>,
    ) -> Result<Self, CheckpointError> {
        if !is_line(origin) {
            return Err(CheckpointError::BadOrigin);
        }
        if size > MAX_TREE_SIZE {
            return Err(CheckpointError::BadSize);
        }
        if size == 0 && root != empty_root() {
            return Err(CheckpointError::BadEmptyRoot);
        }
        if extensions.len() > MAX_EXTENSIONS {
            return Err(CheckpointError::TooManyExtensions);
        }
        if !extensions.iter().all(|line| is_line(line)) {
            return Err(CheckpointError::BadExtension);
        }
        Ok(Self { origin: origin.to_owned(), size, root, extensions })
    }

    /// Reads the text of a checkpoint, final newline included.
    ///
    /// # Errors
    /// A [`CheckpointError`] naming the first part that is wrong.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::Unterminated)?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::TooFewLines);
        };
        let size = parse_size(size).ok_or(CheckpointError::BadSize)?;
        let root = STANDARD.decode(root).map_err(|_| CheckpointError::BadRoot)?;
        let root = <[u8; 32]>::try_from(root).map_err(|_| CheckpointError::BadRoot)?;
        // One more than allowed is taken, so that the constructor sees the excess and no more.
        let extensions = lines.take(MAX_EXTENSIONS + 1).map(str::to_owned).collect();
        Self::with_extensions(origin, size, Hash::from_bytes(root), extensions)
    }

    /// Identity of the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Root hash of the tree of that size.
    #[must_use]
    pub const fn root(&self) -> Hash {
        self.root
    }

    /// Extension lines, without newlines.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = STANDARD.encode(self.root.as_bytes());
        write!(f, "{}\n{}\n{root}\n", self.origin, self.size)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.bytes().any(|byte| byte < 0x20)
}

/// A decimal number with no sign, no leading zero and no space.
fn parse_size(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    if !canonical || text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|size| *size <= MAX_TREE_SIZE)
}
