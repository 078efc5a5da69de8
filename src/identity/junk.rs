//! Device ids that name no device, or many (domain.md §7.2), and what clients make of them (§7.3).

use std::sync::LazyLock;

use md5::{Digest, Md5};

use super::{text, user};
use crate::model::vocab::Quality;

/// What every handset and emulator of one early batch answered as its `ANDROID_ID`.
const ANDROID_ID: [u8; 8] = [0x97, 0x74, 0xd5, 0x6d, 0x68, 0x2e, 0x54, 0x9c];

/// Quality of an SSAID.
pub(super) fn android_id(bytes: &[u8]) -> Quality {
    let repeated = uniform(bytes) && bytes.iter().all(|byte| byte >> 4 == byte & 0xf);
    if repeated || bytes == ANDROID_ID { Quality::Junk } else { Quality::Good }
}

/// Whether 14 digits are no real IMEI: zeros that the system answers instead of an error, generic
/// and test numbers (most of which pass the check digit).
pub(super) fn imei(digits: &[u8]) -> bool {
    digits.starts_with(b"000000000")
        || uniform(digits)
        || matches!(digits, b"00499901064000" | b"01234567890123" | b"12345678901234")
}

/// Quality of an EUI-48. The second bit of the first byte says "locally administered": a made-up
/// address, which Android 10 and iOS 14 change by network; the first says "multicast", which is no
/// station.
pub(super) fn wifi_mac(mac: &[u8]) -> Quality {
    match mac {
        // What Android 6 and later answer instead of the address; null; a number from textbooks.
        [2, 0, 0, 0, 0, 0] | [0, 0, 0, 0, 0, 0] | [0, 0x11, 0x22, 0x33, 0x44, 0x55] => {
            Quality::Junk
        }
        [first, ..] if first & 1 != 0 => Quality::Junk,
        [first, ..] if first & 2 != 0 => Quality::Randomized,
        _ => Quality::Good,
    }
}

/// Quality of an id of Widevine.
pub(super) fn widevine(bytes: &[u8]) -> Quality {
    if WIDEVINE.iter().any(|shared| shared == bytes) {
        return Quality::Shared;
    }
    uuid(bytes)
}

/// Widevine ids that many units of two models of 2021 answer (the vendor calls it a known issue).
const WIDEVINE: [[u8; 32]; 2] = [widevine_bytes(WIDEVINE_HEX[0]), widevine_bytes(WIDEVINE_HEX[1])];
const WIDEVINE_HEX: [&str; 2] = [
    "b2761ec9e81a8448ad4d7cf48bc55a06aba1789aeaccf2c7374dc101d11fdf5a",
    "b7dd10dc0900f79eee3b77dcd0204a136a2818fef92cca4d09655b8fa64cd5f9",
];

const fn widevine_bytes(hex: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 32 {
        let (high, low) = (hex.as_bytes()[at * 2], hex.as_bytes()[at * 2 + 1]);
        bytes[at] = text::nibble(high) << 4 | text::nibble(low);
        at += 1;
    }
    bytes
}

/// Quality of bytes that may be a UUID: nothing but one byte repeated is a placeholder (the zeros
/// after an opt-out of advertising), and a UUID of version 3 may be the hash of a placeholder.
pub(super) fn uuid(bytes: &[u8]) -> Quality {
    if uniform(bytes) {
        return Quality::Junk;
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(uuid) if uuid[6] >> 4 == 3 => {
            let derived = &LISTS.derived;
            let found = derived.binary_search_by_key(&u128::from_be_bytes(uuid), |(uuid, _)| *uuid);
            found.map_or(Quality::Good, |at| derived[at].1)
        }
        _ => Quality::Good,
    }
}

/// Whether the bytes are one value repeated.
pub(super) fn uniform(bytes: &[u8]) -> bool {
    match bytes {
        [first, rest @ ..] => rest.iter().all(|byte| byte == first),
        [] => true,
    }
}

/// Quality of a known text: the one for an id without a form of its own.
pub(super) fn known_text(value: &[u8]) -> Option<Quality> {
    // Most texts have a length that no junk has.
    if value.len() < 64 && LISTS.lengths >> value.len() & 1 == 0 || value.len() > 64 {
        return None;
    }
    let texts = &LISTS.texts;
    let at = texts.binary_search_by(|(known, _)| known.as_slice().cmp(value)).ok()?;
    Some(texts[at].1)
}

/// Every junk value as clients print it, and the UUIDs that NCG clients make of them; both sorted.
struct Lists {
    texts: Vec<(Vec<u8>, Quality)>,
    /// A bit for every length below 64 that a text has; the longest have 64.
    lengths: u64,
    derived: Vec<(u128, Quality)>,
}

static LISTS: LazyLock<Lists> = LazyLock::new(|| {
    let shared = WIDEVINE_HEX.iter().flat_map(|hex| [(*hex).to_owned(), hex.to_uppercase()]);
    let shared = shared.chain(WIDEVINE_BASE64.map(str::to_owned)).map(String::into_bytes);
    let junk = TEXTS.iter().chain(user::SENTINELS).map(|text| text.as_bytes().to_vec());
    let mut texts: Vec<_> = junk.map(|text| (text, Quality::Junk)).collect();
    texts.extend(shared.map(|text| (text, Quality::Shared)));
    let raw = WIDEVINE.iter().map(|bytes| (bytes.to_vec(), Quality::Shared));
    let named = texts.iter().cloned().chain(raw);
    let mut derived: Vec<_> =
        named.map(|(name, quality)| (u128::from_be_bytes(uuid_v3(&name)), quality)).collect();
    texts.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    derived.sort_unstable_by_key(|(uuid, _)| *uuid);
    let short = texts.iter().filter(|(text, _)| text.len() < 64);
    let lengths = short.fold(0, |lengths, (text, _)| lengths | 1 << text.len());
    Lists { texts, lengths, derived }
});

