//! Times as text, against `jiff`: what both read is one instant, and what we write we read again.
#![no_main]

use blindtally::model::time::{Day, Month, Timestamp};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(time) = Timestamp::parse(data) {
        let text = std::str::from_utf8(data).expect("a time is ASCII");
        assert!(Timestamp::from_ms(time.0).is_some(), "out of range");
        written(time);
        against(text, time);
    } else if let Ok(text) = std::str::from_utf8(data) {
        refused(text);
    }
    if let Some(month) = Month::parse(data) {
        assert_eq!(month.to_string().as_bytes(), data);
        assert_eq!(month.next().previous(), month);
    }
    // Stored numbers may be anything: showing them must not panic.
    if let Some((number, _)) = data.split_first_chunk::<8>() {
        let time = Timestamp(i64::from_le_bytes(*number));
        let _ = (time.to_string(), time.day().to_string());
        let day = Day(u32::from_le_bytes([number[0], number[1], number[2], number[3]]));
        let _ = (day.to_string(), day.start(), day.month());
        if let Some(time) = Timestamp::from_ms(time.0) {
            written(time);
        }
    }
});

fn written(time: Timestamp) {
    let text = time.to_string();
    assert_eq!(Timestamp::parse(text.as_bytes()), Some(time), "{text}");
    if time.0 > jiff::Timestamp::MAX.as_millisecond() {
        return;
    }
    let theirs: jiff::Timestamp = text.parse().expect("what we write is RFC 3339");
    assert_eq!(theirs.as_millisecond(), time.0, "{text}");
    let date = theirs.to_zoned(TimeZone::UTC).date();
    assert_eq!(time.day().to_string(), date.to_string());
    let month = Month::new(date.year().into(), date.month().into());
    assert_eq!(Some(time.day().month()), month);
}

/// What we read as a time is that time to `jiff`.
fn against(text: &str, time: Timestamp) {
    // `jiff` ends a day before the year 9999 does, so that every zone can show what it holds.
    if time.0 > jiff::Timestamp::MAX.as_millisecond() {
        return;
    }
    if text.as_bytes().get(4) == Some(&b'-') {
        let theirs: jiff::Timestamp = text.parse().expect("what we read is RFC 3339");
        assert_eq!(theirs.as_millisecond(), time.0, "{text}");
    } else if text.len() == 14 {
        let theirs = DateTime::strptime("%Y%m%d%H%M%S", text).expect("fourteen digits are a date");
        let theirs = theirs.to_zoned(TimeZone::UTC).expect("UTC has every civil time");
        assert_eq!(theirs.timestamp().as_millisecond(), time.0, "{text}");
    } else {
        let number: i64 = text.parse().expect("only digits are left");
        assert!(time.0 == number || time.0 == number * 1_000);
    }
}

/// What we refuse is not a time of our range in the plain spelling of RFC 3339.
fn refused(text: &str) {
    let Ok(theirs) = text.parse::<jiff::Timestamp>() else { return };
    let in_range = Timestamp::from_ms(theirs.as_millisecond()).is_some() && theirs.as_second() >= 0;
    let seconds = theirs.as_second().rem_euclid(60);
    let plain = format!("{}", theirs);
    assert!(!(in_range && seconds < 60 && plain == text), "{text} was refused");
}
