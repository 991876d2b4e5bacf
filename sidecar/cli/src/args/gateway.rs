//! Arguments of `gateway …`: IBKR's Client Portal Gateway, as its user downloaded it.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `gateway …`.
#[derive(Debug, Subcommand)]
pub(crate) enum GatewayVerb {
    /// Check the downloaded folder, Java, the port and the configuration; changes nothing
    Check(GatewayFolder),
    /// Run the downloaded gateway with a loopback-only configuration, and tell when a human is
    /// logged in
    Run(GatewayRunArgs),
}

/// Which gateway.
#[derive(Debug, Args)]
pub(crate) struct GatewayFolder {
    /// The unpacked Client Portal Gateway: the folder with bin, dist and root.
    #[arg(long, value_name = "PATH")]
    pub(crate) dir: PathBuf,
    /// Port on this machine; the configuration's listenPort when absent.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
}

/// How to run it.
#[derive(Debug, Args)]
pub(crate) struct GatewayRunArgs {
    /// Which one.
    #[command(flatten)]
    pub(crate) folder: GatewayFolder,
    /// Open the login page in the browser of this desktop.
    #[arg(long)]
    pub(crate) open: bool,
}
