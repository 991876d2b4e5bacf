//! `doctor`: walks from the configuration to the broker and back, and says what to do next.
//!
//! ```text
//! configuration → gateway: reachable, certificate, who else could use it
//!               → store, disk, log → session, accounts, market data, pacing, clock → relay
//! ```
//!
//! It looks and changes nothing: no session is taken over, no login tried, no setting written. What
//! depends on something that failed is named as not looked at. Every step is bounded in time.
//!
//! | file | what |
//! |---|---|
//! | `report` | findings and how they are shown |
//! | `probe` | plain requests to a gateway |
//! | `door` | one gateway from outside: reachable, certificate |
//! | `isolation` | who else could use it |
//! | `sidecar` | what the sidecar itself knows |
//! | `relay` | the link to the remote |

mod door;
mod isolation;
pub(crate) mod probe;
mod relay;
pub(crate) mod report;
mod sidecar;

use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::open::{self, Plan};
use crate::run::Context;
use crate::world;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_gateway::config::Backing;
use probe::Login;
use report::{Finding, Report};
use std::path::Path;
use std::time::Duration;

/// Time to attach to a sidecar or to become one: its start waits for the broker session.
const OPEN: Duration = Duration::from_secs(60);
/// Free space below which the log can't be trusted to go on.
const LEAST_SPACE: u64 = 64 * 1024 * 1024;
/// Free space below which somebody should know.
const LITTLE_SPACE: u64 = 1024 * 1024 * 1024;

/// Runs the verb.
pub(crate) async fn run(context: &Context<'_>, asked: DoctorArgs) -> Result<(), Failure> {
    if let Some(port) = asked.try_port {
        return isolation::try_port(port).await;
    }
    let mut report = Report::default();
    let plan = match open::plan(context) {
        Ok(plan) => plan,
        Err(failure) => {
            report.add(Finding::failure("configuration", &failure));
            report.add(Finding::skipped("everything else", "It needs a configuration."));
            return report.print(context.printer);
        }
    };
    report.add(configuration(context, &plan));
    let login = Box::pin(gateways(context, &plan, &mut report)).await;
    report.add(disk(&plan.state_dir));
    Box::pin(store(context, login, &mut report)).await;
    report.extend(relay::examine(&plan).await);
    report.spell(&context.invocation);
    report.print(context.printer)
}

fn configuration(context: &Context<'_>, plan: &Plan) -> Finding {
    const CHECK: &str = "configuration";
    let Some(found) = &context.taken.found else {
        if let Some(folder) = world::forgotten(context) {
            let says = format!(
                "No configuration was named, so all this is the simulator's; a broker's \
                 installation is in {}.",
                folder.display()
            );
            let next = "Name its configuration with --config or IBKR_CONFIG, or say --simulator.";
            return Finding::warn(CHECK, says).next(next);
        }
        return Finding::ok(CHECK, "No configuration: everything runs on the embedded simulator.");
    };
    let switches = match (plan.settings.preview_enabled, plan.settings.paper_enabled) {
        (_, true) => "reads, previews and paper orders",
        (true, false) => "reads and previews",
        (false, false) => "reads only",
    };
    Finding::ok(
        CHECK,
        format!("{} ({}) allows {switches}.", found.path.display(), found.by.as_str()),
    )
}

/// The gateways from outside. Gives what the first one tells about its session.
async fn gateways(context: &Context<'_>, plan: &Plan, report: &mut Report) -> Option<Login> {
    let Backing::Brokers(brokers) = &plan.settings.backing else {
        report.add(Finding::ok("gateway", "The embedded simulator stands in for the gateway."));
        report
            .add(Finding::skipped("isolation", "The simulator needs no walls: no login is there."));
        return None;
    };
    let mut first = None;
    for broker in brokers {
        let name = broker.name.as_str();
        let (login, findings) = Box::pin(door::examine(broker, context)).await;
        report.extend(findings.into_iter().map(|finding| finding.of(name)));
        first = first.or(Some(login));
    }
    first
}

fn disk(state_dir: &Path) -> Finding {
    const CHECK: &str = "disk";
    let existing = state_dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(state_dir);
    let space = match rustix::fs::statvfs(existing) {
        Ok(space) => space.f_bavail.saturating_mul(space.f_frsize),
        Err(error) => {
            let says = format!("The free space of {} isn't told: {error}.", existing.display());
            return Finding::warn(CHECK, says);
        }
    };
    judge_space(CHECK, space, &state_dir.display().to_string())
}

fn judge_space(check: &'static str, space: u64, folder: &str) -> Finding {
    let says = format!("{} MiB are free where the state lies ({folder}).", space / (1024 * 1024));
    let next = "Make room: when the log can't be written, nothing but cancels and halts passes.";
    match space {
        0..LEAST_SPACE => Finding::fail(check, ErrorCode::StoreUnavailable, says).next(next),
        LEAST_SPACE..LITTLE_SPACE => Finding::warn(check, says).next(next),
        _ => Finding::ok(check, says),
    }
}

/// The store, and what the sidecar knows when it can be asked.
async fn store(context: &Context<'_>, login: Option<Login>, report: &mut Report) {
    const CHECK: &str = "store";
    let opened = match tokio::time::timeout(OPEN, open::open(context)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(failure)) => {
            report.add(Finding::failure(CHECK, &failure));
            return without_sidecar(login, report);
        }
        Err(_) => {
            let says = format!("The sidecar didn't start in {} s.", OPEN.as_secs());
            report.add(
                Finding::fail(CHECK, ErrorCode::StoreUnavailable, says)
                    .next("Run it with --log info and read what it waits for."),
            );
            return without_sidecar(login, report);
        }
    };
    let (folder, how) = (opened.plan().state_dir.display(), opened.is_owner());
    let how =
        if how { "no sidecar runs, so it was opened for this check" } else { "a sidecar runs" };
    report.add(Finding::ok(CHECK, format!("{folder} can be used; {how}.")));
    report.extend(Box::pin(sidecar::examine(&opened)).await);
    opened.close().await;
}

/// Without a sidecar, the gateway's own words are all there is.
fn without_sidecar(login: Option<Login>, report: &mut Report) {
    if let Some(login) = login {
        report.add(door::session(login));
    }
    for check in ["log", "accounts", "market_data", "pacing", "clock"] {
        report.add(Finding::skipped(check, "The store can't be opened."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::Verdict;

    #[test]
    fn a_full_disk_is_a_failure_before_it_is_full() {
        let verdict = |space| judge_space("disk", space, "/x").verdict;
        assert_eq!(verdict(LEAST_SPACE - 1), Verdict::Fail(ErrorCode::StoreUnavailable));
        assert_eq!(verdict(LEAST_SPACE), Verdict::Warn);
        assert_eq!(verdict(LITTLE_SPACE - 1), Verdict::Warn);
        assert_eq!(verdict(LITTLE_SPACE), Verdict::Ok);
        assert_ne!(disk(Path::new("/absent/folder")).verdict, Verdict::Skipped);
    }
}
