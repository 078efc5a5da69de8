//! The allow-list: every member that may come in, its kind of value, and what becomes of it
//! (reference/domain.md §9). A member that stands in no table here is refused, so nothing passes
//! through unread.

use std::sync::LazyLock;

use super::json::Pattern;
use crate::model::field::Field;
use crate::model::limits;
use crate::model::vocab::RecordType;

/// Longest error code, bytes.
pub const ERROR_CODE_BYTES_MAX: usize = 32;
/// Longest order id, bytes.
pub const ORDER_ID_BYTES_MAX: usize = 128;
/// Longest content id as it is written: the base64 of the longest one.
const CID_TEXT_BYTES_MAX: usize = limits::CID_BYTES_MAX.div_ceil(3) * 4;
/// Longest text of a payload in any encoding, bytes: a character a bit, see
/// [`payload_text_max`](crate::wire::words::payload_text_max).
pub const PAYLOAD_TEXT_BYTES_MAX: usize = 8 * limits::PAYLOAD_BYTES_MAX - 8;
/// Longest address that a host name is cut out of, bytes.
const ADDRESS_BYTES_MAX: usize = 2_048;
/// Most elements of a list (key ids, formats).
pub const LIST_MAX: usize = 64;

/// A closed list of spellings, each with the word that is kept.
pub type Words = &'static [(&'static str, &'static str)];

/// The kind of value that a plain member takes. Texts are bounded in bytes.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Text.
    Text(usize),
    /// Text, kept in lower case.
    Lower(usize),
    /// Text or an integer (job numbers that some vendors send bare).
    TextOrInt(usize),
    /// One of a list of words, byte-exact.
    Word(Words),
    /// One of a list of words, letters of either case.
    AnyCase(Words),
    /// One of the DRM systems.
    Drm,
    /// A state of a packaging job, as a word or as a vendor's `WM…` code.
    JobStatus,
    /// An integer of 64 bits.
    Int,
    /// `true` or `false`.
    Bool,
    /// `true`, `false` or an integer.
    Flag,
    /// Any number.
    Number,
    /// A time in any accepted spelling.
    Time,
    /// A time, or one of the values that say that there is none; those are not kept.
    End,
    /// Text that only describes a device: trimmed, and cut at the length of a text.
    Label,
    /// Text of the usual length; or, up to so many bytes, their hex or base64.
    Spelled(usize),
    /// A host name, or an address from which everything else is cut off.
    Host,
    /// A UUID.
    Uuid,
    /// How a watermark is carried, as a word or as the number that edge tokens use.
    Mode,
}

/// What becomes of a member.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Envelope: the event id.
    EventId,
    /// Envelope: the record type.
    Type,
    /// Envelope: the producer.
    Producer,
    /// Envelope: the site.
    Site,
    /// Envelope: the time of the event.
    OccurredAt,
    /// Envelope: the version of the schema, which is 1.
    Schema,
    /// Envelope: production, trial or test.
    Environment,
    /// Envelope: success or fail.
    Outcome,
    /// Envelope: the error code.
    ErrorCode,
    /// Envelope: the error class.
    ErrorClass,
    /// Envelope: the content id.
    Cid,
    /// The DRM system of a licence.
    DrmType,
    /// The request type of a licence.
    RequestType,
    /// The licence type.
    LicenseType,
    /// `true` makes the licence type offline.
    Persistent,
    /// The end user.
    UserId,
    /// What the end user's id stands for.
    UserKind,
    /// The list of device ids.
    DeviceIds,
    /// The index of the recommended device id.
    Recommended,
    /// Kept text that may tell a desktop (platform, operating system).
    System(Field),
    /// The device's model, whose name may tell a desktop CDM.
    Model,
    /// Kind of one device id.
    DeviceKind,
    /// Value of one device id.
    DeviceValue,
    /// Encoding of one device id.
    DeviceEncoding,
    /// A nested object.
    Object(Room),
    /// Kept as it is.
    Keep(Field, Shape),
    /// A list, kept element by element.
    List(Field, Shape),
    /// Kept as a pseudonym only.
    Hide(Field, Shape),
    /// A reference to a session (pseudonym only) or whether there is one.
    MatchedSession,
    /// How the payload is written.
    PayloadEncoding,
    /// Taken and thrown away, because it is free text that may hold names.
    Drop,
    /// CloudEvents `specversion`.
    SpecVersion,
    /// CloudEvents `id`.
    EventAttributeId,
    /// CloudEvents `source`.
    Source,
    /// CloudEvents `type`.
    EventAttributeType,
    /// CloudEvents `subject`.
    Subject,
    /// CloudEvents `time`.
    EventTime,
    /// CloudEvents `datacontenttype`.
    DataContentType,
    /// CloudEvents `data`.
    Data,
    /// An attribute that must not be there.
    Forbidden,
    /// An attribute that is read over.
    Ignored,
}

