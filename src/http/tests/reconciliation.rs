//! What arrived, receipts again, and requests that cannot be counted.

use super::*;

#[tokio::test]
async fn arrivals_are_listed_page_by_page() {
    let harness = start(settings()).await;
    let all = harness.get(Role::Operator, "/v1/reconciliation").await;
    assert_eq!((all.status.as_u16(), all.body.matches("\"hour\"").count()), (200, 3));
    let own = harness.get(Role::Producer, "/v1/reconciliation").await;
    assert_eq!(own.body.matches("\"hour\"").count(), 1, "{}", own.body);
    let range = "from=1970-01-01T01:00:00Z&to=1970-01-01T03:00:00Z";
    let page = harness.get(Role::Auditor, &format!("/v1/reconciliation?{range}&limit=1")).await;
    assert!(page.body.contains("01:00:00Z") && page.body.contains("\"cursor\""), "{}", page.body);
    let link = page.header("link");
    let next = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    let last = harness.get(Role::Auditor, next.unwrap()).await;
    assert!(last.body.contains("02:00:00Z") && !last.body.contains("cursor"), "{}", last.body);
    let from = "from=1970-01-01T01:00:00.001Z&to=1970-01-01T02:00:00Z";
    let none = harness.get(Role::Operator, &format!("/v1/reconciliation?{from}")).await;
    assert_eq!(none.body, "{\"items\":[]}", "an hour that began before is not in it");
    let asked = harness.request(Role::Operator, "GET", "/v1/reconciliation?limit=2");
    let csv = harness.send(asked.header("accept", "text/csv"), "").await;
    assert!(csv.body.starts_with("hour,credential,sites,producer,received,"), "{}", csv.body);
    assert_eq!((csv.body.lines().count(), csv.header("link").is_empty()), (3, false));
    for bad in ["from=x", "to=2026-11", "limit=0", "limit=1001", "month=2026-11", "cursor=x"] {
        let got = harness.get(Role::Operator, &format!("/v1/reconciliation?{bad}")).await;
        assert_eq!(got.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_receipt_can_be_asked_for_again() {
    let harness = start(settings()).await;
    let ask = || harness.request(Role::Producer, "GET", "/v1/receipts");
    let keyed = || ask().header("idempotency-key", "batch 7");
    let kept = Posted::Receipt { status: 200, body: b"{\"receipt\":1}".to_vec(), replayed: true };
    for (posted, status) in
        [(kept, 200), (Posted::NoReceipt, 404), (Posted::IdempotencyRunning, 409)]
    {
        *harness.intake.next.lock().unwrap() = posted;
        let got = harness.send(keyed(), "").await;
        assert_eq!(got.status, status);
        if status == 200 {
            assert_eq!(got.body, "{\"receipt\":1}");
            assert_eq!(got.header("idempotent-replayed"), "true");
        }
    }
    assert_eq!(harness.intake.keys.lock().unwrap()[0].as_deref(), Some("batch 7"));
    let got = harness.send(ask(), "").await;
    assert!(got.status == 400 && got.body.contains("bad-idempotency-key"), "{}", got.body);
}

/// A figure that a crash takes back would not be what the producer was told.
#[tokio::test]
async fn a_request_that_cannot_be_counted_is_answered_as_failed() {
    let harness = start(settings()).await;
    *harness.intake.next.lock().unwrap() = Posted::DiskFull;
    let bad = harness.request(Role::Producer, "POST", "/v1/records").header("content-type", "x/y");
    assert_eq!(harness.send(bad, "{}").await.status, 507);
    assert_eq!(harness.intake.unreadable.load(Ordering::SeqCst), 1);
}
