//! Who may name whom: the floors of the house, and the host rooms of the outside crates.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{name_at, places, sources};
use super::{Source, none, rust_under, says, text_of};

/// Rooms of one floor that may name each other, in this direction only.
const NEIGHBORS: [(&str, &str); 5] =
    [("keys", "crypto"), ("app", "config"), ("cli", "app"), ("cli", "config"), ("cli", "load")];

/// Downward, and still wrong.
const FORBIDDEN: [(&str, &str); 12] = [
    // The disk holds what is sealed, never what seals.
    ("store", "crypto"),
    ("store", "keys"),
    ("store", "identity"),
    ("wire", "crypto"),
    ("wire", "keys"),
    // Whoever answers questions about counts cannot open a record.
    ("usage", "crypto"),
    ("usage", "keys"),
    ("usage", "identity"),
    // Sockets know desks, and nothing below them.
    ("http", "store"),
    ("http", "keys"),
    ("http", "identity"),
    // A client asks the server and never opens the database.
    ("cli", "store"),
];

/// Which place hosts an outside crate, or a part of one. Whatever is used has a row.
#[rustfmt::skip]
const HOSTS: &[(&str, &[&str])] = &[
    ("aes", &["crypto/tag"]),
    // Also the name of rustls's provider.
    ("aws_lc_rs", &["crypto/seal", "crypto/sign", "http/tls"]),
    ("blake3", &["crypto"]),
    ("bytes", &["http", "cli/client", "load", "webhooks/client"]),
    ("clap", &["cli", "load"]),
    ("cryptoki", &["keys/root"]),
    (
        "data_encoding",
        &[
            "identity",
            "ledger",
            "store/details",
            "admin/tokens",
            "usage",
            "reconciliation",
            "load",
            "webhooks/sign",
        ],
    ),
    ("flate2", &["http/inflate", "load/feed"]),
    ("getrandom", &["crypto/secret"]),
    ("hashbrown", &["store/block", "store/dictionary", "store/shapes", "ingest/places"]),
    ("hdrhistogram", &["load"]),
    ("http_body_util", &["http", "cli/client", "load", "webhooks/client"]),
    ("hyper", &["http", "cli", "load", "webhooks/client"]),
    ("hyper_util", &["http", "cli/client", "load", "webhooks/client"]),
    ("indicatif", &["load"]),
    ("jiff", &["engine/calendar", "engine/directory", "admin/sites", "retention/due", "load"]),
    ("libc", &["app/process"]),
    ("md5", &["identity/junk"]),
    ("memchr", &["wire"]),
    ("rocksdb", &["store/tables"]),
    ("rustls", &["http/tls", "cli/client", "webhooks/client"]),
    ("serde", &["ledger", "wire", "config", "load"]),
    ("serde_json", &["ledger", "wire", "load"]),
    ("sha2", &["crypto"]),
    ("subtle", &["crypto"]),
    ("tikv_jemallocator", &["main"]),
    ("tokio_rustls", &["http", "cli/client", "webhooks/client"]),
    ("toml", &["config"]),
    ("tracing_subscriber", &["observe/logs"]),
    ("unicode_normalization", &["identity/form"]),
    ("xorf", &["store/filter"]),
    (
        "zeroize",
        &["crypto", "identity", "wire", "ingest", "admin", "subjects", "http", "app", "webhooks"],
    ),
    ("zstd::bulk", &["store/block", "load/feed"]),
    ("zstd::stream", &["http/inflate", "load/feed"]),
    // In every room that can fail, log, or wait.
    ("thiserror", &[""]),
    (
        "tracing",
        &[
            "observe",
            "engine",
            "admin",
            "audit",
            "backfill",
            "backup",
            "billing",
            "ingest",
            "retention",
            "subjects",
            "webhooks",
            "http",
            "app",
            "cli",
        ],
    ),
    (
        "tokio",
        &[
            "engine",
            "ingest",
            "admin",
            "audit",
            "backfill",
            "backup",
            "billing",
            "reconciliation",
            "retention",
            "subjects",
            "webhooks",
            "http",
            "app",
            "cli",
            "load",
        ],
    ),
];

/// The floor of every room, as the table in the crate's page says.
fn table(lib: &str) -> BTreeMap<String, usize> {
    let mut floors = BTreeMap::new();
    for line in lib.lines() {
        let mut cells = line.trim_start_matches("//!").split('|').map(str::trim).skip(1);
        let Some(Ok(floor)) = cells.next().map(str::parse::<usize>) else { continue };
        let rooms = cells.next().unwrap_or_default();
        let names = rooms.split('`').skip(1).step_by(2);
        floors.extend(names.map(|name| (name.to_owned(), floor)));
    }
    floors
}

fn floor_complaints(list: &[Source]) -> Vec<String> {
    let lib = list.iter().find(|source| source.path == "src/lib.rs").unwrap();
    let floors = table(&lib.text);
    let mut complaints = Vec::new();
    let rooms: BTreeSet<&str> =
        places(&lib.code, "pub mod ").into_iter().map(|at| name_at(&lib.code, at + 8)).collect();
    let said: BTreeSet<&str> = floors.keys().map(String::as_str).collect();
    complaints.extend(said.symmetric_difference(&rooms).map(|room| {
        format!("src/lib.rs: room {room} is either in the table or a module, but not both")
    }));
    for source in list.iter().filter(|source| !matches!(source.room(), "lib" | "main")) {
        let own = source.room();
        let Some(floor) = floors.get(own) else { continue };
        for at in places(&source.production, "crate::") {
            let other = name_at(&source.production, at + "crate::".len());
            let below = floors.get(other).is_some_and(|other| other < floor);
            let neighbors = own == other || NEIGHBORS.contains(&(own, other));
            if FORBIDDEN.contains(&(own, other)) || !(below || neighbors) {
                complaints.push(source.say(at, &format!("{own} may not name {other:?}")));
            }
        }
        let front = source.path.matches('/').count() == 1;
        for at in places(&source.production, "super::") {
            if front {
                complaints.push(source.say(at, "a front door has no `super`; name the room"));
            }
        }
        for at in places(&source.production, "blindtally::") {
            complaints.push(source.say(at, "say `crate::`"));
        }
    }
    for source in list.iter().filter(|source| source.room() == "main") {
        for at in places(&source.production, "blindtally::") {
            if name_at(&source.production, at + "blindtally::".len()) != "cli" {
                complaints.push(source.say(at, "main knows the command line only"));
            }
        }
    }
    complaints
}

