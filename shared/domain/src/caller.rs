//! The names by which callers with tokens are told apart, in admissions, ownership and the log.
//!
//! Different callers have different names, whatever an issuer or a client puts into a token. A name
//! that is short and harmless stands as it is; any other is shown in part, escaped, with its digest
//! behind [`MARK`], which no other name holds. A client's name holds no `|`, so that the last one
//! of a label always parts client and subject; subjects such as `auth0|123` keep theirs.

use crate::{Digest, Untrusted};

/// What stands before the digest of a name that isn't written as it is.
const MARK: &str = "~sha256:";

/// Longest name that is written as it is, in characters.
const MAX_WHOLE_CHARS: usize = 128;

/// How much of any other name is shown, in characters.
const SHOWN_CHARS: usize = 32;

/// Hexadecimal digits of the digest, 128 bits.
const DIGEST_DIGITS: usize = 32;

/// What stands for a client that the token doesn't name.
const NO_CLIENT: &str = "-";

/// The name of a token's subject.
pub(crate) fn subject(raw: &str) -> Untrusted {
    if stands_as_it_is(raw) { Untrusted::new(raw) } else { digested(raw) }
}

/// The name of a token's client.
pub(crate) fn client(raw: Option<&str>) -> Untrusted {
    match raw {
        None => Untrusted::new(NO_CLIENT),
        Some(raw) if stands_as_it_is(raw) && raw != NO_CLIENT && !raw.contains('|') => {
            Untrusted::new(raw)
        }
        Some(raw) => digested(raw),
    }
}

fn stands_as_it_is(raw: &str) -> bool {
    !raw.is_empty()
        && raw.chars().count() <= MAX_WHOLE_CHARS
        && !raw.contains(MARK)
        && Untrusted::new(raw).as_str() == raw
}

fn digested(raw: &str) -> Untrusted {
    let shown = Untrusted::bounded(raw, SHOWN_CHARS).as_str().replace('|', "/");
    let digest = Digest::of(raw.as_bytes()).to_string();
    let digest = digest.get(..DIGEST_DIGITS).unwrap_or_default();
    Untrusted::bounded(&format!("{shown}{MARK}{digest}"), usize::MAX)
}

#[cfg(test)]
mod tests {
    use crate::{Actor, Untrusted};
    use std::collections::BTreeSet;

    fn label(subject: &str, client: Option<&str>) -> String {
        Actor::token("https://id.example", subject, client).label()
    }

    #[test]
    fn ordinary_names_stand_as_they_are() {
        assert_eq!(label("alice", Some("app")), "token:https://id.example|alice|app");
        assert_eq!(label("auth0|7", Some("app")), "token:https://id.example|auth0|7|app");
        assert_eq!(label("CORP\\bob", None), "token:https://id.example|CORP\\bob|-");
    }

    #[test]
    fn no_two_callers_share_a_label() {
        let long = "x".repeat(128);
        let longer = [format!("{long}a"), format!("{long}b")];
        let shown_as = label(&longer[0], None);
        let forged = shown_as.trim_start_matches("token:https://id.example|");
        let forged = forged.trim_end_matches("|-");
        let escaped = Untrusted::new("a\u{1b}").to_string();
        let cut = Untrusted::bounded(&longer[0], 128).to_string();
        let callers = [
            ("a", Some("b|c")),
            ("a|b", Some("c")),
            ("a|b|c", None),
            ("a|b|c", Some("-")),
            ("a|b|c", Some("")),
            (long.as_str(), None),
            (longer[0].as_str(), None),
            (longer[1].as_str(), None),
            (cut.as_str(), None),
            (forged, None),
            ("a\u{1b}", None),
            (escaped.as_str(), None),
            ("c", Some(longer[0].as_str())),
            ("c", Some(longer[1].as_str())),
        ];
        let labels: BTreeSet<String> = callers.map(|(s, c)| label(s, c)).into_iter().collect();
        assert_eq!(labels.len(), callers.len(), "{labels:#?}");
    }

    #[test]
    fn a_label_is_harmless_and_bounded_whatever_the_token_says() {
        let worst = "\u{e0001}\u{202e}\u{1b}|".repeat(128);
        let shown = label(&worst, Some(&worst));
        assert_eq!(Untrusted::bounded(&shown, usize::MAX).as_str(), shown);
        assert!(shown.len() < 700, "{}", shown.len());
    }
}
