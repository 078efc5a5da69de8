//! Check 30 over the routes: one person who can make tokens is not two.

use super::*;

/// A server that wants two people for the end of a site, with the operator of its first start.
async fn server(place: &Path, clock: &Arc<SetClock>) -> (App, String) {
    clock.set("2026-06-20T00:00:00Z");
    let mut settings = settings(place);
    settings.retention.two_people = true;
    let app = App::start(settings, clock.clone()).await.unwrap();
    let operator = std::fs::read_to_string(place.join("data-keys/operator.token")).unwrap();
    let site = with_body(Method::PUT, "/v1/sites/ACME", "{}".to_owned());
    assert!(ask(&app, &operator, site).await.0.is_success());
    (app, operator.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_30_an_operator_who_makes_the_second_token_ends_no_site() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(Default::default()));
    let (app, first) = server(directory.path(), &clock).await;
    let alice = named_token(&app, &first, ("operator", "alice")).await;
    let bob = named_token(&app, &first, ("operator", "bob")).await;
    // Made before by one who asks, under another name, and again by that one.
    let own = named_token(&app, &alice, ("operator", "carol")).await;
    let of_own = named_token(&app, &own, ("operator", "dave")).await;
    // Another one of the same holder.
    let again = named_token(&app, &first, ("operator", " Alice ")).await;
    clock.set("2026-06-20T00:00:01Z");
    let end = |token: String| {
        let end = with_body(Method::POST, "/v1/sites/ACME/terminate", "{}".to_owned());
        let app = &app;
        async move { ask(app, &token, end).await }
    };
    assert_eq!(end(alice.clone()).await.0, 202);
    clock.set("2026-06-20T00:00:02Z");
    // Made after the first request, also by the operator of the first start.
    let late = named_token(&app, &first, ("operator", "erin")).await;
    let own_late = named_token(&app, &alice, ("operator", "frank")).await;
    for other in [&alice, &own, &of_own, &again, &late, &own_late, &first] {
        let (status, said) = end(other.clone()).await;
        assert_eq!(status, 409, "{said}");
        assert!(said.contains("same-person") && said.contains("GET /v1/tokens"), "{said}");
    }
    let (status, said) = end(bob).await;
    assert!(status == 200 && said.contains("terminated_at\":\"2026"), "{said}");
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_30_an_operator_who_makes_two_custodians_releases_no_hold_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(Default::default()));
    let (app, first) = server(directory.path(), &clock).await;
    let alice = named_token(&app, &first, ("operator", "alice")).await;
    let privacy = token_of(&app, &first, "privacy").await;
    let pair = [("custodian", "one"), ("custodian", "two")];
    let [one, two] = pair.map(|name| named_token(&app, &alice, name));
    let (one, two) = (one.await, two.await);
    let other = token_of(&app, &first, "custodian").await;
    let hold = r#"{"months":["2026-06"],"ground":"unpaid","review_at":"2026-09-01T00:00:00Z"}"#;
    let hold = with_body(Method::POST, "/v1/sites/ACME/holds", hold.to_owned());
    assert_eq!(ask(&app, &privacy, hold).await.0, 201);
    let end = Ask { method: Method::DELETE, ..Ask::get("/v1/sites/ACME/holds/h1".to_owned()) };
    assert_eq!(ask(&app, &one, end.clone()).await.0, 202);
    assert_eq!(ask(&app, &two, end.clone()).await.0, 409);
    // The first one's token ends: nobody can say whose the request was, so this is a first one.
    let gone = with_body(Method::DELETE, &format!("/v1/tokens/{}", &one[3..19]), String::new());
    assert!(ask(&app, &alice, gone).await.0.is_success());
    assert_eq!(ask(&app, &two, end.clone()).await.0, 202);
    assert_eq!(ask(&app, &other, end).await.0, 200);
    app.drain().await;
}
