//! Names of rows as they stand in row keys. A row that is a site's or a billing group's has a keyed
//! hash there in place of the id: row keys stand in clear in tables and in RocksDB's list of files,
//! and an id is the name of a customer. The id itself is sealed in the row. The hash is of the
//! state key and the same for all rows of an id, so that they lie together; their order is that of
//! the hashes.
//!
//! Data from before format 6 has the id itself, and [`raise`] gives each row its new key.

use super::{EngineError, desk, directory};
use crate::crypto::{Aad, SealKey};
use crate::model::ids::SiteId;
use crate::store::codec::{Put, Reader};
use crate::store::{Changes, Store, Table, keys};

/// The desks' rows that have a site's or a group's id behind their kind, or a word that stands
/// where others have one.
const OF_SITES: [&str; 6] =
    ["challenge/", "removal/", "statement/", "statement-draft/", "terminated/", EVENTS];
/// Those of messages, whose ids are of several forms: everything behind the kind is hashed as one.
const EVENTS: &str = "hook/event/";
/// Before a hash. No id begins so, which tells rows from before apart, and none comes between this
/// and [`AFTER_HASHES`].
const HASH: &str = "=";
/// After every hash.
const AFTER_HASHES: &str = ">";
/// Rows from before that are given their new keys with one write, and after how many bytes it is
/// long enough.
const ROWS_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 8 << 20;

/// The desks' row that says that rows were removed whose files are not rewritten yet.
pub const REWRITE: &str = "sweep";

fn hash(key: &SealKey, id: &str) -> String {
    format!("{:032x}", u128::from_be_bytes(key.name(id.as_bytes())))
}

/// The row of a site, or of a billing group's scope.
pub fn site(key: &SealKey, id: &SiteId) -> Vec<u8> {
    [keys::SITES, HASH.as_bytes(), hash(key, id.as_str()).as_bytes()].concat()
}

/// A name's kind, the id in it and what follows, where it is of such a kind.
fn parts(name: &str) -> Option<(&'static str, &str, &str)> {
    let kind = OF_SITES.into_iter().find(|kind| name.starts_with(kind))?;
    let text = name.get(kind.len()..).filter(|text| !text.is_empty())?;
    let end = text.find('/').filter(|_| kind != EVENTS).unwrap_or(text.len());
    let (id, rest) = text.split_at(end);
    Some((kind, id, rest))
}

/// The row key of a desk's name; also of the beginning of names, where that ends behind a kind or
/// not before the end of an id.
pub fn row_of(key: &SealKey, name: &str) -> Vec<u8> {
    match parts(name) {
        Some((kind, id, rest)) => keys::desk(&format!("{kind}{HASH}{}{rest}", hash(key, id))),
        None => keys::desk(name),
    }
}

/// Row key and sealed bytes of a desk's row.
pub fn seal(key: &SealKey, name: &str, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let row = row_of(key, name);
    let sealed = match parts(name) {
        Some((_, id, _)) => {
            let mut named = Vec::with_capacity(id.len() + bytes.len() + 1);
            named.prefixed(id.as_bytes());
            named.extend_from_slice(bytes);
            key.seal(&with_id(&row), &named)
        }
        None => key.seal(&plain(&row), bytes),
    };
    (row, sealed)
}

/// Name and bytes of a desk's row, also of one from before format 6.
///
/// # Errors
/// When it does not open.
pub fn open(
    key: &SealKey,
    (row, sealed): (Box<[u8]>, Box<[u8]>),
) -> Result<(String, Vec<u8>), EngineError> {
    let damaged = || EngineError::Damaged("a row of a desk".into());
    let stored = row.strip_prefix(keys::DESK).and_then(|name| std::str::from_utf8(name).ok());
    let stored = stored.ok_or_else(damaged)?;
    let opened = |aad: Aad| key.open(&aad, &sealed).map_err(|_| damaged());
    let Some((kind, _, rest)) = parts(stored).filter(|(_, id, _)| id.starts_with(HASH)) else {
        return Ok((stored.to_owned(), opened(plain(&row))?));
    };
    let named = opened(with_id(&row))?;
    let mut reader = Reader::new("a row of a desk", &named);
    let id = reader.text()?;
    Ok((format!("{kind}{id}{rest}"), reader.rest().to_vec()))
}

fn plain(row: &[u8]) -> Aad {
    Aad::new("desk/1").bytes(row)
}

/// Of rows whose bytes begin with the id that their key has a hash of.
fn with_id(row: &[u8]) -> Aad {
    Aad::new("desk/2").bytes(row)
}

