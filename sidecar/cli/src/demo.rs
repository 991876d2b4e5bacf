//! `ibkr-agent demo`: the whole gateway on this computer, on a simulated broker, told step by step.
//!
//! | file | what |
//! |---|---|
//! | [`stack`] | starts simulator, identity provider, remote and sidecar, and pairs them |
//! | [`hosted`], [`identity`] | the remote's parts; a loopback OAuth server |
//! | [`client`] | an MCP client by hand |
//! | [`operator`] | the human |
//! | `story`, `tell` | the steps, and how they are shown |
//! | `ready` | `--serve`: what a client needs, and configurations to paste |
//!
//! Invariants: nothing outside loopback, no configuration, no real broker; a story that isn't as it
//! should be ends with an error; its folder is new in every run and removed at a clean end.

pub mod client;
pub mod hosted;
pub mod identity;
pub mod operator;
mod ready;
pub mod stack;
mod story;
mod tell;

use std::path::{Path, PathBuf};

use ibkr_agent_domain::ErrorCode;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::print::Printer;
use crate::signals;
use operator::Operator;
use stack::{Stack, StackConfig, StackError};
use story::Scene;
pub use story::Unexpected;
use tell::Teller;

/// What everybody must know before anything else.
const NOTICE: &str = "Unofficial: not affiliated with Interactive Brokers. This demo runs on a \
                      simulator: no account, no real money, nothing leaves this computer.";

/// How the demo runs.
#[derive(Debug, Clone)]
pub(crate) struct DemoOptions {
    /// Keep everything running instead of telling the story.
    pub(crate) serve: bool,
    /// The MCP port; 0 takes a free one.
    pub(crate) port: u16,
    /// The base folder of the state; the demo makes a new folder below it.
    pub(crate) base: PathBuf,
}

impl From<StackError> for Failure {
    fn from(error: StackError) -> Self {
        let failure = Self::new(error.code(), error.to_string());
        match error.next_step() {
            Some(action) => failure.next_step(action),
            None => failure,
        }
    }
}

/// Runs the demo.
///
/// # Errors
/// The part that didn't start, or the step that wasn't as it should be.
pub(crate) async fn run(options: DemoOptions, printer: Printer) -> Result<(), Failure> {
    let stop = signals::stop_token();
    let teller = Teller::new(Some(printer));
    if options.serve {
        printer.say(NOTICE);
    } else {
        teller.line(NOTICE)?;
    }
    let folder = new_folder(&options.base);
    // What didn't exist before the run doesn't after it.
    let made: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    let outcome = Box::pin(play(&options, &folder, printer, teller, &stop)).await;
    remove(&folder);
    for parent in made.into_iter().skip(1) {
        // Another run may have put something there meanwhile: then it stays.
        if std::fs::remove_dir(parent).is_err() {
            break;
        }
    }
    outcome
}

/// Starts, does what was asked, and stops in order whatever came of it.
async fn play(
    options: &DemoOptions,
    folder: &Path,
    printer: Printer,
    mut teller: Teller,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let mut config = StackConfig::new(folder.to_owned());
    config.port = options.port;
    let starting = |part: &str| printer.say(&format!("Starting {part} …"));
    let started = tokio::select! {
        started = Box::pin(Stack::start(config, &starting)) => Some(started?),
        () = stop.cancelled() => None,
    };
    let Some(stack) = started else { return Err(interrupted()) };
    let outcome = tokio::select! {
        outcome = Box::pin(act(options, folder, &stack, printer, &mut teller)) => outcome,
        () = stop.cancelled() => if options.serve { Ok(()) } else { Err(interrupted()) },
    };
    printer.say("Stopping …");
    stack.shutdown().await;
    outcome
}

async fn act(
    options: &DemoOptions,
    folder: &Path,
    stack: &Stack,
    printer: Printer,
    teller: &mut Teller,
) -> Result<(), Failure> {
    let mut operator = Operator::connect(stack.onprem.folder()).await?;
    if options.serve {
        ready::serve(stack, folder, &mut operator, printer).await
    } else {
        tell(stack, &mut operator, teller).await
    }
}

fn interrupted() -> Failure {
    Failure::new(ErrorCode::CallCancelled, "the demo was interrupted")
        .next_step("Run ibkr-agent demo again.")
}

async fn tell(stack: &Stack, operator: &mut Operator, teller: &mut Teller) -> Result<(), Failure> {
    let http = client::client()
        .map_err(|error| StackError::new("the demo's client can't be made", &error))?;
    let scene = Scene {
        http: &http,
        url: stack.hosted.url(),
        issuer: stack.identity.issuer(),
        market: &stack.simulator.control(),
    };
    teller.line("")?;
    Box::pin(story::tell(&scene, operator, teller)).await?;
    teller.end()?;
    teller.line(NEXT)
}

/// Plays the story on a running stack without printing it; gives the number of steps.
///
/// # Errors
/// The first step that isn't as it should be.
pub async fn rehearse(stack: &Stack) -> Result<usize, Unexpected> {
    let said = |error: &dyn std::fmt::Display| Unexpected::new(error.to_string());
    let mut operator =
        Operator::connect(stack.onprem.folder()).await.map_err(|error| said(&error))?;
    let mut teller = Teller::new(None);
    tell(stack, &mut operator, &mut teller).await.map_err(|error| said(&error))?;
    Ok(teller.told())
}

/// What a reader may do after the story.
const NEXT: &str = "
What next:
  ibkr-agent demo --serve                       keep it running, connect Claude, Cursor or VS Code
  ibkr-agent mcp serve --transport stdio        one process, for a local MCP client
  ibkr-agent orders preview --help              the same from the command line, on the simulator";

/// A name that no other run has.
fn new_folder(base: &Path) -> PathBuf {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let short: String = id.chars().take(8).collect();
    base.join("demo").join(format!("run-{short}"))
}

/// Removes the run's own folder; what can't be removed is said.
fn remove(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(folder = %folder.display(), error = %error, "the demo's folder stays");
        }
    }
}
