//! `Cargo.lock` as a graph: who depends on whom, on every platform.
//!
//! The file is enough for that and always there; the resolved graph of `cargo metadata` needs the
//! sources of other platforms' packages, which no build on this one fetches.
//!
//! It is read line by line, as cargo writes it. Kinds of edges aren't in it: a member's list holds
//! its normal, dev and build dependencies, a registry package's all but its dev ones.
//! Invariant: an edge to a package that isn't in the file is an error, never a shorter graph.

use std::collections::BTreeMap;

/// Why the lock file can't be read as a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// A package lacks its name or version.
    #[error("a package of Cargo.lock has no name or no version")]
    Nameless,
    /// A dependency that no package, or more than one, answers to.
    #[error("Cargo.lock doesn't say which package {0} is")]
    Unclear(String),
}

/// Every package as `name version`, with those it depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock(BTreeMap<String, Vec<String>>);

impl Lock {
    /// Reads the text of a `Cargo.lock`.
    ///
    /// # Errors
    /// [`LockError`] when a package or an edge can't be told.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let entries: Vec<Entry<'_>> =
            text.split("[[package]]").skip(1).map(Entry::parse).collect::<Result<_, _>>()?;
        let mut ids: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for entry in &entries {
            ids.entry(entry.name).or_default().push(entry.id());
        }
        let mut graph = BTreeMap::new();
        for entry in &entries {
            let edges = entry.dependencies.iter().map(|named| resolve(&ids, named));
            graph.insert(entry.id(), edges.collect::<Result<_, _>>()?);
        }
        Ok(Self(graph))
    }

    /// The packages and their edges.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(id, edges)| (id.as_str(), edges.as_slice()))
    }
}

/// The name of a package's id.
#[must_use]
pub fn name_of(id: &str) -> &str {
    id.split(' ').next().unwrap_or(id)
}

#[derive(Debug)]
struct Entry<'a> {
    name: &'a str,
    version: &'a str,
    dependencies: Vec<&'a str>,
}

impl<'a> Entry<'a> {
    fn parse(block: &'a str) -> Result<Self, LockError> {
        let value = |key: &str| {
            let mut lines = block.lines().filter_map(|line| line.strip_prefix(key));
            lines.find_map(|rest| rest.strip_prefix(" = \"")?.strip_suffix('"'))
        };
        let (Some(name), Some(version)) = (value("name"), value("version")) else {
            return Err(LockError::Nameless);
        };
        let listed = block.lines().skip_while(|line| *line != "dependencies = [").skip(1);
        let listed = listed.take_while(|line| *line != "]");
        let dependencies = listed.map(|line| line.trim_matches([' ', ',', '"'])).collect();
        Ok(Self { name, version, dependencies })
    }

    fn id(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

/// A dependency is listed by name; by name and version where two versions are locked; with the
/// source too where that is still not enough.
fn resolve(ids: &BTreeMap<&str, Vec<String>>, listed: &str) -> Result<String, LockError> {
    let mut words = listed.split(' ');
    let known = words.next().and_then(|name| ids.get(name)).map_or(&[][..], Vec::as_slice);
    let version = words.next();
    let mut fitting = known.iter().filter(|id| {
        version.is_none_or(|version| id.split(' ').nth(1).is_some_and(|own| own == version))
    });
    match (fitting.next(), fitting.next()) {
        (Some(id), None) => Ok(id.clone()),
        _ => Err(LockError::Unclear(listed.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\
        dependencies = [\n \"b 2.0.0\",\n \"c\",\n]\n\n[[package]]\nname = \"b\"\n\
        version = \"1.0.0\"\n\n[[package]]\nname = \"b\"\nversion = \"2.0.0\"\n\n\
        [[package]]\nname = \"c\"\nversion = \"3.0.0\"\nsource = \"x\"\n";

    #[test]
    fn an_edge_leads_to_the_version_that_is_meant() {
        let lock = Lock::parse(TWO).expect("a lock file");
        let edges: Vec<_> = lock.iter().collect();
        let of_a = ["b 2.0.0".to_owned(), "c 3.0.0".to_owned()];
        assert_eq!(edges.first(), Some(&("a 1.0.0", &of_a[..])));
        assert_eq!(edges.len(), 4);
    }

    #[test]
    fn an_edge_that_leads_nowhere_or_to_two_is_an_error() {
        for (from, to) in [("\"c\"", "\"d\""), ("b 2.0.0", "b"), ("b 2.0.0", "b 9.0.0")] {
            let told = Lock::parse(&TWO.replacen(from, to, 1));
            let name = to.trim_matches('"').to_owned();
            assert_eq!(told, Err(LockError::Unclear(name)), "{from} as {to}");
        }
        let nameless = TWO.replacen("name = \"c\"\n", "", 1);
        assert_eq!(Lock::parse(&nameless), Err(LockError::Nameless));
    }
}
