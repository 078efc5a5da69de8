//! How the text of each device id kind is read: its accepted spellings and its canonical bytes
//! (domain.md §7.1, canonicalizer version 1).

use super::wiped::Wiped;
use super::{junk, text};
use crate::model::limits;
use crate::model::vocab::{DeviceKind, IdEncoding, Quality};

/// Longest canonical form that is not the text itself: 512 bits.
pub(super) const CANONICAL_BYTES_MAX: usize = 64;
/// Shortest device id of Widevine, bytes; 32 is usual.
const WIDEVINE_BYTES_MIN: usize = 8;
/// Shortest hash that customers make, bytes.
const HASH_BYTES_MIN: usize = 16;

/// Canonical bytes in the making.
pub(super) type Canonical = Wiped<CANONICAL_BYTES_MAX>;

/// Reads a device id into its canonical bytes and answers its quality; `None` when the text does
/// not fit the kind. Where the canonical bytes are left empty, they are the exact text.
pub(super) fn read(
    kind: DeviceKind,
    raw: &[u8],
    encoding: Option<IdEncoding>,
    own: &mut Canonical,
) -> Option<Quality> {
    let trimmed = raw.trim_ascii();
    match kind {
        DeviceKind::WidevineDeviceUniqueId => widevine_device_unique_id(trimmed, own),
        DeviceKind::WidevineCertSerial => widevine_cert_serial(trimmed, own),
        DeviceKind::NcgDeviceId => Some(ncg_device_id(raw, trimmed, own)),
        DeviceKind::AndroidId => android_id(trimmed, own),
        DeviceKind::Imei => imei(trimmed, 14..=15, own),
        DeviceKind::Imeisv => imei(trimmed, 16..=16, own),
        DeviceKind::Meid => meid(trimmed, own),
        DeviceKind::WifiMac => wifi_mac(trimmed, own),
        DeviceKind::Idfv
        | DeviceKind::Aaid
        | DeviceKind::Idfa
        | DeviceKind::Lgudid
        | DeviceKind::SamsungTvUuid => uuid(trimmed, own),
        DeviceKind::PlayreadyClientId => playready_client_id(trimmed, encoding, own),
        DeviceKind::FairplayHu => {
            blob(trimmed, 20..=20, own).then(|| plain_quality(own.as_slice()))
        }
        DeviceKind::Prehashed => blob(trimmed, HASH_BYTES_MIN..=CANONICAL_BYTES_MAX, own)
            .then(|| plain_quality(own.as_slice())),
        DeviceKind::Opaque => Some(opaque(raw)),
    }
}

fn plain_quality(bytes: &[u8]) -> Quality {
    if junk::uniform(bytes) { Quality::Junk } else { Quality::Good }
}

/// The bytes as applications print them: hex, base64 with or without line ends, and the UUID that
/// NCG clients send.
fn widevine_device_unique_id(text: &[u8], own: &mut Canonical) -> Option<Quality> {
    let fits = uuid_text(text, own) || blob(text, WIDEVINE_BYTES_MIN..=CANONICAL_BYTES_MAX, own);
    fits.then(|| junk::widevine(own.as_slice()))
}

/// Base64 of the serial number, or of its hex: license servers log both. Bare hex is taken too.
fn widevine_cert_serial(text: &[u8], own: &mut Canonical) -> Option<Quality> {
    let mut outer = Wiped::<{ 2 * CANONICAL_BYTES_MAX }>::new();
    if !blob(text, WIDEVINE_BYTES_MIN..=2 * CANONICAL_BYTES_MAX, &mut outer) {
        return None;
    }
    let bytes = outer.as_slice();
    // Sixteen bytes that are all hex digits are a hex layer: by chance they are it once in 10^17.
    if bytes.len() < 2 * WIDEVINE_BYTES_MIN || !text::hex(bytes, own.room(bytes.len() / 2)) {
        own.copy(bytes);
        if bytes.len() > CANONICAL_BYTES_MAX {
            return None;
        }
    }
    Some(plain_quality(own.as_slice()))
}

/// A UUID where it is one; anything else that an application chose is kept as it is.
fn ncg_device_id(raw: &[u8], text: &[u8], own: &mut Canonical) -> Quality {
    if uuid_text(text, own) {
        return junk::uuid(own.as_slice());
    }
    own.clear();
    free_text(raw)
}

