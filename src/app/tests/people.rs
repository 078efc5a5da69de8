//! Check 41 with everything there is: a person is erased at a site's word, over restarts, holds and
//! a backup from before.

use super::backup::House;
use super::*;
use crate::crypto::seal;
use crate::engine::fold::{BlockPlace, block_key_opens, open_block_key, rows_of};
use crate::keys::{self, KeyRing};
use crate::store::{self, Store, Table};

const ERASE: &str = "/v1/sites/ACME/subjects/erase";

fn record(site: &str, user: &str, at: &str) -> String {
    format!(
        r#"{{"event_id":"{user}-{at}","type":"drm.license.issued","site_id":"{site}",
            "occurred_at":"{at}","outcome":"success","user_id":"{user}","request_type":"new",
            "device":{{"ids":[{{"kind":"android_id","value":"a1b2c3d4e5f60718"}}]}}}}"#
    )
}

async fn post(app: &App, token: &str, record: String) -> String {
    let (status, receipt) = ask(app, token, with_body(Method::POST, "/v1/records", record)).await;
    assert!(status == 200 && receipt.contains("\"accepted\":1"), "{receipt}");
    receipt
}

fn erase(body: &str) -> Ask {
    with_body(Method::POST, ERASE, body.to_owned())
}

/// Every row that the data holds and its keys open.
fn rows(store: &Store, ring: &KeyRing) -> usize {
    let mut rows = 0;
    for (place, wrapped) in block_keys(store) {
        let key = ring.by_id(seal::key_id(&wrapped).unwrap()).unwrap();
        let key = open_block_key(place, &key, &wrapped).unwrap();
        rows += rows_of(store, place, &key).unwrap().len();
    }
    rows
}

fn block_keys(store: &Store) -> Vec<(BlockPlace, Vec<u8>)> {
    let mut all = Vec::new();
    for table in store.tables() {
        let Table::BlockKeys(class, _) = table else { continue };
        for row in store.scan(table, &[], None).unwrap() {
            let (key, wrapped) = row.unwrap();
            all.push((BlockPlace::from_key(class, &key).unwrap(), wrapped.into_vec()));
        }
    }
    all
}

impl House {
    async fn rows(&self, app: &App) -> usize {
        app.engine.fold().await.unwrap();
        rows(app.engine.store(), app.engine.ring())
    }

    /// May and June of two people at one site, one of them at another.
    async fn peopled(&self, app: &App) {
        let other = with_body(Method::PUT, "/v1/sites/OTHER", "{}".to_owned());
        ask(app, &self.operator, other).await;
        self.clock.set("2026-06-10T00:00:00Z");
        for at in ["2026-05-18T00:00:00Z", "2026-06-02T00:00:00Z", "2026-06-03T00:00:00Z"] {
            for user in ["viewer-one", "viewer-two"] {
                post(app, &self.producer, record("ACME", user, at)).await;
            }
            post(app, &self.producer, record("OTHER", "viewer-one", at)).await;
        }
    }

    async fn erasures(&self, app: &App) -> String {
        let list = Ask::get("/v1/sites/ACME/subjects/erasures".to_owned());
        ask(app, &self.privacy, list).await.1
    }

    async fn figures(&self, app: &App) -> [serde_json::Value; 2] {
        let mut both = [serde_json::Value::Null, serde_json::Value::Null];
        for (month, figures) in ["2026-05", "2026-06"].iter().zip(&mut both) {
            *figures = serde_json::from_str(&self.usage(app, month).await).unwrap();
            figures.as_object_mut().unwrap().remove("as_of");
        }
        both
    }
}

