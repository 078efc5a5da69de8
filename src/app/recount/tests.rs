//! What a statement says beside what its sets hold.

use super::*;
use crate::ledger::Digest;
use crate::model::pseudonym::Pseudonyms;
use crate::model::site::Counting;
use crate::model::time::Timestamp;
use crate::model::usage::{Corrections, Counters};
use crate::wire::statement::{Billable, FORMAT, Method, Recounted};

fn body() -> Body {
    let counters = Counters { mau: 3, devices: 2, ..Counters::default() };
    Body {
        format: FORMAT.to_owned(),
        ledger: "l".to_owned(),
        site_id: SiteId::parse(b"A"),
        billing_group: None,
        month: Month::new(2026, 11).unwrap(),
        version: 1,
        replaces: None,
        reason: None,
        issued_at: Timestamp(0),
        issued_by: "server".to_owned(),
        time_zone: Some("UTC".to_owned()),
        from: Timestamp(0),
        to: Timestamp(0),
        closed_at: Timestamp(0),
        method: Some(Method::new("mau/1", Pseudonyms::default(), 72, Counting::default())),
        pseudonym_algorithm: None,
        figures: (&counters).into(),
        by_drm_type: Vec::new(),
        excluded: Vec::new(),
        corrections: Corrections::default().into(),
        earlier_corrections: Vec::new(),
        billable: Billable { mau: 3, licenses_issued: 0 },
        recount: Some(Recounted {
            mau: 3,
            devices: Some(2),
            watermark_users: Some(0),
            device_users: Some(0),
            user_set: Digest([7; 32]),
        }),
        quality: None,
        members: None,
    }
}

fn found() -> Recount {
    Recount {
        users: 3,
        users_by_drm: [0; 8],
        devices: 2,
        watermark_users: 0,
        device_users: 0,
        digest: [7; 32],
    }
}

#[test]
fn what_arrived_is_what_is_counted() {
    let said = |found| {
        let mut report = Report::default();
        arrived(found, &mut report);
        let Report { checked, unchecked, findings } = report;
        [checked, unchecked, findings].map(|lines| lines.len())
    };
    let sums = |accepted, counted, duplicates, counted_duplicates| {
        Some(Sums { accepted, counted, duplicates, counted_duplicates })
    };
    assert_eq!(said(sums(7, 7, Some(3), 3)), [1, 0, 0]);
    assert_eq!(said(sums(7, 7, Some(3), 2)), [1, 0, 0], "one came late");
    assert_eq!(said(sums(7, 7, None, 4)), [1, 0, 0], "from before they were counted");
    assert_eq!(said(None), [0, 1, 0]);
    assert_eq!([said(sums(7, 8, None, 0)), said(sums(8, 7, None, 0))], [[0, 0, 1]; 2]);
    assert_eq!(said(sums(7, 7, Some(3), 4)), [0, 0, 1]);
    assert_eq!(said(sums(7, 8, Some(3), 4)), [0, 0, 2]);
}

#[test]
fn every_difference_is_a_finding() {
    let mut report = Report::default();
    compare(&body(), Some(&found()), &mut report);
    assert!(report.findings.is_empty() && report.checked[0].contains("3 users counted again"));
    let others = [
        Recount { users: 4, ..found() },
        Recount { devices: 1, ..found() },
        Recount { watermark_users: 1, ..found() },
        Recount { device_users: 1, ..found() },
        Recount { digest: [8; 32], ..found() },
    ];
    for other in others {
        let mut report = Report::default();
        compare(&body(), Some(&other), &mut report);
        assert_eq!((report.findings.len(), report.checked.len()), (1, 0), "{other:?}");
    }
    let mut report = Report::default();
    compare(&body(), None, &mut report);
    assert!(report.findings.is_empty() && report.unchecked[0].contains("are destroyed"));
}
