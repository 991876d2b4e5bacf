//! `demo --serve`: everything keeps running; this says where, and how clients connect.
//!
//! With `--json` one line on standard output holds all that a program needs. The printed tokens are
//! for this run only: their issuer's key dies with the process.

use std::path::Path;
use std::time::Duration;

use ibkr_agent_domain::{ScopeSet, Tier};
use ibkr_agent_gateway::invocation::Invocation;
use serde_json::{Value, json};

use super::identity::{Grant, SERVICE_CLIENT};
use super::operator::{Operator, service_label};
use super::stack::Stack;
use crate::failure::Failure;
use crate::print::Printer;

/// Life of the printed tokens. Submitting needs one younger than 15 minutes, which the token
/// endpoint gives.
const PRINTED_LIFE: Duration = Duration::from_secs(12 * 3600);

/// Admits the printed token's client, says how to connect, and waits for ever: the caller stops it.
pub(super) async fn serve(
    stack: &Stack,
    folder: &Path,
    operator: &mut Operator,
    printer: Printer,
) -> Result<(), Failure> {
    let issuer = stack.identity.issuer();
    operator.admit(&service_label(issuer)).await.map_err(|error| {
        Failure::new(ibkr_agent_domain::ErrorCode::InternalError, error.to_string())
    })?;
    let token = |scopes| stack.identity.mint(&Grant::service(scopes, PRINTED_LIFE));
    let (all, few) = (token(ScopeSet::up_to(Tier::Paper)), token(ScopeSet::up_to(Tier::Read)));
    if printer.is_json() {
        printer.value(&described(stack, folder, &all, &few))?;
    } else {
        printer.page(&page(stack, folder, &all))?;
    }
    std::future::pending().await
}

fn described(stack: &Stack, folder: &Path, token: &str, read_only: &str) -> Value {
    json!({
        "url": stack.hosted.url(),
        "token": token,
        "read_only_token": read_only,
        "issuer": stack.identity.issuer(),
        "token_endpoint": stack.identity.token_endpoint(),
        "client_id": SERVICE_CLIENT,
        "client_secret": stack.identity.service_secret(),
        "state_dir": folder.display().to_string(),
        "sidecar_id": stack.onprem.sidecar_id().as_str(),
        "simulator_url": stack.simulator.base_url(),
        "operator_hint": format!("{} approvals list", operator(folder)),
    })
}

fn page(stack: &Stack, folder: &Path, token: &str) -> String {
    let url = stack.hosted.url();
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    let headers = json!({"Authorization": format!("Bearer {token}")});
    let cursor = json!({"mcpServers": {"ibkr": {"url": url, "headers": headers}}});
    let code = json!({"servers": {"ibkr": {"type": "http", "url": url, "headers": headers}}});
    let operator = operator(folder);
    let grant = format!(
        "curl -s -u {SERVICE_CLIENT}:{} -d grant_type=client_credentials -d scope='{}' {}",
        stack.identity.service_secret(),
        ScopeSet::up_to(Tier::Paper),
        stack.identity.token_endpoint(),
    );
    format!(
        "MCP endpoint  {url}\n\
         Access token  {token}\n\n\
         Claude Code\n\
         claude mcp add --transport http ibkr {url} --header \"Authorization: Bearer {token}\"\n\n\
         Cursor (~/.cursor/mcp.json)\n{cursor}\n\n\
         VS Code (.vscode/mcp.json)\n{code}\n\n\
         Submitting an order needs a token younger than 15 minutes. A fresh one:\n{grant}\n\n\
         You are the operator. In another terminal:\n\
         {operator} approvals list\n\
         {operator} approvals approve APPROVAL_ID\n\
         {operator} kill-switch close --reason \"enough\"\n\n\
         Serving until interrupted (ctrl-c).",
        cursor = pretty(&cursor),
        code = pretty(&code),
    )
}

/// How the operator's commands begin in another terminal, whatever configuration that has.
fn operator(folder: &Path) -> String {
    Invocation::simulator().with_state_dir(folder).program()
}