/// Java's `UUID.nameUUIDFromBytes`: MD5 with version 3 and the variant of RFC 9562 set, but without
/// that document's namespace. MD5 serves for nothing else here.
fn uuid_v3(name: &[u8]) -> [u8; 16] {
    let mut bytes: [u8; 16] = Md5::digest(name).into();
    bytes[6] = bytes[6] & 0x0f | 0x30;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

const WIDEVINE_BASE64: [&str; 2] = [
    "snYeyegahEitTXz0i8VaBquheJrqzPLHN03BAdEf31o=",
    "t90Q3AkA957uO3fc0CBKE2ooGP75LMpNCWVbj6ZM1fk=",
];

/// The device rows of domain.md §7.2 in the spellings in which clients meet them. NCG clients strip
/// the separators of a MAC and keep its case; they hash an IMEI as the system prints it.
const TEXTS: &[&str] = &[
    // ANDROID_ID.
    "9774d56d682e549c",
    "0000000000000000",
    "android_id",
    // IMEI, with its check digit and without.
    "000000000000000",
    "00000000000000",
    "***************",
    "**************",
    "004999010640000",
    "00499901064000",
    "012345678901237",
    "01234567890123",
    "111111111111119",
    "11111111111111",
    "123456789012347",
    "12345678901234",
    "unknown",
    // MAC. `nul` is what the NCG sample makes of `null`: its loop throws after one step.
    "nul",
    "02:00:00:00:00:00",
    "020000000000",
    "00:00:00:00:00:00",
    "000000000000",
    "ff:ff:ff:ff:ff:ff",
    "FF:FF:FF:FF:FF:FF",
    "ffffffffffff",
    "FFFFFFFFFFFF",
    "00:11:22:33:44:55",
    "001122334455",
    // Advertising ids after an opt-out, and the failure value of the NCG SDK.
    "00000000-0000-0000-0000-000000000000",
    "Unknown_DeviceID",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// domain.md §7.3, computed there by Java 17.
    const DERIVED: &[(&str, &str)] = &[
        ("020000000000", "e3f5536a-1418-31db-80ef-d6400f1d0a4e"),
        ("nul", "40a8712b-29ac-3618-aed0-c4f632b7d543"),
        ("000000000000000", "5284047f-4ffb-3e04-824a-2fd1d1f0cd62"),
        ("00000000000000", "c47532bb-b1e2-383c-9020-71591ae1ec9b"),
        ("0", "cfcd2084-95d5-35ef-a6e7-dff9f98764da"),
        ("unknown", "ad921d60-4863-3625-8809-553a3db49a4a"),
        ("9774d56d682e549c", "cf95dc53-f383-39a8-b6fd-749f3ef439cd"),
        ("0000000000000000", "1e4a1b03-d1b6-3d8a-974a-826f76e009f4"),
        ("02:00:00:00:00:00", "0f607264-fc63-38a9-ab9e-13c65db7cd3c"),
        ("000000000000", "35b9ab5a-36f3-334d-926d-b357fd4a0dc1"),
        ("ffffffffffff", "74129ee1-fc4e-3fc4-9937-efbbd6231c42"),
        ("", "d41d8cd9-8f00-3204-a980-0998ecf8427e"),
        ("null", "37a6259c-c0c1-3ae2-99a7-866489dff0bd"),
    ];

    #[test]
    fn derived_junk_is_what_java_makes_of_it() {
        for (name, expected) in DERIVED {
            let mut bytes = [0; 16];
            assert!(text::uuid(expected.as_bytes(), &mut bytes));
            assert_eq!(uuid_v3(name.as_bytes()), bytes, "{name}");
            assert_eq!(uuid(&bytes), Quality::Junk, "{name}");
        }
    }

    #[test]
    fn derived_of_every_listed_value_is_found() {
        for text in TEXTS.iter().chain(user::SENTINELS) {
            assert_eq!(uuid(&uuid_v3(text.as_bytes())), Quality::Junk, "{text}");
            assert_eq!(known_text(text.as_bytes()), Some(Quality::Junk), "{text}");
        }
        for (hex, bytes) in WIDEVINE_HEX.iter().zip(WIDEVINE) {
            assert_eq!(uuid(&uuid_v3(hex.as_bytes())), Quality::Shared);
            assert_eq!(uuid(&uuid_v3(&bytes)), Quality::Shared);
        }
        assert_eq!(uuid(&uuid_v3(b"490154203237518")), Quality::Good);
    }

    #[test]
    fn spellings_of_the_shared_ids_agree() {
        for ((hex, base64), bytes) in WIDEVINE_HEX.iter().zip(WIDEVINE_BASE64).zip(WIDEVINE) {
            assert_eq!(data_encoding::HEXLOWER.encode(&bytes), *hex);
            assert_eq!(data_encoding::BASE64.encode(&bytes), base64);
        }
    }
}
