//! Instants, days, months. All times are milliseconds since 1970-01-01T00:00:00Z, without leap
//! seconds. Nothing here reads a clock except [`SystemClock`], which only `app` makes.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Milliseconds in a day.
pub const DAY_MS: i64 = 86_400_000;

/// An instant, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(pub i64);

/// The earliest instant that a record may carry (1970) and the latest (end of 9999).
const MS_RANGE: std::ops::Range<i64> = 0..253_402_300_800_000;

impl Timestamp {
    /// The end of the supported range.
    pub const END: Self = Self(MS_RANGE.end);

    /// An instant in the supported range; `None` outside of 1970..9999.
    pub fn from_ms(ms: i64) -> Option<Self> {
        MS_RANGE.contains(&ms).then_some(Self(ms))
    }

    /// The UTC day that the instant lies in.
    pub fn day(self) -> Day {
        Day(u32::try_from(self.0.div_euclid(DAY_MS)).unwrap_or(0))
    }

    /// Reads the accepted spellings of a time given as text: RFC 3339 with any offset (a space or
    /// `t` for `T`, up to nine digits of fraction), `yyyyMMddHHmmss` (GMT), and seconds or
    /// milliseconds since the epoch in digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= 20 && text.get(4) == Some(&b'-') {
            return parse_rfc3339(text);
        }
        if !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        match text.len() {
            14 => {
                let date = (num(text, 0, 4)?, num(text, 4, 2)?, num(text, 6, 2)?);
                let clock = (num(text, 8, 2)?, num(text, 10, 2)?, num(text, 12, 2)?);
                Self::from_ms(civil_ms(date, clock)?)
            }
            9..=13 => Self::from_epoch(num(text, 0, text.len())?),
            _ => None,
        }
    }

    /// Reads a number that is seconds (up to 11 digits) or milliseconds since the epoch.
    pub fn from_epoch(number: i64) -> Option<Self> {
        match number {
            100_000_000..100_000_000_000 => Self::from_ms(number * 1_000),
            100_000_000_000.. => Self::from_ms(number),
            _ => None,
        }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC; milliseconds only where there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY_MS));
        let ms = self.0.rem_euclid(DAY_MS);
        let (h, m, s, frac) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}")?;
        if frac != 0 {
            write!(f, ".{frac:03}")?;
        }
        f.write_str("Z")
    }
}

/// A UTC day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(pub u32);

impl Day {
    /// Parses `YYYY-MM-DD`, in no other spelling.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Some(Timestamp::parse(&[text, b"T00:00:00Z"].concat())?.day())
    }

    /// The first instant of the day.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * DAY_MS)
    }

    /// The calendar month of UTC that the day lies in.
    pub fn month(self) -> Month {
        let (year, month, _) = civil_from_days(i64::from(self.0));
        Month::new(year, month).unwrap_or(Month(0))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(i64::from(self.0));
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// A calendar month of some zone, counted from year 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Month(pub u32);

impl Month {
    /// The month of a year (1970..=9999) and month number (1..=12).
    pub fn new(year: i64, month: i64) -> Option<Self> {
        let fits = (1970..=9999).contains(&year) && (1..=12).contains(&month);
        fits.then(|| Self(u32::try_from(year * 12 + month - 1).unwrap_or(0)))
    }

    /// Parses `YYYY-MM`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != 7 || text[4] != b'-' {
            return None;
        }
        Self::new(num(text, 0, 4)?, num(text, 5, 2)?)
    }

    /// The year.
    pub fn year(self) -> i16 {
        i16::try_from(self.0 / 12).unwrap_or(i16::MAX)
    }

    /// The month number, 1..=12.
    pub fn number(self) -> i8 {
        i8::try_from(self.0 % 12 + 1).unwrap_or(1)
    }

    /// The first instant of the month in UTC.
    pub fn start(self) -> Timestamp {
        let days = days_from_civil(i64::from(self.year()), i64::from(self.number()), 1);
        Timestamp(days * DAY_MS)
    }

    /// The month after.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The month before.
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year(), self.number())
    }
}

/// The source of the present time, so that tests move it.
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// How long it has run, by a clock that nobody can set, so that a jump of the other one shows.
    /// A clock that has no such thing says that no time has passed.
    fn running(&self) -> Duration {
        Duration::ZERO
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn running(&self) -> Duration {
        static FIRST_ASKED: OnceLock<Instant> = OnceLock::new();
        FIRST_ASKED.get_or_init(Instant::now).elapsed()
    }
}

