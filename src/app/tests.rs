//! The whole server in one process: first start, a record's way, restart.

mod backup;
mod checked;
mod checks;
mod counts;
mod evidence;
mod fixture;
mod people;
mod two;

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

    // What else lies in that directory makes no vault of it, and nothing is made or noted.
    std::fs::rename(directory.path().join("elsewhere"), &keys).unwrap();
    let vault = ["vek.home", "register.a", "register.b"].map(|name| keys.join(name));
    vault.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let entries = directory.path().join("data-ledger/entries.ndjson");
    let noted = std::fs::read(&entries).unwrap();
    for _ in 0..2 {
        let refused =
            App::start(settings(directory.path()), Arc::new(SystemClock)).await.err().unwrap();
        assert!(matches!(refused, AppError::Open(OpenError::KeysGone(..))), "{refused}");
        let left = std::fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| !name.to_string_lossy().contains('.')).collect();
        assert!(left.is_empty() && vault.iter().all(|file| !file.exists()), "{left:?}");
        assert_eq!(std::fs::read(&entries).unwrap(), noted);
    }
}

/// Data and keys are gone and the ledger is there: nothing new is made under it.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_tells_of_keys_gets_no_new_ones() {
    let directory = tempfile::tempdir().unwrap();
    start(directory.path()).await.drain().await;
    let [data, keys] = ["data", "data-keys"].map(|name| directory.path().join(name));
    std::fs::remove_dir_all(&data).unwrap();
    let vault = ["vek.home", "register.a", "register.b"].map(|name| keys.join(name));
    vault.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let entries = directory.path().join("data-ledger/entries.ndjson");
    let noted = std::fs::read(&entries).unwrap();
    for _ in 0..2 {
        let refused =
            App::start(settings(directory.path()), Arc::new(SystemClock)).await.err().unwrap();
        let text = refused.to_string();
        assert!(matches!(refused, AppError::Open(OpenError::VaultGone(..))), "{text}");
        assert!(text.contains("put back the register, the VEK home and the root key"), "{text}");
        assert!(vault.iter().all(|file| !file.exists()), "a new vault was made");
        assert_eq!(std::fs::read(&entries).unwrap(), noted);
    }
    // A first start that was cut before its keys: a ledger that tells of none.
    let fresh = tempfile::tempdir().unwrap();
    let own = settings(fresh.path());
    std::fs::create_dir_all(fresh.path().join("data-keys")).unwrap();
    drop(ledger::open(&own, Arc::new(SystemClock)).unwrap());
    assert!(fresh.path().join("data-ledger/entries.ndjson").exists());
    start(fresh.path()).await.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_29_one_device_needs_the_setting() {
    let directory = tempfile::tempdir().unwrap();
    let mut apart = settings(directory.path());
    apart.place.allow_same_device = false;
    let refused = App::start(apart, Arc::new(SystemClock)).await.err().unwrap();
    assert!(refused.is_configuration(), "{refused}");
    // Nor are the two shares of a root key made on one, and once they are it is said.
    let mut shared = settings(directory.path());
    shared.keys.shares = Some(["one", "two"].map(|person| {
        let medium = directory.path().join(person);
        std::fs::create_dir(&medium).unwrap();
        medium.join("root.share")
    }));
    let open = async |allow: bool| {
        let mut shared = shared.clone();
        shared.place.allow_same_device = allow;
        App::start(shared, Arc::new(SystemClock)).await
    };
    let refused = open(false).await.err().unwrap();
    assert!(matches!(refused, AppError::Open(OpenError::SharesTogether)), "{refused}");
    assert!(refused.is_configuration() && !directory.path().join("one/root.share").exists());
    open(true).await.unwrap().drain().await;
    let refused = open(false).await.err().unwrap();
    assert!(matches!(refused, AppError::Open(OpenError::SameDevice)), "{refused}");
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
/// Each is another person's.
async fn token_of(app: &App, operator: &str, role: &str) -> String {
    static PEOPLE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let person = PEOPLE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    named_token(app, operator, (role, &format!("{role} {person}"))).await
}

async fn named_token(app: &App, operator: &str, (role, name): (&str, &str)) -> String {
    let create =
        format!(r#"{{"role":"{role}","sites":["*"],"name":"{name}","expires_in_days":3650}}"#);
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
    let hold = r#"{"months":["2026-06"],"ground":"unpaid","review_at":"2027-05-01T00:00:00Z"}"#;
    let hold = with_body(Method::POST, "/v1/sites/ACME/holds", hold.to_owned());
    assert_eq!(ask(&app, &privacy, hold).await.0, 201);
    app.drain().await;

    clock.set("2027-02-01T00:00:00Z");
    let app = App::start(settings(directory.path()), clock.clone()).await.unwrap();
    let post = |path: &str| with_body(Method::POST, path, String::new());
    let (status, refused) = ask(&app, &custodian, post("/v1/retention/run")).await;
    assert!(status == 409 && refused.contains("clock-unconfirmed"), "{refused}");
    let named = r#"{"time":"2027-02-01T00:00:00Z"}"#.to_owned();
    let confirm = with_body(Method::POST, "/v1/retention/confirm-clock", named);
    assert_eq!(ask(&app, &custodian, confirm).await.0, 200);
    let (status, ran) = ask(&app, &custodian, post("/v1/retention/run")).await;
    assert!(status == 200 && ran.contains("\"failed\":0"), "{ran}");
    let key = directory.path().join("data-ledger/verifier.key");
    let key = std::fs::read_to_string(key).unwrap();
    // What is on hold goes apart from what is free.
    let ids = serde_json::from_str::<serde_json::Value>(&ran).unwrap()["certificates"].take();
    let mut texts = Vec::new();
    for id in ids.as_array().unwrap() {
        let ask_for = Ask::get(format!("/v1/certificates/{}", id.as_str().unwrap()));
        texts.push(ask(&app, &auditor, ask_for).await.1);
    }
    assert_eq!(texts.len(), 2, "{ran}");
    let body = |text: &String| retention::certificate::verify(text.as_bytes(), &key).unwrap();
    let lots: Vec<CertifiedLot> = texts.iter().flat_map(|text| body(text).lots).collect();
    let text = texts.concat();
    // What knew the duplicates of both days goes with what is free.
    let (seen, lots): (Vec<_>, Vec<_>) = lots.iter().partition(|lot| lot.class == "seen");
    let seen: Vec<_> = seen.iter().map(|lot| (lot.site.as_str(), lot.epoch.to_string())).collect();
    assert_eq!(seen, [("*", "2026-05-19".to_owned()), ("*", "2026-06-19".to_owned())]);
    let (held, gone): (Vec<_>, Vec<_>) = lots.into_iter().partition(|lot| lot.held_by == [1]);
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
    let seen = app.engine.ring().seen_days();
    assert!(seen.iter().all(|day| day.to_string().as_str() > "2026-06-19"), "{seen:?}");
    // The figures of both months stay.
    let usage = Ask::get("/v1/sites/ACME/usage/2026-05".to_owned());
    assert!(ask(&app, &operator, usage).await.1.contains("\"mau\":1"));
    app.drain().await;
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Register, VEK home and data from before a destruction open everything by themselves; the ledger
/// that tells of it has stayed.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_certified_destroyed_is_not_served_from_copies() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(Default::default()));
    clock.set("2026-05-20T00:00:00Z");
    let app = App::start(settings(directory.path()), clock.clone()).await.unwrap();
    let file = directory.path().join("data-keys/operator.token");
    let operator = std::fs::read_to_string(&file).unwrap();
    ask(&app, &operator, with_body(Method::PUT, "/v1/sites/ACME", "{}".to_owned())).await;
    let producer = token_of(&app, &operator, "producer").await;
    let custodian = token_of(&app, &operator, "custodian").await;
    post_one(&app, &producer, "2026-05-19T00:00:00Z").await;
    app.drain().await;
    let places = ["data", "data-keys"].map(|name| directory.path().join(name));
    let copies = places.each_ref().map(|place| place.with_extension("copy"));
    places.iter().zip(&copies).for_each(|(place, copy)| copy_dir(place, copy));

    clock.set("2027-02-01T00:00:00Z");
    let app = App::start(settings(directory.path()), clock.clone()).await.unwrap();
    let post = |path: &str| with_body(Method::POST, path, String::new());
    let time = "{\"time\":\"2027-02-01T00:00:00Z\"}".to_owned();
    let confirm = with_body(Method::POST, "/v1/retention/confirm-clock", time);
    assert_eq!(ask(&app, &custodian, confirm).await.0, 200);
    let (status, ran) = ask(&app, &custodian, post("/v1/retention/run")).await;
    assert!(status == 200 && ran.contains("[\"c"), "{ran}");
    app.drain().await;

    let checked = || verify::run(&settings(directory.path()), &verify::Request::default());
    let report = checked();
    assert!(report.findings.is_empty(), "{report:?}");
    assert!(report.checked.iter().any(|line| line.contains("the ledger is sure of")));
    for (place, copy) in places.iter().zip(&copies) {
        std::fs::remove_dir_all(place).unwrap();
        copy_dir(copy, place);
    }
    let findings = checked().findings;
    let older = |found: &&String| found.contains("from an older time");
    let found = findings.iter().find(older).unwrap_or_else(|| panic!("{findings:?}"));
    assert!(found.contains("put back its newest copy"), "{found}");
    let refused = App::start(settings(directory.path()), clock).await.err().unwrap();
    let older =
        |error: &OpenError| matches!(error, OpenError::Keys(crate::keys::KeysError::Older { .. }));
    assert!(matches!(&refused, AppError::Open(error) if older(error)), "{refused}");
}

/// A journal key that a fold retired opens nothing in an older register within a day, without
/// anybody's asking.
#[tokio::test(flavor = "multi_thread")]
async fn the_vault_epoch_turns_over_by_itself() {
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
    let run = || with_body(Method::POST, "/v1/retention/run", String::new());
    assert_eq!(ask(&app, &custodian, run()).await.0, 200);
    // Before the fold a copy of the register opens the journal.
    post_one(&app, &producer, "2026-05-19T00:00:00Z").await;
    let registers =
        ["a", "b"].map(|copy| directory.path().join(format!("data-keys/register.{copy}")));
    let old = registers.clone().map(|register| std::fs::read(register).unwrap());
    app.engine.fold().await.unwrap();
    // The fold behind it comes after the end of the first one's key.
    post_one(&app, &producer, "2026-05-19T00:00:01Z").await;
    app.engine.fold().await.unwrap();
    let listed = |answer: &str| serde_json::from_str::<serde_json::Value>(answer).unwrap();
    let (_, before) = ask(&app, &auditor, Ask::get("/v1/retention".to_owned())).await;
    assert_eq!(listed(&before)["turn_over"]["vek_epoch"], 1, "{before}");
    clock.set("2026-05-20T23:30:00Z");
    let (_, ran) = ask(&app, &custodian, run()).await;
    assert!(ran.contains("\"destroyed\":0"), "{ran}");
    let (_, after) = ask(&app, &auditor, Ask::get("/v1/retention".to_owned())).await;
    let turned = listed(&after)["turn_over"].clone();
    assert_eq!(
        (&turned["vek_epoch"], &turned["last"]),
        (&2.into(), &"2026-05-20T23:30:00Z".into())
    );
    let (_, metrics) = ask(&app, &operator, Ask::get("/metrics".to_owned())).await;
    assert!(metrics.contains("blindtally_keys_turned_over_seconds 1779319800"), "{metrics}");
    let (_, ledger) = ask(&app, &auditor, Ask::get("/v1/ledger?from=0".to_owned())).await;
    assert!(ledger.contains("\\\"vek_epoch\\\":2"), "{ledger}");
    app.drain().await;
    // The old register under today's root key and VEK home.
    for (register, old) in registers.iter().zip(&old) {
        std::fs::write(register, old).unwrap();
    }
    let refused = App::start(settings(directory.path()), clock.clone()).await.err().unwrap();
    assert!(refused.to_string().contains("put back from an older time"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_comes_after_its_bucket_was_due_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(Default::default()));
    clock.set("2026-05-21T04:00:00Z");
    let app = App::start(settings(directory.path()), clock.clone()).await.unwrap();
    let file = directory.path().join("data-keys/operator.token");
    let operator = std::fs::read_to_string(&file).unwrap();
    let site = r#"{"retention":{"records_days":1}}"#.to_owned();
    let put = with_body(Method::PUT, "/v1/sites/ACME", site);
    assert_eq!(ask(&app, &operator, put).await.0, 201);
    let producer = token_of(&app, &operator, "producer").await;
    for (at, kept) in [("2026-05-01T12:00:00Z", false), ("2026-05-21T03:00:00Z", true)] {
        let record = format!(
            r#"{{"event_id":"{at}","type":"drm.license.issued","site_id":"ACME",
                "occurred_at":"{at}","outcome":"success","user_id":"{at}","request_type":"new"}}"#
        );
        let post = with_body(Method::POST, "/v1/records", record);
        let (status, receipt) = ask(&app, &producer, post).await;
        assert!(status == 200 && receipt.contains("\"accepted\":1"), "{receipt}");
        assert_eq!(receipt.contains("\"not_retained\":1"), !kept, "{receipt}");
    }
    let usage = Ask::get("/v1/sites/ACME/usage/2026-05".to_owned());
    assert!(ask(&app, &operator, usage).await.1.contains("\"mau\":2"), "both are counted");
    app.engine.fold().await.unwrap();
    let list = Ask::get("/v1/retention?site=ACME".to_owned());
    let (_, lots) = ask(&app, &operator, list).await;
    assert!(!lots.contains("2026-05-01") && lots.contains("\"epoch\":\"2026-05-21\""), "{lots}");
    app.drain().await;
}
