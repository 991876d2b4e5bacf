//! Arguments of the operator's verbs. No secret is ever an argument.

use super::reads::AccountArgs;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `approvals …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsVerb {
    /// Ask for an approval, show the whole order, and approve it at once with the operator's key
    Create {
        /// Account id; must be the preview's.
        #[arg(long, value_name = "ID")]
        account: String,
        /// The preview.
        #[arg(long, value_name = "ID")]
        preview_id: String,
        /// How long the approval can be spent.
        #[arg(long, value_name = "SECONDS")]
        ttl_seconds: Option<u64>,
        /// Only ask; somebody approves it later.
        #[arg(long)]
        ask_only: bool,
        /// What the signature does: allow one `orders submit`, or send the order at once.
        #[arg(long, value_enum, default_value_t = OnYes::Hold)]
        on_approval: OnYes,
    },
    /// Take a caller's fresh preview yourself: show the whole order, sign it, send it
    Take {
        /// The preview.
        preview_id: String,
    },
    /// Where an approval stands, as its caller sees it
    Status {
        /// Which approval.
        approval_id: String,
        /// Wait up to this long for a decision, at most 25.
        #[arg(long, value_name = "SECONDS")]
        wait_seconds: Option<u64>,
    },
    /// Approvals that wait for a decision
    List {
        /// Decided ones too.
        #[arg(long)]
        all: bool,
    },
    /// One approval with the whole order
    Show {
        /// Which approval.
        approval_id: String,
    },
    /// Say yes to exactly this order; signed. Where the approval says submit, this sends it
    Approve {
        /// Which approval.
        approval_id: String,
        /// Refuse unless the order's digest is this one.
        #[arg(long, value_name = "DIGEST")]
        order_digest: Option<String>,
    },
    /// Show which operator's key signed an approval, when and over which bytes; exit code 2 when
    /// it doesn't hold. Needs no running sidecar and no broker
    Verify {
        /// Which approval.
        #[arg(required_unless_present = "file")]
        approval_id: Option<String>,
        /// Verify what `approvals verify --json` printed elsewhere.
        #[arg(long, value_name = "FILE", conflicts_with = "approval_id")]
        file: Option<PathBuf>,
        /// Refuse unless it is signed by this public key, as `operator init` printed it.
        #[arg(long, value_name = "KEY")]
        public_key: Option<String>,
    },
    /// Say no
    Deny {
        /// Which approval.
        approval_id: String,
    },
    /// Take an unspent yes back
    Revoke {
        /// Which approval.
        approval_id: String,
    },
}

/// What a signature does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnYes {
    /// Allow one submit.
    Hold,
    /// Send the order at once.
    Submit,
}

impl OnYes {
    /// As the tool names it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Submit => "submit",
        }
    }
}

/// `questions …`.
#[derive(Debug, Subcommand)]
pub(crate) enum QuestionsVerb {
    /// Questions that wait for a human
    List,
    /// Answer a question; yes is signed
    Answer {
        /// Our reference of the order that it is about.
        client_order_id: String,
        /// The answer.
        #[arg(value_enum)]
        answer: YesNo,
    },
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum YesNo {
    /// Send the order.
    Yes,
    /// Don't.
    No,
}

/// `kill-switch …`.
#[derive(Debug, Subcommand)]
pub(crate) enum KillSwitchVerb {
    /// Whether trading is halted, since when, by whom and why
    Status(AccountArgs),
    /// Stop trading now, wherever a state folder is found; cancels still pass. Needs no key and no
    /// configuration, and works with the sidecar hung, gone or without its sockets
    Close(HaltArgs),
    /// Allow trading again; signed
    Open(HaltArgs),
}

/// Why, and where.
#[derive(Debug, Args)]
pub(crate) struct HaltArgs {
    #[command(flatten)]
    pub(crate) why: ReasonArgs,
    /// Only this one.
    #[arg(long, value_enum)]
    pub(crate) domain: Option<HaltDomain>,
}

/// Which state folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HaltDomain {
    /// The embedded simulator's.
    Simulator,
    /// A real broker's, paper or live.
    Broker,
}

/// `state …`.
#[derive(Debug, Subcommand)]
pub(crate) enum StateVerb {
    /// Accept a state folder in doubt as it is now and allow trading again; signed
    Accept(ReasonArgs),
}

/// Why.
#[derive(Debug, Args)]
pub(crate) struct ReasonArgs {
    /// Why; goes into the audit log.
    #[arg(long, value_name = "TEXT", default_value = "by the operator")]
    pub(crate) reason: String,
}

/// `limits …`.
#[derive(Debug, Subcommand)]
pub(crate) enum LimitsVerb {
    /// Every limit with what is used and left
    Show(AccountArgs),
}

/// `callers …`.
#[derive(Debug, Subcommand)]
pub(crate) enum CallersVerb {
    /// Callers that may write: admitted when, by which key, last seen when
    List,
    /// One of them, with what it asked for and what it has used of its budgets
    Show {
        /// The caller, as `callers list` shows it.
        caller: String,
    },
    /// Take a caller's admission back at once; denies what it asked for and nobody has spent.
    /// Needs no key, and cancels no order
    Revoke {
        /// The caller, as `callers list` shows it.
        caller: String,
    },
    /// Admit a caller to writes; signed
    Admit {
        /// The caller as the audit log names it: token:issuer|subject|client.
        caller: String,
    },
}

/// `audit …`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// The latest records of every caller
    Tail(TailArgs),
    /// This program's own records as JSON lines, each with the proof that it is in the log
    Export {
        /// Not before, RFC 3339.
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Before, RFC 3339.
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// Most records, 1 to 200.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Where to go on: `next_cursor` of the answer before.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Check every record against the signed checkpoints, and every order and approval against the
    /// operator's signature; exit code 2 when broken
    Verify,
}

/// Which records.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Most records, 1 to 200.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Where to go on: `next_cursor` of the answer before.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
    /// Only records of this kind.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Only records of this tool.
    #[arg(long)]
    pub(crate) tool: Option<String>,
    /// Only this program's own records, as an agent sees its own.
    #[arg(long)]
    pub(crate) own: bool,
}

/// `operator …`.
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorVerb {
    /// Make the first operator key; its passphrase is typed on the terminal
    Init {
        /// The holder's name for the key.
        #[arg(long, default_value = "operator")]
        label: String,
    },
}
