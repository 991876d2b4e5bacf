//! The story: one MCP client from its first knock to a verified audit log.
//!
//! Each step does something over the real sockets, says what it was and how long it took, and fails
//! the demo if the answer isn't what it should be. Nothing here reaches into the sidecar: agents'
//! steps go through the hosted endpoint, the human's through the operator's socket.

use std::time::{Duration, Instant};

use ibkr_agent_domain::{ErrorCode, Scope, ScopeSet, Tier};
use ibkr_agent_protocol::catalogue;
use ibkr_agent_simulator::{Control, Question};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::client::{ClientError, Login, McpClient, document, metadata_url};
use super::operator::Operator;
use super::tell::Teller;
use crate::failure::Failure;

/// The account of the story.
pub(super) const ACCOUNT: &str = "DU1234567";
/// Apple's contract id.
const AAPL: i64 = 265_598;
/// Where the market is pinned, so that the story's limits mean the same in every run.
const MARKET: u32 = 230;
/// A limit that fills at once.
const NEAR_LIMIT: &str = "230.5";
/// A limit that rests.
const FAR_LIMIT: &str = "100";
/// The human's signature sends the order.
const SUBMIT: &str = "submit";
/// The human's signature allows one submit.
const HOLD: &str = "hold";
/// Another one that fills: an equal order within a minute would be refused.
const OTHER_LIMIT: &str = "230.4";
/// How long a fill or cancel may take to show.
const SETTLING: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What a step found instead of what it should have.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unexpected(String);

impl Unexpected {
    /// What was found.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl From<ClientError> for Unexpected {
    fn from(error: ClientError) -> Self {
        Self(error.to_string())
    }
}

impl From<ibkr_agent_protocol::service::ErrorBody> for Unexpected {
    fn from(error: ibkr_agent_protocol::service::ErrorBody) -> Self {
        Self(format!("{}: {}", error.code, error.message))
    }
}

/// A step's value and what is said of it.
type Told<T> = Result<(T, String), Unexpected>;

/// Where the story plays.
pub(super) struct Scene<'a> {
    /// A client on loopback.
    pub(super) http: &'a reqwest::Client,
    /// The MCP endpoint.
    pub(super) url: &'a str,
    /// Who gives tokens.
    pub(super) issuer: &'a str,
    /// The simulated market's switches.
    pub(super) market: &'a Control,
}

/// Tells the whole story.
///
/// # Errors
/// The first step that isn't as it should be.
pub(super) async fn tell(
    scene: &Scene<'_>,
    operator: &mut Operator,
    teller: &mut Teller,
) -> Result<(), Failure> {
    scene.market.set_price(AAPL, MARKET.into());
    let (reader, agent) = log_in(scene, teller).await?;
    reads(&agent, teller).await?;
    teller.step("A write with a read-only token", refused_by_scope(&reader)).await?;
    let preview = teller.step("Preview: buy 1 AAPL", previewed(&agent, NEAR_LIMIT)).await?;
    teller.step("A client that nobody admitted asks", not_admitted(&agent, &preview)).await?;
    teller.step("The operator admits the client", admit(operator, scene.issuer)).await?;
    sent(scene, &agent, operator, teller, &preview).await?;
    teller.step("Sell more than is held", too_much(&agent)).await?;
    halted(&agent, operator, teller).await?;
    teller.step("The audit log is verified", verify(operator)).await
}

/// The client asks, the human's signature sends, and the client learns what became of it: it calls
/// nothing that sends.
async fn sent(
    scene: &Scene<'_>,
    agent: &McpClient,
    operator: &mut Operator,
    teller: &mut Teller,
    preview: &str,
) -> Result<(), Failure> {
    let approval = teller.step("The client asks again", ask(agent, preview, SUBMIT)).await?;
    scene.market.ask_question_next(Question {
        message_id: "o163".to_owned(),
        text: "The price exceeds the percentage constraint of 3%. Submit it anyway?".to_owned(),
    });
    let signed = signed(operator, &approval, "question");
    teller.step("The operator looks and signs: it is sent", signed).await?;
    teller.step("The client waits: the broker asks", followed(agent, &approval)).await?;
    teller.step("The human answers it", answer(operator)).await?;
    teller.step("The order fills", until(agent, &approval, "filled")).await.map(drop)
}

