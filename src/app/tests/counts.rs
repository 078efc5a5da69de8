//! The end of what has a rule: a server with a row of every kind, until the time of each is over.

use std::collections::{BTreeMap, BTreeSet};

use super::backup::House;
use super::*;
use crate::engine::names;
use crate::model::ids::SiteId;
use crate::retention::inventory::{By, DESK_ROWS, Life, ROWS, TABLES};
use crate::store::{self, META_ROWS, Store, Table};

/// A site whose name stands in no other word.
const SITE: &str = "QUAGGA.1";
/// Kinds of rows by their paths, each with the names of its rows.
type Kinds = BTreeMap<String, Vec<Vec<u8>>>;

fn kinds(store: &Store) -> Kinds {
    let mut kinds = Kinds::new();
    for table in store.tables() {
        for row in store.scan(table, &[], None).unwrap() {
            let key = row.unwrap().0.into_vec();
            let kind = match table {
                Table::Meta => meta_kind(&key),
                other => other.kind().to_owned(),
            };
            kinds.entry(kind).or_default().push(key);
        }
    }
    kinds
}

fn meta_kind(key: &[u8]) -> String {
    let slash = key.iter().position(|byte| *byte == b'/').map_or(key.len(), |at| at + 1);
    let kind = String::from_utf8(key[..slash].to_vec()).unwrap();
    assert!(META_ROWS.contains(&kind.as_str()), "{kind}");
    match kind.as_str() {
        "desk/" => {
            let name = String::from_utf8(key[slash..].to_vec()).unwrap();
            let end = name.find('/').map_or(name.len(), |at| at + 1);
            format!("default/desk/{}", &name[..end])
        }
        _ => format!("default/{kind}"),
    }
}

/// Every kind whose rule, or whose own time, ends its rows.
fn ending() -> BTreeSet<String> {
    let lists = [("", TABLES), ("default/", ROWS), ("default/desk/", DESK_ROWS)];
    let mut all = BTreeSet::new();
    for (before, list) in lists {
        for (kind, life) in list {
            let ends = match life {
                Life::Class(_, by) => *by != By::Nobody,
                Life::Sweep(..) | Life::Lots(_) => true,
                Life::Hold | Life::Engine(_) => false,
            };
            if ends {
                all.insert(format!("{before}{kind}"));
            }
        }
    }
    all
}

impl House {
    async fn get(&self, app: &App, path: &str) -> (StatusCode, String) {
        ask(app, &self.operator, Ask::get(path.to_owned())).await
    }

