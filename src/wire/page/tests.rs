//! What the page must say, and what nothing that stands in it may do.

use super::*;
use crate::ledger::Proof;
use crate::model::ids::{GroupId, SiteId};
use crate::model::pseudonym::Pseudonyms;
use crate::model::rules::RuleSet;
use crate::model::site::Counting;
use crate::model::time::{Month, Timestamp};
use crate::wire::explained::{IdQuality, QualityLimits};
use crate::wire::statement::{
    Billable, ByDrm, Corrected, Earlier, Excluded, FORMAT, Figures, Member, Method, Recounted,
    Replaced,
};

/// What markup could come of, in every place that takes any text.
const HOSTILE: &str =
    "</style></pre><script>alert(1)</script><img src=x onerror=\"a('b')\">&\u{202e}\0";

fn quality() -> IdQuality {
    IdQuality {
        as_of: Timestamp::parse(b"2026-12-09T07:59:59Z").unwrap(),
        records_counted: 12_013_863,
        records_seen: 12_013_001,
        sentinel_licenses: 9,
        sentinel_share_ppm: 0,
        unattributed_licenses: 17,
        unattributed_share_ppm: 1,
        suspect_shared_users: Some(3),
        suspect_users_by_devices: Some(2),
        suspect_users_by_share: Some(1),
        suspect_user_licenses: Some(250_123),
        suspect_user_share_ppm: Some(20_837),
        suspect_shared_devices: Some(4),
        suspect_device_licenses: Some(70_001),
        limits: QualityLimits {
            devices_per_user: 20,
            users_per_device: 20,
            license_share_ppm: 10_000,
            license_share_least: 10_000,
        },
    }
}

fn method() -> Method {
    Method::new(RuleSet::default(), Pseudonyms::default(), 72, Counting::default())
}

fn figures() -> Figures {
    Figures {
        mau: 1_081_231,
        licenses_issued: 12_003_441,
        licenses_failed: 1_021,
        failures_counted: 0,
        devices: Some(120_331),
        unattributed_licenses: 17,
        device_users: 0,
        watermark_sessions: 9_001,
        watermark_users: Some(812),
        duplicates: 4_400,
        records: 12_013_863,
        licenses_by_device: Some(5),
        session_records: Some(9_111),
        other_records: Some(1_717),
    }
}

fn statement(text: &str) -> Statement {
    let month = Month::new(2026, 11).unwrap();
    let at = |text: &str| Timestamp::parse(text.as_bytes()).unwrap();
    let corrected = Corrected {
        records: 12,
        users: 3,
        licenses_issued: 11,
        device_users: 70_123,
        watermark_sessions: 40_017,
        excluded: vec![Excluded { reason: "session_trial".to_owned(), records: 4_019 }],
        ..Corrected::default()
    };
    let body = Body {
        format: FORMAT.to_owned(),
        ledger: text.to_owned(),
        site_id: SiteId::parse(b"ACME"),
        billing_group: None,
        month,
        version: 2,
        replaces: Some(Replaced { version: 1, digest: Digest([0xcd; 32]) }),
        reason: Some(text.to_owned()),
        issued_at: at("2026-12-09T08:00:00Z"),
        issued_by: text.to_owned(),
        time_zone: Some(text.to_owned()),
        from: at("2026-11-01T00:00:00Z"),
        to: at("2026-12-01T00:00:00Z"),
        closed_at: at("2026-12-04T00:00:00Z"),
        method: Some(Method { rule_set: text.to_owned(), ..method() }),
        pseudonym_algorithm: None,
        figures: figures(),
        by_drm_type: vec![ByDrm {
            drm_type: text.to_owned(),
            mau: None,
            licenses_issued: Some(6_113),
        }],
        subjects_least: Some(13),
        excluded: vec![
            Excluded { reason: text.to_owned(), records: 7 },
            Excluded { reason: "sentinel_user_id".to_owned(), records: 8 },
        ],
        corrections: corrected.clone(),
        earlier_corrections: vec![Earlier { month: month.previous(), corrections: corrected }],
        billable: Billable {
            mau: 1_081_234,
            licenses_issued: 12_003_452,
            device_users: Some(70_124),
        },
        evidence: Some(Evidence::Live),
        recount: Some(Recounted {
            mau: 1_081_231,
            devices: Some(120_331),
            watermark_users: Some(812),
            device_users: Some(0),
            late_users: Some(3_333),
            late_device_users: Some(70_125),
            user_set: Digest([0xef; 32]),
        }),
        quality: Some(Some(quality())),
        members: None,
    };
    let issued = Proof {
        entry: text.to_owned(),
        index: 41,
        size: 44,
        hashes: Vec::new(),
        checkpoint: format!("{text}\n44\nroot\n\n— {text} sig\n"),
    };
    Statement { body, issued }
}

fn page(text: &str) -> String {
    String::from_utf8(statement(text).to_page(Digest([0x12; 32]))).unwrap()
}

