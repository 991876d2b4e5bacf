//! How large an answer is in a model's tokens, and the most that may leave.
//!
//! No tokenizer runs here: every vocabulary differs and each call would pay for it. The estimate
//! counts runs as the common vocabularies split them (three digits, a few letters, punctuation) and
//! errs upwards; a test compares it with a real tokenizer on an answer of every tool.

/// Most tokens that an answer may have; clients cut or refuse more.
pub(super) const MAX_ANSWER_TOKENS: usize = 25_000;

#[derive(PartialEq, Eq, Clone, Copy)]
enum Kind {
    Letter,
    Digit,
    Mark,
    Wide,
}

impl Kind {
    const fn of(c: char) -> Self {
        if c.is_ascii_alphabetic() {
            Self::Letter
        } else if c.is_ascii_digit() {
            Self::Digit
        } else if c.is_ascii() {
            Self::Mark
        } else {
            Self::Wide
        }
    }

    /// Characters that one token holds at least, in runs of this kind.
    const fn per_token(self) -> usize {
        match self {
            Self::Letter | Self::Digit => 3,
            Self::Mark => 2,
            Self::Wide => 1,
        }
    }
}

/// Tokens of a text, never too few by design.
#[must_use]
pub fn estimated_tokens(text: &str) -> usize {
    let mut tokens: usize = 0;
    let mut run: Option<(Kind, usize)> = None;
    for c in text.chars() {
        let kind = Kind::of(c);
        run = match run {
            Some((same, length)) if same == kind => Some((kind, length.saturating_add(1))),
            Some((ended, length)) => {
                tokens = tokens.saturating_add(length.div_ceil(ended.per_token()));
                Some((kind, 1))
            }
            None => Some((kind, 1)),
        };
    }
    let last = run.map_or(0, |(kind, length)| length.div_ceil(kind.per_token()));
    tokens.saturating_add(last)
}

/// How many rows to try next when so many made an answer too large; `None` when it fits, or when
/// one row alone is too large.
pub(super) fn fewer_rows(rows: usize, tokens: usize) -> Option<usize> {
    if tokens <= MAX_ANSWER_TOKENS || rows <= 1 {
        return None;
    }
    // A little under the proportion, since the answer's frame stays the same.
    let fitting = rows.saturating_mul(MAX_ANSWER_TOKENS) / tokens.max(1);
    Some(fitting.saturating_mul(19).div_euclid(20).clamp(1, rows.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_by_kind() {
        for (text, tokens) in
            [("", 0), ("abc", 1), ("abcd", 2), ("1234567", 3), ("\"a\":1.5", 6), ("é…", 2)]
        {
            assert_eq!(estimated_tokens(text), tokens, "{text}");
        }
    }

    #[test]
    fn rows_shrink_until_they_fit_or_one_is_left() {
        assert_eq!(fewer_rows(100, MAX_ANSWER_TOKENS), None);
        assert_eq!(fewer_rows(1, MAX_ANSWER_TOKENS * 9), None);
        assert_eq!(fewer_rows(100, MAX_ANSWER_TOKENS * 2), Some(47));
        assert_eq!(fewer_rows(2, MAX_ANSWER_TOKENS + 1), Some(1));
        let mut rows = 1_000;
        let mut steps = 0;
        while let Some(next) = fewer_rows(rows, rows * 45) {
            assert!(next < rows);
            (rows, steps) = (next, steps + 1);
        }
        assert!((500..=555).contains(&rows) && steps < 4, "{rows} in {steps}");
    }
}