    async fn post(&self, app: &App, token: &str, path: &str, body: &str) -> String {
        let (status, answer) =
            ask(app, token, with_body(Method::POST, path, body.to_owned())).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// Somebody's record at the site.
    async fn record(&self, app: &App, user: &str, at: &str) {
        let record = format!(
            r#"{{"event_id":"{user}-{at}","type":"drm.license.issued","site_id":"{SITE}",
                "occurred_at":"{at}","outcome":"success","user_id":"{user}",
                "request_type":"new"}}"#
        );
        let receipt = self.post(app, &self.producer, "/v1/records", &record).await;
        assert!(receipt.contains("\"accepted\":1"), "{receipt}");
    }

    /// A month with a row of every kind: May and June 2026, and the end of the site on 20 June.
    pub(super) async fn furnish(&self, app: &App) {
        // With a billing group, which ends with its only member.
        let settings = r#"{"billing_group":"G1"}"#.to_owned();
        let put = with_body(Method::PUT, &format!("/v1/sites/{SITE}"), settings);
        assert_eq!(ask(app, &self.operator, put).await.0, 201);
        self.record(app, "viewer-one", "2026-05-19T00:00:00Z").await;
        self.record(app, "viewer-two", "2026-05-19T00:00:00Z").await;
        self.clock.set("2026-06-20T00:00:00Z");
        self.run(app).await;
        let create = r#"{"role":"billing","sites":["*"],"name":"short","expires_in_days":1}"#;
        let made = self.post(app, &self.operator, "/v1/tokens", create).await;
        let billing = made_token(&made);
        // By itself the server would issue them some minutes later.
        let site = format!("sites/{SITE}");
        for scope in [&site, "sites/ACME", "groups/G1"] {
            let statement = Ask::get(format!("/v1/{scope}/statements/2026-05"));
            assert_eq!(ask(app, &billing, statement).await.0, 200, "{scope}");
        }
        // A list of too few users is refused by the route; its row is what counts here.
        let row = format!("challenge/{SITE}/2026-05");
        app.engine.put_desk_row(&row, br#"{"challenges":1}"#).await.unwrap();
        let erase = format!("/v1/sites/{SITE}/subjects/erase");
        let body = r#"{"user_id":"viewer-one","suppress":true}"#;
        self.post(app, &self.privacy, &erase, body).await;
        let hold = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2026-07-01T00:00:00Z"}"#;
        let other = token_of(app, &self.operator, "custodian").await;
        for number in 1..=2 {
            self.post(app, &self.privacy, &format!("/v1/sites/{SITE}/holds"), hold).await;
            for custodian in [&self.custodian, &other] {
                let path = format!("/v1/sites/{SITE}/holds/h{number}");
                let release = Ask { method: Method::DELETE, ..Ask::get(path) };
                assert!(ask(app, custodian, release).await.0.is_success());
            }
        }
        let removal = r#"{"reason":"authority_order","late_records":"refuse"}"#;
        let path = format!("/v1/sites/{SITE}/retention/2026-05/destroy");
        self.post(app, &self.custodian, &path, removal).await;
        self.post(app, &self.operator, &format!("/v1/sites/{SITE}/terminate"), "{}").await;
        app.engine.fold().await.unwrap();
    }

    /// Files of the data directory that hold a text.
    pub(super) fn files_with(&self, text: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("data")).unwrap();
        let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let holds = |path: &std::path::PathBuf| {
            let bytes = std::fs::read(path).unwrap();
            bytes.windows(text.len()).any(|part| part == text.as_bytes())
        };
        let named = |path: std::path::PathBuf| path.display().to_string();
        files.filter(holds).map(named).collect()
    }
}

/// Five years and a day: whatever has a rule is gone from tables and files, nothing else is, and a
/// start in between neither refuses nor brings anything back.
#[tokio::test(flavor = "multi_thread")]
async fn every_rule_has_ended_its_rows_when_its_time_is_over() {
    let (house, app) = House::new().await;
    house.furnish(&app).await;
    let mut seen: BTreeSet<String> = kinds(app.engine.store()).into_keys().collect();
    app.drain().await;

    // What is due after months goes with its keys; figures stay.
    house.clock.set("2027-02-01T00:00:00Z");
    let app = house.start().await;
    house.run(&app).await;
    assert!(house.ledger(&app).await.contains("key.suppression"), "who is suppressed, too");
    let usage = format!("/v1/sites/{SITE}/usage/2026-05");
    let (status, figures) = house.get(&app, &usage).await;
    assert!(status == 200 && figures.contains("\"mau\":2"), "{figures}");
    app.drain().await;

    // The statement was issued on 20 June 2026, when the site ended, too.
    house.clock.set("2031-06-19T23:59:59Z");
    let app = house.start().await;
    house.run(&app).await;
    assert_eq!(
        house.get(&app, &usage).await,
        (StatusCode::OK, figures.replace("2027-02-01T00:00:00Z", "2031-06-19T23:59:59Z"))
    );
    app.drain().await;

    // ACME's May closed with the run of June, and its statement was issued then.
    house.clock.set("2031-06-20T00:00:00Z");
    let app = house.start().await;
    seen.extend(kinds(app.engine.store()).into_keys());
    house.run(&app).await;
    let acme = "/v1/sites/ACME/usage/2026-05";
    for _ in 0..2 {
        let (status, gone) = house.get(&app, acme).await;
        assert!(status == StatusCode::GONE && gone.contains("/ended"), "{gone}");
    }
    let (status, listed) = house.get(&app, "/v1/usage?from=2026-05&to=2026-06").await;
    let months: Vec<&str> =
        ["2026-05", "2026-06"].into_iter().filter(|m| listed.contains(m)).collect();
    assert!(status == 200 && months == ["2026-06"], "{listed}");
    seen.extend(kinds(app.engine.store()).into_keys());
    assert_eq!(house.get(&app, &usage).await.0, StatusCode::NOT_FOUND, "the site has ended");
    let ledger = house.ledger(&app).await;
    for kind in ["statement_removed", "figures_removed", "site_removed"] {
        assert!(ledger.contains(kind), "{kind}");
    }
    let key = app.engine.ring().state_key();
    let row = |name: &str| String::from_utf8(names::row_of(&key, name)).unwrap();
    let site = |id: &str| {
        let id = SiteId::parse(id.as_bytes()).unwrap();
        String::from_utf8(names::site(&key, &id)).unwrap()
    };
    app.drain().await;
    let desk =
        ["terminated/", "statement/", "challenge/"].map(|kind| row(&format!("{kind}{SITE}")));
    for text in desk.into_iter().chain([site(SITE)]) {
        assert_eq!(house.files_with(&text), [""; 0], "{text}");
    }
    assert!(!house.files_with(&site("ACME")).is_empty(), "the search finds what is there");

    nothing_comes_back(&house, &seen).await;
}

