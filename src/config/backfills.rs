//! The settings of backfills.

use super::file::File;
use super::{ConfigError, milliseconds, whole};
use crate::backfill;
use crate::engine::backfill::Settings as Bounds;
use crate::model::time::DAY_MS;

/// How much a backfill may hold.
///
/// # Errors
/// The sentence of the first one that is unfit.
pub(super) fn bounds(file: &File) -> Result<Bounds, ConfigError> {
    let said = &file.backfill;
    Ok(Bounds {
        records_max: whole("[backfill] records", said.records, 1, 5_000_000)?,
        bytes_max: whole("[backfill] bytes", said.bytes, 1 << 20, 1 << 30)?,
    })
}

/// How long a backfill may be open.
///
/// # Errors
/// The sentence of the one that is unfit.
pub(super) fn settings(file: &File) -> Result<backfill::Settings, ConfigError> {
    let days = whole("[backfill] open_days", file.backfill.open_days, 1, 30)?;
    Ok(backfill::Settings { open_ms: milliseconds(days, DAY_MS) })
}
