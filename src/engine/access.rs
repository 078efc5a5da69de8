//! Days of the access log (class C6), which the retention desk keeps: each is sealed under the key
//! of its month of UTC, so that a month ends by its key, as records do ([`Lot::Access`]).
//!
//! Data from before format 7 has them under the state key, in rows of another name, and [`raise`]
//! seals each anew.

use std::sync::{Arc, PoisonError};

use super::ended::whole;
use super::{Engine, EngineError, Shared, names};
use crate::crypto::{Aad, SealKey};
use crate::model::retention::Lot;
use crate::model::time::{Day, Month};
use crate::store::{Changes, Store, Table, keys};

/// Before the names of the desk's rows, which go on with the day.
const NAMES: &str = "access/";
/// Rows from before that are sealed anew with one write, and after how many bytes it is long
/// enough.
const ROWS_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 8 << 20;

/// The row key of a day's name, and of the beginning of one; `None` for names of other rows.
pub fn row_of(name: &str) -> Option<Vec<u8>> {
    name.strip_prefix(NAMES).map(|day| [keys::ACCESS, day.as_bytes()].concat())
}

/// The month of a day's row; `None` for every other row.
pub fn month_of(row: &[u8]) -> Option<Month> {
    Some(Day::parse(row.strip_prefix(keys::ACCESS)?)?.month())
}

/// Whether a key opens a day's row.
pub fn row_opens(key: &SealKey, row: &[u8], sealed: &[u8]) -> bool {
    key.open(&aad(row), sealed).is_ok()
}

fn aad(row: &[u8]) -> Aad {
    Aad::new("access/1").bytes(row)
}

fn damaged() -> EngineError {
    EngineError::Damaged("a day of the access log".into())
}

impl Shared {
    /// Whether a month of the access log is destroyed, or being destroyed.
    pub(super) fn access_is_gone(&self, month: Month) -> bool {
        self.gone(|gone| gone.contains(&Lot::Access(month)))
    }

    /// The key of a month, made if there is none.
    ///
    /// # Errors
    /// [`EngineError::Ended`] for a month that is destroyed; when the key of stored days is not
    /// there; when the register refuses.
    fn access_key(&self, month: Month) -> Result<Arc<SealKey>, EngineError> {
        if let Some(key) = self.ring.access_existing(month)? {
            return Ok(key);
        }
        // Locked until the key is there, so that no destruction of the month comes in between.
        let gone = self.gone.read().unwrap_or_else(PoisonError::into_inner);
        if gone.contains(&Lot::Access(month)) {
            return Err(EngineError::Ended);
        }
        // A second key beside rows of a first one that is lost would hide the loss.
        let (from, to) = keys::access_month(keys::ACCESS, month);
        if self.store.scan(Table::Meta, &from, Some(&to))?.next().is_some() {
            return Err(damaged());
        }
        Ok(self.ring.access(month)?)
    }

    /// A day's row and its sealed bytes.
    ///
    /// # Errors
    /// As [`Shared::access_key`].
    fn seal_access(&self, row: Vec<u8>, bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), EngineError> {
        let month = month_of(&row).ok_or_else(damaged)?;
        let sealed = self.access_key(month)?.try_seal(&aad(&row), bytes);
        // Destroyed since a moment ago.
        Ok((row, sealed.map_err(|_| EngineError::Ended)?))
    }

    /// Name and bytes of a day's row; `None` where its month is destroyed. Another key than that of
    /// the month is never tried.
    ///
    /// # Errors
    /// When it does not open although it should.
    fn open_access(
        &self,
        month: Month,
        (row, sealed): (Box<[u8]>, Box<[u8]>),
    ) -> Result<Option<(String, Vec<u8>)>, EngineError> {
        let key = self.ring.access_existing(month)?;
        let opened = key.and_then(|key| key.open(&aad(&row), &sealed).ok());
        let Some(bytes) = opened else {
            return if self.access_is_gone(month) { Ok(None) } else { Err(damaged()) };
        };
        let day = row.strip_prefix(keys::ACCESS).and_then(|day| std::str::from_utf8(day).ok());
        Ok(Some((format!("{NAMES}{}", day.ok_or_else(damaged)?), bytes)))
    }

