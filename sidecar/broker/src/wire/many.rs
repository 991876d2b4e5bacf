//! A list in any of the forms that the gateway gives it.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An array without its nulls, a single value as an array of one, null or empty text as none.
pub(crate) struct Many<T>(Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Many<T> {
    pub(crate) fn iter(&self) -> core::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Takes out the first value that fits.
    pub(crate) fn take(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let at = self.0.iter().position(fits)?;
        Some(self.0.swap_remove(at))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// One object of a list: one of another form costs itself, not the list.
pub(crate) struct Row<T>(Option<T>);

impl<T> Row<T> {
    /// What was read, unless the row has another form.
    pub(crate) fn read(self) -> Option<T> {
        self.0
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Row<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let is_object = raw.get().starts_with('{');
        Ok(Self(serde_json::from_str(raw.get()).ok().filter(|_| is_object)))
    }
}

impl<T> IntoIterator for Many<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let rows = match text.as_bytes().first() {
            None | Some(b'n') => Vec::new(),
            Some(b'"') if text.len() <= 2 => Vec::new(),
            Some(b'[') => {
                let rows: Vec<Option<T>> = serde_json::from_str(text).map_err(D::Error::custom)?;
                rows.into_iter().flatten().collect()
            }
            Some(_) => vec![serde_json::from_str(text).map_err(D::Error::custom)?],
        };
        Ok(Self(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Scalar;

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Body {
        rows: Many<Scalar>,
    }

    #[test]
    fn lists_come_as_arrays_single_values_or_nothing() {
        for (json, expected) in [
            (r#"{"rows":[1,null,"b"]}"#, 2),
            (r#"{"rows":"SMART"}"#, 1),
            (r#"{"rows":7}"#, 1),
            (r#"{"rows":""}"#, 0),
            (r#"{"rows":null}"#, 0),
            (r#"{"rows":[]}"#, 0),
            ("{}", 0),
        ] {
            let body: Body = serde_json::from_str(json).unwrap();
            assert_eq!(body.rows.len(), expected, "{json}");
        }
    }

    #[test]
    fn a_list_of_the_wrong_things_is_an_error() {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Objects {
            rows: Many<Body>,
        }
        assert!(serde_json::from_str::<Objects>(r#"{"rows":[{"rows":[]}]}"#).is_ok());
        assert!(serde_json::from_str::<Objects>(r#"{"rows":["text"]}"#).is_err());
        assert!(serde_json::from_str::<Objects>(r#"{"rows":5}"#).is_err());
        let one: Objects = serde_json::from_str(r#"{"rows":{"rows":[1]}}"#).unwrap();
        assert_eq!(one.rows.iter().map(|body| body.rows.len()).sum::<usize>(), 1);
    }
}
