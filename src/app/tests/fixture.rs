//! Data directories of earlier formats, with their keys and ledgers, as a killed process left them:
//! whatever the program becomes, it goes on from there, and every figure is the one that it was.
//!
//! What is checked is checked of a directory that this program makes, too, so that a fixture of
//! another format is made by the same steps: with `BLINDTALLY_FIXTURE` naming a file, the test
//! packs what it made there, before the process that wrote it has ended.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::backup::{House, certificates};
use super::*;
use crate::app::verify::{self, Request};
use crate::engine::hold::HeldInfo;
use crate::model::retention::Lot;
use crate::model::time::Month;
use crate::store::Table;

/// One for each format from the time on when they were kept.
const FORMATS: [&str; 4] = ["4", "5", "6", "7"];
/// A site whose name comes by no chance.
const SITE: &str = "QUAGGA.1";
/// The row of a day of the access log before format 7, and the route that shows it.
const OLD_DAY: &str = "desk/access/2026-05-20";
const DAY: &str = "/v1/access?day=2026-05-20";
/// Its tokens, a line for each role.
const TOKENS: &str = "tokens";
/// What belongs to a server.
const DIRECTORIES: [&str; 3] = ["data", "data-keys", "data-ledger"];
/// Largest fixture, bytes.
const BYTES_MAX: u64 = 300_000;
/// When the last record was taken, and a while later.
const MADE: &str = "2026-12-02T00:00:00Z";
const LATER: &str = "2026-12-02T06:00:00Z";

