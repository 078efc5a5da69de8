//! Every reason code, where it points, and that nothing of the input comes back.

use super::*;
use crate::model::reason::Reason;
use proptest::prelude::*;

fn license(more: &str) -> String {
    refused(&record(LICENSE, more))
}

#[test]
fn each_reason_of_the_schema() {
    let long = "x".repeat(300);
    let too_long = |name: &str, length: usize| format!(r#""{name}":"{}""#, "x".repeat(length));
    for (more, want) in [
        (r#""nickname":1"#.to_owned(), "unknown_field  e-1"),
        (r#""device":{"serial":1}"#.to_owned(), "unknown_field /device e-1"),
        (
            r#""device":{"ids":[{"kind":"opaque","value":"v","x":1}]}"#.to_owned(),
            "unknown_field /device/ids/0 e-1",
        ),
        (r#""siteId":"A""#.to_owned(), "unknown_field  e-1"),
        (r#""payload":"p""#.to_owned(), "unknown_field  e-1"),
        (r#""cid":"a","cid":"b""#.to_owned(), "duplicate_field /cid e-1"),
        (
            r#""session_id":"a","license":{"session_id":"b"}"#.to_owned(),
            "duplicate_field /license/session_id e-1",
        ),
        (r#""device":{"os":"a","os":"b"}"#.to_owned(), "duplicate_field /device/os e-1"),
        (r#""user_id":7"#.to_owned(), "wrong_type /user_id e-1"),
        (r#""device":[]"#.to_owned(), "wrong_type /device e-1"),
        (r#""device":{"ids":{}}"#.to_owned(), "wrong_type /device/ids e-1"),
        (r#""device":{"ids":["x"]}"#.to_owned(), "wrong_type /device/ids/0 e-1"),
        (r#""latency_ms":"1""#.to_owned(), "wrong_type /latency_ms e-1"),
        (r#""latency_ms":1.5"#.to_owned(), "wrong_type /latency_ms e-1"),
        (r#""persistent":"yes""#.to_owned(), "wrong_type /persistent e-1"),
        (r#""latency_ms":99999999999999999999"#.to_owned(), "bad_value /latency_ms e-1"),
        (r#""schema":2"#.to_owned(), "bad_value /schema e-1"),
        (r#""environment":"Production""#.to_owned(), "bad_value /environment e-1"),
        (r#""drm_type":"verimatrix""#.to_owned(), "bad_value /drm_type e-1"),
        (r#""producer":"""#.to_owned(), "bad_value /producer e-1"),
        (
            r#""device":{"ids":[{"kind":"serial","value":"v"}]}"#.to_owned(),
            "unknown_device_kind /device/ids/0/kind e-1",
        ),
        (
            r#""device":{"ids":[{"kind":null,"value":"v"}]}"#.to_owned(),
            "missing_field /device/ids/0/kind e-1",
        ),
        (
            format!(r#""device":{{"ids":[{{"kind":"opaque","value":"{long}"}}]}}"#),
            "too_long /device/ids/0/value e-1",
        ),
        (too_long("user_id", 257), "too_long /user_id e-1"),
        (too_long("cid", 201), "too_long /cid e-1"),
        (too_long("order_id", 129), "too_long /order_id e-1"),
        (too_long("error_code", 33), "too_long /error_code e-1"),
        (too_long("producer", 65), "too_long /producer e-1"),
        (r#""license":{"expires_at":"soon"}"#.to_owned(), "bad_time /license/expires_at e-1"),
    ] {
        assert_eq!(license(&more), want, "{more}");
    }
}

#[test]
fn lengths_that_just_fit() {
    for (kind, name, length) in [
        (LICENSE, "user_id", 256),
        (LICENSE, "cid", 200),
        (LICENSE, "order_id", 128),
        (LICENSE, "error_code", 32),
        (LICENSE, "producer", 64),
        (SESSION, "forensic_mark", 254),
        (SESSION, "wm_session_id", 64),
    ] {
        let fits = format!(r#""{name}":"{}""#, "x".repeat(length));
        taken(&record(kind, &fits));
        let over = format!(r#""{name}":"{}""#, "x".repeat(length + 1));
        assert_eq!(refused(&record(kind, &over)), format!("too_long /{name} e-1"));
    }
}

#[test]
fn the_envelope_is_required() {
    let whole = record(LICENSE, "");
    for (member, name) in [
        (r#""event_id":"e-1","#, "event_id"),
        (r#""type":"drm.license.issued","#, "type"),
        (r#""site_id":"ACME","#, "site_id"),
        (r#""occurred_at":1795320960,"#, "occurred_at"),
    ] {
        let event_id = if name == "event_id" { "" } else { " e-1" };
        let want = format!("missing_field /{name}{event_id}");
        assert_eq!(refused(&whole.replace(member, "")), want);
        let null = format!(r#""{name}":null,"#);
        assert_eq!(refused(&whole.replace(member, &null)), want);
    }
    let without = whole.replace(r#","outcome":"success""#, "");
    assert_eq!(refused(&without), "missing_field /outcome e-1");
    assert_eq!(refused("{}"), "missing_field /event_id");
    let unknown = whole.replace(LICENSE, "drm.license.lost");
    assert_eq!(refused(&unknown), "unknown_type /type e-1");
    assert_eq!(refused(&whole.replace("\"e-1\"", "\"\"")), "bad_value /event_id");
    let long = whole.replace("e-1", &"e".repeat(65));
    assert_eq!(refused(&long), "too_long /event_id");
    let site = whole.replace("ACME", &"A".repeat(65));
    assert_eq!(refused(&site), "too_long /site_id e-1");
    assert_eq!(refused(&whole.replace("1795320960", "\"soon\"")), "bad_time /occurred_at e-1");
    assert_eq!(refused(&whole.replace("1795320960", "true")), "wrong_type /occurred_at e-1");
}

#[test]
fn secrets_are_refused_in_every_object() {
    for name in [
        "challenge",
        "spc",
        "ckc",
        "token",
        "policy",
        "external_key",
        "cek",
        "key",
        "keys",
        "iv",
        "signing_key",
        "session_key",
        "content_key",
        "pssh",
        "headers",
    ] {
        let member = format!(r#""{name}":"x""#);
        assert_eq!(license(&member), format!("secret_field /{name} e-1"));
        let device = format!(r#""device":{{{member}}}"#);
        assert_eq!(license(&device), format!("secret_field /device/{name} e-1"));
        let inner = format!(r#""license":{{{member}}}"#);
        assert_eq!(license(&inner), format!("secret_field /license/{name} e-1"));
    }
    for value in ["\"CAIS\"", "[]", "1", "true"] {
        assert_eq!(license(&format!(r#""license":{value}"#)), "secret_field /license e-1");
    }
    let other = record(PACKAGED, r#""license":{"duration_s":1}"#);
    assert_eq!(refused(&other), "secret_field /license e-1");
}

#[test]
fn eight_devices_and_no_more() {
    let devices = |count: usize| {
        let one = r#"{"kind":"opaque","value":"v"}"#;
        format!(r#""device":{{"ids":[{}]}}"#, vec![one; count].join(","))
    };
    assert_eq!(taken(&record(LICENSE, &devices(8))).devices.len(), 8);
    assert_eq!(license(&devices(9)), "too_many_devices /device/ids e-1");
}

#[test]
fn the_first_fault_counts_and_the_event_id_is_found_before_and_behind() {
    let line = r#"{"cid":5,"nickname":1,"type":"drm.license.issued","event_id":"e:9._-","a":7}"#;
    assert_eq!(refused(line), "wrong_type /cid e:9._-");
    assert_eq!(refused(r#"{"x":[{"y":"\u0041"}],"event_id":"e9"}"#), "unknown_field  e9");
    assert_eq!(refused(r#"{"x":1,"event_id":"e 9"}"#), "unknown_field");
    assert_eq!(refused(r#"{"x":1,"event_id":"e9""#), "bad_json  e9");
    assert_eq!(refused(r#"{"event_id":"a","event_id":"b"}"#), "duplicate_field /event_id a");
    assert_eq!(refused(r#"{"":1,"event_id":"a"}"#), "unknown_field  a");
}

#[test]
fn lists_point_to_their_elements() {
    let packaged = |more: &str| refused(&record(PACKAGED, more));
    assert_eq!(packaged(r#""formats":["dash","avi"]"#), "bad_value /formats/1 e-1");
    assert_eq!(packaged(r#""kids":[1]"#), "wrong_type /kids/0 e-1");
    assert_eq!(packaged(r#""kids":"x""#), "wrong_type /kids e-1");
    assert_eq!(packaged(r#""kids":["viewer@example.com"]"#), "bad_value /kids/0 e-1");
    let kid = r#""0192F0C1-0000-4000-8000-000000000001""#;
    let many = vec![kid; 65].join(",");
    assert_eq!(packaged(&format!(r#""kids":[{many}]"#)), "too_long /kids e-1");
}

#[test]
fn what_is_no_json_is_bad_json() {
    for line in [
        "x",
        "[]",
        "1",
        "null",
        "\"e\"",
        "{",
        "{}}",
        "{} {}",
        "{\"a\":1,}",
        "{'a':1}",
        "{\"a\" 1}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1e}",
        "{\"a\":nul}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\ud800\\u0041\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":[1,]}",
        "{\"a\":NaN}",
        "\u{feff}{}",
        "{\"a\":\"\u{1}\"}",
    ] {
        assert_eq!(refused(line), "bad_json", "{line}");
    }
    let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(refused(&deep(7)), "unknown_field");
    assert_eq!(refused(&deep(8)), "bad_json");
    assert_eq!(refused(&deep(100)), "bad_json");
    assert_eq!(refused(&deep(60_000 / 2)), "bad_json");
}

#[test]
fn later_checks_point_to_the_member_as_it_was_written() {
    let mut found = Vec::new();
    let mut note = |media, body: &str| {
        let mut body = body.as_bytes().to_vec();
        let mut decoder = Decoder::new(Limits::default());
        decoder
            .decode(media, &mut body, &mut |_, record| {
                let record = record.unwrap();
                for reason in [Reason::UnknownSite, Reason::ProducerNotAllowed, Reason::TooOld] {
                    found.push(record.fault(reason).pointer.to_string());
                }
            })
            .unwrap();
    };
    note(Media::NdJson, &record(LICENSE, ""));
    let event = r#"{"specversion":"1.0","id":"e","source":"s","type":"drm.content.packaged""#;
    note(Media::CloudEvent, &format!(r#"{event},"subject":"A","time":"1795320960"}}"#));
    let data = r#""data":{"site_id":"A","occurred_at":1795320960}"#;
    note(Media::CloudEvent, &format!("{event},{data}}}"));
    let want = [
        "/site_id",
        "/producer",
        "/occurred_at",
        "/subject",
        "/source",
        "/time",
        "/data/site_id",
        "/source",
        "/data/occurred_at",
    ];
    assert_eq!(found, want);
}

const CANARY: &str = "canary81231";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is wrong, a fault tells nothing of what came in.
    #[test]
    fn no_fault_holds_input(at in 0usize..60, kind in 0usize..5, cut in any::<bool>()) {
        let kinds = [LICENSE, PACKAGED, SESSION, WM_PACKAGED, DETECTED];
        let device = r#""device":{"ids":[{"kind":"opaque","value":"v"}],"os":"o"}"#;
        let more = format!(r#""cid":"c",{device},"status":"x","license":{{"a":1}}"#);
        let whole = record(kinds[kind], &more);
        // The canary takes the place of one token of the text.
        let starts: Vec<usize> = whole.match_indices('"').map(|(at, _)| at).collect();
        let start = starts[at % (starts.len() - 1)];
        let mut text = format!("{}{CANARY}{}", &whole[..=start], &whole[start + 1..]);
        if cut {
            text.truncate(start + 1 + CANARY.len() + 2);
        }
        for media in [Media::NdJson, Media::Json, Media::CloudEvent] {
            if let Ok(seen) = decode(media, text.as_bytes()) {
                for one in seen {
                    if let Seen::Refused(fault) = one {
                        // An event id may come back, and nothing else.
                        let (fault, _) = fault.rsplit_once(' ').unwrap();
                        prop_assert!(!fault.contains(CANARY), "{}", fault);
                    }
                }
            }
        }
    }

    /// Damaged input never panics, and never costs another line its record.
    #[test]
    fn damage_never_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let more = concat!(
            r#""user_id":"a\u00e9\ud83d\ude00","drm":{"hdcp":1},"#,
            r#""device":{"ids":[{"kind":"opaque","value":"v"}]}"#
        );
        let mut bytes = record(LICENSE, more).into_bytes();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = if byte == b'\n' { b' ' } else { byte };
        }
        let keep = cut.index(bytes.len() * 2);
        bytes.truncate(keep);
        for media in [Media::Json, Media::CloudEvent, Media::CloudEventBatch] {
            let _ = decode(media, &bytes);
            let array = [b"[".as_slice(), &bytes, b"]"].concat();
            let _ = decode(media, &array);
        }
        let good = record(LICENSE, "");
        let lines = [good.as_bytes(), b"\n", &bytes, b"\n", good.as_bytes()].concat();
        let seen = decode(Media::NdJson, &lines).unwrap();
        prop_assert!(matches!(seen.first(), Some(Seen::Taken(_))));
        prop_assert!(matches!(seen.last(), Some(Seen::Taken(_))));
    }
}