/// Gives rows from before format 6 their new keys. Cut short, the next start does the rest: each
/// row is in every moment there once. The files that had the old keys are rewritten by the desk.
///
/// # Errors
/// When a row cannot be read or opened, or the disk refuses.
pub fn raise(store: &Store, key: &SealKey) -> Result<(), EngineError> {
    let heads = OF_SITES.iter().map(|kind| keys::desk(kind)).chain([keys::SITES.to_vec()]);
    for head in heads {
        let key_of = |after: &str| [&head, after.as_bytes()].concat();
        let behind = (key_of(AFTER_HASHES), desk::end_of(&head));
        for (from, to) in [(head.clone(), key_of(HASH)), behind] {
            while raise_some(store, key, &from, &to)? {}
        }
    }
    Ok(())
}

/// Does it for the first rows between two keys; whether there were any.
fn raise_some(store: &Store, key: &SealKey, from: &[u8], to: &[u8]) -> Result<bool, EngineError> {
    let mut changes = Changes::default();
    let mut rows = store.scan(Table::Meta, from, Some(to))?.take(ROWS_AT_ONCE).peekable();
    if rows.peek().is_none() {
        return Ok(false);
    }
    let (row, sealed) = seal(key, REWRITE, &[]);
    changes.put(Table::Meta, row, sealed);
    for row in rows {
        let old = row?;
        changes.delete(Table::Meta, old.0.to_vec());
        let (row, sealed) = if old.0.starts_with(keys::SITES) {
            directory::renamed(key, old)?
        } else {
            let (name, bytes) = open(key, old)?;
            seal(key, &name, &bytes)
        };
        changes.put(Table::Meta, row, sealed);
        if changes.bytes() > BYTES_AT_ONCE {
            break;
        }
    }
    store.apply(&changes)?;
    Ok(true)
}

