//! Bodies in every format, and the CloudEvents rules.

use super::*;
use crate::wire::attributes::Attributes;

fn summary(media: Media, body: &str) -> Result<Vec<String>, Unfit> {
    let seen = decode(media, body.as_bytes())?;
    Ok(seen
        .into_iter()
        .map(|one| match one {
            Seen::Taken(record) => format!("ok {}", record.event_id),
            Seen::Refused(fault) => fault.trim_end().to_owned(),
        })
        .collect())
}

fn all(list: &[&str]) -> Result<Vec<String>, Unfit> {
    Ok(list.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn lines() {
    let good = record(LICENSE, "");
    let body = format!("\n{good}\r\n  \n\t\r\nno json\n{good}\n\n[]\n{good}");
    let want = all(&["ok e-1", "bad_json", "ok e-1", "bad_json", "ok e-1"]);
    assert_eq!(summary(Media::NdJson, &body), want);
    assert_eq!(summary(Media::NdJson, ""), all(&[]));
    assert_eq!(summary(Media::NdJson, "\n\r\n"), all(&[]));
    let mut bytes = good.clone().into_bytes();
    bytes.extend(b"\n{\"cid\":\"\xff\"}\n");
    bytes.extend(good.as_bytes());
    let seen = decode(Media::NdJson, &bytes).unwrap();
    assert_eq!(seen[1], Seen::Refused("bad_json  ".to_owned()));
    assert!(matches!((&seen[0], &seen[2]), (Seen::Taken(_), Seen::Taken(_))));
}

#[test]
fn one_object_or_an_array() {
    let good = record(LICENSE, "");
    assert_eq!(summary(Media::Json, &good), all(&["ok e-1"]));
    assert_eq!(summary(Media::Json, &format!(" [ {good} , {good} ] ")), all(&["ok e-1", "ok e-1"]));
    assert_eq!(summary(Media::Json, "[]"), all(&[]));
    let odd = format!("[1,{good},null,[],\"x\",{{}}]");
    let want =
        all(&["bad_json", "ok e-1", "bad_json", "bad_json", "bad_json", "missing_field /event_id"]);
    assert_eq!(summary(Media::Json, &odd), want);
    for body in ["", " ", "1", "\"x\"", "{", "[", "[1", "[1,]", "[1 2]", "[] x", "{} {}", "[{]}"] {
        assert_eq!(summary(Media::Json, body), Err(Unfit::Unreadable), "{body}");
    }
    assert_eq!(summary(Media::Json, &format!("[{good}")), Err(Unfit::Unreadable));
    assert_eq!(decode(Media::Json, b"[\"\xff\"]"), Err(Unfit::Unreadable));
}

#[test]
fn too_long_and_too_many() {
    let long = record(LICENSE, &format!(r#""error_message":"{}""#, "x".repeat(65_536)));
    let good = record(LICENSE, "");
    let want = all(&["ok e-1", "too_long  e-1", "ok e-1"]);
    assert_eq!(summary(Media::NdJson, &format!("{good}\n{long}\n{good}")), want);
    assert_eq!(summary(Media::Json, &format!("[{good},{long},{good}]")), want);
    let mut decoder = Decoder::new(Limits { records: 2, record_bytes: 65_536 });
    let two = format!("{good}\n{good}\n\n");
    assert_eq!(decode_with(&mut decoder, Media::NdJson, two.as_bytes()).unwrap().len(), 2);
    let three = format!("{two}{good}\n");
    let many = decode_with(&mut decoder, Media::NdJson, three.as_bytes());
    assert_eq!(many, Err(Unfit::TooMany));
    let many = decode_with(&mut decoder, Media::Json, b"[1,2,3]");
    assert_eq!(many, Err(Unfit::TooMany));
}

const EVENT: &str = concat!(
    r#""specversion":"1.0","id":"e-1","source":"license-server","#,
    r#""type":"drm.license.issued","time":"2026-11-22T04:16:00Z""#
);

fn event(more: &str) -> String {
    match summary(Media::CloudEvent, &format!("{{{EVENT},{more}}}")) {
        Ok(mut seen) => seen.pop().unwrap(),
        Err(unfit) => unfit.to_string(),
    }
}

#[test]
fn structured_events() {
    let data = r#""data":{"site_id":"ACME","outcome":"success","user_id":"u","drm":{"hdcp":1}}"#;
    assert_eq!(event(data), "ok e-1");
    let other = concat!(
        r#""subject":"ACME","datacontenttype":"application/json","dataschema":"x","#,
        r#""myext":{"type":"x"},"data":{"outcome":"success"}"#
    );
    assert_eq!(event(other), "ok e-1");
    assert_eq!(event(r#""subject":"movie","data":{"site_id":"A","outcome":"ok"}"#), "ok e-1");
    for (more, want) in [
        (r#""data":{"outcome":"success"}"#, "missing_field /data/site_id e-1"),
        (r#""subject":"A""#, "missing_field /data/outcome e-1"),
        (r#""subject":"A","data":"x""#, "wrong_type /data e-1"),
        (r#""data":{"event_id":"x"}"#, "duplicate_field /data/event_id e-1"),
        (r#""data":{"producer":"x"}"#, "duplicate_field /data/producer e-1"),
        (r#""data":{"occurred_at":1795320960}"#, "duplicate_field /data/occurred_at e-1"),
        (r#""data":{"nickname":1}"#, "unknown_field /data e-1"),
        (
            r#""data":{"device":{"ids":[{"kind":"x"}]}}"#,
            "unknown_device_kind /data/device/ids/0/kind e-1",
        ),
        (r#""data_base64":"e30=""#, "bad_cloudevent /data_base64 e-1"),
        (r#""dataclassification":"pii""#, "bad_cloudevent /dataclassification e-1"),
        (r#""dataregulation":"gdpr""#, "bad_cloudevent /dataregulation e-1"),
        (r#""datacategory":"x""#, "bad_cloudevent /datacategory e-1"),
        (r#""datacontenttype":"text/xml""#, "bad_cloudevent /datacontenttype e-1"),
        (r#""id":"e-2""#, "duplicate_field /id e-1"),
        (r#""token":"x""#, "secret_field /token e-1"),
    ] {
        assert_eq!(event(more), want, "{more}");
    }
}

#[test]
fn attributes_are_required_and_checked() {
    let whole = format!(r#"{{{EVENT},"subject":"A","data":{{"outcome":"success"}}}}"#);
    let change = |from: &str, to: &str| {
        let mut seen = summary(Media::CloudEvent, &whole.replace(from, to)).unwrap();
        seen.pop().unwrap()
    };
    assert_eq!(change("", ""), "ok e-1");
    assert_eq!(change(r#""specversion":"1.0","#, ""), "bad_cloudevent /specversion e-1");
    assert_eq!(change(r#""1.0""#, r#""0.3""#), "bad_cloudevent /specversion e-1");
    assert_eq!(change(r#""id":"e-1","#, ""), "bad_cloudevent /id");
    assert_eq!(change(r#""id":"e-1""#, r#""id":"""#), "bad_cloudevent /id");
    assert_eq!(change(r#""id":"e-1""#, r#""id":5"#), "bad_cloudevent /id");
    assert_eq!(change("e-1", &"e".repeat(65)), "too_long /id");
    assert_eq!(change(r#""source":"license-server","#, ""), "bad_cloudevent /source e-1");
    assert_eq!(change("license-server", &"s".repeat(256)), "ok e-1");
    assert_eq!(change("license-server", &"s".repeat(257)), "too_long /source e-1");
    assert_eq!(change(r#""type":"drm.license.issued","#, ""), "bad_cloudevent /type e-1");
    assert_eq!(change("drm.license.issued", "x.y"), "unknown_type /type e-1");
    assert_eq!(change(r#","time":"2026-11-22T04:16:00Z""#, ""), "missing_field /time e-1");
    assert_eq!(change("2026-11-22T04:16:00Z", "soon"), "bad_time /time e-1");
    assert_eq!(change(r#""A""#, &format!("\"{}\"", "A".repeat(65))), "too_long /subject e-1");
}

#[test]
fn batches_of_events_in_any_order() {
    let data = r#""data":{"site_id":"ACME","outcome":"success","drm":{"hdcp":1}}"#;
    let extra = r#""ext":{"type":"drm.content.packaged"}"#;
    let batch = format!("[{{{EVENT},{data}}},{{{data},{extra},{EVENT}}},{{}},1]");
    let want = all(&["ok e-1", "ok e-1", "bad_cloudevent /specversion", "bad_json"]);
    assert_eq!(summary(Media::CloudEventBatch, &batch), want);
    assert_eq!(summary(Media::CloudEventBatch, "[]"), all(&[]));
    assert_eq!(summary(Media::CloudEventBatch, "{}"), Err(Unfit::Unreadable));
    assert_eq!(summary(Media::CloudEvent, "[]"), Err(Unfit::Unreadable));
}

fn binary(headers: &[(&str, &str)], body: &str) -> Result<String, Unfit> {
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    let attributes = Attributes::from_headers(headers).unwrap();
    let mut body = body.as_bytes().to_vec();
    let mut seen = String::new();
    let mut decoder = Decoder::new(Limits::default());
    decoder.decode_binary(&attributes, &mut body, &mut |_, result| {
        seen = match result {
            Ok(record) => format!("ok {}", Taken::of(record).producer.unwrap()),
            Err(fault) => format!("{} {}", fault.reason, fault.pointer),
        };
    })?;
    Ok(seen)
}

#[test]
fn binary_events() {
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "e-1"),
        ("ce-source", "license%20server"),
        ("CE-Type", "drm.license.issued"),
        ("ce-time", "2026-11-22T04:16:00Z"),
        ("ce-subject", "ACME"),
    ];
    let good = r#"{"outcome":"success","user_id":"u"}"#;
    assert_eq!(binary(&headers, good).as_deref(), Ok("ok license server"));
    assert_eq!(binary(&headers, "").as_deref(), Ok("missing_field /outcome"));
    assert_eq!(binary(&headers, "[]").as_deref(), Ok("bad_json "));
    assert_eq!(binary(&headers, "{"), Err(Unfit::Unreadable));
    let duplicate = r#"{"event_id":"e"}"#;
    assert_eq!(binary(&headers, duplicate).as_deref(), Ok("duplicate_field /event_id"));
    assert_eq!(binary(&headers[..3], good).as_deref(), Ok("bad_cloudevent /type"));
    let mut bad = headers.to_vec();
    bad.push(("ce-datacontenttype", "application/json"));
    assert_eq!(binary(&bad, good).as_deref(), Ok("bad_cloudevent "));
    let mut bad = headers;
    bad[5].1 = "soon";
    assert_eq!(binary(&bad, good).as_deref(), Ok("bad_time /time"));
}

/// How many bytes a fresh decoder looks at ahead of reading a body.
fn looked(body: &str) -> u64 {
    let mut decoder = Decoder::new(Limits::default());
    let mut body = body.as_bytes().to_vec();
    decoder.decode(Media::Json, &mut body, &mut |_, _| {}).unwrap();
    decoder.looked_bytes()
}

#[test]
fn looking_for_the_type_costs_no_more_than_the_body() {
    let long = format!(r#"{{"user_id":"{}"}}"#, "x".repeat(1_600));
    let near = format!(r#"{{"user_id":"x",{}}}"#, vec![r#""typex":1"#; 155].join(","));
    let escaped = format!(r#"{{"user_id":"\u0041{}"}}"#, "x".repeat(1_600));
    for one in [long, near, escaped] {
        let body = |count: usize, last: &str| format!("[{}{last}]", vec![&*one; count].join(","));
        let few = looked(&body(1_000, ""));
        let many = looked(&body(10_000, ""));
        assert!(many < 11 * few, "{many} bytes after {few}");
        // Nor is it dearer where a record far behind has one.
        let last = r#",{"type":"drm.license.issued"}"#;
        let found = looked(&body(9_999, last));
        assert!(found < 11 * few, "{found} bytes after {few}");
    }
}

#[test]
fn the_type_of_the_next_record_is_not_taken_for_that_of_this_one() {
    let rest = r#""event_id":"e","site_id":"A","occurred_at":1795320960"#;
    let next = format!(r#"{{"drm":true,{rest},"type":"watermark.content.packaged"}}"#);
    for between in [",", " , ", ",\n  "] {
        let body = format!(r#"[{{"drm":true,{rest}}}{between}{next}]"#);
        let found = summary(Media::Json, &body);
        assert_eq!(found, all(&["missing_field /type e", "ok e"]), "{body}");
    }
}
