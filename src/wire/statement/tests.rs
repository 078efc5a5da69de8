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
    let csv = String::from_utf8(body.to_csv()).unwrap();
    assert!(
        csv.starts_with("figure,value\r\nsite_id,A\r\nbilling_group,acme\r\nmonth,2026-11\r\n")
    );
}
