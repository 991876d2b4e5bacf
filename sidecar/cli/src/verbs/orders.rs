//! Order verbs that are more than one tool call.

use crate::args::{CancelArgs, Finding, OrdersVerb, YesNo};
use crate::failure::Failure;
use crate::open::Opened;
use crate::run::{Context, mistaken};
use crate::verbs::operator::{answer_question, ask_yes, signer};
use crate::verbs::tool::Planned;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_gateway::operator::{OperatorDomain, Verb as Act};
use serde_json::Value;
use std::time::Duration;

/// Most questions that are answered about one order; IBKR was seen to ask three.
const MAX_QUESTIONS: usize = 8;
/// How often an answered question's order is looked at, and how long between two looks.
const LOOKS: usize = 40;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// `orders submit`: sends the order, and deals with the broker's question if there is one.
///
/// A question lives in the process that sent the order: leaving it open here could make the order's
/// outcome unknown. This is the operator's own surface, so on the simulator the answer is yes, as
/// `approvals create` approves at once there; at a real broker the human is shown the question and
/// asked, and where there is no human the answer is no.
pub(crate) async fn submit(
    context: &Context<'_>,
    opened: &Opened,
    (tool, arguments): Planned,
) -> Result<(), Failure> {
    let request_id = context.request_id.clone();
    let mut answer = opened.call(tool, arguments.clone(), request_id).await?;
    for _ in 0..MAX_QUESTIONS {
        let value: Value = serde_json::from_str(answer.get()).unwrap_or_default();
        if !settle_question(context, opened, &value).await? {
            return context.printer.document(answer.get());
        }
        // The same request again only reads: its key already has an order. An order that came to
        // nothing is an error here, as it is at once.
        answer = opened.call(tool, arguments.clone(), None).await?;
    }
    Err(too_many_questions())
}

/// Deals with the broker's questions about an order that a signature sent.
pub(crate) async fn settle_questions(
    context: &Context<'_>,
    opened: &Opened,
    order: &str,
) -> Result<(), Failure> {
    for _ in 0..MAX_QUESTIONS {
        let value = recorded(opened, order).await?;
        if !settle_question(context, opened, &value).await? {
            return Ok(());
        }
    }
    Err(too_many_questions())
}

fn too_many_questions() -> Failure {
    let message = format!("the broker asked more than {MAX_QUESTIONS} questions about one order");
    Failure::new(ErrorCode::OrderOutcomeUnknown, message)
}

/// Answers the question of an outcome, if there is one and somebody to answer it, and waits until
/// the broker has said what it makes of the answer. `false`: there is nothing more to do here.
async fn settle_question(
    context: &Context<'_>,
    opened: &Opened,
    value: &Value,
) -> Result<bool, Failure> {
    if value.get("status").and_then(Value::as_str) != Some("question") {
        return Ok(false);
    }
    let order = value.get("client_order_id").and_then(Value::as_str).unwrap_or_default();
    let human = match opened.domain() {
        OperatorDomain::Simulator => Some(YesNo::Yes),
        OperatorDomain::Broker => ask_yes(context, value).await?,
    };
    let said = match human {
        Some(said) => said,
        None if opened.is_owner() => {
            let words = "No terminal: the broker's question is answered with no.";
            context.printer.notice(words);
            YesNo::No
        }
        // The running sidecar keeps the question; `questions answer` answers it.
        None => {
            context.printer.notice(&context.invocation.spell(
                "No terminal: the broker's question waits. Answer it with `ibkr-agent questions \
                 answer`; without an answer it ends with no.",
            ));
            return Ok(false);
        }
    };
    Box::pin(answer_question(context, opened, order.to_owned(), said)).await?;
    wait_until_told(opened, order).await?;
    Ok(true)
}

/// An order as it is recorded, whoever it belongs to.
async fn recorded(opened: &Opened, order: &str) -> Result<Value, Failure> {
    let mut orders = opened.perform(Act::Orders {}, None).await?;
    let rows = orders.get_mut("orders").map(Value::take);
    let rows = rows.and_then(|rows| rows.as_array().cloned()).unwrap_or_default();
    let is_it = |row: &Value| row.get("client_order_id").and_then(Value::as_str) == Some(order);
    Ok(rows.into_iter().find(is_it).unwrap_or_default())
}

/// Waits, for a bounded time, until the broker has said what it makes of the answer.
async fn wait_until_told(opened: &Opened, order: &str) -> Result<(), Failure> {
    for _ in 0..LOOKS {
        let outcome = recorded(opened, order).await?;
        let status = outcome.get("status").and_then(Value::as_str);
        // A question with nothing to answer is one whose answer is on its way.
        let waits = outcome.get("question").is_none_or(Value::is_null);
        let under_way = status == Some("intended") || (status == Some("question") && waits);
        if !under_way {
            return Ok(());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Ok(())
}

/// Runs one of them.
pub(crate) async fn run(
    context: &Context<'_>,
    opened: &Opened,
    verb: OrdersVerb,
) -> Result<(), Failure> {
    match verb {
        OrdersVerb::Cancel(CancelArgs { account, broker_order_id, .. }) => {
            let act = Act::Cancel { account, order: broker_order_id };
            context.printer.value(&opened.perform(act, None).await?)
        }
        OrdersVerb::Settle { client_order_id, finding } => {
            let signer = signer(context, opened).await?;
            let exists = finding == Finding::Exists;
            let act = Act::Settle { order: client_order_id, exists };
            context.printer.value(&opened.perform(act, Some(&signer)).await?)
        }
        OrdersVerb::List { .. }
        | OrdersVerb::History(_)
        | OrdersVerb::Status { .. }
        | OrdersVerb::Outcome(_)
        | OrdersVerb::Preview(_)
        | OrdersVerb::Submit(_)
        | OrdersVerb::Modify(_)
        | OrdersVerb::Approve(_)
        | OrdersVerb::LiveSubmit(_)
        | OrdersVerb::LiveCancel(_) => Err(mistaken()),
    }
}
