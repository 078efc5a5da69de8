//! The fields of the five record types (reference/domain.md §9): what a block has columns for.
//! Codes below 128 are kept as they came; codes from 128 identify somebody and are kept as
//! pseudonyms only.

use super::vocab::vocabulary;

vocabulary! {
    /// A field of a record that is stored, as a value or as a pseudonym.
    pub enum Field {
        /// How `cid` is written.
        CidEncoding = 1, "cid_encoding";
        /// Maker of the device.
        DeviceMake = 2, "device.make";
        /// Model of the device.
        DeviceModel = 3, "device.model";
        /// Operating system of the device.
        DeviceOs = 4, "device.os";
        /// Its version.
        DeviceOsVersion = 5, "device.os_version";
        /// Platform of the player.
        DevicePlatform = 6, "device.platform";
        /// Security level as the DRM system names it (L1, 3000, 5).
        DrmSecurityLevel = 10, "drm.security_level";
        /// Version of the content decryption module.
        DrmCdmVersion = 11, "drm.cdm_version";
        /// DRM system or device system id.
        DrmSystemId = 12, "drm.system_id";
        /// Verified media path status.
        DrmVmpStatus = 13, "drm.vmp_status";
        /// HDCP level.
        DrmHdcp = 14, "drm.hdcp";
        /// Validity of the licence, seconds.
        LicenseDuration = 20, "license.duration_s";
        /// End of the licence, milliseconds since 1970.
        LicenseExpiresAt = 21, "license.expires_at";
        /// Rental window, seconds.
        LicenseRental = 22, "license.rental_s";
        /// Playback window, seconds.
        LicensePlayback = 23, "license.playback_s";
        /// Tracks that the licence opens.
        LicenseAllowedTracks = 24, "license.allowed_tracks";
        /// When the licence begins, milliseconds since 1970.
        LicenseStartsAt = 26, "license.starts_at";
        /// How many plays the licence allows.
        LicensePlays = 27, "license.plays";
        /// How long the licence server took, milliseconds.
        Latency = 25, "latency_ms";
        /// Packaging job.
        JobId = 30, "job_id";
        /// Packager software.
        Packager = 31, "packager";
        /// Version of the packager or detector.
        Version = 32, "version";
        /// Output format; repeated.
        Formats = 33, "formats";
        /// DRM systems packaged for; repeated.
        DrmTypes = 34, "drm_types";
        /// Common encryption scheme.
        Encryption = 35, "encryption";
        /// Whether tracks have keys of their own.
        MultiKey = 36, "multi_key";
        /// Track types; repeated.
        TrackTypes = 37, "track_types";
        /// Key ids (not secret); repeated.
        Kids = 38, "kids";
        /// Index of the key period.
        KeyPeriodIndex = 39, "key_period_index";
        /// Start of a job, milliseconds since 1970.
        StartedAt = 40, "started_at";
        /// End of a job, milliseconds since 1970.
        FinishedAt = 41, "finished_at";
        /// Streaming format of a session.
        StreamingFormat = 50, "streaming_format";
        /// Delivery network of a session.
        Cdn = 51, "cdn";
        /// Watermark token type.
        WmtType = 52, "wmt_type";
        /// Watermark vendor (ETSI TS 104 002 claim 301).
        WmVendor = 53, "wmvnd";
        /// Watermark operator id (claim 306).
        WmOperator = 54, "wmopid";
        /// Watermark key version (claim 307).
        WmKeyVersion = 55, "wmkeyver";
        /// Watermark pattern length, bits (claim 302).
        WmPatternLength = 56, "wmpatlen";
        /// Direct or indirect pattern.
        Mode = 57, "mode";
        /// End of a session, milliseconds since 1970.
        ExpiresAt = 58, "expires_at";
        /// Skip bit of the session.
        SkipBit = 59, "skip_bit";
        /// Whether the session can be revoked.
        Revocable = 60, "revocable";
        /// The customer's delivery domain.
        Domain = 61, "domain";
        /// Version of the watermark token (claim 300).
        WmVersion = 62, "wmver";
        /// Kind of watermark packaging.
        Kind = 70, "kind";
        /// Number of variants.
        Variants = 71, "variants";
        /// Whether DRM is applied too.
        Drm = 72, "drm";
        /// Cloud region.
        Region = 73, "region";
        /// State of a job or detection.
        Status = 74, "status";
        /// The vendor's own state.
        VendorStatus = 75, "vendor_status";
        /// Registration of a job, milliseconds since 1970.
        RegisteredAt = 76, "registered_at";
        /// Last change of a job, milliseconds since 1970.
        UpdatedAt = 77, "updated_at";
        /// Watermark strength.
        Strength = 78, "strength";
        /// Length of the source, seconds.
        SourceDuration = 79, "source.duration_s";
        /// Height of the source, lines.
        SourceHeight = 80, "source.height";
        /// Codec of the source.
        SourceCodec = 81, "source.codec";
        /// Detection job.
        DetectionId = 90, "detection_id";
        /// Way of detection.
        Method = 91, "method";
        /// Detector software.
        Detector = 92, "detector";
        /// Whether a session was found for the payload.
        MatchedSession = 93, "matched_session";
        /// Confidence of the detection.
        Confidence = 94, "confidence";
        /// Payload bits that were read.
        BitsRecovered = 95, "bits_recovered";
        /// Payload bits that there are.
        BitsTotal = 96, "bits_total";
        /// Segments that were looked at.
        SegmentsAnalyzed = 97, "segments_analysed";
        /// Length of the suspect copy, seconds.
        Duration = 98, "duration_s";
        /// Resolution of the suspect copy.
        Resolution = 99, "resolution";
        /// Where the looked-at part begins, seconds.
        FromOffset = 100, "from_offset";
        /// Where it ends, seconds.
        ToOffset = 101, "to_offset";
        /// Kind of place where the copy was found.
        SourceKind = 102, "source_kind";
        /// Host where the copy was found.
        SourceHost = 103, "source_host";
        /// When detection was asked for, milliseconds since 1970.
        RequestedAt = 104, "requested_at";
        /// When it ended, milliseconds since 1970.
        CompletedAt = 105, "completed_at";
        /// What was done about it.
        Action = 106, "action";
        /// Whether the record is evidence to hold.
        EvidenceHold = 107, "evidence_hold";
        /// Content id.
        Cid = 110, "cid";
        /// Outcome.
        Outcome = 111, "outcome";
        /// Error code.
        ErrorCode = 112, "error_code";
        /// Error class.
        ErrorClass = 113, "error_class";
        /// DRM system.
        DrmType = 114, "drm_type";
        /// Request type.
        RequestType = 115, "request_type";
        /// License type.
        LicenseType = 116, "license_type";
        /// Environment.
        Environment = 117, "environment";
        /// What the user id stands for.
        UserIdKind = 118, "user_id_kind";
        /// The record's id in the producer's words.
        EventId = 119, "event_id";
        /// Record type.
        Type = 120, "type";
        /// Producer.
        Producer = 121, "producer";
        /// End user.
        UserId = 128, "user_id";
        /// Device id; repeated.
        DeviceIds = 129, "device.ids";
        /// License request.
        LicenseRequestId = 130, "license.request_id";
        /// Playback or licence session.
        SessionId = 131, "license.session_id";
        /// Order of the end user.
        OrderId = 132, "order_id";
        /// Console account of an employee.
        OperatorId = 133, "operator_id";
        /// Person a distributor copy was made for.
        RecipientId = 134, "recipient_id";
        /// Distributor a copy was made for.
        DistributorId = 135, "distributor_id";
        /// Distributor watermark of a channel.
        DwmId = 136, "dwm_id";
        /// Watermark session.
        WmSessionId = 137, "wm_session_id";
        /// Forensic mark, the customer's free text.
        ForensicMark = 138, "forensic_mark";
        /// Watermark payload.
        Payload = 139, "payload";
        /// Watermark token of a detection.
        WatermarkToken = 140, "watermark_token";
        /// Watermark id (claim 305).
        Wmid = 141, "wmid";
        /// The session that a detection was matched to.
        MatchedSessionId = 142, "matched_session_id";
    }
}