async fn log_in(scene: &Scene<'_>, teller: &mut Teller) -> Result<(McpClient, McpClient), Failure> {
    let resource = teller.step("Knock without a token", challenged(scene)).await?;
    let login = Login { issuer: scene.issuer, resource: &resource };
    let reads = ScopeSet::up_to(Tier::Read);
    let reader = teller.step("Log in to read", token(scene, login, &reads)).await?;
    let all = ScopeSet::up_to(Tier::Paper);
    let agent = teller.step("Log in to trade on paper", token(scene, login, &all)).await?;
    teller.step("List the tools", listed(&reader, &agent)).await?;
    Ok((reader, agent))
}

/// Without a token: 401, and the challenge leads to the issuer.
async fn challenged(scene: &Scene<'_>) -> Told<String> {
    let stranger = McpClient::new(scene.http.clone(), scene.url, None);
    let Err(refused) = stranger.discover().await else {
        return Err(Unexpected::new("the endpoint answered without a token"));
    };
    let ClientError::Refused {
        status: StatusCode::UNAUTHORIZED, challenge: Some(challenge), ..
    } = refused
    else {
        return Err(Unexpected::new(format!("a 401 with a challenge was due: {refused}")));
    };
    let url = metadata_url(&challenge)
        .ok_or_else(|| Unexpected::new("the challenge names no metadata"))?;
    let metadata = document(scene.http, url).await?;
    let issuer = text(&metadata, "/authorization_servers/0")?;
    if issuer != scene.issuer {
        return Err(Unexpected::new("the metadata names another issuer"));
    }
    let resource = text(&metadata, "/resource")?.to_owned();
    Ok((resource, format!("401; its metadata leads to {issuer}")))
}

async fn token(scene: &Scene<'_>, login: Login<'_>, scopes: &ScopeSet) -> Told<McpClient> {
    let token = login.with_code(scene.http, &scopes.to_string()).await?;
    let said = format!("authorization code with PKCE, {} scopes", scopes.iter().count());
    Ok((McpClient::new(scene.http.clone(), scene.url, Some(token)), said))
}

async fn listed(reader: &McpClient, agent: &McpClient) -> Told<()> {
    let (few, all) = (reader.tools().await?, agent.tools().await?);
    // The endpoint's URL asks for no toolsets, so it lists the default set.
    let expected = catalogue::all().iter().filter(|tool| tool.in_default).count();
    if all.len() != expected || few.len() >= all.len() {
        let message = format!("{} and {} tools were listed, not {expected}", few.len(), all.len());
        return Err(Unexpected::new(message));
    }
    let said = format!("{} for this token, {} for the read-only one", all.len(), few.len());
    Ok(((), said))
}

async fn reads(agent: &McpClient, teller: &mut Teller) -> Result<(), Failure> {
    teller.step("Account summary", summary(agent)).await?;
    teller.step("Positions", positions(agent)).await?;
    teller.step("A quote", quote(agent)).await
}

async fn summary(agent: &McpClient) -> Told<()> {
    let answer = agent.call("ibkr_account_summary", json!({"account_id": ACCOUNT})).await?;
    let amount = text(&answer, "/figures/net_liquidation/amount")?;
    let currency = text(&answer, "/figures/net_liquidation/currency")?;
    expect(&answer, "/mode", "simulated")?;
    Ok(((), format!("{ACCOUNT} is worth {amount} {currency} ({})", text(&answer, "/mode")?)))
}

async fn positions(agent: &McpClient) -> Told<()> {
    let answer = agent.call("ibkr_positions_list", json!({"account_id": ACCOUNT})).await?;
    let rows = answer.pointer("/table/rows").and_then(Value::as_array);
    let rows = rows.filter(|rows| !rows.is_empty());
    let rows = rows.ok_or_else(|| Unexpected::new("there are no positions"))?;
    Ok(((), format!("{} of them", rows.len())))
}

async fn quote(agent: &McpClient) -> Told<()> {
    let arguments = json!({"instrument": "AAPL", "detail": "full"});
    let answer = agent.call("ibkr_market_snapshot", arguments).await?;
    let (bid, ask) = (text(&answer, "/quotes/0/bid")?, text(&answer, "/quotes/0/ask")?);
    let status = text(&answer, "/quotes/0/data_status")?;
    Ok(((), format!("AAPL {bid} / {ask} ({status})")))
}

/// 403 with the missing scope: the call never left the remote.
async fn refused_by_scope(reader: &McpClient) -> Told<()> {
    match reader.call("ibkr_order_preview", order(NEAR_LIMIT)).await {
        Err(ClientError::Refused {
            status: StatusCode::FORBIDDEN,
            challenge: Some(challenge),
            ..
        }) if challenge.contains("insufficient_scope")
            && challenge.contains(Scope::OrdersPreview.as_str()) =>
        {
            Ok(((), format!("403: the token lacks {}", Scope::OrdersPreview)))
        }
        Err(other) => Err(Unexpected::new(format!("a 403 challenge was due: {other}"))),
        Ok(_) => Err(Unexpected::new("the call went through")),
    }
}

