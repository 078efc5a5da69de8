//! Every parser of outside bytes and of stored bytes has a fuzz target that names it.

use super::source::Source;
use super::{none, rust_under, says, text_of};

/// A file with parsers, its target, and what the target calls.
type Covered = (&'static str, &'static str, &'static [&'static str]);

const COVERED: &[Covered] = &[
    ("src/admin/tokens.rs", "foreign", &["authenticate"]),
    ("src/billing/check.rs", "foreign", &["billing::verify", "page_of"]),
    ("src/http/inflate.rs", "headers", &["Coding::from_headers"]),
    ("src/http/key.rs", "foreign", &["key::read"]),
    ("src/http/query.rs", "headers", &["Query::parse", "query::choose"]),
    ("src/ledger/entry.rs", "ledger", &["Recorded::decode"]),
    ("src/ledger/note.rs", "ledger", &["Checkpoint::parse", "VerifierKey::parse"]),
    ("src/ledger/proof.rs", "ledger", &["Proof::parse"]),
    ("src/model/time.rs", "time", &["Timestamp::parse", "Month::parse"]),
    ("src/retention/certificate.rs", "retention", &["verify"]),
    ("src/retention/policy.rs", "retention", &["Policy::read"]),
    ("src/keys/slot.rs", "stored", &["slot::written_again", "slot::header_written_again"]),
    ("src/keys/vek.rs", "stored", &["VekHome::open"]),
    ("src/store/arrivals.rs", "stored", &["decode_hour", "Total::decode"]),
    ("src/store/backfill.rs", "stored", &["backfill::decode", "backfill::decode_staged"]),
    ("src/store/backup.rs", "stored", &["BackupRow::decode", "DataMark::decode"]),
    ("src/store/batch.rs", "stored", &["batch::decode"]),
    ("src/store/block.rs", "stored", &["block::decode"]),
    (
        "src/store/destruction.rs",
        "stored",
        &["UnderWay::decode", "Ended::decode", "HeldRow::decode", "decode_gone"],
    ),
    ("src/store/erasure.rs", "stored", &["Erasure::decode", "decode_suppressed"]),
    ("src/store/filter.rs", "stored", &["Filter::decode"]),
    ("src/store/header.rs", "stored", &["Header::decode"]),
    ("src/store/pages.rs", "stored", &["RunHead::decode", "decode_page", "find_in_page"]),
    ("src/store/rows.rs", "stored", &["decode_site", "decode_token", "Position::decode"]),
    ("src/store/verdict.rs", "stored", &["GroupVerdict::decode", "decode_tally"]),
    ("src/usage.rs", "foreign", &["read_cursor"]),
    ("src/wire/admin.rs", "admin_bodies", &["TokenRequest::parse"]),
    ("src/wire/admin/site.rs", "admin_bodies", &["SitePatch::parse"]),
    ("src/wire/backfill.rs", "bodies", &["BackfillRequest::parse"]),
    ("src/wire/backup.rs", "foreign", &["Manifest::parse"]),
    ("src/wire/backup.rs", "bodies", &["BackupRequest::parse"]),
    ("src/wire/challenge.rs", "bodies", &["challenge::read"]),
    ("src/wire/challenge.rs", "stored", &["Spent::parse"]),
    ("src/wire/ledger.rs", "foreign", &["LedgerHead::parse", "LedgerPage::parse"]),
    ("src/wire/media.rs", "foreign", &["Media::parse"]),
    ("src/wire/retention/access.rs", "retention", &["AccessDay::parse"]),
    ("src/wire/retention/certificate.rs", "retention", &["Body::parse", "Certificate::parse"]),
    (
        "src/wire/retention/evidence.rs",
        "foreign",
        &["Index::parse", "CertificatePage::parse", "Said::parse"],
    ),
    (
        "src/wire/retention/request.rs",
        "retention",
        &["HoldRequest::parse", "ReviewRequest::parse", "ConfirmRequest::parse"],
    ),
    (
        "src/wire/retention/request.rs",
        "bodies",
        &["RemovalRequest::parse", "TerminateRequest::parse"],
    ),
    (
        "src/wire/retention/rows.rs",
        "retention",
        &["HoldRow::parse", "RunRow::parse", "ToldRow::parse"],
    ),
    ("src/wire/statement.rs", "foreign", &["Body::parse", "Draft::parse", "Statement::parse"]),
    ("src/wire/subjects.rs", "bodies", &["EraseRequest::parse"]),
    ("src/wire/webhooks.rs", "bodies", &["HookRequest::parse"]),
    ("src/wire/webhooks/rows.rs", "stored", &["EndpointRow::parse", "EventRow::parse"]),
    ("src/webhooks/client.rs", "bodies", &["host_of"]),
];

