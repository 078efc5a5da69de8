//! The desk for people, over the engine, the ledger and the holds of the retention desk.

use std::sync::Arc;

use super::AppError;
use crate::audit::Audit;
use crate::engine::Engine;
use crate::model::time::Clock;
use crate::retention::Desk;
use crate::subjects::{Holds, Settings, Subjects};

/// Opens the desk: what a cut left open in the ledger is closed before anything is served.
///
/// # Errors
/// When the ledger refuses.
pub async fn open(
    engine: &Engine,
    audit: &Audit,
    retention: &Desk,
    clock: Arc<dyn Clock>,
) -> Result<Subjects, AppError> {
    let retention = retention.clone();
    let holds: Holds = Arc::new(move |site, bucket| retention.stays(site, bucket));
    let ledger = Arc::clone(audit.ledger());
    let subjects = Subjects::new(engine.clone(), ledger, holds, clock, Settings::default());
    subjects.tidy().await?;
    Ok(subjects)
}
