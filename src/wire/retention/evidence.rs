//! Evidence: the statement that the server makes, and the index of the pack that a client puts
//! together from it, the ledger and the certificates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::AccessSummary;
use super::processing::ProcessingRecord;
use super::rows::HoldRow;
use super::view::{LotView, RuleView, TurnView, hold_id, hold_to_stated};
use super::{BadForm, read, written};
use crate::ledger::Digest;
use crate::model::time::Timestamp;

/// What a statement says that it is.
pub const STATEMENT: &str = "blindtally evidence statement, format 1";
/// What an index says that it is.
pub const INDEX: &str = "blindtally evidence pack, format 2";
/// The same of packs that earlier builds made: they have no `to`, and their statements say less.
pub const INDEX_1: &str = "blindtally evidence pack, format 1";

/// The index of the pack.
pub const INDEX_FILE: &str = "index.json";
/// How to check it, for people.
pub const README_FILE: &str = "README.txt";
/// The statement.
pub const STATEMENT_FILE: &str = "statement.json";
/// The lines of the ledger.
pub const LINES_FILE: &str = "ledger.ndjson";
/// The checkpoint over the last line.
pub const CHECKPOINT_FILE: &str = "checkpoint";
/// The proof of the first line, where there are lines before it.
pub const BEFORE_FILE: &str = "before.json";
/// The proof of the last line, where the pack ends before the ledger does.
pub const LAST_FILE: &str = "last.json";
/// The proof of the statement's entry, likewise.
pub const STATED_FILE: &str = "stated.json";
/// The public key of the ledger.
pub const KEY_FILE: &str = "verifier.key";
/// The folder of the certificates.
pub const CERTIFICATES: &str = "certificates";

/// A file of a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackFile {
    /// Its name, from the pack's folder on.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Of its bytes.
    pub sha256: Digest,
}

/// The index: every file of the pack but itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// [`INDEX`].
    pub format: String,
    /// The number of the ledger's first line in it.
    pub from: u64,
    /// The number of the last one, where the pack was to end with it; else it goes to the last line
    /// that there was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// The files, in the order of their names.
    pub files: Vec<PackFile>,
}

impl Index {
    /// Its bytes.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadForm> {
        written(self)
    }

    /// Reads what [`Self::to_bytes`] wrote, for a pack of this form only.
    ///
    /// # Errors
    /// When it has another form, or names a file that no pack has.
    pub fn parse(text: &[u8]) -> Result<Self, BadForm> {
        let index: Self = read(text)?;
        let ordered = index.files.windows(2).all(|pair| pair[0].name < pair[1].name);
        let known = index.files.iter().all(|file| is_pack_name(&file.name));
        let good = match index.format.as_str() {
            INDEX => index.to.is_none_or(|to| to >= index.from),
            INDEX_1 => index.to.is_none(),
            _ => false,
        };
        // What proves the end belongs to packs that have one.
        let has = |name: &str| index.files.iter().any(|file| file.name == name);
        let ends = [LAST_FILE, STATED_FILE].iter().all(|name| has(name) == index.to.is_some());
        let good = good && ends;
        if good && ordered && known { Ok(index) } else { Err(BadForm) }
    }
}

/// Whether a pack can have a file of this name.
fn is_pack_name(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        README_FILE,
        STATEMENT_FILE,
        STATED_FILE,
        LINES_FILE,
        LAST_FILE,
        CHECKPOINT_FILE,
        BEFORE_FILE,
        KEY_FILE,
    ];
    let certificate = name
        .strip_prefix(CERTIFICATES)
        .and_then(|rest| rest.strip_prefix("/c"))
        .and_then(|rest| rest.strip_suffix(".json"));
    NAMES.contains(&name) || certificate.is_some_and(is_number)
}

/// A policy that was in force, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastPolicy {
    /// The number of its entry.
    pub entry: u64,
    /// When it was taken up.
    pub taken_up: Timestamp,
    /// Profile, published, effective.
    pub said: [String; 3],
    /// Its SHA-256.
    pub digest: Digest,
}

/// A policy in force, or to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyView {
    /// Profile, published, effective.
    pub said: [String; 3],
    /// Its SHA-256.
    pub digest: Digest,
    /// Its rules.
    pub rules: Vec<RuleView>,
}