/// Where a crate is named: not as a module of the room's own, nor as the end of another path.
fn crate_places(source: &Source, name: &str) -> Vec<usize> {
    let code = &source.production;
    if !places(code, &format!("mod {name}")).is_empty() {
        return Vec::new();
    }
    let inner = |at: usize| code[..at].ends_with("::") || code[..at].ends_with('.');
    let found = places(code, name).into_iter().filter(|at| !inner(*at));
    found.filter(|at| code[at + name.len()..].starts_with("::")).collect()
}

/// The names of a section of the manifest, as code writes them.
pub fn dependencies(manifest: &str, section: &str) -> BTreeSet<String> {
    let (_, rest) = manifest.split_once(&format!("[{section}]\n")).unwrap_or_default();
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim());
    names.filter(|name| !name.starts_with('#')).map(str::to_owned).collect()
}

/// The name of a crate in code.
fn in_code(package: &str) -> String {
    match package {
        "md-5" => "md5".to_owned(),
        other => other.replace('-', "_"),
    }
}

fn host_complaints(list: &[Source], manifest: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in dependencies(manifest, "dependencies") {
        let name = in_code(&package);
        let rows: Vec<_> =
            HOSTS.iter().filter(|(path, _)| path.split("::").next() == Some(&name)).collect();
        if rows.is_empty() {
            complaints.push(format!("Cargo.toml: {package} has no host in tidy's list"));
        }
        let mut used = 0;
        for source in list {
            for at in crate_places(source, &name) {
                used += 1;
                let path = &source.production[at..];
                let hosted = rows.iter().any(|(part, hosts)| {
                    let whole = path.strip_prefix(part).is_some_and(|rest| rest.starts_with("::"));
                    whole && hosts.iter().any(|host| host.is_empty() || source.is_in(host))
                });
                if !hosted && !rows.is_empty() {
                    complaints.push(source.say(at, &format!("{name} is not hosted here")));
                }
            }
        }
        if used == 0 {
            complaints.push(format!("Cargo.toml: {package} is not used"));
        }
    }
    complaints
}

#[test]
fn rooms_name_only_rooms_below() {
    none(&floor_complaints(&rust_under("src")));
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    none(&host_complaints(&rust_under("src"), &text_of("Cargo.toml")));
}

/// A small house with every fault.
fn broken_house() -> Vec<Source> {
    let lib = "//! | 0 | [`model`], `lost` | |\n//! | 3 | [`store`], [`wire`] | |\n\
               //! | 5 | [`ingest`], [`usage`] | |\n\
               pub mod model;\npub mod store;\npub mod wire;\npub mod ingest;\n\
               pub mod usage;\npub mod new;";
    let files = [
        ("src/lib.rs", lib),
        ("src/main.rs", "fn main() { blindtally::app::run() }"),
        ("src/model.rs", "use crate::wire::X; // crate::nothing\n use super::store;"),
        ("src/store.rs", "use crate::wire::X; use crate::{model, wire}; use rocksdb::DB;"),
        (
            "src/wire/a.rs",
            "use rocksdb::DB; use crate::model::X; #[cfg(test)] use crate::usage::Y;",
        ),
        ("src/ingest.rs", "use crate::usage::Z; use blindtally::x; mod tokio; use zstd::dict::A;"),
    ];
    sources(files.map(|(path, text)| (path.to_owned(), text.to_owned())))
}

#[test]
fn a_broken_house_is_noticed() {
    let house = broken_house();
    let complaints = floor_complaints(&house);
    says(&complaints, "room lost is either");
    says(&complaints, "room new is either");
    says(&complaints, "src/main.rs:1: main knows the command line only");
    says(&complaints, "src/model.rs:1: model may not name \"wire\"");
    says(&complaints, "src/model.rs:2: a front door");
    says(&complaints, "src/store.rs:1: store may not name \"wire\"");
    says(&complaints, "src/store.rs:1: store may not name \"\"");
    says(&complaints, "src/ingest.rs:1: ingest may not name \"usage\"");
    says(&complaints, "src/ingest.rs:1: say `crate::`");
    assert_eq!(complaints.len(), 9, "{complaints:#?}");
    let manifest =
        "[dependencies]\nrocksdb = \"1\"\ntokio = { }\nzstd = \"1\"\nnovel = \"1\"\n[x]\ny = 1";
    let complaints = host_complaints(&house, manifest);
    says(&complaints, "src/store.rs:1: rocksdb is not hosted here");
    says(&complaints, "src/wire/a.rs:1: rocksdb is not hosted here");
    says(&complaints, "src/ingest.rs:1: zstd is not hosted here");
    says(&complaints, "novel has no host");
    says(&complaints, "novel is not used");
    says(&complaints, "tokio is not used");
    assert_eq!(complaints.len(), 6, "{complaints:#?}");
}
