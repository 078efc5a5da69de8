//! An evidence pack of a server that destroyed something: what is in it, what is not, and that no
//! byte of it can be changed unnoticed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::cli::evidence::{Args, export};
use crate::crypto::sha256;
use crate::identity::{FormRoom, Job, PseudonymQueue, RawId, UserRules};
use crate::ledger::Digest;
use crate::model::ids::SiteId;
use crate::model::pseudonym::Algorithm;
use crate::model::time::Month;
use crate::wire::retention::evidence::{INDEX_FILE, Index};
use crate::wire::retention::processing::ProcessingSaid;

/// Ids that the records carry; none of them may be in a pack.
pub(super) const CANARIES: [&str; 3] = ["viewer-canary-81231", "a1b2c3d4e5f60718", "cid-canary-7"];

/// Files that the operator names for evidence.
const PROCESSORS: &str = "processors.txt";
const REPORT: &str = "report.xml";

/// A server with one destroyed month and one held.
pub(super) struct World {
    pub(super) directory: tempfile::TempDir,
    pub(super) app: App,
    /// The token of the operator.
    pub(super) operator: String,
    auditor: String,
    /// Pseudonyms that are or were stored.
    pub(super) tags: Vec<[u8; 16]>,
}

async fn post_canary(app: &App, producer: &str, occurred_at: &str) {
    let [user, device, cid] = CANARIES;
    let record = format!(
        r#"{{"event_id":"ev-canary-{occurred_at}","type":"drm.license.issued","site_id":"ACME",
            "occurred_at":"{occurred_at}","outcome":"success","user_id":"{user}","cid":"{cid}",
            "request_type":"new",
            "device":{{"ids":[{{"kind":"android_id","value":"{device}"}}]}}}}"#
    );
    let (status, receipt) =
        ask(app, producer, with_body(Method::POST, "/v1/records", record)).await;
    assert!(status == 200 && receipt.contains("\"accepted\":1"), "{receipt}");
}

/// The tags under which the user of the canaries is stored in a month.
fn tags_of(app: &App, month: &str) -> Vec<[u8; 16]> {
    let site = SiteId::parse(b"ACME").unwrap();
    let month = Month::parse(month.as_bytes()).unwrap();
    let keys = app.engine.ring().site_month_existing(&site, month).unwrap();
    let (rules, mut room) = (UserRules::default(), FormRoom::default());
    let raw = RawId::new(CANARIES[0].as_bytes());
    let somebody = rules.read(Some(raw), &mut room).somebody().unwrap();
    let mut queue = PseudonymQueue::default();
    let slot = queue.push_user(keys.base.under(Algorithm::HmacSha256), &somebody);
    queue.run();
    let jobs = [0, 1].map(|key| Job { slot, key });
    queue.tags(&jobs, &[&keys.tally, &keys.record]).into_iter().map(|tag| tag.0).collect()
}

