//! Bodies and rows: what comes back, and what is refused.

use proptest::prelude::*;

use super::certificate::{Body, RegisterSearch};
use super::rows::*;
use super::*;
use crate::ledger::{Digest, Keys};
use crate::model::batch::{Bucket, Epoch, SiteMonth};
use crate::model::ids::{KeyId, SiteId, SiteNo};
use crate::model::retention::Lot;
use crate::model::time::{Month, Timestamp};
use crate::model::vocab::Class;

fn hold(text: &str) -> Result<HoldRequest, String> {
    let request = HoldRequest::parse(&mut text.as_bytes().to_vec());
    request.map_err(|flaw| format!("{} {}", flaw.reason, flaw.pointer))
}

#[test]
fn a_hold_is_read_in_order_and_once_each() {
    let read = hold(
        r#"{"months":["2026-11","2026-10","2026-11"],"ground":"legal_claim",
            "review_at":"2027-01-01T00:00:00Z","classes":["sets","records","sets"]}"#,
    );
    let read = read.unwrap();
    let months: Vec<String> = read.months.iter().map(ToString::to_string).collect();
    assert_eq!(months, ["2026-10", "2026-11"]);
    assert_eq!(read.classes, [Class::Records, Class::Sets]);
    assert_eq!((read.ground, read.reason), ("legal_claim", None));
}

#[test]
fn flaws_of_a_hold() {
    let good = r#"{"months":["2026-11"],"ground":"unpaid","review_at":"2027-01-01T00:00:00Z"}"#;
    hold(good).unwrap();
    for (from, to, flaw) in [
        (good, "", "bad_json "),
        (good, "[]", "bad_json "),
        (good, "{}", "missing_field /months"),
        ("\"ground\":\"unpaid\",", "", "missing_field /ground"),
        ("unpaid", "viewer-1", "bad_value /ground"),
        ("2027-01-01T00:00:00Z", "soon", "bad_time /review_at"),
        ("\"2026-11\"", "\"2026-13\"", "bad_value /months/0"),
        ("\"2026-11\"", "", "bad_value /months"),
        ("\"2026-11\"", "1", "wrong_type /months/0"),
        ("{", "{\"reason\":\"\\u00e9\",", "bad_value /reason"),
        ("{", "{\"classes\":[\"c2\"],", "bad_value /classes/0"),
        ("{", "{\"user_id\":\"x\",", "unknown_field "),
        ("{", "{\"ground\":\"unpaid\",", "duplicate_field /ground"),
    ] {
        assert_eq!(hold(&good.replacen(from, to, 1)), Err(flaw.to_owned()), "{to}");
    }
    let many: Vec<String> = (0..61).map(|no| format!("\"{}\"", Month(24_000 + no))).collect();
    let many = good.replacen("\"2026-11\"", &many.join(","), 1);
    assert_eq!(hold(&many), Err("bad_value /months".to_owned()));
}

#[test]
fn a_review_has_a_time_and_a_reason() {
    let read = |text: &str| {
        let request = ReviewRequest::parse(&mut text.as_bytes().to_vec());
        request.map_err(|flaw| format!("{} {}", flaw.reason, flaw.pointer))
    };
    let good = r#"{"review_at":"2027-01-01T00:00:00Z","reason":"unpaid still"}"#;
    let review = read(good).unwrap();
    assert_eq!(review.review_at.to_string(), "2027-01-01T00:00:00Z");
    assert_eq!(review.reason, "unpaid still");
    for (from, to, flaw) in [
        (good, "{}", "missing_field /review_at"),
        (",\"reason\":\"unpaid still\"", "", "missing_field /reason"),
        ("unpaid still", "", "bad_value /reason"),
        ("\"unpaid still\"", "null", "wrong_type /reason"),
        ("2027-01-01T00:00:00Z", "soon", "bad_time /review_at"),
        ("{", "{\"hold\":1,", "unknown_field "),
    ] {
        assert_eq!(read(&good.replacen(from, to, 1)), Err(flaw.to_owned()), "{to}");
    }
}

