//! The desk for people, over the engine, the ledger and the holds of the retention desk, and that
//! for backfills, which tells it when one has gone.

use std::sync::Arc;

use super::AppError;
use crate::audit::Audit;
use crate::backfill::{self, Backfills};
use crate::engine::Engine;
use crate::model::time::Clock;
use crate::retention::Desk;
use crate::subjects::{Holds, Settings, Subjects};

/// Opens the desks: what a cut left open in the ledger is closed before anything is served.
///
/// # Errors
/// When the ledger refuses.
pub async fn open(
    engine: &Engine,
    audit: &Audit,
    retention: &Desk,
    (clock, late): (Arc<dyn Clock>, backfill::Settings),
) -> Result<(Subjects, Backfills), AppError> {
    let retention = retention.clone();
    let holds: Holds = Arc::new(move |site, bucket| retention.stays(site, bucket));
    let ledger = Arc::clone(audit.ledger());
    let (log, settings) = (Arc::clone(&ledger), Settings::default());
    let subjects = Subjects::new(engine.clone(), log, holds, Arc::clone(&clock), settings);
    subjects.tidy().await?;
    let waiting = subjects.clone();
    let backfills = Backfills::new(engine.clone(), ledger, clock, late, move || waiting.nudge());
    Ok((subjects, backfills))
}
