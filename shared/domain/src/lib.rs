//! The vocabulary of the gateway: values that every other crate speaks in.
//!
//! What is here: identifiers, decimals with units, instruments, orders and their canonical bytes,
//! approvals and theirs, the order life cycle and the reasons behind it, scopes, error codes, read
//! models, audit records, and text that came from outside. What is not: serialisation of wire or
//! disk formats, async code, clocks, I/O. Every type with an invariant has private fields and one
//! parsing constructor.

mod approval;
mod caller;
mod code;
mod date;
mod ids;
mod instrument;
mod lifecycle;
mod order;
mod reads;
mod reason;
mod record;
mod scope;
mod text;
mod time;
mod value;

pub use approval::{ApprovalTerms, OnApproval, OperatorSignature, operator_key_id};
pub use code::{ErrorCode, Fault};
pub use date::{Date, InvalidDate};
pub use ids::{
    AccountId, ApprovalId, BrokerName, BrokerOrderId, CallId, ClientOrderId, Conid, Digest,
    IdempotencyKey, InvalidId, OperatorKeyId, PreviewId, SidecarId,
};
pub use instrument::{AssetClass, Instrument, InvalidInstrument, OptionRight};
pub use lifecycle::{IllegalTransition, OrderEvent, OrderState, next};
pub use order::{
    CanonicalOrder, ComboLeg, ComboLegs, ContractIdentity, Field, Form, GivenPrices, InvalidOrder,
    InvalidPlan, InvalidPricing, Leg, MAX_LEGS, Mode, Offset, OrderContract, OrderPlan,
    OrderTarget, OrderTerms, OrderType, Percent, PriceField, Pricing, Shape, Side, TimeInForce,
    client_order_id,
};
pub use reads::{
    AccountInfo, AccountSummary, Alert, Allocation, AllocationSlice, Bar, BarSource, Bars,
    BarsRequest, BrokerEvent, BrokerOrder, BrokerOrderStatus, BrokerOrderType, BrokerTimeInForce,
    ComboPosition, Contract, ContractDetails, ContractRules, CurrencyPair, DataStatus, Depth,
    DepthLevel, Estimate, Execution, Fundamentals, FutureContract, LedgerLine, Listed,
    Notification, OptionContract, OptionQuote, OptionSeries, Performance, PerformancePeriod,
    PerformancePoint, Position, PriceStep, ProfitAndLoss, Quote, ScanHit, ScanRequest, ScannerKind,
    ScannerParameters, SessionHealth, SessionState, Strikes, TradingDay, TradingHours, TradingNow,
    TradingSpan, Trailing, TrailingUnit, Transaction, Transactions, UnreadRow, Watch, Watchlist,
    WatchlistItem, WhatIf, WhatIfChange,
};
pub use reason::{NotSent, Reason, UnknownBecause};
pub use record::{Actor, Decision, Door, Record, RecordKind, Recordable, Reference, RiskReducing};
pub use scope::{Scope, ScopeSet, Tier};
pub use text::Untrusted;
pub use time::{InvalidTime, Timestamp};
pub use value::{Currency, InvalidValue, Money, Price, Quantity, SignedPrice};
