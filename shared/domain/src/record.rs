//! What is written to the audit log. The types have no field that could hold a secret.

use crate::caller;
use crate::{
    AccountId, ApprovalId, BrokerOrderId, CallId, ClientOrderId, Conid, Digest, ErrorCode,
    OperatorKeyId, OperatorSignature, PreviewId, Timestamp, Untrusted,
};

/// Through which door a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    /// MCP over standard input and output.
    Stdio,
    /// MCP over HTTP in the local single-binary mode.
    LocalHttp,
    /// The relay, from the hosted remote.
    Relay,
    /// The Rust SDK.
    Sdk,
    /// The operator socket.
    Operator,
    /// The gateway itself.
    Internal,
}

impl Door {
    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::LocalHttp => "local_http",
            Self::Relay => "relay",
            Self::Sdk => "sdk",
            Self::Operator => "operator",
            Self::Internal => "internal",
        }
    }

    /// Parses our name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Stdio, Self::LocalHttp, Self::Relay, Self::Sdk, Self::Operator, Self::Internal]
            .into_iter()
            .find(|door| door.as_str() == text)
    }
}

/// Who acted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// A process of the local user that spoke to the agent door.
    Local {
        /// What it called itself.
        client: Untrusted,
    },
    /// A caller whose access token the sidecar itself verified; made by [`Actor::token`].
    Token {
        /// The token's issuer.
        issuer: String,
        /// The name of the token's subject.
        subject: Untrusted,
        /// The name of the token's client.
        client: Untrusted,
    },
    /// A refused caller that no verified token names.
    Unauthenticated {
        /// What the door knows of it.
        claimed: Untrusted,
    },
    /// An operator.
    Operator {
        /// The key that signed, if the verb needed a signature.
        key: Option<OperatorKeyId>,
    },
    /// The gateway itself.
    System,
}

impl Actor {
    /// The holder of a verified token. Different callers give different actors and labels, however
    /// long or odd their names are; an issuer is configured and holds no `|`.
    #[must_use]
    pub fn token(issuer: &str, subject: &str, client: Option<&str>) -> Self {
        Self::Token {
            issuer: issuer.to_owned(),
            subject: caller::subject(subject),
            client: caller::client(client),
        }
    }

    /// The actor as one stable text, the same for the same caller.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Local { client } => format!("local:{client}"),
            Self::Token { issuer, subject, client } => {
                format!("token:{issuer}|{subject}|{client}")
            }
            Self::Unauthenticated { claimed } => format!("unauthenticated:{claimed}"),
            Self::Operator { key: Some(key) } => format!("operator:{key}"),
            Self::Operator { key: None } => "operator".to_owned(),
            Self::System => "system".to_owned(),
        }
    }
}

/// What kind of event a record tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// The log begins.
    Genesis,
    /// The gateway started.
    Started,
    /// A read was answered.
    Read,
    /// A request was refused.
    Refused,
    /// An order was previewed.
    Previewed,
    /// An approval was asked for.
    ApprovalAsked,
    /// An operator approved.
    Approved,
    /// An operator denied or revoked.
    Denied,
    /// An approval was given back: nothing had been sent.
    ApprovalReturned,
    /// An order, cancel, reply, or session takeover is about to be sent.
    Intent,
    /// What became of an intent.
    Outcome,
    /// Trading was halted.
    Halted,
    /// Trading was resumed.
    Resumed,
    /// An operator accepted a state folder in doubt, and trading was resumed.
    StateAccepted,
    /// An operator key was enrolled.
    KeyEnrolled,
    /// A caller was admitted to writes.
    Admitted,
    /// A caller's admission was taken back.
    CallerRevoked,
    /// Policy in force.
    PolicySet,
    /// Something that an operator must know.
    Notice,
    /// What was over long ago was forgotten; the log keeps it.
    Forgotten,
}

macro_rules! kind_names {
    ($($name:ident = $text:literal),* $(,)?) => {
        impl RecordKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Our name, in snake case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}
kind_names!(
    Genesis = "genesis",
    Started = "started",
    Read = "read",
    Refused = "refused",
    Previewed = "previewed",
    ApprovalAsked = "approval_asked",
    Approved = "approved",
    Denied = "denied",
    ApprovalReturned = "approval_returned",
    Intent = "intent",
    Outcome = "outcome",
    Halted = "halted",
    Resumed = "resumed",
    StateAccepted = "state_accepted",
    KeyEnrolled = "key_enrolled",
    Admitted = "admitted",
    CallerRevoked = "caller_revoked",
    PolicySet = "policy_set",
    Notice = "notice",
    Forgotten = "forgotten",
);

/// The decision that a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// It was permitted.
    Permitted,
    /// It was denied; the codes say why.
    Denied,
    /// It isn't a decision but a statement.
    Stated,
}

