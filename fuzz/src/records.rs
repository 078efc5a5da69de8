//! Decodes bodies and checks what comes out, whatever went in.

use blindtally::identity::{OtherKind, RawId};
use blindtally::model::field::Field;
use blindtally::model::limits;
use blindtally::model::reason::Reason;
use blindtally::model::vocab::RecordType;
use blindtally::wire::fault::Pointer;
use blindtally::wire::record::Value;
use blindtally::wire::schema::{self, Room, Schemas};
use blindtally::wire::{Attributes, Decoder, Fault, Limits, Media, Record, Unfit};

use crate::spellings::Tags;

/// All of a record that can be compared; what is raw is compared by its pseudonym.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The record's own id.
    pub event_id: Vec<u8>,
    /// Envelope, and what the schema knows besides, in one text each.
    pub plain: Vec<String>,
    /// Kept values, sorted by field: the order of the members is the producer's own business.
    pub stored: Vec<(u8, String)>,
    /// Fields that identify, sorted by field.
    pub raw: Vec<(u8, [u8; 16])>,
}

/// A refusal, with what `too_long` hides left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// Where.
    pub pointer: String,
}

/// What became of a body: its records in their order, and how the body as a whole ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The records.
    pub records: Vec<Result<Taken, Refused>>,
    /// The end.
    pub end: Result<usize, Unfit>,
}

/// How a body came.
#[derive(Clone, Copy)]
pub enum Way<'h> {
    /// In a format.
    Media(Media),
    /// As the data of a CloudEvent in binary mode.
    Binary(&'h [(&'h str, &'h [u8])]),
}

/// Decodes with a decoder that has seen the body before as well as with a fresh one: what a decoder
/// remembers may make it faster, and must not change what it says.
pub fn decode(way: Way<'_>, body: &[u8], limits: Limits, tags: &mut Tags) -> Decoded {
    let mut decoder = Decoder::new(limits);
    let first = decode_with(&mut decoder, way, body, limits, tags);
    let again = decode_with(&mut decoder, way, body, limits, tags);
    assert_eq!(first, again, "a decoder's memory changes what it says");
    first
}

fn decode_with(
    decoder: &mut Decoder,
    way: Way<'_>,
    body: &[u8],
    limits: Limits,
    tags: &mut Tags,
) -> Decoded {
    let mut records = Vec::new();
    let mut room = body.to_vec();
    let mut each = |index: usize, record: Result<&Record<'_>, Fault<'_>>| {
        assert_eq!(index, records.len(), "records come in their order");
        records.push(match record {
            Ok(record) => Ok(taken(record, tags)),
            Err(fault) => Err(refused(&fault)),
        });
    };
    let attributes = match way {
        Way::Binary(headers) => Attributes::from_headers(headers.iter().copied()),
        Way::Media(_) => None,
    };
    let end = match (way, &attributes) {
        (Way::Media(media), _) => decoder.decode(media, &mut room, &mut each),
        (Way::Binary(_), Some(attributes)) => {
            decoder.decode_binary(attributes, &mut room, &mut each)
        }
        (Way::Binary(_), None) => Err(Unfit::Unreadable),
    };
    assert!(records.len() <= limits.records);
    if let Ok(count) = end {
        assert_eq!(count, records.len());
    }
    Decoded { records, end }
}

fn refused(fault: &Fault<'_>) -> Refused {
    if let Some(event_id) = fault.event_id {
        assert!((1..=limits::EVENT_ID_BYTES_MAX).contains(&event_id.len()));
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"._:-".contains(b);
        assert!(event_id.iter().all(plain), "an event id that is not safe to print");
    }
    Refused { reason: fault.reason, pointer: pointer_text(fault.pointer) }
}

/// The text of a pointer, made of nothing but names of the schema and indexes.
pub fn pointer_text(pointer: Pointer) -> String {
    let text = pointer.to_string();
    let mut parts = text.split('/');
    assert_eq!(parts.next(), Some(""));
    for part in parts {
        let index = part.parse::<u16>().is_ok_and(|index| index.to_string() == part);
        assert!(index || is_schema_name(part), "{part} is no name of the schema");
    }
    text
}

