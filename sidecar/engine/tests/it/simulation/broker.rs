//! A model of the broker: it keeps what reached it, refuses a repeated reference, asks, rejects,
//! fills, cancels, and shows its orders and trades.
//!
//! Not here: what gets lost on the way; that is the driver's model in `world.rs`.

use super::random::Random;
use ibkr_agent_domain::{
    AccountId, ApprovalId, BrokerOrder, BrokerOrderId, BrokerOrderStatus, CanonicalOrder,
    ClientOrderId, Execution, OrderKind, Timestamp, Untrusted,
};
use ibkr_agent_gates::{Permit, Place, Question};
use rust_decimal::Decimal;
use std::collections::BTreeMap;

/// The question that the policy answers without a human.
pub(super) const KNOWN_QUESTION: &str = "The order is outside of regular trading hours. Proceed?";

/// A request to place an order, as it travels.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) reference: ClientOrderId,
    pub(super) approval: ApprovalId,
    pub(super) order: CanonicalOrder,
}

impl Sent {
    pub(super) fn of(permit: &Permit<Place>) -> Self {
        let place = permit.action();
        Self {
            reference: place.client_order_id().clone(),
            approval: place.approval().clone(),
            order: place.order().clone(),
        }
    }
}

/// What became of an order at the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It asks; nothing works until the answer.
    Asks { reply: String, more: bool },
    /// It works.
    Working,
    /// Held; it may work again.
    Held,
    /// All of it filled.
    Filled,
    /// Cancelled.
    Cancelled,
    /// Refused, or the question was answered with no.
    Refused,
}

/// An order that reached the broker.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) sent: Sent,
    pub(super) id: BrokerOrderId,
    pub(super) fate: Fate,
    pub(super) filled: Decimal,
}

impl Entry {
    /// Whether it can trade, or has traded.
    pub(super) fn counts(&self) -> bool {
        let traded = self.filled > Decimal::ZERO;
        traded || matches!(self.fate, Fate::Working | Fate::Held | Fate::Filled)
    }
}

/// The broker's answer.
#[derive(Debug, Clone)]
pub(super) enum Said {
    Placed(BrokerOrderId),
    Asks(Question),
    Refused,
    /// It already has an order of this reference, or no longer knows the question.
    Senseless,
}

/// The broker.
#[derive(Debug, Default)]
pub(super) struct Broker {
    pub(super) orders: BTreeMap<ClientOrderId, Entry>,
    next: u64,
}

impl Broker {
    fn number(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }

    /// Takes an order that arrives.
    pub(super) fn place(&mut self, sent: Sent, random: &mut Random) -> Said {
        if self.orders.contains_key(&sent.reference) {
            return Said::Senseless;
        }
        let id = BrokerOrderId::parse(&format!("{}", 1000 + self.number())).expect("an id");
        let reference = sent.reference.clone();
        let entry = Entry { sent, id, fate: Fate::Working, filled: Decimal::ZERO };
        self.orders.insert(reference.clone(), entry);
        match random.below(10) {
            0..=2 => self.ask(&reference, random),
            3 => self.settle(&reference, Fate::Refused),
            4 => self.settle(&reference, Fate::Held),
            5 => self.settle(&reference, Fate::Filled),
            _ => self.settle(&reference, Fate::Working),
        }
    }

    fn settle(&mut self, reference: &ClientOrderId, fate: Fate) -> Said {
        let entry = self.orders.get_mut(reference).expect("it was taken");
        if fate == Fate::Filled {
            entry.filled = entry.sent.order.terms().quantity.get();
        }
        entry.fate = fate;
        if entry.fate == Fate::Refused {
            return Said::Refused;
        }
        Said::Placed(entry.id.clone())
    }

    fn ask(&mut self, reference: &ClientOrderId, random: &mut Random) -> Said {
        let number = self.number();
        let question = Question {
            reply_id: format!("reply-{number}"),
            message_ids: vec!["o163".to_owned()],
            messages: vec![if random.percent(40) {
                KNOWN_QUESTION.to_owned()
            } else {
                format!("Question {number}: the price is unusual. Are you sure?")
            }],
        };
        let entry = self.orders.get_mut(reference).expect("it was taken");
        entry.fate = Fate::Asks { reply: question.reply_id.clone(), more: random.percent(30) };
        Said::Asks(question)
    }

