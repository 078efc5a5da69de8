//! Tests of the way from bytes to records, seen from outside.

mod bodies;
mod faults;
mod fields;
mod oracle;

use super::batch::{Decoder, Limits, Unfit};
use super::media::Media;
use super::record::{Record, Value};

/// What a test looks at of one record: the texts, or `code pointer event_id`.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Taken(Box<Taken>),
    Refused(String),
}

/// A record without its borrows.
#[derive(Clone, Debug, PartialEq, Default)]
struct Taken {
    event_id: String,
    kind: String,
    site_id: String,
    at: i64,
    producer: Option<String>,
    cid: Option<String>,
    user: Option<usize>,
    devices: Vec<(String, usize, Option<String>)>,
    recommended: Option<u8>,
    desktop: bool,
    words: Vec<String>,
    stored: Vec<(String, String)>,
    raw: Vec<(String, usize)>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl Taken {
    fn of(record: &Record<'_>) -> Self {
        let words = [
            record.outcome.map(|word| word.name()),
            record.error_class.map(|word| word.name()),
            record.drm_type.map(|word| word.name()),
            record.request_type.map(|word| word.name()),
            record.license_type.map(|word| word.name()),
            record.user_id_kind.map(|word| word.name()),
            record.payload_encoding.map(|word| word.name()),
            Some(record.environment.name()),
        ];
        let value = |value: &Value<'_>| match value {
            Value::Text(bytes) => text(bytes),
            Value::Int(number) => number.to_string(),
        };
        let device = |device: &super::RawDevice<'_>| {
            let encoding = device.encoding.map(|word| word.name().to_owned());
            (device.kind.name().to_owned(), device.value.len(), encoding)
        };
        let code = record.error_code.map(text);
        Self {
            event_id: text(record.event_id),
            kind: record.kind.name().to_owned(),
            site_id: text(record.site_id),
            at: record.occurred_at.0,
            producer: record.producer.map(text),
            cid: record.cid.map(text),
            user: record.user_id.map(|user| user.len()),
            devices: record.devices.iter().map(device).collect(),
            recommended: record.device_recommended,
            desktop: record.desktop,
            words: words.into_iter().flatten().map(str::to_owned).chain(code).collect(),
            stored: record.stored.iter().map(|(f, v)| (f.name().to_owned(), value(v))).collect(),
            raw: record.raw.iter().map(|(f, raw)| (f.name().to_owned(), raw.len())).collect(),
        }
    }
}

fn decode_with(decoder: &mut Decoder, media: Media, body: &[u8]) -> Result<Vec<Seen>, Unfit> {
    let mut body = body.to_vec();
    let mut seen = Vec::new();
    let count = decoder.decode(media, &mut body, &mut |index, result| {
        assert_eq!(index, seen.len());
        seen.push(match result {
            Ok(record) => Seen::Taken(Box::new(Taken::of(record))),
            Err(fault) => Seen::Refused(format!(
                "{} {} {}",
                fault.reason,
                fault.pointer,
                fault.event_id.map(text).unwrap_or_default()
            )),
        });
    })?;
    assert_eq!(count, seen.len());
    Ok(seen)
}

fn decode(media: Media, body: &[u8]) -> Result<Vec<Seen>, Unfit> {
    decode_with(&mut Decoder::new(Limits::default()), media, body)
}

fn taken(body: &str) -> Taken {
    match decode(Media::NdJson, body.as_bytes()).unwrap().pop() {
        Some(Seen::Taken(taken)) => *taken,
        other => panic!("{other:?}: {body}"),
    }
}

fn refused(body: &str) -> String {
    match decode(Media::NdJson, body.as_bytes()).unwrap().pop() {
        Some(Seen::Refused(fault)) => fault.trim_end().to_owned(),
        other => panic!("{other:?}: {body}"),
    }
}

/// A record of a type with more members, as text.
fn record(kind: &str, more: &str) -> String {
    let outcome = if kind == "drm.license.issued" { r#","outcome":"success""# } else { "" };
    let comma = if more.is_empty() { "" } else { "," };
    let head = r#""event_id":"e-1","type":"TYPE","site_id":"ACME","occurred_at":1795320960"#;
    format!("{{{}{outcome}{comma}{more}}}", head.replace("TYPE", kind))
}

const LICENSE: &str = "drm.license.issued";
const PACKAGED: &str = "drm.content.packaged";
const SESSION: &str = "watermark.session.created";
const WM_PACKAGED: &str = "watermark.content.packaged";
const DETECTED: &str = "watermark.detected";
