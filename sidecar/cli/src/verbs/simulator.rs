//! `simulator run`: serves the simulated gateway for somebody else's tests until it is told to
//! stop. It needs no configuration and touches no state folder; `docs/simulator.md` explains what
//! it serves.

use crate::failure::Failure;
use crate::run::Context;
use crate::signals;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_simulator::{Pacing, RunArguments, Simulator};

/// Serves until interrupted or terminated. What was measured is told at the end.
pub(crate) async fn run(context: &Context<'_>, how: RunArguments) -> Result<(), Failure> {
    let config = how.config().map_err(|error| {
        Failure::because(ErrorCode::ConfigInvalid, "the scenario can't be used", &error)
            .next_step("Mend the file that --scenario names; docs/simulator.md has the format.")
    })?;
    let measures = config.pacing == Pacing::Measure;
    let stop = signals::stop_token();
    let simulator = Simulator::start(config).await.map_err(|error| {
        Failure::because(ErrorCode::ConfigInvalid, "the simulator can't start", &error)
            .next_step("Choose another address with --bind, or another file with --state.")
    })?;
    let started = context.printer.value(&simulator.describe());
    if started.is_ok() {
        context.printer.say("Serving until interrupted (ctrl-c).");
        stop.cancelled().await;
    }
    let control = simulator.control();
    simulator.shutdown().await;
    if measures {
        control.pacing_report().lines().iter().for_each(|line| context.printer.say(line));
    }
    started
}
