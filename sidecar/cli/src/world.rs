//! Which world a command speaks to: the configuration that is taken and why, and the words that
//! bring another terminal to the same one.
//!
//! Without a configuration that is the embedded simulator, which is what a newcomer wants and the
//! last thing that an operator wants who forgot `--config`. So an operator's verbs and writes
//! refuse to fall back to it once a broker's installation exists beside it, and whatever is said by
//! the simulator to people says so first.

use crate::args::{
    ApprovalsVerb, Global, IdentityVerb, KillSwitchVerb, OrdersVerb, SessionVerb, SidecarVerb, Verb,
};
use crate::failure::Failure;
use crate::home::Environment;
use crate::open::Plan;
use crate::run::Context;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_gateway::folder;
use ibkr_agent_gateway::invocation::{Invocation, shell_word};
use ibkr_agent_gateway::operator::OperatorDomain;
use ibkr_agent_protocol::config::place::{self, Found, FoundBy, ReadProblem};
use ibkr_agent_protocol::config::{self, RawConfig};
use std::path::{Path, PathBuf};

/// What stands before everything that the simulator tells people.
const SIMULATOR: &str = "SIMULATOR: no broker, no money.";

/// A configuration and where it came from.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// The sections; the default when there is no file.
    pub(crate) raw: RawConfig,
    /// The file.
    pub(crate) found: Option<Found>,
    /// Its text.
    text: String,
}

impl Taken {
    /// The file that the command line and the environment name, or the default one.
    pub(crate) fn from(global: &Global, environment: Environment<'_>) -> Result<Self, Failure> {
        if global.simulator {
            return Ok(Self::default());
        }
        match place::find(global.config.as_deref(), environment) {
            Some(found) => Self::read(found),
            None => Ok(Self::default()),
        }
    }

    /// Only what the command line or the environment name: for verbs with a world of their own.
    pub(crate) fn named(global: &Global, environment: Environment<'_>) -> Result<Self, Failure> {
        let named = place::find(global.config.as_deref(), environment)
            .filter(|found| found.by != FoundBy::Default && !global.simulator);
        named.map_or_else(|| Ok(Self::default()), Self::read)
    }

    /// Reads and parses a file, bounded.
    pub(crate) fn read(found: Found) -> Result<Self, Failure> {
        let shown = found.path.display();
        let text = place::read(&found, config::MAX_CONFIG_BYTES).map_err(|problem| {
            let what = format!("the configuration {shown} can't be read");
            let failure = Failure::because(ErrorCode::ConfigInvalid, &what, &problem);
            match &problem {
                ReadProblem::Open(path) => failure.next_step(&format!(
                    "Look at what it says, then make it yours alone: chmod go-w {}",
                    shell_word(path)
                )),
                ReadProblem::Io(_) => {
                    failure.next_step("Name a file that can be read with --config or IBKR_CONFIG.")
                }
            }
        })?;
        let raw = config::load(&text).map_err(|problem| {
            Failure::new(ErrorCode::ConfigInvalid, format!("{shown}: {problem}"))
        })?;
        Ok(Self { raw, found: Some(found), text })
    }

    /// `FILE: line N: ` of a value in the file, as far as it is known.
    pub(crate) fn place_of(&self, value: Option<&str>) -> String {
        let Some(found) = &self.found else { return String::new() };
        let line = value.and_then(|value| config::line_of(&self.text, value));
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{}: {line}", found.path.display())
    }
}

/// The words that bring another terminal to this world.
pub(crate) fn invocation(taken: &Taken, state_dir: Option<&Path>) -> Invocation {
    let found = taken.found.as_ref();
    let by_hand = found.filter(|found| found.by != FoundBy::Default);
    let mut invocation = match (found, by_hand) {
        (None, _) => Invocation::simulator(),
        (Some(_), Some(named)) => Invocation::plain().with_config(&named.path),
        (Some(_), None) => Invocation::plain(),
    };
    if let Some(folder) = state_dir {
        invocation = invocation.with_state_dir(folder);
    }
    invocation
}

