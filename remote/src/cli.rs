//! The command line of `ibkr-agent-remote`.
//!
//! stdout is data, stderr is talk and logs. Errors have a stable code and the exit code that
//! follows from it: 1 refused, 2 bad input, 3 backend, 4 auth, 7 configuration.

mod print;
mod verbs;

use crate::config::{ConfigError, Environment, RemoteConfig};
use clap::{Args, Parser, Subcommand};
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_protocol::config::{RawLogFormat, RawLogging};
use ibkr_agent_protocol::service::ErrorBody;
use print::Printer;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

const ABOUT: &str = "The hosted MCP endpoint of the IBKR Agent Gateway. \
    Unofficial, not affiliated with Interactive Brokers.";

/// The hosted MCP endpoint.
#[derive(Debug, Parser)]
#[command(name = "ibkr-agent-remote", version, about = ABOUT)]
struct Cli {
    /// The configuration file.
    #[arg(long, global = true, env = "IBKR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Machine-readable output and errors.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGINT or SIGTERM.
    Serve {
        /// Listen here instead of at remote_mcp.bind_address.
        #[arg(long, value_name = "ADDRESS:PORT")]
        bind: Option<SocketAddr>,
    },
    /// Join tokens and pairings of sidecars.
    #[command(subcommand)]
    Pairing(Pairing),
    /// The configuration file.
    #[command(subcommand)]
    Config(Config),
}

#[derive(Debug, Subcommand)]
enum Pairing {
    /// Make a one-time join token for a sidecar.
    Create(Create),
    /// Revoke a sidecar's pairing and cut its link.
    Revoke {
        /// The sidecar.
        #[arg(long, value_name = "ID")]
        sidecar_id: String,
    },
    /// List the pairings.
    List,
}

#[derive(Debug, Args)]
struct Create {
    /// The name of the sidecar.
    #[arg(long, value_name = "ID")]
    sidecar_id: String,
    /// A user that it serves (the token's sub), or * for every user of the issuer; repeatable.
    #[arg(long = "subject", value_name = "SUBJECT", required = true)]
    subjects: Vec<String>,
    /// The issuer of those users; the configured one when absent.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// How long the join token lives, such as 15m.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_time)]
    ttl: Duration,
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Check a configuration file and print what follows from it.
    Check,
    /// Print the JSON Schema of the configuration file.
    Schema,
}

/// What stops a verb: what is printed and the exit code.
#[derive(Debug)]
pub(crate) struct Failure(ErrorBody);

impl Failure {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ErrorBody::new(code, message))
    }

    /// With the chain of causes behind the message.
    fn from_error(code: ErrorCode, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(code, message)
    }

    fn exit_code(&self) -> u8 {
        self.0.error_code().unwrap_or(ErrorCode::InternalError).fault().exit_code()
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::from_error(error.code(), &error)
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout, complaints to stderr; a closed pipe is no failure.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let printer = Printer { json: cli.json };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime
        .map_err(|error| Failure::from_error(ErrorCode::InternalError, &error))
        .and_then(|runtime| runtime.block_on(run(cli, &printer)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            printer.error(&failure.0);
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(cli: Cli, printer: &Printer) -> Result<(), Failure> {
    let config = || read(cli.config.as_deref(), None);
    match cli.command {
        Command::Serve { bind } => {
            let config = read(cli.config.as_deref(), bind)?;
            init_logs(&config.logging)?;
            verbs::serve(config, printer).await
        }
        Command::Pairing(Pairing::Create(create)) => {
            verbs::create(&config()?, create, printer).await
        }
        Command::Pairing(Pairing::Revoke { sidecar_id }) => {
            verbs::revoke(&config()?, sidecar_id, printer).await
        }
        Command::Pairing(Pairing::List) => verbs::list(&config()?, printer).await,
        Command::Config(Config::Check) => verbs::check(&config()?, printer),
        Command::Config(Config::Schema) => verbs::schema(printer),
    }
}

fn read(path: Option<&Path>, bind: Option<SocketAddr>) -> Result<RemoteConfig, Failure> {
    let Some(path) = path else {
        let message = "name the configuration file with --config or IBKR_CONFIG";
        return Err(Failure::new(ErrorCode::ConfigInvalid, message));
    };
    let environment: Environment<'_> = &|name| std::env::var(name).ok();
    Ok(match bind {
        Some(bind) => RemoteConfig::read_bound(path, bind, environment)?,
        None => RemoteConfig::read(path, environment)?,
    })
}

/// Logs go to stderr; what they hold are ids.
fn init_logs(logging: &RawLogging) -> Result<(), Failure> {
    let directives = logging.filter.as_deref().unwrap_or("info");
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        let message = format!("logging.filter: {error}");
        Failure::new(ErrorCode::ConfigInvalid, message)
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let installed = match logging.format.unwrap_or(RawLogFormat::Text) {
        RawLogFormat::Text => builder.try_init(),
        RawLogFormat::Json => builder.json().try_init(),
    };
    installed.map_err(|error| Failure::new(ErrorCode::InternalError, error.to_string()))
}

/// A whole number with a unit: s, m, h or d.
fn parse_time(text: &str) -> Result<Duration, String> {
    let complaint = || format!("{text:?} isn't a time such as 90s, 15m, 2h or 7d");
    let unit = text.chars().last().ok_or_else(complaint)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(complaint()),
    };
    let count = text.strip_suffix(unit).and_then(|count| count.parse::<u64>().ok());
    let total = count.and_then(|count| count.checked_mul(seconds)).ok_or_else(complaint)?;
    Ok(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_says_that_it_is_unofficial() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        let words: Vec<_> = help.split_whitespace().collect();
        assert!(words.join(" ").contains("not affiliated with Interactive Brokers"), "{help}");
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_time("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse_time("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "15", "m", "-1m", "1w", "1.5h", "999999999999999999d"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
