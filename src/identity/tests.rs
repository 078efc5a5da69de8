//! The published vectors, the lists of domain.md §7, and the laws of the canonical forms.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use proptest::prelude::*;

use super::pseudonym::{HEAD_BYTES_MAX, write_head};
use super::{
    DeviceId, FormRoom, Job, OtherKind, Payload, PayloadEncoding, PseudonymQueue, RawId, UserId,
    UserRules, device, payload, recommended,
};
use crate::crypto::{Base, BaseKey, Secret, TagKey};
use crate::model::ids::Tag;
use crate::model::pseudonym::{Algorithm, CANONICALIZER_VERSION, UserForm};
use crate::model::vocab::{DeviceKind, IdEncoding, Quality, Scope};

mod vectors;

fn read(kind: DeviceKind, text: &str) -> DeviceId<'_> {
    device(kind, RawId::new(text.as_bytes()), None, false)
}

fn somebody<'a>(text: &'a str, form: UserForm, room: &'a mut FormRoom) -> Option<UserId<'a>> {
    UserRules::new(form, &[]).read(Some(RawId::new(text.as_bytes())), room).somebody()
}

fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn secret(hex: &str) -> Secret {
    Secret::take(&mut unhex(hex)).unwrap()
}

/// domain.md §7.4, rows of one canonical form.
#[test]
fn spellings_of_the_domain_table() {
    let shared = "b2761ec9e81a8448ad4d7cf48bc55a06aba1789aeaccf2c7374dc101d11fdf5a";
    let rows: &[(DeviceKind, &[&str], &str, Quality)] = &[
        (
            DeviceKind::Imei,
            &["490154203237518", "49-015420-323751-8", "490154203237510", "49015420323751"],
            "3439303135343230333233373531",
            Quality::Good,
        ),
        (
            DeviceKind::Imeisv,
            &["4901542032375101", "49-015420-323751-01"],
            "3439303135343230333233373531",
            Quality::Good,
        ),
        (DeviceKind::AndroidId, &["a1b2c3d4e5f607"], "00a1b2c3d4e5f607", Quality::Good),
        (
            DeviceKind::WifiMac,
            &["00-23-45-67-89-AB", "0023.4567.89ab", "00:23:45:67:89:ab", "0023456789aB"],
            "0023456789ab",
            Quality::Good,
        ),
        (DeviceKind::WifiMac, &["01:23:45:67:89:ab"], "0123456789ab", Quality::Junk),
        (DeviceKind::WifiMac, &["02:23:45:67:89:ab"], "0223456789ab", Quality::Randomized),
        (
            DeviceKind::WidevineDeviceUniqueId,
            &[
                "snYeyegahEitTXz0i8VaBquheJrqzPLHN03BAdEf31o=",
                "snYeyegahEitTXz0i8VaBquheJrqzPLHN03BAdEf31o",
                "snYeyegahEitTXz0i8VaBquheJrqzPLHN03BAdEf31o=\n",
                shared,
            ],
            shared,
            Quality::Shared,
        ),
        (
            DeviceKind::WidevineCertSerial,
            &["NjFhNTZjOTJjNzc0ZDBjMGRmNDViODMzZTQzOTFiYmEwYQ=="],
            "61a56c92c774d0c0df45b833e4391bba0a",
            Quality::Good,
        ),
        (
            DeviceKind::PlayreadyClientId,
            &["BAMCAQYFCAcJCqq7zN3u/w==", "01020304-0506-0708-090A-AABBCCDDEEFF"],
            "0403020106050807090aaabbccddeeff",
            Quality::Good,
        ),
        (
            DeviceKind::NcgDeviceId,
            &["DID01_WZnTQFOHmZiv1vsevtorDtFHRNc="],
            "44494430315f575a6e5451464f486d5a69763176736576746f7244744648524e633d",
            Quality::Good,
        ),
    ];
    for (kind, spellings, canonical, quality) in rows {
        for text in *spellings {
            let id = read(*kind, text);
            assert_eq!(HEXLOWER.encode(id.bytes()), *canonical, "{text}");
            assert_eq!(id.quality(), *quality, "{text}");
        }
    }
}

