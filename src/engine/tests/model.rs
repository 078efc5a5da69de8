//! What must have happened, by the plainest sets and maps.

use super::*;
use crate::model::usage::Counters;

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
    pub(super) corrections: BTreeMap<SiteMonth, Counters>,
    /// What came after the close: users, devices, devices that stand for users, sessions, and users
    /// of these; none that was there before.
    pub(super) late: BTreeMap<SiteMonth, [BTreeSet<u16>; 5]>,
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
    /// Days of the access log by the names of their rows, and months that were destroyed.
    pub(super) log: BTreeMap<String, Vec<u8>>,
    pub(super) log_gone: BTreeSet<Month>,
    /// What arrived from whom.
    pub(super) arrivals: BTreeMap<(Hour, Sender), Received>,
}

impl Model {
    /// A month of the access log is destroyed.
    pub(super) fn end_log(&mut self, month: Month) {
        self.log.retain(|name, _| !name.starts_with(&format!("access/{month}-")));
        self.log_gone.insert(month);
    }

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

    /// Counts a row that came after the close.
    pub(super) fn correct(&mut self, row: &Row, name: SiteMonth) {
        let effect = Effect::from_code(row.effect).unwrap();
        let countable = [0, 7, 13].contains(&row.effect);
        let issued = [0, 13].contains(&row.effect);
        let session = row.effect == 4;
        let users: BTreeSet<u16> =
            self.users.get(&name).map(|users| users.keys().copied().collect()).unwrap_or_default();
        let known = |sets: &BTreeMap<SiteMonth, BTreeSet<u16>>| {
            sets.get(&name).cloned().unwrap_or_default()
        };
        let before = [
            users,
            known(&self.devices),
            known(&self.stand_ins),
            known(&self.sessions),
            known(&self.viewers),
        ];
        let late = self.late.entry(name).or_default();
        let sessions = late[3].len();
        for (place, (comes, number)) in [
            (countable && row.user > 0, row.user),
            (issued && row.device > 0, row.device),
            (countable && row.stands_in(), row.device),
            (session && row.device > 0, row.device),
            (session && row.user > 0, row.user),
        ]
        .into_iter()
        .enumerate()
        {
            if comes && !before[place].contains(&number) {
                late[place].insert(number);
            }
        }
        let corrections = self.corrections.entry(name).or_default();
        // A session without an id is nobody's second one, and in no set.
        let alone = session && row.device == 0;
        corrections.watermark_sessions += u64::from(alone || late[3].len() > sessions);
        let [users, devices, stand_ins, _, viewers] = &*late;
        let size = |set: &BTreeSet<u16>| set.len() as u64;
        (corrections.mau, corrections.devices) = (size(users), size(devices));
        (corrections.device_users, corrections.watermark_users) = (size(stand_ins), size(viewers));
        sums(corrections, row, effect);
    }

    pub(super) fn count(&mut self, row: &Row, name: SiteMonth) {
        let counters = self.counters.entry(name).or_default();
        let effect = Effect::from_code(row.effect).unwrap();
        sums(counters, row, effect);
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
        if [Effect::Issued, Effect::Anonymous].contains(&effect) && row.device > 0 {
            self.devices.entry(name).or_default().insert(row.device);
            counters.devices = self.devices[&name].len() as u64;
        }
        if effect == Effect::Session {
            let new = row.device == 0 || self.sessions.entry(name).or_default().insert(row.device);
            counters.watermark_sessions += u64::from(new);
            if row.user > 0 {
                self.viewers.entry(name).or_default().insert(row.user);
                counters.watermark_users = self.viewers[&name].len() as u64;
            }
        }
    }
}

/// Counts what adds up.
fn sums(counters: &mut Counters, row: &Row, effect: Effect) {
    counters.records += 1;
    if [Effect::Issued, Effect::Renewal, Effect::Anonymous].contains(&effect) {
        counters.licenses_issued += 1;
        counters.licenses_by_drm[usize::from(row.drm)] += 1;
    }
    match effect {
        Effect::Issued | Effect::Anonymous if row.user == 0 => {
            counters.unattributed_licenses += 1;
            let stands = u64::from(row.stands_in());
            counters.licenses_by_device += stands;
            if row.event.is_multiple_of(2) {
                counters.sentinel_licenses += 1;
                counters.sentinel_by_device += stands;
            } else if effect == Effect::Anonymous {
                counters.anonymous_licenses += 1;
                counters.anonymous_by_device += stands;
            }
        }
        Effect::Issued | Effect::Anonymous => {}
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
        Effect::Session => counters.session_records += 1,
        Effect::SessionFailed => counters.sessions_failed += 1,
        Effect::SessionTrial => counters.sessions_trial += 1,
        Effect::SessionTest => counters.sessions_test += 1,
        Effect::Kept => counters.other_records += 1,
    }
}
