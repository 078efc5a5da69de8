//! Check 37: a held month lies apart from its due time on, in tables and a register of its own, and
//! is destroyed when two have released it.

use super::backup::certificates;
use super::*;
use crate::app::verify::{self, Request};
use crate::keys::{self, KeyRing};
use crate::model::ids::KeyId;
use crate::store::{self, Store, Table};
use crate::wire::retention::certificate::Body;

const JUNE: &str = "2026-06";

/// What lies in the directories of a server that does not run.
struct Found {
    tables: Vec<Table>,
    /// Keys of June in the main register, and all in that of the holds.
    main: usize,
    of_holds: Vec<KeyId>,
}

/// What all certificates say, and it is true.
async fn certified(app: &App, auditor: &str, key: &str) -> Vec<Body> {
    let mut bodies = Vec::new();
    for id in certificates(app, auditor).await {
        let (_, text) = ask(app, auditor, Ask::get(format!("/v1/certificates/{id}"))).await;
        bodies.push(retention::certificate::verify(text.as_bytes(), key).unwrap());
    }
    bodies
}

fn found(directory: &Path) -> Found {
    let data = directory.join("data");
    let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 }).unwrap();
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(directory.join("data-keys"))).unwrap();
    let june = crate::model::time::Month::parse(JUNE.as_bytes()).unwrap();
    let of_june = |key: &keys::KeyInfo| key.site.is_some() && key.epoch == june.0;
    let held = ring.hold_existing().unwrap().map_or(Vec::new(), |ring| ring.list());
    let held = held.into_iter().filter(|key| key.hold.is_some() && key.site.is_some());
    Found {
        tables: store.tables(),
        main: ring.list().iter().filter(|key| of_june(key)).count(),
        of_holds: held.map(|key| key.id).collect(),
    }
}

fn has_june(tables: &[Table]) -> bool {
    tables.iter().any(|table| table.name().ends_with(JUNE))
}

/// The tokens of a server.
struct People {
    operator: String,
    custodians: [String; 2],
    auditor: String,
}

/// A server that gets two records of June, with a hold between them.
async fn with_a_hold(place: &Path, clock: &Arc<SetClock>) -> People {
    clock.set("2026-06-20T00:00:00Z");
    let app = App::start(settings(place), clock.clone()).await.unwrap();
    let operator = std::fs::read_to_string(place.join("data-keys/operator.token")).unwrap();
    ask(&app, &operator, with_body(Method::PUT, "/v1/sites/ACME", "{}".to_owned())).await;
    let producer = token_of(&app, &operator, "producer").await;
    let first = token_of(&app, &operator, "custodian").await;
    let custodians = [first, token_of(&app, &operator, "custodian").await];
    let auditor = token_of(&app, &operator, "auditor").await;
    let privacy = token_of(&app, &operator, "privacy").await;
    post_one(&app, &producer, "2026-06-18T00:00:00Z").await;
    let hold = r#"{"months":["2026-06"],"ground":"unpaid","review_at":"2027-05-01T00:00:00Z"}"#;
    let hold = with_body(Method::POST, "/v1/sites/ACME/holds", hold.to_owned());
    assert_eq!(ask(&app, &privacy, hold).await.0, 201);
    // The hold is a predicate: what arrives later is held, too.
    post_one(&app, &producer, "2026-06-19T00:00:00Z").await;
    app.drain().await;
    People { operator, custodians, auditor }
}

/// A statement says that the sets are on hold, and not that they are destroyed.
async fn is_stated(app: &App, operator: &str) {
    let path = "/v1/sites/ACME/statements/2026-06/restate";
    let restate = with_body(Method::POST, path, "{\"reason\":\"a dispute\"}".to_owned());
    let (status, stated) = ask(app, operator, restate).await;
    assert_eq!(status, 201, "{stated}");
    assert!(stated.contains("\"evidence\":\"held\",\"recount\":null"), "{stated}");
}

