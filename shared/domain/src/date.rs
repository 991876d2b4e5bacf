//! Calendar dates without a time zone: expiries, ex-dates, trading days.

use core::fmt;

/// Why a text is not a date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a date must be YYYY-MM-DD or YYYYMMDD")]
pub struct InvalidDate;

/// A day of the Gregorian calendar; shown as `YYYY-MM-DD`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(jiff::civil::Date);

impl Date {
    /// Parses `YYYYMMDD` or `YYYY-MM-DD`.
    ///
    /// # Errors
    /// [`InvalidDate`] for anything else, or a day that doesn't exist.
    pub fn parse(text: &str) -> Result<Self, InvalidDate> {
        let bytes = text.as_bytes();
        let is_dashed = bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-');
        let digits: String = match text.len() {
            8 => text.to_owned(),
            10 if is_dashed => text.chars().filter(|c| *c != '-').collect(),
            _ => return Err(InvalidDate),
        };
        if digits.len() != 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidDate);
        }
        let number: i32 = digits.parse().map_err(|_| InvalidDate)?;
        let part = |value: i32| i8::try_from(value).map_err(|_| InvalidDate);
        let year = i16::try_from(number / 10_000).map_err(|_| InvalidDate)?;
        let date = jiff::civil::Date::new(year, part(number / 100 % 100)?, part(number % 100)?);
        date.map(Self).map_err(|_| InvalidDate)
    }

    /// `YYYYMMDD`, as IBKR writes it.
    #[must_use]
    pub fn compact(self) -> String {
        self.0.strftime("%Y%m%d").to_string()
    }

    /// IBKR's month code, such as `JAN27`.
    #[must_use]
    pub fn month_code(self) -> String {
        self.0.strftime("%b%y").to_string().to_ascii_uppercase()
    }

    /// Days from another date to this one; negative when it is later.
    #[must_use]
    pub fn days_since(self, other: Self) -> i64 {
        let day = |date: jiff::civil::Date| {
            date.to_datetime(jiff::civil::Time::midnight())
                .to_zoned(jiff::tz::TimeZone::UTC)
                .map_or(0, |zoned| zoned.timestamp().as_second().div_euclid(86_400))
        };
        day(self.0) - day(other.0)
    }

    /// The UTC day of a time.
    #[must_use]
    pub fn of(time: crate::Timestamp) -> Option<Self> {
        let instant = jiff::Timestamp::from_millisecond(time.as_millis()).ok()?;
        Some(Self(instant.to_zoned(jiff::tz::TimeZone::UTC).date()))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_parse_and_nonsense_does_not() {
        let date = Date::parse("20270115").unwrap();
        assert_eq!(Date::parse("2027-01-15"), Ok(date));
        assert_eq!(date.to_string(), "2027-01-15");
        assert_eq!(date.compact(), "20270115");
        assert_eq!(date.month_code(), "JAN27");
        assert_eq!(Date::parse("20270131").unwrap().days_since(date), 16);
        for text in ["", "2027-1-15", "20270230", "+2027011", "2027/01/15", "２０２７０１１５"]
        {
            assert!(Date::parse(text).is_err(), "{text}");
        }
    }
}