/// What copies of the data hold for the keys of today: by site number, opened and not.
fn opened_of(data: &Path, keys: &Path) -> std::collections::BTreeMap<u32, (u32, u32)> {
    let data = store::Settings { data: data.to_owned(), block_cache_bytes: 1 << 20 };
    let store = Store::open(&data).unwrap();
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(keys.to_owned())).unwrap();
    let all: Vec<_> = ring.list().iter().filter_map(|key| ring.by_id(key.id)).collect();
    let mut found = std::collections::BTreeMap::new();
    for (place, wrapped) in block_keys(&store) {
        let opens = all.iter().any(|key| block_key_opens(key, place, &wrapped));
        let (yes, no): &mut (u32, u32) = found.entry(place.bucket.site.0).or_default();
        *(if opens { yes } else { no }) += 1;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn check_41_an_erased_person_is_gone_from_copies_too_and_stays_gone() {
    let (house, app) = House::new().await;
    house.peopled(&app).await;
    // One more of May is from the house.
    assert_eq!(house.rows(&app).await, 10);
    app.drain().await;
    let (data, copy) = (house.path("data"), house.path("copy"));
    copy_dir(&data, &copy);
    let app = house.start().await;
    let before = house.figures(&app).await;
    assert_eq!(before[1]["mau"], 2);

    let (status, done) =
        ask(&app, &house.privacy, erase(r#"{"user_id":"viewer-one","suppress":true}"#)).await;
    assert_eq!(status, 200, "{done}");
    let done: serde_json::Value = serde_json::from_str(&done).unwrap();
    assert_eq!((&done["state"], &done["records_erased"]), (&"done".into(), &3.into()), "{done}");
    assert_eq!(done["months"], serde_json::json!(["2026-05", "2026-06"]));
    assert_eq!((&done["keys_destroyed"], &done["suppressed"]), (&2.into(), &true.into()), "{done}");
    assert_eq!(house.rows(&app).await, 7, "neighbors stay");
    assert_eq!(house.figures(&app).await, before, "nothing that was counted moves");
    assert_eq!(house.erasures(&app).await, r#"{"items":[]}"#);
    let ledger = house.ledger(&app).await;
    assert_eq!(ledger.matches(r#"\"kind\":\"erasure\""#).count(), 2, "{ledger}");
    assert!(!ledger.contains("viewer"), "{ledger}");

    // Again in the same month: counted, not kept; a neighbor is kept.
    let again =
        post(&app, &house.producer, record("ACME", "viewer-one", "2026-06-04T00:00:00Z")).await;
    assert!(again.contains("\"not_retained\":1"), "{again}");
    let other =
        post(&app, &house.producer, record("ACME", "viewer-two", "2026-06-04T00:00:00Z")).await;
    assert!(!other.contains("not_retained"), "{other}");
    let elsewhere =
        post(&app, &house.producer, record("OTHER", "viewer-one", "2026-06-04T00:00:00Z")).await;
    assert!(!elsewhere.contains("not_retained"), "{elsewhere}");
    assert_eq!(house.rows(&app).await, 9);
    let now = house.figures(&app).await;
    assert_eq!((&now[1]["mau"], &now[1]["licenses_issued"]), (&2.into(), &6.into()));
    app.drain().await;
    // And after a restart.
    let app = house.start().await;
    let again =
        post(&app, &house.producer, record("ACME", "viewer-one", "2026-06-05T00:00:00Z")).await;
    assert!(again.contains("\"not_retained\":1"), "{again}");
    assert_eq!(house.rows(&app).await, 9);
    // Again asks for nothing that is left.
    let (status, none) = ask(&app, &house.privacy, erase(r#"{"user_id":"viewer-one"}"#)).await;
    assert!(status == 200 && none.contains("\"records_erased\":0"), "{none}");
    assert!(none.contains("\"keys_destroyed\":0"), "{none}");
    app.drain().await;
    // The copy of before with the keys of after.
    let found = opened_of(&copy, &house.path("data-keys"));
    let of: Vec<(u32, u32)> = found.into_values().collect();
    assert!(matches!(of.as_slice(), [(0, 1..), (1.., 0)]), "{of:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_41_data_from_before_is_put_back_without_the_person_and_asks_who_it_was() {
    let (house, app) = House::new().await;
    house.peopled(&app).await;
    let backup = house.back_up(&app, "before").await;
    let (status, done) =
        ask(&app, &house.privacy, erase(r#"{"user_id":"viewer-one","suppress":true}"#)).await;
    assert_eq!(status, 200, "{done}");
    let number = serde_json::from_str::<serde_json::Value>(&done).unwrap()["ledger_entry"].clone();
    let figures = house.figures(&app).await;
    app.drain().await;

    house.put_back(&backup).unwrap();
    let app = house.start().await;
    // The records of both buckets were under the keys that are destroyed; those of OTHER were not.
    assert_eq!(house.rows(&app).await, 3);
    assert_eq!(house.figures(&app).await, figures);
    let lost = house.erasures(&app).await;
    assert!(lost.contains("\"lost\"") && lost.contains(&format!("{number}")), "{lost}");
    // Until somebody says who it was, nobody can tell; then it is as before.
    let wrong = erase(r#"{"user_id":"viewer-one","repeats":0}"#);
    assert_eq!(ask(&app, &house.privacy, wrong).await.0, 404);
    let repeat = format!(r#"{{"user_id":"viewer-one","suppress":true,"repeats":{number}}}"#);
    let (status, done) = ask(&app, &house.privacy, erase(&repeat)).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(house.erasures(&app).await, r#"{"items":[]}"#);
    let again =
        post(&app, &house.producer, record("ACME", "viewer-one", "2026-06-04T00:00:00Z")).await;
    assert!(again.contains("\"not_retained\":1"), "{again}");
    app.drain().await;
    let report = verify::run(&settings(house.place.path()), &verify::Request::default());
    assert!(report.findings.is_empty(), "{report:?}");
    let app = house.start().await;
    assert_eq!(house.erasures(&app).await, r#"{"items":[]}"#);
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_waits_for_a_hold_and_runs_at_its_release() {
    let (house, app) = House::new().await;
    house.peopled(&app).await;
    let hold = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2027-05-01T00:00:00Z"}"#;
    let hold = with_body(Method::POST, "/v1/sites/ACME/holds", hold.to_owned());
    assert_eq!(ask(&app, &house.privacy, hold).await.0, 201);
    let (status, waits) = ask(&app, &house.privacy, erase(r#"{"user_id":"viewer-one"}"#)).await;
    assert_eq!(status, 202, "{waits}");
    assert!(waits.contains("\"state\":\"waiting_for_hold\""), "{waits}");
    assert!(waits.contains(r#""held":[{"class":"records","epoch":"2026-05"}]"#), "{waits}");
    assert!(waits.contains("\"records_erased\":2"), "June is not on hold: {waits}");
    assert_eq!(house.rows(&app).await, 8);
    app.drain().await;
    let app = house.start().await;
    assert!(house.erasures(&app).await.contains("\"pending\""));
    let second = token_of(&app, &house.operator, "custodian").await;
    let end = Ask { method: Method::DELETE, ..Ask::get("/v1/sites/ACME/holds/h1".to_owned()) };
    assert_eq!(ask(&app, &house.custodian, end.clone()).await.0, 202);
    assert_eq!(ask(&app, &second, end).await.0, 200);
    while house.erasures(&app).await != r#"{"items":[]}"# {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.rows(&app).await, 7);
    let ledger = house.ledger(&app).await;
    assert!(
        ledger.contains(r#"\"outcome\":\"erased\""#) && ledger.contains(r#"\"records\":3"#),
        "{ledger}"
    );
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_erased_with_all_its_records_and_nobody_is_told_more() {
    let (house, app) = House::new().await;
    house.peopled(&app).await;
    // Another spelling of the same device.
    let body = r#"{"device":{"kind":"android_id","value":"A1B2C3D4E5F60718"}}"#;
    let (status, done) = ask(&app, &house.privacy, erase(body)).await;
    assert!(status == 200 && done.contains("\"records_erased\":6"), "{done}");
    assert_eq!(house.rows(&app).await, 4);
    for (body, status) in [
        (r#"{"user_id":"anonymous"}"#, 422),
        (r#"{"user_id":7}"#, 422),
        ("nothing", 400),
        (r#"{"user_id":"nobody-ever"}"#, 200),
    ] {
        let (got, text) = ask(&app, &house.privacy, erase(body)).await;
        assert_eq!(got, status, "{text}");
        assert!(!text.contains("nobody-ever") && !text.contains("anonymous"), "{text}");
    }
    let elsewhere = with_body(Method::POST, "/v1/sites/NONE/subjects/erase", body.to_owned());
    assert_eq!(ask(&app, &house.privacy, elsewhere).await.0, 404);
    app.drain().await;
}
