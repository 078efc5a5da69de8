//! The bytes of forms that were given out: they are read, and written again alike.

use super::*;

/// A body of the second form as it was issued before there were statements of groups.
const SECOND: &str = concat!(
    r#"{"format":"blindtally/statement/2","ledger":"l","site_id":"A","month":"2026-11","#,
    r#""version":1,"#,
    r#""replaces":null,"reason":null,"issued_at":"2026-12-04T00:05:00Z","issued_by":"server","#,
    r#""time_zone":"UTC","from":"2026-11-01T00:00:00Z","to":"2026-12-01T00:00:00Z","#,
    r#""closed_at":"2026-12-04T00:00:00Z","method":{"rule_set":"mau/1","canonicalizer":1,"#,
    r#""closing_hours":72,"include_failures":false,"count_renewals":true,"device_as_user":false,"#,
    r#""anonymous_by_device":false},"figures":{"mau":2,"licenses_issued":4,"licenses_failed":1,"#,
    r#""failures_counted":0,"devices":1,"unattributed_licenses":1,"device_users":0,"#,
    r#""watermark_sessions":0,"watermark_users":0,"duplicates":0,"records":5},"by_drm_type":[],"#,
    r#""excluded":[],"corrections":{"records":0,"users":0,"licenses_issued":0},"#,
    r#""earlier_corrections":[],"billable":{"mau":2,"licenses_issued":4},"recount":{"mau":2,"#,
    r#""devices":1,"watermark_users":0,"device_users":0,"#,
    r#""user_set":"0707070707070707070707070707070707070707070707070707070707070707"},"#,
    r#""quality":null}"#,
);

/// A second version of the third form, with something late of two kinds.
const THIRD: &str = concat!(
    r#"{"format":"blindtally/statement/3","ledger":"l","site_id":"A","month":"2026-11","#,
    r#""version":2,"replaces":{"version":1,"digest":"#,
    r#""0909090909090909090909090909090909090909090909090909090909090909"},"reason":"=late","#,
    r#""issued_at":"2026-12-09T00:05:00Z","issued_by":"k","#,
    r#""time_zone":"UTC","from":"2026-11-01T00:00:00Z","to":"2026-12-01T00:00:00Z","#,
    r#""closed_at":"2026-12-04T00:00:00Z","method":{"rule_set":"mau/1","canonicalizer":1,"#,
    r#""closing_hours":72,"include_failures":false,"count_renewals":true,"device_as_user":true,"#,
    r#""anonymous_by_device":false},"figures":{"mau":2,"licenses_issued":4,"licenses_failed":1,"#,
    r#""failures_counted":0,"devices":1,"unattributed_licenses":1,"device_users":1,"#,
    r#""watermark_sessions":0,"watermark_users":0,"duplicates":0,"records":5,"#,
    r#""licenses_by_device":1,"session_records":0,"other_records":0},"#,
    r#""by_drm_type":[],"excluded":[],"corrections":{"records":7,"users":3,"licenses_issued":3,"#,
    r#""device_users":2,"watermark_sessions":4,"excluded":[{"reason":"trial","records":1}]},"#,
    r#""earlier_corrections":[{"month":"2026-10","corrections":{"records":1,"users":0,"#,
    r#""licenses_issued":0,"licenses_failed":1}}],"#,
    r#""billable":{"mau":5,"licenses_issued":7,"device_users":3},"evidence":"live","#,
    r#""recount":{"mau":2,"devices":1,"watermark_users":0,"device_users":1,"late_users":3,"#,
    r#""late_device_users":2,"#,
    r#""user_set":"0707070707070707070707070707070707070707070707070707070707070707"},"#,
    r#""quality":null}"#,
);

