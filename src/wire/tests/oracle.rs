//! The reader against serde_json as an independent oracle, and records built at random.

use super::*;
use crate::wire::json::Reader;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// Whether our reader takes the text as one JSON value.
fn accepts(text: &[u8]) -> bool {
    let mut text = text.to_vec();
    let Some(mut reader) = Reader::new(&mut text) else { return false };
    reader.skip().is_ok() && reader.end().is_ok()
}

/// Whether serde_json does; `None` where it stops at a number too large for its own types, which is
/// no matter of grammar.
fn oracle(text: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<Json>(text) {
        Ok(_) => Some(true),
        Err(error) if error.to_string().contains("number out of range") => None,
        Err(_) => Some(false),
    }
}

/// Whether both say the same.
fn agree(text: &[u8]) -> bool {
    oracle(text).is_none_or(|theirs| theirs == accepts(text))
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

/// A string token with every character written in one of its forms.
fn written(text: &str, forms: &[u8]) -> String {
    let mut token = String::from("\"");
    for (at, char) in text.chars().enumerate() {
        let form = forms.get(at % forms.len().max(1)).copied().unwrap_or_default();
        if form % 3 == 0 {
            for unit in char.encode_utf16(&mut [0; 2]) {
                token.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            let one = serde_json::to_string(&char).unwrap();
            token.push_str(&one[1..one.len() - 1]);
        }
    }
    token.push('"');
    token
}

/// A piece of text that is often JSON and often nearly.
fn scrap() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"", "\"a\"", "\\", "\\u", "d800", "\\udc00", "0", "1",
            "-", "+", ".", "e", "E9", "true", "false", "null", " ", "\n", "\t", "\r", "x", "é",
            "\u{0}", "\u{1f}", "\u{7f}", "/", "\"a\":", "[]", "{}", "\"\\n\"",
        ]),
        0..12,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn json_is_accepted(value in any_json(), pretty in any::<bool>()) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        prop_assert!(accepts(text.as_bytes()));
    }

    #[test]
    fn scraps_are_judged_alike(text in scrap()) {
        prop_assert!(agree(text.as_bytes()), "{:?}", text);
        let array = format!("[{text}]");
        prop_assert!(agree(array.as_bytes()), "{:?}", array);
        let string = format!("\"{text}\"");
        prop_assert!(agree(string.as_bytes()), "{:?}", string);
        let member = format!("{{\"a\":{text}}}");
        prop_assert!(agree(member.as_bytes()), "{:?}", member);
    }

    #[test]
    fn damaged_json_is_judged_alike(
        value in any_json(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let at = at.index(text.len());
        if cut { text.truncate(at) } else { text[at] = byte }
        prop_assert!(agree(&text), "{:?}", text);
    }

    #[test]
    fn strings_are_equal(
        text in any::<String>(),
        forms in prop::collection::vec(any::<u8>(), 1..9),
    ) {
        let mut token = written(&text, &forms).into_bytes();
        let theirs: String = serde_json::from_slice(&token).unwrap();
        let mut reader = Reader::new(&mut token).unwrap();
        let ours = reader.string().unwrap();
        prop_assert_eq!(&*ours, text.as_bytes());
        prop_assert_eq!(theirs, text);
        prop_assert!(reader.end().is_ok());
    }

    #[test]
    fn numbers_are_judged_alike(text in "-?[0-9]{0,4}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,2})?") {
        prop_assert!(agree(text.as_bytes()), "{:?}", text);
    }

    /// A record with any texts, in any order of members and any spacing, comes out as it went in.
    #[test]
    fn records_come_out_as_they_went_in(
        texts in prop::collection::vec("\\PC{1,12}|[a-z0-9-]{1,40}", 6),
        devices in prop::collection::vec(("[a-f0-9]{0,64}", 0usize..17), 0..=8),
        forms in prop::collection::vec(1u8..9, 1..5),
        order in Just((0usize..9).collect::<Vec<_>>()).prop_shuffle(),
        space in prop::sample::select(vec!["", " ", "  "]),
        at in 100_000_000_000i64..253_402_300_800_000,
    ) {
        use crate::model::vocab::DeviceKind;
        let kinds: Vec<&str> = devices.iter().map(|(_, k)| DeviceKind::ALL[*k].name()).collect();
        let ids: Vec<Json> = devices.iter().zip(&kinds)
            .map(|((value, _), kind)| json!({"kind": kind, "value": value}))
            .collect();
        let text = |at: usize| written(&texts[at], &forms);
        let members = [
            ("event_id", text(0)),
            ("type", format!("\"{LICENSE}\"")),
            ("site_id", text(1)),
            ("occurred_at", at.to_string()),
            ("outcome", "\"success\"".to_owned()),
            ("user_id", text(2)),
            ("cid", text(3)),
            ("order_id", text(4)),
            ("device", json!({"ids": ids, "make": texts[5]}).to_string()),
        ];
        let parts: Vec<String> = order.iter()
            .map(|at| format!("\"{}\":{space}{}", members[*at].0, members[*at].1))
            .collect();
        let line = format!("{{{}}}", parts.join(&format!(",{space}")));
        let record = taken(&line);
        prop_assert_eq!(&record.event_id, &texts[0]);
        prop_assert_eq!(&record.site_id, &texts[1]);
        prop_assert_eq!(record.user, Some(texts[2].len()));
        prop_assert_eq!(record.cid.as_ref(), Some(&texts[3]));
        prop_assert_eq!(record.at, at);
        prop_assert_eq!(&record.raw, &vec![("order_id".to_owned(), texts[4].len())]);
        let stored = vec![("device.make".to_owned(), texts[5].trim_ascii().to_owned())];
        prop_assert_eq!(&record.stored, &stored);
        let found: Vec<(&str, usize)> =
            record.devices.iter().map(|(kind, length, _)| (&**kind, *length)).collect();
        let want: Vec<(&str, usize)> =
            kinds.iter().zip(&devices).map(|(kind, (value, _))| (*kind, value.len())).collect();
        prop_assert_eq!(found, want);
    }
}

#[test]
fn depth_is_followed_to_a_bound() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(accepts(nested(128).as_bytes()));
    assert!(!accepts(nested(129).as_bytes()));
}