/// So does the count of the stopped server's files.
fn is_counted_as_held(place: &Path) {
    let request = Request { recount: true, ..Request::default() };
    let report = verify::run(&settings(place), &request);
    let held = |line: &&String| line.contains("2026-06: the sets of the month are on hold");
    assert!(report.findings.is_empty(), "{report:#?}");
    assert!(report.unchecked.iter().filter(held).count() >= 1, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_37_hold_copies_lie_apart_and_end_with_their_hold() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let clock = Arc::new(SetClock(Default::default()));
    let People { operator, custodians, auditor } = with_a_hold(place, &clock).await;
    let before = found(place);
    // The bucket gets its key with the first fold.
    assert_eq!((before.main, before.of_holds.len()), (5, 0));

    clock.set("2027-01-02T00:00:00Z");
    let app = App::start(settings(place), clock.clone()).await.unwrap();
    let post = |path: &str| with_body(Method::POST, path, String::new());
    let custodian = &custodians[0];
    let time = "{\"time\":\"2027-01-02T00:00:00Z\"}".to_owned();
    let confirm = with_body(Method::POST, "/v1/retention/confirm-clock", time);
    // Where no run has seen a time before there is no jump.
    assert!(matches!(ask(&app, custodian, confirm).await.0.as_u16(), 200 | 409));
    let (_, ran) = ask(&app, custodian, post("/v1/retention/run")).await;
    assert!(ran.contains("\"failed\":0"), "{ran}");
    assert_eq!(app.engine.held().unwrap().len(), 5);
    let key = std::fs::read_to_string(place.join("data-ledger/verifier.key")).unwrap();
    let bodies = certified(&app, &auditor, &key).await;
    let lots = bodies.iter().flat_map(|body| &body.lots);
    let gone = lots.filter(|lot| lot.held_by.is_empty());
    let gone: Vec<&str> = gone.map(|lot| lot.class.as_str()).collect();
    assert!(!gone.is_empty() && gone.iter().all(|class| *class == "seen"), "{gone:?}");
    let usage = || Ask::get("/v1/sites/ACME/usage/2026-06".to_owned());
    let (_, counted) = ask(&app, &operator, usage()).await;
    assert!(counted.contains("\"evidence\":\"held\"") && counted.contains("\"mau\":1,"));
    is_stated(&app, &operator).await;
    app.drain().await;
    is_counted_as_held(place);
    let apart = found(place);
    assert_eq!((apart.main, apart.of_holds.len()), (0, 6), "a register of its own");
    assert!(!has_june(&apart.tables) && apart.tables.contains(&Table::HoldRows));
    let register = std::fs::read(place.join("data-keys/hold/register.a")).unwrap();

    let app = App::start(settings(place), clock.clone()).await.unwrap();
    let state = |state: &str| Ask::get(format!("/v1/retention?state={state}&site=ACME"));
    let (_, held) = ask(&app, &auditor, state("held")).await;
    assert_eq!(held.matches("\"storage\":\"hold\"").count(), 5, "{held}");
    let end = Ask { method: Method::DELETE, ..Ask::get("/v1/sites/ACME/holds/h1".to_owned()) };
    assert_eq!(ask(&app, &custodians[0], end.clone()).await.0, 202);
    assert_eq!(ask(&app, &custodians[0], end.clone()).await.0, 409);
    let (_, ran) = ask(&app, custodian, post("/v1/retention/run")).await;
    assert!(ran.contains("\"destroyed\":0"), "one is not enough: {ran}");
    assert_eq!(ask(&app, &custodians[1], end).await.0, 200);
    let (_, ran) = ask(&app, custodian, post("/v1/retention/run")).await;
    assert!(ran.contains("\"failed\":0"), "{ran}");
    assert_eq!(app.engine.held().unwrap().len(), 0);
    let mut bodies = certified(&app, &auditor, &key).await;
    bodies.retain(|body| body.lots.iter().any(|lot| lot.hold.is_some()));
    let [body] = &bodies[..] else { panic!("{bodies:?}") };
    let records: u64 = body.lots.iter().filter_map(|lot| lot.records).sum();
    assert_eq!((body.lots.len(), records), (5, 2), "{body:?}");
    assert!(body.lots.iter().all(|lot| lot.hold == Some(1) && lot.held_by.is_empty()));
    let (_, gone) = ask(&app, &auditor, state("certified")).await;
    assert_eq!(gone.matches("\"epoch\":\"2026-06\"").count(), 5, "{gone}");
    assert!(ask(&app, &operator, usage()).await.1.contains("\"evidence\":\"destroyed\""));
    app.drain().await;
    let after = found(place);
    assert_eq!((after.main, after.of_holds.len()), (0, 0));
    assert!(!after.tables.contains(&Table::HoldRows) && !after.tables.contains(&Table::HoldKeys));
    // The register of before opens nothing, with everything else as it is today.
    for copy in ["register.a", "register.b"] {
        std::fs::write(place.join("data-keys/hold").join(copy), &register).unwrap();
    }
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(place.join("data-keys"))).unwrap();
    assert!(ring.hold_existing().is_err());
}