fn order(limit: &str) -> Value {
    terms("buy", "1", limit)
}

fn terms(side: &str, quantity: &str, limit: &str) -> Value {
    json!({
        "account_id": ACCOUNT,
        "symbol": "AAPL",
        "side": side,
        "quantity": quantity,
        "order_type": "limit",
        "limit_price": limit,
    })
}

async fn previewed(agent: &McpClient, limit: &str) -> Told<String> {
    let answer = agent.call("ibkr_order_preview", order(limit)).await?;
    let checks = answer.pointer("/checks").and_then(Value::as_array);
    let checks = checks.ok_or_else(|| Unexpected::new("no checks were shown"))?;
    let passed = |check: &&Value| check.pointer("/passed").and_then(Value::as_bool) == Some(true);
    let failed = checks.iter().filter(|check| !passed(check)).count();
    if answer.pointer("/would_pass").and_then(Value::as_bool) != Some(true) || failed > 0 {
        return Err(Unexpected::new(format!("{failed} checks don't pass: {}", json!(checks))));
    }
    let count = answer.pointer("/checks_passed").and_then(Value::as_u64).unwrap_or_default();
    let said = format!("limit {limit}; {count} checks pass");
    Ok((text(&answer, "/preview_id")?.to_owned(), said))
}

/// A sale that would open a short is refused at the preview, with what would pass.
async fn too_much(agent: &McpClient) -> Told<()> {
    let answer = agent.call("ibkr_order_preview", terms("sell", "300", NEAR_LIMIT)).await?;
    let checks = answer.pointer("/checks").and_then(Value::as_array);
    let short = checks.and_then(|checks| checks.iter().find(|check| check["gate"] == "short"));
    let short = short.filter(|check| check["passed"] == false);
    let short = short.ok_or_else(|| Unexpected::new("a short was let through"))?;
    let (seen, nearest) = (text(short, "/observed")?, text(short, "/nearest")?);
    Ok(((), format!("refused: it {seen}; {nearest}")))
}

async fn not_admitted(agent: &McpClient, preview: &str) -> Told<()> {
    let arguments = json!({"account_id": ACCOUNT, "preview_id": preview});
    let code = ErrorCode::AuthNotAdmitted;
    refusal(agent.call("ibkr_approvals_create", arguments).await, code)?;
    Ok(((), format!("{code}: a new client may read and preview only")))
}

async fn admit(operator: &mut Operator, issuer: &str) -> Told<()> {
    let caller = super::operator::login_label(issuer);
    operator.admit(&caller).await?;
    Ok(((), "signed with the operator's key".to_owned()))
}

async fn ask(agent: &McpClient, preview: &str, on_approval: &str) -> Told<String> {
    let arguments = json!({
        "account_id": ACCOUNT,
        "preview_id": preview,
        "on_approval": on_approval,
        "reason": "The demo buys one share.",
    });
    let answer = agent.call("ibkr_approvals_create", arguments).await?;
    expect(&answer, "/status", "pending")?;
    let said = match on_approval {
        SUBMIT => "pending: a human's signature would send it",
        _ => "pending: a human decides",
    };
    Ok((text(&answer, "/approval_id")?.to_owned(), said.to_owned()))
}

/// The operator signs an approval that sends; gives what followed.
async fn signed(operator: &mut Operator, approval: &str, status: &str) -> Told<Value> {
    let (summary, digest, done) = operator.sign_yes(approval).await?;
    expect(&done, "/outcome/status", status)?;
    let short: String = digest.chars().take(12).collect();
    Ok((done, format!("signed {short}…, the digest of\n{summary}")))
}

/// One waiting call of the client: what was decided, and what became of the order.
async fn followed(agent: &McpClient, approval: &str) -> Told<()> {
    let arguments = json!({"approval_id": approval, "wait_seconds": 20});
    let answer = agent.call("ibkr_approval_status", arguments).await?;
    expect(&answer, "/status", "consumed")?;
    let status = text(&answer, "/outcome/status")?;
    Ok(((), format!("sent; the order is at {status}: it waits for a human")))
}

async fn answer(operator: &mut Operator) -> Told<()> {
    operator.answer_question().await?;
    Ok(((), "yes, signed over the text that was shown".to_owned()))
}

