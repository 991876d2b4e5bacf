//! What is told: one flat JSON object, `ibkr-agent/notice/v1`.
//!
//! Accounts are shown by their last three characters only: the message leaves the machine. Times
//! are RFC 3339 in UTC. Text from outside is escaped where it was read.

use crate::engine::{Finding, Jump, Notice};
use ibkr_agent_domain::{AccountId, Timestamp, Untrusted};
use serde::Serialize;
use std::collections::BTreeMap;

/// The format's name.
const SCHEMA: &str = "ibkr-agent/notice/v1";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A human must log in at the broker's gateway.
    LoginRequired,
    /// The session is lost and didn't come back by itself.
    SessionLost,
    /// A session that was told as lost works again.
    SessionReady,
    /// The session will end soon.
    SessionEnding,
    /// A caller asks for an approval.
    ApprovalAsked,
    /// The broker asks something about an order.
    QuestionAsked,
    /// It isn't known what became of an order.
    OutcomeUnknown,
    /// An order's terms at the broker aren't those that were approved.
    OrderChangedAtBroker,
    /// More filled than was approved.
    Overfilled,
    /// The broker has an order more than once.
    TwinOrder,
    /// The broker took a fill of an order back.
    FillTakenBack,
    /// The broker shows an order in a row that can't be read.
    OrderUnreadable,
    /// An order was to close a position that is gone.
    OrderLeftBehind,
    /// The broker holds an order.
    OrderHeld,
    /// An order left the broker's list, and nothing says how it ended.
    OrderVanished,
    /// Trading was halted.
    Halted,
    /// The broker shows orders or trades that aren't ours.
    ForeignOrder,
    /// A position moved by more than trades explain.
    PositionJumped,
}

impl Kind {
    /// Its name in the message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoginRequired => "login_required",
            Self::SessionLost => "session_lost",
            Self::SessionReady => "session_ready",
            Self::SessionEnding => "session_ending",
            Self::ApprovalAsked => "approval_asked",
            Self::QuestionAsked => "question_asked",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::OrderChangedAtBroker => "order_changed_at_broker",
            Self::Overfilled => "overfilled",
            Self::TwinOrder => "twin_order",
            Self::FillTakenBack => "fill_taken_back",
            Self::OrderUnreadable => "order_unreadable",
            Self::OrderLeftBehind => "order_left_behind",
            Self::OrderHeld => "order_held",
            Self::OrderVanished => "order_vanished",
            Self::Halted => "halted",
            Self::ForeignOrder => "foreign_order",
            Self::PositionJumped => "position_jumped",
        }
    }
}

/// Whether somebody should do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// A human should act.
    Act,
    /// Good to know.
    Know,
}

/// One notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The format.
    pub schema: &'static str,
    /// Unique; the same at each try to deliver it.
    pub id: String,
    /// What happened.
    pub kind: Kind,
    /// Whether somebody should do something.
    pub urgency: Urgency,
    /// When it was noticed.
    pub time: String,
    /// What happened, for people.
    pub sentence: String,
    /// What to do, for people.
    pub next_step: String,
    /// Ids and values that belong to it.
    pub details: BTreeMap<&'static str, String>,
}

impl Message {
    pub(super) fn new(kind: Kind, urgency: Urgency, sentence: String, next_step: &str) -> Self {
        let now = jiff::Timestamp::now().as_millisecond();
        Self {
            schema: SCHEMA,
            id: uuid::Uuid::now_v7().to_string(),
            kind,
            urgency,
            time: Timestamp::from_millis(now).to_string(),
            sentence,
            next_step: next_step.to_owned(),
            details: BTreeMap::new(),
        }
    }

    pub(super) fn detail(mut self, key: &'static str, value: &impl ToString) -> Self {
        self.details.insert(key, value.to_string());
        self
    }

    fn differs(finding: Finding, account: &AccountId, difference: &str) -> Self {
        let (kind, what) = match finding {
            Finding::Changed => (
                Kind::OrderChangedAtBroker,
                "isn't what was approved: somebody changed it at the broker",
            ),
            Finding::Overfilled => (Kind::Overfilled, "filled more than was approved"),
            Finding::Twin => (Kind::TwinOrder, "is at the broker more than once"),
            Finding::TakenBack => {
                (Kind::FillTakenBack, "filled less than was told: the broker took a fill back")
            }
            Finding::Unreadable => {
                (Kind::OrderUnreadable, "is at the broker, but this gateway can't read it")
            }
            Finding::LeftBehind => (
                Kind::OrderLeftBehind,
                "was to close a position, and would now open one the other way",
            ),
        };
        let sentence = format!("An order on account {} {what}. {difference}.", masked(account));
        let next = if finding == Finding::LeftBehind {
            "Cancel it, unless you mean to hold what it opens: ibkr-agent orders cancel, or IBKR's \
             own platform."
        } else {
            "If that wasn't you, halt trading and look at the account in IBKR's own platform. \
             Cancelling it cancels every order under its reference."
        };
        Self::new(kind, Urgency::Act, sentence, next)
    }

    fn foreign(account: &AccountId, orders: &[String], count: u64) -> Self {
        let sentence = format!(
            "The broker shows {count} order(s) or trade(s) on account {} that this gateway did \
             not make.",
            masked(account)
        );
        let next = "If they aren't yours, halt trading, log out at IBKR's gateway and change the \
                    password.";
        Self::new(Kind::ForeignOrder, Urgency::Act, sentence, next)
            .detail("count", &count)
            .detail("broker_order_ids", &orders.join(" "))
    }