/// Refuses a verb that would act on the simulator only because nothing was named.
pub(crate) fn check(context: &Context<'_>, verb: &Verb) -> Result<(), Failure> {
    if !acts(verb) {
        return Ok(());
    }
    let Some(folder) = forgotten(context) else { return Ok(()) };
    let message = format!(
        "no configuration was named, and {} holds a broker's installation: this would have gone \
         to the simulator",
        folder.display()
    );
    let default = place::default_file(context.environment);
    let default = default.map(|file| format!(", put it at {}", file.display()));
    Err(Failure::new(ErrorCode::ConfigNotNamed, message).next_step(&format!(
        "Name the broker's configuration, the file that its sidecar runs with, with --config FILE \
         or IBKR_CONFIG{}; or say --simulator.",
        default.unwrap_or_default()
    )))
}

/// Says that the simulator answers, before it does.
pub(crate) fn announce(context: &Context<'_>, plan: &Plan) {
    if plan.settings.domain() != OperatorDomain::Simulator {
        return;
    }
    match forgotten(context) {
        Some(folder) => context.printer.say(&format!(
            "{SIMULATOR} No configuration was named; a broker's installation is in {}.",
            folder.display()
        )),
        None => context.printer.say(SIMULATOR),
    }
}

/// The broker's installation beside the simulator that nobody chose.
pub(crate) fn forgotten(context: &Context<'_>) -> Option<PathBuf> {
    if context.taken.found.is_some() || context.simulator {
        return None;
    }
    let folder = context.base.join(OperatorDomain::Broker.as_str());
    folder::is_in_use(&folder).then_some(folder)
}

/// Whether a verb is an operator's or changes something. Stopping is never refused here.
fn acts(verb: &Verb) -> bool {
    match verb {
        Verb::Approvals(verb) => !matches!(verb, ApprovalsVerb::Verify { file: Some(_), .. }),
        Verb::Orders(verb) => match verb {
            OrdersVerb::Submit(_) | OrdersVerb::Cancel(_) | OrdersVerb::Settle { .. } => true,
            OrdersVerb::List { .. }
            | OrdersVerb::History(_)
            | OrdersVerb::Status { .. }
            | OrdersVerb::Outcome(_)
            | OrdersVerb::Preview(_)
            | OrdersVerb::Modify(_)
            | OrdersVerb::Approve(_)
            | OrdersVerb::LiveSubmit(_)
            | OrdersVerb::LiveCancel(_) => false,
        },
        Verb::Session(verb) => match verb {
            SessionVerb::TakeOver { .. } => true,
            SessionVerb::Requirements | SessionVerb::Renew => false,
        },
        Verb::KillSwitch(verb) => match verb {
            KillSwitchVerb::Open(_) => true,
            KillSwitchVerb::Close(_) | KillSwitchVerb::Status(_) => false,
        },
        Verb::Sidecar(verb) => match verb {
            SidecarVerb::Run
            | SidecarVerb::Pair(_)
            | SidecarVerb::Identity(IdentityVerb::Create)
            | SidecarVerb::Session(_) => true,
            SidecarVerb::Status | SidecarVerb::Pairing(_) | SidecarVerb::Relay(_) => false,
        },
        Verb::Questions(_) | Verb::State(_) | Verb::Callers(_) | Verb::Operator(_) => true,
        Verb::Health
        | Verb::Status
        | Verb::Doctor(_)
        | Verb::Gateway(_)
        | Verb::Backend(_)
        | Verb::Accounts(_)
        | Verb::Account(_)
        | Verb::Portfolio(_)
        | Verb::Positions(_)
        | Verb::Contracts(_)
        | Verb::Market(_)
        | Verb::Options(_)
        | Verb::Scanner(_)
        | Verb::Currency(_)
        | Verb::Fundamentals(_)
        | Verb::News(_)
        | Verb::Watchlists(_)
        | Verb::Alerts(_)
        | Verb::Notifications(_)
        | Verb::Changes(_)
        | Verb::Executions(_)
        | Verb::Limits(_)
        | Verb::Audit(_)
        | Verb::Demo(_)
        | Verb::Mcp(_)
        | Verb::Config(_)
        | Verb::Policy(_)
        | Verb::Simulator(_)
        | Verb::Docs { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::args::Cli;
    use clap::CommandFactory as _;
    use ibkr_agent_gateway::invocation::VERBS;

    #[test]
    fn every_verb_that_depends_on_a_world_is_spelled_with_it() {
        let apart = ["demo", "docs", "help", "simulator"];
        let command = Cli::command();
        let verbs = command.get_subcommands().map(clap::Command::get_name);
        let missing: Vec<&str> =
            verbs.filter(|verb| !apart.contains(verb) && !VERBS.contains(verb)).collect();
        assert!(missing.is_empty(), "add them to VERBS: {missing:?}");
    }
}
