//! The settings of backfills.

use super::file::File;
use super::{ConfigError, milliseconds, whole};
use crate::backfill;
use crate::engine::backfill::Settings as Bounds;
use crate::model::backfill::LOADS_MAX;
use crate::model::time::DAY_MS;

/// Most records of a backfill that may be set: the close judges them in one go.
const RECORDS_MOST: u64 = 1_000_000;
/// Most sealed bytes of a backfill that may be set: the close takes about five times as much
/// memory.
const BYTES_MOST: u64 = 256 << 20;

/// How much a backfill may hold.
///
/// # Errors
/// The sentence of the first one that is unfit.
pub(super) fn bounds(file: &File) -> Result<Bounds, ConfigError> {
    let said = &file.backfill;
    let records_max = whole("[backfill] records", said.records, 1, RECORDS_MOST)?;
    let bytes_max = whole("[backfill] bytes", said.bytes, 1 << 20, BYTES_MOST)?;
    // Else a close alone could be more than may wait for the fold, and nothing more would be taken.
    if bytes_max > file.fold.unfolded_bytes / 2 {
        return Err(ConfigError::new(
            "[backfill] bytes may be half of [fold] unfolded_bytes at most.",
        ));
    }
    Ok(Bounds { records_max, bytes_max, loads_max: LOADS_MAX })
}

/// How long a backfill may be open.
///
/// # Errors
/// The sentence of the one that is unfit.
pub(super) fn settings(file: &File) -> Result<backfill::Settings, ConfigError> {
    let days = whole("[backfill] open_days", file.backfill.open_days, 1, 30)?;
    Ok(backfill::Settings { open_ms: milliseconds(days, DAY_MS) })
}