/// The desks' rows of a stopped server whose names begin so, in the order of their names; data
/// from before format 6 is as it was.
///
/// # Errors
/// When a row cannot be read or opened.
pub fn look(
    store: &Store,
    key: &SealKey,
    prefix: &str,
) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
    let mut heads = vec![row_of(key, prefix), keys::desk(prefix)];
    heads.dedup();
    let mut all = Vec::new();
    for head in heads {
        for row in store.scan(Table::Meta, &head, Some(&desk::end_of(&head)))? {
            all.push(open(key, row?)?);
        }
    }
    all.sort_unstable();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::Secret;
    use crate::model::ids::KeyId;
    use crate::store::Settings;

    fn key() -> SealKey {
        SealKey::new(KeyId(7), &Secret::random())
    }

    fn store(dir: &std::path::Path) -> Store {
        Store::open(&Settings { data: dir.to_owned(), block_cache_bytes: 1 << 20 }).unwrap()
    }

    fn unboxed((row, sealed): (Vec<u8>, Vec<u8>)) -> (Box<[u8]>, Box<[u8]>) {
        (row.into(), sealed.into())
    }

    fn has(row: &[u8], id: &str) -> bool {
        row.windows(id.len()).any(|part| part == id.as_bytes())
    }

    proptest! {
        /// Whatever is sealed under a name opens under it, from a key without the id in it, and
        /// what begins like the name begins like the key.
        #[test]
        fn a_name_comes_back(
            kind in proptest::sample::select(&OF_SITES[..5]),
            id in "[+]?[A-Z]{4}[A-Za-z0-9._-]{0,60}",
            rest in "(/[0-9-]{1,12}){0,2}",
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let (key, name) = (key(), format!("{kind}{id}{rest}"));
            let (row, sealed) = seal(&key, &name, &bytes);
            prop_assert!(!has(&row, &id) && !has(&sealed, &id));
            let head = format!("{kind}{id}");
            prop_assert!(row.starts_with(&row_of(&key, &head)));
            prop_assert!(row.starts_with(&row_of(&key, kind)));
            prop_assert_eq!(&row, &row_of(&key, &name));
            let opened = open(&key, unboxed((row.clone(), sealed.clone()))).unwrap();
            prop_assert_eq!(opened, (name, bytes));
            // At another place it does not open, nor as a row of another kind.
            let other = format!("{kind}OTHER{rest}");
            let other = row_of(&key, &other);
            prop_assert!(open(&key, unboxed((other, sealed.clone()))).is_err());
            let other = [&row[..], b"/1"].concat();
            prop_assert!(open(&key, unboxed((other, sealed))).is_err());
        }

        /// The whole name of a message is one.
        #[test]
        fn a_message_comes_back(
            name in "hook/event/[a-z]{4}[.][a-z]{4}/[+]?[A-Z]{4}/2026-[0-9]{2}(/[0-9]{2})?",
        ) {
            let key = key();
            let (row, sealed) = seal(&key, &name, b"{}");
            prop_assert_eq!(row.len(), "desk/hook/event/=".len() + 32);
            prop_assert_eq!(&row, &row_of(&key, &name));
            let opened = open(&key, unboxed((row, sealed))).unwrap();
            prop_assert_eq!(opened, (name, b"{}".to_vec()));
        }

        /// A row of a kind without ids has the key and the bytes that it always had.
        #[test]
        fn other_rows_are_as_they_were(
            name in "(access/[0-9-]{10}|hold/[0-9]{20}|clock|sweep|statements/[0-9]{1,9})",
            bytes in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let key = key();
            let (row, sealed) = seal(&key, &name, &bytes);
            prop_assert_eq!(&row, &keys::desk(&name));
            prop_assert_eq!(&key.open(&plain(&row), &sealed).unwrap(), &bytes);
            prop_assert_eq!(open(&key, unboxed((row, sealed))).unwrap(), (name, bytes));
        }
    }

    #[test]
    fn a_hash_is_of_its_key_and_its_id() {
        let (one, two) = (key(), key());
        assert_eq!(row_of(&one, "statement/A/"), row_of(&one, "statement/A/"));
        assert_ne!(row_of(&one, "statement/A/"), row_of(&two, "statement/A/"));
        assert_ne!(row_of(&one, "statement/A/"), row_of(&one, "statement/B/"));
        let group = SiteId::parse_scope(b"+A").unwrap();
        assert_ne!(site(&one, &group), site(&one, &SiteId::parse(b"A").unwrap()));
        // It is HMAC-SHA-256 of RFC 2104, of a key that is one of a label, as anybody computes it.
        let key = SealKey::new(KeyId(7), &Secret::take(&mut [0x0b; 32]).unwrap());
        assert_eq!(hash(&key, "ACME"), "154fb9ad530e522385620cc279373947");
    }

    /// Rows from before, more than go into one write, some raised already.
    #[test]
    fn rows_from_before_get_their_keys_once() {
        let dir = tempfile::tempdir().unwrap();
        let (store, key) = (store(dir.path()), key());
        let mut names: Vec<String> = (0..2_345)
            .map(|at| format!("{}{}S{at}/2026-05", OF_SITES[at % 6], ["", "+"][at % 2]))
            .collect();
        names.extend(
            ["removal/clock", "terminated/S-1", "hold/00000000000000000001", "clock"]
                .map(str::to_owned),
        );
        let mut changes = Changes::default();
        for (at, name) in names.iter().enumerate() {
            let old = keys::desk(name);
            let sealed = key.seal(&plain(&old), name.as_bytes());
            match at % 7 {
                0 => {
                    let (row, sealed) = seal(&key, name, name.as_bytes());
                    changes.put(Table::Meta, row, sealed);
                }
                _ => changes.put(Table::Meta, old, sealed),
            }
        }
        store.apply(&changes).unwrap();
        let all = |store: &Store| {
            let rows = store.scan(Table::Meta, keys::DESK, Some(b"desk0")).unwrap();
            rows.map(Result::unwrap).collect::<Vec<_>>()
        };
        // A stopped server's are found either way.
        for prefix in ["statement/", "terminated/S-1", "removal/clock", "challenge/+S7/"] {
            let mut wanted: Vec<&String> =
                names.iter().filter(|name| name.starts_with(prefix)).collect();
            wanted.sort();
            let looked = look(&store, &key, prefix).unwrap();
            assert_eq!(looked.iter().map(|(name, _)| name).collect::<Vec<_>>(), wanted);
        }
        raise(&store, &key).unwrap();
        let raised = all(&store);
        let mut opened: Vec<_> =
            raised.iter().cloned().map(|row| open(&key, row).unwrap()).collect();
        let told = opened.len();
        opened.retain(|(name, _)| name != REWRITE);
        assert_eq!(told, opened.len() + 1, "the files are to be rewritten");
        assert!(opened.iter().all(|(name, bytes)| name.as_bytes() == bytes));
        opened.sort();
        names.sort();
        assert_eq!(opened.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
        for (row, _) in &raised {
            let text = std::str::from_utf8(row).unwrap();
            let is_of_site = OF_SITES.iter().any(|kind| text["desk/".len()..].starts_with(kind));
            assert!(!is_of_site || text.contains("/="), "{text}");
        }
        // Nothing is left to do, and no row says that files must be rewritten.
        let (row, _) = seal(&key, REWRITE, &[]);
        let mut changes = Changes::default();
        changes.delete(Table::Meta, row);
        store.apply(&changes).unwrap();
        let before = all(&store);
        raise(&store, &key).unwrap();
        assert_eq!(all(&store), before);
    }
}
