//! Spells device ids: the same id in the ways that apps and servers really write it, which a
//! canonicalizer must bring together again (reference/domain.md §7.1), and the junk of §7.2.

use super::devices::{Class, Device, Form, Id};
use super::random::mix3;
use super::text::Text;
use crate::model::vocab::DeviceKind;

/// Ids that vendors ship on many devices, or that platforms return to everyone.
const SHARED_WIDEVINE: [&str; 2] = [
    "b2761ec9e81a8448ad4d7cf48bc55a06aba1789aeaccf2c7374dc101d11fdf5a",
    "b7dd10dc0900f79eee3b77dcd0204a136a2818fef92cca4d09655b8fa64cd5f9",
];
const SHARED_ANDROID_ID: [&str; 2] = ["9774d56d682e549c", "0000000000000000"];
const SHARED_NCG: [&str; 2] = ["Unknown_DeviceID", "e3f5536a-1418-31db-80ef-d6400f1d0a4e"];
const CONSTANT_MAC: &str = "02:00:00:00:00:00";
const ZERO_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// Writes the ids of a device as the members of a JSON array. `spelling` picks among spellings.
pub(super) fn write_ids(text: &mut Text, device: &Device, spelling: u64) {
    for (place, id) in device.ids().iter().enumerate() {
        text.raw(if place == 0 { "{\"kind\":\"" } else { ",{\"kind\":\"" });
        text.raw(id.kind.name());
        text.raw("\",\"value\":\"");
        write_value(text, device, *id, spelling);
        text.raw("\"}");
    }
}

fn write_value(text: &mut Text, device: &Device, id: Id, spelling: u64) {
    match id.form {
        Form::Good => write_good(text, device, id.kind, spelling),
        Form::Constant => text.raw(constant(id.kind, device.seed)),
        Form::Misfit => text.raw("unknown"),
        Form::Randomized => {
            let mut mac = mac(device);
            mac[0] |= 2;
            write_mac(text, &mac, spelling);
        }
        Form::BadCheck => {
            let digits = imei(device);
            let check = luhn(&digits);
            text.bytes(&digits);
            // Never 0, which would be the spare digit of a transmitted IMEI.
            text.byte(b'1' + (check + 1) % 9);
        }
    }
}

fn constant(kind: DeviceKind, seed: u64) -> &'static str {
    let one_of_two = usize::from(seed >> 63 == 1);
    match kind {
        DeviceKind::WidevineDeviceUniqueId => SHARED_WIDEVINE[one_of_two],
        DeviceKind::AndroidId => SHARED_ANDROID_ID[one_of_two],
        DeviceKind::NcgDeviceId => SHARED_NCG[one_of_two],
        DeviceKind::WifiMac => CONSTANT_MAC,
        _ => ZERO_UUID,
    }
}

fn write_good(text: &mut Text, device: &Device, kind: DeviceKind, spelling: u64) {
    match kind {
        DeviceKind::WidevineDeviceUniqueId => write_widevine(text, &material(device), spelling),
        DeviceKind::WidevineCertSerial => write_serial(text, device, spelling),
        DeviceKind::AndroidId => {
            // Bit 59 stays set, so that at most one leading zero can be lost.
            let id = (device.seed ^ 0x5bd1_e995) | 1 << 59;
            let short = id >> 60 == 0 && spelling & 1 == 0;
            let mut digits = Text::with_capacity(16);
            digits.hex(&id.to_be_bytes(), spelling & 6 == 6);
            text.bytes(&digits.into_bytes()[usize::from(short)..]);
        }
        DeviceKind::Imei => write_imei(text, device, spelling),
        DeviceKind::Imeisv => {
            text.bytes(&imei(device));
            text.decimal(spelling % 100, 2);
        }
        DeviceKind::Meid => {
            let id = spread(device.index, 48) | 0xa0_0000_0000_0000;
            text.hex(&id.to_be_bytes()[1..], spelling & 1 == 0);
        }
        DeviceKind::WifiMac => write_mac(text, &mac(device), spelling),
        DeviceKind::Idfv => text.uuid(&uuid(device, 4), spelling & 7 != 0),
        DeviceKind::PlayreadyClientId => write_playready(text, &uuid(device, 4), spelling),
        DeviceKind::FairplayHu if spelling & 3 == 0 => text.base64(&material(device)[..20]),
        DeviceKind::FairplayHu => text.hex(&material(device)[..20], false),
        DeviceKind::NcgDeviceId if device.seed >> 62 == 0 => {
            text.raw("DID01_");
            text.base64(&material(device)[..20]);
        }
        DeviceKind::NcgDeviceId => text.uuid(&uuid(device, 3), spelling & 7 == 0),
        DeviceKind::Prehashed => text.hex(&material(device), spelling & 7 == 0),
        DeviceKind::Opaque => {
            text.raw("STB-SN-");
            text.decimal(spread(device.index, 40), 13);
        }
        DeviceKind::Lgudid | DeviceKind::SamsungTvUuid | DeviceKind::Aaid | DeviceKind::Idfa => {
            text.uuid(&uuid(device, 5), false);
        }
    }
}