#[test]
fn a_statement_of_the_third_form_keeps_its_bytes() {
    let body = Body::parse(THIRD.as_bytes()).unwrap();
    assert!(body.is_of_known_form() && body.bills_what_it_says());
    assert_eq!(String::from_utf8(body.to_bytes().unwrap()).unwrap(), THIRD);
    // What one form has the other does not, and the newest lacks nothing.
    for (from, to) in [
        ("statement/3", "statement/2"),
        (r#","evidence":"live""#, ""),
        (r#","late_users":3"#, ""),
        (r#","quality":null"#, ""),
    ] {
        let other = THIRD.replace(from, to);
        assert_ne!(other, THIRD);
        assert!(!Body::parse(other.as_bytes()).unwrap().is_of_known_form(), "{from}");
    }
    // A version that follows one of an older form bills no devices either.
    let other = THIRD.replace(r#","device_users":3},"evidence""#, r#"},"evidence""#);
    let other = Body::parse(other.as_bytes()).unwrap();
    assert!(other.is_of_known_form() && other.bills_what_it_says());
    assert!(other.billable.device_users.is_none());
    for (from, to) in [("\"mau\":5", "\"mau\":6"), (r#""device_users":3}"#, r#""device_users":1}"#)]
    {
        let body = Body::parse(THIRD.replace(from, to).as_bytes()).unwrap();
        assert!(!body.bills_what_it_says(), "{to}");
    }
}

/// What is left out is `null`, and how few that is stands beside.
#[test]
fn a_statement_of_the_fourth_form_keeps_its_bytes() {
    let rows = concat!(
        r#""by_drm_type":[{"drm_type":"ncg","mau":null,"licenses_issued":7},"#,
        r#"{"drm_type":"oma","mau":null,"licenses_issued":null}],"subjects_least":10"#,
    );
    let fourth = THIRD.replace("statement/3", "statement/4").replace(r#""by_drm_type":[]"#, rows);
    let body = Body::parse(fourth.as_bytes()).unwrap();
    assert!(body.is_of_known_form() && body.bills_what_it_says());
    assert_eq!(String::from_utf8(body.to_bytes().unwrap()).unwrap(), fourth);
    for (from, to) in [("statement/4", "statement/3"), (r#","subjects_least":10"#, "")] {
        let other = fourth.replace(from, to);
        assert!(!Body::parse(other.as_bytes()).unwrap().is_of_known_form(), "{from}");
    }
    // A figure that is not there is not one that is left out.
    let other = fourth.replace(r#""mau":null,"licenses_issued":7"#, r#""licenses_issued":7"#);
    assert_ne!(other, fourth);
    assert!(Body::parse(other.as_bytes()).is_err());
}

/// Two versions differ in it where they differ, and what came late of other months is in it.
#[test]
fn a_csv_says_what_the_statement_says() {
    let body = Body::parse(THIRD.as_bytes()).unwrap();
    let csv = String::from_utf8(body.to_csv(crate::ledger::Digest([0xab; 32]))).unwrap();
    let rows: Vec<&str> = csv.split_terminator("\r\n").collect();
    for row in [
        "reason,'=late",
        "replaces_version,1",
        &format!("replaces_sha256,{}", "09".repeat(32)),
        &format!("body_sha256,{}", "ab".repeat(32)),
        "from,2026-11-01T00:00:00Z",
        "to,2026-12-01T00:00:00Z",
        "closed_at,2026-12-04T00:00:00Z",
        "device_as_user,true",
        "billable_device_users,3",
        "evidence,live",
        "corrected_watermark_sessions,4",
        "corrected_devices,0",
        "corrected_excluded_trial,1",
        "corrected_2026-10_records,1",
        "corrected_2026-10_licenses_failed,1",
        "recount_mau,2",
        "recount_late_users,3",
        &format!("recount_user_set,{}", "07".repeat(32)),
    ] {
        assert!(rows.contains(&row), "{row}: {csv}");
    }
    for newer in ["pseudonym_algorithm", "user_id_trim"] {
        assert!(!csv.contains(newer), "{newer} was not said: {csv}");
    }
    let names: std::collections::BTreeSet<&str> =
        rows.iter().map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(names.len(), rows.len(), "each name once: {csv}");
}

/// A quality as the third form had it.
const QUALITY: &str = concat!(
    r#""quality":{"as_of":"2026-12-09T00:00:00Z","records_counted":5,"records_seen":5,"#,
    r#""sentinel_licenses":1,"sentinel_share_ppm":250000,"unattributed_licenses":1,"#,
    r#""unattributed_share_ppm":250000,"suspect_shared_users":0,"suspect_users_by_devices":0,"#,
    r#""suspect_users_by_share":0,"suspect_user_licenses":0,"suspect_user_share_ppm":0,"#,
    r#""suspect_shared_devices":0,"suspect_device_licenses":0,"#,
    r#""limits":{"devices_per_user":50,"users_per_device":20,"license_share_ppm":10000,"#,
    r#""license_share_least":100}}"#,
);

/// A table that was fetched of a statement long ago is fetched again alike: what newer tables say
/// is in those of the newest form only.
#[test]
fn a_csv_of_an_older_form_stays_as_it_was() {
    let csv = |body: &Body| {
        let csv = String::from_utf8(body.to_csv(crate::ledger::Digest([0xab; 32]))).unwrap();
        csv.split_terminator("\r\n").map(str::to_owned).collect::<Vec<_>>()
    };
    let third = THIRD.replace(r#""quality":null"#, QUALITY);
    let old = csv(&Body::parse(third.as_bytes()).unwrap());
    let own: Vec<&str> =
        old.iter().filter(|row| row.starts_with("quality_")).map(String::as_str).collect();
    let wanted = [
        "quality_records_counted,5",
        "quality_records_seen,5",
        "quality_sentinel_licenses,1",
        "quality_sentinel_share_ppm,250000",
        "quality_unattributed_licenses,1",
        "quality_unattributed_share_ppm,250000",
        "quality_suspect_shared_users,0",
        "quality_suspect_users_by_devices,0",
        "quality_suspect_users_by_share,0",
        "quality_suspect_user_licenses,0",
        "quality_suspect_user_share_ppm,0",
        "quality_suspect_shared_devices,0",
        "quality_suspect_device_licenses,0",
    ];
    assert_eq!(own, wanted);
    let drm = r#""by_drm_type":[],"subjects_least":10"#;
    let fourth = third.replace("statement/3", "statement/4").replace(r#""by_drm_type":[]"#, drm);
    let new = csv(&Body::parse(fourth.as_bytes()).unwrap());
    for row in ["quality_as_of,2026-12-09T00:00:00Z", "quality_limits_users_per_device,20"] {
        assert!(new.iter().any(|of| of == row) && !old.iter().any(|of| of == row), "{row}");
    }
    // Of a group, too; and which rules its members were counted by.
    let mut body = Body::parse(fourth.as_bytes()).unwrap();
    let (site, method) = (body.site_id.take().unwrap(), body.method.take().unwrap());
    let member = |id: &[u8], rules: &str| Member {
        site_id: SiteId::parse(id).unwrap(),
        time_zone: "UTC".to_owned(),
        from: body.from,
        to: body.to,
        closed_at: None,
        method: Method { rule_set: rules.to_owned(), ..method.clone() },
        figures: body.figures.clone(),
        corrections: body.corrections.clone(),
        quality: body.quality.clone(),
    };
    let mut members = vec![member(site.as_str().as_bytes(), "mau/2")];
    members.extend([member(b"B", "mau/10"), member(b"C", "mau/1")]);
    (body.billing_group, body.members) = (GroupId::parse(b"all"), Some(members));
    body.format = GROUP_FORMAT.to_owned();
    let group = csv(&body);
    // The newest, as the group's usage says.
    for row in ["rule_set,mau/10", "rule_set_of_A,mau/2", "rule_set_of_C,mau/1"] {
        assert!(group.iter().any(|of| of == row), "{row}: {group:?}");
    }
    body.format = "blindtally/group-statement/2".to_owned();
    let older = csv(&body);
    assert!(!older.iter().any(|row| row.starts_with("rule_set_of_")), "{older:?}");
    assert!(!older.iter().any(|row| row.contains("quality_as_of")), "{older:?}");
}

/// All that the JSON form says of the method the other one says as well.
#[test]
fn a_csv_says_how_ids_were_read() {
    let said = concat!(
        r#""canonicalizer":1,"pseudonym_algorithm":"blake3","user_id_trim":true,"#,
        r#""user_id_nfc":false,"user_id_lower":true,"#
    );
    let text = THIRD.replace(r#""canonicalizer":1,"#, said);
    let body = Body::parse(text.as_bytes()).unwrap();
    let csv = String::from_utf8(body.to_csv(crate::ledger::Digest([0xab; 32]))).unwrap();
    let method = serde_json::to_value(body.method.unwrap()).unwrap();
    let members = method.as_object().unwrap();
    assert_eq!(members.len(), 11);
    for (name, value) in members {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert!(csv.contains(&format!("\r\n{name},{text}\r\n")), "{name}: {csv}");
    }
}

#[test]
fn a_statement_from_before_groups_keeps_its_bytes() {
    let first = SECOND.replace("statement/2", "statement/1").replace(",\"quality\":null", "");
    for text in [SECOND, &first] {
        let body = Body::parse(text.as_bytes()).unwrap();
        assert!(body.is_of_known_form());
        assert_eq!(body.scope().unwrap().as_str(), "A");
        assert_eq!(String::from_utf8(body.to_bytes().unwrap()).unwrap(), text);
    }
    for (from, to) in [("\"A\"", "\"+A\""), ("statement/2", "group-statement/1")] {
        let body = Body::parse(SECOND.replace(from, to).as_bytes()).unwrap();
        assert!(!body.is_of_known_form(), "{to}");
    }
    // With its group, a site says one member more.
    let member = SECOND.replace("\"A\",", "\"A\",\"billing_group\":\"acme\",");
    let body = Body::parse(member.as_bytes()).unwrap();
    assert!(body.is_of_known_form());
    let csv = String::from_utf8(body.to_csv(crate::ledger::Digest([0xab; 32]))).unwrap();
    assert!(
        csv.starts_with("figure,value\r\nsite_id,A\r\nbilling_group,acme\r\nmonth,2026-11\r\n")
    );
}
