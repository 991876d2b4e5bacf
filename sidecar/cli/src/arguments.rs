//! A tool's arguments, built from flags: what wasn't given isn't sent, so that the tool's own
//! defaults and messages hold. Numbers stay text: no price goes through a float here.

use crate::failure::Failure;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// Arguments under construction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Arguments(Map<String, Value>);

impl Arguments {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A text, if given.
    pub(crate) fn text(mut self, key: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value.into());
        }
        self
    }

    /// A whole number, if given.
    pub(crate) fn number(mut self, key: &str, value: Option<u64>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value.into());
        }
        self
    }

    /// A list, if anything is in it.
    pub(crate) fn list(mut self, key: &str, values: &[String]) -> Self {
        if !values.is_empty() {
            self.0.insert(key.to_owned(), values.into());
        }
        self
    }

    /// A list of objects with two keys each, if anything is in it.
    pub(crate) fn pairs(
        mut self,
        key: &str,
        (first, second): (&str, &str),
        values: &[(String, String)],
    ) -> Self {
        if !values.is_empty() {
            let object = |(a, b): &(String, String)| serde_json::json!({ first: a, second: b });
            self.0.insert(key.to_owned(), values.iter().map(object).collect());
        }
        self
    }

    /// A switch, if it is on.
    pub(crate) fn switch(mut self, key: &str, is_on: bool) -> Self {
        if is_on {
            self.0.insert(key.to_owned(), true.into());
        }
        self
    }

    /// Every field of every item, if asked.
    pub(crate) fn full(self, is_full: bool) -> Self {
        self.text("detail", is_full.then_some("full"))
    }

    /// The JSON object.
    pub(crate) fn into_raw(self) -> Result<Box<RawValue>, Failure> {
        to_raw_value(&self.0).map_err(|_| Failure::input("the arguments can't be written as JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_given_is_not_sent() {
        let empty = Arguments::new().text("a", None).number("b", None).list("c", &[]).full(false);
        assert_eq!(empty.switch("d", false).into_raw().unwrap().get(), "{}");
        let some = Arguments::new().text("a", Some("1.10")).number("b", Some(2)).full(true);
        assert_eq!(some.into_raw().unwrap().get(), r#"{"a":"1.10","b":2,"detail":"full"}"#);
    }
}
