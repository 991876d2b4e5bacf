//! Which tools a list shows. A choice of what a client's model has to read, never a permission:
//! whatever a caller may call, it may call by name, listed or not.

use super::{ToolSpec, Toolset};
use core::fmt;
use std::collections::BTreeSet;

/// Longest text of a choice, in bytes.
const MAX_TEXT: usize = 256;

/// A choice of tools: the default set, everything, or toolsets by name, in any combination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    default: bool,
    everything: bool,
    toolsets: BTreeSet<Toolset>,
}

/// A name that is no toolset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownToolset;

impl fmt::Display for UnknownToolset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Toolset::ALL.iter().map(|toolset| toolset.as_str()).collect();
        write!(f, "toolsets are default, all, or some of {}", names.join(", "))
    }
}

impl core::error::Error for UnknownToolset {}

impl Default for Listing {
    fn default() -> Self {
        Self { default: true, everything: false, toolsets: BTreeSet::new() }
    }
}

impl Listing {
    /// Every tool.
    #[must_use]
    pub fn everything() -> Self {
        Self { default: false, everything: true, toolsets: BTreeSet::new() }
    }

    /// A choice by names; no name at all gives the default set.
    ///
    /// # Errors
    /// [`UnknownToolset`] for a name that isn't `default`, `all` or a toolset's.
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownToolset> {
        let mut choice = Self { default: false, everything: false, toolsets: BTreeSet::new() };
        for name in names {
            match name {
                "default" => choice.default = true,
                "all" => choice.everything = true,
                other => {
                    let found = Toolset::ALL.iter().find(|toolset| toolset.as_str() == other);
                    choice.toolsets.insert(*found.ok_or(UnknownToolset)?);
                }
            }
        }
        if !choice.everything && choice.toolsets.is_empty() {
            choice.default = true;
        }
        Ok(choice)
    }

    /// A choice as it stands in a URL: names between commas.
    ///
    /// # Errors
    /// [`UnknownToolset`], also for a text over 256 bytes.
    pub fn parse(text: &str) -> Result<Self, UnknownToolset> {
        if text.len() > MAX_TEXT {
            return Err(UnknownToolset);
        }
        Self::of_names(text.split(',').map(str::trim).filter(|name| !name.is_empty()))
    }

    /// Whether a tool is shown.
    #[must_use]
    pub fn shows(&self, tool: &ToolSpec) -> bool {
        self.everything
            || (self.default && tool.in_default)
            || self.toolsets.contains(&tool.toolset)
    }
}

#[cfg(test)]
mod tests {
    use super::super::all;
    use super::*;

    fn shown(text: &str) -> usize {
        let choice = Listing::parse(text).unwrap();
        all().iter().filter(|tool| choice.shows(tool)).count()
    }

    #[test]
    fn a_choice_shows_its_toolsets_and_nothing_else() {
        let default = all().iter().filter(|tool| tool.in_default).count();
        assert_eq!((shown(""), shown("default"), shown(" , ")), (default, default, default));
        assert_eq!((shown("all"), shown("options,all")), (all().len(), all().len()));
        for toolset in Toolset::ALL {
            let own: Vec<_> = all().iter().filter(|tool| tool.toolset == *toolset).collect();
            assert_eq!(shown(toolset.as_str()), own.len());
            let more = own.iter().filter(|tool| !tool.in_default).count();
            assert_eq!(shown(&format!("default, {}", toolset.as_str())), default + more);
        }
        assert_eq!(Listing::parse(""), Ok(Listing::default()));
        assert_eq!(Listing::parse("all"), Ok(Listing::everything()));
    }

    #[test]
    fn an_unknown_name_is_refused_and_the_known_ones_are_told() {
        for text in ["nonsense", "options,nonsense", "Options", "*", &"x".repeat(300)] {
            assert_eq!(Listing::parse(text), Err(UnknownToolset), "{text}");
        }
        assert!(UnknownToolset.to_string().contains("options"));
    }
}
