//! Which state folders there are: below the base folders that this terminal knows, and those of
//! running sidecars of this user.

use crate::args::{Global, HaltDomain};
use crate::home::{self, Environment};
use crate::world::{self, Taken};
use ibkr_agent_gateway::config::Settings;
use ibkr_agent_gateway::invocation::Invocation;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The file that every sidecar holds open.
const STORE_FILE: &str = "store.redb";

/// A state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) domain: HaltDomain,
    pub(super) base: PathBuf,
    pub(super) folder: PathBuf,
    /// Why nobody can say what is in it.
    pub(super) closed: Option<String>,
    /// What brings another terminal there.
    pub(super) invocation: Invocation,
    /// Whether that names the configuration that a broker's sidecar needs.
    pub(super) is_configured: bool,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) places: Vec<Place>,
    /// The base folders that were looked into.
    pub(super) bases: Vec<PathBuf>,
    /// Running sidecars of this user that were left alone: process and folder.
    pub(super) elsewhere: Vec<(u32, PathBuf)>,
    /// What a person must know of the search.
    pub(super) notes: Vec<String>,
}

pub(super) const fn name_of(domain: HaltDomain) -> &'static str {
    match domain {
        HaltDomain::Simulator => "simulator",
        HaltDomain::Broker => "broker",
    }
}

/// Looks for every state folder, or for those of one domain. Where the base folder is named, only
/// that one and the configuration's are looked into, and other sidecars are told.
pub(super) fn search(
    global: &Global,
    environment: Environment<'_>,
    only: Option<HaltDomain>,
) -> Search {
    let mut notes = Vec::new();
    let named = global.state_dir.is_some() || environment("IBKR_AGENT_HOME").is_some();
    let mut bases = Vec::new();
    match home::base(global.state_dir.as_deref(), environment) {
        Ok(base) => bases.push(base),
        Err(failure) => notes.push(failure.0.message),
    }
    let taken = Taken::from(global, environment).unwrap_or_else(|failure| {
        notes.push(format!("halted without the configuration: {}", failure.0.message));
        Taken::default()
    });
    let store = taken.raw.store.path.as_deref().or(taken.raw.audit.sqlite_path.as_deref());
    bases.extend(store.and_then(|path| std::path::absolute(path).ok()));
    let mut places = Vec::new();
    let mut seen = BTreeSet::new();
    for base in &bases {
        for domain in [HaltDomain::Broker, HaltDomain::Simulator] {
            if only.is_none_or(|only| only == domain) && seen.insert(base.join(name_of(domain))) {
                places.extend(place(base, domain));
            }
        }
    }
    let mut elsewhere = Vec::new();
    for (pid, folder) in running(Path::new("/proc"), environment) {
        if seen.contains(&folder) || places.iter().any(|one| is_one(&one.folder, &folder)) {
            continue;
        }
        match (named, by_running(&folder)) {
            (false, Some(one)) if only.is_none_or(|only| only == one.domain) => places.push(one),
            _ => elsewhere.push((pid, folder)),
        }
    }
    let settings = Settings::try_from_raw(&taken.raw).ok();
    let own = settings.filter(|_| taken.found.is_some()).map(|found| found.domain().as_str());
    // What any terminal of this user looks into by itself.
    let by_itself = home::base(None, &|name| match name {
        "IBKR_AGENT_HOME" => None,
        name => environment(name),
    });
    for place in &mut places {
        let flag = (by_itself.as_ref() != Ok(&place.base)).then_some(place.base.as_path());
        place.is_configured = own == Some(name_of(place.domain));
        place.invocation = match (place.is_configured, place.domain, flag) {
            (true, _, flag) => world::invocation(&taken, flag),
            (false, HaltDomain::Simulator, flag) => world::invocation(&Taken::default(), flag),
            (false, HaltDomain::Broker, Some(folder)) => Invocation::plain().with_state_dir(folder),
            (false, HaltDomain::Broker, None) => Invocation::plain(),
        };
    }
    Search { places, bases, elsewhere, notes }
}

fn place(base: &Path, domain: HaltDomain) -> Option<Place> {
    let folder = base.join(name_of(domain));
    let closed = match folder.metadata() {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some("it isn't a folder".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => Some(error.to_string()),
    };
    Some(Place {
        domain,
        base: base.to_owned(),
        folder,
        closed,
        invocation: Invocation::plain(),
        is_configured: false,
    })
}

fn by_running(folder: &Path) -> Option<Place> {
    let domain = [HaltDomain::Broker, HaltDomain::Simulator]
        .into_iter()
        .find(|domain| folder.file_name().is_some_and(|name| name == name_of(*domain)))?;
    place(folder.parent()?, domain)
}

fn is_one(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino())).ok();
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// State folders of this user's running sidecars, by the files that they hold open. One that was
/// started under another home folder is another's business: a test's, or another installation's.
/// Empty where the system doesn't tell.
fn running(system: &Path, environment: Environment<'_>) -> Vec<(u32, PathBuf)> {
    let own = std::fs::metadata(system.join("self")).map(|found| found.uid());
    let Ok(own) = own else {
        return Vec::new();
    };
    let home = environment("HOME");
    let entries = std::fs::read_dir(system).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let is_own = entry.metadata().is_ok_and(|found| found.uid() == own);
            let process = entry.path();
            (is_own && home.is_some() && home_of(&process) == home)
                .then(|| folders_of(&process).map(move |folder| (pid, folder)))
        })
        .flatten()
        .collect();
    found.sort();
    found.dedup_by(|one, other| one.1 == other.1);
    found
}

fn home_of(process: &Path) -> Option<String> {
    let text = std::fs::read(process.join("environ")).ok()?;
    let mut variables = text.split(|byte| *byte == 0);
    let home = variables.find_map(|variable| variable.strip_prefix(b"HOME="))?;
    String::from_utf8(home.to_vec()).ok()
}

fn folders_of(process: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let open = std::fs::read_dir(process.join("fd")).into_iter().flatten();
    open.filter_map(Result::ok)
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|target| target.file_name().is_some_and(|name| name == STORE_FILE))
        .filter_map(|target| target.parent().map(Path::to_owned))
}
