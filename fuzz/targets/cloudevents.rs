//! CloudEvents: structured, in batches, and in binary mode. Beside the invariants of all records,
//! an event says the same in binary and in structured mode.
#![no_main]

use blindtally::model::limits::JSON_DEPTH_MAX;
use blindtally::model::reason::Reason;
use blindtally::wire::{Limits, Media, Unfit};
use blindtally_fuzz::json::{self, Json};
use blindtally_fuzz::records::{Decoded, Way, decode};
use blindtally_fuzz::{choose, cut, spellings::Tags};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

const SMALL: Limits = Limits { records: 3, record_bytes: 512 };

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = choose(data, 6) else { return };
    let limits = if choice < 3 { Limits::default() } else { SMALL };
    let mut tags = Tags::default();
    match choice % 3 {
        0 => {
            let decoded = decode(Way::Media(Media::CloudEvent), body, limits, &mut tags);
            check(body, &decoded, limits, false);
        }
        1 => {
            let decoded = decode(Way::Media(Media::CloudEventBatch), body, limits, &mut tags);
            check(body, &decoded, limits, true);
        }
        _ => binary(body, limits, &mut tags),
    }
});

/// As with plain records, the form decides what is `bad_json` and what no batch at all.
fn check(body: &[u8], decoded: &Decoded, limits: Limits, many: bool) {
    let value = match json::read(body) {
        Json::Valid(value) => value,
        Json::Broken => return assert!(decoded.end.is_err()),
        Json::Unsure => return,
    };
    if json::shape(body).0 > 100 {
        return;
    }
    if !(many && value.is_array() || !many && value.is_object()) {
        return assert_eq!(decoded.end, Err(Unfit::Unreadable));
    }
    let elements = if many { json::elements(body) } else { vec![body.trim_ascii()] };
    if elements.len() > limits.records {
        return assert_eq!(decoded.end, Err(Unfit::TooMany));
    }
    assert_eq!(decoded.end, Ok(elements.len()));
    for (element, record) in elements.iter().zip(&decoded.records) {
        let reason = record.as_ref().err().map(|fault| fault.reason);
        let is_object = element.starts_with(b"{");
        let fits = is_object && json::shape(element).0 <= JSON_DEPTH_MAX;
        if reason != Some(Reason::TooLong) {
            assert_eq!(reason != Some(Reason::BadJson), fits, "{}", element.escape_ascii());
        }
    }
}

/// Headers, one a line, an empty line, the data.
fn binary(input: &[u8], limits: Limits, tags: &mut Tags) {
    let (head, body) = cut(input, b"\n\n");
    let mut headers = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        let (name, value) = cut(line, b": ");
        let Ok(name) = std::str::from_utf8(name) else { return };
        headers.push((name, value));
    }
    let decoded = decode(Way::Binary(&headers), body, limits, tags);
    let Some(structured) = structured(&headers, body) else { return };
    let other = decode(
        Way::Media(Media::CloudEvent),
        structured.as_bytes(),
        Limits { record_bytes: usize::MAX, ..limits },
        tags,
    );
    if let (Ok(_), [record]) = (decoded.end, decoded.records.as_slice()) {
        let too_long = record.as_ref().err().map(|fault| fault.reason) == Some(Reason::TooLong);
        if !too_long {
            let (ours, theirs) = (record.as_ref().ok(), other.records[0].as_ref().ok());
            assert_eq!(ours, theirs, "{structured}");
        }
    }
}

/// The same event in structured mode; `None` where there is none, or where encodings, limits of
/// depth or spellings of numbers would make two different events of it.
fn structured(headers: &[(&str, &[u8])], body: &[u8]) -> Option<String> {
    let known = ["specversion", "id", "source", "type", "subject", "time"];
    let mut event = Map::new();
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let Some(name) = lower.strip_prefix("ce-") else { continue };
        let text = std::str::from_utf8(value).ok()?.trim_ascii();
        if name.starts_with("data") || text.contains(['%', '"']) {
            return None;
        }
        if known.contains(&name) && event.insert(name.to_owned(), text.into()).is_some() {
            return None;
        }
    }
    if event.is_empty() {
        return None;
    }
    if !body.trim_ascii().is_empty() {
        let Json::Valid(data @ Value::Object(_)) = json::read(body) else { return None };
        let (depth, members) = json::shape(body);
        if depth > JSON_DEPTH_MAX - 2 || members != json::members(&data) || !json::is_plain(&data) {
            return None;
        }
        event.insert("data".to_owned(), data);
    }
    Some(Value::Object(event).to_string())
}
