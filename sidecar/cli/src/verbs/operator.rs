//! The operator's other verbs, and the key that signs.
//!
//! A broker's key is under a passphrase that is typed on the terminal and nowhere else: not in an
//! argument, the environment, a pipe or a cache. The simulator's demo key is open and is worth
//! nothing elsewhere.

use crate::args::{CallersVerb, KillSwitchVerb, OperatorVerb, QuestionsVerb, YesNo};
use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::open::{self, Opened, OwnError, Owned, Plan};
use crate::print::Printer;
use crate::run::{Context, mistaken};
use crate::verbs::halt;
use crate::world;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_gateway::app::demo_key_path;
use ibkr_agent_gateway::operator::{
    NewKey, OperatorDomain, OperatorDoor, OperatorSigner, Verb as Act, create_key, describe_key,
    load_key,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The broker's operator key in the state folder.
const KEY_FILE: &str = "operator.key";

/// Longest answer that is read from the terminal, in bytes.
const MAX_ANSWER: u64 = 256;

/// `status`.
pub(crate) async fn status(context: &Context<'_>, opened: &Opened) -> Result<(), Failure> {
    context.printer.value(&opened.perform(Act::Status {}, None).await?)
}

/// `kill-switch open`: allowing again is signed. Stopping is in `halt`.
pub(crate) async fn kill_switch(
    context: &Context<'_>,
    opened: &Opened,
    verb: KillSwitchVerb,
) -> Result<(), Failure> {
    let answer = match verb {
        KillSwitchVerb::Open(how) => {
            halt::only_here(opened.domain(), how.domain)?;
            signed(context, opened, Act::Resume { reason: how.why.reason }).await?
        }
        KillSwitchVerb::Close(_) | KillSwitchVerb::Status(_) => return Err(mistaken()),
    };
    context.printer.value(&answer)
}

/// `state accept`: shows what is in doubt and signs exactly that.
pub(crate) async fn accept_state(
    context: &Context<'_>,
    opened: &Opened,
    reason: String,
) -> Result<(), Failure> {
    let halt = opened.perform(Act::HaltStatus {}, None).await?;
    let Some(cause) = halt.get("state_doubt").and_then(Value::as_str).map(str::to_owned) else {
        return Err(Failure::input("the state folder is in no doubt")
            .next_step("kill-switch status tells whether and why trading is halted."));
    };
    if shows(context, opened) {
        context.printer.notice("The start found, and you accept:");
        context.printer.show(&halt);
    }
    context.printer.value(&signed(context, opened, Act::AcceptState { cause, reason }).await?)
}

/// `callers …`.
pub(crate) async fn callers(
    context: &Context<'_>,
    opened: &Opened,
    verb: CallersVerb,
) -> Result<(), Failure> {
    let unknown = |failure: Failure| match failure.0.error_code() {
        Some(ErrorCode::InputInvalid) => {
            failure.next_step("List the admitted ones with ibkr-agent callers list.")
        }
        _ => failure,
    };
    let answer = match verb {
        CallersVerb::List => opened.perform(Act::Callers {}, None).await?,
        CallersVerb::Show { caller } => {
            opened.perform(Act::Caller { caller }, None).await.map_err(unknown)?
        }
        CallersVerb::Revoke { caller } => {
            opened.perform(Act::Revoke { caller }, None).await.map_err(unknown)?
        }
        CallersVerb::Admit { caller } => {
            check_caller(&caller)?;
            signed(context, opened, Act::Admit { caller }).await?
        }
    };
    context.printer.value(&answer)
}

/// `session take-over`: asks for the brokerage session whoever else holds it.
pub(crate) async fn take_over(
    context: &Context<'_>,
    opened: &Opened,
    broker: Option<String>,
) -> Result<(), Failure> {
    let broker = match broker {
        Some(broker) => broker,
        None => only_broker(opened).await?,
    };
    context.printer.value(&signed(context, opened, Act::TakeOver { broker }).await?)
}

async fn only_broker(opened: &Opened) -> Result<String, Failure> {
    let status = opened.call("ibkr_backend_status", Arguments::new(), None).await?;
    let status: Value = serde_json::from_str(status.get()).unwrap_or_default();
    let brokers = status.get("brokers").and_then(Value::as_array).cloned().unwrap_or_default();
    let names: Vec<&str> =
        brokers.iter().filter_map(|broker| broker.get("name")?.as_str()).collect();
    match names.as_slice() {
        [only] => Ok((*only).to_owned()),
        names => Err(Failure::input(format!("give --broker, one of {}", names.join(", ")))),
    }
}

/// `questions …`.
pub(crate) async fn questions(
    context: &Context<'_>,
    opened: &Opened,
    verb: QuestionsVerb,
) -> Result<(), Failure> {
    let answer = match verb {
        QuestionsVerb::List => opened.perform(Act::Questions {}, None).await?,
        QuestionsVerb::Answer { client_order_id, answer } => {
            Box::pin(answer_question(context, opened, client_order_id, answer)).await?
        }
    };
    context.printer.value(&answer)
}

/// A caller that isn't written as the log writes it would be admitted to no effect. A subject may
/// hold bars of its own.
fn check_caller(caller: &str) -> Result<(), Failure> {
    let rest = caller.strip_prefix("token:").unwrap_or_default();
    if rest.split('|').count() >= 3 && rest.split('|').all(|part| !part.is_empty()) {
        return Ok(());
    }
    Err(Failure::input("a caller is written token:issuer|subject|client")
        .next_step("Copy the actor of the refused call from ibkr-agent audit tail."))
}

async fn signed(context: &Context<'_>, opened: &Opened, act: Act) -> Result<Value, Failure> {
    let signer = signer(context, opened).await?;
    opened.perform(act, Some(&signer)).await
}

/// Shows the question with its order and answers exactly that text.
pub(crate) async fn answer_question(
    context: &Context<'_>,
    opened: &Opened,
    order: String,
    answer: YesNo,
) -> Result<Value, Failure> {
    let open = opened.perform(Act::Questions {}, None).await?;
    let rows = open.get("questions").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_it =
        |row: &&Value| row.get("client_order_id").and_then(Value::as_str) == Some(order.as_str());
    let Some(shown) = rows.iter().find(is_it) else {
        let message = "no question waits for an answer about this order";
        return Err(Failure::new(ErrorCode::OrderNotFound, message)
            .next_step("List the questions with ibkr-agent questions list."));
    };
    let digest = shown.pointer("/question/text_digest").and_then(Value::as_str);
    let Some(text) = digest.map(str::to_owned) else {
        return Err(Failure::new(ErrorCode::InternalError, "the question has no digest"));
    };
    if shows(context, opened) {
        context.printer.notice("The broker asks:");
        context.printer.show(shown);
    }
    match answer {
        YesNo::Yes => signed(context, opened, Act::Answer { order, text, confirmed: true }).await,
        YesNo::No => opened.perform(Act::Answer { order, text, confirmed: false }, None).await,
    }
}

/// Whether what is about to be signed is laid out on the terminal first. A human who is about to
/// type a passphrase must have seen it; with `--json` on the simulator nobody is there to read.
pub(crate) fn shows(context: &Context<'_>, opened: &Opened) -> bool {
    !context.printer.is_json() || opened.domain() == OperatorDomain::Broker
}

/// Asks the human at the terminal to say yes to a broker's question; `None` without a terminal.
pub(crate) async fn ask_yes(
    context: &Context<'_>,
    shown: &Value,
) -> Result<Option<YesNo>, Failure> {
    if !has_terminal() {
        return Ok(None);
    }
    context.printer.notice("The broker asks before it takes the order:");
    context.printer.show(shown);
    context.printer.notice("Type yes to send the order, anything else to drop it:");
    let line = blocking(|| {
        let mut line = String::new();
        let terminal = std::fs::File::open("/dev/tty")?.take(MAX_ANSWER);
        std::io::BufReader::new(terminal).read_line(&mut line).map(|_| line)
    });
    let line = line.await?.map_err(|error| {
        Failure::because(ErrorCode::SignatureRequired, "no answer was read", &error)
    })?;
    Ok(Some(if line.trim() == "yes" { YesNo::Yes } else { YesNo::No }))
}

/// Where the key of a domain lies.
fn key_path(plan: &Plan) -> PathBuf {
    key_in(&plan.state_dir, plan.settings.domain())
}

fn key_in(state_dir: &Path, domain: OperatorDomain) -> PathBuf {
    match domain {
        OperatorDomain::Simulator => demo_key_path(state_dir),
        OperatorDomain::Broker => state_dir.join(KEY_FILE),
    }
}

/// Refuses early where nobody could sign: no key, or a sealed one without a terminal.
pub(crate) fn can_sign(opened: &Opened) -> Result<(), Failure> {
    can_sign_with(&key_path(opened.plan()))
}

fn can_sign_with(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        return Err(no_key());
    }
    let key = describe_key(path).map_err(|error| Failure(error.into()))?;
    if key.sealed && !has_terminal() {
        return Err(no_terminal());
    }
    Ok(())
}

