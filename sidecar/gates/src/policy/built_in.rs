//! The policies that hold where a file says nothing: shut, tight, and the simulator's.

use super::{Guard, MarketHours, PolicyLimits};
use core::time::Duration;
use ibkr_agent_domain::{AssetClass, Currency, Mode, Money, OrderType, TimeInForce};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};

const fn whole(number: u32) -> Decimal {
    Decimal::from_parts(number, 0, 0, false, 0)
}

const fn dollars(amount: u32) -> Money {
    Money::new(whole(amount), Currency::USD)
}

impl PolicyLimits {
    /// Nothing may trade: the base of every policy that is written out.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            id: "closed".to_owned(),
            modes: BTreeSet::new(),
            asset_classes: BTreeSet::new(),
            order_types: BTreeSet::new(),
            times_in_force: BTreeSet::new(),
            max_orders_per_minute: 0,
            max_orders_per_day: 0,
            max_messages_per_minute: 0,
            max_open_orders: 0,
            ..Self::tight(BTreeSet::new())
        }
    }

    /// What holds at a real broker for each limit that the file doesn't give.
    #[must_use]
    pub fn tight(modes: BTreeSet<Mode>) -> Self {
        Self {
            id: "built-in".to_owned(),
            delayed_data_modes: modes.clone(),
            modes,
            accounts: BTreeSet::new(),
            allowed_symbols: None,
            denied_symbols: BTreeSet::new(),
            asset_classes: BTreeSet::from([AssetClass::Stock]),
            currencies: None,
            exchanges: None,
            order_types: BTreeSet::from([OrderType::Limit]),
            times_in_force: BTreeSet::from([TimeInForce::Day, TimeInForce::GoodTillCancelled]),
            outside_hours: false,
            fractions: false,
            market_hours: MarketHours::Regular,
            max_quantity: whole(100),
            max_quantity_of: BTreeMap::new(),
            max_notional: dollars(10_000),
            collar_percent: whole(2),
            mid_percent: whole(3),
            last_percent: whole(5),
            max_spread_percent: whole(2),
            passive_warning_percent: whole(10),
            slippage_percent: whole(3),
            max_quote_age: Duration::from_secs(15),
            max_drift_percent: whole(2),
            shorts: Guard::Deny,
            margin_loan: Guard::Deny,
            max_position_notional: whole(100_000),
            max_concentration_percent: whole(25),
            max_gross: whole(1_000_000),
            min_excess_liquidity: Decimal::ZERO,
            max_margin_use_percent: whole(75),
            what_if: Guard::Warn,
            max_orders_per_day: 50,
            max_notional_per_day: dollars(50_000),
            max_loss_per_day: whole(1_500),
            max_orders_per_minute: 5,
            max_messages_per_minute: 20,
            same_order_window: Duration::from_secs(60),
            same_execution_limit: 5,
            max_open_orders: 20,
            self_match: Guard::Deny,
            known_questions: BTreeSet::new(),
        }
    }

    /// What holds on the simulator, where no money is: the same guards, with room to play.
    #[must_use]
    pub fn simulated() -> Self {
        Self {
            id: "simulator".to_owned(),
            max_quantity: whole(1_000),
            max_notional: dollars(100_000),
            max_spread_percent: whole(5),
            last_percent: whole(10),
            max_quote_age: Duration::from_secs(60),
            max_position_notional: whole(500_000),
            max_concentration_percent: whole(60),
            max_gross: whole(5_000_000),
            max_orders_per_minute: 120,
            max_orders_per_day: 2_000,
            max_notional_per_day: dollars(10_000_000),
            max_loss_per_day: whole(50_000),
            max_messages_per_minute: 240,
            max_open_orders: 500,
            same_execution_limit: 200,
            delayed_data_modes: BTreeSet::from([Mode::Simulated, Mode::Paper]),
            ..Self::tight(BTreeSet::from([Mode::Simulated]))
        }
    }
}
