//! Crashes, races, duplicates and losses against the real core.
