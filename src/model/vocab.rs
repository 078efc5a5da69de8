//! The closed vocabularies of the field: record types, DRM systems, outcomes, device id kinds.

/// Declares an enum with a stable one-byte code (stored) and a stable name (spoken).
macro_rules! vocabulary {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$vmeta:meta])* $variant:ident = $code:literal, $text:literal;)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $code,)+ }

        impl $name {
            /// Every word, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable byte that is stored.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The word for a stored byte.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            /// The word as it is spoken in the contract.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The word for a spoken name, byte-exact.
            pub fn from_name(name: &[u8]) -> Option<Self> {
                $(if name == $text.as_bytes() { return Some(Self::$variant); })+
                None
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use vocabulary;

vocabulary! {
    /// The five record types of the contract.
    pub enum RecordType {
        /// A DRM licence was issued or refused.
        LicenseIssued = 1, "drm.license.issued";
        /// Content was packaged with DRM.
        ContentPackaged = 2, "drm.content.packaged";
        /// A watermark session was created.
        SessionCreated = 3, "watermark.session.created";
        /// Content was prepared for watermarking.
        WatermarkPackaged = 4, "watermark.content.packaged";
        /// A detector looked for a mark in a suspect copy.
        WatermarkDetected = 5, "watermark.detected";
    }
}

vocabulary! {
    /// DRM systems. Eight of them, so that a set fits the bits of one byte.
    pub enum DrmType {
        /// Google Widevine.
        Widevine = 0, "widevine";
        /// Microsoft PlayReady.
        PlayReady = 1, "playready";
        /// Apple FairPlay Streaming.
        FairPlay = 2, "fairplay";
        /// INKA's NCG.
        Ncg = 3, "ncg";
        /// Huawei WisePlay.
        WisePlay = 4, "wiseplay";
        /// ClearKey of the W3C.
        ClearKey = 5, "clearkey";
        /// OMA DRM.
        Oma = 6, "oma";
        /// Any other, and none given.
        Other = 7, "other";
    }
}

vocabulary! {
    /// What a licence request asked for. Release, certificate and preflight are never countable
    /// (rule set `mau/1`).
    pub enum RequestType {
        /// A first licence.
        New = 1, "new";
        /// A renewal of a running licence.
        Renewal = 2, "renewal";
        /// A persistent licence.
        Offline = 3, "offline";
        /// The end of a licence.
        Release = 4, "release";
        /// A request for the service certificate.
        ServerCert = 5, "server_cert";
        /// A CORS preflight.
        Preflight = 6, "preflight";
    }
}

vocabulary! {
    /// Whether a licence may be kept.
    pub enum LicenseType {
        /// For one play.
        Streaming = 1, "streaming";
        /// Kept on the device.
        Offline = 2, "offline";
    }
}

vocabulary! {
    /// Where a record comes from; only production is billed.
    pub enum Environment {
        /// Billed.
        Production = 1, "production";
        /// Counted apart.
        Trial = 2, "trial";
        /// Counted apart.
        Test = 3, "test";
    }
}

vocabulary! {
    /// How the reported act ended.
    pub enum Outcome {
        /// It was done.
        Success = 1, "success";
        /// It was refused or failed.
        Fail = 2, "fail";
    }
}

vocabulary! {
    /// What a user id stands for.
    pub enum UserKind {
        /// A person's or household's account.
        Account = 1, "account";
        /// A set-top box, whose device id is its user id.
        Device = 2, "device";
        /// Nobody in particular.
        Anonymous = 3, "anonymous";
    }
}

vocabulary! {
    /// Device id kinds (reference: canonicaliser version 1). The kind is the namespace of the
    /// pseudonym: equal bytes of different kinds never link.
    pub enum DeviceKind {
        /// MediaDrm `PROPERTY_DEVICE_UNIQUE_ID`.
        WidevineDeviceUniqueId = 1, "widevine_device_unique_id";
        /// Widevine `drm_cert_serial_number`.
        WidevineCertSerial = 2, "widevine_cert_serial";
        /// NCG client id.
        NcgDeviceId = 3, "ncg_device_id";
        /// Android `ANDROID_ID` (SSAID).
        AndroidId = 4, "android_id";
        /// IMEI, the telephony id (3GPP TS 23.003 §6).
        Imei = 5, "imei";
        /// IMEI with software version; canonical form is the IMEI's.
        Imeisv = 6, "imeisv";
        /// MEID of CDMA devices.
        Meid = 7, "meid";
        /// Wi-Fi MAC address (EUI-48).
        WifiMac = 8, "wifi_mac";
        /// iOS identifier for vendor.
        Idfv = 9, "idfv";
        /// Android advertising id.
        Aaid = 10, "aaid";
        /// iOS advertising id.
        Idfa = 11, "idfa";
        /// PlayReady `client_id` of the device certificate.
        PlayreadyClientId = 12, "playready_client_id";
        /// FairPlay `HU`.
        FairplayHu = 13, "fairplay_hu";
        /// webOS LGUDID.
        Lgudid = 14, "lgudid";
        /// Samsung TV UUID.
        SamsungTvUuid = 15, "samsung_tv_uuid";
        /// A hash made by the customer.
        Prehashed = 16, "prehashed";
        /// Anything else.
        Opaque = 17, "opaque";
    }
}

vocabulary! {
    /// How far a device id can be trusted to tell one device from another. Only `good` is counted.
    pub enum Quality {
        /// Fits its kind and is no known junk.
        Good = 1, "good";
        /// Known to be the same on many devices.
        Shared = 2, "shared";
        /// Changes by itself (locally administered MAC).
        Randomized = 3, "randomised";
        /// A placeholder, or does not fit its kind.
        Junk = 4, "junk";
        /// A check digit that does not fit.
        ChecksumFailed = 5, "checksum_failed";
    }
}

vocabulary! {
    /// What a device id stays the same for.
    pub enum Scope {
        /// The device.
        Device = 1, "device";
        /// One app (or vendor) on the device.
        App = 2, "app";
        /// One installation.
        Install = 3, "install";
        /// All devices of a model.
        Model = 4, "model";
    }
}

vocabulary! {
    /// How the text of an ambiguous device id is to be read.
    pub enum IdEncoding {
        /// GUID text with little-endian first groups (PlayReady).
        GuidLe = 1, "guid_le";
        /// UUID text in big-endian order (CENC, DASH).
        UuidBe = 2, "uuid_be";
    }
}

vocabulary! {
    /// Retention classes (reference/privacy.md §1.3). Each record type and each kind of derived
    /// data belongs to exactly one.
    pub enum Class {
        /// C2: sealed licence, packaging and session records.
        Records = 2, "records";
        /// C3: pseudonym sets of the tallies.
        Sets = 3, "sets";
        /// C7: watermark detections.
        Detections = 7, "detections";
    }
}

impl RecordType {
    /// The retention class whose buckets hold records of this type.
    pub const fn class(self) -> Class {
        match self {
            Self::WatermarkDetected => Class::Detections,
            Self::LicenseIssued
            | Self::ContentPackaged
            | Self::SessionCreated
            | Self::WatermarkPackaged => Class::Records,
        }
    }
}

impl DrmType {
    /// The bit of this system in a set's mask.
    pub const fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl RequestType {
    /// Whether a success of this kind is an issued licence (rule set `mau/1`).
    pub const fn issues(self) -> bool {
        matches!(self, Self::New | Self::Renewal | Self::Offline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_round_trip() {
        for kind in DeviceKind::ALL {
            assert_eq!(DeviceKind::from_code(kind.code()), Some(*kind));
            assert_eq!(DeviceKind::from_name(kind.name().as_bytes()), Some(*kind));
        }
        assert_eq!(DeviceKind::from_name(b"IMEI"), None);
    }

    #[test]
    fn drm_bits_are_distinct() {
        let all = DrmType::ALL.iter().fold(0u8, |mask, drm| {
            assert_eq!(mask & drm.bit(), 0);
            mask | drm.bit()
        });
        assert_eq!(all, u8::MAX);
    }
}