vocabulary! {
    /// Where an error of a licence request lies (reference/domain.md §3.3).
    pub enum ErrorClass {
        /// A plan's limit.
        Quota = 1, "quota";
        /// The licence server.
        Server = 2, "server";
        /// The licence token.
        Token = 3, "token";
        /// Widevine.
        Widevine = 4, "widevine";
        /// PlayReady.
        Playready = 5, "playready";
        /// FairPlay.
        Fairplay = 6, "fairplay";
        /// The customer's callback.
        Customer = 7, "customer";
        /// The request.
        Request = 8, "request";
    }
}

/// The error codes of licence requests whose class is known, from the first to the last of each
/// row: the table of reference/domain.md §3.3.
const ERROR_CODES: [(u16, u16, ErrorClass); 15] = [
    (1002, 1005, ErrorClass::Quota),
    (1006, 1006, ErrorClass::Server),
    (2001, 2001, ErrorClass::Server),
    (2701, 2702, ErrorClass::Server),
    (7007, 7019, ErrorClass::Token),
    (7021, 7021, ErrorClass::Token),
    (7101, 7113, ErrorClass::Widevine),
    (7201, 7206, ErrorClass::Playready),
    (7300, 7317, ErrorClass::Fairplay),
    (8002, 8002, ErrorClass::Customer),
    (8004, 8004, ErrorClass::Customer),
    (8006, 8006, ErrorClass::Customer),
    (8701, 8716, ErrorClass::Customer),
    (9001, 9001, ErrorClass::Request),
    (9999, 9999, ErrorClass::Server),
];

