//! Rows of the desk that data from a backup lacks, made again from the ledger: holds and their
//! ends, and the time that was believed. Everything is compared with what is there, so that it can
//! be done twice.

use std::collections::BTreeMap;

use super::vault::Vault;
use super::{StartError, clock, holds};
use crate::ledger::{Event, Recorded};
use crate::model::vocab::Class;
use crate::wire::retention::rows::{Asked, ClockRow, HoldRow};

/// Brings holds and clock to where the ledger has them; how many holds were made or changed.
///
/// # Errors
/// When a row cannot be read or written.
pub async fn replay(vault: &dyn Vault, entries: &[Recorded]) -> Result<u64, StartError> {
    let mut rows: BTreeMap<u64, HoldRow> = BTreeMap::new();
    for (_, row) in vault.load_rows(holds::ROWS)? {
        let hold = HoldRow::parse(&row)?;
        rows.insert(hold.number, hold);
    }
    let before = rows.clone();
    for entry in entries {
        take(&mut rows, entry);
    }
    let mut changed = 0;
    for (number, hold) in &rows {
        if before.get(number) != Some(hold) {
            vault.put_row(format!("{}{number:020}", holds::ROWS), hold.to_bytes()?).await?;
            changed += 1;
        }
    }
    for (_, row) in vault.load_rows(clock::ROW)? {
        let row = ClockRow::parse(&row)?;
        let believed = entries.iter().filter_map(|entry| match &entry.event {
            Event::ClockConfirmed { to, .. } => Some(*to),
            Event::DestructionIntent { .. } => Some(entry.time),
            _ => None,
        });
        let high_water = believed.fold(row.high_water, Ord::max);
        if high_water != row.high_water {
            let row = ClockRow { high_water, ..row };
            vault.put_row(clock::ROW.to_owned(), row.to_bytes()?).await?;
        }
    }
    Ok(changed)
}

fn take(rows: &mut BTreeMap<u64, HoldRow>, entry: &Recorded) {
    let asked = || Asked { by: entry.actor.to_string(), at: entry.time };
    match &entry.event {
        Event::HoldOpened { hold, site, months, classes, ground, review_at, reason } => {
            let class = |word: &crate::ledger::Word| Class::from_name(word.as_str().as_bytes());
            let row = rows.entry(*hold).or_insert_with(|| HoldRow {
                number: *hold,
                site: site.clone(),
                months: months.clone(),
                classes: classes.iter().filter_map(class).collect(),
                ground: ground.as_str().to_owned(),
                review_at: *review_at,
                reason: reason.as_ref().map(ToString::to_string),
                opened: asked(),
                in_ledger: true,
                requested: None,
                released: None,
                alarmed: false,
            });
            row.in_ledger = true;
        }
        Event::HoldReleaseRequested { hold, .. } => {
            if let Some(row) = rows.get_mut(hold) {
                row.requested.get_or_insert_with(asked);
            }
        }
        Event::HoldReleased { hold, .. } => {
            if let Some(row) = rows.get_mut(hold) {
                row.released.get_or_insert_with(asked);
            }
        }
        _ => {}
    }
}
