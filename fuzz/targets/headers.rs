//! Query strings, `Accept` and `Content-Encoding`: read strictly or not at all.
#![no_main]

use blindtally_fuzz::choose;
use blindtally_fuzz::http::inflate::Coding;
use blindtally_fuzz::http::query::{self, Query};
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_ENCODING, HeaderValue};
use libfuzzer_sys::fuzz_target;

const KNOWN: &[&str] = &["month", "from", "to", "limit", "cursor"];
const OFFERED: &[&str] = &["application/json", "text/csv"];

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = choose(data, 3) else { return };
    if choice == 0 {
        let Ok(text) = std::str::from_utf8(rest) else { return };
        query(text);
        return;
    }
    let mut headers = HeaderMap::new();
    let name = if choice == 1 { ACCEPT } else { CONTENT_ENCODING };
    for line in rest.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(name.clone(), value);
    }
    if choice == 1 {
        assert!(query::choose(&headers, OFFERED).is_none_or(|at| at < OFFERED.len()));
    } else {
        coding(&headers, rest);
    }
});

fn query(text: &str) {
    let Some(query) = Query::parse(Some(text), KNOWN) else { return };
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).count();
    let found = KNOWN.iter().filter(|name| query.get(name).is_some()).count();
    assert_eq!(pairs, found, "a parameter was read over");
    let plain = KNOWN.iter().filter_map(|name| query.get(name).map(|value| (name, value)));
    let written: Vec<String> =
        plain.clone().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    let again = Query::parse(Some(&written.join("&")), KNOWN).expect("a query written anew");
    for (name, value) in plain {
        assert_eq!(again.get(name), Some(value));
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn coding(headers: &HeaderMap, lines: &[u8]) {
    let names = lines.split(|byte| matches!(byte, b'\n' | b',')).map(<[u8]>::trim_ascii);
    let named = |name: &[u8]| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity");
    let count = names.filter(|name| named(name)).count();
    match Coding::from_headers(headers) {
        Some(Coding::Identity) => assert_eq!(count, 0),
        Some(_) => assert_eq!(count, 1),
        None => assert!(count > 0),
    }
}
