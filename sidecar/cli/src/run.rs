//! From arguments to an exit code: parse, set up logs, choose the verb.

use crate::args::{
    ApprovalsVerb, AuditVerb, Cli, ConfigVerb, DemoArgs, Global, KillSwitchVerb, LogFormat,
    OrdersVerb, SessionVerb, SimulatorVerb, StateVerb, Verb,
};
use crate::demo::{self, DemoOptions};
use crate::failure::Failure;
use crate::home::{self, Environment};
use crate::open;
use crate::print::{Printer, Style};
use crate::verbs::{
    approvals, audit, doctor, gateway, halt, local, mcp, operator, orders, policy, sidecar,
    simulator, tool, watch,
};
use crate::world::{self, Taken};
use clap::Parser;
use clap::error::ErrorKind;
use ibkr_agent_domain::{CallId, ErrorCode};
use ibkr_agent_gateway::invocation::Invocation;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Exit code of a command line that can't be read.
const USAGE: u8 = 2;

/// How long background threads may hold the process up once the verb is done.
const LAST_TASKS: Duration = Duration::from_millis(500);

/// What every verb works with.
pub(crate) struct Context<'a> {
    /// The one printer.
    pub(crate) printer: Printer,
    /// The configuration and the file that it came from.
    pub(crate) taken: Taken,
    /// Whether the simulator was asked for by name.
    pub(crate) simulator: bool,
    /// What brings another terminal to the same world.
    pub(crate) invocation: Invocation,
    /// The base folder of the state.
    pub(crate) base: PathBuf,
    /// The id that the caller gives the call.
    pub(crate) request_id: Option<CallId>,
    /// The environment, read only through this.
    pub(crate) environment: Environment<'a>,
}

