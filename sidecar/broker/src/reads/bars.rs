//! Price histories, and the spans of time that they are asked for in.
//!
//! IBKR doesn't refuse a span that it doesn't know: it serves a default instead. So spans are
//! checked here, in its own notation (`1d`, `5min`) and in the one of its other interface (`1 D`,
//! `5 mins`).

use crate::BrokerError;
use crate::client::ClientPortal;
use crate::pacing::Lane;
use crate::transport::{Answer, Request};
use crate::wire::history::History;
use crate::wire::parse;
use core::fmt;
use core::time::Duration;
use ibkr_agent_domain::{Bars, BarsRequest, Conid, Timestamp, Untrusted};

/// The pause before a cold history is asked for again.
const COLD_PAUSE: Duration = Duration::from_millis(250);

/// A unit of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Unit {
    const fn broker_name(self) -> &'static str {
        match self {
            Self::Minute => "min",
            Self::Hour => "h",
            Self::Day => "d",
            Self::Week => "w",
            Self::Month => "m",
            Self::Year => "y",
        }
    }

    const fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
            Self::Month => 30 * 86_400,
            Self::Year => 365 * 86_400,
        }
    }

    /// The longest period in this unit.
    const fn most(self) -> u64 {
        match self {
            Self::Minute => 30,
            Self::Hour => 8,
            Self::Day => 1_000,
            Self::Week => 792,
            Self::Month => 182,
            Self::Year => 15,
        }
    }

    /// Widths of a bar in this unit.
    const fn widths(self) -> &'static [u64] {
        match self {
            Self::Minute => &[1, 2, 3, 5, 10, 15, 30],
            Self::Hour => &[1, 2, 3, 4, 8],
            Self::Day | Self::Week | Self::Month => &[1],
            Self::Year => &[],
        }
    }
}

/// A number of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    count: u64,
    unit: Unit,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, self.unit.broker_name())
    }
}

impl Span {
    /// `1d`, `5min`, `1 D`, `5 mins`, `3600 S`. A single `m` or `M` is a month, as in both
    /// notations. Minutes that make whole hours become hours, since the broker takes 30 at most.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = text.split_at_checked(digits)?;
        let count: u64 = count.parse().ok().filter(|count| *count > 0)?;
        let unit = match unit.trim().to_ascii_lowercase().as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" => {
                return count.is_multiple_of(60).then(|| Self::of_minutes(count / 60));
            }
            "min" | "mins" | "minute" | "minutes" => return Some(Self::of_minutes(count)),
            "h" | "hour" | "hours" => Unit::Hour,
            "d" | "day" | "days" => Unit::Day,
            "w" | "week" | "weeks" => Unit::Week,
            "m" | "month" | "months" => Unit::Month,
            "y" | "year" | "years" => Unit::Year,
            _ => return None,
        };
        Some(Self { count, unit })
    }

    const fn of_minutes(count: u64) -> Self {
        if count > 30 && count.is_multiple_of(60) {
            Self { count: count / 60, unit: Unit::Hour }
        } else {
            Self { count, unit: Unit::Minute }
        }
    }

    const fn seconds(self) -> u64 {
        self.count.saturating_mul(self.unit.seconds())
    }
}

fn period(text: &str) -> Result<Span, BrokerError> {
    let what = "a period is 1-30min, 1-8h, 1-1000d, 1-792w, 1-182m (months) or 1-15y";
    Span::parse(text)
        .filter(|span| span.count <= span.unit.most())
        .ok_or(BrokerError::InvalidRequest { what })
}

fn width(text: &str) -> Result<Span, BrokerError> {
    let what = "a bar is 1, 2, 3, 5, 10, 15 or 30min, 1, 2, 3, 4 or 8h, 1d, 1w or 1m (a month)";
    Span::parse(text)
        .filter(|span| span.unit.widths().contains(&span.count))
        .ok_or(BrokerError::InvalidRequest { what })
}

/// The request's spans, checked alone and against each other.
fn spans(request: &BarsRequest) -> Result<(Span, Span), BrokerError> {
    let (period, width) = (period(&request.period)?, width(&request.bar)?);
    if width.seconds() > period.seconds() {
        return Err(BrokerError::InvalidRequest { what: "a bar is wider than the period" });
    }
    Ok((period, width))
}

/// The end of the window as the broker writes it, in UTC.
fn window_end(end: Timestamp) -> Result<String, BrokerError> {
    let instant = jiff::Timestamp::from_millisecond(end.as_millis());
    let instant = instant.map_err(|_| BrokerError::InvalidRequest { what: "end of the window" })?;
    Ok(instant.strftime("%Y%m%d-%H:%M:%S").to_string())
}

