//! Why a record was refused: the closed list of codes of the contract.

use super::vocab::vocabulary;

vocabulary! {
    /// The reason code of a rejected record. Closed and documented in docs/reasons.md; a code never
    /// carries a value from the input.
    pub enum Reason {
        /// The line or element is no JSON object, or no JSON.
        BadJson = 1, "bad_json";
        /// The record, or one of its values, is longer than its limit.
        TooLong = 2, "too_long";
        /// A member that the schema does not know; the pointer names the parent object.
        UnknownField = 3, "unknown_field";
        /// A member given twice.
        DuplicateField = 4, "duplicate_field";
        /// Key material or a protocol body, which Blindtally never takes.
        SecretField = 5, "secret_field";
        /// A required member is missing.
        MissingField = 6, "missing_field";
        /// A value of another JSON type than the schema's.
        WrongType = 7, "wrong_type";
        /// A value outside the vocabulary or range of its member.
        BadValue = 8, "bad_value";
        /// A record type that does not exist.
        UnknownType = 9, "unknown_type";
        /// A site that does not exist or is not the caller's.
        UnknownSite = 10, "unknown_site";
        /// A site whose collection has ended.
        SiteTerminated = 11, "site_terminated";
        /// A producer name that the credential may not use.
        ProducerNotAllowed = 12, "producer_not_allowed";
        /// A time that cannot be read.
        BadTime = 13, "bad_time";
        /// Older than the accepted age.
        TooOld = 14, "too_old";
        /// Further ahead than the clock tolerance.
        InFuture = 15, "in_future";
        /// A device id kind that does not exist (`opaque` is there for the rest).
        UnknownDeviceKind = 16, "unknown_device_kind";
        /// More device ids than a record may carry.
        TooManyDevices = 17, "too_many_devices";
        /// A CloudEvents attribute that is missing or unfit.
        BadCloudEvent = 18, "bad_cloudevent";
        /// Of another site, or of another time, than the backfill it was sent to.
        NotInBackfill = 19, "not_in_backfill";
    }
}

impl Reason {
    /// Whether sending the same record again later can succeed.
    pub fn retryable(self) -> bool {
        matches!(self, Self::InFuture)
    }
}