/// A member of an object.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What becomes of it.
    pub rule: Rule,
}

const fn m(name: &'static str, rule: Rule) -> Member {
    Member { name, rule }
}

const fn keep(name: &'static str, field: Field, shape: Shape) -> Member {
    m(name, Rule::Keep(field, shape))
}

const fn hide(name: &'static str, field: Field, shape: Shape) -> Member {
    m(name, Rule::Hide(field, shape))
}

const TEXT: Shape = Shape::Text(limits::TEXT_BYTES_MAX);
const LOWER: Shape = Shape::Lower(limits::TEXT_BYTES_MAX);
const TEXT_OR_INT: Shape = Shape::TextOrInt(limits::TEXT_BYTES_MAX);
const LICENSE_ID: Shape = Shape::Spelled(limits::LICENSE_ID_BYTES_MAX);
const PAYLOAD: Shape = Shape::TextOrInt(PAYLOAD_TEXT_BYTES_MAX);
/// An identifier or, in direct mode, a whole pattern; hex is its longest spelling.
const WMID: Shape = Shape::TextOrInt(2 * limits::PAYLOAD_BYTES_MAX);
const MARK: Shape = Shape::Text(limits::FORENSIC_MARK_BYTES_MAX);

/// The members of every record type. They stand first, in this order, in each type's table.
pub const ENVELOPE: &[Member] = &[
    m("event_id", Rule::EventId),
    m("type", Rule::Type),
    m("producer", Rule::Producer),
    m("site_id", Rule::Site),
    m("occurred_at", Rule::OccurredAt),
    m("schema", Rule::Schema),
    m("environment", Rule::Environment),
    m("outcome", Rule::Outcome),
    m("error_code", Rule::ErrorCode),
    m("error_class", Rule::ErrorClass),
    m("error_message", Rule::Drop),
    m("cid", Rule::Cid),
    keep(
        "cid_encoding",
        Field::CidEncoding,
        Shape::Word(&[("base64", "base64"), ("utf8", "utf8")]),
    ),
];

const LICENSE_ISSUED: &[Member] = &[
    m("user_id", Rule::UserId),
    m("user_id_kind", Rule::UserKind),
    m("device", Rule::Object(Room::Device)),
    m("drm_type", Rule::DrmType),
    m("request_type", Rule::RequestType),
    m("license_type", Rule::LicenseType),
    m("persistent", Rule::Persistent),
    m("drm", Rule::Object(Room::Drm)),
    m("license", Rule::Object(Room::License)),
    hide("session_id", Field::SessionId, LICENSE_ID),
    keep("system_id", Field::DrmSystemId, TEXT_OR_INT),
    keep("vmp_status", Field::DrmVmpStatus, TEXT_OR_INT),
    keep("hdcp", Field::DrmHdcp, TEXT_OR_INT),
    hide("order_id", Field::OrderId, Shape::Text(ORDER_ID_BYTES_MAX)),
    m("client_ip", Rule::Drop),
    m("user_agent", Rule::Drop),
    keep("latency_ms", Field::Latency, Shape::Int),
];

