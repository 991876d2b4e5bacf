//! What an operator can do to the engine.

use crate::state::OperatorKeyEntry;
use ibkr_agent_domain::{
    ApprovalId, BrokerName, ClientOrderId, Digest, OperatorKeyId, OperatorSignature, PreviewId,
};

/// An operator's act, its signature already verified where one is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorAct {
    /// Approve exactly this.
    Approve {
        /// Which approval.
        approval: ApprovalId,
        /// Digest of the approval's bytes, as shown.
        digest: Digest,
        /// The key that signed.
        key: OperatorKeyId,
        /// Its signature, which is kept.
        signature: OperatorSignature,
    },
    /// Make a caller's fresh preview an approval that the operator's own signature sends.
    Take {
        /// The preview.
        preview: PreviewId,
    },
    /// Deny, or take back.
    Deny {
        /// Which approval.
        approval: ApprovalId,
    },
    /// Answer a broker's question.
    Answer {
        /// The order that it is about.
        order: ClientOrderId,
        /// Digest of the question's text, as shown.
        text: Digest,
        /// Yes or no.
        confirmed: bool,
    },
    /// Stop trading.
    Halt {
        /// Why.
        reason: String,
    },
    /// Allow trading again.
    Resume {
        /// Why.
        reason: String,
    },
    /// Accept a state folder in doubt, and allow trading again.
    Accept {
        /// The halt's reason, as shown and signed.
        cause: String,
        /// Why.
        reason: String,
    },
    /// Admit a caller to writes.
    Admit {
        /// The caller, as the log names it.
        caller: String,
    },
    /// Take a caller's admission back. Needs no signature.
    Revoke {
        /// The caller, as the log names it.
        caller: String,
    },
    /// Enrol another operator key.
    Enrol(OperatorKeyEntry),
    /// Take the brokerage session from another platform.
    TakeOver {
        /// The broker login.
        broker: BrokerName,
    },
    /// State what became of an order in doubt.
    Settle {
        /// The order.
        order: ClientOrderId,
        /// Whether it exists at the broker.
        exists: bool,
    },
}
