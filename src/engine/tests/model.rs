//! What must have happened, by the plainest sets and maps.

use super::*;
use crate::model::usage::{Corrections, Counters};

#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) seen: BTreeSet<(u8, u16, u32)>,
    /// Whether the rows of now are a backfill's, of any age.
    pub(super) late_rows: bool,
    pub(super) users: BTreeMap<SiteMonth, BTreeMap<u16, u8>>,
    pub(super) devices: BTreeMap<SiteMonth, BTreeSet<u16>>,
    pub(super) stand_ins: BTreeMap<SiteMonth, BTreeSet<u16>>,
    pub(super) sessions: BTreeMap<SiteMonth, BTreeSet<u16>>,
    pub(super) viewers: BTreeMap<SiteMonth, BTreeSet<u16>>,
    pub(super) counters: BTreeMap<SiteMonth, Counters>,
    pub(super) corrections: BTreeMap<SiteMonth, Corrections>,
    /// Users that came after the close.
    pub(super) late: BTreeMap<SiteMonth, BTreeSet<u16>>,
    /// Devices that stand for users, and came after the close.
    pub(super) late_stand_ins: BTreeMap<SiteMonth, BTreeSet<u16>>,
    /// Users of billing groups with their DRM systems, and users that came after the close.
    pub(super) groups: BTreeMap<SiteMonth, (BTreeMap<u16, u8>, BTreeSet<u16>)>,
    /// The time by which months are closed.
    pub(super) believed: i64,
    /// Event numbers of the kept rows.
    pub(super) kept: BTreeMap<Bucket, Vec<u16>>,
    /// Buckets whose rows are not kept any more.
    pub(super) lost: BTreeSet<Bucket>,
    /// Months that take no rows any more, and those without sets.
    pub(super) shut: BTreeSet<SiteMonth>,
    pub(super) without_sets: BTreeSet<SiteMonth>,
    /// What arrived from whom.
    pub(super) arrivals: BTreeMap<(Hour, Sender), Received>,
}

impl Model {
    /// What was refused before it was a row.
    pub(super) fn refuse(&mut self, now: i64, rows: &[(Row, i64)]) {
        for (sender, received) in senders(rows) {
            self.arrived(now, sender).rejected[9] += received.rejected[9];
        }
    }

    /// What came of each row, for who sent it.
    pub(super) fn arrive(&mut self, now: i64, rows: &[(Row, i64)], verdicts: &[Verdict]) {
        for ((row, _), verdict) in rows.iter().zip(verdicts) {
            let received = self.arrived(now, sender(row.event % SENDERS));
            let (accepted, corrected, lost) = match verdict {
                Verdict::Duplicate => {
                    received.duplicates += 1;
                    continue;
                }
                Verdict::TooOld => {
                    received.rejected[13] += 1;
                    continue;
                }
                Verdict::Accepted => (1, 0, 0),
                Verdict::NotRetained => (1, 0, 1),
                Verdict::Correction => (1, 1, 0),
                Verdict::CorrectionNotRetained => (1, 1, 1),
            };
            received.accepted += accepted;
            received.corrected += corrected;
            received.not_retained += lost;
        }
    }

    fn arrived(&mut self, now: i64, sender: Sender) -> &mut Received {
        let hour = Hour(u32::try_from(now / HOUR).unwrap());
        self.arrivals.entry((hour, sender)).or_default()
    }

    /// Counts a user of a group, whose month may be over.
    pub(super) fn join(&mut self, row: &Row, group: SiteMonth, is_over: bool) {
        let (users, late) = self.groups.entry(group).or_default();
        if !is_over {
            *users.entry(row.user).or_default() |= 1 << row.drm;
        } else if !users.contains_key(&row.user) {
            late.insert(row.user);
        }
    }

    pub(super) fn correct(&mut self, row: &Row, name: SiteMonth) {
        let corrections = self.corrections.entry(name).or_default();
        corrections.records += 1;
        // The stored codes of an issued licence, a renewal that is not counted, a counted failure.
        corrections.licenses_issued += u64::from(row.effect == 0 || row.effect == 6);
        if row.effect != 0 && row.effect != 7 {
            return;
        }
        let users = self.users.entry(name).or_default();
        if row.user > 0 && !users.contains_key(&row.user) {
            let late = self.late.entry(name).or_default();
            late.insert(row.user);
            corrections.users = late.len() as u64;
        }
        let known = self.stand_ins.get(&name);
        if row.stands_in() && !known.is_some_and(|known| known.contains(&row.device)) {
            let late = self.late_stand_ins.entry(name).or_default();
            late.insert(row.device);
            corrections.device_users = late.len() as u64;
        }
    }

    pub(super) fn count(&mut self, row: &Row, name: SiteMonth) {
        let counters = self.counters.entry(name).or_default();
        let drm = usize::from(row.drm);
        counters.records += 1;
        let effect = Effect::from_code(row.effect).unwrap();
        if effect.is_issue() {
            counters.licenses_issued += 1;
            counters.licenses_by_drm[drm] += 1;
        }
        if effect.is_countable() {
            let users = self.users.entry(name).or_default();
            if row.user > 0 {
                *users.entry(row.user).or_default() |= 1 << row.drm;
            }
            counters.mau = users.len() as u64;
            for (drm, count) in counters.mau_by_drm.iter_mut().enumerate() {
                *count = users.values().filter(|mask| *mask & 1 << drm != 0).count() as u64;
            }
            if row.stands_in() {
                self.stand_ins.entry(name).or_default().insert(row.device);
                counters.device_users = self.stand_ins[&name].len() as u64;
            }
        }
        match effect {
            Effect::Issued => {
                counters.unattributed_licenses += u64::from(row.user == 0);
                counters.sentinel_licenses +=
                    u64::from(row.user == 0 && row.event.is_multiple_of(2));
                counters.licenses_by_device += u64::from(row.stands_in());
                if row.device > 0 {
                    self.devices.entry(name).or_default().insert(row.device);
                    counters.devices = self.devices[&name].len() as u64;
                }
            }
            Effect::Renewal => counters.renewals_excluded += 1,
            Effect::FailedCounted => {
                counters.licenses_failed += 1;
                counters.failures_counted += u64::from(row.user > 0 || row.stands_in());
            }
            Effect::NoLicense => counters.no_license += 1,
            Effect::FailedElsewhere => counters.failed_elsewhere += 1,
            Effect::Failed => counters.licenses_failed += 1,
            Effect::Trial => counters.trial += 1,
            Effect::Test => counters.test += 1,
            Effect::Session => {
                let new =
                    row.device == 0 || self.sessions.entry(name).or_default().insert(row.device);
                counters.watermark_sessions += u64::from(new);
                if row.user > 0 {
                    self.viewers.entry(name).or_default().insert(row.user);
                    counters.watermark_users = self.viewers[&name].len() as u64;
                }
            }
            Effect::Kept => {}
        }
    }
}