const FORMATS: Words = &[
    ("dash", "dash"),
    ("hls", "hls"),
    ("cmaf", "cmaf"),
    ("ncg", "ncg"),
    ("hls_ncg", "hls_ncg"),
    ("mss", "mss"),
];

const CONTENT_PACKAGED: &[Member] = &[
    keep("job_id", Field::JobId, TEXT_OR_INT),
    m("job_name", Rule::Drop),
    keep("packager", Field::Packager, TEXT),
    keep("packager_version", Field::Version, TEXT),
    keep("version", Field::Version, TEXT),
    m("formats", Rule::List(Field::Formats, Shape::Word(FORMATS))),
    m("drm_types", Rule::List(Field::DrmTypes, Shape::Drm)),
    keep("encryption", Field::Encryption, Shape::Word(&[("cenc", "cenc"), ("cbcs", "cbcs")])),
    keep("multi_key", Field::MultiKey, Shape::Bool),
    m("track_types", Rule::List(Field::TrackTypes, Shape::Word(TRACKS))),
    m("kids", Rule::List(Field::Kids, Shape::Uuid)),
    keep("key_period_index", Field::KeyPeriodIndex, Shape::Int),
    keep("started_at", Field::StartedAt, Shape::Time),
    keep("finished_at", Field::FinishedAt, Shape::Time),
    m("input_path", Rule::Drop),
    m("output_path", Rule::Drop),
    hide("operator_id", Field::OperatorId, TEXT),
];

const TRACKS: Words =
    &[("AUDIO", "AUDIO"), ("SD", "SD"), ("HD", "HD"), ("UHD1", "UHD1"), ("UHD2", "UHD2")];

const SESSION_CREATED: &[Member] = &[
    m("user_id", Rule::UserId),
    m("user_id_kind", Rule::UserKind),
    m("device", Rule::Object(Room::Device)),
    hide("wm_session_id", Field::WmSessionId, TEXT),
    keep("streaming_format", Field::StreamingFormat, Shape::AnyCase(FORMATS)),
    keep("cdn", Field::Cdn, LOWER),
    keep(
        "wmt_type",
        Field::WmtType,
        Shape::AnyCase(&[("aes", "aes"), ("wmt", "wmt"), ("cwt", "cwt"), ("jwt", "jwt")]),
    ),
    hide("forensic_mark", Field::ForensicMark, MARK),
    hide("payload", Field::Payload, PAYLOAD),
    m("payload_encoding", Rule::PayloadEncoding),
    keep("wmver", Field::WmVersion, Shape::Int),
    keep("wmvnd", Field::WmVendor, TEXT_OR_INT),
    hide("wmid", Field::Wmid, WMID),
    // The same bits as a payload, where the token carries them itself.
    hide("wmpattern", Field::Payload, PAYLOAD),
    keep("wmopid", Field::WmOperator, TEXT_OR_INT),
    keep("wmkeyver", Field::WmKeyVersion, TEXT_OR_INT),
    keep("wmpatlen", Field::WmPatternLength, Shape::Int),
    m("wmsegduration", Rule::Drop),
    keep("mode", Field::Mode, Shape::Mode),
    // The names that edge code had before the standard.
    keep("wmidtyp", Field::Mode, Shape::Mode),
    m("wmidfmt", Rule::Drop),
    keep("wmidkeyver", Field::WmKeyVersion, TEXT_OR_INT),
    m("segduration", Rule::Drop),
    // The keys of the claims in CBOR (ETSI TS 104 002).
    keep("300", Field::WmVersion, Shape::Int),
    keep("301", Field::WmVendor, TEXT_OR_INT),
    keep("302", Field::WmPatternLength, Shape::Int),
    m("303", Rule::Drop),
    hide("304", Field::Payload, PAYLOAD),
    hide("305", Field::Wmid, WMID),
    keep("306", Field::WmOperator, TEXT_OR_INT),
    keep("307", Field::WmKeyVersion, TEXT_OR_INT),
    keep("expires_at", Field::ExpiresAt, Shape::End),
    keep("skip_bit", Field::SkipBit, Shape::Flag),
    keep("revocable", Field::Revocable, Shape::Bool),
    keep("domain", Field::Domain, Shape::Host),
    m("output_path", Rule::Drop),
];

