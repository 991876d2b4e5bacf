//! `mcp serve`: MCP clients of this machine, over standard streams or HTTP.
//!
//! Over standard streams the process attaches to the running sidecar or becomes it, and takes over
//! when it dies; standard output belongs to MCP alone. Over HTTP it is the same front layer as the
//! hosted endpoint, with the sidecar behind it in this process. Nothing is served over HTTP without
//! an issuer: there is no such thing as an anonymous caller.

mod http;

use crate::args::{McpVerb, ServeArgs, Transport};
use crate::failure::Failure;
use crate::open;
use crate::run::Context;
use crate::signals;
use crate::verbs::local;
use crate::world;
use ibkr_agent_domain::{ErrorCode, Untrusted};
use ibkr_agent_mcp::serve_stdio;
use ibkr_agent_protocol::catalogue::Listing;
use ibkr_agent_protocol::service::LocalCaller;
use std::sync::Arc;

/// Runs a verb of `mcp …`.
pub(crate) async fn run(context: &Context<'_>, verb: McpVerb) -> Result<(), Failure> {
    let McpVerb::Serve(how) = verb;
    if how.describe {
        return local::describe(context);
    }
    match how.transport {
        Transport::Stdio => Box::pin(stdio(context, &how)).await,
        Transport::Http => Box::pin(http::serve_local(context, &how)).await,
    }
}

/// An agent's host shows this where its user looks for what is wrong.
fn warn_of_the_simulator(context: &Context<'_>) {
    if let Some(folder) = world::forgotten(context) {
        context.printer.notice(&format!(
            "SIMULATOR: no configuration was named, and a broker's installation is in {}. Name its \
             configuration with --config or IBKR_CONFIG, or say --simulator.",
            folder.display()
        ));
    }
}

async fn stdio(context: &Context<'_>, how: &ServeArgs) -> Result<(), Failure> {
    if how.bind.is_some() {
        return Err(Failure::input("--bind belongs to --transport http"));
    }
    let stop = signals::stop_token();
    let plan = open::prepared(context)?;
    warn_of_the_simulator(context);
    let listing = match &how.toolsets {
        Some(names) => {
            Listing::parse(names).map_err(|error| Failure::input(format!("--toolsets: {error}")))?
        }
        None => plan.settings.listing.clone(),
    };
    let service = Arc::new(open::service(&plan).await?);
    let caller = |name: &Untrusted| LocalCaller { client: name.clone() };
    let served = serve_stdio(Arc::clone(&service), caller, listing, stop).await;
    service.close().await;
    served.map_err(|error| {
        Failure::because(ErrorCode::InputInvalid, "the MCP client can't be served", &error)
            .next_step("Start this command from an MCP client, not by hand.")
    })
}