/// A living key as evidence lists it: nothing of it opens anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its number in the register.
    pub key: u64,
    /// The number of the key above it.
    pub parent: u64,
    /// What it is for.
    pub kind: &'static str,
    /// The site, for a key of one.
    pub site: Option<String>,
    /// The class of a bucket's key.
    pub class: Option<&'static str>,
    /// The number of its epoch, as the register has it: a month, a day or a serial number.
    pub epoch: u32,
    /// The hold that it is kept for, in the register of the holds.
    pub hold: Option<u64>,
    /// `living`, `destroying` while a destruction of it is planned or under way, or `held`: in the
    /// register of the holds. A key that ended is in no register; one that is being destroyed may
    /// be in none, and still open something.
    pub state: &'static str,
}

/// A file that an operator names and evidence passes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paper {
    /// Its name, without its place.
    pub name: String,
    /// Of its bytes; `null` where it could not be read.
    pub sha256: Option<Digest>,
    /// Its text, where that goes in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl KeyView {
    fn to_value(&self) -> Value {
        json!({
            "key": self.key,
            "parent": self.parent,
            "kind": self.kind,
            "class": self.class,
            "site_id": self.site,
            "epoch": self.epoch,
            "hold": self.hold.map(hold_id),
            "state": self.state,
        })
    }
}

/// A site as evidence names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteView {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its collection ended.
    pub terminated_at: Option<Timestamp>,
    /// Its zone.
    pub time_zone: String,
    /// Its own shorter period.
    pub records_days: Option<u32>,
}

/// What the server states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// When.
    pub made_at: Timestamp,
    /// The latest time that is believed, and whether a jump of the clock waits.
    pub clock: (Timestamp, bool),
    /// To whom: the public part of a credential.
    pub made_for: String,
    /// Whether it is of all sites; else of those that are listed.
    pub all_sites: bool,
    /// The program's version.
    pub version: &'static str,
    /// The SHA-256 of all settings in force.
    pub configuration: Digest,
    /// The ledger: name, entries, root before the entry of this statement.
    pub ledger: (String, u64, Digest),
    /// The policy in force.
    pub policy: PolicyView,
    /// The one that takes effect next.
    pub next_policy: Option<PolicyView>,
    /// Every policy that was taken up.
    pub history: Vec<PastPolicy>,
    /// The class of each record type.
    pub types: Vec<(&'static str, &'static str)>,
    /// The life of each kind of stored thing.
    pub stored: Vec<(String, String)>,
    /// The SHA-256 of the program that runs; `None` where it cannot be read.
    pub build: Option<Digest>,
    /// Living keys by kind.
    pub keys: Vec<(&'static str, u64)>,
    /// Each key of the sites, those on hold included, and for all sites those of no site.
    pub key_list: Vec<KeyView>,
    /// Who processes for whoever runs the server, as the operator wrote it.
    pub processors: Option<Paper>,
    /// The report of the tests of the program.
    pub test_report: Option<Paper>,
    /// How often few may read what they read, by route, as the ledger has it; for all sites only.
    pub reads: Option<BTreeMap<String, u64>>,
    /// How often who used which route, all days and credentials together; of some sites those uses
    /// whose line names one of them.
    pub access: AccessSummary,
    /// The record of processing.
    pub processing: ProcessingRecord,
    /// The turn-over of the vault epoch.
    pub turn_over: TurnView,
    /// The sites.
    pub sites: Vec<SiteView>,
    /// Their lots: what lives, what failed, what is certified.
    pub lots: Vec<LotView>,
    /// Their holds, those that have ended included.
    pub holds: Vec<HoldRow>,
}