fn run(command: &mut Command) {
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

fn packed(format: &str) -> PathBuf {
    let name = format!("tests/fixtures/format-{format}.tar.gz");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Of each user a licence on a device whose number counts, and a session of a watermark.
fn records(users: std::ops::Range<u32>) -> String {
    let lines = users.flat_map(|user| {
        let android = format!("a1b2c3d4e5f60{user:03}");
        let license = serde_json::json!({
            "event_id": format!("l{user}"), "type": "drm.license.issued", "outcome": "success",
            "request_type": "new", "drm_type": "widevine", "cid": "movie-1",
            "device": {"ids": [{"kind": "android_id", "value": android}]},
        });
        let session = serde_json::json!({
            "event_id": format!("s{user}"), "type": "watermark.session.created",
            "wm_session_id": format!("session {user}"),
        });
        [license, session].map(|mut record| {
            record["site_id"] = "ACME".into();
            record["occurred_at"] = format!("2026-12-01T{user:02}:00:00Z").into();
            record["user_id"] = format!("viewer-{user}").into();
            format!("{record}\n")
        })
    });
    lines.collect()
}

impl House {
    async fn post_records(&self, app: &App, users: std::ops::Range<u32>) -> String {
        let mut post = with_body(Method::POST, "/v1/records", records(users));
        post.media = "application/x-ndjson";
        let (status, receipt) = ask(app, &self.producer, post).await;
        assert_eq!(status, 200, "{receipt}");
        receipt
    }

    /// Two sites and a group; of one the site has ended; somebody is erased and suppressed, months
    /// are closed and stated, destroyed with certificates and moved to hold storage; records are in
    /// blocks, fragments and the journal.
    async fn filled() -> (Self, App) {
        let (house, app) = Self::new().await;
        house.furnish(&app).await;
        let hold = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2027-05-01T00:00:00Z"}"#;
        let hold = with_body(Method::POST, "/v1/sites/ACME/holds", hold.to_owned());
        assert_eq!(ask(&app, &house.privacy, hold).await.0, 201);
        app.drain().await;
        house.clock.set(MADE);
        let app = house.start().await;
        house.run(&app).await;
        assert!(!app.engine.held().unwrap().is_empty());
        for users in [0..4, 4..7] {
            house.post_records(&app, users).await;
            app.engine.fold().await.unwrap();
        }
        let receipt = house.post_records(&app, 6..10).await;
        assert!(receipt.contains("\"accepted\":6,\"duplicates\":2"), "{receipt}");
        (house, app)
    }

    /// Packs the directories as they are now: a process that is killed leaves no others.
    fn pack(&self, to: &Path) {
        let place = self.place.path();
        std::fs::write(place.join(TOKENS), self.tokens().join("\n")).unwrap();
        let logs = ["--exclude=data/LOG*", "--exclude=*/*.lock", "--exclude=data/LOCK"];
        let mut command = Command::new("tar");
        command.args(["--owner=0", "--group=0", "--mtime=2026-12-02", "-czf"]).arg(to);
        command.args(logs).arg("-C").arg(place).args(DIRECTORIES).arg(TOKENS);
        // It says so where something was written meanwhile.
        assert!((0..9).any(|_| command.output().unwrap().status.success()), "{command:?}");
    }

    fn unpacked(from: &Path) -> Self {
        let place = tempfile::tempdir().unwrap();
        run(Command::new("tar").arg("-xzf").arg(from).arg("-C").arg(place.path()));
        let tokens = std::fs::read_to_string(place.path().join(TOKENS)).unwrap();
        let clock = Arc::new(SetClock(Default::default()));
        Self::with_tokens(place, clock, tokens.lines().map(str::to_owned).collect())
    }

    async fn told(&self, app: &App, token: &str, path: &str) -> Value {
        let (status, text) = ask(app, token, Ask::get(path.to_owned())).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Members of an answer by their names, one a line.
    async fn says(&self, app: &App, path: &str, members: &Value) {
        let told = self.told(app, &self.operator, path).await;
        for (name, value) in members.as_object().unwrap() {
            assert_eq!(told[name], *value, "{name} of {path}");
        }
    }

    /// Everything is what it was, and it goes on.
    async fn goes_on(&self) {
        self.clock.set(LATER);
        let app = self.start().await;
        self.figures_are_what_they_were(&app).await;
        assert_eq!(self.files_with(OLD_DAY), [""; 0], "it is under the key of its month");
        let day = self.told(&app, self.auditor(), DAY).await;
        assert!(!day["lines"].as_array().unwrap().is_empty(), "{day}");
        // Nothing is due; the first run rewrites what had other names.
        self.run(&app).await;
        self.names_no_site(&app);
        assert_eq!(self.told(&app, self.auditor(), DAY).await, day);
        // Duplicates are known, from the journal and from what was folded; the rest is new.
        let receipt = self.post_records(&app, 0..10).await;
        assert!(receipt.contains("\"accepted\":0,\"duplicates\":20"), "{receipt}");
        let receipt = self.post_records(&app, 10..11).await;
        assert!(receipt.contains("\"accepted\":2,\"duplicates\":0"), "{receipt}");
        assert_eq!(app.engine.arrivals_difference(), 0);
        app.engine.fold().await.unwrap();
        let december = "/v1/sites/ACME/usage/2026-12";
        self.says(&app, december, &json!({"mau": 11, "duplicates": 22})).await;
        // Each block is read.
        let path = format!("{december}/explained");
        let explained = self.told(&app, &self.operator, &path).await;
        assert_eq!(explained["records_seen"], explained["records_counted"]);
        assert!(explained["records_seen"].as_u64().unwrap() >= 20, "{explained}");
        // What is due later goes, by its keys of then.
        self.clock.set("2027-07-10T00:00:00Z");
        let before = certificates(&app, self.auditor()).await.len();
        self.run(&app).await;
        assert!(certificates(&app, self.auditor()).await.len() > before);
        self.says(&app, december, &json!({"mau": 11, "state": "closed"})).await;
        self.log_ends(&app).await;
        app.drain().await;
        let request = Request { recount: true, ..Request::default() };
        let report = verify::run(&settings(self.place.path()), &request);
        assert!(report.findings.is_empty(), "{report:#?}");
    }

    /// The month of the access log goes by its key, two years after its end.
    async fn log_ends(&self, app: &App) {
        let lot = Lot::Access(Month::parse(b"2026-05").unwrap());
        let lives = || app.engine.lots().iter().any(|info| info.lot == lot);
        let lines = async || self.told(app, self.auditor(), DAY).await["lines"].take();
        self.clock.set("2028-05-31T23:59:59Z");
        self.run(app).await;
        assert!(lives() && lines().await != json!([]));
        self.clock.set("2028-06-01T00:00:00Z");
        self.run(app).await;
        assert!(!lives() && lines().await == json!([]));
        let path = "/v1/retention?state=certified&limit=1000";
        let certified = self.told(app, self.auditor(), path).await;
        let of = |lot: &&Value| lot["class"] == "access" && lot["epoch"] == "2026-05";
        assert_eq!(certified["lots"].as_array().unwrap().iter().filter(of).count(), 1);
    }

    /// No file of the data names a site, in a row key or in RocksDB's list of files, whatever the
    /// format had.
    fn names_no_site(&self, app: &App) {
        let rows = app.engine.store().scan(Table::Meta, &[], None).unwrap();
        let keys: Vec<_> = rows.map(|row| row.unwrap().0).collect();
        assert!(keys.len() > 20);
        let names_one = |key: &[u8], id: &str| key.windows(id.len()).any(|at| at == id.as_bytes());
        assert!(!keys.iter().any(|key| ["ACME", SITE, "G1"].iter().any(|id| names_one(key, id))));
        // In bytes that are sealed a shorter name may come by chance.
        assert_eq!(self.files_with(SITE), [""; 0]);
    }

    async fn figures_are_what_they_were(&self, app: &App) {
        let december = json!({
            "mau": 10, "licenses_issued": 10, "devices": 10, "records": 20, "duplicates": 2,
            "by_drm_type": {"widevine": {"licenses_issued": 10, "mau": 10}},
            "watermark_sessions": 10, "watermark_users": 10, "state": "open", "evidence": "live",
        });
        self.says(app, "/v1/sites/ACME/usage/2026-12", &december).await;
        let held = json!({"mau": 1, "records": 1, "state": "closed", "evidence": "held"});
        self.says(app, "/v1/sites/ACME/usage/2026-05", &held).await;
        let gone = json!({"mau": 2, "records": 2, "state": "closed", "evidence": "destroyed"});
        self.says(app, "/v1/sites/QUAGGA.1/usage/2026-05", &gone).await;
        let group = json!({"mau": 2, "licenses_issued": 2, "state": "closed"});
        self.says(app, "/v1/groups/G1/usage/2026-05", &group).await;
        let is_bucket = |held: &&HeldInfo| matches!(held.lot, Lot::Records(_));
        let held = app.engine.held().unwrap();
        let records: u64 = held.iter().filter(is_bucket).map(|held| held.records).sum();
        assert_eq!((held.len(), records), (5, 1), "{held:?}");
        let key = std::fs::read_to_string(self.path("data-ledger/verifier.key")).unwrap();
        for site in ["ACME", "QUAGGA.1"] {
            let path = format!("/v1/sites/{site}/statements/2026-05");
            let (status, stated) = ask(app, self.auditor(), Ask::get(path)).await;
            assert!(status == 200 && crate::billing::verify(stated.as_bytes(), &key).is_ok());
        }
        let listed = self.told(app, self.auditor(), "/v1/certificates").await;
        let listed = listed["items"].as_array().unwrap();
        assert!(!listed.is_empty());
        for one in listed {
            let path = format!("/v1/certificates/{}", one["id"].as_str().unwrap());
            let (_, text) = ask(app, self.auditor(), Ask::get(path)).await;
            assert!(retention::certificate::verify(text.as_bytes(), &key).is_ok(), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_each_format_goes_on() {
    for format in FORMATS {
        let fixture = packed(format);
        let size = std::fs::metadata(&fixture).unwrap().len();
        assert!(size <= BYTES_MAX, "{size} bytes");
        let house = House::unpacked(&fixture);
        // The name is there to be found.
        assert_eq!(house.files_with(SITE).is_empty(), ["6", "7"].contains(&format), "{format}");
        // And so is the day that the access log has under the state key.
        assert_eq!(house.files_with(OLD_DAY).is_empty(), format == "7", "{format}");
        house.goes_on().await;
    }
}

/// What this program writes now, and leaves when it is killed, is read by the same test.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_now_goes_on_likewise() {
    let (house, app) = House::filled().await;
    let file = house.path("now.tar.gz");
    house.pack(&file);
    if let Some(to) = std::env::var_os("BLINDTALLY_FIXTURE") {
        std::fs::copy(&file, to).unwrap();
    }
    House::unpacked(&file).goes_on().await;
    app.drain().await;
}