const WATERMARK_PACKAGED: &[Member] = &[
    keep("job_id", Field::JobId, TEXT_OR_INT),
    m("job_name", Rule::Drop),
    keep(
        "kind",
        Field::Kind,
        Shape::Word(&[
            ("ab_preprocess", "ab_preprocess"),
            ("distributor", "distributor"),
            ("prerelease", "prerelease"),
        ]),
    ),
    keep("variants", Field::Variants, Shape::Int),
    m("formats", Rule::List(Field::Formats, Shape::Word(FORMATS))),
    keep("drm", Field::Drm, Shape::Bool),
    keep("region", Field::Region, TEXT),
    keep("status", Field::Status, Shape::JobStatus),
    keep("vendor_status", Field::VendorStatus, TEXT),
    keep("registered_at", Field::RegisteredAt, Shape::Time),
    keep("started_at", Field::StartedAt, Shape::Time),
    keep("updated_at", Field::UpdatedAt, Shape::Time),
    keep("finished_at", Field::FinishedAt, Shape::Time),
    keep("strength", Field::Strength, TEXT_OR_INT),
    m("source", Rule::Object(Room::Source)),
    hide("recipient_id", Field::RecipientId, TEXT),
    hide("distributor_id", Field::DistributorId, TEXT),
    hide("dwm_id", Field::DwmId, TEXT_OR_INT),
    m("input_path", Rule::Drop),
    m("output_path", Rule::Drop),
];

const DETECTION_STATES: Words = &[
    ("completed", "completed"),
    ("not_found", "not_found"),
    ("error", "error"),
    ("failed", "failed"),
    ("cancelled", "cancelled"),
    ("FD004", "completed"),
    ("FD005", "cancelled"),
    ("FD006", "error"),
    ("FD007", "failed"),
];

const WATERMARK_DETECTED: &[Member] = &[
    keep("detection_id", Field::DetectionId, TEXT_OR_INT),
    keep("status", Field::Status, Shape::Word(DETECTION_STATES)),
    keep(
        "method",
        Field::Method,
        Shape::Word(&[
            ("blind", "blind"),
            ("non-blind", "non-blind"),
            ("single-frame", "single-frame"),
        ]),
    ),
    keep("detector", Field::Detector, TEXT),
    keep("version", Field::Version, TEXT),
    m("title", Rule::Drop),
    hide("payload", Field::Payload, PAYLOAD),
    m("payload_encoding", Rule::PayloadEncoding),
    hide("forensic_mark", Field::ForensicMark, MARK),
    hide("watermark_token", Field::WatermarkToken, PAYLOAD),
    m("matched_session", Rule::MatchedSession),
    keep("confidence", Field::Confidence, Shape::Number),
    keep("bits_recovered", Field::BitsRecovered, Shape::Int),
    keep("bits_total", Field::BitsTotal, Shape::Int),
    keep("segments_analysed", Field::SegmentsAnalyzed, Shape::Int),
    keep("duration_s", Field::Duration, Shape::Number),
    keep("resolution", Field::Resolution, TEXT),
    keep("from_offset", Field::FromOffset, Shape::Number),
    keep("to_offset", Field::ToOffset, Shape::Number),
    keep(
        "source_kind",
        Field::SourceKind,
        Shape::Word(&[("url", "url"), ("upload", "upload"), ("live", "live")]),
    ),
    keep("source_host", Field::SourceHost, Shape::Host),
    m("source_url", Rule::Drop),
    keep("requested_at", Field::RequestedAt, Shape::Time),
    keep("completed_at", Field::CompletedAt, Shape::Time),
    keep(
        "action",
        Field::Action,
        Shape::Word(&[("none", "none"), ("revoked", "revoked"), ("blacklisted", "blacklisted")]),
    ),
    keep("evidence_hold", Field::EvidenceHold, Shape::Bool),
];