/// SSAID: 64 bits in hex, printed by some systems without leading zeros.
fn android_id(text: &[u8], own: &mut Canonical) -> Option<Quality> {
    if !(1..=16).contains(&text.len()) {
        return None;
    }
    let mut digits = Wiped::<16>::new();
    let padded = digits.room(16);
    let (zeros, rest) = padded.split_at_mut(16 - text.len());
    zeros.fill(b'0');
    rest.copy_from_slice(text);
    text::hex(padded, own.room(8)).then(|| junk::android_id(own.as_slice()))
}

/// IMEI and IMEISV (3GPP TS 23.003 §6): the canonical form is the 14 digits of TAC and SNR. The
/// check digit is not part of the number, a phone may transmit 0 in its place, and the software
/// version of an IMEISV changes with updates.
fn imei(
    text: &[u8],
    lengths: std::ops::RangeInclusive<usize>,
    own: &mut Canonical,
) -> Option<Quality> {
    let mut solid = Wiped::<16>::new();
    let digits = match text.len() {
        14..=16 if all_decimal(text) => text,
        _ if solid.copy_without(text, is_telephony_separator) => solid.as_slice(),
        _ => return None,
    };
    if !lengths.contains(&digits.len()) || !all_decimal(digits) {
        return None;
    }
    let (body, rest) = digits.split_at(14);
    own.copy(body);
    Some(match rest {
        _ if junk::imei(body) => Quality::Junk,
        [check] => checked(body, *check, 10),
        _ => Quality::Good,
    })
}

/// No early exit, so that the compiler looks at many digits at once.
fn all_decimal(digits: &[u8]) -> bool {
    digits.iter().fold(true, |all, digit| all & digit.is_ascii_digit())
}

/// MEID (3GPP2 S.R0048): 14 hex digits, with a check digit or without; or 18 decimal digits, ten
/// for the first 32 bits and eight for the other 24. The kind was given, so 14 decimal digits are
/// read as a MEID here and not as an IMEI.
fn meid(text: &[u8], own: &mut Canonical) -> Option<Quality> {
    let mut digits = Wiped::<18>::new();
    if !digits.copy_without(text, is_telephony_separator) {
        return None;
    }
    let digits = digits.as_slice();
    let quality = match digits.len() {
        14 | 15 => {
            let (body, check) = digits.split_at(14);
            if !text::hex(body, own.room(7)) {
                return None;
            }
            // Decimal digits only: the check digit is the IMEI's, so that old readers accept it.
            let base = if all_decimal(body) { 10 } else { 16 };
            match check {
                [check] if u32::from(text::nibble(*check)) >= base => return None,
                [check] => checked(body, *check, base),
                _ => Quality::Good,
            }
        }
        18 => {
            let (high, low) = digits.split_at(10);
            let (high, low) = (decimal(high, 0xffff_ffff)?, decimal(low, 0xff_ffff)?);
            own.copy(&(high << 24 | low).to_be_bytes()[1..]);
            Quality::Good
        }
        _ => return None,
    };
    Some(if junk::uniform(own.as_slice()) { Quality::Junk } else { quality })
}

fn is_telephony_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'/')
}

fn decimal(digits: &[u8], max: u64) -> Option<u64> {
    let mut value = 0;
    for digit in digits {
        let number = digit.wrapping_sub(b'0');
        if number > 9 {
            return None;
        }
        value = value * 10 + u64::from(number);
    }
    (value <= max).then_some(value)
}

/// Luhn's check over 14 digits (TS 23.003 annex B; S.R0048 does the same in base 16). Zero is the
/// spare digit that is transmitted in its place.
fn checked(body: &[u8], check: u8, base: u32) -> Quality {
    let mut sum = u32::from(text::nibble(check));
    if sum == 0 {
        return Quality::Good;
    }
    // Every second digit, beginning beside the check digit, is doubled and its digits added: the
    // digits of a number of two digits add up to itself less (base - 1).
    for pair in body.chunks_exact(2) {
        let (single, double) =
            (u32::from(text::nibble(pair[0])), 2 * u32::from(text::nibble(pair[1])));
        sum += single + if double < base { double } else { double - (base - 1) };
    }
    if sum.is_multiple_of(base) { Quality::Good } else { Quality::ChecksumFailed }
}