impl Statement {
    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let keys: serde_json::Map<String, Value> =
            self.keys.iter().map(|(kind, count)| ((*kind).to_owned(), json!(count))).collect();
        let (ledger, size, root) = &self.ledger;
        let value = json!({
            "format": STATEMENT,
            "made_at": self.made_at.to_string(),
            "made_for": self.made_for,
            "clock": {
                "high_water": self.clock.0.to_string(),
                "state": if self.clock.1 { "confirmed" } else { "unconfirmed" },
            },
            "all_sites": self.all_sites,
            "version": self.version,
            "configuration_sha256": self.configuration.to_string(),
            "ledger": {"name": ledger, "size": size, "root": root.to_string()},
            "policy": self.policy.to_value(),
            "next_policy": self.next_policy.as_ref().map(PolicyView::to_value),
            "policy_history": self.history.iter().map(PastPolicy::to_value).collect::<Vec<_>>(),
            "record_types": self.types.iter()
                .map(|(name, class)| json!({"type": name, "class": class})).collect::<Vec<_>>(),
            "stored": self.stored.iter()
                .map(|(what, life)| json!({"what": what, "life": life})).collect::<Vec<_>>(),
            "build_sha256": self.build.map(|digest| digest.to_string()),
            "keys": keys,
            "key_list": self.key_list.iter().map(KeyView::to_value).collect::<Vec<_>>(),
            "processors": self.processors,
            "test_report": self.test_report,
            "privileged_reads": self.reads,
            "access": self.access.to_value(),
            "processing_record": self.processing.to_value(),
            "turn_over": self.turn_over.to_value(),
            "sites": self.sites.iter().map(SiteView::to_value).collect::<Vec<_>>(),
            "lots": self.lots.iter().map(LotView::to_value).collect::<Vec<_>>(),
            "holds": self.holds.iter()
                .map(|hold| hold_to_stated(hold, self.clock.0)).collect::<Vec<_>>(),
        });
        value.to_string().into_bytes()
    }
}

impl PolicyView {
    fn to_value(&self) -> Value {
        let [profile, published, effective] = &self.said;
        json!({
            "profile": profile,
            "published": published,
            "effective": effective,
            "digest": self.digest.to_string(),
            "rules": self.rules.iter().map(RuleView::to_value).collect::<Vec<_>>(),
        })
    }
}

impl PastPolicy {
    fn to_value(&self) -> Value {
        let [profile, published, effective] = &self.said;
        json!({
            "entry": self.entry,
            "taken_up": self.taken_up.to_string(),
            "profile": profile,
            "published": published,
            "effective": effective,
            "digest": self.digest.to_string(),
        })
    }
}

impl SiteView {
    fn to_value(&self) -> Value {
        json!({
            "site_id": self.id,
            "created_at": self.created_at.to_string(),
            "terminated_at": self.terminated_at.map(|at| at.to_string()),
            "time_zone": self.time_zone,
            "records_days": self.records_days,
        })
    }
}

/// A page of an answer to `GET /v1/certificates`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePage {
    /// The ids on it.
    pub ids: Vec<String>,
    /// The cursor of the next page, of digits; `None` on the last one.
    pub next: Option<String>,
}

impl CertificatePage {
    /// Reads it; `None` when it is none, or has an id or a cursor of another form.
    pub fn parse(answer: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Item {
            id: String,
        }
        #[derive(Deserialize)]
        struct List {
            items: Vec<Item>,
            next_cursor: Option<String>,
        }
        let List { items, next_cursor: next } = serde_json::from_slice(answer).ok()?;
        let ids: Vec<String> = items.into_iter().map(|item| item.id).collect();
        let plain = |id: &String| id.strip_prefix('c').is_some_and(is_number);
        let good = ids.iter().all(plain) && next.as_deref().is_none_or(is_number);
        good.then_some(Self { ids, next })
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit())
}

/// What a check reads of a statement. What earlier builds did not state is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Said {
    /// Whether it is of all sites.
    pub all_sites: bool,
    /// The ledger at that time.
    pub ledger: SaidLedger,
    /// Of the program.
    #[serde(default)]
    pub build_sha256: Option<Digest>,
    /// Living keys by kind.
    #[serde(default)]
    pub keys: BTreeMap<String, u64>,
    /// Each key.
    #[serde(default)]
    pub key_list: Option<Vec<SaidKey>>,
    /// The list of processors.
    #[serde(default)]
    pub processors: Option<Paper>,
    /// The report of the tests.
    #[serde(default)]
    pub test_report: Option<Paper>,
    /// Reads of few, by route.
    #[serde(default)]
    pub privileged_reads: Option<BTreeMap<String, u64>>,
    /// The sites.
    #[serde(default)]
    pub sites: Vec<SaidSite>,
    /// The record of processing; `None` where an earlier build made the statement.
    #[serde(default)]
    pub processing_record: Option<SaidProcessing>,
}

