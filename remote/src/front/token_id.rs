//! Short ids that stand for a token or a user in log lines.
//!
//! Keyed, so that a log reader can't test guesses; with a configured secret they compare across
//! restarts and replicas.

use aws_lc_rs::hmac;

/// Bytes of an id that are shown.
const SHOWN: usize = 8;

/// Makes ids. `Debug` shows no key.
#[derive(Clone)]
pub(super) struct TokenIds(hmac::Key);

impl TokenIds {
    pub(super) fn keyed(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A key of this process alone.
    pub(super) fn random() -> Self {
        let parts = [uuid::Uuid::now_v7(), uuid::Uuid::now_v7()];
        Self::keyed(&parts.map(uuid::Uuid::into_bytes).concat())
    }

    /// The id of a hash, 16 hexadecimal digits.
    pub(super) fn id(&self, hash: &[u8; 32]) -> String {
        let tag = hmac::sign(&self.0, hash);
        tag.as_ref().iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for TokenIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenIds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_the_key_and_show_neither_key_nor_hash() {
        let (one, two) = (TokenIds::keyed(b"one"), TokenIds::keyed(b"two"));
        let hash = [7; 32];
        assert_eq!(one.id(&hash), TokenIds::keyed(b"one").id(&hash));
        assert_ne!(one.id(&hash), two.id(&hash));
        assert_eq!(one.id(&hash).len(), 16);
        assert_eq!(format!("{one:?}"), "TokenIds");
    }
}