    /// Takes an answer to a question.
    pub(super) fn reply(&mut self, reply_id: &str, confirmed: bool, random: &mut Random) -> Said {
        let found = self.orders.iter().find_map(|(reference, entry)| {
            let Fate::Asks { reply, more } = &entry.fate else {
                return None;
            };
            (reply == reply_id).then(|| (reference.clone(), *more))
        });
        let Some((reference, more)) = found else {
            return Said::Senseless;
        };
        match (confirmed, more) {
            (false, _) => self.settle(&reference, Fate::Refused),
            (true, true) => self.ask(&reference, random),
            (true, false) => self.settle(&reference, Fate::Working),
        }
    }

    /// Cancels an order that works.
    pub(super) fn cancel(&mut self, id: &BrokerOrderId) -> bool {
        let entry = self.orders.values_mut().find(|entry| entry.id == *id);
        let open = |fate: &Fate| matches!(fate, Fate::Working | Fate::Held);
        match entry {
            Some(entry) if open(&entry.fate) => {
                entry.fate = Fate::Cancelled;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Something happens by itself: a fill, a wake-up, a question that the broker forgets.
    pub(super) fn tick(&mut self, random: &mut Random) {
        let length = self.orders.len();
        let Some(entry) = self.orders.values_mut().nth(random.index(length.max(1))) else {
            return;
        };
        let whole = entry.sent.order.terms().quantity.get();
        match &entry.fate {
            Fate::Working if random.percent(30) => {
                entry.filled = whole;
                entry.fate = Fate::Filled;
            }
            Fate::Working if whole > Decimal::ONE => entry.filled = Decimal::ONE,
            Fate::Held => entry.fate = Fate::Working,
            Fate::Asks { .. } if random.percent(20) => entry.fate = Fate::Refused,
            Fate::Working | Fate::Asks { .. } | Fate::Filled | Fate::Cancelled | Fate::Refused => {}
        }
    }

    /// The orders and trades of an account. Orders that ask or were refused don't show.
    pub(super) fn show(
        &self,
        account: &AccountId,
        now: Timestamp,
    ) -> (Vec<BrokerOrder>, Vec<Execution>) {
        let of_account = |entry: &&Entry| entry.sent.order.account() == account;
        let entries: Vec<&Entry> = self.orders.values().filter(of_account).collect();
        let orders = entries.iter().filter_map(|e| shown_order(e)).collect();
        let trades = entries.iter().filter_map(|e| shown_trade(e, now)).collect();
        (orders, trades)
    }
}

fn shown_order(entry: &Entry) -> Option<BrokerOrder> {
    let status = match entry.fate {
        Fate::Working => BrokerOrderStatus::Submitted,
        Fate::Held => BrokerOrderStatus::Inactive,
        Fate::Filled => BrokerOrderStatus::Filled,
        Fate::Cancelled => BrokerOrderStatus::Cancelled,
        Fate::Asks { .. } | Fate::Refused => return None,
    };
    let order = &entry.sent.order;
    let OrderKind::Limit(limit) = order.terms().kind;
    Some(BrokerOrder {
        reference: Some(entry.sent.reference.clone()),
        symbol: Untrusted::new(order.symbol()),
        side: Some(order.terms().side),
        quantity: Some(order.terms().quantity.get()),
        filled: Some(entry.filled),
        limit_price: Some(limit.get()),
        kind: Untrusted::new("LMT"),
        status,
        ..BrokerOrder::of(entry.id.clone(), order.account().clone(), order.conid())
    })
}

fn shown_trade(entry: &Entry, now: Timestamp) -> Option<Execution> {
    let order = &entry.sent.order;
    let OrderKind::Limit(limit) = order.terms().kind;
    (entry.filled > Decimal::ZERO).then(|| Execution {
        id: Untrusted::new("execution"),
        order_id: Some(entry.id.clone()),
        reference: Some(entry.sent.reference.clone()),
        account: order.account().clone(),
        conid: order.conid(),
        symbol: Untrusted::new(order.symbol()),
        side: Some(order.terms().side),
        quantity: entry.filled,
        price: limit.get(),
        commission: None,
        exchange: Untrusted::new("SMART"),
        time: now,
    })
}