/// Files with parsers that no target names by themselves, and why not.
const BELOW: &[(&str, &str)] = &[
    ("src/crypto/secret.rs", "takes the bytes as they are"),
    ("src/identity/reading.rs", "reads what the targets of records and of ids give it"),
    ("src/ledger/kinds.rs", "below an entry"),
    ("src/ledger/noted.rs", "below an entry"),
    ("src/ledger/words.rs", "below an entry"),
    ("src/wire/batch.rs", "fuzz/src/records.rs calls it, for ndjson and cloudevents"),
    ("src/model/ids.rs", "one pattern, below bodies, records and rows"),
    ("src/wire/retention.rs", "below the rows, and a policy's file"),
    ("src/wire/retention/spoken.rs", "below the rows"),
    ("src/webhooks/sign.rs", "a row of two lengths"),
];

/// Whether a file has a function that makes something of bytes or of a text from outside.
fn parses(source: &Source) -> bool {
    let names = ["fn parse(", "fn decode", "fn read(", "fn read_cursor(", "fn from_headers("];
    let names = names.into_iter().chain(["fn authenticate("]);
    let takes = ["[u8]", "&str", "HeaderMap"];
    let mut starts = names.flat_map(|name| source.production.match_indices(name));
    starts.any(|(at, _)| {
        let line = source.production[..at].rsplit('\n').next().unwrap_or_default();
        let rest = &source.production[at..];
        let head = rest.split(['{', ';']).next().unwrap_or_default();
        let arguments = head.split("->").next().unwrap_or_default();
        line.contains("pub") && takes.iter().any(|kind| arguments.contains(kind))
    })
}

fn complaints(sources: &[Source], target: impl Fn(&str) -> String) -> Vec<String> {
    let rooms = ["admin", "billing", "crypto", "http", "identity", "keys", "ledger"];
    let more = ["model", "retention", "store", "usage", "webhooks", "wire"];
    let watched = |path: &str| {
        let rest = path.strip_prefix("src/").unwrap_or_default();
        rooms
            .iter()
            .chain(&more)
            .any(|room| rest.starts_with(&format!("{room}/")) || rest == format!("{room}.rs"))
    };
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| watched(&source.path) && parses(source)) {
        let known = COVERED.iter().any(|(path, ..)| *path == source.path)
            || BELOW.iter().any(|(path, _)| *path == source.path);
        if !known {
            complaints.push(format!("{}: a parser without a fuzz target", source.path));
        }
    }
    for (path, name, words) in COVERED {
        let text = target(name);
        for word in words.iter().filter(|word| !text.contains(*word)) {
            complaints.push(format!("fuzz/targets/{name}.rs: does not call {word} of {path}"));
        }
    }
    let lists = COVERED.iter().map(|(path, ..)| path).chain(BELOW.iter().map(|(path, _)| path));
    for path in lists.filter(|path| !sources.iter().any(|source| source.path == **path)) {
        complaints.push(format!("{path}: is not there"));
    }
    complaints
}

#[test]
fn every_parser_has_a_fuzz_target() {
    let target = |name: &str| text_of(&format!("fuzz/targets/{name}.rs"));
    none(&complaints(&rust_under("src"), target));
    let manifest = text_of("fuzz/Cargo.toml");
    for file in super::source::files("fuzz/targets", ".rs") {
        assert!(manifest.contains(&format!("path = \"{}\"", &file["fuzz/".len()..])), "{file}");
    }
}

#[test]
fn a_parser_without_a_target_is_noticed() {
    let text = "//! x\npub fn decode_more(bytes: &[u8]) -> u8 { 0 }\n".to_owned();
    let other = "//! x\npub fn decode_more(bytes: u8) -> u8 { 0 }\n".to_owned();
    let files = [("src/store/new.rs".to_owned(), text), ("src/store/old.rs".to_owned(), other)];
    let said = complaints(&super::source::sources(files), |_| String::new());
    says(&said, "src/store/new.rs: a parser without a fuzz target");
    assert!(!said.iter().any(|said| said.contains("src/store/old.rs")), "{said:?}");
    says(&said, "fuzz/targets/bodies.rs: does not call challenge::read");
    says(&said, "src/wire/challenge.rs: is not there");
}