const DEVICE: &[Member] = &[
    m("ids", Rule::DeviceIds),
    m("recommended", Rule::Recommended),
    keep("make", Field::DeviceMake, Shape::Label),
    m("model", Rule::Model),
    m("os", Rule::System(Field::DeviceOs)),
    keep("os_version", Field::DeviceOsVersion, Shape::Label),
    m("platform", Rule::System(Field::DevicePlatform)),
];

const DEVICE_ID: &[Member] = &[
    m("kind", Rule::DeviceKind),
    m("value", Rule::DeviceValue),
    m("encoding", Rule::DeviceEncoding),
];

const DRM: &[Member] = &[
    keep("security_level", Field::DrmSecurityLevel, TEXT_OR_INT),
    keep("cdm_version", Field::DrmCdmVersion, TEXT),
    keep("system_id", Field::DrmSystemId, TEXT_OR_INT),
    keep("vmp_status", Field::DrmVmpStatus, TEXT_OR_INT),
    keep("hdcp", Field::DrmHdcp, TEXT_OR_INT),
];

const LICENSE: &[Member] = &[
    hide("request_id", Field::LicenseRequestId, LICENSE_ID),
    hide("session_id", Field::SessionId, LICENSE_ID),
    keep("duration_s", Field::LicenseDuration, Shape::Int),
    keep("expires_at", Field::LicenseExpiresAt, Shape::End),
    keep("ro_end", Field::LicenseExpiresAt, Shape::End),
    keep("ro_start", Field::LicenseStartsAt, Shape::End),
    keep("ro_cnt", Field::LicensePlays, TEXT_OR_INT),
    keep("rental_s", Field::LicenseRental, Shape::Int),
    keep("playback_s", Field::LicensePlayback, Shape::Int),
    keep("allowed_tracks", Field::LicenseAllowedTracks, Shape::Word(ALLOWED_TRACKS)),
    m("persistent", Rule::Persistent),
];

const ALLOWED_TRACKS: Words = &[
    ("ALL", "ALL"),
    ("SD_ONLY", "SD_ONLY"),
    ("SD_HD", "SD_HD"),
    ("SD_UHD1", "SD_UHD1"),
    ("SD_UHD2", "SD_UHD2"),
];

const SOURCE: &[Member] = &[
    keep("duration_s", Field::SourceDuration, Shape::Number),
    keep("height", Field::SourceHeight, Shape::Int),
    keep("codec", Field::SourceCodec, TEXT),
];

const EVENT: &[Member] = &[
    m("specversion", Rule::SpecVersion),
    m("id", Rule::EventAttributeId),
    m("source", Rule::Source),
    m("type", Rule::EventAttributeType),
    m("subject", Rule::Subject),
    m("time", Rule::EventTime),
    m("datacontenttype", Rule::DataContentType),
    m("dataschema", Rule::Ignored),
    m("data", Rule::Data),
    m("data_base64", Rule::Forbidden),
    m("dataclassification", Rule::Forbidden),
    m("dataregulation", Rule::Forbidden),
    m("datacategory", Rule::Forbidden),
];

/// Names of key material and protocol bodies, refused in every object. `license` is one too where
/// it is not the object of the schema.
const SECRETS: &[&str] = &[
    "license",
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
];

/// The name of a secret, if the member is one.
pub fn secret(name: &[u8]) -> Option<&'static str> {
    SECRETS.iter().find(|secret| secret.as_bytes() == name).copied()
}

