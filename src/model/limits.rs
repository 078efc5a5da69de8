//! Every limit of the contract, with its unit in the name. Those that an operator may change are
//! the defaults of a room's `Settings`.

/// Longest site id, bytes (API.md "Sites").
pub const SITE_ID_BYTES_MAX: usize = 64;
/// Longest event id, bytes (API.md "Ingest").
pub const EVENT_ID_BYTES_MAX: usize = 64;
/// Longest producer name in a record, bytes.
pub const PRODUCER_BYTES_MAX: usize = 64;
/// Longest CloudEvents `source`, bytes.
pub const SOURCE_BYTES_MAX: usize = 256;
/// Longest user id, bytes.
pub const USER_ID_BYTES_MAX: usize = 256;
/// Longest content id, bytes (PallyCon licence token specification).
pub const CID_BYTES_MAX: usize = 200;
/// Longest forensic mark, bytes (PallyCon session manager, error A7016).
pub const FORENSIC_MARK_BYTES_MAX: usize = 254;
/// Longest watermark payload, bytes once decoded (reference/domain.md §5).
pub const PAYLOAD_BYTES_MAX: usize = 8 << 10;
/// Longest request or session id of a licence, bytes that its hex or base64 stands for.
pub const LICENSE_ID_BYTES_MAX: usize = 64;
/// Longest device id value, bytes.
pub const DEVICE_ID_BYTES_MAX: usize = 256;
/// Most device ids in a record.
pub const DEVICE_IDS_MAX: usize = 8;
/// Longest other text, bytes.
pub const TEXT_BYTES_MAX: usize = 64;
/// Deepest nesting of objects and arrays in a record.
pub const JSON_DEPTH_MAX: usize = 8;
/// Largest body after inflation, bytes.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Most records in one request.
pub const BATCH_RECORDS_MAX: usize = 10_000;
/// Longest record (line or array element), bytes.
pub const RECORD_BYTES_MAX: usize = 64 << 10;
/// How far back `occurred_at` may lie, milliseconds (35 days).
pub const AGE_MS_MAX: i64 = 35 * 86_400_000;
/// How long a month waits for late records after its end, hours (reference/domain.md §8.2).
pub const CLOSING_HOURS: u32 = 72;
/// The shortest time that a site may set for it, hours.
pub const CLOSING_HOURS_MIN: u32 = 24;
/// The longest time that a site may set for it, hours (10 days).
pub const CLOSING_HOURS_MAX: u32 = 240;
/// How long after the creation of a site its first month closes at the earliest, hours.
pub const NEW_SITE_HOURS: u32 = 72;
/// How far ahead `occurred_at` may lie, milliseconds (5 minutes).
pub const FUTURE_MS_MAX: i64 = 5 * 60_000;
/// How long after the accepted age and the tolerance ahead a slot that knows duplicates is kept,
/// milliseconds (an hour).
pub const SLOT_MARGIN_MS: i64 = 3_600_000;
/// Most entries in an answer's `errors`.
pub const ERRORS_LISTED_MAX: usize = 1_000;
/// Longest `Idempotency-Key`, bytes (Stripe's practice).
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// How long the answer to an `Idempotency-Key` is kept, days.
pub const IDEMPOTENCY_DAYS: u32 = 7;
/// How long before records are kept longer it must be known, days: a material change of rights
/// (reference/privacy.md §1.7, row 55).
pub const MATERIAL_NOTICE_DAYS: u32 = 30;
