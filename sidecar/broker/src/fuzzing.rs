//! The parsers of everything that a broker says, opened to the fuzz targets. No product turns this
//! on. Each function either returns or the target has found a defect.

use crate::session::check;
use crate::wire::cancels::cancellation;
use crate::wire::parsers::{ALL, answer};
use crate::wire::replies::placement;
use crate::wire::stream::{Frame, LadderRow, parse_frame};
use crate::wire::{amount, html};
use ibkr_agent_domain::{AccountId, BrokerOrderId, ClientOrderId, Timestamp};

/// The names of the answers that [`read`] knows, by number.
#[must_use]
pub fn answers() -> Vec<&'static str> {
    ALL.iter().map(|row| row.0).collect()
}

/// Reads a body as the numbered answer, after the session's check of it.
pub fn read(which: u8, status: u16, body: &[u8]) {
    drop(check(&answer(status, body)));
    let number = usize::from(which).checked_rem(ALL.len()).unwrap_or_default();
    if let Some((_, parser)) = ALL.get(number) {
        drop(parser(body));
    }
}

/// Reads a body as the answer to a placement or a reply, and to a cancel.
pub fn effect(status: u16, body: &[u8]) {
    let answer = answer(status, body);
    if let Ok(reference) = ClientOrderId::parse("ia0123") {
        drop(placement(&answer, &reference));
    }
    if let Ok(order) = BrokerOrderId::parse("77") {
        drop(cancellation(&answer, &order));
    }
}

/// Reads a frame of the stream with everything in it.
pub fn frame(bytes: &[u8]) {
    let (Some(frame), Ok(account)) = (parse_frame(bytes), AccountId::parse("DU1234567")) else {
        return;
    };
    match frame {
        Frame::Quote(conid, fields) => {
            let row = fields.row();
            drop(row.map(|row| row.into_quote(conid, Timestamp::from_millis(0))));
        }
        Frame::Ladder(_, _, rows) => {
            drop(rows.iter().map(LadderRow::level).collect::<Vec<_>>());
            drop(rows.iter().map(LadderRow::place).collect::<Vec<_>>());
        }
        Frame::Orders(rows) => {
            drop(rows.into_iter().map(|row| row.into_order(&account)).collect::<Vec<_>>());
        }
        Frame::Trades(rows) => {
            drop(rows.into_iter().map(|row| row.into_execution(&account)).collect::<Vec<_>>());
        }
        Frame::ProfitAndLoss(_)
        | Frame::Notices(_)
        | Frame::Failure { .. }
        | Frame::Status { .. }
        | Frame::Waiting
        | Frame::Beat
        | Frame::Greeting
        | Frame::Life => {}
    }
}

/// Reads a number in the broker's dress.
#[must_use]
pub fn number(text: &str) -> Option<String> {
    amount(text).map(|number| number.to_string())
}

/// Shows HTML as text.
#[must_use]
pub fn text(html: &str) -> String {
    html::plain(html)
}