/// The key that signs: open on the simulator, unlocked by a typed passphrase otherwise.
pub(crate) async fn signer(
    context: &Context<'_>,
    opened: &Opened,
) -> Result<OperatorSigner, Failure> {
    unlocked(context.printer, key_path(opened.plan()), opened.domain()).await
}

/// The key of a state folder, whatever the configuration says.
pub(crate) async fn signer_of(
    printer: Printer,
    state_dir: &Path,
    domain: OperatorDomain,
) -> Result<OperatorSigner, Failure> {
    unlocked(printer, key_in(state_dir, domain), domain).await
}

async fn unlocked(
    printer: Printer,
    path: PathBuf,
    domain: OperatorDomain,
) -> Result<OperatorSigner, Failure> {
    can_sign_with(&path)?;
    let key = describe_key(&path).map_err(|error| Failure(error.into()))?;
    let passphrase = if key.sealed {
        printer.notice(&format!("Operator key {}", key.public_key.id()));
        Some(typed("Passphrase of the operator key: ").await?)
    } else {
        None
    };
    blocking(move || load_key(&path, domain, passphrase.as_ref()))
        .await?
        .map_err(|error| Failure(error.into()))
}

/// `operator init`: makes the first key and enrols it.
pub(crate) async fn init(context: &Context<'_>, verb: OperatorVerb) -> Result<(), Failure> {
    let OperatorVerb::Init { label } = verb;
    let plan = open::prepared(context)?;
    world::announce(context, &plan);
    let owned = Box::pin(Owned::start(&plan)).await.map_err(|error| match error {
        OwnError::Locked => Failure::from(OwnError::Locked)
            .next_step("Stop the sidecar and every MCP client of this folder, then run it again."),
        failed @ OwnError::Failed(_) => Failure::from(failed),
    })?;
    let outcome = Box::pin(first_key(context, &plan, &owned, &label)).await;
    owned.close().await;
    context.printer.value(&outcome?)
}

