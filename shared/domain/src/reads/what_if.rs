//! What the broker's own preview of an order says: IBKR's POST `…/orders/whatif`.
//!
//! It registers nothing. Figures without a currency are in the one of the account's margins, which
//! the broker doesn't name.

use crate::{Money, Untrusted};
use rust_decimal::Decimal;

/// What the broker's own preview of an order says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhatIf {
    /// What the order would do.
    Estimated(Box<Estimate>),
    /// The broker says that it wouldn't accept the order.
    Refused {
        /// Its words.
        message: Untrusted,
    },
}

impl WhatIf {
    /// The broker's words against the order, whether or not figures come with them.
    #[must_use]
    pub fn objection(&self) -> Option<&Untrusted> {
        match self {
            Self::Estimated(told) => told.error.as_ref(),
            Self::Refused { message } => Some(message),
        }
    }

    /// The figures.
    #[must_use]
    pub const fn estimate(&self) -> Option<&Estimate> {
        match self {
            Self::Estimated(told) => Some(told),
            Self::Refused { .. } => None,
        }
    }
}

/// What the broker expects of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Commission.
    pub commission: Option<Money>,
    /// Cost with the commission.
    pub total: Option<Money>,
    /// Initial margin.
    pub initial_margin: WhatIfChange,
    /// Maintenance margin.
    pub maintenance_margin: WhatIfChange,
    /// Equity with loan value.
    pub equity: WhatIfChange,
    /// Units held of the contract.
    pub position: WhatIfChange,
    /// What the broker warns of.
    pub warning: Option<Untrusted>,
    /// Why it wouldn't accept the order.
    pub error: Option<Untrusted>,
}

/// A figure without and with the order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WhatIfChange {
    /// Now.
    pub current: Option<Decimal>,
    /// What the order adds.
    pub change: Option<Decimal>,
    /// Afterwards.
    pub after: Option<Decimal>,
}