    fn jumped(account: &AccountId, jumps: &[Jump], count: u64) -> Self {
        let moves: Vec<String> = jumps.iter().map(moved).collect();
        let sentence = format!(
            "{count} position(s) on account {} moved by more than the broker's trades explain: {}.",
            masked(account),
            moves.join("; ")
        );
        let next = "Look in IBKR's own platform: a transfer, a split, an exercise, an assignment \
                    or an expiry moves a position without a trade. Working orders may no longer \
                    fit the position.";
        Self::new(Kind::PositionJumped, Urgency::Act, sentence, next).detail("count", &count)
    }

    fn asked(account: &AccountId, reason: Option<Untrusted>) -> Self {
        let sentence = format!("An order on account {} waits for your approval.", masked(account));
        let next = "Look at it on the sidecar's machine: ibkr-agent approvals list";
        let told = Self::new(Kind::ApprovalAsked, Urgency::Act, sentence, next);
        match reason {
            Some(words) => told.detail("reason_in_their_words", &words),
            None => told,
        }
    }

    fn held(account: &AccountId) -> Self {
        let sentence =
            format!("The broker holds an order on account {} inactive.", masked(account));
        let next = "Look at it in IBKR's own platform: it may come to life by itself; cancel it if \
                    it must not.";
        Self::new(Kind::OrderHeld, Urgency::Act, sentence, next)
    }

    pub(super) fn of_engine(notice: Notice) -> Self {
        match notice {
            Notice::ApprovalAsked {
                approval,
                account,
                order,
                asked_by,
                expires_at,
                on_approval,
                reason,
            } => Self::asked(&account, reason)
                .detail("approval_id", &approval)
                .detail("order_digest", &order)
                .detail("asked_by", &Untrusted::bounded(&asked_by, 200))
                .detail("expires_at", &expires_at)
                .detail("on_approval", &on_approval.as_str()),
            Notice::QuestionAsked { order, account } => Self::new(
                Kind::QuestionAsked,
                Urgency::Act,
                format!("The broker asks about an order on account {}.", masked(&account)),
                "Answer it on the sidecar's machine: ibkr-agent questions list shows it",
            )
            .detail("client_order_id", &order),
            Notice::OutcomeUnknown { order, account } => Self::new(
                Kind::OutcomeUnknown,
                Urgency::Act,
                format!("It isn't known what became of an order on account {}.", masked(&account)),
                "Look for it in IBKR's own platform. New risk on that instrument is refused until \
                 the broker's lists show it or an operator settles it.",
            )
            .detail("client_order_id", &order),
            Notice::Differs { finding, order, account, difference } => {
                Self::differs(finding, &account, &difference).detail("client_order_id", &order)
            }
            Notice::Held { order, account, .. } => {
                Self::held(&account).detail("client_order_id", &order)
            }
            Notice::Vanished { order, account } => Self::new(
                Kind::OrderVanished,
                Urgency::Know,
                format!(
                    "An order on account {} is no longer at the broker. Its day is over and no \
                     fill was seen.",
                    masked(&account)
                ),
                "Compare the position with what you expect.",
            )
            .detail("client_order_id", &order),
            Notice::Halted { by, since } => Self::new(
                Kind::Halted,
                Urgency::Act,
                "Trading was halted.".to_owned(),
                "Find out why; resume on the sidecar's machine when it is safe.",
            )
            .detail("by", &Untrusted::bounded(&by, 200))
            .detail("since", &since),
            Notice::ForeignOrders { account, orders, count } => {
                Self::foreign(&account, &orders, count)
            }
            Notice::PositionJumped { account, jumps, count } => {
                Self::jumped(&account, &jumps, count)
            }
        }
    }
}

/// One position's move.
fn moved(jump: &Jump) -> String {
    let Jump { conid, symbol, before, after, explained } = jump;
    let [before, after, explained] = [before, after, explained].map(|value| value.normalize());
    let name = if symbol.as_str().is_empty() { "contract" } else { symbol.as_str() };
    format!("{name} ({conid}) from {before} to {after}, of which trades explain {explained}")
}

/// An account without most of its id.
fn masked(account: &AccountId) -> String {
    let id = account.as_str();
    let from = id.len().saturating_sub(3);
    format!("…{}", id.get(from..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_no_link_no_secret_and_no_whole_account() {
        let account = AccountId::parse("DU1234567").unwrap();
        let notice = Notice::ForeignOrders { account, orders: vec!["17".to_owned()], count: 1 };
        let text = serde_json::to_string(&Message::of_engine(notice)).unwrap();
        assert!(text.contains("\"kind\":\"foreign_order\"") && text.contains("…567"), "{text}");
        assert!(!text.contains("://") && !text.contains("DU1234567"), "{text}");
    }

    #[test]
    fn a_jump_says_contract_before_after_and_what_trades_explain() {
        let jump = |symbol: &str, before, after, explained| Jump {
            conid: ibkr_agent_domain::Conid::new(265_598).unwrap(),
            symbol: Untrusted::new(symbol),
            before: rust_decimal::Decimal::from(before),
            after: rust_decimal::Decimal::from(after),
            explained: rust_decimal::Decimal::from(explained),
        };
        let account = AccountId::parse("DU1234567").unwrap();
        let jumps = vec![jump("AAPL", 100, 40, -10), jump("", 0, -3, 0)];
        let message = Message::of_engine(Notice::PositionJumped { account, jumps, count: 7 });
        assert_eq!(
            message.sentence,
            "7 position(s) on account …567 moved by more than the broker's trades explain: AAPL \
             (265598) from 100 to 40, of which trades explain -10; contract (265598) from 0 to -3, \
             of which trades explain 0."
        );
    }
}
