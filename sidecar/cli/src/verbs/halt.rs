//! `kill-switch close` from any terminal, and `kill-switch open --domain`.
//!
//! Halting depends on nothing that may be broken: not on a configuration, a key, a store or a
//! sidecar that answers. In this order, for every state folder that is found:
//!
//! ```text
//! the halt's file in every folder → the running sidecars are told → who holds a folder that is
//! silent, and what ends that process
//! ```
//!
//! No sidecar or simulator is started, and no store is opened. Nothing here says more than was
//! done: the exit code is 0 only when each place that was found is halted, also over a restart.

mod found;
mod told;

use crate::args::{Global, HaltArgs, HaltDomain};
use crate::failure::Failure;
use crate::home::Environment;
use crate::print::Printer;
use crate::verbs::operator::signer_of;
use found::{Place, Search, search};
use ibkr_agent_domain::{ErrorCode, Timestamp};
use ibkr_agent_gateway::folder::{Holder, holder};
use ibkr_agent_gateway::marker;
use ibkr_agent_gateway::operator::{
    OperatorClient, OperatorConnectError, OperatorDomain, Verb as Act,
};
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a sidecar may take to greet before it counts as hung.
const GREETING: Duration = Duration::from_millis(1_500);
/// How long it may take to answer that it has halted.
const ANSWER: Duration = Duration::from_secs(3);

/// What came of halting one place.
struct Halted {
    place: Place,
    /// Whether the halt's file is there, or why it isn't.
    file: Result<(), String>,
    contact: Contact,
    holder: Holder,
}

/// What a sidecar said.
enum Contact {
    /// It halted: the record, and the halt as it tells it.
    Halted { event: Option<String>, halt: Value },
    /// It halted in memory, and couldn't record it.
    Unrecorded(String),
    /// It took the connection and said nothing.
    Silent,
    /// Nobody listens.
    Nobody,
    /// It can't be reached.
    Unreachable(String),
}

/// `kill-switch close`.
pub(crate) async fn close(
    global: &Global,
    printer: Printer,
    environment: Environment<'_>,
    how: &HaltArgs,
) -> Result<(), Failure> {
    let search = search(global, environment, how.domain);
    let reason = &how.why.reason;
    let now = now();
    // Every file before anything that waits.
    let files: Vec<Result<(), String>> =
        search.places.iter().map(|place| file(place, reason, now)).collect();
    let mut halted = Vec::new();
    for (place, file) in search.places.iter().zip(files) {
        let contact = contact(place, reason).await;
        let holder = holder(&place.folder);
        halted.push(Halted { place: place.clone(), file, contact, holder });
    }
    let told = told::told(&search, &halted, reason);
    match printer.is_json() {
        true => printer.value(&told.value)?,
        false => printer.page(&told.text)?,
    }
    match told.failure {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn file(place: &Place, reason: &str, now: Timestamp) -> Result<(), String> {
    if let Some(why) = &place.closed {
        return Err(why.clone());
    }
    marker::write(&place.folder, reason, now).map_err(|error| error.to_string())
}

async fn contact(place: &Place, reason: &str) -> Contact {
    if place.closed.is_some() {
        return Contact::Nobody;
    }
    let connecting = tokio::time::timeout(GREETING, OperatorClient::connect(&place.folder));
    let mut client = match connecting.await {
        Ok(Ok(client)) => client,
        Ok(Err(OperatorConnectError::NotRunning)) => return Contact::Nobody,
        Err(_) | Ok(Err(OperatorConnectError::Greeting(_))) => return Contact::Silent,
        Ok(Err(OperatorConnectError::Door(error))) => {
            return Contact::Unreachable(error.to_string());
        }
        Ok(Err(error @ OperatorConnectError::Version(_))) => {
            return Contact::Unreachable(error.to_string());
        }
    };
    let verb = Act::Halt { reason: reason.to_owned() };
    let answer = match tokio::time::timeout(ANSWER, client.call(verb, None)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.error_code() == Some(ErrorCode::AuditWriteFailed) => {
            return Contact::Unrecorded(error.message);
        }
        Ok(Err(error)) => return Contact::Unreachable(error.message),
        Err(_) => return Contact::Silent,
    };
    let event = answer.get("audit_event_id").and_then(Value::as_str).map(str::to_owned);
    let asking = tokio::time::timeout(ANSWER, client.call(Act::HaltStatus {}, None));
    let halt = asking.await.ok().and_then(Result::ok).unwrap_or_default();
    Contact::Halted { event, halt }
}

/// `kill-switch open --domain`: resumes the sidecar that runs on the state folder, whatever this
/// terminal's configuration is. `false` when none runs there.
pub(crate) async fn open(
    global: &Global,
    printer: Printer,
    environment: Environment<'_>,
    (reason, domain): (&str, HaltDomain),
) -> Result<bool, Failure> {
    let Search { places, .. } = search(global, environment, Some(domain));
    for place in places.iter().filter(|place| place.closed.is_none()) {
        let connecting = tokio::time::timeout(GREETING, OperatorClient::connect(&place.folder));
        let Ok(Ok(mut client)) = connecting.await else {
            continue;
        };
        let domain = client.domain();
        let signer = signer_of(printer, &place.folder, domain).await?;
        // Typing a passphrase may have taken longer than a connection may be silent.
        if let Ok(anew) = OperatorClient::connect(&place.folder).await {
            client = anew;
        }
        let resume = Act::Resume { reason: reason.to_owned() };
        printer.value(&client.call(resume, Some(&signer)).await?)?;
        return Ok(true);
    }
    Ok(false)
}

/// Refuses a resume that names another domain than this configuration's.
pub(crate) fn only_here(own: OperatorDomain, asked: Option<HaltDomain>) -> Result<(), Failure> {
    let Some(asked) = asked else {
        return Ok(());
    };
    if found::name_of(asked) == own.as_str() {
        return Ok(());
    }
    let message = format!(
        "no sidecar runs on the {} state folder, and this terminal's configuration is for the {}",
        found::name_of(asked),
        own.as_str()
    );
    Err(Failure::new(ErrorCode::SidecarUnavailable, message)
        .next_step("Start that sidecar, which starts halted, and resume then."))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