fn is_schema_name(name: &str) -> bool {
    let others =
        [Room::Device, Room::DeviceId, Room::Drm, Room::License, Room::Source, Room::Event];
    let rooms = RecordType::ALL.iter().map(|kind| Room::of(*kind)).chain(others);
    let known = |room| Schemas::get().table(room).find(name.as_bytes()).is_some();
    schema::secret(name.as_bytes()).is_some() || rooms.into_iter().any(known)
}

fn taken(record: &Record<'_>, tags: &mut Tags) -> Taken {
    check_bounds(record);
    let mut tag = |raw: RawId<'_>| tags.other(OtherKind::Session, raw);
    let mut raw: Vec<(u8, [u8; 16])> =
        record.raw.iter().map(|(field, raw)| (field.code(), tag(*raw))).collect();
    for (at, device) in record.devices.iter().enumerate() {
        assert!(device.value.len() <= limits::DEVICE_ID_BYTES_MAX);
        raw.push((Field::DeviceIds.code(), tag(device.value)));
        raw.push((at as u8, [device.kind.code(); 16]));
        raw.push((at as u8, [device.encoding.map_or(0, |encoding| encoding.code()); 16]));
    }
    raw.extend(record.user_id.map(|user| (Field::UserId.code(), tag(user))));
    raw.sort_unstable();
    let mut stored: Vec<(u8, String)> =
        record.stored.iter().map(|(field, value)| (field.code(), value_text(value))).collect();
    stored.sort_unstable();
    Taken { event_id: record.event_id.to_vec(), plain: plain(record), stored, raw }
}

fn check_bounds(record: &Record<'_>) {
    let is_text = |text: &[u8]| assert!(std::str::from_utf8(text).is_ok());
    let bounds: [(Option<&[u8]>, usize); 5] = [
        (Some(record.event_id), limits::EVENT_ID_BYTES_MAX),
        (Some(record.site_id), limits::SITE_ID_BYTES_MAX),
        (record.producer, limits::SOURCE_BYTES_MAX),
        (record.cid, limits::CID_BYTES_MAX),
        (record.error_code, schema::ERROR_CODE_BYTES_MAX),
    ];
    for (text, max) in bounds {
        let text = text.unwrap_or_default();
        is_text(text);
        assert!(text.len() <= max);
    }
    assert!(!record.event_id.is_empty());
    assert!(record.user_id.is_none_or(|user| user.len() <= limits::USER_ID_BYTES_MAX));
    assert!(record.devices.len() <= limits::DEVICE_IDS_MAX);
    assert!(record.device_recommended.is_none_or(|at| usize::from(at) < record.devices.len()));
    assert!((0..253_402_300_800_000).contains(&record.occurred_at.0));
    assert!(record.kind != RecordType::LicenseIssued || record.outcome.is_some());
    for (field, value) in &record.stored {
        assert!(!field.identifies(), "{field} is kept as it came");
        if let Value::Text(text) = value {
            is_text(text);
            assert!(text.len() <= limits::FORENSIC_MARK_BYTES_MAX);
        }
    }
    for (field, raw) in &record.raw {
        assert!(field.identifies() || *field == Field::MatchedSessionId, "{field} is kept raw");
        let payload = matches!(field, Field::Payload | Field::WatermarkToken | Field::Wmid);
        let most =
            if payload { schema::PAYLOAD_TEXT_BYTES_MAX } else { limits::FORENSIC_MARK_BYTES_MAX };
        assert!(raw.len() <= most);
    }
}

fn plain(record: &Record<'_>) -> Vec<String> {
    vec![
        format!("{:?} {:?}", record.kind, record.occurred_at),
        format!("{:?} {:?}", record.site_id, record.producer),
        format!("{:?} {:?}", record.environment, record.outcome),
        format!("{:?} {:?} {:?}", record.error_code, record.error_class, record.cid),
        format!("{:?} {:?} {:?}", record.drm_type, record.request_type, record.license_type),
        format!("{:?} {:?}", record.user_id_kind, record.device_recommended),
        format!("{} {:?}", record.desktop, record.payload_encoding),
    ]
}

fn value_text(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => format!("text {}", text.escape_ascii()),
        Value::Int(number) => format!("number {number}"),
    }
}
