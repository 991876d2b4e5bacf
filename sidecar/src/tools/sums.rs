//! Sums over accounts and currencies: pure, and nothing rather than a sum with a hole in it.

use ibkr_agent_domain::{Conid, Currency, LedgerLine, Position};
use ibkr_agent_protocol::catalogue::overview::{CashRow, HoldingRow};
use rust_decimal::Decimal;
use std::collections::BTreeMap;

/// Decimal places of a converted amount.
const PLACES: u32 = 2;

/// Units of one target currency per unit of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rates {
    target: Currency,
    known: BTreeMap<Currency, Decimal>,
}

impl Rates {
    pub(super) fn new(target: Currency) -> Self {
        Self { target, known: BTreeMap::from([(target, Decimal::ONE)]) }
    }

    pub(super) const fn target(&self) -> Currency {
        self.target
    }

    /// Learns a rate; the first one of a currency stays.
    pub(super) fn learn(&mut self, currency: Currency, rate: Decimal) {
        if currency != Currency::BASE && rate > Decimal::ZERO {
            self.known.entry(currency).or_insert(rate);
        }
    }

    /// Learns from an account's ledger, whose rates are in units of its base currency.
    pub(super) fn learn_ledger(&mut self, ledger: &[LedgerLine], base: Currency) {
        let Some(of_base) = self.of(base) else { return };
        for line in ledger {
            let rate = line.exchange_rate.and_then(|rate| rate.checked_mul(of_base));
            if let Some(rate) = rate {
                self.learn(line.currency, rate);
            }
        }
    }

    pub(super) fn of(&self, currency: Currency) -> Option<Decimal> {
        self.known.get(&currency).copied()
    }

    pub(super) fn convert(&self, amount: Decimal, currency: Currency) -> Option<Decimal> {
        if currency == self.target {
            return Some(amount);
        }
        amount.checked_mul(self.of(currency)?).map(|value| value.round_dp(PLACES))
    }
}

/// The sum of amounts; nothing when one is unknown, or there is none at all.
pub(super) fn total(amounts: impl IntoIterator<Item = Option<Decimal>>) -> Option<Decimal> {
    let mut sum = None;
    for amount in amounts {
        sum = Some(sum.unwrap_or(Decimal::ZERO).checked_add(amount?)?);
    }
    sum
}

/// Cash per currency over the ledgers of several accounts, the largest value first.
pub(super) fn cash(ledgers: &[&[LedgerLine]], rates: &Rates) -> Vec<CashRow> {
    let mut sums: BTreeMap<Currency, Option<Decimal>> = BTreeMap::new();
    let lines = ledgers.iter().flat_map(|ledger| ledger.iter());
    for line in lines.filter(|line| line.currency != Currency::BASE) {
        let sum = sums.entry(line.currency).or_insert(Some(Decimal::ZERO));
        *sum = sum.and_then(|sum| sum.checked_add(line.cash));
    }
    let mut rows: Vec<CashRow> = sums
        .into_iter()
        .map(|(currency, cash)| CashRow {
            currency,
            cash,
            value: cash.and_then(|cash| rates.convert(cash, currency)),
        })
        .collect();
    rows.sort_by_key(|row| core::cmp::Reverse(row.value.map(|value| value.abs())));
    rows
}

/// Positions over several accounts, one per contract, the largest value first, unvalued ones last.
pub(super) fn holdings(
    positions: &[&Position],
    rates: &Rates,
    net_liquidation: Option<Decimal>,
) -> Vec<HoldingRow> {
    let mut rows: BTreeMap<Conid, HoldingRow> = BTreeMap::new();
    for position in positions {
        let in_target = |amount: Option<Decimal>| {
            amount.and_then(|amount| rates.convert(amount, position.currency))
        };
        let value = in_target(position.market_value);
        let pnl = in_target(position.unrealized_pnl);
        rows.entry(position.conid)
            .and_modify(|row| {
                row.quantity = row.quantity.saturating_add(position.quantity);
                row.value = total([row.value, value]);
                row.unrealized_pnl = total([row.unrealized_pnl, pnl]);
            })
            .or_insert_with(|| HoldingRow {
                conid: position.conid,
                symbol: position.symbol.clone(),
                class: position.class,
                quantity: position.quantity,
                value,
                weight_percent: None,
                unrealized_pnl: pnl,
            });
    }
    let mut rows: Vec<HoldingRow> = rows.into_values().collect();
    for row in &mut rows {
        row.weight_percent = weight(row.value, net_liquidation);
    }
    rows.sort_by_key(|row| core::cmp::Reverse(row.value.map(|value| value.abs())));
    rows
}