/// The objects that have a table. The first five are the record types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// `drm.license.issued`
    LicenseIssued,
    /// `drm.content.packaged`
    ContentPackaged,
    /// `watermark.session.created`
    SessionCreated,
    /// `watermark.content.packaged`
    WatermarkPackaged,
    /// `watermark.detected`
    WatermarkDetected,
    /// `device`
    Device,
    /// An element of `device.ids`.
    DeviceId,
    /// `drm`
    Drm,
    /// `license`
    License,
    /// `source`
    Source,
    /// The envelope of a structured CloudEvent.
    Event,
}

/// How many rooms there are.
pub const ROOMS: usize = 11;

impl Room {
    /// The table of a record type.
    pub const fn of(kind: RecordType) -> Self {
        match kind {
            RecordType::LicenseIssued => Self::LicenseIssued,
            RecordType::ContentPackaged => Self::ContentPackaged,
            RecordType::SessionCreated => Self::SessionCreated,
            RecordType::WatermarkPackaged => Self::WatermarkPackaged,
            RecordType::WatermarkDetected => Self::WatermarkDetected,
        }
    }
}

/// A member as it is looked up.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number in the table.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// How it begins in a text without spaces, and in one with a space after each colon: the quoted
    /// name, the colon and, where the value is text, its first quote.
    pub begins: [Pattern; 2],
    /// Whether the value is text.
    pub is_text: bool,
    /// How long its value may be as text.
    pub text_max: usize,
    /// What becomes of it.
    pub rule: Rule,
}

impl Entry {
    fn new((number, member): (usize, &Member)) -> Self {
        let text_max = member.rule.text_max();
        let quote = if text_max.is_some() { "\"" } else { "" };
        let begins = |space| Pattern::new(&format!("\"{}\":{space}{quote}", member.name));
        Self {
            number: u8::try_from(number).unwrap_or(u8::MAX),
            name: member.name,
            begins: [begins(""), begins(" ")],
            is_text: text_max.is_some(),
            text_max: text_max.unwrap_or_default(),
            rule: member.rule,
        }
    }
}

impl Shape {
    /// How long a value may be as text; `None` where it is never text.
    pub const fn text_max(self) -> Option<usize> {
        match self {
            Self::Text(max) | Self::Lower(max) | Self::TextOrInt(max) => Some(max),
            Self::Spelled(bytes) => Some(2 * bytes),
            Self::Host => Some(ADDRESS_BYTES_MAX),
            Self::Word(_)
            | Self::AnyCase(_)
            | Self::Drm
            | Self::JobStatus
            | Self::Time
            | Self::End
            | Self::Label
            | Self::Uuid
            | Self::Mode => Some(usize::MAX),
            Self::Int | Self::Bool | Self::Flag | Self::Number => None,
        }
    }
}

impl Rule {
    /// How long a value may be as text; `None` where it is never text. A word of a vocabulary is
    /// not too long but unknown.
    pub const fn text_max(self) -> Option<usize> {
        match self {
            Self::EventId | Self::EventAttributeId => Some(limits::EVENT_ID_BYTES_MAX),
            Self::Producer => Some(limits::PRODUCER_BYTES_MAX),
            Self::Source => Some(limits::SOURCE_BYTES_MAX),
            Self::Site => Some(limits::SITE_ID_BYTES_MAX),
            Self::ErrorCode => Some(ERROR_CODE_BYTES_MAX),
            Self::Cid => Some(CID_TEXT_BYTES_MAX),
            Self::UserId => Some(limits::USER_ID_BYTES_MAX),
            Self::DeviceValue => Some(limits::DEVICE_ID_BYTES_MAX),
            Self::MatchedSession => Some(limits::TEXT_BYTES_MAX),
            Self::Keep(_, shape) | Self::Hide(_, shape) => shape.text_max(),
            Self::Schema
            | Self::Persistent
            | Self::DeviceIds
            | Self::Recommended
            | Self::Object(_)
            | Self::List(..)
            | Self::Data => None,
            _ => Some(usize::MAX),
        }
    }