impl World {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock(Default::default()));
        clock.set("2026-05-20T00:00:00Z");
        let mut settings = settings(directory.path());
        let backups = directory.path().join("backups");
        std::fs::create_dir(&backups).unwrap();
        settings.backup.dir = Some(backups);
        for (name, text) in [(PROCESSORS, "Hosting Ltd, Seoul\n"), (REPORT, "all tests passed")] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        settings.retention.processors = Some(directory.path().join(PROCESSORS));
        settings.retention.test_report = Some(directory.path().join(REPORT));
        let said = || Some("said by the operator".to_owned());
        settings.retention.processing = ProcessingSaid {
            processor: said(),
            representative: None,
            protection_officer: said(),
            controllers: said(),
            transfers: said(),
            measures: said(),
        };
        let app = App::start(settings, clock.clone()).await.unwrap();
        let file = directory.path().join("data-keys/operator.token");
        let operator = std::fs::read_to_string(&file).unwrap();
        ask(&app, &operator, with_body(Method::PUT, "/v1/sites/ACME", "{}".to_owned())).await;
        let producer = token_of(&app, &operator, "producer").await;
        let custodian = token_of(&app, &operator, "custodian").await;
        let auditor = token_of(&app, &operator, "auditor").await;
        let privacy = token_of(&app, &operator, "privacy").await;
        post_canary(&app, &producer, "2026-05-19T00:00:00Z").await;
        clock.set("2026-06-20T00:00:00Z");
        post_canary(&app, &producer, "2026-06-19T00:00:00Z").await;
        let tags = [tags_of(&app, "2026-05"), tags_of(&app, "2026-06")].concat();
        // Somebody writes a name where they may write freely.
        let [name, ..] = CANARIES;
        let hold = format!(
            r#"{{"months":["2026-06"],"ground":"unpaid","review_at":"2027-05-01T00:00:00Z",
                "reason":"{name} does not pay"}}"#
        );
        let hold = with_body(Method::POST, "/v1/sites/ACME/holds", hold);
        assert_eq!(ask(&app, &privacy, hold).await.0, 201);
        let review =
            format!(r#"{{"review_at":"2027-05-01T00:00:00Z","reason":"{name} still does not"}}"#);
        let review = with_body(Method::POST, "/v1/sites/ACME/holds/h1/review", review);
        let (status, reviewed) = ask(&app, &privacy, review).await;
        assert!(status == 200 && reviewed.matches(name).count() == 2, "{reviewed}");
        for time in ["2026-09-05T00:00:00Z", "2027-02-01T00:00:00Z"] {
            clock.set(time);
            // The first run of this start may not have seen a time before; then there is no jump.
            let body = format!("{{\"time\":\"{time}\"}}");
            let confirm = with_body(Method::POST, "/v1/retention/confirm-clock", body);
            let confirmed = ask(&app, &custodian, confirm).await;
            assert!(matches!(confirmed.0.as_u16(), 200 | 409), "{confirmed:?}");
            let run = with_body(Method::POST, "/v1/retention/run", String::new());
            let (status, ran) = ask(&app, &custodian, run).await;
            assert!(status == 200 && ran.contains("\"failed\":0"), "{ran}");
        }
        Self { directory, app, operator, auditor, tags }
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("data-ledger/verifier.key")
    }

    pub(super) async fn export(&self, name: &str, from: u64) -> PathBuf {
        let out = self.directory.path().join(name);
        self.export_as(Args::of(out.clone(), from)).await;
        out
    }

    async fn export_until(&self, name: &str, from: u64, to: u64) -> PathBuf {
        let out = self.directory.path().join(name);
        self.export_as(Args::until(out.clone(), from, to)).await;
        out
    }

    async fn export_as(&self, args: Args) {
        let target = Target::plain(self.app.addresses()[0]);
        let (sentences, good) = export(&target, &self.auditor, &args).await.unwrap();
        assert!(good, "{sentences:?}");
    }
}

