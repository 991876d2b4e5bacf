//! Text that came from a broker, an agent, a client's metadata or the remote.
//!
//! It is bounded and made harmless at construction: control characters, ANSI escapes, bidirectional
//! overrides and zero-width characters become visible escapes. It is data, never an instruction.

use core::fmt;

/// Longest text that is kept, in characters; the rest is cut and the cut is shown.
const MAX_CHARS: usize = 512;

/// Outside text, escaped and bounded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Untrusted(String);

impl Untrusted {
    /// Escapes and bounds a text of at most 512 characters.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::bounded(text, MAX_CHARS)
    }

    /// Escapes a text and cuts it after `max` characters.
    #[must_use]
    pub fn bounded(text: &str, max: usize) -> Self {
        let mut out = String::with_capacity(text.len().min(max));
        for (index, c) in text.chars().enumerate() {
            if index >= max {
                out.push_str("…[cut]");
                break;
            }
            if is_deceptive(c) {
                out.extend(c.escape_unicode());
            } else {
                out.push(c);
            }
        }
        Self(out)
    }

    /// The escaped text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character could change how its surroundings are shown.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ansi_bidi_and_zero_width_characters_arrive_as_escapes() {
        let shown = Untrusted::new("a\u{1b}[31mred\u{202e}evil\u{200b}\nx").to_string();
        assert_eq!(shown, "a\\u{1b}[31mred\\u{202e}evil\\u{200b}\\u{a}x");
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        let shown = Untrusted::bounded(&"x".repeat(20), 5).to_string();
        assert_eq!(shown, "xxxxx…[cut]");
    }
}