    /// Whether this is an attribute of a CloudEvent, and not its data.
    pub const fn is_attribute(self) -> bool {
        matches!(
            self,
            Self::SpecVersion
                | Self::EventAttributeId
                | Self::Source
                | Self::EventAttributeType
                | Self::Subject
                | Self::EventTime
                | Self::DataContentType
                | Self::Forbidden
        )
    }
}

/// The number of the entry that is no member.
pub const NOTHING: u8 = 63;

/// The members of one object, in the order of their numbers.
pub struct Table {
    entries: Vec<Entry>,
}

impl Table {
    fn new(parts: &[&[Member]]) -> Self {
        Self { entries: parts.iter().copied().flatten().enumerate().map(Entry::new).collect() }
    }

    /// The member of a name.
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name.as_bytes() == name)
    }

    /// The names of the members.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.name)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The tables of all objects.
pub struct Schemas {
    tables: [Table; ROOMS],
    /// Stands where no member has been met or guessed yet; its name is no member's.
    nothing: Entry,
}

impl Schemas {
    /// The tables, built once.
    pub fn get() -> &'static Self {
        static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| Schemas {
            tables: [
                Table::new(&[ENVELOPE, LICENSE_ISSUED]),
                Table::new(&[ENVELOPE, CONTENT_PACKAGED]),
                Table::new(&[ENVELOPE, SESSION_CREATED]),
                Table::new(&[ENVELOPE, WATERMARK_PACKAGED]),
                Table::new(&[ENVELOPE, WATERMARK_DETECTED]),
                Table::new(&[DEVICE]),
                Table::new(&[DEVICE_ID]),
                Table::new(&[DRM]),
                Table::new(&[LICENSE]),
                Table::new(&[SOURCE]),
                Table::new(&[EVENT]),
            ],
            nothing: Entry::new((NOTHING as usize, &m("", Rule::Ignored))),
        });
        &SCHEMAS
    }

    /// The table of an object.
    #[inline(always)]
    pub fn table(&self, room: Room) -> &Table {
        // The enum has exactly as many words as there are tables.
        &self.tables[room as usize]
    }

    /// The entry that is no member.
    pub fn nothing(&self) -> &Entry {
        &self.nothing
    }

    /// Whether any record type knows the member.
    pub fn any_type_knows(&self, name: &[u8]) -> bool {
        RecordType::ALL.iter().any(|kind| self.table(Room::of(*kind)).find(name).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::PATTERN_BYTES_MAX;
    use crate::wire::record::namespace;

    #[test]
    fn names_are_distinct_and_fit_a_key_and_a_mask() {
        for table in &Schemas::get().tables {
            assert!(table.len() < 63);
            for (at, entry) in table.entries.iter().enumerate() {
                let name = entry.name;
                assert!((1..=PATTERN_BYTES_MAX - 5).contains(&name.len()), "{name}");
                let found = table.find(name.as_bytes()).map(|found| usize::from(found.number));
                assert_eq!(found, Some(at), "{name}");
                let listed = matches!(entry.rule, Rule::Object(Room::License));
                assert!(listed || secret(name.as_bytes()).is_none(), "{name}");
            }
        }
    }

    #[test]
    fn identifying_fields_are_hidden_and_others_kept() {
        for table in &Schemas::get().tables {
            for entry in &table.entries {
                match entry.rule {
                    Rule::Hide(field, _) => {
                        assert!(field.identifies(), "{field}");
                        assert!(namespace(field).is_some(), "{field}");
                    }
                    Rule::Keep(field, _) | Rule::List(field, _) => {
                        assert!(!field.identifies(), "{field}");
                    }
                    _ => {}
                }
            }
        }
    }
}