async fn first_key(
    context: &Context<'_>,
    plan: &Plan,
    owned: &Owned,
    label: &str,
) -> Result<Value, Failure> {
    let desk = owned.desk();
    let path = key_path(plan);
    let domain = plan.settings.domain();
    // The simulator's demo key was made and enrolled when the sidecar started.
    if domain == OperatorDomain::Broker {
        if !desk.keyring().is_empty() {
            let message = "an operator key is enrolled already";
            let failure = Failure::new(ErrorCode::SignatureRequired, message);
            return Err(failure.next_step("Sign with that one. This version enrols one key only."));
        }
        if !path.exists() {
            let passphrase = new_passphrase(context).await?;
            let path = path.clone();
            blocking(move || create_key(&path, &NewKey::Broker { passphrase: &passphrase }))
                .await?
                .map_err(|error| Failure(error.into()))?;
        }
        // A key file without an enrolment is what a crash between the two leaves.
        let key = describe_key(&path).map_err(|error| Failure(error.into()))?;
        desk.enrol_first(key.public_key, label).await?;
    }
    let key = describe_key(&path).map_err(|error| Failure(error.into()))?;
    Ok(json!({
        "key": key.public_key.id().as_str(),
        "public_key": key.public_key.to_string(),
        "domain": domain.as_str(),
        "sealed": key.sealed,
        "file": path.display().to_string(),
    }))
}

async fn new_passphrase(context: &Context<'_>) -> Result<SecretString, Failure> {
    if !has_terminal() {
        return Err(no_terminal());
    }
    context.printer.notice(
        "The operator key approves orders. Its passphrase has at least 12 characters and can't \
         be recovered.",
    );
    let first = typed("New passphrase: ").await?;
    let second = typed("Again: ").await?;
    if first.expose_secret() != second.expose_secret() {
        return Err(Failure::input("the two passphrases differ"));
    }
    Ok(first)
}

/// Reads a passphrase from the terminal itself, never from a pipe.
async fn typed(prompt: &'static str) -> Result<SecretString, Failure> {
    if !has_terminal() {
        return Err(no_terminal());
    }
    let read = blocking(move || rpassword::prompt_password(prompt).map(Zeroizing::new)).await?;
    let text = read.map_err(|error| {
        Failure::because(ErrorCode::SignatureRequired, "no passphrase was read", &error)
    })?;
    Ok(SecretString::from(text.as_str()))
}

/// Whether a human can be asked: the process has a controlling terminal.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok_and(|terminal| terminal.is_terminal())
}

fn no_terminal() -> Failure {
    let message = "a passphrase must be typed on a terminal, and this process has none";
    Failure::new(ErrorCode::SignatureRequired, message)
        .next_step("Run the same command at a terminal, as the operator.")
}

fn no_key() -> Failure {
    Failure::new(ErrorCode::SignatureRequired, "this installation has no operator key")
        .next_step("Make one with ibkr-agent operator init.")
}

/// Key derivation takes a good part of a second: off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::new(ErrorCode::InternalError, "a background task failed"))
}