/// A start brings nothing back, what arrived agrees with what is counted, and of all kinds that
/// end, each of which was there, nothing is left.
async fn nothing_comes_back(house: &House, seen: &BTreeSet<String>) {
    let acme = "/v1/sites/ACME/usage/2026-05";
    let app = house.start().await;
    assert_eq!(house.get(&app, acme).await.0, StatusCode::GONE);
    assert_eq!(app.engine.arrivals_difference(), 0);
    app.drain().await;
    let request = verify::Request { recount: true, ..verify::Request::default() };
    let report = verify::run(&settings(house.place.path()), &request);
    assert!(report.findings.is_empty(), "{report:?}");
    assert!(report.checked.iter().any(|line| line.starts_with("what arrived: 3 ")), "{report:?}");
    let data = store::Settings { data: house.path("data"), block_cache_bytes: 1 << 20 };
    let left = kinds(&Store::open(&data).unwrap());
    let unseen: Vec<_> = ending().into_iter().filter(|kind| !seen.contains(kind)).collect();
    assert_eq!(unseen, [""; 0], "a kind without a row proves nothing: make one in `furnish`");
    // Those of ACME, which has not ended; the last hold, for its number; tokens that live.
    let kept = ["default/site/", "default/ended/", "default/token/", "default/desk/hold/"];
    // What was asked on the last two days, now.
    let access = "default/desk/access/";
    let days: Vec<_> = left[access].iter().map(|key| String::from_utf8_lossy(key)).collect();
    assert_eq!(days, ["desk/access/=2031-06-19", "desk/access/=2031-06-20"]);
    // Of arrivals reasons end, and hours by themselves; the total stays.
    let stays = |kind: &str| kept.contains(&kind) || kind == access || kind == "arrivals";
    for kind in ending().iter().filter(|kind| !stays(kind)) {
        assert_eq!(left.get(kind), None, "{kind}");
    }
    let rows = |kind: &str| left.get(kind).map_or(0, Vec::len);
    assert_eq!(kept.map(rows), [1, 1, 6, 1]);
}

/// An id that is used again is another site: its own number, its own end.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_made_again_is_another_one() {
    let (house, app) = House::new().await;
    house.furnish(&app).await;
    let number = app.engine.sites().iter().map(|site| site.no.0).max().unwrap();
    app.drain().await;
    for at in ["2027-02-01T00:00:00Z", "2031-06-20T00:00:00Z"] {
        house.clock.set(at);
        let app = house.start().await;
        house.run(&app).await;
        app.drain().await;
    }
    let app = house.start().await;
    let put = with_body(Method::PUT, &format!("/v1/sites/{SITE}"), "{}".to_owned());
    assert_eq!(ask(&app, &house.operator, put).await.0, 201);
    let id = SiteId::parse(SITE.as_bytes()).unwrap();
    assert!(app.engine.site(&id).unwrap().no.0 > number, "rows of the first one name its number");
    house.record(&app, "viewer-one", "2031-06-19T00:00:00Z").await;
    let usage = house.get(&app, &format!("/v1/sites/{SITE}/usage/2031-06")).await;
    assert!(usage.1.contains("\"mau\":1"), "{}", usage.1);
    // The backup is from after the second site began: the end of the first one is not its own.
    let backup = house.back_up(&app, "second").await;
    app.drain().await;
    house.put_back(&backup).unwrap();
    let app = house.start().await;
    assert_eq!(app.engine.site(&id).unwrap().terminated_at, None);
    app.drain().await;
}