/// Runs the command line and gives the process's exit code.
pub fn main_with_args(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let wants_json = arguments.iter().any(|argument| argument == "--json");
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, printer(wants_json)),
    };
    // A refused verb swallows the rest of its line, and with it `--json`.
    let printer = printer(cli.global.json || wants_json);
    let environment: Environment<'_> = &|name| environment(name).filter(|value| !value.is_empty());
    match perform(cli, printer, environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            printer.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Runs the verb. Neither logs nor a configuration that can't be read stand before a halt.
fn perform(cli: Cli, printer: Printer, environment: Environment<'_>) -> Result<(), Failure> {
    let logs = log_to_stderr(&cli.global);
    if let Verb::KillSwitch(KillSwitchVerb::Close(how)) = &cli.verb {
        return runtime()?.block_on(halt::close(&cli.global, printer, environment, how));
    }
    if let Verb::KillSwitch(KillSwitchVerb::Open(how)) = &cli.verb
        && let Some(domain) = how.domain
    {
        let opening = halt::open(&cli.global, printer, environment, (&how.why.reason, domain));
        // Where no sidecar runs, one that lives as long as the verb resumes.
        if runtime()?.block_on(opening)? {
            return Ok(());
        }
    }
    logs.and_then(|()| context(&cli.global, &cli.verb, printer, environment)).and_then(|context| {
        on_runtime(&context, cli.verb).map_err(|failure| failure.spelled(&context.invocation))
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(
        |error| Failure::because(ErrorCode::InternalError, "the runtime can't start", &error),
    )
}

const fn printer(json: bool) -> Printer {
    Printer::new(if json { Style::Json } else { Style::People })
}

/// Help and version are answers; everything else is a wrong command line.
fn usage(error: &clap::Error, printer: Printer) -> ExitCode {
    let text = error.render().to_string();
    let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_answer {
        return match printer.page(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => ExitCode::from(failure.exit_code()),
        };
    }
    if printer.is_json() {
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("wrong arguments");
        let failure = Failure::input(line.trim_start_matches("error: "));
        printer.failure(&failure.next_step("Read ibkr-agent --help."));
    } else {
        printer.notice(text.trim_end());
    }
    ExitCode::from(USAGE)
}

fn log_to_stderr(global: &Global) -> Result<(), Failure> {
    let directives = global.log.as_deref().unwrap_or("warn");
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        Failure::because(ErrorCode::InputInvalid, "the log filter can't be read", &error)
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match global.log_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    set.map_err(|_| Failure::new(ErrorCode::InternalError, "logging was set up twice"))
}

fn context<'a>(
    global: &Global,
    verb: &Verb,
    printer: Printer,
    environment: Environment<'a>,
) -> Result<Context<'a>, Failure> {
    // These have a world of their own: a default file is none of their business.
    let apart = matches!(verb, Verb::Docs { .. } | Verb::Simulator(_) | Verb::Demo(_));
    let taken = match apart {
        true => Taken::named(global, environment)?,
        false => Taken::from(global, environment)?,
    };
    let request_id = match &global.request_id {
        Some(text) => Some(CallId::parse(text).map_err(|error| {
            Failure::because(ErrorCode::InputInvalid, "--request-id isn't an id", &error)
        })?),
        None => None,
    };
    let named = home::named(global.state_dir.as_deref(), environment)?;
    let raw = &taken.raw;
    let configured = raw.store.path.as_deref().or(raw.audit.sqlite_path.as_deref());
    let base = match (&named, configured) {
        (Some(folder), _) => folder.clone(),
        (None, configured) => home::base(configured.map(Path::new), environment)?,
    };
    let invocation = world::invocation(&taken, named.as_deref());
    let simulator = global.simulator;
    Ok(Context { printer, taken, simulator, base, invocation, request_id, environment })
}

fn on_runtime(context: &Context<'_>, verb: Verb) -> Result<(), Failure> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(dispatch(context, verb));
    // A thread that reads standard input can't be stopped; everything else has ended by now.
    runtime.shutdown_timeout(LAST_TASKS);
    outcome
}

/// Chooses the verb. Those that need no state come first and touch no folder.
async fn dispatch(context: &Context<'_>, verb: Verb) -> Result<(), Failure> {
    world::check(context, &verb)?;
    match verb {
        Verb::Docs { page } => local::docs(context, page),
        Verb::Config(ConfigVerb::Check) => local::check_config(context),
        Verb::Config(ConfigVerb::Path) => local::config_path(context),
        Verb::Policy(verb) => policy::run(context, verb),
        Verb::Simulator(SimulatorVerb::Run(how)) => Box::pin(simulator::run(context, how)).await,
        Verb::Demo(how) => Box::pin(demo(context, how)).await,
        Verb::Doctor(asked) => Box::pin(doctor::run(context, asked)).await,
        Verb::Gateway(verb) => Box::pin(gateway::run(context, verb)).await,
        Verb::Mcp(verb) => Box::pin(mcp::run(context, verb)).await,
        Verb::Sidecar(verb) => Box::pin(sidecar::run(context, verb)).await,
        Verb::Operator(verb) => Box::pin(operator::init(context, verb)).await,
        Verb::Approvals(ApprovalsVerb::Verify { approval_id, file, public_key }) => {
            approvals::verify(context, approval_id, file.as_deref(), public_key.as_deref()).await
        }
        Verb::Orders(OrdersVerb::LiveSubmit(_) | OrdersVerb::LiveCancel(_)) => Err(Failure::new(
            ErrorCode::LiveTradingDisabled,
            "live orders are not built in this version; paper orders are",
        )),
        verb @ (Verb::Health
        | Verb::Status
        | Verb::Backend(_)
        | Verb::Session(_)
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
        | Verb::Orders(_)
        | Verb::Executions(_)
        | Verb::Approvals(_)
        | Verb::Questions(_)
        | Verb::KillSwitch(_)
        | Verb::State(_)
        | Verb::Limits(_)
        | Verb::Callers(_)
        | Verb::Audit(_)) => Box::pin(with_sidecar(context, verb)).await,
    }
}

async fn demo(context: &Context<'_>, how: DemoArgs) -> Result<(), Failure> {
    let options = DemoOptions { serve: how.serve, port: how.port, base: context.base.clone() };
    demo::run(options, context.printer).await
}

/// Verbs that ask a sidecar: the one that runs, or one that lives as long as the verb.
async fn with_sidecar(context: &Context<'_>, verb: Verb) -> Result<(), Failure> {
    let verifies = matches!(verb, Verb::Audit(AuditVerb::Verify));
    let opened = open::open(context).await;
    let opened = opened.map_err(|failure| match verifies {
        true => as_broken_chain(failure),
        false => failure,
    })?;
    let outcome = Box::pin(ask(context, &opened, verb)).await;
    opened.close().await;
    outcome
}

/// A log that is too damaged to be opened is a broken chain to who asked for its verification.
fn as_broken_chain(failure: Failure) -> Failure {
    if failure.0.error_code() != Some(ErrorCode::StoreDamaged) {
        return failure;
    }
    Failure::new(ErrorCode::AuditChainInvalid, failure.0.message)
}

async fn ask(context: &Context<'_>, opened: &open::Opened, verb: Verb) -> Result<(), Failure> {
    if let Some((tool, arguments)) = tool::planned(&verb) {
        if matches!(verb, Verb::Orders(OrdersVerb::Submit(_))) {
            return orders::submit(context, opened, (tool, arguments)).await;
        }
        if tool::watches(&verb) {
            return watch::run(context, opened, (tool, arguments)).await;
        }
        let answer = opened.call(tool, arguments, context.request_id.clone()).await?;
        return context.printer.document(answer.get());
    }
    match verb {
        Verb::Orders(verb) => orders::run(context, opened, verb).await,
        Verb::Approvals(verb) => approvals::run(context, opened, verb).await,
        Verb::Audit(verb) => audit::run(context, opened, verb).await,
        Verb::Status => operator::status(context, opened).await,
        Verb::Questions(verb) => operator::questions(context, opened, verb).await,
        Verb::KillSwitch(verb) => operator::kill_switch(context, opened, verb).await,
        Verb::State(StateVerb::Accept(why)) => {
            operator::accept_state(context, opened, why.reason).await
        }
        Verb::Callers(verb) => operator::callers(context, opened, verb).await,
        Verb::Session(SessionVerb::TakeOver { broker }) => {
            operator::take_over(context, opened, broker).await
        }
        Verb::Health
        | Verb::Backend(_)
        | Verb::Session(_)
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
        | Verb::Operator(_)
        | Verb::Demo(_)
        | Verb::Doctor(_)
        | Verb::Gateway(_)
        | Verb::Mcp(_)
        | Verb::Sidecar(_)
        | Verb::Config(_)
        | Verb::Policy(_)
        | Verb::Simulator(_)
        | Verb::Docs { .. } => Err(mistaken()),
    }
}

/// A verb came to the wrong place: a defect of `dispatch` or of the table in `verbs::tool`.
pub(crate) fn mistaken() -> Failure {
    Failure::new(ErrorCode::InternalError, "the verb was taken for another")
}
