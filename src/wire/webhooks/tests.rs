//! Requests are read strictly, rows have one spelling, messages have the form of the specification.

use super::message::{MESSAGE_BYTES_MAX, MonthNews, shared, text};
use super::rows::{DeliveryRow, EndpointRow, EventRow, LastRow, Url};
use super::*;
use crate::model::explained::Suspects;
use crate::model::ids::SiteId;
use crate::model::pseudonym::Pseudonyms;
use crate::model::rules::RuleSet;
use crate::model::site::MonthSpan;
use crate::model::time::{Month, Timestamp};
use crate::model::usage::Counters;

fn request(text: &str) -> Result<HookRequest, String> {
    let read = HookRequest::parse(&mut text.as_bytes().to_vec());
    read.map_err(|flaw| format!("{} {}", flaw.reason, flaw.pointer))
}

fn site() -> SiteId {
    SiteId::parse(&[b'S'; 64]).unwrap()
}

#[test]
fn a_request_says_where_and_what() {
    let text = r#"{"url":"https://a.example/x","events":["quality.alarm","month.closed",
                   "month.closed"],"sites":["A","B"]}"#;
    let read = request(text).unwrap_or_else(|flaw| panic!("{flaw}"));
    assert_eq!(read.topics, [Topic::MonthClosed, Topic::QualityAlarm]);
    assert!(matches!(&read.sites, Some(SiteScope::Some(sites)) if sites.len() == 2));
    let all = request(r#"{"url":"u","events":["month.closed"],"sites":["*"]}"#);
    assert!(all.is_ok_and(|read| read.sites == Some(SiteScope::All)));
    assert!(request(r#"{"url":"u","events":["month.closed"]}"#).is_ok_and(|r| r.sites.is_none()));
}

#[test]
fn flaws_of_a_request() {
    let long = format!(r#"{{"url":"{}","events":[]}}"#, "x".repeat(URL_BYTES_MAX + 1));
    for (text, flaw) in [
        ("[]", "bad_json "),
        ("{}", "missing_field /events"),
        (r#"{"events":["month.closed"]}"#, "missing_field /url"),
        (r#"{"url":"u"}"#, "missing_field /events"),
        (r#"{"url":"u","events":[]}"#, "bad_value /events"),
        (r#"{"url":"u","events":["webhook.test"]}"#, "bad_value /events/0"),
        (r#"{"url":"u","events":["month.closed","x"]}"#, "bad_value /events/1"),
        (r#"{"url":"u","events":"month.closed"}"#, "wrong_type /events"),
        (r#"{"url":7,"events":[]}"#, "wrong_type /url"),
        (r#"{"url":"u","events":["month.closed"],"sites":[]}"#, "bad_value /sites"),
        (r#"{"url":"u","url":"u"}"#, "duplicate_field /url"),
        (r#"{"url":"u","secret":"x"}"#, "unknown_field "),
        (&long, "too_long /url"),
    ] {
        assert_eq!(request(text).err().as_deref(), Some(flaw), "{text}");
    }
}

#[test]
fn ids_have_one_spelling() {
    assert_eq!(hook_number(&hook_id(17)), Some(17));
    for bad in ["", "w", "17", "w017", "w+1", "W1", "w-1", "h1"] {
        assert_eq!(hook_number(bad), None, "{bad}");
    }
}

fn event() -> EventRow {
    let last = LastRow { at: Timestamp(5), status: None, error: Some(Trouble::Timeout) };
    let delivery = DeliveryRow {
        webhook: 3,
        standing: Standing::Waiting,
        attempts: 2,
        next_at: Timestamp(9_000),
        last: Some(last),
    };
    EventRow {
        id: "msg_1".to_owned(),
        topic: Topic::QualityAlarm,
        site: Some(site()),
        raised_at: Timestamp(1),
        keep_until: Timestamp(2),
        body: "{\"a\":\"\\\"\"}".to_owned(),
        deliveries: vec![delivery],
    }
}

#[test]
fn rows_come_back_and_have_one_spelling() {
    let endpoint = EndpointRow {
        number: 1,
        url: Url("https://a.example/?token=canary".to_owned()),
        topics: vec![Topic::MonthClosed],
        all_sites: false,
        sites: vec![site()],
        made_by: "k".to_owned(),
        made_at: Timestamp(0),
        disabled_at: Some(Timestamp(77)),
    };
    assert!(!format!("{endpoint:?}").contains("canary"));
    let bytes = endpoint.to_bytes().unwrap();
    assert_eq!(EndpointRow::parse(&bytes), Ok(endpoint));
    let bytes = event().to_bytes().unwrap();
    assert_eq!(EventRow::parse(&bytes), Ok(event()));
    let text = String::from_utf8(bytes).unwrap();
    for (from, to) in [
        ("{\"id\"", "{ \"id\""),
        ("\"waiting\"", "\"resting\""),
        ("\"attempts\":2", "\"attempts\":2,\"more\":1"),
        ("\"timeout\"", "\"canary\""),
        ("quality.alarm", "quality.fine"),
    ] {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text);
        assert!(EventRow::parse(other.as_bytes()).is_err(), "{other}");
    }
}

#[test]
fn the_longest_message_is_short() {
    let month = Month::parse(b"2026-11").unwrap();
    let span = MonthSpan {
        month,
        from: Timestamp(0),
        to: Timestamp(i64::MAX / 2),
        partitions: 1,
        pseudonyms: Pseudonyms::default(),
        rule_set: RuleSet::default(),
    };
    let figures = vec![u64::MAX; Counters::default().figures().count()];
    let news = MonthNews {
        site: site(),
        plan_mau: Some(u64::MAX),
        span,
        time_zone: "America/Argentina/ComodRivadavia".to_owned(),
        closed_at: Some(Timestamp(1)),
        counters: Counters::from_figures(&figures).unwrap(),
        suspects: None,
    };
    let suspects = Suspects { users: u64::MAX, ..Suspects::default() };
    for data in [news.closed(), news.reached(100), news.alarm(5), shared(&news, suspects)] {
        let message = text(Topic::MonthClosed, Timestamp(0), &data).unwrap();
        assert!(message.len() < 1_500, "{message}");
        assert!(message.starts_with("{\"type\":\"month.closed\",\"timestamp\":\"1970"));
    }
    let long = serde_json::json!("x".repeat(MESSAGE_BYTES_MAX));
    assert_eq!(text(Topic::Test, Timestamp(0), &long), None);
}