fn files_of(pack: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in [pack.to_owned(), pack.join("certificates")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(pack).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Makes the index fit, as a forger would.
fn reindex(pack: &Path) {
    let path = pack.join(INDEX_FILE);
    let mut index = Index::parse(&std::fs::read(&path).unwrap()).unwrap();
    for file in &mut index.files {
        let bytes = std::fs::read(pack.join(&file.name)).unwrap();
        (file.bytes, file.sha256) = (bytes.len() as u64, Digest(sha256(&[&bytes])));
    }
    std::fs::write(path, index.to_bytes().unwrap()).unwrap();
}

/// What the second implementation says, and whether it is content.
fn second(key: &Path, pack: &Path) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/check_evidence.py");
    let key = std::fs::read_to_string(key).unwrap();
    let done = Command::new("python3").arg("-B").arg(script).arg(key).arg(pack).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(!said.contains("Traceback"), "{said}");
    (done.status.success(), said.into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_holds_what_an_auditor_needs_and_checks_offline() {
    let world = World::new().await;
    let pack = world.export("pack", 0).await;
    let report = pack::run(&pack, Some(&world.key()));
    assert_eq!(report.findings, [""; 0]);
    assert!(report.unchecked.is_empty(), "{:?}", report.unchecked);
    let (good, said) = second(&world.key(), &pack);
    assert!(good && said.contains("0 findings"), "{said}");
    let text = std::fs::read_to_string(pack.join("statement.json")).unwrap();
    let stated: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(stated["policy"]["profile"], "kr-pipa");
    assert_eq!(stated["policy_history"].as_array().unwrap().len(), 1, "{text}");
    assert_eq!(stated["holds"][0]["months"][0], "2026-06");
    assert!(stated["holds"][0]["reviewed"]["entry"].is_u64());
    assert_eq!(stated["all_sites"], true);
    assert_eq!(stated["sites"][0]["site_id"], "ACME");
    assert_eq!(stated["configuration_sha256"].as_str().unwrap().len(), 64);
    assert!(stated["keys"]["journal"].as_u64().unwrap() >= 1);
    assert_eq!(stated["build_sha256"].as_str().unwrap().len(), 64);
    let listed = stated["key_list"].as_array().unwrap();
    let journal = listed.iter().filter(|key| key["kind"] == "journal").count() as u64;
    assert_eq!(Some(journal), stated["keys"]["journal"].as_u64());
    assert!(listed.iter().all(|key| key["key"].is_u64() && key["parent"].is_u64()));
    // What is held is under keys of its own, and nothing is being destroyed.
    let states: BTreeSet<&str> = listed.iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["held", "living"].into());
    let is_held = |key: &&serde_json::Value| key["state"] == "held" && key["hold"] == "h1";
    assert!(listed.iter().filter(is_held).count() >= 4, "{listed:?}");
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(stated["build_sha256"], Digest(sha256(&[&own])).to_string());
    assert!(stated["privileged_reads"].is_object());
    let text = "Hosting Ltd, Seoul\n";
    let sha256_of = |text: &str| Digest(sha256(&[text.as_bytes()])).to_string();
    let said = serde_json::json!({"name": PROCESSORS, "sha256": sha256_of(text), "text": text});
    assert_eq!(stated["processors"], said);
    let said = serde_json::json!({"name": REPORT, "sha256": sha256_of("all tests passed")});
    assert_eq!(stated["test_report"], said);
    let lots = stated["lots"].as_array().unwrap();
    let states: Vec<&str> = lots.iter().map(|lot| lot["state"].as_str().unwrap()).collect();
    assert!(states.contains(&"held") && states.contains(&"certified"), "{states:?}");
    let certificates = files_of(&pack).into_keys().filter(|name| name.contains('/')).count();
    assert!(certificates > 3, "more than a page: {certificates}");
    // Another ledger's key.
    let other = tempfile::tempdir().unwrap();
    start(other.path()).await.drain().await;
    let report = pack::run(&pack, Some(&other.path().join("data-ledger/verifier.key")));
    assert!(report.findings.iter().any(|said| said.contains("signed")), "{report:?}");
    assert!(report.findings.iter().all(|said| advises(said)), "{report:?}");
    world.app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_ledger_is_a_pack_as_well() {
    let world = World::new().await;
    // From a later entry on: what came before is known by its hashes.
    for from in [1, 5, 8, 13] {
        let pack = world.export(&format!("pack-{from}"), from).await;
        let report = pack::run(&pack, Some(&world.key()));
        // The lines before, and the reads that are in them.
        assert_eq!((report.findings, report.unchecked.len()), (Vec::new(), 2), "{from}");
        let (good, said) = second(&world.key(), &pack);
        assert!(good, "{from}: {said}");
    }
    // Up to an earlier entry: what comes after is not there, and is said not to be.
    for (from, to) in [(0, 9), (7, 20), (20, 20)] {
        let pack = world.export_until(&format!("part-{from}-{to}"), from, to).await;
        let report = pack::run(&pack, Some(&world.key()));
        assert_eq!(report.findings, [""; 0], "{from} to {to}");
        let after = format!("what happened after entry {to}:");
        assert!(report.unchecked.iter().any(|said| said.starts_with(&after)), "{report:?}");
        let lines = std::fs::read_to_string(pack.join("ledger.ndjson")).unwrap();
        assert_eq!(lines.lines().count() as u64, to + 1 - from);
        let (good, said) = second(&world.key(), &pack);
        assert!(good, "{from} to {to}: {said}");
    }
    // A statement that is proved under another checkpoint may be of another ledger.
    let parts = ["one", "two"].map(|name| format!("under-{name}"));
    let [one, two] =
        [world.export_until(&parts[0], 0, 9).await, world.export_until(&parts[1], 0, 9).await];
    for name in ["statement.json", "stated.json"] {
        std::fs::copy(two.join(name), one.join(name)).unwrap();
    }
    reindex(&one);
    let report = pack::run(&one, Some(&world.key()));
    let found = |said: &String| said.starts_with("stated.json: proved under another checkpoint");
    assert!(report.findings.iter().any(found), "{report:?}");
    let (good, said) = second(&world.key(), &one);
    assert!(!good && said.contains("stated.json"), "{said}");
    world.app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_58_no_pseudonym_and_no_canary_is_in_a_pack() {
    let world = World::new().await;
    let pack = world.export("pack", 0).await;
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let mut wanted: Vec<Vec<u8>> = CANARIES.iter().map(|text| text.as_bytes().to_vec()).collect();
    wanted.push(b"canary".to_vec());
    for tag in &world.tags {
        // Also what a set holds of it.
        for part in [&tag[..], &tag[..12], &tag[..8]] {
            let upper = hex(part).to_uppercase().into_bytes();
            wanted.extend([part.to_vec(), hex(part).into_bytes(), upper]);
        }
    }
    assert!(wanted.len() > 30, "{}", wanted.len());
    let finds = |bytes: &[u8]| {
        let found = wanted.iter().find(|part| bytes.windows(part.len()).any(|at| at == &part[..]));
        found.map(|part| String::from_utf8_lossy(part).into_owned())
    };
    assert!(finds(hex(&world.tags[1]).as_bytes()).is_some(), "the search finds nothing");
    let files = files_of(&pack);
    assert!(files.len() >= 7, "{:?}", files.keys());
    for (name, bytes) in &files {
        assert_eq!(finds(bytes), None, "{name}");
    }
    world.app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_changed_byte_is_named() {
    let world = World::new().await;
    let packs = [world.export("pack", 3).await, world.export_until("part", 3, 30).await];
    let key = world.key();
    world.app.drain().await;
    // Of the second what is new in it is looked at as closely.
    is_named_at_every_byte(&packs[0], &key, |_| 40);
    is_named_at_every_byte(&packs[1], &key, |name| match name {
        "last.json" | "stated.json" => 40,
        _ => 3,
    });
}

/// Whether a finding says what to do, and not only what is wrong.
fn advises(finding: &str) -> bool {
    let told = ["have the pack exported anew", "fetch", "get it anew", "believe nothing in"];
    let more = ["--key", "trust nothing in it", "do nothing that it says", "export the pack anew"];
    let own = ["take the verifier.key", "ask whoever runs the server", "make it readable"];
    [&told[..], &more, &own].concat().iter().any(|advice| finding.contains(advice))
}

fn is_named_at_every_byte(pack: &Path, key: &Path, places: fn(&str) -> usize) {
    let files = files_of(pack);
    for (name, good) in &files {
        for at in (0..good.len()).step_by((good.len() / places(name)).max(1)) {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            std::fs::write(pack.join(name), &bytes).unwrap();
            let named = |report: &verify::Report| {
                report.findings.iter().any(|finding| finding.contains(name.as_str()))
            };
            let report = pack::run(pack, Some(key));
            assert!(report.findings.iter().all(|said| advises(said)), "{report:?}");
            // An index with another hash is told by the file that it does not fit.
            let found = named(&report) || name == INDEX_FILE && !report.findings.is_empty();
            assert!(found, "{name} {at}: {report:?}");
            if name != INDEX_FILE {
                reindex(pack);
                let report = pack::run(pack, Some(key));
                assert!(named(&report), "{name} {at}, index made anew: {report:?}");
                assert!(report.findings.iter().all(|said| advises(said)), "{report:?}");
            }
            std::fs::write(pack.join(INDEX_FILE), &files[INDEX_FILE]).unwrap();
        }
        let mut bytes = good.clone();
        bytes[good.len() / 2] ^= 1;
        std::fs::write(pack.join(name), bytes).unwrap();
        assert!(!second(key, pack).0, "{name}");
        if name != INDEX_FILE && name != "README.txt" {
            reindex(pack);
            let (content, said) = second(key, pack);
            assert!(!content, "{name}, index made anew: {said}");
        }
        std::fs::write(pack.join(INDEX_FILE), &files[INDEX_FILE]).unwrap();
        std::fs::remove_file(pack.join(name)).unwrap();
        let gone = pack::run(pack, Some(key)).findings;
        assert!(!gone.is_empty() && gone.iter().all(|said| advises(said)), "{name}: {gone:?}");
        std::fs::write(pack.join(name), good).unwrap();
    }
    assert_eq!(pack::run(pack, Some(key)).findings, [""; 0]);
    std::fs::write(pack.join("certificates/c99.json"), "{}").unwrap();
    let report = pack::run(pack, Some(key));
    assert!(report.findings.iter().any(|said| said.contains("c99.json: not in the index")));
    assert!(report.findings.iter().all(|said| advises(said)), "{report:?}");
    let nowhere = pack::run(&pack.join("nowhere"), None);
    assert!(advises(&nowhere.findings[0]), "{nowhere:?}");
    assert!(nowhere.findings[0].contains("not the index of an evidence pack"));
}

/// What the operator names is read anew for each statement, and must be there at a start.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_names_is_read_anew() {
    let world = World::new().await;
    let place = world.directory.path();
    let (processors, report) = (place.join(PROCESSORS), place.join(REPORT));
    std::fs::write(&processors, "Another Ltd\n").unwrap();
    std::fs::remove_file(&report).unwrap();
    let pack = world.export("pack", 0).await;
    let text = std::fs::read_to_string(pack.join("statement.json")).unwrap();
    let stated: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(stated["processors"]["text"], "Another Ltd\n");
    assert_eq!(stated["test_report"], serde_json::json!({"name": REPORT, "sha256": null}));
    let unchecked = pack::run(&pack, Some(&world.key())).unchecked;
    assert!(unchecked.len() == 1 && unchecked[0].contains("could not read report.xml"));
    assert!(second(&world.key(), &pack).0);
    world.app.drain().await;
    let clock = Arc::new(SetClock(Default::default()));
    clock.set("2027-02-01T00:00:00Z");
    let long = "x".repeat((64 << 10) + 1);
    for (bad, setting) in [
        (None, "[evidence] test_report"),
        (Some(&b"\xff\xfe"[..]), "[evidence] processors"),
        (Some(long.as_bytes()), "[evidence] processors"),
    ] {
        if let Some(bytes) = bad {
            std::fs::write(&processors, bytes).unwrap();
            std::fs::write(&report, "").unwrap();
        }
        let mut settings = settings(place);
        settings.retention.processors = Some(processors.clone());
        settings.retention.test_report = Some(report.clone());
        let refused = App::start(settings, clock.clone()).await.err().unwrap().to_string();
        assert!(refused.contains(setting), "{refused}");
    }
}

/// A pack that the build before made, format 1, is checked as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_pack_of_the_first_form_still_checks() {
    let world = World::new().await;
    let pack = world.export("pack", 0).await;
    std::fs::write(pack.join("README.txt"), include_str!("../pack-1.txt")).unwrap();
    reindex(&pack);
    let path = pack.join(INDEX_FILE);
    let index = std::fs::read_to_string(&path).unwrap();
    let other = pack::run(&pack, Some(&world.key())).findings;
    assert!(other.len() == 1 && other[0].starts_with("README.txt: not the text"), "{other:?}");
    std::fs::write(&path, index.replacen("format 2", "format 1", 1)).unwrap();
    let report = pack::run(&pack, Some(&world.key()));
    assert_eq!((report.findings, report.unchecked), (Vec::new(), Vec::new()));
    let (good, said) = second(&world.key(), &pack);
    assert!(good, "{said}");
    world.app.drain().await;
}

/// A certificate that was left out, and an index that fits: only the ledger's lines tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_left_out_is_named() {
    let world = World::new().await;
    let (pack, key) = (world.export("pack", 0).await, world.key());
    world.app.drain().await;
    let names: Vec<String> =
        files_of(&pack).into_keys().filter(|name| name.starts_with("certificates/")).collect();
    for name in names {
        let bytes = std::fs::read(pack.join(&name)).unwrap();
        std::fs::remove_file(pack.join(&name)).unwrap();
        let path = pack.join(INDEX_FILE);
        let whole = std::fs::read(&path).unwrap();
        let mut index = Index::parse(&whole).unwrap();
        index.files.retain(|file| file.name != name);
        std::fs::write(&path, index.to_bytes().unwrap()).unwrap();
        let report = pack::run(&pack, Some(&key));
        assert!(report.findings.iter().any(|said| said.contains(&name)), "{report:?}");
        assert!(report.findings.iter().all(|said| advises(said)), "{report:?}");
        let (content, said) = second(&key, &pack);
        assert!(!content && said.contains(&name), "{said}");
        std::fs::write(&path, whole).unwrap();
        std::fs::write(pack.join(&name), bytes).unwrap();
    }
    assert_eq!(pack::run(&pack, Some(&key)).findings, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_auditor_gets_evidence_and_a_folder_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let app = start(directory.path()).await;
    let file = directory.path().join("data-keys/operator.token");
    let operator = std::fs::read_to_string(&file).unwrap();
    let target = Target::plain(app.addresses()[0]);
    let args = Args::of(directory.path().join("pack"), 0);
    let refused = export(&target, operator.trim(), &args).await.unwrap_err().to_string();
    assert!(refused.contains("wrong-role"), "{refused}");
    assert!(!directory.path().join("pack").exists());
    let auditor = token_of(&app, &operator, "auditor").await;
    for (from, to) in [(3, 2), (0, 1_000)] {
        let args = Args::until(directory.path().join("pack"), from, to);
        let refused = export(&target, &auditor, &args).await.unwrap_err().to_string();
        assert!(refused.contains("--to must name an entry from"), "{refused}");
    }
    let beyond = Args::of(directory.path().join("pack"), 1_000);
    let refused = export(&target, &auditor, &beyond).await.unwrap_err().to_string();
    assert!(refused.contains("entries, so none begins"), "{refused}");
    assert!(export(&target, &auditor, &args).await.unwrap().1);
    let again = export(&target, &auditor, &args).await.unwrap_err().to_string();
    assert!(again.contains("cannot be written"), "{again}");
    app.drain().await;
}
