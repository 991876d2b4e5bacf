//! It borrows no money that the policy forbids to borrow: a buy is paid from the cash of its own
//! currency, after what already works.

use crate::at_work::buys_at_work;
use crate::case::{Case, plain};
use crate::{Check, Gate};
use ibkr_agent_domain::{Currency, LedgerLine, Side};
use rust_decimal::Decimal;

pub(super) fn check(case: &Case<'_>) -> Check {
    let guard = case.limits().margin_loan;
    let limit = format!("a margin loan: {}", guard.as_str());
    let judged = |passed, observed: String| {
        Check::policy(Gate::MarginLoan, passed, "exposure.margin_loan", observed, &limit)
    };
    if case.side() == Side::Sell {
        return judged(true, "a sell borrows no money".to_owned());
    }
    let currency = case.order.currency();
    let (Some(cash), Some(cost)) = (cash_of(case, currency), cost(case)) else {
        let observed = format!("cash in {currency} or what it has to pay isn't known");
        return judged(false, observed).guarded(guard).exempt_if(case.reduces);
    };
    let Some(left) = cash.checked_sub(cost) else {
        return judged(false, "not computable".to_owned()).exempt_if(case.reduces);
    };
    if left >= Decimal::ZERO {
        let observed = format!("{} {currency} left after it", plain(left));
        return judged(true, observed).warned_if(is_unsettled(case, currency, cost));
    }
    let lack = format!("{} {currency} lack: {} are there", plain(-left), plain(cash));
    if converts(case, left, currency) {
        let observed = format!("{lack}; the broker converts the rest from other cash");
        return judged(true, observed).warned_if(true);
    }
    let units = case.exposure().and_then(|money| money.amount.checked_div(case.quantity()));
    let free = cash.checked_sub(cost).and_then(|_| {
        let own = case.exposure()?.amount;
        cash.checked_sub(cost.checked_sub(own)?)?.checked_div(units?)
    });
    let free = free.map(|units| units.floor()).filter(|units| *units >= Decimal::ONE);
    judged(false, lack)
        .nearest(free.map(|units| format!("{units} at this price need no loan")))
        .guarded(guard)
        .exempt_if(case.reduces)
}

/// Cash in a currency: none where the ledger has no line for it.
fn cash_of(case: &Case<'_>, currency: Currency) -> Option<Decimal> {
    let lines = case.facts.broker.account.cash.as_ref()?;
    let own = lines.iter().find(|line| line.currency == currency);
    Some(own.map_or(Decimal::ZERO, |line| line.cash))
}

/// What this order and every buy that works may have to pay in its currency.
fn cost(case: &Case<'_>) -> Option<Decimal> {
    let mut sum = case.exposure()?.amount;
    let told = case.facts.broker.what_if.as_ref().and_then(|what_if| what_if.estimate());
    let fee = told.and_then(|told| told.commission);
    if let Some(fee) = fee.filter(|fee| fee.currency == case.order.currency()) {
        sum = sum.checked_add(fee.amount)?;
    }
    for (currency, to_pay) in buys_at_work(case) {
        if currency == case.order.currency() {
            sum = sum.checked_add(to_pay?)?;
        }
    }
    // What isn't shown yet of the same contract counts as this order does.
    let unit = case.exposure()?.amount.checked_div(case.quantity())?;
    sum.checked_add(case.facts.own.under_way.checked_mul(unit)?)
}

/// Whether the account can't borrow and its cash in all currencies covers what lacks: then the
/// broker converts.
fn converts(case: &Case<'_>, left: Decimal, currency: Currency) -> bool {
    let account = &case.facts.broker.account;
    let lines = account.cash.as_deref().unwrap_or_default();
    let rate = account.rates.get(&currency).copied();
    // The order's own currency is spent already.
    let others = |line: &&LedgerLine| ![Currency::BASE, currency].contains(&line.currency);
    let all = lines.iter().filter(others).try_fold(Decimal::ZERO, |sum, line| {
        let rate = account.rates.get(&line.currency)?;
        sum.checked_add(line.cash.max(Decimal::ZERO).checked_mul(*rate)?)
    });
    let lack = rate.and_then(|rate| left.checked_mul(rate)).map(|lack| -lack);
    account.is_cash_account == Some(true) && all.zip(lack).is_some_and(|(all, lack)| lack <= all)
}

/// Whether a cash account would pay with what isn't settled.
fn is_unsettled(case: &Case<'_>, currency: Currency, cost: Decimal) -> bool {
    let account = &case.facts.broker.account;
    let lines = account.cash.as_deref().unwrap_or_default();
    let own = lines.iter().find(|line| line.currency == currency);
    let settled = own.and_then(|line| line.settled_cash);
    account.is_cash_account == Some(true) && settled.is_some_and(|settled| settled < cost)
}
