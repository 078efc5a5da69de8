//! The format of the data directory: one row that every start reads before anything else.
//!
//! The number goes up with each change of what lies on the disk, also inside of sealed values, so
//! that a program from before says in one sentence that the data is newer than it is, and does not
//! meet bytes later that it takes for damage. What earlier numbers wrote is read as it is: each row
//! has a version of its own. A start makes the number its own before it writes anything else.

use super::{Changes, Store, StoreError, Table};

/// The format that this program writes.
const FORMAT: &[u8] = b"blindtally data format 7";
/// Those that it reads beside it. Format 6 had days of the access log under the state key; format 5
/// had ids of sites in row keys; format 4 had no rule set of a month; format 3 had no padding in
/// blocks and headers; format 2 had no site with an algorithm or options of user ids, and of a
/// suppressed person one tag; format 1 had no sealed value of another version than 1. Later
/// programs of format 1 wrote some all the same: every version is read under each number.
const EARLIER: [&[u8]; 6] = [
    b"blindtally data format 1",
    b"blindtally data format 2",
    b"blindtally data format 3",
    b"blindtally data format 4",
    b"blindtally data format 5",
    b"blindtally data format 6",
];
const PREFIX: &[u8] = b"blindtally data format ";
const KEY: &[u8] = b"format";

/// Proves that a row of the default table, read from a data directory, names a format that this
/// program reads.
///
/// # Errors
/// [`StoreError::Format`] for every other one, also where there is none.
pub(super) fn known(found: Option<&[u8]>) -> Result<(), StoreError> {
    let found = found.unwrap_or_default();
    if found == FORMAT || EARLIER.contains(&found) {
        return Ok(());
    }
    let version = found.strip_prefix(PREFIX).unwrap_or(b"unreadable");
    Err(StoreError::Format { found: String::from_utf8_lossy(version).into_owned() })
}

/// The key of the row.
pub(super) const fn key() -> &'static [u8] {
    KEY
}

/// Checks the format of tables that were opened, and makes it that of this program.
///
/// # Errors
/// [`StoreError::Format`], and then nothing has changed; or when the disk refuses.
pub(super) fn claim(store: &Store) -> Result<(), StoreError> {
    let found = store.get(Table::Meta, KEY)?;
    if let Some(found) = &found {
        known(Some(found))?;
    }
    if found.as_deref() == Some(FORMAT) {
        return Ok(());
    }
    let mut changes = Changes::default();
    changes.put(Table::Meta, KEY, FORMAT);
    store.apply(&changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Settings;

    fn open(dir: &std::path::Path) -> Result<Store, StoreError> {
        Store::open(&Settings { data: dir.to_owned(), block_cache_bytes: 1 << 20 })
    }

    #[test]
    fn an_earlier_format_becomes_ours_and_a_later_one_is_left_alone() {
        let row = |store: &Store| store.get(Table::Meta, KEY).unwrap().unwrap();
        let texts = ["1", "2", "3", "4", "5", "6", "7", "8", "", "02"];
        for (text, reads) in
            texts.map(|text| (text, ["1", "2", "3", "4", "5", "6", "7"].contains(&text)))
        {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path()).unwrap();
            assert_eq!(row(&store), FORMAT);
            let mut changes = Changes::default();
            let written = [PREFIX, text.as_bytes()].concat();
            changes.put(Table::Meta, KEY, written.clone());
            store.apply(&changes).unwrap();
            drop(store);
            let looked = Store::look(dir.path()).map(|_| ());
            let opened = open(dir.path());
            if reads {
                looked.unwrap();
                assert_eq!(row(&opened.unwrap()), FORMAT, "{text}");
                continue;
            }
            for refused in [looked.unwrap_err(), opened.err().unwrap()] {
                let said = refused.to_string();
                assert!(said.contains(&format!("({text})")) && said.contains("(7)"), "{said}");
            }
            // A second try says the same: nothing was changed.
            assert!(open(dir.path()).is_err());
        }
    }
}
