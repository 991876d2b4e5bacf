//! Why nothing was sent, and why an outcome is unknown: closed sets, each with a word for records
//! and programs and a sentence for people.
//!
//! What the broker says of an order isn't here: that is its own text. A word never changes its
//! meaning and is never used again, since records and rows keep it.

use crate::{ErrorCode, OrderState};
use core::fmt;

macro_rules! reasons {
    (
        $(#[$about:meta])*
        $name:ident {
            $($(#[$doc:meta])* $variant:ident = $word:literal, $code:ident, $sentence:literal;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Our word for it, in snake case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What it means, in one sentence, with the next step where there is one.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            /// The code of what is behind it: whose fault it is, and what helps.
            #[must_use]
            pub const fn code(self) -> ErrorCode {
                match self { $(Self::$variant => ErrorCode::$code,)* }
            }

            /// Parses our word.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.sentence())
            }
        }
    };
}

reasons! {
    /// Why nothing of a request reached the broker's books: it was never written, or it was turned
    /// away before the broker looked at it.
    NotSent {
        /// The permit names another login.
        AnotherBroker = "another_broker", InternalError,
            "it is for another broker login than the one that was asked to send it";
        /// The permit names another mode.
        AnotherMode = "another_mode", InternalError,
            "it is for another mode than the one that this broker login is configured for";
        /// The login isn't in the configuration.
        LoginNotConfigured = "login_not_configured", BrokerBackendUnavailable,
            "its broker login is not in the configuration any more";
        /// The session showed nothing yet, or is gone.
        SessionNotReady = "session_not_ready", BrokerSessionRequired,
            "the broker session wasn't ready: log in at the broker's gateway";
        /// The login doesn't show the account.
        AccountNotShown = "account_not_shown_by_login", BrokerSessionRequired,
            "the broker login doesn't show this account: log in as a user who has it";
        /// The login shows the account as one that can't trade.
        AccountCannotTrade = "account_cannot_trade", BrokerCapabilityUnavailable,
            "the broker says that this account can't trade";
        /// Paper instead of live, live instead of paper, or a simulator.
        LoginOfAnotherKind = "login_of_another_kind", BrokerSessionRequired,
            "the broker login is of another kind (paper, live) than the configuration expects";
        /// A kind of order that can't be written as a request.
        OrderNotWritable = "order_not_writable", InternalError,
            "this kind of order can't be written as a request to the broker";
        /// A request that can't be written.
        RequestNotWritable = "request_not_writable", InternalError,
            "the request to the broker could not be written";
        /// An id that would name more than one order.
        OrderIdNotNumeric = "order_id_not_numeric", InputInvalid,
            "the order's id is not one that the broker gives to an order";
        /// The permit answers another question or order.
        AnotherQuestion = "reply_to_another_question", InternalError,
            "the answer is for another question than the one that waits";
        /// The broker asks and asks.
        TooManyQuestions = "too_many_questions", BrokerResponseInvalid,
            "the broker asked more questions about this order than are answered";
        /// No turn within the broker's limits of requests.
        RateLimited = "rate_limited", BrokerRateLimited,
            "no turn came within the broker's limits of requests: wait, then try again";
        /// The gateway's host name can't be in a certificate.
        HostNameInvalid = "host_name_invalid", BrokerBackendUnavailable,
            "the host name of the broker's gateway is none: check base_url";
        /// No connection.
        ConnectFailed = "connect_failed", BrokerBackendUnavailable,
            "the broker's gateway could not be reached: check that it runs";
        /// No connection in time.
        ConnectTimedOut = "connect_timed_out", BrokerBackendUnavailable,
            "the broker's gateway took no connection in time: check that it runs";
        /// No TLS: its certificate isn't the expected one, or it speaks none.
        TlsFailed = "tls_failed", BrokerBackendUnavailable,
            "no safe connection to the broker's gateway came about: check its certificate";
        /// Closed before the first byte.
        ConnectionClosed = "connection_closed", BrokerBackendUnavailable,
            "the broker's gateway closed the connection before anything was sent";
        /// The time was over before the first byte.
        TimedOutBeforeSending = "timed_out_before_sending", BrokerBackendUnavailable,
            "its time was over before anything was sent";
        /// The kill switch was closed.
        Halted = "halted", KillSwitchClosed,
            "trading was halted before it was sent";
        /// The approval ran out on the way.
        ApprovalExpired = "approval_expired", ApprovalExpired,
            "the approval expired before the order was sent: preview and ask again";
        /// No operator's signature covers the approval any more.
        ApprovalUnsigned = "approval_unsigned", ApprovalUnsigned,
            "no operator's signature covers the approval: preview and ask again";
        /// It didn't leave soon enough after the operator's signature.
        SignatureTooOld = "signature_too_old", OrderNotSent,
            "it couldn't leave soon after the operator's signature: sign again, or submit it";
        /// The broker waits for an answer about another order of the login.
        AnotherAsks = "another_question_waits", OrderQuestionPending,
            "the broker asks about another order of this login: submit again when that is answered";
        /// Neither log nor emergency file took the record.
        NotRecorded = "not_recorded", AuditWriteFailed,
            "no record of it could be written";
        /// Turned away: status 401.
        LoggedOut = "logged_out", BrokerSessionRequired,
            "nobody is logged in at the broker's gateway: log in there";
        /// Turned away: status 403 or 404 without the broker's words.
        AccessDenied = "access_denied", BrokerBackendUnavailable,
            "the broker's gateway denied access: check its allow-list";
        /// Turned away: status 411.
        LengthRequired = "length_required", BrokerBackendUnavailable,
            "something before the broker's gateway took the request's length away";
        /// Turned away: status 429.
        BrokerBusy = "broker_takes_no_more", BrokerRateLimited,
            "the broker takes no more requests now: wait, then try again";
        /// A human looked, and states that the broker doesn't have it.
        AbsenceStated = "absence_stated", OrderNotSent,
            "an operator stated that the broker doesn't have it";
        /// Another version of the gateway recorded why, in a word that isn't known here.
        Other = "not_sent_otherwise", OrderNotSent,
            "another version of the gateway recorded why, in words that this one doesn't know";
    }
}

reasons! {
    /// Why nobody knows what became of a request or an order. Whatever it says, the order may be
    /// at the broker: it is looked for there, and never repeated.
    UnknownBecause {
        /// Lost after the first byte.
        ConnectionLost = "connection_lost", OrderOutcomeUnknown,
            "the connection was lost before the broker answered";
        /// The answer ended early, or had no end.
        AnswerCut = "answer_cut", OrderOutcomeUnknown,
            "the broker's answer broke off or was too long";
        /// No answer in time.
        TimedOut = "timed_out", OrderOutcomeUnknown,
            "the broker didn't answer in time";
        /// Status 408.
        TimedOutUpstream = "timed_out_upstream", OrderOutcomeUnknown,
            "the broker's gateway got no answer in time";
        /// Status 5xx.
        ServerError = "server_error", OrderOutcomeUnknown,
            "the broker answered with an error of its own";
        /// A status that means nothing here.
        UnexpectedStatus = "unexpected_status", OrderOutcomeUnknown,
            "the broker answered with a status that means nothing here";
        /// A body that can't be read.
        AnswerNotUnderstood = "answer_not_understood", OrderOutcomeUnknown,
            "the broker's answer can't be understood";
        /// A list without a row.
        AnswerEmpty = "answer_empty", OrderOutcomeUnknown,
            "the broker's answer was empty";
        /// Several rows, none with our reference.
        AnswerNamesNoOrder = "answer_names_no_order", OrderOutcomeUnknown,
            "the broker's answer doesn't say which order it is about";
        /// Only rows of other orders.
        AnswerNamesAnotherOrder = "answer_names_another_order", OrderOutcomeUnknown,
            "the broker's answer is about another order";
        /// Two orders of our reference.
        AnswerNamesTwins = "answer_names_twins", OrderOutcomeUnknown,
            "the broker's answer names two orders of this reference";
        /// An order's id that is none.
        OrderIdNotUnderstood = "order_id_not_understood", OrderOutcomeUnknown,
            "the broker's answer gives the order an id that is none";
        /// The broker knows no such question any more: an earlier answer may have been taken.
        QuestionGone = "question_gone", OrderOutcomeUnknown,
            "the broker no longer knows the question that was answered";
        /// A prompt that no reply settles.
        Prompted = "prompted", OrderOutcomeUnknown,
            "the broker asks something that can't be answered from here, and may keep the order";
        /// The reference was seen before.
        AlreadyRegistered = "already_registered", OrderOutcomeUnknown,
            "the broker has seen this order reference before";
        /// The broker's client panicked.
        ClientBroke = "client_broke", OrderOutcomeUnknown,
            "the gateway's client of the broker broke on the way";
        /// The permit that waited for the question's answer is gone.
        QuestionPermitGone = "question_permit_gone", OrderOutcomeUnknown,
            "the broker's question can't be answered: the permit that waited for it is gone";
        /// No answer could be recorded, so none was given.
        AnswerNotRecorded = "answer_not_recorded", OrderOutcomeUnknown,
            "the broker's question got no answer, since none could be recorded";
        /// Stopped between intent and outcome.
        GatewayStopped = "gateway_stopped", OrderOutcomeUnknown,
            "the gateway stopped before the broker's answer was recorded";
        /// Gone from the broker's list while it should work.
        Vanished = "vanished", OrderOutcomeUnknown,
            "the broker no longer shows it, though it should still work";
        /// Another version of the gateway recorded why, in a word that isn't known here.
        Other = "unknown_otherwise", OrderOutcomeUnknown,
            "another version of the gateway recorded why, in words that this one doesn't know";
    }
}

/// Why an order is in the state that it is in, where that is our knowledge and not the broker's
/// word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It wasn't sent.
    NotSent(NotSent),
    /// Its outcome is unknown.
    Unknown(UnknownBecause),
    /// Its outcome is unknown, since the broker's question got no answer of ours.
    Unanswered(NotSent),
}

impl Reason {
    /// Stands before the word of an unsent answer.
    const UNANSWERED: &'static str = "question_unanswered";

    /// Our words for it, the general one first.
    #[must_use]
    pub fn words(self) -> Vec<&'static str> {
        match self {
            Self::NotSent(why) => vec![why.as_str()],
            Self::Unknown(why) => vec![why.as_str()],
            Self::Unanswered(why) => vec![Self::UNANSWERED, why.as_str()],
        }
    }

    /// What it means, in one sentence.
    #[must_use]
    pub fn sentence(self) -> String {
        match self {
            Self::NotSent(why) => why.sentence().to_owned(),
            Self::Unknown(why) => why.sentence().to_owned(),
            Self::Unanswered(why) => {
                format!("the broker's question got no answer from here: {why}")
            }
        }
    }

    /// The code of what is behind it.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NotSent(why) | Self::Unanswered(why) => why.code(),
            Self::Unknown(why) => why.code(),
        }
    }

    /// Its text form: the words, with a colon between them.
    #[must_use]
    pub fn text(self) -> String {
        self.words().join(":")
    }

    /// Reads the text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some((Self::UNANSWERED, word)) => NotSent::parse(word).map(Self::Unanswered),
            Some(_) => None,
            None => {
                let unknown = || UnknownBecause::parse(text).map(Self::Unknown);
                NotSent::parse(text).map(Self::NotSent).or_else(unknown)
            }
        }
    }

    /// Reads what a row of any version keeps beside an order's state: a word that isn't known, or
    /// isn't one of that state's, is told as such. Nothing hangs on it but what is told.
    #[must_use]
    pub fn kept(state: OrderState, text: Option<&str>) -> Option<Self> {
        let read = text.and_then(Self::parse);
        match (state, read) {
            (OrderState::NotSent, Some(Self::NotSent(why))) => Some(Self::NotSent(why)),
            (OrderState::NotSent, _) => Some(Self::NotSent(NotSent::Other)),
            (OrderState::Unknown, Some(why @ (Self::Unknown(_) | Self::Unanswered(_)))) => {
                Some(why)
            }
            (OrderState::Unknown, _) => Some(Self::Unknown(UnknownBecause::Other)),
            (
                OrderState::Intended
                | OrderState::Question
                | OrderState::Working
                | OrderState::Held
                | OrderState::PendingCancel
                | OrderState::Filled
                | OrderState::Cancelled
                | OrderState::Expired
                | OrderState::Rejected,
                _,
            ) => None,
        }
    }
}
