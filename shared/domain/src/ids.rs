//! Identifiers, each its own type, each parsed once at the door.
//!
//! All are bounded in length and made of a small character set, so an id can be put into a log
//! line, a URL path segment or a table key without escaping.

use core::fmt;

/// Why a text is not an identifier of the asked kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be 1 to {max} characters of {allowed}")]
pub struct InvalidId {
    kind: &'static str,
    max: usize,
    allowed: &'static str,
}

impl InvalidId {
    pub(crate) const fn new(kind: &'static str, max: usize, allowed: &'static str) -> Self {
        Self { kind, max, allowed }
    }
}

fn plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

fn visible(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:literal, $check:ident, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Parses an identifier.
            ///
            /// # Errors
            /// [`InvalidId`] if the text is empty, too long or holds another character.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if text.is_empty() || text.len() > $max || !$check(text) {
                    return Err(InvalidId {
                        kind: stringify!($name),
                        max: $max,
                        allowed: $allowed,
                    });
                }
                Ok(Self(text.to_owned()))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl core::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
    };
}

text_id!(
    /// A broker account, such as `DU1234567`.
    AccountId, 32, plain, "letters, digits and -_.:"
);
text_id!(
    /// A configured broker login, such as `paper` or `live`.
    BrokerName, 32, plain, "letters, digits and -_.:"
);
text_id!(
    /// One tool call or operator verb, unique per gateway (a UUIDv7).
    CallId, 64, plain, "letters, digits and -_.:"
);
text_id!(
    /// A stored order preview.
    PreviewId, 64, plain, "letters, digits and -_.:"
);
text_id!(
    /// A request for a human's approval, and the approval once given.
    ApprovalId, 64, plain, "letters, digits and -_.:"
);
text_id!(
    /// IBKR's own order id (`order_id`), a decimal number in text form.
    BrokerOrderId, 32, plain, "letters, digits and -_.:"
);
text_id!(
    /// The caller's key that makes a write safe to repeat.
    IdempotencyKey, 128, visible, "visible ASCII characters"
);
text_id!(
    /// Our order reference at IBKR (`cOID`), unique there for 24 hours.
    ClientOrderId, 64, plain, "letters, digits and -_.:"
);
text_id!(
    /// One sidecar installation.
    SidecarId, 64, plain, "letters, digits and -_.:"
);
text_id!(
    /// An enrolled operator key: the first 16 hex digits of the SHA-256 of its public key.
    OperatorKeyId, 64, plain, "letters, digits and -_.:"
);

/// IBKR's contract id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conid(u64);

impl Conid {
    /// A contract id; zero is not one.
    ///
    /// # Errors
    /// [`InvalidId`] for zero or a value above `u32::MAX`.
    pub fn new(value: u64) -> Result<Self, InvalidId> {
        if value == 0 || value > u64::from(u32::MAX) {
            return Err(InvalidId { kind: "Conid", max: 10, allowed: "digits, above zero" });
        }
        Ok(Self(value))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Conid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A SHA-256 digest; shown as lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Wraps bytes that already are a digest.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`InvalidId`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId { kind: "Digest", max: 64, allowed: "hexadecimal digits" };
        // Checked by character: a sign would pass the number parser.
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut bytes = [0_u8; 32];
        for (slot, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = core::str::from_utf8(pair).map_err(|_| invalid())?;
            *slot = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(64);
        for digit in self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}
