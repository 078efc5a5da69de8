//! How a destruction of the vault in memory misbehaves.

use super::Inside;
use crate::engine::EngineError;
use crate::model::retention::{Doom, Lot};

/// How a destruction misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A copy off the host cannot be reached.
    Waiting,
    /// It says that it found nothing, and does nothing.
    Nothing,
    /// It says that a key still opens.
    StillOpens,
    /// It says that all is well, and does nothing.
    Lies,
    /// The keys go, and then the process ends, before the lots are done.
    HalfWay,
    /// A block of the first bucket cannot be read to count its records.
    Uncounted,
    /// It does not begin: a request holds an old journal key.
    Busy,
    /// The register lets go of the keys, and the root provider does not end their epoch.
    Away,
    /// The keys go, and no hold gets its copy.
    KeepsNothing,
    /// A copy of the register of holds is lost while what is on hold is copied: nothing is begun.
    CopyLost,
    /// A copy of the register of holds is lost when the keys of copies have left the register: they
    /// wait, in nobody's way.
    LostBehind,
    /// A hold got keys that open what is left of this site, for a copy that was given up, and a
    /// copy of the register of holds is away: nothing is begun.
    GivenUp(u32),
    /// There is no room on the disk for copies.
    NoRoom,
    /// It refuses whatever has a lot of this site, before it begins.
    Refuses(u32),
    /// What is on hold of a bucket of this site cannot be copied, and it gives up.
    CannotKeep(u32),
}

/// The fault that these lots meet.
pub(super) fn of(inside: &mut Inside, lots: &[Doom]) -> Result<Option<Fault>, EngineError> {
    match inside.fault {
        // As long as the disk is damaged.
        Some(Fault::CannotKeep(site)) => {
            let is_it = |doom: &Doom| {
                let own = matches!(doom.lot, Lot::Records(bucket) if bucket.site.0 == site);
                own && !doom.heirs.is_empty()
            };
            match lots.iter().any(is_it) {
                true => Err(EngineError::Damaged("a block of what is on hold".into())),
                false => Ok(None),
            }
        }
        Some(Fault::Refuses(site)) => {
            let is_it =
                |doom: &Doom| matches!(doom.lot, Lot::Records(bucket) if bucket.site.0 == site);
            match lots.iter().any(is_it) {
                true => Err(EngineError::Refused("not before its time".into())),
                false => Ok(None),
            }
        }
        Some(Fault::GivenUp(site)) => {
            let is_it = |doom: &Doom| matches!(doom.lot, Lot::Records(of) if of.site.0 == site);
            Ok(inside.fault.filter(|_| lots.iter().any(is_it)))
        }
        Some(Fault::CopyLost)
            if lots.iter().all(|doom| doom.heirs.is_empty() && doom.hold.is_none()) =>
        {
            Ok(None)
        }
        Some(Fault::CopyLost) => Ok(inside.fault),
        Some(Fault::LostBehind) => {
            Ok(inside.fault.filter(|_| lots.iter().all(|doom| doom.hold.is_some())))
        }
        Some(Fault::NoRoom) if lots.iter().any(|doom| !doom.heirs.is_empty()) => {
            Err(EngineError::DiskFull)
        }
        Some(Fault::NoRoom) => Ok(None),
        Some(Fault::KeepsNothing) if lots.iter().all(|doom| doom.heirs.is_empty()) => Ok(None),
        _ => Ok(inside.fault.take()),
    }
}
