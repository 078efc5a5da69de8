//! Ids of every kind: reading never panics and depends on nothing but the text, spellings that mean
//! the same give one pseudonym, and no two kinds share any.
#![no_main]

use blindtally::identity::{OtherKind, PayloadEncoding, RawId, UserRules, device, recommended};
use blindtally::model::pseudonym::UserForm;
use blindtally::model::vocab::{DeviceKind, IdEncoding, Quality};
use blindtally_fuzz::{choose, cut, spellings::Tags};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = choose(data, DeviceKind::ALL.len() + 3) else { return };
    // The parser of records lets nothing else through.
    if std::str::from_utf8(rest).is_err() {
        return;
    }
    let mut tags = Tags::default();
    match DeviceKind::ALL.get(what) {
        Some(kind) => devices(*kind, rest, &mut tags),
        None => match what - DeviceKind::ALL.len() {
            0 => users(rest, &mut tags),
            1 => others(rest, &mut tags),
            _ => payloads(rest, &mut tags),
        },
    }
});

fn devices(kind: DeviceKind, data: &[u8], tags: &mut Tags) {
    let Some((how, text)) = choose(data, 6) else { return };
    let encoding = [None, Some(IdEncoding::GuidLe), Some(IdEncoding::UuidBe)][how % 3];
    let id = device(kind, RawId::new(text), encoding, how >= 3);
    let tag = tags.device(&id);
    let again = device(kind, RawId::new(&text.to_vec()), encoding, how >= 3).quality();
    assert_eq!(id.quality(), again);
    assert_eq!(tags.device_text(kind, text, encoding), tag, "equal input, equal tag");
    let at = recommended([&id].into_iter(), Some(how));
    assert_eq!(at, (id.quality() == Quality::Good).then_some(0));
    let stranger = DeviceKind::ALL.iter().filter(|other| {
        let (one, two) = (namespace(**other), namespace(kind));
        one != two
    });
    for other in stranger {
        let other = device(*other, RawId::new(text), encoding, false);
        assert_ne!(tags.device(&other), tag, "two kinds share a pseudonym");
    }
    if id.quality() != Quality::Junk {
        for spelling in spellings(kind, text) {
            let tag_of_spelling = tags.device_text(kind, &spelling, encoding);
            assert_eq!(tag_of_spelling, tag, "{kind}: {}", spelling.escape_ascii());
        }
    }
}

fn namespace(kind: DeviceKind) -> DeviceKind {
    if kind == DeviceKind::Imeisv { DeviceKind::Imei } else { kind }
}

/// Other spellings of an id that was read as its kind, among them its canonical text form, so that
/// the form read again is itself.
fn spellings(kind: DeviceKind, text: &[u8]) -> Vec<Vec<u8>> {
    let trimmed = text.trim_ascii();
    let spaced = [b" ", trimmed, b"\t"].concat();
    let bare: Vec<u8> = trimmed.iter().filter(|b| b.is_ascii_alphanumeric()).copied().collect();
    match kind {
        DeviceKind::Imei => vec![spaced, bare[..14].to_vec()],
        DeviceKind::Imeisv => vec![spaced, [&bare[..14], b"99"].concat()],
        DeviceKind::Meid if bare.len() == 18 => vec![spaced, bare],
        DeviceKind::Meid => vec![spaced, bare[..14].to_ascii_lowercase()],
        DeviceKind::AndroidId => {
            let padded = [&vec![b'0'; 16 - trimmed.len()], trimmed].concat();
            vec![spaced, padded.to_ascii_uppercase(), padded.to_ascii_lowercase()]
        }
        DeviceKind::WifiMac
        | DeviceKind::Idfv
        | DeviceKind::Aaid
        | DeviceKind::Idfa
        | DeviceKind::Lgudid
        | DeviceKind::SamsungTvUuid => {
            vec![spaced, bare.to_ascii_lowercase(), bare.to_ascii_uppercase()]
        }
        DeviceKind::WidevineDeviceUniqueId
        | DeviceKind::WidevineCertSerial
        | DeviceKind::PlayreadyClientId
        | DeviceKind::FairplayHu
        | DeviceKind::Prehashed => vec![spaced],
        DeviceKind::NcgDeviceId | DeviceKind::Opaque => vec![],
    }
}