/// domain.md §7.2, every device row. Widevine's and the derived ones are in `junk`.
#[test]
fn known_junk_is_flagged() {
    let rows: &[(DeviceKind, &[&str])] = &[
        (DeviceKind::AndroidId, &["9774d56d682e549c", "9774D56D682E549C", "0", "", "null"]),
        (DeviceKind::AndroidId, &["0000000000000000", "android_id"]),
        (DeviceKind::Imei, &["000000000000000", "000000000000017", "00000000000000", "unknown"]),
        (DeviceKind::Imei, &["004999010640000", "012345678901237", "111111111111119", "null"]),
        (DeviceKind::Imei, &["123456789012347", "***************", "0", ""]),
        (DeviceKind::Imeisv, &["0000000000000000", "0049990106400012"]),
        (DeviceKind::WifiMac, &["02:00:00:00:00:00", "020000000000", "02-00-00-00-00-00"]),
        (DeviceKind::WifiMac, &["00:00:00:00:00:00", "FF:ff:ff:ff:ff:ff", "0011.2233.4455"]),
        (DeviceKind::Aaid, &["00000000-0000-0000-0000-000000000000"]),
        (DeviceKind::Idfa, &["00000000-0000-0000-0000-000000000000"]),
        (DeviceKind::NcgDeviceId, &["Unknown_DeviceID", "null", "unknown", "bad\u{7}"]),
        (DeviceKind::NcgDeviceId, &["CF95DC53-F383-39A8-B6FD-749F3EF439CD"]),
        (DeviceKind::FairplayHu, &["", "null", "0000000000000000000000000000000000000000"]),
        (DeviceKind::WidevineDeviceUniqueId, &["", "Unknown_DeviceID", "LICENSETOKEN"]),
        (DeviceKind::Opaque, &["", "null", "unknown", "Unknown_DeviceID", "a\nb", "\u{90}"]),
    ];
    for (kind, texts) in rows {
        for text in *texts {
            assert_eq!(read(*kind, text).quality(), Quality::Junk, "{kind} {text}");
        }
    }
    let long = "x".repeat(257);
    assert_eq!(read(DeviceKind::Opaque, &long).quality(), Quality::Junk);
    assert_eq!(read(DeviceKind::Opaque, &long[1..]).quality(), Quality::Good);
}

#[test]
fn a_desktop_certificate_names_a_model() {
    let raw = RawId::new(b"NjFhNTZjOTJjNzc0ZDBjMGRmNDViODMzZTQzOTFiYmEwYQ==");
    let desktop = device(DeviceKind::WidevineCertSerial, raw, None, true);
    assert_eq!((desktop.quality(), desktop.scope()), (Quality::Shared, Scope::Model));
    let handset = device(DeviceKind::WidevineCertSerial, raw, None, false);
    assert_eq!((handset.quality(), handset.scope()), (Quality::Good, Scope::Device));
    assert_eq!(desktop.bytes(), handset.bytes());
    let other = device(DeviceKind::AndroidId, RawId::new(b"a1b2c3d4e5f607"), None, true);
    assert_eq!((other.quality(), other.scope()), (Quality::Good, Scope::App));
}

#[test]
fn the_recommended_id_is_good() {
    let ids = [
        read(DeviceKind::Opaque, "tv"),
        read(DeviceKind::Imei, "000000000000000"),
        read(DeviceKind::AndroidId, "a1b2c3d4e5f607"),
        read(DeviceKind::AndroidId, "a1b2c3d4e5f608"),
        read(DeviceKind::Idfv, "6d92078a-8246-4ba4-ae5b-76104861e7dc"),
    ];
    assert_eq!(recommended(ids.iter(), None), Some(2));
    assert_eq!(recommended(ids.iter(), Some(0)), Some(0), "the producer's choice is good");
    assert_eq!(recommended(ids.iter(), Some(1)), Some(2), "the producer's choice is junk");
    assert_eq!(recommended(ids.iter(), Some(5)), Some(2), "there is no such id");
    assert_eq!(recommended(ids[..2].iter(), None), Some(0));
    assert_eq!(recommended(ids[1..2].iter(), None), None);
    assert_eq!(recommended([].iter(), Some(0)), None);
}

#[test]
fn debug_is_redacted() {
    let id = read(DeviceKind::Imeisv, "4901542032375101");
    assert_eq!(format!("{id:?}"), "DeviceId(imei, good, device, …)");
    let payload = payload(RawId::new(b"abcde"), Some(PayloadEncoding::Hex));
    assert_eq!(format!("{payload:?}"), "Payload(20 bits, …)");
}

fn tag_in(queue: &PseudonymQueue, slot: super::Slot, key: &TagKey) -> Tag {
    queue.tags(&[Job { slot, key: 0 }], &[key])[0]
}

#[test]
#[should_panic(expected = "out of bounds")]
fn a_slot_that_was_not_run_has_no_tag() {
    let mut queue = PseudonymQueue::default();
    let key = BaseKey::new(&Secret::random());
    let key = key.under(Algorithm::HmacSha256);
    let slot = queue.push_other(key, OtherKind::Session, RawId::new(b"s"));
    tag_in(&queue, slot, &TagKey::new(&Secret::random()));
}