/// Apps print the 32 bytes as hex or base64; `Base64.encodeToString` appends a line feed.
fn write_widevine(text: &mut Text, id: &[u8; 32], spelling: u64) {
    match spelling % 16 {
        0..11 => text.base64(id),
        11 => {
            text.base64(id);
            text.raw("\\n");
        }
        12 => text.base64url(id),
        13 => text.hex(id, true),
        _ => text.hex(id, false),
    }
}

/// License servers print base64 of the bytes, or of their hexadecimal text.
fn write_serial(text: &mut Text, device: &Device, spelling: u64) {
    let id = &material(device)[..17];
    if spelling & 1 == 0 {
        return text.base64(id);
    }
    let mut inner = Text::with_capacity(34);
    inner.hex(id, false);
    text.base64(&inner.into_bytes());
}

fn write_imei(text: &mut Text, device: &Device, spelling: u64) {
    let digits = imei(device);
    match spelling % 8 {
        0 => text.bytes(&digits),
        1 => {
            text.bytes(&digits);
            text.byte(b'0');
        }
        2 => {
            for (at, part) in [&digits[..2], &digits[2..8], &digits[8..]].into_iter().enumerate() {
                text.raw(if at == 0 { "" } else { "-" });
                text.bytes(part);
            }
            text.byte(b'-');
            text.byte(b'0' + luhn(&digits));
        }
        _ => {
            text.bytes(&digits);
            text.byte(b'0' + luhn(&digits));
        }
    }
}

fn write_mac(text: &mut Text, mac: &[u8; 6], spelling: u64) {
    let upper = spelling & 8 == 8;
    let (separator, step) = match spelling % 8 {
        0 => ("", 6),
        1 => (".", 2),
        2 => ("-", 1),
        _ => (":", 1),
    };
    for (at, group) in mac.chunks(step).enumerate() {
        text.raw(if at == 0 { "" } else { separator });
        text.hex(group, upper);
    }
}

/// The wire order of the bytes is what counts; GUID text turns its first three groups around.
fn write_playready(text: &mut Text, id: &[u8; 16], spelling: u64) {
    match spelling % 8 {
        0..5 => text.base64(id),
        5 => text.hex(id, spelling & 8 == 8),
        6 => {
            let mut guid = *id;
            guid[..4].reverse();
            guid[4..6].reverse();
            guid[6..8].reverse();
            text.uuid(&guid, true);
        }
        _ => {
            text.uuid(id, false);
            text.raw("\",\"encoding\":\"uuid_be");
        }
    }
}

/// The bytes that only this device has.
fn material(device: &Device) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (part, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&mix3(device.seed, 0x1d, part as u64).to_be_bytes());
    }
    bytes
}

fn uuid(device: &Device, version: u8) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&material(device)[..16]);
    id[6] = id[6] & 0x0f | version << 4;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

/// Spreads device numbers over so many bits without a collision, as real serial numbers are.
fn spread(index: u32, bits: u32) -> u64 {
    (u64::from(index) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) & ((1 << bits) - 1)
}

/// A universally administered MAC: neither the multicast nor the local bit, and never zero.
fn mac(device: &Device) -> [u8; 6] {
    let number = spread(device.index, 45).to_be_bytes();
    let mut mac = [0; 6];
    mac.copy_from_slice(&number[2..]);
    mac[0] = (number[2] & 0x1f) << 2 | 0x80;
    mac
}