fn num(text: &[u8], at: usize, digits: usize) -> Option<i64> {
    text.get(at..at + digits)?
        .iter()
        .try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

/// RFC 3339 §5.6, `YYYY-MM-DDTHH:MM:SS[.fraction](Z|±HH:MM)`; a leap second is read as the second
/// before it.
fn parse_rfc3339(text: &[u8]) -> Option<Timestamp> {
    let marks = text[7] == b'-' && text[13] == b':' && text[16] == b':';
    if !marks || !matches!(text[10], b'T' | b't' | b' ') {
        return None;
    }
    let date = (num(text, 0, 4)?, num(text, 5, 2)?, num(text, 8, 2)?);
    let clock = (num(text, 11, 2)?, num(text, 14, 2)?, num(text, 17, 2)?);
    let mut ms = civil_ms(date, clock)?;
    let mut at = 19;
    if text[at] == b'.' {
        let digits = text[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        ms += num(text, at + 1, digits.min(3))? * [0, 100, 10, 1][digits.min(3)];
        at += 1 + digits;
    }
    let offset = match text.get(at..)? {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), rest @ ..] if rest.len() == 5 && rest[2] == b':' => {
            let (h, m) = (num(rest, 0, 2)?, num(rest, 3, 2)?);
            if h > 23 || m > 59 {
                return None;
            }
            (h * 60 + m) * if *sign == b'-' { -60_000 } else { 60_000 }
        }
        _ => return None,
    };
    Timestamp::from_ms(ms - offset)
}

fn civil_ms(date: (i64, i64, i64), clock: (i64, i64, i64)) -> Option<i64> {
    let ((year, month, day), (h, m, s)) = (date, clock);
    let known = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    if !known || h > 23 || m > 59 || s > 60 {
        return None;
    }
    let second = (h * 60 + m) * 60 + s.min(59);
    Some(days_from_civil(year, month, day) * DAY_MS + second * 1_000)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date: years are taken to begin in March, so that
/// the leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let civil_month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(civil_month <= 2), civil_month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Option<i64> {
        Timestamp::parse(text.as_bytes()).map(|time| time.0)
    }

    #[test]
    fn every_accepted_spelling_names_one_instant() {
        let at = Some(1_795_320_960_000);
        assert_eq!(parse("2026-11-22T04:16:00Z"), at);
        assert_eq!(parse("2026-11-22t04:16:00.000z"), at);
        assert_eq!(parse("2026-11-22T13:16:00+09:00"), at);
        assert_eq!(parse("2026-11-21T22:46:00.0-05:30"), at);
        assert_eq!(parse("20261122041600"), at);
        assert_eq!(parse("1795320960"), at);
        assert_eq!(parse("1795320960000"), at);
    }

    #[test]
    fn a_day_has_one_spelling() {
        assert_eq!(Day::parse(b"1970-01-02"), Some(Day(1)));
        assert_eq!(Day::parse(b"2026-11-22").map(Day::month), Month::parse(b"2026-11"));
        for text in
            ["", "2026-11", "2026-02-29", "2026-2-01", "20261122", "2026-11-22T", "1969-12-31"]
        {
            assert_eq!(Day::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_time() {
        for text in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T04:16:00",
            "2026-11-22T04:16:00.Z",
            "2026-11-22T04:16:00+9:00",
            "0",
            "2026-11-22",
            "99999999999999",
            "-1795320960",
            "2026-11-22T04:16:00Zx",
            "2026-11-22T04:16:75Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_day_that_is_read_is_spelled_so(
            text in "[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[01][0-9]-[0-3][0-9]|[-0-9:.+tTzZ ]{0,24}",
        ) {
            if let Some(day) = Day::parse(text.as_bytes()) {
                prop_assert_eq!(day.to_string(), text);
            }
        }

        #[test]
        fn printing_and_reading_agree_with_jiff(ms in 0i64..253_402_300_800_000) {
            let text = Timestamp(ms).to_string();
            prop_assert_eq!(parse(&text).or(parse(&text.clone())), Some(ms));
            let theirs: jiff::Timestamp = text.parse().unwrap();
            prop_assert_eq!(theirs.as_millisecond(), ms);
        }

        #[test]
        fn reading_agrees_with_jiff(ms in 0i64..253_402_300_000_000, offset in -1400i32..1400) {
            let offset_of = jiff::tz::Offset::from_seconds(offset * 60).unwrap();
            let zone = jiff::tz::TimeZone::fixed(offset_of);
            let zoned = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(zone);
            let text = zoned.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string();
            prop_assert_eq!(parse(&text), Some(ms), "{}", text);
        }
    }
}
