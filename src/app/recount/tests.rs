//! What a statement says beside what its sets hold.

use super::*;
use crate::ledger::Digest;
use crate::model::pseudonym::Pseudonyms;
use crate::model::site::Counting;
use crate::model::time::Timestamp;
use crate::model::usage::{Counters, Evidence};
use crate::wire::statement::{Billable, ByDrm, FORMAT, Method, Recounted, Replaced};

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
        method: Some(Method::new(
            Default::default(),
            Pseudonyms::default(),
            72,
            Counting::default(),
        )),
        pseudonym_algorithm: None,
        figures: (&counters).into(),
        by_drm_type: Vec::new(),
        subjects_least: Some(2),
        excluded: Vec::new(),
        corrections: Default::default(),
        earlier_corrections: Vec::new(),
        billable: Billable { mau: 3, licenses_issued: 0, device_users: Some(0) },
        evidence: Some(Evidence::Live),
        recount: Some(Recounted {
            mau: 3,
            devices: Some(2),
            watermark_users: Some(0),
            device_users: Some(0),
            late_users: None,
            late_device_users: None,
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
        late_users: 0,
        late_device_users: 0,
        sessions: 0,
        late_devices: 0,
        late_watermark_users: 0,
        digest: [7; 32],
    }
}

#[test]
fn what_arrived_is_what_is_counted() {
    let said = |found| {
        let mut report = Report::default();
        arrived(found, &mut report);
        let Report { checked, unchecked, findings } = report;
        assert!(findings.iter().all(|finding| finding.ends_with(COUNTS)), "{findings:?}");
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

/// Findings, and what was checked and what not.
fn compared(body: &Body, found: &Found) -> (Vec<String>, usize, Vec<String>) {
    let mut report = Report::default();
    compare(body, found, &mut report);
    (report.findings, report.checked.len(), report.unchecked)
}

#[test]
fn every_difference_is_a_finding() {
    let mut report = Report::default();
    compare(&body(), &Found::Sets(found()), &mut report);
    assert!(report.findings.is_empty() && report.checked[0].contains("3 users counted again"));
    let mut by_drm = found();
    by_drm.users_by_drm[7] = 1;
    let others = [
        Recount { users: 4, ..found() },
        Recount { devices: 1, ..found() },
        Recount { watermark_users: 1, ..found() },
        Recount { device_users: 1, ..found() },
        Recount { digest: [8; 32], ..found() },
        Recount { sessions: 1, ..found() },
        by_drm,
    ];
    for other in others {
        let (findings, checked, _) = compared(&body(), &Found::Sets(other.clone()));
        assert!(!findings.is_empty() && checked == 0, "{other:?}");
        assert!(findings.iter().all(|finding| finding.ends_with(COUNTS)), "{findings:?}");
    }
    // What it says of its own count is one thing, and what it says of the month another.
    for change in [
        |of: &mut Recounted| of.mau = 2,
        |of: &mut Recounted| of.devices = Some(1),
        |of: &mut Recounted| of.watermark_users = Some(1),
        |of: &mut Recounted| of.device_users = Some(1),
        |of: &mut Recounted| of.user_set = Digest([8; 32]),
    ] {
        let mut other = body();
        change(other.recount.as_mut().unwrap());
        assert_eq!(compared(&other, &Found::Sets(found())).0.len(), 1, "{other:?}");
    }
    let mut said = body();
    let row = |mau| ByDrm { drm_type: "ncg".to_owned(), mau, licenses_issued: Some(9) };
    said.by_drm_type = vec![row(Some(2))];
    assert_eq!(compared(&said, &Found::Sets(found())).0.len(), 1);
    let mut of_ncg = found();
    of_ncg.users_by_drm[3] = 2;
    assert_eq!(compared(&said, &Found::Sets(of_ncg.clone())).0, Vec::<String>::new());
    // What is left out says nothing; a system that has no row has no user.
    said.by_drm_type = vec![row(None)];
    assert_eq!(compared(&said, &Found::Sets(of_ncg.clone())).0, Vec::<String>::new());
    said.by_drm_type = Vec::new();
    assert_eq!(compared(&said, &Found::Sets(of_ncg)).0.len(), 1);
    for (gone, why) in [(Found::Nothing, "are destroyed"), (Found::Held, "are on hold")] {
        let (findings, checked, unchecked) = compared(&body(), &gone);
        assert!(findings.is_empty() && checked == 0 && unchecked[0].contains(why));
    }
}

/// A second version bills what came late, which the sets hold, and maybe more by now.
#[test]
fn what_a_second_version_bills_is_counted_again() {
    let mut said = body();
    said.version = 2;
    (said.corrections.users, said.corrections.device_users) = (5, 2);
    said.billable = Billable::of(2, &said.figures, &said.corrections);
    assert_eq!((said.billable.mau, said.billable.device_users), (8, Some(2)));
    said.recount.as_mut().unwrap().late_users = Some(6);
    let sets = |late_users, late_device_users| {
        Found::Sets(Recount { late_users, late_device_users, ..found() })
    };
    for (users, devices, wrong) in [(6, 2, 0), (9, 3, 0), (5, 2, 1), (4, 2, 2), (6, 1, 1)] {
        let (findings, checked, _) = compared(&said, &sets(users, devices));
        let expected = (wrong, usize::from(wrong == 0));
        assert_eq!((findings.len(), checked), expected, "{users} {devices} {findings:?}");
    }
    // It bills the sum and nothing else, destroyed sets or not.
    for change in [
        |of: &mut Billable| of.mau += 1,
        |of: &mut Billable| of.licenses_issued += 1,
        |of: &mut Billable| of.device_users = Some(3),
    ] {
        let mut other = said.clone();
        change(&mut other.billable);
        for found in [sets(6, 2), Found::Nothing] {
            assert_eq!(compared(&other, &found).0.len(), 1);
        }
    }
    // One that follows one of an older form bills no devices, and says what came late of them.
    said.billable.device_users = None;
    assert_eq!(compared(&said, &sets(6, 2)).0, Vec::<String>::new());
    assert_eq!(compared(&said, &sets(6, 1)).0.len(), 1);
    // What is late and not billed is in a set as well, which may have grown.
    (said.corrections.devices, said.corrections.watermark_users) = (4, 7);
    for (late_devices, late_watermark_users, wrong) in [(4, 7, 0), (5, 8, 0), (3, 7, 1), (4, 6, 1)]
    {
        let found = Recount {
            late_users: 6,
            late_device_users: 2,
            late_devices,
            late_watermark_users,
            ..found()
        };
        assert_eq!(compared(&said, &Found::Sets(found)).0.len(), wrong);
    }
    said.recount.as_mut().unwrap().late_device_users = Some(3);
    let found = Recount { late_users: 6, late_device_users: 2, late_devices: 4, ..found() };
    let found = Recount { late_watermark_users: 7, ..found };
    assert_eq!(compared(&said, &Found::Sets(found)).0.len(), 1, "of its own count");
    // An older form was written before all of these were counted.
    said.evidence = None;
    said.recount.as_mut().unwrap().late_device_users = None;
    assert_eq!(compared(&said, &sets(6, 0)).0, Vec::<String>::new());
}

#[test]
fn a_version_names_the_one_before_it() {
    let first = body();
    let digest = Digest(sha256(&[&first.to_bytes().unwrap()]));
    let second =
        |version, of| Body { version, replaces: Some(Replaced { version: of, digest }), ..body() };
    let said = |body: &Body, before: Option<&Body>| {
        let mut report = Report::default();
        follows(body, before.map(std::slice::from_ref).unwrap_or_default(), &mut report);
        assert!(report.findings.iter().all(|finding| finding.ends_with(STATEMENTS)));
        [report.findings.len(), report.unchecked.len(), report.checked.len()]
    };
    assert_eq!(said(&first, None), [0; 3]);
    assert_eq!(said(&second(2, 1), Some(&first)), [0; 3]);
    // The data was put back from before the version that it names.
    assert_eq!(said(&second(2, 1), None), [0, 1, 0]);
    assert_eq!(said(&second(4, 3), Some(&first)), [0, 1, 0]);
    let other = Body { issued_by: "k".to_owned(), ..body() };
    assert_eq!(said(&second(2, 1), Some(&other)), [1, 0, 0], "another one was stored");
    assert_eq!(said(&second(3, 1), Some(&first)), [1, 0, 0], "a number was left out");
    assert_eq!(said(&first, Some(&first)), [1, 0, 0]);
    assert_eq!(said(&Body { replaces: None, ..second(2, 1) }, Some(&first)), [1, 0, 0]);
    assert_eq!(said(&second(2, 1), Some(&second(2, 1))), [1, 0, 0]);
}

/// A month is billed as it was at first: with devices that stand for users, or without them.
#[test]
fn a_version_bills_what_the_first_one_did() {
    let first = body();
    let next = |before: &Body, bills: bool| {
        let digest = Digest(sha256(&[&before.to_bytes().unwrap()]));
        let (of, version) = (before.version, before.version + 1);
        let mut next = Body { version, replaces: Some(Replaced { version: of, digest }), ..body() };
        next.billable.device_users = bills.then_some(0);
        next
    };
    let said = |body: &Body, before: &[Body]| {
        let mut report = Report::default();
        follows(body, before, &mut report);
        report.findings
    };
    for bills in [true, false] {
        let first = Body { version: 1, replaces: None, ..next(&first, bills) };
        let (same, other) = (next(&first, bills), next(&first, !bills));
        assert_eq!(said(&same, std::slice::from_ref(&first)), Vec::<String>::new());
        assert!(said(&other, std::slice::from_ref(&first))[0].contains("unlike the first version"));
        let third = next(&other, bills);
        assert_eq!(said(&third, &[first, other]), Vec::<String>::new(), "it is mended");
    }
}

/// Who was counted must be in a set as long as that is not destroyed; who was not needs none.
#[test]
fn sets_that_are_not_there_are_found_where_somebody_was_counted() {
    let nobody = || {
        let digest = sha256(&[]);
        Found::Sets(Recount { users: 0, devices: 0, late_users: 0, digest, ..found() })
    };
    let (findings, checked, unchecked) = compared(&body(), &nobody());
    assert!(findings.len() > 1 && checked == 0 && unchecked.is_empty(), "{findings:?}");
    let mut silent = body();
    silent.figures = (&Counters::default()).into();
    silent.billable = Billable::of(1, &silent.figures, &silent.corrections);
    silent.recount = None;
    let (findings, checked, unchecked) = compared(&silent, &nobody());
    assert_eq!((findings, checked, unchecked), (Vec::new(), 1, Vec::new()));
}