/// The first 14 digits of an IMEI; the factor has no divisor in common with the modulus, so that
/// no two devices of a site share one.
fn imei(device: &Device) -> [u8; 14] {
    const SERIALS: u128 = 1_000_000_000_000;
    let mut rest = (u128::from(device.index) * 618_033_988_749 + 271_828_182_845) % SERIALS;
    let mut digits = [b'0'; 14];
    for digit in digits[2..].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    digits[0] = b'3';
    digits[1] = b'5';
    digits
}

/// The Luhn check digit, 0..=9, of a row of ASCII digits.
pub(super) fn luhn(digits: &[u8]) -> u8 {
    let sum = digits.iter().rev().enumerate().fold(0, |sum, (at, digit)| {
        let value = u32::from(digit - b'0');
        sum + match at % 2 {
            0 if value > 4 => value * 2 - 9,
            0 => value * 2,
            _ => value,
        }
    });
    ((10 - sum % 10) % 10) as u8
}

/// What a device says of itself, as players report it: some more, some less.
pub(super) fn description(class: Class, seed: u64) -> &'static str {
    let choice = (seed >> 33) as usize;
    let among = |these: &'static [&'static str]| these[choice % these.len()];
    match class {
        Class::Android => among(&[
            r#""make":"samsung","model":"SM-S928N","os":"android","os_version":"15""#,
            r#""model":"SM-A546E","os":"android""#,
            r#""make":"Xiaomi","model":"23117RA68G","os":"android""#,
            r#""model":"Pixel 8","os":"android""#,
        ]),
        Class::AndroidTv => r#""make":"Sony","model":"BRAVIA 4K VH2","platform":"tv""#,
        Class::Apple => among(&[
            r#""model":"iPhone16,1","os":"ios","os_version":"18.1""#,
            r#""make":"Apple","model":"iPad14,3","os":"ios","platform":"ios""#,
            r#""model":"AppleTV14,1","os":"tvos""#,
        ]),
        Class::Chrome => r#""model":"Chrome 141","os":"windows","platform":"web""#,
        Class::Edge => r#""model":"Edge 141","os":"windows","platform":"web""#,
        Class::Tizen => r#""model":"QE65QN95","os":"tizen""#,
        Class::WebOs => r#""model":"OLED55C3","os":"webos","os_version":"8.3.0""#,
        Class::SetTop => r#""make":"Humax","model":"UHD-4","platform":"stb""#,
        Class::Ncg => r#""make":"LGE","model":"LM-V500N","os":"android""#,
        Class::Huawei => r#""make":"HUAWEI","model":"ALN-LX9","os":"harmonyos""#,
        Class::Handset => r#""model":"LG-F180L","os":"android","os_version":"4.4""#,
        Class::Other => r#""platform":"other""#,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn luhn_matches_known_numbers() {
        assert_eq!(luhn(b"49015420323751"), 8);
        assert_eq!(luhn(b"01234567890123"), 7);
        assert_eq!(luhn(b"7992739871"), 3);
        assert_eq!(luhn(b"00000000000000"), 0);
    }

    #[test]
    fn a_bad_check_digit_is_wrong_and_not_the_spare_digit() {
        for index in 0..500 {
            let device = Device::new(3, index, 1);
            let mut text = Text::default();
            let id = Id { kind: DeviceKind::Imei, form: Form::BadCheck };
            write_value(&mut text, &device, id, 0);
            let digits = text.into_bytes();
            assert_eq!(digits.len(), 15);
            assert!((b'1'..=b'9').contains(&digits[14]));
            assert_ne!(digits[14] - b'0', luhn(&digits[..14]));
        }
    }

    #[test]
    fn serial_numbers_are_distinct_and_well_formed() {
        let devices: Vec<_> = (0..50_000).map(|index| Device::new(3, index, 1)).collect();
        assert_eq!(devices.iter().map(imei).collect::<HashSet<_>>().len(), devices.len());
        assert_eq!(devices.iter().map(mac).collect::<HashSet<_>>().len(), devices.len());
        assert!(devices.iter().map(mac).all(|mac| mac[0] & 3 == 0 && mac[0] != 0));
    }
}