fn weight(value: Option<Decimal>, whole: Option<Decimal>) -> Option<Decimal> {
    let whole = whole.filter(|whole| *whole > Decimal::ZERO)?;
    let percent = value?.checked_mul(Decimal::ONE_HUNDRED)?.checked_div(whole)?;
    Some(percent.round_dp(PLACES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibkr_agent_domain::{AccountId, AssetClass, Untrusted};

    fn dec(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn eur() -> Currency {
        Currency::parse("EUR").unwrap()
    }

    fn line(currency: Currency, cash: &str, rate: &str) -> LedgerLine {
        LedgerLine {
            currency,
            cash: dec(cash),
            settled_cash: None,
            net_liquidation: None,
            unrealized_pnl: None,
            realized_pnl: None,
            exchange_rate: Some(dec(rate)),
        }
    }

    fn position(conid: u64, quantity: &str, value: Option<&str>, currency: Currency) -> Position {
        Position {
            account: AccountId::parse("DU1").unwrap(),
            conid: Conid::new(conid).unwrap(),
            symbol: Untrusted::new("X"),
            class: Some(AssetClass::Stock),
            quantity: dec(quantity),
            market_price: None,
            market_value: value.map(dec),
            average_cost: None,
            unrealized_pnl: value.map(dec),
            currency,
        }
    }

    #[test]
    fn a_sum_with_a_hole_is_no_sum() {
        assert_eq!(total([Some(dec("1")), Some(dec("2.5"))]), Some(dec("3.5")));
        assert_eq!(total([Some(dec("1")), None]), None);
        assert_eq!(total([]), None, "nothing read isn't zero");
        assert_eq!(total([Some(Decimal::MAX), Some(Decimal::MAX)]), None);
    }

    #[test]
    fn a_ledger_of_another_base_currency_is_converted_through_it() {
        let mut rates = Rates::new(Currency::USD);
        let ledger = [line(eur(), "10", "1"), line(Currency::USD, "5", "0.8")];
        rates.learn_ledger(&ledger, eur());
        assert_eq!(rates.of(eur()), None, "the way from EUR to USD isn't known");
        rates.learn(eur(), dec("1.25"));
        let gbp = Currency::parse("GBP").unwrap();
        rates.learn_ledger(&[line(gbp, "1", "1.2")], eur());
        assert_eq!(rates.of(gbp), Some(dec("1.500")));
        assert_eq!(rates.of(Currency::USD), Some(Decimal::ONE), "what is known stays");
        rates.learn(gbp, dec("9"));
        assert_eq!(rates.of(gbp), Some(dec("1.500")));
        rates.learn(Currency::parse("JPY").unwrap(), Decimal::ZERO);
        assert_eq!(rates.of(Currency::parse("JPY").unwrap()), None);
    }

    #[test]
    fn cash_adds_a_currency_over_accounts_and_leaves_the_base_total_out() {
        let mut rates = Rates::new(Currency::USD);
        rates.learn(eur(), dec("1.1"));
        let one = [line(Currency::USD, "100", "1"), line(Currency::BASE, "155", "1")];
        let two = [line(eur(), "50", "1.1"), line(Currency::USD, "-20", "1")];
        let rows = cash(&[&one, &two], &rates);
        let shown: Vec<_> = rows.iter().map(|row| (row.currency, row.cash, row.value)).collect();
        assert_eq!(
            shown,
            [
                (Currency::USD, Some(dec("80")), Some(dec("80"))),
                (eur(), Some(dec("50")), Some(dec("55.0"))),
            ]
        );
    }

    #[test]
    fn holdings_are_ranked_by_size_whatever_their_sign_and_the_unvalued_come_last() {
        let mut rates = Rates::new(Currency::USD);
        rates.learn(eur(), dec("2"));
        let held = [
            position(1, "10", Some("100"), Currency::USD),
            position(2, "-5", Some("-300"), Currency::USD),
            position(3, "1", None, Currency::USD),
            position(1, "10", Some("100"), Currency::USD),
            position(4, "1", Some("120"), eur()),
            position(5, "1", Some("1000"), Currency::parse("CHF").unwrap()),
        ];
        let held: Vec<&Position> = held.iter().collect();
        let rows = holdings(&held, &rates, Some(dec("1000")));
        let shown: Vec<_> = rows.iter().map(|row| (row.conid.get(), row.weight_percent)).collect();
        assert_eq!(
            shown,
            [
                (2, Some(dec("-30"))),
                (4, Some(dec("24"))),
                (1, Some(dec("20"))),
                (3, None),
                (5, None),
            ]
        );
        assert_eq!(rows[2].quantity, dec("20"));
        assert!(holdings(&held, &rates, None).iter().all(|row| row.weight_percent.is_none()));
        assert!(holdings(&held, &rates, Some(dec("0"))).iter().all(|r| r.weight_percent.is_none()));
    }
}