/// What names a pseudonym: its kind and its canonical bytes.
fn identity(id: &DeviceId<'_>) -> (DeviceKind, Vec<u8>) {
    (id.kind(), id.bytes().to_vec())
}

/// The canonical form as text of the same kind, where the kind has one.
fn spell(id: &DeviceId<'_>) -> Option<String> {
    match id.kind() {
        DeviceKind::WidevineCertSerial => Some(BASE64.encode(id.bytes())),
        DeviceKind::NcgDeviceId if id.bytes().len() == 16 => Some(hyphened(id.bytes())),
        DeviceKind::Imei | DeviceKind::Opaque | DeviceKind::NcgDeviceId => {
            String::from_utf8(id.bytes().to_vec()).ok()
        }
        _ => Some(HEXLOWER.encode(id.bytes())),
    }
}

fn hyphened(bytes: &[u8]) -> String {
    let hex = HEXLOWER.encode(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Every spelling that a kind accepts for these 20 bytes, cut to its length.
fn spellings(kind: DeviceKind, bytes: &[u8; 20]) -> Vec<String> {
    let blob = |bytes: &[u8]| {
        let mut all: Vec<String> = [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD]
            .map(|alphabet| alphabet.encode(bytes))
            .to_vec();
        all.extend([HEXLOWER.encode(bytes), HEXUPPER.encode(bytes)]);
        let middle = all[0].len() / 2;
        all.push(format!(" {}\r\n{}\n", &all[0][..middle], &all[0][middle..]));
        all
    };
    let uuid = |bytes: &[u8]| {
        let text = hyphened(bytes);
        vec![text.to_uppercase(), format!("{{{text}}}"), format!("{text}\n"), text]
    };
    match kind {
        DeviceKind::WidevineDeviceUniqueId | DeviceKind::FairplayHu | DeviceKind::Prehashed => {
            blob(bytes)
        }
        DeviceKind::WidevineCertSerial => {
            let hex = HEXLOWER.encode(bytes);
            [blob(bytes), vec![BASE64.encode(hex.as_bytes())]].concat()
        }
        DeviceKind::PlayreadyClientId => blob(&bytes[..16]),
        DeviceKind::NcgDeviceId => uuid(&bytes[..16]),
        DeviceKind::AndroidId => {
            let hex = HEXLOWER.encode(&bytes[..8]);
            vec![hex.to_uppercase(), hex.trim_start_matches('0').to_owned(), hex]
        }
        DeviceKind::Imei | DeviceKind::Imeisv => telephony(kind, bytes),
        DeviceKind::Meid => {
            let hex = HEXUPPER.encode(&bytes[..7]);
            let high = u32::from_str_radix(&hex[..8], 16).unwrap();
            let low = u32::from_str_radix(&hex[8..], 16).unwrap();
            let spaced = format!("{} {}-{}", &hex[..2], &hex[2..8], &hex[8..]);
            vec![hex.to_lowercase(), format!("{hex}0"), format!("{high:010}{low:08}"), spaced]
        }
        DeviceKind::WifiMac => {
            let hex = HEXLOWER.encode(&bytes[..6]);
            let pairs: Vec<&str> = (0..6).map(|at| &hex[at * 2..at * 2 + 2]).collect();
            let dots = [&hex[..4], &hex[4..8], &hex[8..]].join(".");
            vec![pairs.join(":"), pairs.join("-").to_uppercase(), dots, hex]
        }
        DeviceKind::Idfv
        | DeviceKind::Aaid
        | DeviceKind::Idfa
        | DeviceKind::Lgudid
        | DeviceKind::SamsungTvUuid => {
            [uuid(&bytes[..16]), vec![HEXUPPER.encode(&bytes[..16])]].concat()
        }
        DeviceKind::Opaque => vec![HEXLOWER.encode(bytes)],
    }
}

fn telephony(kind: DeviceKind, bytes: &[u8; 20]) -> Vec<String> {
    let body: String = bytes[..14].iter().map(|byte| char::from(b'0' + byte % 10)).collect();
    let split = format!("{}-{}/{}", &body[..2], &body[2..8], &body[8..]);
    if kind == DeviceKind::Imeisv {
        return vec![format!("{body}01"), format!("{split} 99")];
    }
    let luhn = (b'1'..=b'9')
        .map(char::from)
        .find(|check| read(DeviceKind::Imei, &format!("{body}{check}")).quality() == Quality::Good);
    let check = luhn.unwrap_or('0');
    vec![format!("{body}0"), format!("{body}{check}"), format!("{split} {check}"), body]
}

fn any_kind() -> impl Strategy<Value = DeviceKind> {
    proptest::sample::select(DeviceKind::ALL)
}

proptest! {
    #[test]
    fn all_spellings_are_one_id(kind in any_kind(), bytes in any::<[u8; 20]>()) {
        let texts = spellings(kind, &bytes);
        let first = read(kind, &texts[0]);
        for text in &texts {
            let id = read(kind, text);
            prop_assert_eq!(identity(&id), identity(&first), "{} {}", kind, text);
            prop_assert_eq!(id.quality(), first.quality(), "{} {}", kind, text);
        }
        if kind != DeviceKind::WifiMac {
            prop_assert_eq!(first.quality(), Quality::Good, "{} {}", kind, texts[0]);
        }
    }

    #[test]
    fn reading_is_idempotent(kind in any_kind(), bytes in any::<[u8; 20]>()) {
        let text = spellings(kind, &bytes).remove(0);
        let id = read(kind, &text);
        let again = spell(&id).unwrap();
        prop_assert_eq!(identity(&read(id.kind(), &again)), identity(&id));
    }

    #[test]
    fn nothing_is_an_error(kind in any_kind(), text in "\\PC{0,300}|[0-9a-fA-F=:.{} -]{0,80}") {
        let id = read(kind, &text);
        // The canonical form is either the exact text or fits its fixed size.
        prop_assert!(id.bytes() == text.as_bytes() || id.bytes().len() <= 64);
    }

    #[test]
    fn kinds_never_link(left in any_kind(), right in any_kind(), text in "\\PC{0,80}") {
        let tag = |kind| {
            let id = read(kind, &text);
            let key = BaseKey::new(&secret(&"01".repeat(32)));
            let mut queue = PseudonymQueue::default();
            let slot = queue.push_device(key.under(Algorithm::HmacSha256), &id);
            queue.run();
            tag_in(&queue, slot, &TagKey::new(&secret(&"02".repeat(32))))
        };
        let (left, right) = (read(left, &text).kind(), read(right, &text).kind());
        prop_assert_eq!(left == right, tag(left) == tag(right));
    }

    #[test]
    fn order_does_not_matter(
        texts in proptest::collection::btree_set("\\PC{1,150}", 1..60),
        turn in any::<proptest::sample::Index>(),
    ) {
        let key = BaseKey::new(&secret(&"03".repeat(32)));
        let tag_key = TagKey::new(&secret(&"04".repeat(32)));
        let mut texts: Vec<String> = texts.into_iter().collect();
        let mut queue = PseudonymQueue::with_capacity(4);
        let mut tags = |texts: &[String]| -> Vec<(String, Tag)> {
            queue.clear();
            let slots: Vec<_> = texts.iter().map(|text| {
                // A batch mixes sites of both algorithms.
                let key = key.under(Algorithm::ALL[text.len() % 2]);
                queue.push_other(key, OtherKind::Order, RawId::new(text.as_bytes()))
            }).collect();
            queue.run();
            let alone = slots.iter().map(|slot| tag_in(&queue, *slot, &tag_key));
            let one_by_one: Vec<Tag> = alone.collect();
            let jobs = slots.iter().zip([0, 2].into_iter().cycle());
            let jobs: Vec<Job> = jobs.map(|(slot, key)| Job { slot: *slot, key }).collect();
            let other = TagKey::new(&secret(&"05".repeat(32)));
            assert_eq!(queue.tags(&jobs, &[&tag_key, &other, &tag_key]), one_by_one);
            let mut all: Vec<_> = texts.iter().cloned().zip(one_by_one).collect();
            all.sort();
            all
        };
        let before = tags(&texts);
        let middle = turn.index(texts.len());
        texts.rotate_left(middle);
        prop_assert_eq!(&before, &tags(&texts));
        let distinct: std::collections::BTreeSet<_> = before.iter().map(|(_, tag)| *tag).collect();
        prop_assert_eq!(distinct.len(), texts.len());
    }
}

/// No name is spoken for twice, or two kinds would share one namespace.
#[test]
fn namespaces_are_distinct() {
    let mut names: Vec<&str> = DeviceKind::ALL.iter().map(|kind| kind.name()).collect();
    names.extend(OtherKind::ALL.iter().map(|kind| kind.name()));
    names.push("user");
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    let head: Vec<Vec<u8>> = names
        .iter()
        .map(|name| {
            let mut room = [0; HEAD_BYTES_MAX];
            write_head(&mut room, name, CANONICALIZER_VERSION, 300).to_vec()
        })
        .collect();
    for (name, head) in names.iter().zip(head) {
        assert_eq!(head, [b"bt/1", &[name.len() as u8][..], name.as_bytes(), &[1, 1, 44]].concat());
    }
}
