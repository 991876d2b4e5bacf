//! Stable error codes: the text, whose fault it is, whether trying again can help, what to do.
//!
//! One table. The exit code of the command line follows from [`Fault`].

use core::fmt;

/// Whose fault an error is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A gate, a switch or an approval refused it (exit 1).
    Refused,
    /// The request was wrong, or the audit chain is broken (exit 2).
    Input,
    /// The broker session or the backend isn't there (exit 3).
    Backend,
    /// Authentication or permission (exit 4).
    Auth,
    /// The broker limits, lacks or garbles it (exit 5).
    Broker,
    /// The output would be unsafe (exit 6).
    Unsafe,
    /// The configuration (exit 7).
    Config,
}

impl Fault {
    /// The process exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Input => 2,
            Self::Backend => 3,
            Self::Auth => 4,
            Self::Broker => 5,
            Self::Unsafe => 6,
            Self::Config => 7,
        }
    }
}

macro_rules! codes {
    ($($name:ident = $text:literal, $fault:ident, $retry:literal, $action:literal;)*) => {
        /// A stable error code. Names and meanings never change; codes are only added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "each variant's text and action are its documentation")]
        pub enum ErrorCode { $($name,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as users see it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whose fault it is.
            #[must_use]
            pub const fn fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)* }
            }

            /// Whether the same request can succeed later without a change by the caller.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }

            /// What the user does next.
            #[must_use]
            pub const fn user_action(self) -> &'static str {
                match self { $(Self::$name => $action,)* }
            }

            /// Parses the text form.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

