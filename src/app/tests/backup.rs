//! Backup and restore with everything there is: ledger, keys, desks, and a clock that the test
//! moves. The numbers in names are those of the checks of the privacy study.

use std::path::PathBuf;

use super::*;
use crate::backup::restore::{Places, RestoreError, restore};

pub(super) struct House {
    pub(super) place: tempfile::TempDir,
    pub(super) clock: Arc<SetClock>,
    pub(super) operator: String,
    pub(super) producer: String,
    pub(super) custodian: String,
    auditor: String,
    pub(super) privacy: String,
}

fn with_backups(place: &Path) -> Settings {
    let mut settings = settings(place);
    let dir = place.join("backups");
    std::fs::create_dir_all(&dir).unwrap();
    settings.backup.dir = Some(dir);
    settings
}

/// The ids of all certificates, as they are listed.
pub(super) async fn certificates(app: &App, auditor: &str) -> Vec<String> {
    let (_, listed) = ask(app, auditor, Ask::get("/v1/certificates".to_owned())).await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let ids = listed["items"].as_array().unwrap().iter();
    ids.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

impl House {
    /// A server with a site, a token of each role that is needed, and a record of May.
    pub(super) async fn new() -> (Self, App) {
        let place = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock(Default::default()));
        clock.set("2026-05-20T00:00:00Z");
        let app = App::start(with_backups(place.path()), clock.clone()).await.unwrap();
        let file = place.path().join("data-keys/operator.token");
        let operator = std::fs::read_to_string(&file).unwrap();
        ask(&app, &operator, with_body(Method::PUT, "/v1/sites/ACME", "{}".to_owned())).await;
        let producer = token_of(&app, &operator, "producer").await;
        let custodian = token_of(&app, &operator, "custodian").await;
        let auditor = token_of(&app, &operator, "auditor").await;
        let privacy = token_of(&app, &operator, "privacy").await;
        post_one(&app, &producer, "2026-05-19T00:00:00Z").await;
        let house = Self { place, clock, operator, producer, custodian, auditor, privacy };
        (house, app)
    }

    /// One that was made before, with its tokens in the order of [`House::tokens`].
    pub(super) fn with_tokens(
        place: tempfile::TempDir,
        clock: Arc<SetClock>,
        tokens: Vec<String>,
    ) -> Self {
        let [operator, producer, custodian, auditor, privacy] = tokens.try_into().unwrap();
        Self { place, clock, operator, producer, custodian, auditor, privacy }
    }

    pub(super) fn tokens(&self) -> [&str; 5] {
        let Self { operator, producer, custodian, auditor, privacy, .. } = self;
        [operator, producer, custodian, auditor, privacy].map(|token| token.trim())
    }

    pub(super) fn auditor(&self) -> &str {
        &self.auditor
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(super) async fn start(&self) -> App {
        self.try_start().await.unwrap()
    }

    async fn try_start(&self) -> Result<App, AppError> {
        App::start(with_backups(self.place.path()), self.clock.clone()).await
    }

    pub(super) async fn back_up(&self, app: &App, name: &str) -> PathBuf {
        let body = format!(r#"{{"name":"{name}"}}"#);
        let begin = with_body(Method::POST, "/v1/backups", body);
        let (status, begun) = ask(app, &self.operator, begin).await;
        assert_eq!(status, 202, "{begun}");
        loop {
            let look = Ask::get(format!("/v1/backups/{name}"));
            let (_, read) = ask(app, &self.operator, look).await;
            if read.contains("\"made\"") {
                return self.path("backups").join(name);
            }
            assert!(read.contains("\"running\""), "{read}");
            tokio::task::yield_now().await;
        }
    }

    /// The data directory is lost, and put back.
    pub(super) fn put_back(
        &self,
        backup: &Path,
    ) -> Result<crate::backup::restore::PutBack, RestoreError> {
        let data = self.path("data");
        let _ = std::fs::remove_dir_all(&data);
        let settings = settings(self.place.path());
        restore(backup, &Places { data: &data, keys: &settings.keys, ledger: &settings.ledger })
    }

    /// What is due goes, with this run or with the server's own beside it, which may be first.
    pub(super) async fn run(&self, app: &App) -> String {
        let post = |path: &str| with_body(Method::POST, path, String::new());
        let time = format!("{{\"time\":\"{}\"}}", self.clock.now());
        let confirm = with_body(Method::POST, "/v1/retention/confirm-clock", time);
        ask(app, &self.custodian, confirm).await;
        let (status, ran) = ask(app, &self.custodian, post("/v1/retention/run")).await;
        assert!(status == 200 && ran.contains("\"failed\":0"), "{ran}");
        ran
    }

    pub(super) async fn usage(&self, app: &App, month: &str) -> String {
        ask(app, &self.operator, Ask::get(format!("/v1/sites/ACME/usage/{month}"))).await.1
    }

    /// The kinds of the ledger's entries.
    pub(super) async fn ledger(&self, app: &App) -> String {
        ask(app, &self.auditor, Ask::get("/v1/ledger?limit=1000".to_owned())).await.1
    }
}

/// Check 42: what was destroyed after the backup is destroyed in the restored data before it
/// serves, with holds, revoked tokens and the end of a site that came after it.
#[tokio::test(flavor = "multi_thread")]
async fn check_42_a_restored_server_has_destroyed_what_was_destroyed() {
    let (house, app) = House::new().await;
    house.clock.set("2026-06-20T00:00:00Z");
    post_one(&app, &house.producer, "2026-06-19T00:00:00Z").await;
    let backup = house.back_up(&app, "june").await;
    // All of this is not in the backup.
    house.clock.set("2026-06-21T00:00:00Z");
    post_one(&app, &house.producer, "2026-06-20T12:00:00Z").await;
    let hold = r#"{"months":["2026-06"],"ground":"unpaid","review_at":"2027-05-01T00:00:00Z"}"#;
    let hold = with_body(Method::POST, "/v1/sites/ACME/holds", hold.to_owned());
    assert_eq!(ask(&app, &house.privacy, hold).await.0, 201);
    let review = r#"{"review_at":"2027-04-01T00:00:00Z","reason":"unpaid still"}"#;
    let review = with_body(Method::POST, "/v1/sites/ACME/holds/h1/review", review.to_owned());
    assert_eq!(ask(&app, &house.privacy, review).await.0, 200);
    let key_id = &house.producer[3..19];
    let revoke = Ask { method: Method::DELETE, ..Ask::get(format!("/v1/tokens/{key_id}")) };
    assert_eq!(ask(&app, &house.operator, revoke).await.0, 204);
    let certified = certificates(&app, &house.auditor).await.len();
    app.drain().await;
    // The sets of May are due, and nothing of June is.
    house.clock.set("2026-08-20T00:00:00Z");
    let app = house.start().await;
    house.run(&app).await;
    assert!(certificates(&app, &house.auditor).await.len() > certified);
    let before = house.usage(&app, "2026-05").await;
    assert!(before.contains("\"evidence\":\"destroyed\""), "{before}");
    app.drain().await;

    let done = house.put_back(&backup).unwrap();
    assert!(done.alive_until > done.manifest.barrier && !done.register_behind);
    let app = house.start().await;
    let after = house.usage(&app, "2026-05").await;
    assert!(after.contains("\"mau\":1") && after.contains("\"destroyed\""), "{after}");
    let june = house.usage(&app, "2026-06").await;
    assert!(june.contains("\"mau\":1") && june.contains("\"live\""), "{june}");
    assert!(june.contains("\"licenses_issued\":1,"), "the second record is lost: {june}");
    let holds = ask(&app, &house.privacy, Ask::get("/v1/sites/ACME/holds".to_owned())).await.1;
    assert!(holds.contains("\"review_at\":\"2027-04-01T00:00:00Z\""), "{holds}");
    let due = |state: &str| Ask::get(format!("/v1/retention?state={state}"));
    let (_, listed) = ask(&app, &house.auditor, due("due")).await;
    assert!(listed.contains("\"lots\":[]"), "nothing of May lives: {listed}");
    let (_, held) = ask(&app, &house.auditor, due("active")).await;
    assert!(held.contains("2026-06") && held.contains("\"h1\""), "{held}");
    let late = with_body(Method::POST, "/v1/records", "{}".to_owned());
    assert_eq!(ask(&app, &house.producer, late).await.0, 401, "the token stays revoked");
    let ledger = house.ledger(&app).await;
    for kind in ["backup", "restore"] {
        for phase in ["intent", "result"] {
            let wanted = format!(r#"\"phase\":\"{phase}\",\"kind\":\"{kind}\""#);
            assert_eq!(ledger.matches(&wanted).count(), 1, "{kind} {phase}");
        }
    }
    assert!(ledger.contains(r#"\"lost_from\":\"2026-06-20T00:00:00Z\""#), "{ledger}");
    // A second restore of the same backup comes to the same, and its hold still ends by two.
    app.drain().await;
    house.put_back(&backup).unwrap();
    let app = house.start().await;
    let figures = |text: &str| text.split("\"as_of\"").next().unwrap().to_owned();
    assert_eq!(figures(&house.usage(&app, "2026-05").await), figures(&after));
    let again = house.run(&app).await;
    assert!(again.contains("\"destroyed\":0"), "nothing is due twice: {again}");
    // The hold that came after the backup keeps June when that is due.
    house.clock.set("2027-02-01T00:00:00Z");
    house.run(&app).await;
    assert_eq!(app.engine.held().unwrap().len(), 5);
    app.drain().await;
}

/// Records that were moved to hold storage after the backup have no key that opens what the backup
/// has of them: it is said before the start, in the ledger and in the list.
#[tokio::test(flavor = "multi_thread")]
async fn records_on_hold_that_were_moved_after_the_backup_are_said_to_be_lost() {
    let (house, app) = House::new().await;
    let hold = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2027-05-01T00:00:00Z"}"#;
    let hold = with_body(Method::POST, "/v1/sites/ACME/holds", hold.to_owned());
    assert_eq!(ask(&app, &house.privacy, hold).await.0, 201);
    let before = house.back_up(&app, "before").await;
    app.drain().await;
    house.clock.set("2027-01-20T00:00:00Z");
    let app = house.start().await;
    house.run(&app).await;
    assert_eq!(app.engine.held().unwrap().len(), 5);
    let after = house.back_up(&app, "after").await;
    app.drain().await;
    let held = Ask::get("/v1/retention?state=held".to_owned());
    // A backup from after the move has them.
    assert_eq!(house.put_back(&after).unwrap().lost, []);
    let app = house.start().await;
    let (_, listed) = ask(&app, &house.auditor, held.clone()).await;
    assert!(listed.contains("2026-05") && !listed.contains("\"lost\""), "{listed}");
    assert!(!house.ledger(&app).await.contains("hold_lost"));
    app.drain().await;

    let done = house.put_back(&before).unwrap();
    let [lost] = &done.lost[..] else { panic!("{done:?}") };
    let said = (lost.hold, lost.site.as_str(), lost.class.as_str(), lost.epoch.to_string());
    assert_eq!(said, (1, "ACME", "records", "2026-05".to_owned()));
    for _ in 0..2 {
        let app = house.start().await;
        let (_, listed) = ask(&app, &house.auditor, held.clone()).await;
        assert_eq!(listed.matches("\"storage\":\"hold\"").count(), 5, "{listed}");
        assert_eq!(listed.matches("\"lost\":true").count(), 1, "{listed}");
        let of_records = listed.split("{\"class\"").find(|lot| lot.starts_with(":\"records\""));
        assert!(of_records.unwrap().contains("\"lost\":true"), "{listed}");
        let bucket = app.engine.held().unwrap().into_iter().find(|held| held.lost).unwrap();
        let crate::model::retention::Lot::Records(bucket) = bucket.lot else { panic!() };
        let refused = app.engine.held_bucket(crate::model::ids::HoldNo(1), bucket).err().unwrap();
        assert!(refused.to_string().contains("are lost"), "{refused}");
        let ledger = house.ledger(&app).await;
        assert_eq!(ledger.matches("hold_lost").count(), 1, "once");
        app.drain().await;
    }
}

/// Webhooks that were removed after the backup, or got another secret, do not come back with it.
#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_ended_after_the_backup_stay_so() {
    let (house, app) = House::new().await;
    let make = || {
        let body = r#"{"url":"https://hooks.example.com/x","events":["month.closed"]}"#;
        with_body(Method::POST, "/v1/webhooks", body.to_owned())
    };
    for _ in 0..3 {
        let (status, made) = ask(&app, &house.operator, make()).await;
        assert_eq!(status, 201, "{made}");
    }
    let backup = house.back_up(&app, "b1").await;
    house.clock.set("2026-05-21T00:00:00Z");
    let end = Ask { method: Method::DELETE, ..Ask::get("/v1/webhooks/w1".to_owned()) };
    assert_eq!(ask(&app, &house.operator, end).await.0, 204);
    let rotate = with_body(Method::POST, "/v1/webhooks/w2/rotate", String::new());
    let (status, rotated) = ask(&app, &house.operator, rotate).await;
    assert_eq!(status, 200, "{rotated}");
    ask(&app, &house.operator, make()).await;
    app.drain().await;
    house.put_back(&backup).unwrap();
    let app = house.start().await;
    let (_, listed) = ask(&app, &house.operator, Ask::get("/v1/webhooks".to_owned())).await;
    let state = |id: &str| {
        let own = listed.split("{\"").find(|item| item.contains(&format!("\"{id}\"")))?;
        Some(own.contains("\"disabled\""))
    };
    let states = ["w1", "w2", "w3", "w4"].map(state);
    assert_eq!(states, [None, Some(true), Some(false), None], "{listed}");
    let (_, made) = ask(&app, &house.operator, make()).await;
    assert!(made.contains("\"w5\""), "a number is given once: {made}");
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_belong_together_is_refused_in_a_sentence() {
    let (house, app) = House::new().await;
    let backup = house.back_up(&app, "b1").await;
    let old_ledger = house.path("old-ledger");
    let later = house.back_up(&app, "b2").await;
    app.drain().await;
    let says = |refused: RestoreError, what: &str| {
        let text = refused.to_string();
        assert!(text.contains(what), "{text}");
    };
    // Over data that is there.
    let settings = settings(house.place.path());
    let data = house.path("data");
    let places = |data| Places { data, keys: &settings.keys, ledger: &settings.ledger };
    says(restore(&backup, &places(&data)).unwrap_err(), "is not empty");
    // A manifest that was exchanged with its digests.
    let file = later.join("manifest.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"folded_through\":", "\"folded_through\":1")).unwrap();
    says(house.put_back(&later).unwrap_err(), "its manifest was another one");
    assert!(!data.exists(), "nothing was written");
    std::fs::write(&file, text).unwrap();
    // A ledger that is older than the backup.
    std::fs::rename(house.path("data-ledger"), &old_ledger).unwrap();
    says(house.put_back(&backup).unwrap_err(), "put back the ledger first");
    std::fs::rename(&old_ledger, house.path("data-ledger")).unwrap();
    // Keys of another installation.
    let (other, app) = House::new().await;
    app.drain().await;
    let keys = house.path("data-keys");
    std::fs::rename(&keys, house.path("own-keys")).unwrap();
    says(house.put_back(&backup).unwrap_err(), "put back the keys first");
    std::fs::rename(other.path("data-keys"), &keys).unwrap();
    says(house.put_back(&backup).unwrap_err(), "put back the keys that belong to it");
    std::fs::remove_dir_all(&keys).unwrap();
    std::fs::rename(house.path("own-keys"), &keys).unwrap();
    // A cut restore is not started, and begins again. What a kill leaves at the ledger's end is no
    // reason to refuse, and the start removes it.
    let entries = house.path("data-ledger").join("entries.ndjson");
    let lines = std::fs::read_to_string(&entries).unwrap();
    std::fs::write(&entries, format!("{lines}{{\"entry\":")).unwrap();
    house.put_back(&backup).unwrap();
    std::fs::write(data.join("restoring"), "").unwrap();
    let refused = house.try_start().await.err().unwrap().to_string();
    assert!(refused.contains("run the same `blindtally restore data` again"), "{refused}");
    std::fs::remove_file(data.join("CURRENT")).unwrap();
    restore(&backup, &places(&data)).unwrap();
    let app = house.start().await;
    assert!(house.usage(&app, "2026-05").await.contains("\"mau\":1"));
    app.drain().await;
}

/// Ledger, keys and data of which the first two were set back: the data knows better.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_older_than_the_data_is_refused() {
    fn copy_all(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    let (house, app) = House::new().await;
    app.drain().await;
    for part in ["data-keys", "data-ledger"] {
        copy_all(&house.path(part), &house.path("old").join(part));
    }
    let app = house.start().await;
    house.back_up(&app, "b1").await;
    app.drain().await;
    for part in ["data-keys", "data-ledger"] {
        std::fs::remove_dir_all(house.path(part)).unwrap();
        copy_all(&house.path("old").join(part), &house.path(part));
    }
    let refused = house.try_start().await.err().unwrap().to_string();
    assert!(refused.contains("the data directory knows of"), "{refused}");
    assert!(refused.contains("put back the newest ledger"), "{refused}");
}
