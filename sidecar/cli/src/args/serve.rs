//! Arguments of the verbs that serve: MCP, sidecar, simulator; and of the generated pages.

use clap::{Args, Subcommand, ValueEnum};
use ibkr_agent_simulator::RunArguments;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `mcp …`.
#[derive(Debug, Subcommand)]
pub(crate) enum McpVerb {
    /// Serve an MCP client over standard streams, or clients over HTTP
    Serve(ServeArgs),
}

/// How to serve.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// How clients connect.
    #[arg(long, value_enum, default_value = "stdio")]
    pub(crate) transport: Transport,
    /// Address to listen on with HTTP; the configuration's when absent.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bind: Option<SocketAddr>,
    /// Asserts that the HTTP endpoint is enabled in the configuration; grants nothing.
    #[arg(long)]
    pub(crate) enable_remote_mcp: bool,
    /// Which tools to list over stdio: default, all, or toolsets such as market,options; the
    /// configuration's when absent. Over HTTP each client's URL says so: /mcp?toolsets=all.
    #[arg(long, value_name = "TOOLSETS")]
    pub(crate) toolsets: Option<String>,
    /// Print the tools as JSON and leave.
    #[arg(long)]
    pub(crate) describe: bool,
}

/// How MCP clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// Standard input and output.
    Stdio,
    /// Streamable HTTP with bearer tokens.
    Http,
}

/// `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep it running and print how MCP clients connect, instead of telling the story.
    #[arg(long)]
    pub(crate) serve: bool,
    /// Port of the MCP endpoint on 127.0.0.1; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,
    /// Accepted for scripts; the demo asks nothing.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `sidecar …`.
#[derive(Debug, Subcommand)]
pub(crate) enum SidecarVerb {
    /// Run the sidecar: engine, local doors and, when paired, the link to the remote
    Run,
    /// Pair with a remote by its one-time join token, typed or piped on standard input
    Pair(PairArgs),
    /// Identity, pairing and certificate of this sidecar
    Status,
    /// The identity key that a pairing records
    #[command(subcommand)]
    Identity(IdentityVerb),
    /// Join tokens and pairings, on the host of the remote
    #[command(subcommand)]
    Pairing(PairingVerb),
    /// The session with the remote
    #[command(subcommand)]
    Session(SidecarSessionVerb),
    /// Rehearse what the relay would do
    #[command(subcommand)]
    Relay(RelayVerb),
}

/// How to pair.
#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// File that holds the join token; standard input when absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The remote's relay, such as wss://relay.example.com:8443; the configuration's when absent.
    #[arg(long, value_name = "URL")]
    pub(crate) relay_url: Option<String>,
}

/// `sidecar identity …`.
#[derive(Debug, Subcommand)]
pub(crate) enum IdentityVerb {
    /// Make the key, unless there is one, and print its public half
    Create,
}

/// `sidecar pairing …`: acts on the remote's own state folder.
#[derive(Debug, Subcommand)]
pub(crate) enum PairingVerb {
    /// Print a one-time join token
    Create {
        /// The sidecar that may use it.
        #[arg(long, value_name = "ID")]
        sidecar_id: String,
        /// Whose calls the sidecar serves; repeat the flag for several.
        #[arg(long, value_name = "SUBJECT", required = true)]
        subject: Vec<String>,
        /// The subjects' issuer; the configuration's when absent.
        #[arg(long, value_name = "URL")]
        issuer: Option<String>,
        /// How long the token can be used.
        #[arg(long, value_name = "SECONDS")]
        ttl_seconds: Option<u64>,
    },
    /// End a pairing and cut its link
    Revoke {
        /// The sidecar.
        #[arg(long, value_name = "ID")]
        sidecar_id: String,
    },
}

/// `sidecar session …`.
#[derive(Debug, Subcommand)]
pub(crate) enum SidecarSessionVerb {
    /// Open one session with the remote, say what was agreed, and close it
    Create,
}

/// `sidecar relay …`.
#[derive(Debug, Subcommand)]
pub(crate) enum RelayVerb {
    /// Run one call through the sidecar's own acceptance and print what it would answer
    Accept(RelayAcceptArgs),
}

/// One rehearsed call.
#[derive(Debug, Args)]
pub(crate) struct RelayAcceptArgs {
    /// The remote that would pass the call on.
    #[arg(long, value_name = "ID")]
    pub(crate) remote_instance_id: String,
    /// The sidecar that the call is for.
    #[arg(long, value_name = "ID")]
    pub(crate) sidecar_id: String,
    /// The tool.
    #[arg(long, value_name = "NAME")]
    pub(crate) tool_name: String,
    /// Scopes that the caller holds; repeat the flag or separate by commas.
    #[arg(long, value_delimiter = ',')]
    pub(crate) scope: Vec<String>,
    /// The tool's arguments.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) payload_json: String,
}

/// `simulator …`.
#[derive(Debug, Subcommand)]
pub(crate) enum SimulatorVerb {
    /// Serve the simulated Client Portal Gateway until interrupted
    Run(RunArguments),
}

/// A generated page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DocsPage {
    /// Every tool.
    Tools,
    /// Every error code.
    Codes,
    /// JSON Schema of the configuration file.
    ConfigSchema,
}