/// The names of all tags, in their order.
fn tags(page: &str) -> Vec<String> {
    let rest = page.split('<').skip(1);
    rest.map(|tag| tag.split(['>', ' ']).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn it_says_what_the_statement_says() {
    let page = page("plain");
    for text in [
        "ACME",
        "1,081,234",
        "12,003,452",
        "1,081,231",
        "2, in the place of version 1",
        "Licences under a placeholder id",
        "2026-10, after its close",
        "efefefef",
        "cdcdcdcd",
        "blindtally statement verify",
        "41 of 44",
        "monthly active users",
        "2.08 %",
        "250,123",
        "70,123",
        "40,017",
        "Watermark sessions beyond the count",
        "This month, after its close, also",
        "Not counted: Watermark sessions of the trial environment</th><td class=\"n\">4,019",
        "9,111",
        "1,717",
        "<strong>70,124</strong> devices that stand for users",
        "3,333 users, 70,125 devices that stand for users",
        "3 users look like many",
        "Read: 12,013,001 of 12,013,863 records",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(page.contains(&"12".repeat(32)));
    for (evidence, said) in [
        (Some(Evidence::Destroyed), "the sets were destroyed<"),
        (Some(Evidence::Held), "the sets are on hold, and read by nobody<"),
        (Some(Evidence::Live), "the month has no sets<"),
        (None, "the sets were destroyed, or on hold<"),
    ] {
        let mut gone = statement("plain");
        (gone.body.recount, gone.body.evidence) = (None, evidence);
        gone.body.billable.device_users = Some(0);
        let page = String::from_utf8(gone.to_page(Digest([0; 32]))).unwrap();
        assert!(page.contains(said) && !page.contains("efefef"), "{said}");
        assert!(!page.contains("</strong> devices that stand"));
    }
    let mut unread = statement("plain");
    let of = unread.body.quality.as_mut().unwrap().as_mut().unwrap();
    of.suspect_shared_users = None;
    (of.suspect_user_licenses, of.records_seen) = (None, 0);
    let page = String::from_utf8(unread.to_page(Digest([0; 32]))).unwrap();
    assert!(page.contains("Read: 0 of 12,013,863 records") && page.contains("is not known"));
    assert!(!page.contains("users look like many") && !page.contains("2.08 %"));
}

#[test]
fn whatever_stands_in_it_is_text() {
    let (plain, hostile) = (page("plain"), page(HOSTILE));
    // The same tags, so nothing became markup; and no quote ends an attribute.
    assert_eq!(tags(&plain), tags(&hostile));
    assert!(!hostile.contains("<script") && !hostile.contains("<img"));
    assert!(!hostile.contains("\"a(") && !hostile.contains('\u{202e}') && !hostile.contains('\0'));
    assert!(hostile.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    // It is there in each of the places.
    assert_eq!(hostile.matches("&lt;img").count(), 9);
}

/// The same of a group, whose members say what is said of a site elsewhere.
#[test]
fn a_group_is_shown_with_its_members() {
    let grouped = |text: &str| {
        let mut statement = statement(text);
        let body = &mut statement.body;
        let member = Member {
            site_id: body.site_id.take().unwrap(),
            time_zone: body.time_zone.take().unwrap(),
            from: body.from,
            to: body.to,
            closed_at: None,
            method: body.method.take().unwrap(),
            figures: body.figures.clone(),
            corrections: body.corrections.clone(),
            quality: body.quality.clone(),
        };
        (body.billing_group, body.members) = (GroupId::parse(b"all"), Some(vec![member]));
        body.figures.devices = None;
        statement
    };
    let of_group =
        |text: &str| String::from_utf8(grouped(text).to_page(Digest([0x12; 32]))).unwrap();
    let (plain, hostile) = (of_group("plain"), of_group(HOSTILE));
    let shown = ["Usage statement group all", "Members of the group", "Of the member", "ACME"];
    for text in shown.into_iter().chain(["Suspect users", "is counted at both"]) {
        assert!(plain.contains(text), "{text}");
    }
    // Where that of one member is not known, that of the others is said all the same.
    let mut unread = grouped("plain");
    let mut other = unread.body.members.as_ref().unwrap()[0].clone();
    (other.site_id, other.quality) = (SiteId::parse(b"B").unwrap(), Some(None));
    unread.body.members.as_mut().unwrap().push(other);
    unread.body.quality = Some(None);
    let unread = String::from_utf8(unread.to_page(Digest([0x12; 32]))).unwrap();
    for text in ["could not be told", "Suspect users", ">9<", "not known"] {
        assert!(unread.contains(text), "{text}: {unread}");
    }
    assert!(!unread.contains("is counted at both"), "there is no sum");
    assert_eq!(unread.matches("<section").count(), unread.matches("</section>").count());
    assert!(!plain.contains("Active devices") && plain.contains("can be trusted"));
    assert_eq!(tags(&plain), tags(&hostile));
    assert_eq!(hostile.matches("&lt;img").count(), 9);
}

#[test]
fn it_loads_and_runs_nothing() {
    let page = page("plain");
    for sign in ["<script", "http:", "https:", "url(", "@import", "src=", "href=", "<link"] {
        assert!(!page.contains(sign), "{sign}");
    }
    assert!(STYLE.is_ascii() && !STYLE.contains('<'));
    // openssl dgst -sha256 -binary src/wire/page.css | base64
    let encoded = base64(&crate::crypto::sha256(&[STYLE.as_bytes()]));
    assert!(POLICY.contains(&format!("'sha256-{encoded}'")), "the style's digest is {encoded}");
    assert!(POLICY.starts_with("default-src 'none'; style-src 'sha256-"));
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |bytes: &[u8]| {
        let number = bytes.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        let number = number << (8 * (3 - bytes.len()));
        let digit = |at: usize| char::from(DIGITS[(number >> (18 - 6 * at)) as usize & 63]);
        let text: String = (0..=bytes.len()).map(digit).collect();
        format!("{text:=<4}")
    };
    bytes.chunks(3).map(group).collect()
}

#[test]
fn digits_are_grouped() {
    let grouped = [0, 7, 999, 1_000, 123_456, 1_234_567, u64::MAX].map(number);
    let expected = ["0", "7", "999", "1,000", "123,456", "1,234,567", "18,446,744,073,709,551,615"];
    assert_eq!(grouped, expected);
}