/// A site, or a controller, that a statement names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct SaidSite {
    /// Its id.
    pub site_id: String,
}

/// What a check reads of a record of processing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SaidProcessing {
    /// On whose behalf.
    pub controllers: Vec<SaidSite>,
    /// What the operator has not said.
    pub missing: Vec<String>,
}

/// The ledger that a statement names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SaidLedger {
    /// Its name.
    pub name: String,
    /// Entries, before that of the statement.
    pub size: u64,
}

/// A key that a statement lists.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SaidKey {
    /// What it is for.
    pub kind: String,
    /// `held` for one in the register of the holds.
    #[serde(default)]
    pub state: String,
}

impl Said {
    /// Reads a statement; `None` when it is none.
    pub fn parse(statement: &[u8]) -> Option<Self> {
        serde_json::from_slice(statement).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(names: &[&str]) -> Index {
        let file =
            |name: &&str| PackFile { name: (*name).to_owned(), bytes: 1, sha256: Digest([7; 32]) };
        Index {
            format: INDEX.to_owned(),
            from: 0,
            to: None,
            files: names.iter().map(file).collect(),
        }
    }

    #[test]
    fn a_page_of_certificates_names_nothing_but_certificates() {
        let page = |text: &str| CertificatePage::parse(text.as_bytes());
        let read = page(r#"{"items":[{"id":"c7","lots":2}],"next_cursor":"9"}"#).unwrap();
        assert_eq!((read.ids, read.next), (vec!["c7".to_owned()], Some("9".to_owned())));
        assert_eq!(page(r#"{"items":[]}"#).unwrap().next, None);
        for bad in [
            "{}",
            r#"{"items":[{"id":"../c7"}]}"#,
            r#"{"items":[{"id":"c"}]}"#,
            r#"{"items":[],"next_cursor":"9&x=1"}"#,
        ] {
            assert_eq!(page(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_index_has_one_spelling_and_names_no_file_of_elsewhere() {
        let good = index(&["README.txt", "certificates/c7.json", "checkpoint", "ledger.ndjson"]);
        let bytes = good.to_bytes().unwrap();
        assert_eq!(Index::parse(&bytes), Ok(good));
        for bad in ["../x", "/etc/passwd", "certificates/../c7.json", "certificates/c.json", "x"] {
            assert_eq!(Index::parse(&index(&[bad]).to_bytes().unwrap()), Err(BadForm), "{bad}");
        }
        let twice = index(&["checkpoint", "checkpoint"]).to_bytes().unwrap();
        assert_eq!(Index::parse(&twice), Err(BadForm));
        // A pack has an end by its name since format 2, and none before its beginning.
        let mut ended = index(&["checkpoint", "last.json", "stated.json"]);
        assert_eq!(Index::parse(&ended.to_bytes().unwrap()), Err(BadForm), "no end");
        (ended.from, ended.to) = (3, Some(3));
        assert!(Index::parse(&ended.to_bytes().unwrap()).is_ok());
        ended.to = Some(2);
        assert_eq!(Index::parse(&ended.to_bytes().unwrap()), Err(BadForm));
        (ended.format, ended.to) = (INDEX_1.to_owned(), Some(3));
        assert_eq!(Index::parse(&ended.to_bytes().unwrap()), Err(BadForm));
        (ended.format, ended.files) = (INDEX.to_owned(), index(&["checkpoint"]).files);
        assert_eq!(Index::parse(&ended.to_bytes().unwrap()), Err(BadForm), "no proof");
        ended.format = INDEX_1.to_owned();
        assert_eq!(Index::parse(&ended.to_bytes().unwrap()), Err(BadForm));
        ended.to = None;
        assert!(Index::parse(&ended.to_bytes().unwrap()).is_ok());
        let spaced = [&bytes[..], b" "].concat();
        assert_eq!(Index::parse(&spaced), Err(BadForm));
    }
}