/// A row of a build that knew no reviews is read, and written, as it is.
#[test]
fn a_hold_row_of_an_earlier_build_keeps_its_bytes() {
    let text = [
        r#"{"number":3,"site":"ACME","months":["2026-10"],"classes":["sets"],"ground":"unpaid","#,
        r#""review_at":"2040-01-01T00:00:00Z","reason":null,"opened":{"by":"aaaaaaaaaaaaaaaa","#,
        r#""at":"2026-11-01T00:00:00Z"},"in_ledger":true,"requested":null,"released":null,"#,
        r#""alarmed":false}"#,
    ];
    let text = text.concat();
    let row = HoldRow::parse(text.as_bytes()).unwrap();
    assert_eq!((row.reviewed.as_ref(), row.alarmed_at), (None, None));
    assert_eq!(row.to_bytes().unwrap(), text.as_bytes());
}

#[test]
fn a_termination_may_have_no_body() {
    let read = |text: &str| TerminateRequest::parse(&mut text.as_bytes().to_vec());
    assert_eq!(read("").unwrap().reason, None);
    assert_eq!(read(" {} ").unwrap().reason, None);
    assert_eq!(read(r#"{"reason":"done"}"#).unwrap().reason.as_deref(), Some("done"));
    assert!(read(r#"{"why":"done"}"#).is_err() && read("x").is_err());
}

fn asked() -> impl Strategy<Value = Asked> {
    let clock = proptest::option::of((0i64..4_000_000_000_000).prop_map(Timestamp));
    ("[a-z0-9]{16}", 0i64..4_000_000_000_000, clock).prop_map(|(by, at, clock)| Asked {
        by,
        at: Timestamp(at),
        clock,
    })
}

fn lot() -> impl Strategy<Value = Lot> {
    (0u8..10, 1u32..90_000, 24_000u32..25_000, 18_000u32..30_000).prop_map(
        |(kind, no, month, day)| {
            let (site, month) = (SiteNo(no), Month(month));
            let at = SiteMonth { site, month };
            let bucket = |class, epoch| Lot::Records(Bucket { class, site, epoch });
            match kind {
                0 => bucket(Class::Records, Epoch::Month(month)),
                1 => bucket(Class::Detections, Epoch::Day(Day(day))),
                2 => Lot::Sets(at),
                3 => Lot::RecordKey(at),
                4 => Lot::WatermarkKey(at),
                5 => bucket(Class::Records, Epoch::Day(Day(day))),
                6 => Lot::Suppression(at),
                7 => Lot::Seen(Day(day)),
                8 => Lot::Access(month),
                _ => Lot::BaseKey(at),
            }
        },
    )
}

fn planned() -> impl Strategy<Value = Planned> {
    let key = (1u64.., any::<[u8; 32]>());
    let key = key.prop_map(|(key, bytes)| Committed { key, commitment: Digest(bytes) });
    let keys = prop::collection::vec(key, 0..4);
    (lot(), 0i64..4_000_000_000_000, keys, prop::collection::vec(any::<u64>(), 0..3)).prop_map(
        |(lot, due, keys, released_holds)| {
            let site = SiteId::parse(b"ACME").unwrap();
            let hold = keys.first().map(|key: &Committed| key.key);
            let heirs = released_holds.clone();
            Planned { lot, site, due: Timestamp(due), keys, released_holds, hold, heirs }
        },
    )
}

proptest! {
    #[test]
    fn a_hold_row_comes_back(
        number in 1u64..,
        months in prop::collection::vec(24_000u32..30_000, 0..5),
        reason in prop::option::of("[ -~]{0,20}"),
        opened in asked(),
        (requested, released) in (prop::option::of(asked()), prop::option::of(asked())),
        (in_ledger, alarmed) in any::<(bool, bool)>(),
    ) {
        let hold = HoldRow {
            number,
            site: SiteId::parse(b"A.b-c").unwrap(),
            months: months.into_iter().map(Month).collect(),
            classes: vec![Class::Sets, Class::Detections],
            ground: "unpaid".to_owned(),
            review_at: opened.at,
            alarmed_at: alarmed.then_some(opened.at),
            reviewed: alarmed.then(|| Reviewed {
                entry: number,
                by: opened.clone(),
                reason: reason.clone(),
            }),
            reason,
            opened,
            in_ledger,
            requested,
            released,
            alarmed,
        };
        let bytes = hold.to_bytes().unwrap();
        prop_assert_eq!(HoldRow::parse(&bytes), Ok(hold));
        let longer = [&bytes[..], b" "].concat();
        prop_assert_eq!(HoldRow::parse(&longer), Err(BadForm));
    }

    #[test]
    fn a_run_row_comes_back(
        operation in prop::option::of(any::<u64>()),
        lots in prop::collection::vec(planned(), 0..5),
        records in prop::option::of(prop::collection::vec(any::<Option<u64>>(), 0..3)),
        keys in prop::collection::vec(any::<u64>(), 0..6),
        reported in any::<bool>(),
    ) {
        let report = Reported {
            records,
            keys: Keys::of(keys.into_iter().map(KeyId)),
            keys_tried: u64::from(reported) * 5,
            old_epoch: 1,
            new_epoch: 2,
            generation: None,
            files_removed: 3,
            bytes_reclaimed: u64::MAX,
            files_searched: operation.unwrap_or(0),
            register: operation.map(|found| RegisterSearch {
                copies: 2,
                places: 2_048,
                keys: 3,
                wrapped: 1,
                found,
            }),
            home_copy_opens: true,
            passed: true,
            nothing: false,
            withdrawn: operation.is_none(),
            ended_at: Timestamp(1_795_320_960_123),
        };
        let row = RunRow {
            operation,
            by: "server".to_owned(),
            begun_at: Timestamp(1_795_320_960_000),
            profile: "kr-pipa".to_owned(),
            policy: Digest([9; 32]),
            vek_before: 7,
            open_holds: operation,
            lots,
            alarmed: false,
            report: reported.then_some(report),
            removal: (operation == Some(3)).then(|| "authority_order".to_owned()),
            requested_by: (operation == Some(3)).then(|| "b".repeat(16)),
        };
        prop_assert_eq!(RunRow::parse(&row.to_bytes().unwrap()), Ok(row.clone()));
        let failed = FailedRow { operation: 3, ended_at: row.begun_at, lots: row.lots };
        prop_assert_eq!(FailedRow::parse(&failed.to_bytes().unwrap()), Ok(failed));
    }

    #[test]
    fn nothing_else_is_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(RunRow::parse(&bytes), Err(BadForm));
        prop_assert_eq!(ClockRow::parse(&bytes), Err(BadForm));
        prop_assert_eq!(Body::parse(&bytes), Err(BadForm));
        prop_assert_eq!(PolicyDoc::parse(&bytes), Err(BadForm));
    }
}

#[test]
fn a_clock_row_comes_back() {
    for jump in [None, Some(Timestamp(1_795_320_960_001))] {
        let high_water = Timestamp(1_795_320_960_000);
        let row = ClockRow { high_water, jump, back: true, policy: Digest([1; 32]) };
        assert_eq!(ClockRow::parse(&row.to_bytes().unwrap()), Ok(row));
    }
}

#[test]
fn a_notice_comes_back() {
    let row = NoticeRow { seen_at: Timestamp(1_795_320_960_001) };
    assert_eq!(NoticeRow::parse(&row.to_bytes().unwrap()), Ok(row));
}

#[test]
fn ids_of_holds_have_one_spelling() {
    assert_eq!(view::hold_number("h12"), Some(12));
    for bad in ["", "h", "12", "h012", "h+1", "h1 ", "H1", "h99999999999999999999"] {
        assert_eq!(view::hold_number(bad), None, "{bad}");
    }
}
