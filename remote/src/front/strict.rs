//! What a JSON text must not hold if two parsers are to read the same in it: a name given twice in
//! one object, and a number that a double can't carry.
//!
//! The transport behind the front layer reads a repeated name as its last value and a long number
//! as the nearest double. An order must never be one thing to whoever wrote it and another to the
//! gates, so such a message is refused here, from the bytes that were sent (RFC 8259 §4 and §6).

use ibkr_agent_protocol::number::is_exact_json_number;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Whether some object of a valid JSON text gives a name twice. The caller bounds its depth.
pub(super) fn repeats_a_name(json: &str) -> bool {
    serde_json::from_str::<Unambiguous>(json).is_err()
}

/// Whether a valid JSON text holds a number that a parser may round.
pub(super) fn has_inexact_number(json: &str) -> bool {
    let mut rest = json;
    while let Some(start) = rest.find(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
    {
        let tail = rest.get(start..).unwrap_or_default();
        if tail.starts_with('"') {
            rest = after_string(tail);
            continue;
        }
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
        let end = tail.find(|c| !is_part(c)).unwrap_or(tail.len());
        let (number, after) = tail.split_at(end);
        if !is_exact_json_number(number) {
            return true;
        }
        rest = after;
    }
    false
}

/// What follows a text that starts with a JSON string.
fn after_string(text: &str) -> &str {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return text.get(index.saturating_add(1)..).unwrap_or_default(),
            _ => {}
        }
    }
    ""
}

/// Any JSON value in which no object gives a name twice. Keeps nothing.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value without repeated names")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unambiguous, A::Error> {
        while list.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unambiguous, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a name is given twice"));
            }
            map.next_value::<Unambiguous>()?;
        }
        Ok(Unambiguous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_given_twice_is_seen_at_any_depth_and_in_any_spelling() {
        for (json, repeats) in [
            (r#"{"a":1,"b":{"a":[{"a":null},{"a":true}]}}"#, false),
            (r#"{"a":1,"a":1}"#, true),
            (r#"{"a":1,"\u0061":2}"#, true),
            (r#"{"x":[[{"a":1,"b":2,"a":3}]]}"#, true),
            (r#"{"a":1,"A":2}"#, false),
            ("[1.5,-2,\"a\",\"a\"]", false),
        ] {
            assert_eq!(repeats_a_name(json), repeats, "{json}");
        }
    }

    #[test]
    fn a_number_beyond_a_double_is_seen_and_digits_in_texts_are_not_numbers() {
        for (json, inexact) in [
            (r#"{"quantity":100,"limit":187.25,"n":-0.5}"#, false),
            (r#"{"id":18446744073709551615,"m":-9223372036854775808}"#, false),
            (r#"{"quantity":100.00000000000000001}"#, true),
            (r#"[0.30000000000000000001]"#, true),
            (r#"{"quantity":18446744073709551616}"#, true),
            ("1e400", true),
            ("1e-400", true),
            ("[1.5e3]", false),
            (r#"{"a\"1e400":"100.00000000000000001","b":"\\"}"#, false),
            (r#"{"a":"\\","b":1.0000000000000000001}"#, true),
        ] {
            assert_eq!(has_inexact_number(json), inexact, "{json}");
        }
    }
}
