//! What a row that was taken does to its month (rule set `mau/1`). A row that comes after the close
//! is counted by the same rules, into figures and sets beside those of the close.

use super::{Disk, MEMBER, MonthState, RunError, TallyKind};
use crate::model::batch::{Claim, Effect};
use crate::model::ids::ShortTag;
use crate::model::usage::{Counters, Extent};

impl MonthState {
    /// Counts a row that was taken.
    pub(super) fn take(
        &mut self,
        claim: &Claim,
        extent: Extent,
        disk: &mut Disk<'_>,
    ) -> Result<(), RunError> {
        if self.is_closed() && extent < Extent::Everything {
            return self.correct_before(claim, extent >= Extent::LateDevices, disk);
        }
        self.count(claim, extent == Extent::Everything, disk)
    }

    /// The figures that a row counts for: those of the close, or those beside them.
    fn figures(&mut self) -> &mut Counters {
        match self.is_closed() {
            true => &mut self.tally.corrections,
            false => &mut self.tally.counters,
        }
    }

    /// Counts an accepted row; `all` where also the figures that came later are counted.
    fn count(&mut self, claim: &Claim, all: bool, disk: &mut Disk<'_>) -> Result<(), RunError> {
        let figures = self.figures();
        figures.records += 1;
        match claim.effect {
            Effect::Issued | Effect::Anonymous => return self.count_issued(claim, all, disk),
            Effect::Session => return self.count_session(claim, all, disk),
            Effect::Renewal => {
                figures.renewals_excluded += 1;
                self.count_license(claim);
            }
            Effect::Failed => figures.licenses_failed += 1,
            Effect::FailedCounted => {
                figures.licenses_failed += 1;
                let counted = self.count_user(claim, disk)?;
                self.figures().failures_counted += u64::from(counted);
            }
            Effect::NoLicense => figures.no_license += 1,
            Effect::FailedElsewhere => figures.failed_elsewhere += 1,
            Effect::Trial => figures.trial += 1,
            Effect::Test => figures.test += 1,
            Effect::SessionFailed => figures.sessions_failed += 1,
            Effect::SessionTrial => figures.sessions_trial += 1,
            Effect::SessionTest => figures.sessions_test += 1,
            Effect::Kept => figures.other_records += u64::from(all),
        }
        Ok(())
    }

    fn count_license(&mut self, claim: &Claim) {
        let figures = self.figures();
        figures.licenses_issued += 1;
        figures.licenses_by_drm[usize::from(claim.drm.code())] += 1;
    }

    fn count_issued(
        &mut self,
        claim: &Claim,
        all: bool,
        disk: &mut Disk<'_>,
    ) -> Result<(), RunError> {
        self.count_license(claim);
        let counted = self.count_user(claim, disk)?;
        if claim.user.is_none() {
            let anonymous = claim.effect == Effect::Anonymous && !claim.sentinel;
            let figures = self.figures();
            figures.unattributed_licenses += 1;
            figures.sentinel_licenses += u64::from(claim.sentinel);
            figures.anonymous_licenses += u64::from(anonymous);
            figures.licenses_by_device += u64::from(counted);
            figures.sentinel_by_device += u64::from(counted && claim.sentinel && all);
            figures.anonymous_by_device += u64::from(counted && anonymous);
        }
        if let Some(tag) = claim.device {
            let new = self.add(TallyKind::Devices, tag, disk)?;
            self.figures().devices += u64::from(new);
        }
        Ok(())
    }

    fn count_session(
        &mut self,
        claim: &Claim,
        all: bool,
        disk: &mut Disk<'_>,
    ) -> Result<(), RunError> {
        self.figures().session_records += u64::from(all);
        // A session without an id is nobody's second one.
        let new = match claim.session {
            Some(tag) => self.add(TallyKind::Sessions, tag, disk)?,
            None => true,
        };
        self.figures().watermark_sessions += u64::from(new);
        if let Some(tag) = claim.user {
            let new = self.add(TallyKind::WatermarkUsers, tag, disk)?;
            self.figures().watermark_users += u64::from(new);
        }
        Ok(())
    }

    /// Makes the user active, or the device that stands for one; whether there was either.
    fn count_user(&mut self, claim: &Claim, disk: &mut Disk<'_>) -> Result<bool, RunError> {
        let Some(tag) = claim.user else {
            let Some(tag) = claim.device.filter(|_| claim.by_device) else { return Ok(false) };
            let new = self.add(TallyKind::DeviceUsers, tag, disk)?;
            self.figures().device_users += u64::from(new);
            return Ok(true);
        };
        if self.is_closed() {
            let new = self.add(TallyKind::Users, tag, disk)?;
            self.figures().mau += u64::from(new);
        } else {
            let bit = claim.drm.bit();
            let before = self.sets[TallyKind::Users as usize].insert(tag, bit, disk)?;
            self.tally.counters.mau += u64::from(before == 0);
            let drm = usize::from(claim.drm.code());
            self.tally.counters.mau_by_drm[drm] += u64::from(before & bit == 0);
        }
        Ok(true)
    }

    /// Adds a tag to a set, or after the close to the one beside it where the closed one does not
    /// hold the tag; whether it is new.
    pub(in crate::engine) fn add(
        &mut self,
        kind: TallyKind,
        tag: ShortTag,
        disk: &mut Disk<'_>,
    ) -> Result<bool, RunError> {
        let set = match self.is_closed() {
            true if self.sets[kind as usize].get(tag, disk)? != 0 => return Ok(false),
            true => kind.beside(),
            false => kind,
        };
        Ok(self.sets[set as usize].insert(tag, MEMBER, disk)? == 0)
    }

    /// Counts a late row as it was before late rows were counted by kind.
    fn correct_before(
        &mut self,
        claim: &Claim,
        late_devices: bool,
        disk: &mut Disk<'_>,
    ) -> Result<(), RunError> {
        self.tally.corrections.records += 1;
        self.tally.corrections.licenses_issued += u64::from(claim.effect.is_issue());
        if !claim.effect.is_countable() {
            return Ok(());
        }
        let stands_in = claim.device.filter(|_| claim.by_device && late_devices);
        if let Some(tag) = claim.user {
            let new = self.add(TallyKind::Users, tag, disk)?;
            self.tally.corrections.mau += u64::from(new);
        } else if let Some(tag) = stands_in {
            let new = self.add(TallyKind::DeviceUsers, tag, disk)?;
            self.tally.corrections.device_users += u64::from(new);
        }
        Ok(())
    }
}