/// EUI-48 with colons, hyphens, Cisco's dots or nothing between its digits.
fn wifi_mac(text: &[u8], own: &mut Canonical) -> Option<Quality> {
    // Where the pairs begin, and where the separators are, which must be all the same.
    let (pairs, separators, allowed): ([usize; 6], &[usize], &[u8]) = match text.len() {
        12 => ([0, 2, 4, 6, 8, 10], &[], b""),
        14 => ([0, 2, 5, 7, 10, 12], &[4, 9], b"."),
        17 => ([0, 3, 6, 9, 12, 15], &[2, 5, 8, 11, 14], b":-"),
        _ => return None,
    };
    if let [first, rest @ ..] = separators {
        let separator = text[*first];
        if !allowed.contains(&separator) || rest.iter().any(|at| text[*at] != separator) {
            return None;
        }
    }
    let mut seen = 0;
    for (byte, at) in own.room(6).iter_mut().zip(pairs) {
        let (high, low) = (text::nibble(text[at]), text::nibble(text[at + 1]));
        seen |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    (seen < 16).then(|| junk::wifi_mac(own.as_slice()))
}

/// UUID text of either case, with its hyphens or without.
fn uuid(text: &[u8], own: &mut Canonical) -> Option<Quality> {
    let fits = uuid_text(text, own) || text::hex(text, own.room(16));
    fits.then(|| junk::uuid(own.as_slice()))
}

fn uuid_text(text: &[u8], own: &mut Canonical) -> bool {
    text::uuid_form(text).is_some() && text::uuid(text, own.room(16))
}

/// The 16 bytes in the order of the wire. GUID text writes its first three groups turned round
/// unless the record says `uuid_be`; hex and base64 have only one order.
fn playready_client_id(
    text: &[u8],
    encoding: Option<IdEncoding>,
    own: &mut Canonical,
) -> Option<Quality> {
    if text::uuid_form(text).is_none() {
        return blob(text, 16..=16, own).then(|| plain_quality(own.as_slice()));
    }
    let bytes = own.room(16);
    if !text::uuid(text, bytes) {
        return None;
    }
    if encoding != Some(IdEncoding::UuidBe) {
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
    }
    Some(plain_quality(bytes))
}

fn opaque(raw: &[u8]) -> Quality {
    let mut uuid = Canonical::new();
    let quality = free_text(raw);
    if quality == Quality::Good && uuid_text(raw, &mut uuid) {
        return junk::uuid(uuid.as_slice());
    }
    quality
}

/// Quality of a text without a form.
fn free_text(raw: &[u8]) -> Quality {
    if raw.is_empty() || raw.len() > limits::DEVICE_ID_BYTES_MAX || has_control(raw) {
        return Quality::Junk;
    }
    junk::known_text(raw).unwrap_or(Quality::Good)
}

/// Whether there is a control character: C0, DEL, or C1, which begins with 0xc2 in UTF-8.
fn has_control(raw: &[u8]) -> bool {
    let (mut control, mut maybe) = (false, false);
    for byte in raw {
        control |= byte.is_ascii_control();
        maybe |= *byte == 0xc2;
    }
    control || maybe && raw.windows(2).any(|pair| pair[0] == 0xc2 && pair[1] < 0xa0)
}

/// Reads bytes of one of these lengths, spelled in hex or base64, with white space or without.
fn blob<const N: usize>(
    text: &[u8],
    lengths: std::ops::RangeInclusive<usize>,
    own: &mut Wiped<N>,
) -> bool {
    if solid_blob(text, &lengths, own) {
        return true;
    }
    // Only a text that was refused is looked at twice.
    if !text.iter().any(u8::is_ascii_whitespace) {
        return false;
    }
    let mut solid = Wiped::<{ limits::DEVICE_ID_BYTES_MAX }>::new();
    solid.copy_without(text, |byte| byte.is_ascii_whitespace())
        && solid_blob(solid.as_slice(), &lengths, own)
}

/// Hex goes first: a text of 16 and more hex digits is base64 by chance once in 10^7 at most.
fn solid_blob<const N: usize>(
    text: &[u8],
    lengths: &std::ops::RangeInclusive<usize>,
    own: &mut Wiped<N>,
) -> bool {
    if lengths.contains(&(text.len() / 2)) && text::hex(text, own.room(text.len() / 2)) {
        return true;
    }
    let bytes = text::base64_bytes(text);
    // Some placeholders are base64 by accident; all of these are short.
    lengths.contains(&bytes)
        && text::base64(text, own.room(bytes))
        && (text.len() > 16 || junk::known_text(text).is_none())
}