impl Decision {
    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Denied => "denied",
            Self::Stated => "stated",
        }
    }
}

/// An id that ties a record to others, or a number or time that belongs to what it tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// The call.
    Call(CallId),
    /// The preview.
    Preview(PreviewId),
    /// The approval.
    Approval(ApprovalId),
    /// Our order reference.
    ClientOrder(ClientOrderId),
    /// IBKR's order id.
    BrokerOrder(BrokerOrderId),
    /// IBKR's id of a contract.
    Contract(Conid),
    /// The digest of the canonical order.
    Order(Digest),
    /// The operator key that the record is about.
    OperatorKey(OperatorKeyId),
    /// The whole public key of that operator key.
    PublicKey([u8; 32]),
    /// The digest of the bytes that an approval covers.
    ApprovalBytes(Digest),
    /// The operator's signature over them.
    Signature(OperatorSignature),
    /// The label of the caller that the record is about.
    Caller(Untrusted),
    /// The digest of a broker's question, its exact text.
    Question(Digest),
    /// The outcome's name.
    Outcome(&'static str),
    /// How many events the record stands for.
    Count(u64),
    /// When the other side says that it happened.
    ClaimedAt(Timestamp),
}

impl Reference {
    /// The reference's key and text.
    #[must_use]
    pub fn parts(&self) -> (&'static str, String) {
        match self {
            Self::Call(id) => ("call_id", id.to_string()),
            Self::Preview(id) => ("preview_id", id.to_string()),
            Self::Approval(id) => ("approval_id", id.to_string()),
            Self::ClientOrder(id) => ("client_order_id", id.to_string()),
            Self::BrokerOrder(id) => ("broker_order_id", id.to_string()),
            Self::Contract(id) => ("conid", id.to_string()),
            Self::Order(digest) => ("order_digest", digest.to_string()),
            Self::OperatorKey(id) => ("operator_key", id.to_string()),
            Self::PublicKey(key) => ("public_key", Digest::from_bytes(*key).to_string()),
            Self::ApprovalBytes(digest) => ("approval_digest", digest.to_string()),
            Self::Signature(signature) => ("signature", signature.to_string()),
            Self::Caller(label) => ("caller", label.to_string()),
            Self::Question(digest) => ("question_digest", digest.to_string()),
            Self::Outcome(name) => ("outcome", (*name).to_owned()),
            Self::Count(count) => ("count", count.to_string()),
            Self::ClaimedAt(time) => ("claimed_at", time.to_string()),
        }
    }
}

/// One event of the audit log, before the log adds its time and position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What happened.
    pub kind: RecordKind,
    /// Who did it.
    pub actor: Actor,
    /// Through which door.
    pub door: Door,
    /// The tool or operator verb.
    pub tool: Option<&'static str>,
    /// The account; the log keeps only a keyed hash of it.
    pub account: Option<AccountId>,
    /// What was decided.
    pub decision: Decision,
    /// Why, when denied.
    pub codes: Vec<ErrorCode>,
    /// Gate ids that failed, or a short fixed explanation.
    pub details: Vec<&'static str>,
    /// SHA-256 of the arguments as received.
    pub input: Option<Digest>,
    /// SHA-256 of the answer as sent.
    pub output: Option<Digest>,
    /// SHA-256 of the policy in force.
    pub policy: Option<Digest>,
    /// Ids that tie it to other records.
    pub references: Vec<Reference>,
}

impl Record {
    /// A record with the mandatory parts; the rest is set by field.
    #[must_use]
    pub const fn new(kind: RecordKind, actor: Actor, door: Door, decision: Decision) -> Self {
        Self {
            kind,
            actor,
            door,
            tool: None,
            account: None,
            decision,
            codes: Vec::new(),
            details: Vec::new(),
            input: None,
            output: None,
            policy: None,
            references: Vec::new(),
        }
    }
}

/// What can be written to the audit log.
pub trait Recordable {
    /// The record of this.
    fn to_record(&self) -> Record;
}

/// What only takes risk away: it may go on when the log can't be written, through the emergency
/// file. Implemented for permits to cancel and to halt, nothing else.
pub trait RiskReducing: Recordable {}

impl Recordable for Record {
    fn to_record(&self) -> Record {
        self.clone()
    }
}
