//! Rows of the desk that data from a backup lacks, made again from the ledger: holds and their
//! ends, the policy in force, and the time that was believed. Everything is compared with what is
//! there, so that it can be done twice.

use std::collections::BTreeMap;

use super::vault::Vault;
use super::{POLICY, StartError, clock, holds};
use crate::ledger::{Digest, Event, Recorded};
use crate::model::vocab::Class;
use crate::wire::retention::rows::{Asked, ClockRow, HoldRow, Reviewed};
use crate::wire::retention::{PeriodsDoc, PolicyDoc};

/// Brings holds, policy and clock to where the ledger has them; how many holds were made or
/// changed.
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
    let policy = policy(vault, entries).await?;
    for (_, row) in vault.load_rows(clock::ROW)? {
        let row = ClockRow::parse(&row)?;
        let believed = entries.iter().filter_map(|entry| match &entry.event {
            Event::ClockConfirmed { to, .. } => Some(*to),
            Event::DestructionIntent { .. } => Some(entry.time),
            _ => None,
        });
        let high_water = believed.fold(row.high_water, Ord::max);
        let policy = policy.unwrap_or(row.policy);
        if (high_water, policy) != (row.high_water, row.policy) {
            let row = ClockRow { high_water, policy, ..row };
            vault.put_row(clock::ROW.to_owned(), row.to_bytes()?).await?;
        }
    }
    Ok(changed)
}

/// The policy that the ledger has last takes the place of an older one; its digest. Where the entry
/// does not say what is in it the row goes, and the start finds it by its digest, or refuses.
async fn policy(vault: &dyn Vault, entries: &[Recorded]) -> Result<Option<Digest>, StartError> {
    let kept = vault.load_rows(POLICY)?.into_iter().next().map(|(_, text)| text);
    let last = entries.iter().rev().find_map(|entry| match &entry.event {
        Event::PolicyLoaded { digest, .. } => Some((*digest, None)),
        Event::PolicyAdopted {
            digest,
            profile,
            published,
            effective,
            material,
            c2_months,
            c3_objection_days,
            c7_months,
            ..
        } => {
            let (c2_months, c7_months) = (*c2_months, *c7_months);
            let periods =
                PeriodsDoc { c2_months, c3_objection_days: *c3_objection_days, c7_months };
            let doc = PolicyDoc {
                profile: profile.as_str().to_owned(),
                published: *published,
                effective: *effective,
                material: *material,
                periods,
            };
            Some((*digest, Some(doc)))
        }
        _ => None,
    });
    let Some((digest, doc)) = last else { return Ok(None) };
    let digest_of = |doc: &PolicyDoc| Digest(crate::crypto::sha256(&[&doc.to_bytes()]));
    let known = kept.as_ref().and_then(|text| PolicyDoc::parse(text).ok());
    let is_it = known.as_ref().is_some_and(|known| digest_of(known) == digest);
    match doc.filter(|doc| digest_of(doc) == digest) {
        _ if is_it => {}
        Some(doc) => vault.put_row(POLICY.to_owned(), doc.to_bytes()).await?,
        None if kept.is_some() => vault.delete_row(POLICY.to_owned()).await?,
        None => {}
    }
    Ok(Some(digest))
}

/// Takes a review over that the ledger has and the row has not; whether it was one. A row that
/// knows this one, or a later one, has what was said about it, too.
pub(super) fn reviewed(row: &mut HoldRow, entry: &Recorded) -> bool {
    let Event::HoldReviewed { hold, review_at, .. } = &entry.event else { return false };
    let known = row.reviewed.as_ref().map(|last| last.entry);
    let is_new = *hold == row.number && known < Some(entry.number);
    if is_new {
        row.review_at = *review_at;
        (row.alarmed, row.alarmed_at) = (false, None);
        let by = Asked { by: entry.actor.to_string(), at: entry.time, clock: None };
        row.reviewed = Some(Reviewed { entry: entry.number, by, reason: None });
    }
    is_new
}

fn take(rows: &mut BTreeMap<u64, HoldRow>, entry: &Recorded) {
    let asked = || Asked { by: entry.actor.to_string(), at: entry.time, clock: None };
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
                alarmed_at: None,
                reviewed: None,
            });
            row.in_ledger = true;
        }
        Event::HoldReviewed { hold, .. } => {
            if let Some(row) = rows.get_mut(hold) {
                reviewed(row, entry);
            }
        }
        Event::HoldReleaseRequested { hold, .. } => {
            if let Some(row) = rows.get_mut(hold) {
                // A later one took the place of one that had lapsed.
                row.requested = Some(asked());
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