impl ErrorClass {
    /// The class of an error code of a licence request: four digits. `None` for one that the table
    /// does not know; `0000` is no error.
    pub fn of_error_code(code: &[u8]) -> Option<Self> {
        let digits = <[u8; 4]>::try_from(code).ok()?;
        let mut number = 0;
        for digit in digits {
            number = number * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
        let known = |(first, last, _): &&(u16, u16, Self)| (*first..=*last).contains(&number);
        ERROR_CODES.iter().find(known).map(|(_, _, class)| *class)
    }
}

impl Field {
    /// Whether the field identifies somebody, so that only a pseudonym of it may be kept.
    pub const fn identifies(self) -> bool {
        self.code() >= 128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_distinct() {
        for field in Field::ALL {
            assert_eq!(Field::from_code(field.code()), Some(*field));
            assert_eq!(Field::from_name(field.name().as_bytes()), Some(*field));
        }
    }
    /// Reference/domain.md §3.3, number by number; and whatever is next to it.
    #[test]
    fn error_codes_have_the_classes_of_the_table() {
        let table = "quota 1002 1003 1004 1005/server 1006 2001 2701 2702 9999/token 7007 7008 \
                     7009 7010 7011 7012 7013 7014 7015 7016 7017 7018 7019 7021/widevine 7101 \
                     7102 \
                     7103 7104 7105 7106 7107 7108 7109 7110 7111 7112 7113/playready 7201 7202 \
                     7203 7204 7205 7206/fairplay 7300 7301 7302 7303 7304 7305 7306 7307 7308 \
                     7309 7310 7311 7312 7313 7314 7315 7316 7317/customer 8002 8004 8006 8701 \
                     8702 8703 8704 8705 8706 8707 8708 8709 8710 8711 8712 8713 8714 8715 \
                     8716/request 9001";
        let mut known = std::collections::BTreeMap::new();
        for row in table.split('/') {
            let (class, codes) = row.split_once(' ').unwrap();
            let class = ErrorClass::from_name(class.as_bytes()).unwrap();
            known.extend(codes.split_whitespace().map(|code| (code.to_owned(), class)));
        }
        for number in 0..10_000 {
            let code = format!("{number:04}");
            assert_eq!(
                ErrorClass::of_error_code(code.as_bytes()),
                known.get(&code).copied(),
                "{code}"
            );
        }
        for other in ["", "701", "70111", "07011", "7o11", " 711", "-711", "A701", "WM900001"] {
            assert_eq!(ErrorClass::of_error_code(other.as_bytes()), None, "{other}");
        }
    }
}
