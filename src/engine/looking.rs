//! A stopped server's data, opened to look: statements as they are stored, and the sets of their
//! months counted once more by a way of its own. The running server counts as it goes and checks
//! itself by merging runs ([`super::recount`]); here all tags are read, sorted and compared, so
//! that a fault of either of these two shows.
//!
//! Nothing is written, no journal is replayed: the sets of a closed month were folded before its
//! statement was issued.

use std::path::Path;

use super::directory::Directory;
use super::gone::Gone;
use super::recount::Recount;
use super::runs::{self, RunError};
use super::state::{MonthState, TALLY_KINDS, TallyKind};
use super::{EngineError, arrivals, hold, names};
use crate::crypto::{SealKey, sha256};
use crate::keys::KeyRing;
use crate::model::batch::SiteMonth;
use crate::model::ids::SiteId;
use crate::model::retention::Lot;
use crate::model::time::Month;
use crate::store::Store;
use crate::store::codec::Corrupt;
use crate::store::pages::Entry;

/// Data that nobody writes to.
pub struct Looking {
    store: Store,
    ring: KeyRing,
    directory: Directory,
}

impl Looking {
    /// Opens the data of these keys.
    ///
    /// # Errors
    /// When it cannot be read, or the keys are those of other data.
    pub fn open(data: &Path, ring: KeyRing) -> Result<Self, EngineError> {
        let store = Store::open_to_look(data)?;
        let directory = Directory::load(&store, ring.state_key())?;
        Ok(Self { store, ring, directory })
    }

    /// The desks' rows whose name begins so, in the order of their names.
    ///
    /// # Errors
    /// When a row cannot be read or opened.
    pub fn rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
        names::look(&self.store, &self.ring.state_key(), prefix)
    }

    /// What arrived and what all months count ([`arrivals::stored_sums`]).
    ///
    /// # Errors
    /// When a row cannot be read or opened.
    pub fn arrivals(&self) -> Result<Option<arrivals::Sums>, EngineError> {
        arrivals::stored_sums(&self.store, &self.ring.state_key())
    }

    /// Counts the sets of a site's month; `None` where they are destroyed, or on hold. Sets that
    /// are not there and were not destroyed hold nobody: so it is found where somebody was counted.
    ///
    /// # Errors
    /// When there is no such site, or a set cannot be read.
    pub fn recount(&self, id: &SiteId, month: Month) -> Result<Option<Recount>, EngineError> {
        let site = self.directory.site(id).ok_or(EngineError::NoSite)?;
        let at = SiteMonth { site: site.no, month };
        let key = self.ring.sets_existing(id, month);
        let gone = || -> Result<bool, EngineError> {
            Ok(Gone::load(&self.store)?.contains(&Lot::Sets(at)) || self.is_held(id, month)?)
        };
        if key.is_none() && gone()? {
            return Ok(None);
        }
        let mut sets = vec![Vec::new(); TALLY_KINDS];
        for (kind, set) in sets.iter_mut().enumerate() {
            if let Some(key) = &key {
                *set = self.members(key, at, kind)?;
            }
        }
        let of = |kind: TallyKind| sets.get(kind as usize).ok_or(Corrupt("sets of a month"));
        let size = |kind: TallyKind| of(kind).map(|set| set.len() as u64);
        let users = of(TallyKind::Users)?;
        let mut users_by_drm = [0; 8];
        for (_, mask) in users {
            let bits = users_by_drm.iter_mut().enumerate();
            bits.for_each(|(bit, count)| *count += u64::from(mask >> bit & 1));
        }
        let sorted: Vec<u8> = users.iter().flat_map(|(tag, _)| tag.0).collect();
        Ok(Some(Recount {
            users: users.len() as u64,
            users_by_drm,
            devices: size(TallyKind::Devices)?,
            watermark_users: size(TallyKind::WatermarkUsers)?,
            device_users: size(TallyKind::DeviceUsers)?,
            late_users: size(TallyKind::CorrectedUsers)?,
            late_device_users: size(TallyKind::CorrectedDeviceUsers)?,
            sessions: size(TallyKind::Sessions)?,
            late_devices: size(TallyKind::CorrectedDevices)?,
            late_watermark_users: size(TallyKind::CorrectedWatermarkUsers)?,
            digest: sha256(&[&sorted]),
        }))
    }

    /// Whether the sets of a site's month are on hold, apart from the others. They are read by
    /// nobody.
    ///
    /// # Errors
    /// When there is no such site, or a row cannot be read or opened.
    pub fn is_held(&self, id: &SiteId, month: Month) -> Result<bool, EngineError> {
        let site = self.directory.site(id).ok_or(EngineError::NoSite)?;
        let sets = Lot::Sets(SiteMonth { site: site.no, month });
        let copies = hold::load(&self.store, &self.ring.state_key())?;
        Ok(copies.keys().any(|(_, lot)| *lot == sets))
    }

    /// All members of a set, sorted, each once with its whole mask.
    fn members(&self, key: &SealKey, at: SiteMonth, kind: usize) -> Result<Vec<Entry>, RunError> {
        let set = MonthState::set_id(at, kind);
        let mut all: Vec<Entry> = Vec::new();
        for number in runs::numbers(&self.store, set)? {
            let run = runs::open(&self.store, key, set, number)?;
            all.extend(runs::read(&self.store, key, set, &run)?);
        }
        all.sort_unstable();
        all.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 |= next.1;
            }
            same
        });
        Ok(all)
    }
}
