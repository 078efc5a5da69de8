//! Bodies of records as NDJSON and JSON. Whatever comes in: no panic, no more records than allowed,
//! nothing of the input in a fault, and `bad_json` exactly where `serde_json` says so.
#![no_main]

use blindtally::model::limits::JSON_DEPTH_MAX;
use blindtally::model::reason::Reason;
use blindtally::wire::{Limits, Media, Unfit};
use blindtally_fuzz::json::{self, Json};
use blindtally_fuzz::records::{Decoded, Refused, Taken, Way, decode};
use blindtally_fuzz::{choose, spellings::Tags};
use libfuzzer_sys::fuzz_target;

const SMALL: Limits = Limits { records: 4, record_bytes: 256 };

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = choose(data, 4) else { return };
    let limits = if choice & 1 == 0 { Limits::default() } else { SMALL };
    let mut tags = Tags::default();
    if choice < 2 {
        let decoded = decode(Way::Media(Media::NdJson), body, limits, &mut tags);
        check_lines(body, &decoded, limits, &mut tags);
    } else {
        let decoded = decode(Way::Media(Media::Json), body, limits, &mut tags);
        check_document(body, &decoded, limits);
    }
});

fn check_lines(body: &[u8], decoded: &Decoded, limits: Limits, tags: &mut Tags) {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let lines: Vec<&[u8]> = lines.collect();
    match decoded.end {
        Ok(count) => assert_eq!(count, lines.len()),
        Err(unfit) => {
            assert_eq!(unfit, Unfit::TooMany);
            assert!(lines.len() > limits.records);
        }
    }
    for (line, record) in lines.iter().zip(&decoded.records) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        check_json(json::read(line), line, record);
        if let Ok(record) = record {
            check_respelled(line, record, tags);
        }
    }
}

/// What is no JSON, no object or nested too deep is `bad_json`, and nothing else is.
fn check_json(json: Json, text: &[u8], record: &Result<Taken, Refused>) {
    let reason = record.as_ref().err().map(|fault| fault.reason);
    if reason == Some(Reason::TooLong) {
        return;
    }
    let fits = match json {
        Json::Unsure => return,
        Json::Broken => false,
        Json::Valid(value) => value.is_object() && json::shape(text).0 <= JSON_DEPTH_MAX,
    };
    assert_eq!(reason != Some(Reason::BadJson), fits, "{}", text.escape_ascii());
}

/// A record says the same with its members sorted, without white space and with other escapes.
fn check_respelled(line: &[u8], record: &Taken, tags: &mut Tags) {
    let Json::Valid(value) = json::read(line) else { return };
    assert_eq!(json::members(&value), json::shape(line).1, "a member twice was taken");
    if !json::is_plain(&value) {
        return;
    }
    let respelled = value.to_string();
    let again = decode(
        Way::Media(Media::NdJson),
        respelled.as_bytes(),
        Limits { record_bytes: usize::MAX, ..Limits::default() },
        tags,
    );
    assert_eq!(again.records, [Ok(record.clone())], "{respelled}");
}

fn check_document(body: &[u8], decoded: &Decoded, limits: Limits) {
    let value = match json::read(body) {
        Json::Valid(value) => value,
        Json::Broken => return assert!(decoded.end.is_err()),
        Json::Unsure => return,
    };
    // Next to the deepest nesting that either can follow, the two may differ.
    if json::shape(body).0 > 100 {
        return;
    }
    let elements = match value {
        _ if value.is_array() => json::elements(body),
        _ if value.is_object() => vec![body.trim_ascii()],
        _ => return assert_eq!(decoded.end, Err(Unfit::Unreadable)),
    };
    if elements.len() > limits.records {
        return assert_eq!(decoded.end, Err(Unfit::TooMany));
    }
    assert_eq!(decoded.end, Ok(elements.len()));
    for (element, record) in elements.iter().zip(&decoded.records) {
        check_json(json::read(element), element, record);
    }
}
