//! What the app looks at again and again: the room on the data disk, the copies of the register,
//! the second copy of the ledger's checkpoints, the quality of ids of months that go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::process;
use crate::audit::Audit;
use crate::engine::{Engine, EngineError};
use crate::ledger::{Actor, Alarm, Event};
use crate::observe::{Gauge, Registry};

/// How often the free space of the data directory is looked at.
const DISK_LOOK: Duration = Duration::from_secs(2);
/// How often the copies of the register off the host, and that of the checkpoints, are looked at.
const COPIES_LOOK: Duration = Duration::from_secs(2);
/// How long it rests after a month was explained that nobody asked for, in times of what that took.
const RESTS: u32 = 9;

/// Begins to look after the rooms: the data disk of this directory with the room that it must keep,
/// bytes, both copies, and the months.
pub fn rooms(
    engine: &Engine,
    audit: &Audit,
    behind: Gauge,
    (data, free_bytes_min): (PathBuf, u64),
) -> Vec<JoinHandle<()>> {
    vec![
        tokio::spawn(disk(engine.clone(), data, free_bytes_min)),
        tokio::spawn(copies(engine.clone(), audit.clone(), behind)),
        tokio::spawn(second_copy(audit.clone())),
        tokio::spawn(explanations(engine.clone())),
    ]
}

/// Tells the engine when the disk has little room, so that records are refused (507) while there is
/// still enough for the fold and for RocksDB's own work.
async fn disk(engine: Engine, data: PathBuf, free_bytes_min: u64) {
    let mut was_low = false;
    loop {
        let path = data.clone();
        let looked = tokio::task::spawn_blocking(move || process::free_bytes(&path)).await;
        if let Ok(Ok(free_bytes)) = looked {
            let low = free_bytes < free_bytes_min;
            engine.set_disk_low(low);
            if low != was_low {
                tracing::warn!(low, free_bytes, "the room on the data disk changed");
            }
            was_low = low;
        }
        tokio::time::sleep(DISK_LOOK).await;
    }
}

/// Looks after the second copy of the ledger's checkpoints, which leaves its alarms there.
async fn second_copy(audit: Audit) {
    loop {
        // An error stops the process by itself.
        let _ = audit.watch_second_copy().await;
        tokio::time::sleep(COPIES_LOOK).await;
    }
}

/// The figure of [`copies`].
pub fn behind(registry: &Registry) -> Gauge {
    let help = "Copies of the key register off the host that lack a write.";
    registry.gauge("blindtally_register_copies_behind", help)
}

/// Counts the copies of both registers that are behind, and leaves an alarm in the ledger when the
/// first of them begins to be.
async fn copies(engine: Engine, audit: Audit, behind: Gauge) {
    let mut was_behind = false;
    loop {
        let ring = Arc::clone(engine.ring());
        // The keys are locked while the register is written, so this may wait for a disk.
        let looked = tokio::task::spawn_blocking(move || ring.copies_of_both()).await;
        if let Ok(Ok(copies)) = looked {
            let late: Vec<_> = copies.iter().filter(|copy| copy.behind > 0).collect();
            behind.set(i64::try_from(late.len()).unwrap_or(i64::MAX));
            let is_behind = !late.is_empty();
            if is_behind && !was_behind {
                for copy in late {
                    let (path, writes) = (copy.path.display(), copy.behind);
                    tracing::warn!(%path, writes, "a copy of the key register does not follow");
                }
                let reason = Alarm::RegisterCopyUnreachable;
                // An error stops the process by itself.
                let _ = audit.note(Actor::Server, Event::Alarm { reason }).await;
            }
            was_behind = is_behind;
        }
        tokio::time::sleep(COPIES_LOOK).await;
    }
}

/// Explains each open month once a day, so that ids that look shared are seen before the bill: one
/// month at a time, behind all other threads, and for a tenth of the time at most.
async fn explanations(engine: Engine) {
    loop {
        tokio::time::sleep(engine.settings().explain.look).await;
        let asked = engine.clone();
        let due = tokio::task::spawn_blocking(move || asked.unexplained()).await;
        let due = match due {
            Ok(Ok(due)) => due,
            Ok(Err(error)) => {
                tracing::error!(%error, "which months to explain cannot be told");
                continue;
            }
            Err(_) => continue,
        };
        for (site, month) in due {
            let begun = Instant::now();
            match engine.explain_at_ease(site.clone(), month, process::at_ease).await {
                Ok(_) | Err(EngineError::Busy | EngineError::Ended | EngineError::NoSite) => {}
                Err(EngineError::Stopped) => return,
                Err(error) => tracing::error!(%site, %month, %error, "a month is not explained"),
            }
            tokio::time::sleep(begun.elapsed() * RESTS).await;
        }
    }
}
