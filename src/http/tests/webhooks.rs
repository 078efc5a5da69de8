//! The routes of the webhook desk.

use super::*;

const HOOKS: &str = "/v1/webhooks";
const HOOK: &str = r#"{"url":"https://hooks.example.com/canary","events":["month.closed"]}"#;

#[tokio::test]
async fn a_webhook_is_made_tried_and_removed() {
    let harness = start(settings()).await;
    let ask = |method: &str, path: &str| harness.request(Role::Operator, method, path);
    let made = harness.send(ask("POST", HOOKS), HOOK).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert!(made.body.contains("\"secret\":\"whsec_"), "{}", made.body);
    assert_eq!(made.header("cache-control"), "no-store");
    let listed = harness.get(Role::Operator, HOOKS).await;
    assert!(listed.body.contains("\"id\":\"w1\"") && !listed.body.contains("whsec_"));
    let rotated = harness.send(ask("POST", "/v1/webhooks/w1/rotate"), "").await;
    assert!(rotated.status == 200 && rotated.body.contains("whsec_"), "{}", rotated.body);
    let tested = harness.send(ask("POST", "/v1/webhooks/w1/test"), "").await;
    assert!(tested.status == 202 && tested.body.contains("\"msg_"), "{}", tested.body);
    let deliveries = "/v1/webhooks/w1/deliveries";
    let shown = harness.get(Role::Operator, deliveries).await;
    assert!(shown.status == 200 && shown.body.contains("webhook.test"), "{}", shown.body);
    for bad in ["?limit=0", "?limit=1001", "?limit=x", "?x=1"] {
        let got = harness.get(Role::Operator, &format!("{deliveries}{bad}")).await;
        assert_eq!(got.status, 400, "{bad}");
    }
    for (status, path) in [(204, "w1"), (404, "w1"), (404, "w2"), (404, "1")] {
        let removed = harness.send(ask("DELETE", &format!("{HOOKS}/{path}")), "").await;
        assert_eq!(removed.status, status, "{path}: {}", removed.body);
    }
}

#[tokio::test]
async fn what_cannot_be_a_webhook_is_a_plain_problem() {
    let harness = start(settings()).await;
    let post = || harness.request(Role::Operator, "POST", HOOKS);
    for (from, to, pointer) in [
        ("https://hooks.example.com", "http://hooks.example.com", "/url"),
        ("https://hooks.example.com", "https://10.0.0.1", "/url"),
        ("month.closed", "webhook.test", "/events/0"),
    ] {
        let unfit = harness.send(post(), HOOK.replace(from, to)).await;
        assert_eq!(unfit.status, 422, "{}", unfit.body);
        assert!(unfit.body.contains(&format!("\"pointer\":\"{pointer}\"")), "{}", unfit.body);
        assert!(!unfit.body.contains("canary"), "{}", unfit.body);
    }
    assert_eq!(harness.send(post(), "nonsense").await.status, 400);
    let create = r#"{"role":"operator","sites":["B"],"name":"another"}"#;
    let made = harness.send(harness.request(Role::Operator, "POST", "/v1/tokens"), create).await;
    let at = made.body.find("bt_").unwrap();
    let own = format!("Bearer {}", &made.body[at..at + 63]);
    let asked = || request("POST", HOOKS).header("authorization", &own);
    let beyond = HOOK.replace('}', r#","sites":["ACME"]}"#);
    let refused = harness.send(asked(), beyond).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("/beyond-caller\""), "{}", refused.body);
    let made = harness.send(asked(), HOOK).await;
    assert!(made.status == 201 && made.body.contains("\"sites\":[\"B\"]"), "{}", made.body);
}
