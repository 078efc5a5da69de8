//! Bodies of requests that are neither records nor of the admin nor of the retention desk: a
//! customer's list of raw ids, a person to erase, a webhook and its address, a backup, a removal
//! and a restatement. What is taken is what `serde_json` reads, inside the bounds of the contract,
//! and a flaw names nothing but members.
#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};

use blindtally::model::limits::{DEVICE_ID_BYTES_MAX, USER_ID_BYTES_MAX};
use blindtally::wire::backfill::BackfillRequest;
use blindtally::wire::backup::{self, BackupRequest};
use blindtally::wire::challenge::{self, BadList};
use blindtally::wire::fault::Flaw;
use blindtally::wire::retention::{REMOVAL_REASONS, RemovalRequest, TerminateRequest};
use blindtally::wire::subjects::{EraseRequest, Subject};
use blindtally::wire::webhooks::{HookRequest, Topic, URL_BYTES_MAX};
use blindtally_fuzz::choose;
use blindtally_fuzz::json::{self, Json};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Lines of a list.
const LINES_MAX: u64 = 20;
const MEMBERS: &[&str] = &[
    "user_id",
    "device",
    "kind",
    "value",
    "suppress",
    "ground",
    "repeats",
    "url",
    "events",
    "sites",
    "name",
    "reason",
    "late_records",
    "site_id",
    "producer",
    "from",
    "to",
];

fuzz_target!(|data: &[u8]| {
    let Some((form, body)) = choose(data, 8) else { return };
    let mut room = body.to_vec();
    match form {
        0 => list(body),
        1 => erasure(body),
        2 => webhook(body),
        3 => address(body),
        4 => match BackupRequest::parse(&mut room) {
            Ok(BackupRequest { name: Some(name) }) => {
                assert!(backup::is_name(&name));
                assert!(!name.contains(['/', '\\', '\0']) && name != "..");
                is(&name, body, "name");
            }
            Ok(BackupRequest { name: None }) => {}
            Err(flaw) => check(flaw),
        },
        5 => match RemovalRequest::parse(&mut room) {
            Ok(removal) => {
                assert!(REMOVAL_REASONS.contains(&removal.reason));
                is(removal.reason, body, "reason");
            }
            Err(flaw) => check(flaw),
        },
        6 => match BackfillRequest::parse(&mut room) {
            Ok(request) => {
                assert!(request.from < request.to);
                is(&request.reason, body, "reason");
                is(request.site.as_str(), body, "site_id");
            }
            Err(flaw) => check(flaw),
        },
        _ => match TerminateRequest::parse(&mut room) {
            Ok(TerminateRequest { reason: Some(reason) }) => is(&reason, body, "reason"),
            Ok(TerminateRequest { reason: None }) => {}
            Err(flaw) => check(flaw),
        },
    }
});

fn check(flaw: Flaw) {
    for part in flaw.pointer.to_string().split('/').skip(1) {
        assert!(MEMBERS.contains(&part) || part.parse::<u16>().is_ok(), "{part}");
    }
}

/// What was taken is JSON to `serde_json`, too, with no member twice.
fn taken(body: &[u8]) -> Option<Value> {
    let value = match json::read(body) {
        Json::Valid(value) => value,
        Json::Broken => panic!("no JSON was taken: {}", body.escape_ascii()),
        Json::Unsure => return None,
    };
    assert!(value.is_object());
    assert_eq!(json::members(&value), json::shape(body).1, "a member twice was taken");
    Some(value)
}

fn is(text: &str, body: &[u8], member: &str) {
    let Some(value) = taken(body) else { return };
    assert_eq!(value[member].as_str(), Some(text));
}

