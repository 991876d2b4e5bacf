//! What an answer may be: the same for the same request, and no refusal of a cancel for risk.

use super::checker::{Checked, rule};
use ibkr_agent_domain::{ApprovalId, ClientOrderId, ErrorCode, IdempotencyKey};
use ibkr_agent_engine::{Answer, Owner};

pub(super) fn same_answer(
    owner: &Owner,
    key: &IdempotencyKey,
    (approval, sends): (&ApprovalId, bool),
    sent_before: Option<(ClientOrderId, ApprovalId)>,
    answer: &Answer,
) -> Checked {
    if let Answer::Order(entry) = answer {
        rule(entry.owner == *owner, || format!("{} was shown to {owner:?}", entry.id))?;
        // What a signature sent is every submission's answer, whatever its key.
        rule((entry.key == *key || sends) && entry.approval == *approval, || {
            format!("{} answers another request", entry.id)
        })?;
    }
    let Some((order, spent)) = sent_before else {
        return Ok(());
    };
    let same = match answer {
        Answer::Order(entry) => entry.id == order,
        // A refusal that can't be recorded is told as just that.
        Answer::Refused(refusal) => {
            let codes = [ErrorCode::PaperIdempotencyConflict, ErrorCode::AuditWriteFailed];
            spent != *approval && codes.contains(&refusal.code)
        }
        Answer::Admitted
        | Answer::Recorded
        | Answer::Preview(..)
        | Answer::Approval(..)
        | Answer::CancelRequested { .. }
        | Answer::Done => false,
    };
    rule(same, || format!("the same key made {order} and now {answer:?}"))
}

pub(super) fn refuses_for_risk(answer: &Answer) -> bool {
    let Answer::Refused(refusal) = answer else {
        return false;
    };
    !matches!(
        refusal.code,
        ErrorCode::OrderNotOurs | ErrorCode::OrderNotFound | ErrorCode::AuditWriteFailed
    )
}
