//! A model of the broker: it keeps what reached it, refuses a repeated reference, asks, rejects,
//! fills, cancels, and shows its orders and trades.
//!
//! Not here: what gets lost on the way; that is the driver's model in `world.rs`.

use super::random::Random;
use ibkr_agent_domain::{
    AccountId, Actor, ApprovalId, BrokerOrder, BrokerOrderId, BrokerOrderStatus, BrokerOrderType,
    CanonicalOrder, ClientOrderId, Execution, SignedPrice, Timestamp, Untrusted,
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
    /// Whether an operator's signature sent it.
    pub(super) by_signature: bool,
}

impl Sent {
    pub(super) fn of(permit: &Permit<Place>) -> Self {
        let place = permit.action();
        Self {
            reference: place.references()[0].clone(),
            approval: place.approval().clone(),
            order: place.plan().orders()[0].clone(),
            by_signature: matches!(permit.requester().actor, Actor::Operator { .. }),
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
    /// Its terms now: the account's user may change them elsewhere.
    pub(super) quantity: Decimal,
    pub(super) limit: Decimal,
    /// Whether the day's list leaves it out.
    pub(super) hidden: bool,
    /// Whether it filled after it had ended.
    pub(super) late: bool,
    /// Whether it is a second one under its reference.
    pub(super) is_twin: bool,
    /// How much of what filled was taken back.
    pub(super) busted: Decimal,
    /// Each fill: id, quantity, price.
    trades: Vec<(String, Decimal, Decimal)>,
    /// Fills so far, those that were taken back included.
    fills: u64,
}

/// An order as a look shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) id: BrokerOrderId,
    pub(super) fate: Fate,
    pub(super) filled: Decimal,
}

impl Entry {
    /// More of it filled.
    fn fill_to(&mut self, total: Decimal) {
        let more = total - self.filled;
        if more > Decimal::ZERO {
            self.fills += 1;
            let id = format!("execution-{}-{}", self.id, self.fills);
            self.trades.push((id, more, self.limit));
            self.filled = total;
        }
    }

    /// Its last fill is taken back; its status stays.
    fn take_back(&mut self) -> &'static str {
        let Some((_, quantity, _)) = self.trades.pop() else {
            return "nothing";
        };
        self.filled -= quantity;
        self.busted += quantity;
        "taken back"
    }

    /// As a look shows it.
    pub(super) fn shown(&self) -> Shown {
        Shown { id: self.id.clone(), fate: self.fate.clone(), filled: self.filled }
    }

    /// What it is worth to the limits: whole while it may trade, else what it filled.
    pub(super) fn value(&self) -> Decimal {
        let open = matches!(self.fate, Fate::Working | Fate::Held);
        let quantity = if open { self.quantity.max(self.filled) } else { self.filled };
        quantity * self.limit
    }

    /// Whether its terms are others than those that were sent.
    pub(super) fn is_changed(&self) -> bool {
        let limit = limit_of(&self.sent.order);
        self.quantity != self.sent.order.terms().quantity.get() || self.limit != limit
    }

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
    /// By reference and number: one reference may stand for several.
    pub(super) orders: BTreeMap<(ClientOrderId, u32), Entry>,
    /// Orders whose truth changed without us, by what happened.
    pub(super) moved: BTreeMap<&'static str, u64>,
    /// Whether nothing changes there but by us, fills aside, and nothing is asked.
    pub(super) is_still: bool,
    pub(super) next: u64,
}

impl Broker {
    fn number(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }

    /// Takes an order that arrives.
    pub(super) fn place(&mut self, sent: Sent, random: &mut Random) -> Said {
        if self.has(&sent.reference) {
            return Said::Senseless;
        }
        let id = BrokerOrderId::parse(&format!("{}", 1000 + self.number())).expect("an id");
        let reference = sent.reference.clone();
        let entry = Entry {
            quantity: sent.order.terms().quantity.get(),
            limit: limit_of(&sent.order),
            sent,
            id,
            fate: Fate::Working,
            filled: Decimal::ZERO,
            hidden: false,
            late: false,
            is_twin: false,
            busted: Decimal::ZERO,
            trades: Vec::new(),
            fills: 0,
        };
        self.orders.insert((reference.clone(), 0), entry);
        match random.below(10) {
            0..=2 if !self.is_still => self.ask(&reference, random),
            3 => self.settle(&reference, Fate::Refused),
            4 => self.settle(&reference, Fate::Held),
            5 => self.settle(&reference, Fate::Filled),
            _ => self.settle(&reference, Fate::Working),
        }
    }

    pub(super) fn has(&self, reference: &ClientOrderId) -> bool {
        self.orders.contains_key(&(reference.clone(), 0))
    }

    fn settle(&mut self, reference: &ClientOrderId, fate: Fate) -> Said {
        let entry = self.orders.get_mut(&(reference.clone(), 0)).expect("it was taken");
        if fate == Fate::Filled {
            entry.fill_to(entry.quantity);
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
        let entry = self.orders.get_mut(&(reference.clone(), 0)).expect("it was taken");
        entry.fate = Fate::Asks { reply: question.reply_id.clone(), more: random.percent(30) };
        Said::Asks(question)
    }

    /// Takes an answer to a question.
    pub(super) fn reply(&mut self, reply_id: &str, confirmed: bool, random: &mut Random) -> Said {
        let found = self.orders.iter().find_map(|((reference, _), entry)| {
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
        if !self.is_still && random.percent(15) {
            let what = Self::move_truth(entry, random);
            *self.moved.entry(what).or_default() += 1;
            return;
        }
        if !self.is_still && random.percent(5) && matches!(entry.fate, Fate::Working) {
            return self.twin(random);
        }
        let whole = entry.quantity;
        match &entry.fate {
            Fate::Working if random.percent(30) => {
                entry.fill_to(whole);
                entry.fate = Fate::Filled;
            }
            Fate::Working if whole > Decimal::ONE => entry.fill_to(Decimal::ONE.max(entry.filled)),
            Fate::Held => entry.fate = Fate::Working,
            Fate::Asks { .. } if random.percent(20) => entry.fate = Fate::Refused,
            Fate::Working | Fate::Asks { .. } | Fate::Filled | Fate::Cancelled | Fate::Refused => {}
        }
    }

    /// The account's user, or the exchange, does something to an order that we don't hear of.
    fn move_truth(entry: &mut Entry, random: &mut Random) -> &'static str {
        match (&entry.fate, random.below(6)) {
            (Fate::Working | Fate::Held, 0) => {
                entry.quantity *= Decimal::from(50);
                entry.limit += Decimal::from(35);
                "changed at the broker"
            }
            (Fate::Working, 1) => {
                entry.fill_to(entry.quantity + Decimal::ONE);
                entry.fate = Fate::Filled;
                "overfilled"
            }
            (Fate::Refused | Fate::Cancelled, 2) => {
                entry.fill_to(entry.quantity);
                entry.fate = Fate::Filled;
                entry.late = true;
                "filled after its end"
            }
            (Fate::Working, 3) => {
                entry.hidden = !entry.hidden;
                "left the day's list"
            }
            (Fate::Working, 4) => {
                entry.fate = Fate::Cancelled;
                "cancelled elsewhere"
            }
            (Fate::Filled | Fate::Working, 5) if !entry.hidden => entry.take_back(),
            _ => "nothing",
        }
    }

    /// A change while a connection was lost leaves a second order under the same reference.
    fn twin(&mut self, random: &mut Random) {
        let working = |entry: &&Entry| matches!(entry.fate, Fate::Working);
        let Some(one) = self.orders.values().find(working).cloned() else {
            return;
        };
        let number = 1 + u32::try_from(random.below(3)).expect("small");
        let id = BrokerOrderId::parse(&format!("{}", 1000 + self.number())).expect("an id");
        let key = (one.sent.reference.clone(), number);
        if let std::collections::btree_map::Entry::Vacant(place) = self.orders.entry(key) {
            place.insert(Entry {
                id,
                filled: Decimal::ZERO,
                hidden: false,
                late: false,
                is_twin: true,
                busted: Decimal::ZERO,
                trades: Vec::new(),
                fills: 0,
                ..one
            });
            *self.moved.entry("twins").or_default() += 1;
        }
    }

    /// Writes the terms that were approved over those of the rows.
    pub(super) fn as_approved(&self, rows: &mut [BrokerOrder]) {
        for row in rows {
            let known = self.orders.values().find(|entry| entry.id == row.order_id);
            if let Some(entry) = known {
                row.quantity = Some(entry.sent.order.terms().quantity.get());
                row.limit_price = Some(limit_of(&entry.sent.order));
            }
        }
    }

    /// Writes fills that were taken back into the rows again.
    pub(super) fn as_if_never_busted(&self, rows: &mut [BrokerOrder]) {
        for row in rows {
            let known = self.orders.values().find(|entry| entry.id == row.order_id);
            row.filled = known.map(|entry| entry.filled + entry.busted);
        }
    }

    /// Whether an order filled after it had ended.
    pub(super) fn is_late(&self, id: &BrokerOrderId) -> bool {
        self.orders.values().any(|entry| entry.id == *id && entry.late)
    }

    /// What the list of an account shows.
    pub(super) fn shown(&self, account: &AccountId) -> Vec<Shown> {
        let listed = self.orders.values().filter(|entry| {
            entry.sent.order.account() == account
                && !entry.hidden
                && !matches!(entry.fate, Fate::Asks { .. } | Fate::Refused)
        });
        listed.map(Entry::shown).collect()
    }

    /// One order, as it is shown to who asks for it by its id.
    pub(super) fn one(&self, id: &BrokerOrderId) -> Option<BrokerOrder> {
        shown_order(self.orders.values().find(|entry| entry.id == *id)?)
    }

    /// The orders and trades of an account. Orders that ask or were refused don't show.
    pub(super) fn show(
        &self,
        account: &AccountId,
        now: Timestamp,
    ) -> (Vec<BrokerOrder>, Vec<Execution>) {
        let of_account = |entry: &&Entry| entry.sent.order.account() == account;
        let entries: Vec<&Entry> = self.orders.values().filter(of_account).collect();
        let listed = entries.iter().filter(|entry| !entry.hidden);
        let orders = listed.filter_map(|e| shown_order(e)).collect();
        let trades = entries.iter().flat_map(|e| shown_trades(e, now)).collect();
        (orders, trades)
    }
}

/// The simulation places limit orders only.
fn limit_of(order: &CanonicalOrder) -> Decimal {
    order.terms().pricing.limit().map(SignedPrice::get).expect("a limit order")
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
    Some(BrokerOrder {
        reference: Some(entry.sent.reference.clone()),
        symbol: Untrusted::new(order.symbol()),
        side: Some(order.terms().side),
        quantity: Some(entry.quantity),
        filled: Some(entry.filled),
        limit_price: Some(entry.limit),
        order_type: BrokerOrderType::Limit,
        kind: Untrusted::new("LMT"),
        status,
        ..BrokerOrder::of(entry.id.clone(), order.account().clone(), order.conid())
    })
}

fn shown_trades(entry: &Entry, now: Timestamp) -> Vec<Execution> {
    let order = &entry.sent.order;
    let trade = |(id, quantity, price): &(String, Decimal, Decimal)| Execution {
        id: Untrusted::new(id),
        order_id: Some(entry.id.clone()),
        reference: Some(entry.sent.reference.clone()),
        account: order.account().clone(),
        conid: order.conid(),
        symbol: Untrusted::new(order.symbol()),
        side: Some(order.terms().side),
        quantity: *quantity,
        price: *price,
        commission: None,
        exchange: Untrusted::new("SMART"),
        time: now,
    };
    entry.trades.iter().map(trade).collect()
}