    /// A desk's row and its sealed bytes.
    ///
    /// # Errors
    /// Those of a day of the access log.
    pub(super) fn seal_desk_row(
        &self,
        name: &str,
        bytes: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), EngineError> {
        match row_of(name) {
            Some(row) => self.seal_access(row, bytes),
            None => Ok(names::seal(&self.ring.state_key(), name, bytes)),
        }
    }
}

impl Engine {
    /// Name and bytes of a desk's row; `None` for a day of the access log whose month is destroyed.
    ///
    /// # Errors
    /// When it does not open.
    pub(super) fn desk_row(
        &self,
        row: (Box<[u8]>, Box<[u8]>),
    ) -> Result<Option<(String, Vec<u8>)>, EngineError> {
        match month_of(&row.0) {
            Some(month) => self.shared.open_access(month, row),
            None => names::open(&self.shared.ring.state_key(), row).map(Some),
        }
    }
}

/// Each month that has days, with what one of them has sealed; not those from before format 7,
/// which need no key of their own.
///
/// # Errors
/// When a row cannot be read.
pub fn stored(store: &Store) -> Result<Vec<(Month, Vec<u8>)>, EngineError> {
    let mut months = Vec::new();
    let mut from = keys::ACCESS.to_vec();
    while let Some(row) = store.scan(Table::Meta, &from, Some(keys::ACCESS_END))?.next() {
        let (row, sealed) = row?;
        let month = month_of(&row).ok_or_else(damaged)?;
        months.push((month, sealed.into_vec()));
        (_, from) = keys::access_month(keys::ACCESS, month);
    }
    Ok(months)
}

/// Seals the days from before format 7 under the keys of their months. Cut short, the next start
/// does the rest: each day is in every moment there once. The files that had them under the state
/// key are rewritten before anything is served, so that no backup has them and no destruction of a
/// month comes before; also where a start before this one was cut between the two.
///
/// # Errors
/// When a row cannot be opened, or disk or register refuses; [`EngineError::InUse`] when files from
/// before are still there.
pub fn raise(shared: &Shared) -> Result<(), EngineError> {
    while raise_some(shared)? {}
    let (store, state) = (&shared.store, shared.ring.state_key());
    if store.get(Table::Meta, &names::row_of(&state, names::REWRITE))?.is_none() {
        return Ok(());
    }
    shared.rewrite(&[whole(Table::Meta)])
}

/// Does it for the first of them; whether there were any.
pub(super) fn raise_some(shared: &Shared) -> Result<bool, EngineError> {
    let (store, state) = (&shared.store, shared.ring.state_key());
    let rows = store.scan(Table::Meta, keys::ACCESS_BEFORE, Some(keys::ACCESS))?;
    let mut rows = rows.take(ROWS_AT_ONCE).peekable();
    if rows.peek().is_none() {
        return Ok(false);
    }
    let mut changes = Changes::default();
    let (row, sealed) = names::seal(&state, names::REWRITE, &[]);
    changes.put(Table::Meta, row, sealed);
    for row in rows {
        let old = row?;
        let day = old.0.strip_prefix(keys::ACCESS_BEFORE).ok_or_else(damaged)?;
        let row = [keys::ACCESS, day].concat();
        let month = month_of(&row).ok_or_else(damaged)?;
        changes.delete(Table::Meta, old.0.to_vec());
        let (_, bytes) = names::open(&state, old)?;
        // Nothing is written into a month that is destroyed.
        if !shared.access_is_gone(month) {
            let (row, sealed) = shared.seal_access(row, &bytes)?;
            changes.put(Table::Meta, row, sealed);
        }
        if changes.bytes() > BYTES_AT_ONCE {
            break;
        }
    }
    store.apply(&changes)?;
    Ok(true)
}
