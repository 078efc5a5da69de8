//! Checks of the privacy study over everything that a whole server leaves on the disk.

use super::evidence::{CANARIES, World};
use super::*;
use crate::retention::inventory::DESK_ROWS;
use data_encoding::{BASE64, HEXLOWER, HEXUPPER};

/// Every file below a directory.
fn files_below(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut files, mut left) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    files
}

/// The first file that holds one of these, each 8 bytes or longer.
fn find(files: &[(String, Vec<u8>)], wanted: &[Vec<u8>]) -> Option<String> {
    let mut heads: std::collections::HashMap<[u8; 8], Vec<&[u8]>> = Default::default();
    for part in wanted {
        heads.entry(part[..8].try_into().unwrap()).or_default().push(part);
    }
    for (name, bytes) in files {
        for (at, head) in bytes.windows(8).enumerate() {
            let known = heads.get(head).into_iter().flatten();
            if known.into_iter().any(|part| bytes[at..].starts_with(part)) {
                return Some(format!("{name} at {at}"));
            }
        }
    }
    None
}

/// Check 20: the secrets of all keys, the destroyed ones from before included, are in no file of
/// data, log, MANIFEST, register, ledger, backup or evidence.
#[tokio::test(flavor = "multi_thread")]
async fn check_20_no_key_material_is_in_any_file() {
    let world = World::new().await;
    world.app.engine.fold().await.unwrap();
    world.export("pack", 0).await;
    let begin = with_body(Method::POST, "/v1/backups", r#"{"name":"one"}"#.to_owned());
    assert_eq!(ask(&world.app, &world.operator, begin).await.0, 202);
    loop {
        let look = Ask::get("/v1/backups/one".to_owned());
        let (_, read) = ask(&world.app, &world.operator, look).await;
        if read.contains("\"made\"") {
            break;
        }
        assert!(read.contains("\"running\""), "{read}");
        tokio::task::yield_now().await;
    }
    let mut secrets = world.app.engine.ring().secrets_for_scan();
    let of_holds = world.app.engine.ring().hold_existing().unwrap().unwrap();
    secrets.extend(of_holds.secrets_for_scan());
    assert!(secrets.len() >= 8, "{}", secrets.len());
    let mut wanted = Vec::new();
    for secret in secrets {
        let texts = [HEXLOWER.encode(&secret), HEXUPPER.encode(&secret), BASE64.encode(&secret)];
        wanted.push(secret.to_vec());
        wanted.push(secret.iter().rev().copied().collect());
        // Half of a key would be too much.
        wanted.push(secret[16..].to_vec());
        wanted.extend(texts.map(String::into_bytes));
    }
    let planted = vec![("planted".to_owned(), [b"xy", &wanted[3][..], b"z"].concat())];
    assert_eq!(find(&planted, &wanted).as_deref(), Some("planted at 2"));
    let running = files_below(world.directory.path());
    assert_eq!(find(&running, &wanted), None);
    let World { directory, app, .. } = world;
    app.drain().await;
    let files = files_below(directory.path());
    let kinds = [
        "MANIFEST",
        ".sst",
        ".log",
        "register.a",
        "entries.ndjson",
        "vek.home",
        "pack/",
        "backups/one/",
    ];
    for kind in kinds {
        assert!(files.iter().any(|(name, _)| name.contains(kind)), "no {kind}");
    }
    assert_eq!(find(&files, &wanted), None);
}

/// Whether a row key of the default table is of a form that FORMATS lists: words of the lists,
/// numbers, times, digests, key ids, and a keyed hash where a site has a row. Whatever else stood
/// in one would be somebody's text.
fn is_listed(key: &[u8]) -> bool {
    let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let hash = |part: &str| part.len() == 33 && part.strip_prefix('=').is_some_and(hex);
    let numbers =
        [("gone/", 10), ("held/", 18), ("erasing/", 8), ("suppressed/", 12), ("ended/", 8)];
    if let Some((_, length)) = numbers.iter().find(|(head, _)| key.starts_with(head.as_bytes())) {
        return key.len() - key.iter().position(|byte| *byte == b'/').unwrap() - 1 == *length;
    }
    let Ok(text) = std::str::from_utf8(key) else { return false };
    if let Some(id) = text.strip_prefix("site/") {
        return hash(id);
    }
    if let Some(id) = text.strip_prefix("token/") {
        return id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    }
    let Some(name) = text.strip_prefix("desk/") else {
        return crate::store::keys::META_ROWS.contains(&text);
    };
    let known = |head: &str| DESK_ROWS.iter().any(|(row, _)| row.trim_end_matches('/') == head);
    let mut parts = name.split('/');
    let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let digest = |part: &str| part.len() == 64 && hex(part);
    let word = |part: &str| ["event", "endpoint", "secret", "last", "site"].contains(&part);
    // A day of the access log, of today's form.
    let day = |part: &str| part.len() == 11 && part.strip_prefix('=').is_some_and(number);
    let listed = |part: &str| number(part) || digest(part) || hash(part) || word(part) || day(part);
    known(parts.next().unwrap()) && parts.all(listed)
}

/// A name of each form that FORMATS lists with a site's id, as the desks write them.
const OF_SITES: [&str; 10] = [
    "challenge/ACME/2026-05",
    "removal/ACME/2026-05",
    "removal/ACME/site",
    "removal/clock",
    "statement/+ACME/2026-05/0000000001",
    "statement-draft/ACME/2026-05/0000000001",
    "terminated/ACME",
    "hook/event/month.closed/ACME/2026-05",
    "hook/event/threshold.reached/ACME/2026-05/80",
    "hook/event/destruction.done/c12/ACME",
];

/// Check 21: every row key of every table is dumped, and the MANIFEST, which has the first and last
/// of each file in clear. Row keys are numbers; those of the default table are listed words with
/// numbers, and a keyed hash for a site. No key holds a pseudonym, an id of a person or a part of
/// one, or a site's id, and neither does the MANIFEST.
#[tokio::test(flavor = "multi_thread")]
async fn check_21_row_keys_hold_numbers_only() {
    let world = World::new().await;
    for name in OF_SITES {
        world.app.engine.put_desk_row(name, b"").await.unwrap();
    }
    world.app.engine.fold().await.unwrap();
    let store = world.app.engine.store();
    let (mut rows, mut tables) = (0, 0);
    let mut keys = Vec::new();
    for table in store.tables() {
        let longest = match table.kind() {
            "journal" | "blocks" => 8,
            "counters" => 8,
            "arrivals" => 5,
            "tally" | "seen" | "headers" | "blockkeys" => 17,
            // Those of hold storage begin with the lot, or with the hold and the lot.
            "hold.rows" => 10 + 1 + 17,
            "hold.keys" => 8 + 10 + 17,
            // A keyed hash behind the day of arrival.
            "answers" => 20,
            "backfill" => 13,
            "roll" => 8,
            "default" => {
                let planted: [&[u8]; 4] = [
                    b"desk/removal/viewer-1/2026-05",
                    b"desk/statement/ACME/2026-05/0000000001",
                    b"site/viewer-1",
                    b"site/ACME",
                ];
                assert!(planted.iter().all(|key| !is_listed(key)));
                usize::MAX
            }
            other => panic!("what are the row keys of {other}?"),
        };
        tables += 1;
        for row in store.scan(table, &[], None).unwrap() {
            let (key, _) = row.unwrap();
            assert!(key.len() <= longest, "{} {key:?}", table.name());
            let listed = table.kind() != "default" || is_listed(&key);
            assert!(listed, "{}", String::from_utf8_lossy(&key));
            rows += 1;
            keys.push((table.name(), key.to_vec()));
        }
    }
    assert!(rows >= 20 && tables >= 8, "{rows} rows in {tables} tables");
    let mut wanted: Vec<Vec<u8>> = world.tags.iter().map(|tag| tag[..8].to_vec()).collect();
    let texts = CANARIES.iter().flat_map(|text| {
        let spelled = HEXLOWER.encode(text.as_bytes());
        [text.to_string(), text.to_uppercase(), spelled, BASE64.encode(text.as_bytes())]
    });
    wanted.extend(texts.map(|text| text.as_bytes()[..8].to_vec()));
    assert_eq!(find(&keys, &wanted), None);
    let names_site = |bytes: &[u8]| bytes.windows(4).any(|part| part == b"ACME");
    assert!(!keys.iter().any(|(_, key)| names_site(key)));
    let files = files_below(world.directory.path());
    let manifest: Vec<_> =
        files.into_iter().filter(|(name, _)| name.contains("MANIFEST")).collect();
    assert!(!manifest.is_empty());
    assert_eq!(find(&manifest, &wanted), None);
    assert!(!manifest.iter().any(|(_, bytes)| names_site(bytes)));
    world.app.drain().await;
}

/// Check 25: the metrics show how many subkeys were made and how many values were sealed, and after
/// more than a thousand seals still no subkey has sealed two.
#[tokio::test(flavor = "multi_thread")]
async fn check_25_the_metrics_show_that_no_subkey_seals_twice() {
    let directory = tempfile::tempdir().unwrap();
    let app = start(directory.path()).await;
    let operator = directory.path().join("data-keys/operator.token");
    let operator = std::fs::read_to_string(operator).unwrap();
    let key = app.engine.ring().state_key();
    let read = async || {
        let (status, text) = ask(&app, &operator, Ask::get("/metrics".to_owned())).await;
        assert_eq!(status, 200);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().parse::<u64>().unwrap()
        };
        (value("blindtally_seal_subkeys_total "), value("blindtally_seal_values_total "))
    };
    let before = read().await;
    for _ in 0..1_001 {
        key.seal(&crate::crypto::Aad::new("test/1"), b"");
    }
    let after = read().await;
    assert!(after.1 >= before.1 + 1_001 && after.1 <= after.0, "{before:?} {after:?}");
    app.drain().await;
}

/// Check 30, the whole server: where the root key is in two shares it starts with both, and says
/// which one is not there.
#[tokio::test(flavor = "multi_thread")]
async fn check_30_a_server_with_two_shares_starts_with_both_only() {
    let directory = tempfile::tempdir().unwrap();
    let shares = ["one", "two"].map(|person| {
        let medium = directory.path().join(person);
        std::fs::create_dir(&medium).unwrap();
        medium.join("root.share")
    });
    let open = async || {
        let mut settings = settings(directory.path());
        settings.keys.shares = Some(shares.clone());
        App::start(settings, Arc::new(SystemClock)).await
    };
    open().await.unwrap().drain().await;
    assert!(!directory.path().join("data-keys/root.key").exists());
    for share in &shares {
        // Its person took the medium away.
        let away = share.with_extension("away");
        std::fs::rename(share, &away).unwrap();
        let said = open().await.err().unwrap().to_string();
        let named = format!("the root key file {} is missing", share.display());
        assert!(said.contains(&named), "{said}");
        std::fs::rename(&away, share).unwrap();
    }
    open().await.unwrap().drain().await;
}
