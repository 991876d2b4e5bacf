//! Questions of the broker that a policy answers with yes: an exact text with typed slots.
//!
//! IBKR's texts hold the order's own numbers, so no fixed text ever comes twice. A template is a
//! literal with slots: what stands in a slot must be the order's own value, or a number within the
//! bounds that were signed. One letter more, another number, a second message or a second id is
//! another question, and a human's.

use crate::Question;
use core::fmt;
use ibkr_agent_domain::CanonicalOrder;
use rust_decimal::Decimal;
use std::collections::BTreeMap;

/// Longest template, in bytes.
const MOST_BYTES: usize = 2_048;
/// Longest text in a slot, in bytes.
const MOST_IN_A_SLOT: usize = 40;

/// What may stand in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The order's side, in any case.
    Side,
    /// The order's quantity.
    Quantity,
    /// The order's symbol.
    Symbol,
    /// The order's limit price.
    Price,
    /// A venue in the broker's word: capital letters, digits and points.
    Venue,
    /// A percentage within its bounds.
    Percent,
    /// An amount within its bounds.
    Amount,
}

impl Slot {
    const ALL: [Self; 7] = [
        Self::Side,
        Self::Quantity,
        Self::Symbol,
        Self::Price,
        Self::Venue,
        Self::Percent,
        Self::Amount,
    ];

    /// Its name between braces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Side => "side",
            Self::Quantity => "quantity",
            Self::Symbol => "symbol",
            Self::Price => "price",
            Self::Venue => "venue",
            Self::Percent => "percent",
            Self::Amount => "amount",
        }
    }

    /// Parses the name of a slot.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.as_str() == name)
    }

    const fn is_bounded(self) -> bool {
        matches!(self, Self::Percent | Self::Amount)
    }
}

/// The least and the largest number of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bounds {
    /// Least.
    pub min: Option<Decimal>,
    /// Largest.
    pub max: Option<Decimal>,
}

impl Bounds {
    fn hold(self, number: Decimal) -> bool {
        self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max)
    }
}

/// Why a template can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It is empty or too long.
    #[error("a question's text has 1 to 2,048 characters")]
    Length,
    /// No slot has this name.
    #[error("{{{0}}} is no slot: side, quantity, symbol, price, venue, percent, amount are")]
    Slot(String),
    /// A brace doesn't close.
    #[error("a brace of a slot doesn't close")]
    Brace,
    /// Two slots touch, so nothing tells where one ends.
    #[error("two slots need text between them")]
    Touching,
    /// A number could be anything.
    #[error("{{{0}}} needs a bound, min or max")]
    Unbounded(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Text(String),
    Slot(Slot),
}

/// A broker question that may be answered with yes without a human.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KnownQuestion {
    message_id: String,
    parts: Vec<Part>,
    bounds: BTreeMap<Slot, Bounds>,
}

impl KnownQuestion {
    /// Checks a template: IBKR's message id, such as `o163`, its text, and the bounds of its
    /// numbers.
    ///
    /// # Errors
    /// [`InvalidTemplate`].
    pub fn new(
        message_id: &str,
        text: &str,
        bounds: BTreeMap<Slot, Bounds>,
    ) -> Result<Self, InvalidTemplate> {
        if text.is_empty() || text.len() > MOST_BYTES || message_id.is_empty() {
            return Err(InvalidTemplate::Length);
        }
        let parts = parse(text)?;
        for part in &parts {
            let Part::Slot(slot) = part else { continue };
            let bound = bounds.get(slot).copied().unwrap_or_default();
            if slot.is_bounded() && bound == Bounds::default() {
                return Err(InvalidTemplate::Unbounded(slot.as_str()));
            }
        }
        Ok(Self { message_id: message_id.to_owned(), parts, bounds })
    }

    /// Whether a question about an order is this one.
    #[must_use]
    pub fn is(&self, question: &Question, order: &CanonicalOrder) -> bool {
        let [id] = question.message_ids.as_slice() else { return false };
        let [text] = question.messages.as_slice() else { return false };
        *id == self.message_id && self.fits(text, order)
    }

    fn fits(&self, text: &str, order: &CanonicalOrder) -> bool {
        let mut rest = text;
        let mut parts = self.parts.iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Text(literal) => match rest.strip_prefix(literal.as_str()) {
                    Some(after) => rest = after,
                    None => return false,
                },
                Part::Slot(slot) => {
                    let end = match parts.peek() {
                        Some(Part::Text(literal)) => rest.find(literal.as_str()),
                        Some(Part::Slot(_)) | None => Some(rest.len()),
                    };
                    let Some((value, after)) = end.and_then(|end| rest.split_at_checked(end))
                    else {
                        return false;
                    };
                    if !self.takes(*slot, value, order) {
                        return false;
                    }
                    rest = after;
                }
            }
        }
        rest.is_empty()
    }

    fn takes(&self, slot: Slot, value: &str, order: &CanonicalOrder) -> bool {
        if value.is_empty() || value.len() > MOST_IN_A_SLOT || !value.is_ascii() {
            return false;
        }
        let terms = order.terms();
        let bounds = self.bounds.get(&slot).copied().unwrap_or_default();
        match slot {
            Slot::Side => value.eq_ignore_ascii_case(terms.side.as_str()),
            Slot::Symbol => value == order.symbol(),
            Slot::Venue => value
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'.'),
            Slot::Quantity => number(value) == Some(terms.quantity.get()),
            Slot::Price => {
                let limit = terms.pricing.limit().map(|price| price.get());
                limit.is_some() && number(value) == limit
            }
            Slot::Percent | Slot::Amount => number(value).is_some_and(|value| bounds.hold(value)),
        }
    }
}

impl fmt::Display for KnownQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"", self.message_id)?;
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Slot(slot) => write!(f, "{{{}}}", slot.as_str())?,
            }
        }
        f.write_str("\"")?;
        for (slot, bounds) in &self.bounds {
            if let Some(min) = bounds.min {
                write!(f, ", {} at least {}", slot.as_str(), min.normalize())?;
            }
            if let Some(max) = bounds.max {
                write!(f, ", {} at most {}", slot.as_str(), max.normalize())?;
            }
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<Vec<Part>, InvalidTemplate> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        } else if matches!(parts.last(), Some(Part::Slot(_))) {
            return Err(InvalidTemplate::Touching);
        }
        let (name, after) = after.split_once('}').ok_or(InvalidTemplate::Brace)?;
        let slot = Slot::parse(name).ok_or_else(|| InvalidTemplate::Slot(name.to_owned()))?;
        parts.push(Part::Slot(slot));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// A plain number, with commas between thousands only.
fn number(text: &str) -> Option<Decimal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut groups = whole.split(',');
    let first = groups.next()?;
    let grouped = whole.contains(',');
    let first_fits = digits(first) && (!grouped || first.len() <= 3);
    let rest_fits = groups.all(|group| group.len() == 3 && digits(group));
    if !(first_fits && rest_fits && digits(fraction)) {
        return None;
    }
    Decimal::from_str_exact(&format!("{}.{fraction}", whole.replace(',', ""))).ok()
}