impl ClientPortal {
    pub(crate) async fn read_bars(
        &self,
        conid: Conid,
        request: &BarsRequest,
    ) -> Result<Bars, BrokerError> {
        let (period, width) = spans(request)?;
        let mut ask = Request::get("/iserver/marketdata/history")
            .param("conid", conid.to_string())
            .param("period", period.to_string())
            .param("bar", width.to_string())
            .param("outsideRth", request.outside_rth.to_string())
            .param("source", request.source.broker_name())
            .lane(Lane::History);
        if let Some(end) = request.end {
            ask = ask.param("startTime", window_end(end)?);
        }
        let answer = self.fetch_history(&ask).await.map_err(without_data)?;
        let raw: History = parse(&answer.body, "price history")?;
        raw.into_bars(conid, request.source, answer.sent_at)
    }

    /// A cold call may fail once with 404 or 500: it is asked again, once.
    async fn fetch_history(&self, ask: &Request) -> Result<Answer, BrokerError> {
        match self.fetch(ask).await {
            Err(
                BrokerError::Upstream { status: 404 | 500, .. }
                | BrokerError::AccessDenied { status: 404 },
            ) => {
                tokio::time::sleep(COLD_PAUSE).await;
                self.fetch(ask).await
            }
            other => other,
        }
    }
}

/// Tells "there is none" from a failure.
fn without_data(error: BrokerError) -> BrokerError {
    let says_none = |text: &Untrusted| {
        let text = text.as_str().to_ascii_lowercase();
        text.contains("no data") || text.contains("chart data unavailable")
    };
    if error.text().is_some_and(says_none) { BrokerError::NoHistory } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibkr_agent_domain::BarSource;

    fn request(period: &str, bar: &str) -> BarsRequest {
        BarsRequest {
            period: period.to_owned(),
            bar: bar.to_owned(),
            outside_rth: false,
            end: None,
            source: BarSource::Trades,
        }
    }

    #[test]
    fn both_notations_become_the_brokers() {
        for (given, expected) in [
            (("1 D", "5 mins"), ("1d", "5min")),
            (("1d", "5min"), ("1d", "5min")),
            (("6 M", "1 day"), ("6m", "1d")),
            (("6m", "1D"), ("6m", "1d")),
            (("2 W", "1 hour"), ("2w", "1h")),
            (("1 Y", "1 week"), ("1y", "1w")),
            (("3600 S", "1 min"), ("1h", "1min")),
            (("1800 S", "60 secs"), ("30min", "1min")),
            (("60min", "15 mins"), ("1h", "15min")),
            (("8h", "8 hours"), ("8h", "8h")),
            (("1 m", "1 month"), ("1m", "1m")),
            (("30min", "30 min"), ("30min", "30min")),
        ] {
            let (period, width) = spans(&request(given.0, given.1)).unwrap();
            let shown = (period.to_string(), width.to_string());
            assert_eq!((shown.0.as_str(), shown.1.as_str()), expected, "{given:?}");
        }
    }

    #[test]
    fn what_the_broker_would_silently_replace_is_refused() {
        for (period, bar) in [
            ("", "1d"),
            ("d", "1d"),
            ("0d", "1d"),
            ("-1d", "1d"),
            ("1.5d", "1h"),
            ("1 fortnight", "1d"),
            ("1001d", "1d"),
            ("793w", "1w"),
            ("183m", "1m"),
            ("16y", "1m"),
            ("9h", "1min"),
            ("31min", "1min"),
            ("90min", "1min"),
            ("45 S", "1min"),
            ("1d", "4min"),
            ("1d", "5h"),
            ("1d", "30 secs"),
            ("1y", "1y"),
            ("1y", "2d"),
            ("1d", "1w"),
            ("99999999999999999999d", "1d"),
            ("1d\u{0}", "1d"),
        ] {
            let refused = spans(&request(period, bar)).unwrap_err();
            assert_eq!(refused.code().as_str(), "INPUT_INVALID", "{period} {bar}");
        }
    }

    #[test]
    fn the_window_ends_in_utc() {
        let end = Timestamp::parse("2026-11-20T21:00:00+01:00").unwrap();
        assert_eq!(window_end(end).unwrap(), "20261120-20:00:00");
        assert!(window_end(Timestamp::from_millis(i64::MAX)).is_err());
    }
}
