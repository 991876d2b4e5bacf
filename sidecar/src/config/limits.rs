//! `auth`, `paper`, `preview` and `approvals`: what may be done at all.

use super::{Backing, ConfigError, invalid};
use crate::app::SidecarConfig;
use ibkr_agent_domain::{Scope, ScopeSet, Tier};
use ibkr_agent_protocol::config::RawConfig;
use std::path::PathBuf;
use std::time::Duration;

/// Longest life of a preview.
pub const MAX_PREVIEW_TTL: Duration = Duration::from_secs(3600);
/// Longest life of an approval: IBKR refuses a repeated order reference for 24 hours.
pub const MAX_APPROVAL_TTL: Duration = Duration::from_secs(12 * 3600);
/// Most approvals that may wait at once.
pub const MAX_OPEN_APPROVALS: u32 = 200;

/// Approvals that may wait at once when the file doesn't say.
const OPEN_APPROVALS: u32 = 20;

/// What is switched on beyond reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) preview: bool,
    pub(super) paper: bool,
}

/// On the simulator everything but live is on; at a real broker nothing is until the file says so.
pub(super) fn allowed(raw: &RawConfig, backing: &Backing) -> Allowed {
    let paper = *backing == Backing::Simulator || raw.paper.enabled;
    Allowed { preview: raw.preview.enabled.unwrap_or(paper), paper }
}

/// Every scope that can be given at all.
pub(super) fn ceiling(allowed: Allowed) -> ScopeSet {
    let grants = |scope: &Scope| match scope.tier() {
        Tier::Read => true,
        Tier::Preview => allowed.preview,
        Tier::Paper => allowed.paper && allowed.preview,
        Tier::Live => false,
    };
    Scope::ALL.iter().copied().filter(grants).collect()
}

pub(super) fn scopes(key: &'static str, texts: &[String]) -> Result<ScopeSet, ConfigError> {
    let parse = |text: &String| {
        Scope::parse(text).ok_or_else(|| invalid(key, format!("{text:?} isn't a scope")))
    };
    texts.iter().map(parse).collect()
}

pub(super) fn local_scopes(raw: &RawConfig, allowed: Allowed) -> Result<ScopeSet, ConfigError> {
    let ceiling = ceiling(allowed);
    let Some(listed) = &raw.auth.enabled_scopes else {
        return Ok(ceiling);
    };
    let asked = scopes("auth.enabled_scopes", listed)?;
    let beyond = asked.iter().find(|scope| !ceiling.contains(*scope));
    match beyond {
        None => Ok(asked),
        Some(scope) => {
            let needs = match scope.tier() {
                Tier::Preview => "preview.enabled",
                Tier::Paper => "paper.enabled and preview.enabled",
                Tier::Live => "live trading, which isn't built in this version",
                Tier::Read => "nothing",
            };
            Err(ConfigError::WriteScope { scope: scope.to_string(), needs })
        }
    }
}

/// What the simulator runs with: the one place of its defaults.
pub(super) fn simulator() -> SidecarConfig {
    SidecarConfig::simulator(PathBuf::new(), "")
}

/// Life of previews, life of approvals, approvals that may wait.
pub(super) fn lives(raw: &RawConfig) -> Result<(Duration, Duration, usize), ConfigError> {
    let life = |key, seconds: Option<u64>, default: Duration, most: Duration| match seconds {
        None => Ok(default),
        Some(value) if value > 0 && Duration::from_secs(value) <= most => {
            Ok(Duration::from_secs(value))
        }
        Some(value) => Err(invalid(key, format!("{value} isn't between 1 and {}", most.as_secs()))),
    };
    let SidecarConfig { preview_ttl, approval_ttl, .. } = simulator();
    let (previews, approvals) = (raw.preview.ttl_seconds, raw.approvals.ttl_seconds);
    let preview = life("preview.ttl_seconds", previews, preview_ttl, MAX_PREVIEW_TTL)?;
    let approval = life("approvals.ttl_seconds", approvals, approval_ttl, MAX_APPROVAL_TTL)?;
    let open = raw.approvals.max_open.unwrap_or(OPEN_APPROVALS);
    if open == 0 || open > MAX_OPEN_APPROVALS {
        let message = format!("{open} isn't between 1 and {MAX_OPEN_APPROVALS}");
        return Err(invalid("approvals.max_open", message));
    }
    Ok((preview, approval, usize::try_from(open).unwrap_or(usize::MAX)))
}

/// How long a question of the broker waits for a human.
pub(super) fn question_timeout(raw: &RawConfig) -> Result<Duration, ConfigError> {
    let Some(seconds) = raw.approvals.question_timeout_seconds else {
        return Ok(simulator().question_timeout);
    };
    if (5..=600).contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    let message = format!("{seconds} isn't between 5 and 600");
    Err(invalid("approvals.question_timeout_seconds", message))
}