/// Looks until an order has a status.
async fn until(agent: &McpClient, approval: &str, status: &str) -> Told<Value> {
    let begun = Instant::now();
    loop {
        let answer = agent.call("ibkr_order_outcome", json!({"approval_id": approval})).await?;
        if text(&answer, "/status")? == status {
            let filled = answer.pointer("/filled").and_then(Value::as_str).unwrap_or("0");
            let price = answer.pointer("/average_price").and_then(Value::as_str);
            let said = match price {
                Some(price) => format!("{status}: {filled} at {price}"),
                None => status.to_owned(),
            };
            return Ok((answer, said));
        }
        if begun.elapsed() > SETTLING {
            let found = text(&answer, "/status")?;
            return Err(Unexpected::new(format!("the order is {found}, not {status}")));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// An approved order rests, another waits; a halt refuses the second and lets the first be
/// cancelled.
async fn halted(
    agent: &McpClient,
    operator: &mut Operator,
    teller: &mut Teller,
) -> Result<(), Failure> {
    let resting = teller.step("Another order, far from the market", rests(agent, operator));
    let (resting, order) = resting.await?;
    let spare =
        teller.step("A third one is approved", approved(agent, operator, OTHER_LIMIT)).await?;
    teller.step("The operator halts trading", halt(operator)).await?;
    teller.step("The approved order is refused", refused_by_halt(agent, &spare)).await?;
    teller.step("Cancelling still passes", cancelled(agent, &order, &resting)).await?;
    teller.step("The operator resumes", resume(operator)).await
}

/// An order that a signature sent and that rests: its approval and its id at the broker.
async fn rests(agent: &McpClient, operator: &mut Operator) -> Told<(String, String)> {
    let (preview, _) = previewed(agent, FAR_LIMIT).await?;
    let (approval, _) = ask(agent, &preview, SUBMIT).await?;
    let (done, _) = signed(operator, &approval, "working").await?;
    let order = text(&done, "/outcome/broker_order_id")?.to_owned();
    let said = format!("limit {FAR_LIMIT}: signed and sent, it rests as broker order {order}");
    Ok(((approval, order), said))
}

async fn approved(agent: &McpClient, operator: &mut Operator, limit: &str) -> Told<String> {
    let (preview, _) = previewed(agent, limit).await?;
    let (approval, _) = ask(agent, &preview, HOLD).await?;
    operator.approve(&approval).await?;
    Ok((approval, format!("limit {limit}: previewed, asked, approved")))
}

async fn halt(operator: &mut Operator) -> Told<()> {
    operator.halt("shown in the demo").await?;
    Ok(((), "no signature is needed to stop".to_owned()))
}

async fn refused_by_halt(agent: &McpClient, approval: &str) -> Told<()> {
    let arguments =
        json!({"account_id": ACCOUNT, "approval_id": approval, "idempotency_key": "demo-halted"});
    let code = ErrorCode::KillSwitchClosed;
    refusal(agent.call("ibkr_paper_order_submit", arguments).await, code)?;
    Ok(((), code.to_string()))
}

async fn cancelled(agent: &McpClient, order: &str, approval: &str) -> Told<()> {
    let arguments = json!({
        "account_id": ACCOUNT,
        "broker_order_id": order,
        "idempotency_key": format!("demo-cancel-{order}"),
    });
    agent.call("ibkr_paper_order_cancel", arguments).await?;
    let (_, said) = until(agent, approval, "cancelled").await?;
    Ok(((), said))
}

async fn resume(operator: &mut Operator) -> Told<()> {
    operator.resume("the demo goes on").await?;
    Ok(((), "signed".to_owned()))
}

async fn verify(operator: &mut Operator) -> Told<()> {
    let said = operator.verify_audit().await?;
    Ok(((), said))
}

/// The text at a place of an answer.
pub(super) fn text<'a>(answer: &'a Value, pointer: &str) -> Result<&'a str, Unexpected> {
    answer
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| Unexpected::new(format!("the answer has no {pointer}: {answer}")))
}

fn expect(answer: &Value, pointer: &str, wanted: &str) -> Result<(), Unexpected> {
    let found = text(answer, pointer)?;
    if found == wanted {
        return Ok(());
    }
    Err(Unexpected::new(format!("{pointer} is {found}, not {wanted}: {answer}")))
}

fn refusal(answer: Result<Value, ClientError>, code: ErrorCode) -> Result<(), Unexpected> {
    match answer {
        Err(error) if error.code() == Some(code.as_str()) => Ok(()),
        Err(other) => Err(Unexpected::new(format!("{code} was due: {other}"))),
        Ok(answer) => Err(Unexpected::new(format!("{code} was due, and it passed: {answer}"))),
    }
}
