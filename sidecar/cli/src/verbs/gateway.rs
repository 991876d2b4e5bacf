//! `gateway check` and `gateway run`: IBKR's own Client Portal Gateway, as its user downloaded it.
//!
//! Nothing of it is bundled or downloaded, no credential is typed or read, and the user's own
//! configuration file is never written. No state folder and no sidecar is needed here.
//!
//! | file | what |
//! |---|---|
//! | `folder`, `java`, `port`, `conf` | what must be there before it can start |
//! | `child` | the process: its start, its lines, its end |
//! | `supervise` | keeps it running and tells what happens |
//! | `browser` | how a human comes to the login page |

mod browser;
mod child;
mod conf;
mod folder;
mod java;
mod port;
mod supervise;

use crate::args::{GatewayFolder, GatewayRunArgs, GatewayVerb};
use crate::failure::Failure;
use crate::run::Context;
use crate::verbs::doctor::report::{Finding, Report};
use crate::verbs::gateway::conf::Conf;
use ibkr_agent_domain::ErrorCode;
use std::path::PathBuf;

/// The port that macOS gives to its AirPlay receiver.
const AIRPLAY_PORT: u16 = 5000;
/// Ports below this need privileges.
const FIRST_OPEN_PORT: u16 = 1024;

/// What is needed to start the gateway.
#[derive(Debug)]
struct Ready {
    root: PathBuf,
    java: PathBuf,
    conf: Conf,
    port: u16,
}

/// Runs a verb of `gateway …`.
pub(crate) async fn run(context: &Context<'_>, verb: GatewayVerb) -> Result<(), Failure> {
    match verb {
        GatewayVerb::Check(asked) => check(context, &asked).await.0.print(context.printer),
        GatewayVerb::Run(how) => Box::pin(start(context, &how)).await,
    }
}

async fn start(context: &Context<'_>, how: &GatewayRunArgs) -> Result<(), Failure> {
    let (report, ready) = check(context, &how.folder).await;
    let Some(ready) = ready.filter(|_| !report.has_failed()) else {
        return report.print(context.printer);
    };
    conf::write(&ready.root, &ready.conf.ours(ready.port)?)?;
    for warning in report.warnings() {
        context.printer.say(&warning);
    }
    Box::pin(supervise::run(context, ready, how.open)).await
}

/// Every check, and what is needed to start when nothing is missing.
async fn check(context: &Context<'_>, asked: &GatewayFolder) -> (Report, Option<Ready>) {
    let mut report = Report::default();
    let (root, finding) = folder::look(&asked.dir);
    report.add(finding);
    let (java, finding) = java::look(context.environment).await;
    report.add(finding);
    let conf = match &root {
        None => None,
        Some(root) => match conf::read(root) {
            Ok(conf) => {
                report.extend(conf.findings());
                Some(conf)
            }
            Err(finding) => {
                report.add(finding);
                None
            }
        },
    };
    let port = asked.port.or_else(|| conf.as_ref().map(|conf| conf.port));
    if let Some(port) = port {
        report.add(port_finding(port).await);
    } else {
        report.add(Finding::skipped("gateway.port", "Which port isn't known: give --port."));
    }
    let ready = match (root, java, conf, port) {
        (Some(root), Some(java), Some(conf), Some(port)) => Some(Ready { root, java, conf, port }),
        _ => None,
    };
    (report, ready)
}

async fn port_finding(port: u16) -> Finding {
    const CHECK: &str = "gateway.port";
    let unavailable = ErrorCode::BrokerBackendUnavailable;
    if port < FIRST_OPEN_PORT {
        return Finding::fail(CHECK, unavailable, format!("Port {port} needs privileges."))
            .next("Choose one from 1024 on with --port.");
    }
    if port::is_free(port) {
        return Finding::ok(CHECK, format!("Port {port} is free."));
    }
    let owner = port::owner(port).await.unwrap_or_default();
    let who = owner.describe();
    if owner.is_gateway() {
        let says = format!("Port {port} is taken by a Client Portal Gateway that runs: {who}.");
        return Finding::fail(CHECK, unavailable, says)
            .next("Use that one, stop it, or choose another port with --port.");
    }
    let says = format!("Port {port} is taken by {who}.");
    let next = if port == AIRPLAY_PORT && cfg!(target_os = "macos") {
        "On macOS this is usually AirPlay: switch off the AirPlay Receiver in System Settings, \
         General, AirDrop & Handoff, or choose another port with --port."
    } else {
        "Choose another port with --port, or stop who listens there."
    };
    Finding::fail(CHECK, unavailable, says).next(next)
}

/// Writes a script that can be run at once. A process of its own writes it: as long as another
/// thread of this one starts something, a file that was open for writing here may still be.
#[cfg(test)]
fn write_script(path: &std::path::Path, text: &str) {
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 755 \"$2\"";
    let mut command = std::process::Command::new("/bin/sh");
    let written = command.args(["-c", write, "sh", text]).arg(path).status();
    assert!(written.is_ok_and(|status| status.success()), "{}", path.display());
}