// tidy: wide table: a code, its meaning and what to do read best on one line
codes! {
    ConfigInvalid = "CONFIG_INVALID", Config, false, "Correct the configuration at the named line.";
    ConfigNotNamed = "CONFIG_NOT_NAMED", Config, false, "Name the configuration with --config FILE or IBKR_CONFIG, or say --simulator.";
    ConfigMissingBrokerBaseUrl = "CONFIG_MISSING_BROKER_BASE_URL", Config, false, "Set broker.base_url to the Client Portal Gateway's address.";
    ConfigTlsBypassNonLocalhost = "CONFIG_TLS_BYPASS_NON_LOCALHOST", Config, false, "Pin the gateway's certificate, or reach the gateway over loopback.";
    ConfigRemoteMcpForbidden = "CONFIG_REMOTE_MCP_FORBIDDEN", Config, false, "Enable both safety.remote_mcp_enabled and remote_mcp.enabled.";
    ConfigSidecarForbidden = "CONFIG_SIDECAR_FORBIDDEN", Config, false, "Enable both safety.sidecar_enabled and sidecar.enabled.";
    ConfigLiveTradingForbidden = "CONFIG_LIVE_TRADING_FORBIDDEN", Config, false, "Live trading is not built yet; leave it disabled.";
    ConfigWriteToolsForbidden = "CONFIG_WRITE_TOOLS_FORBIDDEN", Config, false, "Remove the write scope, or enable the section that it needs.";
    AuthMissingScope = "AUTH_MISSING_SCOPE", Auth, false, "Ask the account's owner for the named scope and log in again.";
    AuthTokenMissing = "AUTH_TOKEN_MISSING", Auth, false, "Log in and send the access token as a bearer token.";
    AuthTokenInvalid = "AUTH_TOKEN_INVALID", Auth, false, "Log in again.";
    AuthTokenExpired = "AUTH_TOKEN_EXPIRED", Auth, false, "Refresh the access token or log in again.";
    AuthTokenTooOld = "AUTH_TOKEN_TOO_OLD", Auth, false, "Submitting needs a younger token: refresh it, then repeat the call.";
    AuthInvalidIssuer = "AUTH_INVALID_ISSUER", Auth, false, "Log in with the issuer that this gateway names in its metadata.";
    AuthInvalidAudience = "AUTH_INVALID_AUDIENCE", Auth, false, "Ask for a token whose audience is this gateway's resource URL.";
    AuthKeysUnavailable = "AUTH_KEYS_UNAVAILABLE", Auth, true, "The issuer's keys can't be fetched now; try again shortly.";
    AuthNotAdmitted = "AUTH_NOT_ADMITTED", Auth, false, "Ask the operator to admit this client: it may only read until then.";
    AuthRateLimited = "AUTH_RATE_LIMITED", Auth, true, "Wait for the time given and call again.";
    InputInvalid = "INPUT_INVALID", Input, false, "Correct the named argument.";
    InputMissingAccount = "INPUT_MISSING_ACCOUNT", Input, false, "Give account_id; list accounts with ibkr_accounts_list.";
    InputUnauthorizedAccount = "INPUT_UNAUTHORIZED_ACCOUNT", Input, false, "Use an account from ibkr_accounts_list.";
    InputAmbiguousAccount = "INPUT_AMBIGUOUS_ACCOUNT", Input, false, "Give account_id: more than one account is visible.";
    InputAmbiguousContract = "INPUT_AMBIGUOUS_CONTRACT", Input, false, "Choose one of the candidates by contract_id.";
    InputUnsupportedAssetClass = "INPUT_UNSUPPORTED_ASSET_CLASS", Input, false, "Use one of the asset classes that the tool's schema lists.";
    InputInvalidContract = "INPUT_INVALID_CONTRACT", Input, false, "Search for the contract with ibkr_contracts_search.";
    InputInvalidTimeRange = "INPUT_INVALID_TIME_RANGE", Input, false, "Give from before to, both RFC 3339.";
    InputUnknownTool = "INPUT_UNKNOWN_TOOL", Input, false, "List the tools and call one of them.";
    BrokerSessionRequired = "BROKER_SESSION_REQUIRED", Backend, false, "Log in at the Client Portal Gateway in a browser; see ibkr_session_requirements.";
    BrokerSessionExpired = "BROKER_SESSION_EXPIRED", Backend, true, "Renew with ibkr_session_renew, or log in at the gateway again.";
    BrokerBackendUnavailable = "BROKER_BACKEND_UNAVAILABLE", Backend, true, "Check that the Client Portal Gateway runs and is reachable.";
    BrokerRateLimited = "BROKER_RATE_LIMITED", Broker, true, "Wait for the time given, then call again.";
    BrokerCapabilityUnavailable = "BROKER_CAPABILITY_UNAVAILABLE", Broker, false, "The broker does not serve this through its API.";
    BrokerResponseInvalid = "BROKER_RESPONSE_INVALID", Broker, true, "The broker answered something unexpected; try again, then report it.";
    BrokerRejected = "BROKER_REJECTED", Broker, false, "Read the broker's reason and change the order.";
    MarketDataUnavailable = "MARKET_DATA_UNAVAILABLE", Broker, false, "Subscribe to the exchange's market data at IBKR.";
    MarketDataDelayed = "MARKET_DATA_DELAYED", Refused, false, "Only delayed data is available for this contract.";
    MarketDataStale = "MARKET_DATA_STALE", Refused, true, "The newest quote is too old; try again when the market moves.";
    MarketDataIncomplete = "MARKET_DATA_INCOMPLETE", Broker, true, "The quote lacks a needed side; try again.";
    ReadonlyWriteForbidden = "READONLY_WRITE_FORBIDDEN", Refused, false, "Use the staged order tools: preview, approval, submit.";
    HistoricalBarsUnavailable = "HISTORICAL_BARS_UNAVAILABLE", Broker, false, "Ask for another duration, bar size or end, or for a contract that trades.";
    OutputTooLarge = "OUTPUT_TOO_LARGE", Input, false, "Ask for fewer rows with limit, or leave detail out.";
    OutputUnsafe = "OUTPUT_UNSAFE", Unsafe, false, "The answer was withheld; report it to the operator.";
    AuditWriteFailed = "AUDIT_WRITE_FAILED", Refused, false, "The audit log can't be written: trading is stopped until the sidecar is restarted.";
    AuditChainInvalid = "AUDIT_CHAIN_INVALID", Input, false, "The audit log was altered: stop, keep the files, investigate.";
    OrderPreviewDisabled = "ORDER_PREVIEW_DISABLED", Refused, false, "Enable preview in the configuration.";
    OrderPolicyRefused = "ORDER_POLICY_REFUSED", Refused, false, "Change the order so that it passes the listed checks.";
    OrderValidationFailed = "ORDER_VALIDATION_FAILED", Input, false, "Correct the order as the message says.";
    OrderNotFound = "ORDER_NOT_FOUND", Input, false, "List orders with ibkr_orders_list.";
    OrderCancelRefused = "ORDER_CANCEL_REFUSED", Broker, false, "Ask for the order's status: it may have ended, may be ending, or may still work.";
    OrderQuestionPending = "ORDER_QUESTION_PENDING", Refused, true, "The broker waits for the answer to a question about another order of this login; answer it, or try again in a minute.";
    OrderNotOurs = "ORDER_NOT_OURS", Refused, false, "Only orders placed through this gateway can be changed here.";
    OrderInDoubt = "ORDER_IN_DOUBT", Refused, true, "An earlier order's outcome is unknown; wait until it is settled. Cancels still pass.";
    OrderOutcomeUnknown = "ORDER_OUTCOME_UNKNOWN", Backend, false, "Do not repeat the order. Ask ibkr_order_outcome until it is settled.";
    OrderDrifted = "ORDER_DRIFTED", Refused, false, "The market or the position moved past what was approved: preview again.";
    OrderNotSent = "ORDER_NOT_SENT", Refused, true, "Nothing was sent to the broker; read the reason and submit again.";
    CallOutcomeUnknown = "CALL_OUTCOME_UNKNOWN", Backend, false, "The link broke during the call. Ask ibkr_order_outcome with the call id before repeating a write.";
    CallTimedOut = "CALL_TIMED_OUT", Backend, true, "The answer took too long; reads may be repeated.";
    CallCancelled = "CALL_CANCELLED", Refused, true, "The caller withdrew the call before it had an effect.";
    PaperTradingDisabled = "PAPER_TRADING_DISABLED", Refused, false, "Enable paper.enabled in the configuration.";
    PaperApprovalRequired = "PAPER_APPROVAL_REQUIRED", Refused, false, "Ask with ibkr_approvals_create and wait for the operator.";
    PaperIdempotencyConflict = "PAPER_IDEMPOTENCY_CONFLICT", Refused, false, "Use a new idempotency_key for a different request.";
    PreviewNotFound = "PREVIEW_NOT_FOUND", Input, false, "Preview the order again.";
    PreviewExpired = "PREVIEW_EXPIRED", Refused, false, "Preview the order again.";
    ApprovalNotFound = "APPROVAL_NOT_FOUND", Input, false, "Ask for an approval with ibkr_approvals_create.";
    ApprovalPending = "APPROVAL_PENDING", Refused, true, "The operator has not decided yet; wait with ibkr_approval_status.";
    ApprovalDenied = "APPROVAL_DENIED", Refused, false, "The operator said no. Do not ask again without a change.";
    ApprovalExpired = "APPROVAL_EXPIRED", Refused, false, "Preview again and ask for a new approval.";
    ApprovalPreviewMismatch = "APPROVAL_PREVIEW_MISMATCH", Refused, false, "The approval belongs to another account or preview.";
    ApprovalConsumed = "APPROVAL_CONSUMED", Refused, false, "An approval makes one order only; ask ibkr_order_outcome what became of it.";
    ApprovalUnsigned = "APPROVAL_UNSIGNED", Refused, false, "No operator's signature covers this approval: verify the log, then preview and ask again.";
    ApprovalTooMany = "APPROVAL_TOO_MANY", Refused, true, "Too many approvals are open; let the operator decide them first.";
    SignatureRequired = "SIGNATURE_REQUIRED", Auth, false, "Sign with an enrolled operator key.";
    SignatureInvalid = "SIGNATURE_INVALID", Auth, false, "The signature does not match an enrolled key or what was shown.";
    OperatorOnly = "OPERATOR_ONLY", Auth, false, "Only an operator can do this, on the sidecar's own surfaces.";
    KillSwitchClosed = "KILL_SWITCH_CLOSED", Refused, false, "Trading is halted; an operator must resume it. Cancels still pass.";
    HaltIncomplete = "HALT_INCOMPLETE", Backend, true, "Do what the answer names for each place that isn't halted, or log out at IBKR's gateway or stop it; then halt again.";
    SidecarPairingRequired = "SIDECAR_PAIRING_REQUIRED", Auth, false, "Pair the sidecar with a join token.";
    SidecarUnavailable = "SIDECAR_UNAVAILABLE", Backend, true, "The sidecar is not connected; start it and try again.";
    SidecarSessionInvalid = "SIDECAR_SESSION_INVALID", Auth, false, "The relay session was refused; pair the sidecar again.";
    SidecarBusy = "SIDECAR_BUSY", Backend, true, "Too many calls are in flight; try again shortly.";
    StoreLocked = "STORE_LOCKED", Config, true, "Another process holds the store; stop it, or let this one attach.";
    StoreDamaged = "STORE_DAMAGED", Config, false, "The store is empty, older than its anchor, damaged or newer than this program.";
    StoreUnavailable = "STORE_UNAVAILABLE", Config, true, "The state folder's files can't be used: check their owner and mode, and the disk.";
    StateIncomplete = "STATE_INCOMPLETE", Config, false, "A file of the state folder is missing, unreadable or another installation's: put it back, or accept the loss, signed, with ibkr-agent state accept where the sidecar starts.";
    StateRestored = "STATE_RESTORED", Config, false, "Files of the state folder are older than others remember: put the newer ones back, or compare with the broker and sign for it with ibkr-agent state accept.";
    LiveTradingDisabled = "LIVE_TRADING_DISABLED", Refused, false, "Live trading is not available.";
    InternalError = "INTERNAL_ERROR", Refused, false, "This is a defect: report it with the call id.";
}
// tidy: end of table

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_parse_back() {
        let texts: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(*code));
            assert!(code.user_action().ends_with('.'));
        }
    }
}
