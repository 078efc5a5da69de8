//! The whole server in one process: first start, a record's way, restart.

use std::path::Path;

mod holds;

use super::*;
use crate::cli::client::{Ask, Target, send};
use crate::config::{Flags, compose};
use crate::model::time::SystemClock;
use crate::wire::retention::certificate::CertifiedLot;
use hyper::{Method, StatusCode};

fn settings(directory: &Path) -> Settings {
    let flags = Flags {
        data: Some(directory.join("data")),
        listen: vec!["127.0.0.1:0".to_owned()],
        ..Flags::default()
    };
    let environment = [("BLINDTALLY__STORAGE__FREE_BYTES".to_owned(), "0".to_owned())];
    compose("", "", environment, &flags).unwrap()
}

async fn start(directory: &Path) -> App {
    App::start(settings(directory), Arc::new(SystemClock)).await.unwrap()
}

async fn ask(app: &App, token: &str, ask: Ask) -> (StatusCode, String) {
    let target = Target::plain(app.addresses()[0]);
    let (status, body) = send(&target, token, &ask).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn with_body(method: Method, path: &str, body: String) -> Ask {
    Ask { method, body, ..Ask::get(path.to_owned()) }
}

/// The token in an answer to `POST /v1/tokens`.
fn made_token(answer: &str) -> String {
    let at = answer.find("bt_").unwrap();
    answer[at..at + 63].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_counted_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let app = start(directory.path()).await;
    let file = directory.path().join("data-keys/operator.token");
    let operator = std::fs::read_to_string(&file).unwrap();
    let put = with_body(Method::PUT, "/v1/sites/ACME", "{}".to_owned());
    assert_eq!(ask(&app, &operator, put).await.0, 201);
    let create = r#"{"role":"producer","sites":["ACME"],"name":"licence server 1"}"#;
    let create = with_body(Method::POST, "/v1/tokens", create.to_owned());
    let (status, made) = ask(&app, &operator, create).await;
    assert_eq!(status, 201, "{made}");
    let producer = made_token(&made);

    let now = SystemClock.now().to_string();
    let record = format!(
        r#"{{"event_id":"e1","type":"drm.license.issued","site_id":"ACME","occurred_at":"{now}",
            "outcome":"success","user_id":"viewer-1","request_type":"new"}}"#
    );
    let post = with_body(Method::POST, "/v1/records", record);
    let (status, receipt) = ask(&app, &producer, post.clone()).await;
    assert_eq!(status, 200, "{receipt}");
    assert!(receipt.contains("\"accepted\":1"), "{receipt}");
    let path = format!("/v1/sites/ACME/usage/{}", &now[..7]);
    let (_, before) = ask(&app, &operator, Ask::get(path.clone())).await;
    assert!(before.contains("\"mau\":1,"), "{before}");
    let (_, metrics) = ask(&app, &operator, Ask::get("/metrics".to_owned())).await;
    assert!(metrics.contains("blindtally_group_commits_total"), "{metrics}");
    app.drain().await;

    let app = start(directory.path()).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), operator);
    let (_, after) = ask(&app, &operator, Ask::get(path)).await;
    assert!(after.contains("\"mau\":1,"), "{after}");
    let (_, again) = ask(&app, &producer, post).await;
    assert!(again.contains("\"duplicates\":1"), "{again}");
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_leaves_everything_closed() {
    let directory = tempfile::tempdir().unwrap();
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut taken = settings(directory.path());
    taken.http.listen = vec![other.local_addr().unwrap()];
    let refused = App::start(taken, Arc::new(SystemClock)).await.err().unwrap();
    assert!(matches!(refused, AppError::Http(StartError::Listen(..))), "{refused}");
    start(directory.path()).await.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_without_keys_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    start(directory.path()).await.drain().await;
    let keys = directory.path().join("data-keys");
    std::fs::rename(&keys, directory.path().join("elsewhere")).unwrap();
    let refused =
        App::start(settings(directory.path()), Arc::new(SystemClock)).await.err().unwrap();
    assert!(matches!(refused, AppError::Open(OpenError::KeysGone(..))), "{refused}");
    assert!(!keys.exists(), "a new vault was made beside old data");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_device_needs_the_setting() {
    let directory = tempfile::tempdir().unwrap();
    let mut apart = settings(directory.path());
    apart.place.allow_same_device = false;
    let refused = App::start(apart, Arc::new(SystemClock)).await.err().unwrap();
    assert!(refused.is_configuration(), "{refused}");
}

struct SetClock(std::sync::atomic::AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> crate::model::time::Timestamp {
        crate::model::time::Timestamp(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_a_wrong_clock_counts_nothing_twice() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(std::sync::atomic::AtomicI64::new(SystemClock.now().0)));
    let app = App::start(settings(directory.path()), clock.clone()).await.unwrap();
    let file = directory.path().join("data-keys/operator.token");
    let operator = std::fs::read_to_string(&file).unwrap();
    let put = with_body(Method::PUT, "/v1/sites/ACME", "{}".to_owned());
    assert_eq!(ask(&app, &operator, put).await.0, 201);
    let create = r#"{"role":"producer","sites":["ACME"],"name":"licence server 1"}"#;
    let (_, made) =
        ask(&app, &operator, with_body(Method::POST, "/v1/tokens", create.to_owned())).await;
    let producer = made_token(&made);
    let now = clock.now().to_string();
    let record = format!(
        r#"{{"event_id":"e1","type":"drm.license.issued","site_id":"ACME","occurred_at":"{now}",
            "outcome":"success","user_id":"viewer-1","request_type":"new"}}"#
    );
    let post = with_body(Method::POST, "/v1/records", record);
    let (status, receipt) = ask(&app, &producer, post.clone()).await;
    assert!(status == 200 && receipt.contains("\"accepted\":1"), "{receipt}");
    app.drain().await;
    let ahead = 40 * crate::model::time::DAY_MS;
    clock.0.fetch_add(ahead, std::sync::atomic::Ordering::SeqCst);
    App::start(settings(directory.path()), clock.clone()).await.unwrap().drain().await;
    clock.0.fetch_sub(ahead, std::sync::atomic::Ordering::SeqCst);
    let app = App::start(settings(directory.path()), clock.clone()).await.unwrap();
    let (_, again) = ask(&app, &producer, post).await;
    let path = format!("/v1/sites/ACME/usage/{}", &now[..7]);
    let (_, usage) = ask(&app, &operator, Ask::get(path)).await;
    app.drain().await;
    assert!(again.contains("\"duplicates\":1"), "{again} {usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_file_system_is_no_data() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("data/lost+found")).unwrap();
    start(directory.path()).await.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_month_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let app = start(directory.path()).await;
    let file = directory.path().join("data-keys/operator.token");
    let operator = std::fs::read_to_string(&file).unwrap();
    let put = with_body(Method::PUT, "/v1/sites/ACME", "{}".to_owned());
    assert_eq!(ask(&app, &operator, put).await.0, 201);
    let target = Target::plain(app.addresses()[0]);
    let path = "/v1/sites/ACME/usage/9999-12".to_owned();
    let answered = send(&target, &operator, &Ask::get(path)).await;
    app.drain().await;
    assert!(answered.is_ok_and(|(status, _)| status == 200), "the connection was cut");
}

impl SetClock {
    fn set(&self, text: &str) {
        let at = crate::model::time::Timestamp::parse(text.as_bytes()).unwrap();
        self.0.store(at.0, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Makes a token of a role and gives it back.
async fn token_of(app: &App, operator: &str, role: &str) -> String {
    let create =
        format!(r#"{{"role":"{role}","sites":["*"],"name":"{role}","expires_in_days":3650}}"#);
    let (_, made) = ask(app, operator, with_body(Method::POST, "/v1/tokens", create)).await;
    made_token(&made)
}

async fn post_one(app: &App, producer: &str, occurred_at: &str) {
    let record = format!(
        r#"{{"event_id":"e-{occurred_at}","type":"drm.license.issued","site_id":"ACME",
            "occurred_at":"{occurred_at}","outcome":"success","user_id":"v","request_type":"new"}}"#
    );
    let (status, receipt) =
        ask(app, producer, with_body(Method::POST, "/v1/records", record)).await;
    assert!(status == 200 && receipt.contains("\"accepted\":1"), "{receipt}");
}

/// From a record to a certificate that anybody can check, over a restart, with a held month beside.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_destroyed_with_a_certificate_and_what_is_held_stays() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(Default::default()));
    clock.set("2026-05-20T00:00:00Z");
    let app = App::start(settings(directory.path()), clock.clone()).await.unwrap();
    let file = directory.path().join("data-keys/operator.token");
    let operator = std::fs::read_to_string(&file).unwrap();
    ask(&app, &operator, with_body(Method::PUT, "/v1/sites/ACME", "{}".to_owned())).await;
    let producer = token_of(&app, &operator, "producer").await;
    let custodian = token_of(&app, &operator, "custodian").await;
    let auditor = token_of(&app, &operator, "auditor").await;
    let privacy = token_of(&app, &operator, "privacy").await;
    post_one(&app, &producer, "2026-05-19T00:00:00Z").await;
    clock.set("2026-06-20T00:00:00Z");
    post_one(&app, &producer, "2026-06-19T00:00:00Z").await;
    let hold = r#"{"months":["2026-06"],"ground":"unpaid","review_at":"2027-06-01T00:00:00Z"}"#;
    let hold = with_body(Method::POST, "/v1/sites/ACME/holds", hold.to_owned());
    assert_eq!(ask(&app, &privacy, hold).await.0, 201);
    app.drain().await;

    clock.set("2027-02-01T00:00:00Z");
    let app = App::start(settings(directory.path()), clock.clone()).await.unwrap();
    let post = |path: &str| with_body(Method::POST, path, String::new());
    let (status, refused) = ask(&app, &custodian, post("/v1/retention/run")).await;
    assert!(status == 409 && refused.contains("clock-unconfirmed"), "{refused}");
    assert_eq!(ask(&app, &custodian, post("/v1/retention/confirm-clock")).await.0, 200);
    let (status, ran) = ask(&app, &custodian, post("/v1/retention/run")).await;
    assert!(status == 200 && ran.contains("\"failed\":0"), "{ran}");
    let at = ran.find("[\"c").unwrap() + 2;
    let id: String = ran[at..].chars().take_while(|c| *c != '"').collect();
    let (_, text) = ask(&app, &auditor, Ask::get(format!("/v1/certificates/{id}"))).await;
    let key = directory.path().join("data-ledger/verifier.key");
    let key = std::fs::read_to_string(key).unwrap();
    let body = crate::retention::certificate::verify(text.as_bytes(), &key).unwrap();
    let (held, gone): (Vec<_>, Vec<_>) = body.lots.iter().partition(|lot| lot.held_by == [1]);
    let all_of = |lots: &[&CertifiedLot], epoch: &str| {
        lots.len() == 5 && lots.iter().all(|lot| lot.epoch.to_string() == epoch)
    };
    assert!(all_of(&gone, "2026-05") && all_of(&held, "2026-06"), "{text}");
    assert_eq!(gone.iter().filter_map(|lot| lot.records).sum::<u64>(), 1, "{text}");
    let (_, held) = ask(&app, &auditor, Ask::get("/v1/retention?state=held".to_owned())).await;
    assert!(held.contains("\"epoch\":\"2026-06\"") && held.contains("\"h1\""), "{held}");
    assert_eq!(held.matches("\"storage\":\"hold\"").count(), 5, "{held}");
    let (_, due) = ask(&app, &auditor, Ask::get("/v1/retention?state=due".to_owned())).await;
    assert!(!due.contains("\"epoch\":\"20"), "{due}");
    // The figures of both months stay.
    let usage = Ask::get("/v1/sites/ACME/usage/2026-05".to_owned());
    assert!(ask(&app, &operator, usage).await.1.contains("\"mau\":1"));
    app.drain().await;
}
