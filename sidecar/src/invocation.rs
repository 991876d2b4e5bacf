//! How a command must be begun to reach the same sidecar from another terminal.
//!
//! A sidecar tells people commands: in answers, notices and errors. They paste them into a terminal
//! that knows nothing of the one in which the sidecar was started, so what chose configuration and
//! state folder there must stand in the command. What any terminal of the user finds by itself, as
//! the default configuration file, needn't.

use ibkr_agent_domain::Door;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The program as people call it.
const PROGRAM: &str = "ibkr-agent";

/// The verbs that depend on a configuration or a state folder: the first word after the program's
/// name in a text of ours.
pub const VERBS: &[&str] = &[
    "account",
    "accounts",
    "alerts",
    "approvals",
    "audit",
    "backend",
    "callers",
    "changes",
    "config",
    "contracts",
    "currency",
    "doctor",
    "executions",
    "fundamentals",
    "gateway",
    "health",
    "kill-switch",
    "limits",
    "market",
    "mcp",
    "news",
    "notifications",
    "operator",
    "options",
    "orders",
    "policy",
    "portfolio",
    "positions",
    "questions",
    "scanner",
    "session",
    "sidecar",
    "state",
    "status",
    "watchlists",
];

/// The flags that a command needs in another terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invocation {
    simulator: bool,
    config: Option<PathBuf>,
    state_dir: Option<PathBuf>,
}

impl Invocation {
    /// For what any terminal finds by itself.
    #[must_use]
    pub fn plain() -> Self {
        Self::default()
    }

    /// For the simulator without a configuration, whatever another terminal has.
    #[must_use]
    pub fn simulator() -> Self {
        Self { simulator: true, ..Self::default() }
    }

    /// With a configuration file that somebody named.
    #[must_use]
    pub fn with_config(mut self, path: &Path) -> Self {
        self.config = Some(path.to_owned());
        self
    }

    /// With a base folder of the state that somebody named.
    #[must_use]
    pub fn with_state_dir(mut self, path: &Path) -> Self {
        self.state_dir = Some(path.to_owned());
        self
    }

    /// The same for whoever is at a door: a caller over the network doesn't learn where files lie
    /// on this machine.
    #[must_use]
    pub fn told_at(&self, door: Door) -> Cow<'_, Self> {
        match door {
            Door::Stdio | Door::Sdk | Door::Operator | Door::Internal => Cow::Borrowed(self),
            Door::LocalHttp | Door::Relay => {
                Cow::Owned(Self { simulator: self.simulator, config: None, state_dir: None })
            }
        }
    }

    /// The program with its flags, as a shell reads it.
    #[must_use]
    pub fn program(&self) -> String {
        let mut words = PROGRAM.to_owned();
        if self.simulator {
            words.push_str(" --simulator");
        }
        for (flag, path) in [("--config", &self.config), ("--state-dir", &self.state_dir)] {
            if let Some(path) = path {
                words.push_str(&format!(" {flag} {}", shell_word(path)));
            }
        }
        words
    }

    /// A text of ours with every command in it as it must be typed elsewhere. Saying it twice
    /// changes nothing.
    #[must_use]
    pub fn spell(&self, text: &str) -> String {
        let program = self.program();
        let mut spelled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(PROGRAM) {
            spelled.push_str(before);
            let verb = after.strip_prefix(' ').unwrap_or_default();
            let end = verb.find(|c: char| c != '-' && !c.is_ascii_lowercase());
            let verb = verb.get(..end.unwrap_or(verb.len())).unwrap_or_default();
            let is_command = VERBS.contains(&verb) && !before.ends_with(is_of_a_word);
            spelled.push_str(if is_command { &program } else { PROGRAM });
            rest = after;
        }
        spelled.push_str(rest);
        spelled
    }
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '.')
}

/// A path as a shell reads it back.
#[must_use]
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> Invocation {
        let config = Path::new("/home/ann/my paper.yaml");
        Invocation::plain().with_config(config).with_state_dir(Path::new("/s"))
    }

    #[test]
    fn a_command_in_a_text_carries_what_another_terminal_does_not_know() {
        let text = "Run `ibkr-agent approvals approve ap-1`, or see ibkr-agent kill-switch status.";
        let program = "ibkr-agent --config '/home/ann/my paper.yaml' --state-dir /s";
        let spelled = named().spell(text);
        assert_eq!(
            spelled,
            format!("Run `{program} approvals approve ap-1`, or see {program} kill-switch status.")
        );
        assert_eq!(named().spell(&spelled), spelled, "once is enough");
        assert_eq!(Invocation::plain().spell(text), text);
        let simulator = Invocation::simulator().spell(text);
        assert!(simulator.contains("`ibkr-agent --simulator approvals approve ap-1`"));
    }

    #[test]
    fn what_is_no_command_stays_as_it_is() {
        for text in [
            "Read ibkr-agent --help.",
            "Stop ibkr-agent and start it again.",
            "ibkr-agent-remote pairing create",
            "/opt/ibkr-agent status",
            "try ibkr-agent demo",
            "ibkr-agent",
            "",
        ] {
            assert_eq!(named().spell(text), text);
        }
    }

    #[test]
    fn a_path_is_read_back_by_a_shell_as_it_is() {
        let word = |text: &str| shell_word(Path::new(text));
        assert_eq!(word("/a/b-c_1.yaml"), "/a/b-c_1.yaml");
        assert_eq!(word("/a b"), "'/a b'");
        assert_eq!(word("/it's"), r"'/it'\''s'");
        assert_eq!(word("$(reboot)"), "'$(reboot)'");
    }

    #[test]
    fn a_caller_over_the_network_learns_no_path() {
        assert_eq!(named().told_at(Door::Relay).program(), "ibkr-agent");
        let simulator = Invocation::simulator().with_state_dir(Path::new("/s"));
        assert_eq!(simulator.told_at(Door::LocalHttp).program(), "ibkr-agent --simulator");
        assert_eq!(named().told_at(Door::Stdio).as_ref(), &named());
    }
}