/// The lines of a list that are not blank, and the ids of those before the first that does not fit.
fn list(body: &[u8]) {
    let mut lengths = Vec::new();
    let read = challenge::read(&mut body.to_vec(), LINES_MAX, &mut |id| {
        lengths.push(id.map(|id| id.len()));
    });
    let all: Vec<&[u8]> = body.strip_suffix(b"\n").unwrap_or(body).split(|b| *b == b'\n').collect();
    let lines: Vec<&[u8]> =
        all.iter().copied().filter(|line| !line.trim_ascii().is_empty()).collect();
    match read {
        Ok(()) => {
            assert_eq!(lengths.len(), lines.len());
            assert!(all.len() as u64 <= LINES_MAX);
        }
        Err(BadList::TooMany) => assert!(all.len() as u64 > LINES_MAX),
        Err(BadList::Line { index, flaw }) => {
            assert_eq!(lengths.len() as u64, index);
            assert!(["", "/user_id"].contains(&flaw.pointer.to_string().as_str()));
        }
    }
    for (line, length) in lines.iter().zip(&lengths) {
        let Some(value) = taken(line) else { continue };
        let members = value.as_object().map_or(0, serde_json::Map::len);
        assert_eq!(members, 1, "an unknown member was taken");
        assert_eq!(value["user_id"].as_str().map(str::len), *length);
        assert!(length.is_none_or(|length| length <= USER_ID_BYTES_MAX));
    }
}

fn erasure(body: &[u8]) {
    let mut room = body.to_vec();
    let request = match EraseRequest::parse(&mut room) {
        Ok(request) => request,
        Err(flaw) => return check(flaw),
    };
    let Some(value) = taken(body) else { return };
    assert_eq!(request.suppress, value["suppress"].as_bool().unwrap_or(false));
    assert_eq!(request.repeats, value["repeats"].as_u64());
    assert_eq!(request.ground, value["ground"].as_str().unwrap_or("person_request"));
    match request.subject {
        Subject::User(id) => {
            assert_eq!(value["user_id"].as_str().map(str::len), Some(id.len()));
            assert!(id.len() <= USER_ID_BYTES_MAX && value.get("device").is_none());
        }
        Subject::Device(kind, id) => {
            assert_eq!(value["device"]["kind"].as_str(), Some(kind.name()));
            assert_eq!(value["device"]["value"].as_str().map(str::len), Some(id.len()));
            assert!(id.len() <= DEVICE_ID_BYTES_MAX && value.get("user_id").is_none());
            assert!(!request.suppress, "a device was suppressed");
        }
    }
}

fn webhook(body: &[u8]) {
    let request = match HookRequest::parse(&mut body.to_vec()) {
        Ok(request) => request,
        Err(flaw) => return check(flaw),
    };
    let Some(value) = taken(body) else { return };
    assert_eq!(value["url"].as_str(), Some(request.url.as_str()));
    assert!((1..=URL_BYTES_MAX).contains(&request.url.len()));
    let mut asked: Vec<&str> =
        value["events"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let mut topics: Vec<&str> = request.topics.iter().map(|topic| topic.name()).collect();
    assert!(!topics.is_empty() && !topics.contains(&Topic::Test.name()));
    asked.sort_unstable();
    asked.dedup();
    topics.sort_unstable();
    assert_eq!(topics, asked);
    assert_eq!(request.sites.is_some(), value.get("sites").is_some_and(|sites| !sites.is_null()));
}

/// An address that may be asked is one of `https` outside, and says nothing beside host and port.
fn address(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Some(host) = blindtally::webhooks::host_of(text, false) else { return };
    assert!(text.is_ascii() && !text.contains(['#', ' ', '\n', '\t']), "{text}");
    let (scheme, rest) = text.split_once("://").expect("a scheme");
    assert!(scheme.eq_ignore_ascii_case("https"));
    let authority = rest.split(['/', '?']).next().expect("an authority");
    assert!(!authority.contains('@'), "{text}");
    let bare = authority.trim_start_matches('[').to_ascii_lowercase();
    assert!(bare.starts_with(&host), "{host} of {text}");
    assert!(!host.is_empty() && host.len() <= 253);
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        let inside = address.is_private()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_unspecified()
            || address.is_multicast()
            || address.is_broadcast();
        assert!(!inside, "{address}");
    }
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        let first = address.segments()[0];
        let inside = address.is_loopback()
            || address.is_unspecified()
            || address.is_multicast()
            || first & 0xfe00 == 0xfc00
            || first & 0xffc0 == 0xfe80;
        assert!(!inside, "{address}");
    }
    assert_eq!(blindtally::webhooks::host_of(text, true), Some(host), "more is allowed inside");
}
