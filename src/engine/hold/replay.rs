//! Hold storage in data that was put back from a backup: copies that have ended since then go, and
//! of what was moved since then all is kept that its keys in the vault of the holds still open:
//! sets and keys. Records are lost, because their bucket key was destroyed with the move.

use std::collections::BTreeSet;

use super::{Copies, RUN, aad, living, load};
use crate::crypto::SealKey;
use crate::engine::EngineError;
use crate::engine::destroy::lots::Living;
use crate::engine::directory::Directory;
use crate::engine::fold::rows_of_sets;
use crate::keys::KeyRing;
use crate::model::ids::{HoldNo, KeyId};
use crate::model::retention::Lot;
use crate::store::destruction::HeldRow;
use crate::store::{Changes, RowRange, Store, Table, keys};

/// Removes the data of copies whose keys are gone and that are `over` by the ledger; how many, and
/// the changes of their rows, which belong to the last step: until then this can be repeated. One
/// whose keys are gone and that is not over is left to the start, which refuses.
///
/// A copy whose keys live and that the data does not have is made where the lot was `moved`, of
/// what the backup has of it, so that it ends with its hold as others do.
///
/// # Errors
/// When the disk or the vault of the holds refuses, or files of what is over are still there.
pub fn replay(
    (store, ring, directory): (&Store, &KeyRing, &Directory),
    over: impl Fn(HoldNo, Lot) -> bool,
    moved: impl Fn(Lot) -> bool,
) -> Result<(u64, Changes), EngineError> {
    let copies = load(store, &ring.state_key())?;
    let hold = ring.hold_existing()?;
    let living = hold.map_or(Living::new(), |hold| living(directory, &hold));
    let is_over = |(hold, lot): &(HoldNo, Lot)| {
        !living.contains_key(&(Some(*hold), *lot)) && over(*hold, *lot)
    };
    let ended: BTreeSet<(HoldNo, Lot)> = copies.keys().copied().filter(is_over).collect();
    remove(store, &copies, &ended)?;
    let mut changes = Changes::default();
    for (hold, lot) in &ended {
        changes.delete(Table::Meta, keys::held(*hold, lot));
    }
    for (hold, lot) in living.keys().filter_map(|(hold, lot)| Some(((*hold)?, *lot))) {
        if moved(lot) && !copies.contains_key(&(hold, lot)) {
            make(store, &ring.state_key(), (hold, lot), &mut changes)?;
        }
    }
    Ok((ended.len() as u64, changes))
}

fn make(
    store: &Store,
    key: &SealKey,
    (hold, lot): (HoldNo, Lot),
    changes: &mut Changes,
) -> Result<(), EngineError> {
    if let Lot::Sets(at) = lot {
        let (table, from, to) = rows_of_sets(at);
        store.ensure(Table::HoldRows)?;
        store.ensure(Table::HoldKeys)?;
        if store.has(table) {
            let mut rows = Changes::default();
            for row in store.scan(table, &from, Some(&to))? {
                let (key, sealed) = row?;
                rows.put(Table::HoldRows, keys::hold_row(&lot, RUN, &key), sealed);
            }
            store.apply(&rows)?;
        }
    } else if let Lot::Records(_) = lot {
        tracing::error!(
            hold = hold.0,
            "records that this hold kept were moved to hold storage after the backup, and are lost"
        );
    }
    let name = keys::held(hold, &lot);
    let sealed = key.seal(&aad(&name), &HeldRow { records: 0, bucket_key: KeyId(0) }.encode());
    changes.put(Table::Meta, name, sealed);
    Ok(())
}

/// Removes the rows of copies, and the files that held them.
fn remove(
    store: &Store,
    copies: &Copies,
    ended: &BTreeSet<(HoldNo, Lot)>,
) -> Result<(), EngineError> {
    if ended.is_empty() {
        return Ok(());
    }
    let tables: BTreeSet<Table> = [Table::HoldRows, Table::HoldKeys].into();
    let before = store.files(&tables)?;
    let mut ranges: Vec<RowRange> = Vec::new();
    for (hold, lot) in ended {
        let (from, to) = keys::hold_keys(*hold, lot);
        ranges.push((Table::HoldKeys, from, to));
        let stays = |copy: &&(HoldNo, Lot)| copy.1 == *lot && !ended.contains(copy);
        if !copies.keys().any(|copy| stays(&copy)) {
            let (from, to) = keys::hold_rows(lot);
            ranges.push((Table::HoldRows, from, to));
        }
    }
    let mut changes = Changes::default();
    for (table, from, to) in ranges.iter().filter(|(table, ..)| store.has(*table)) {
        changes.delete_range(*table, from.clone(), to.clone());
    }
    store.apply(&changes)?;
    if ended.len() == copies.len() {
        store.drop_table(Table::HoldKeys)?;
        store.drop_table(Table::HoldRows)?;
    }
    if store.reclaim(&before, &tables, &ranges)?.left > 0 {
        return Err(EngineError::Refused(
            "files of what was destroyed are still there; start the server again".into(),
        ));
    }
    Ok(())
}