/// Two texts are one user exactly if they are byte for byte the same.
fn users(text: &[u8], tags: &mut Tags) {
    let (one, two) = cut(text, b"\n");
    let extra = UserRules::new(UserForm::default(), &["nobody".to_owned()]);
    let (first, second) = (tags.user(one, &extra), tags.user(two, &extra));
    assert_eq!(tags.user(one, &extra), first);
    assert!(!one.is_empty() && one != b"nobody" || first.is_none());
    if first.is_some() || second.is_some() {
        assert_eq!(first == second, one == two);
    }
    forms(one, tags);
    let as_device = tags.device_text(DeviceKind::Opaque, one, None);
    assert_ne!(Some(as_device), first, "a user and a device share a pseudonym");
}

/// What options bring together is one user, and no form of an id is another form of any.
fn forms(text: &[u8], tags: &mut Tags) {
    let mut all = Vec::new();
    for form in UserForm::all() {
        let rules = UserRules::new(form, &[]);
        let tag = tags.user(text, &rules);
        if form.trim && std::str::from_utf8(text).is_ok() {
            assert_eq!(tags.user(&[b" \t", text, b"\r\n"].concat(), &rules), tag);
        }
        if form.lower && text.is_ascii() {
            assert_eq!(tags.user(&text.to_ascii_uppercase(), &rules), tag);
        }
        all.extend(tag);
    }
    for (at, tag) in all.iter().enumerate() {
        assert!(!all[..at].contains(tag), "two forms share a pseudonym");
    }
}

fn others(text: &[u8], tags: &mut Tags) {
    let kinds = OtherKind::ALL.iter();
    let all: Vec<[u8; 16]> = kinds.map(|kind| tags.other(*kind, RawId::new(text))).collect();
    for (at, tag) in all.iter().enumerate() {
        assert!(!all[..at].contains(tag), "two kinds share a pseudonym");
    }
    assert_eq!(tags.other(OtherKind::Payload, RawId::new(text)), tags.payload(text, None).1);
}

fn payloads(text: &[u8], tags: &mut Tags) {
    let exact = tags.payload(text, None);
    assert_eq!(exact.0 as usize, text.len() * 8);
    assert_eq!(tags.payload(text, Some(PayloadEncoding::Ascii)), exact);
    let hex = tags.payload(text, Some(PayloadEncoding::Hex));
    if hex != exact {
        assert_eq!(hex.0 as usize, text.len() * 4);
        let upper = text.to_ascii_uppercase();
        assert_eq!(tags.payload(&upper, Some(PayloadEncoding::Hex)), hex);
    }
    numbers_and_variants(text, tags);
    let base64 = tags.payload(text, Some(PayloadEncoding::Base64));
    if base64 != exact {
        let other: Vec<u8> = text.iter().map(|byte| other_alphabet(*byte)).collect();
        assert_eq!(tags.payload(&other, Some(PayloadEncoding::Base64)), base64);
    }
}

fn numbers_and_variants(text: &[u8], tags: &mut Tags) {
    let exact = tags.payload(text, None);
    let number = tags.payload(text, Some(PayloadEncoding::Uint));
    if number != exact && text.len() < 154 {
        let zero = [b"0", text].concat();
        assert_eq!(tags.payload(&zero, Some(PayloadEncoding::Uint)), number);
    }
    let variants = tags.payload(text, Some(PayloadEncoding::Ab));
    if variants != exact {
        assert_eq!(variants.0 as usize, text.len());
        let upper = text.to_ascii_uppercase();
        assert_eq!(tags.payload(&upper, Some(PayloadEncoding::Ab)), variants);
    }
}

fn other_alphabet(digit: u8) -> u8 {
    match digit {
        b'+' => b'-',
        b'/' => b'_',
        digit => digit,
    }
}
