//! What a certificate does not show, one sentence each: what every one says, and what this one must
//! say because of what it is about.

use std::collections::BTreeSet;

use super::plan::epoch_of;
use super::{DeskError, Inner};
use crate::engine::calendar;
use crate::ledger::{Epoch, Event, LedgerError, Phase, Recorded};
use crate::model::ids::SiteId;
use crate::model::retention::Lot;
use crate::model::site::Site;
use crate::model::time::{DAY_MS, Month, Timestamp};
use crate::wire::retention::certificate::{Backups, CoveredBackup};
use crate::wire::retention::rows::{Planned, Reported, RunRow};

const LIMITS: [&str; 3] = [
    "It says nothing about data that left this server before: answers, exports, the customer's own \
     records.",
    "Counts without pseudonyms (statements, figures of a month) live on in their own class.",
    "That the same key was never copied out of the memory of the running process cannot be shown.",
];
const COUNT: &str = "The destruction was cut short and finished by the next start: the \
    number of records went with the keys, and whether a copy of the VEK home would open anything \
    is taken for granted.";
const HELD: &str = "Lots with \"held_by\" are not gone: before their keys were destroyed \
    here, the holds that are named there got a copy in hold storage, under keys of a vault of its \
    own. Block keys were sealed anew there; keys of pseudonyms and of sets were taken over.";
const UNCOUNTED: &str = "Where the number of records is null a block could not be read \
    before its key was destroyed, so nobody knows how many records were in it.";
const UNTRIED: &str = "Not every key was tried at the end: a start finished the destruction \
    and had no wrapped form of it any more. That it is gone is known by the register and by the \
    end of its vault epoch.";
const BACKUPS: &str = "Backups that were made before hold sealed rows of this and no key; how many \
    copies of them there are, and where, this program does not know. They open nothing of it, on \
    the terms that \"copies\" names.";
/// The same where a copy of something on the list lives on in hold storage.
const BACKUPS_HELD: &str = "Backups that were made before hold sealed rows of this and no key; how \
    many copies of them there are, and where, this program does not know. Of what \"held_by\" \
    names, and of what another hold keeps a copy of, hold storage has keys that open such rows \
    until these holds end. Of the rest they open nothing, on the terms that \"copies\" names.";

/// Why backups of before open nothing of what was destroyed.
const DEAD: &str = "A backup holds sealed rows and no key. The keys that open these rows were in \
    the register only, wrapped under the vault epoch that \"vek\" names as destroyed; they were \
    zeroed in its copies, and with that epoch every older copy of the register became noise. What \
    a copy of the VEK home from before would change, \"copies\" says.";
/// The same where a copy of something on the list lives on in hold storage.
const DEAD_BUT_HELD: &str = "A backup holds sealed rows and no key. Rows of lots with \"held_by\", \
    and of lots that another hold keeps a copy of, are not dead: the keys of their blocks, sets \
    and pseudonyms live on in hold storage, under the register of holds, until these holds end, \
    and they open the same rows in a backup. For all other rows the keys that open them were in \
    the register only, wrapped under the vault epoch that \"vek\" names as destroyed; they were \
    zeroed in its copies, and with that epoch every older copy of the register became noise. What \
    a copy of the VEK home from before would change, \"copies\" says.";
/// What both say beside that where days of the access log go: earlier programs had no key for them.
const DEAD_LOG: &str = " Days of the access log that a program before data format 7 wrote were \
    under the state key, which lives as long as the vault, until the first start of one of format \
    7; a backup from before that start has them so, and is not dead in this.";
const BACKUPS_LOG: &str = "Backups from before the first start of a program of data format 7 have \
    days of the access log under the state key, which lives: whoever has that key and such a \
    backup can read these days for as long as the backup is kept.";
/// What a certificate says of its backups where lots of it are held: a word that [`DEAD`] lacks.
pub(super) const HELD_WORD: &str = "\"held_by\"";
/// How much earlier than its first day a row may have come at most, milliseconds: a record a little
/// ahead of its time, in a zone ahead of UTC.
const EARLY_MS: i64 = 2 * DAY_MS;

/// Entries that are read from the ledger at once.
const READ_ENTRIES: u64 = 1_000;
/// What a line of the ledger about a backup has in it.
const BACKUP_LINE: &str = "\"kind\":\"backup\"";

impl Inner {
    /// The limits of a destruction's certificate.
    ///
    /// # Errors
    /// When the vault of the holds cannot be opened.
    pub(super) fn limits_of(
        &self,
        row: &RunRow,
        reported: &Reported,
    ) -> Result<Vec<String>, DeskError> {
        let uncounted = reported.records.iter().flatten().any(Option::is_none);
        let held = row.lots.iter().any(|planned| !planned.heirs.is_empty());
        let said = LIMITS
            .into_iter()
            .chain(reported.generation.is_none().then_some(COUNT))
            .chain(uncounted.then_some(UNCOUNTED))
            .chain((reported.keys_tried < reported.keys.count()).then_some(UNTRIED))
            .chain(held.then_some(HELD))
            .chain([if self.lives_on(row)? { BACKUPS_HELD } else { BACKUPS }]);
        let mut limits: Vec<String> = said.map(str::to_owned).collect();
        limits.extend(has_log(row).then(|| BACKUPS_LOG.to_owned()));
        limits.extend(self.staged_line(row));
        limits.extend(self.group_line(row)?);
        limits.extend(self.days_line(row));
        Ok(limits)
    }

    /// Whether a copy of something that a plan destroys lives on in hold storage: for the heirs of
    /// the plan, or for another hold than the one whose copies go.
    fn lives_on(&self, row: &RunRow) -> Result<bool, DeskError> {
        let lots: BTreeSet<Lot> = row.lots.iter().map(|planned| planned.lot).collect();
        let moved = row.lots.iter().any(|planned| !planned.heirs.is_empty());
        Ok(moved || self.vault.held()?.iter().any(|copy| lots.contains(&copy.lot)))
    }

    /// Why backups of before open nothing of what a plan destroyed, or of which of it they do.
    pub(super) fn dead(&self, row: &RunRow) -> Result<String, DeskError> {
        let dead = if self.lives_on(row)? { DEAD_BUT_HELD } else { DEAD };
        let log = if has_log(row) { DEAD_LOG } else { "" };
        Ok([dead, log].concat())
    }

    /// Records of the same month that an open backfill has put aside under a key of its own.
    fn staged_line(&self, row: &RunRow) -> Option<String> {
        let numbers = months_of(row).filter_map(|(site, month)| self.vault.staged_in(&site, month));
        let names = joined(numbers.map(|number| format!("b{number}")))?;
        Some(format!(
            "Records that open backfills ({names}) have put aside for a site and month of this \
             list are under keys of their own and still there; they end with the backfill, which \
             is abandoned when something of it is due."
        ))
    }

    /// Sets of billing groups in which users of these sites are, too.
    fn group_line(&self, row: &RunRow) -> Result<Option<String>, DeskError> {
        let living = self.vault.lots().into_iter().map(|info| (info.site, info.lot));
        let held = self.vault.held()?.into_iter().map(|copy| (copy.site, copy.lot));
        let sets: BTreeSet<(SiteId, Month)> = living
            .chain(held)
            .filter_map(|(site, lot)| match lot {
                Lot::Sets(at) if site.is_group() => Some((site, at.month)),
                _ => None,
            })
            .collect();
        let of_members = months_of(row).filter_map(|(site, month)| {
            let site = self.vault.site(&site)?;
            let group = site.settings_in(month).billing_group.clone()?;
            let scope =
                sets.iter().find(|(of, at)| *at == month && of.group() == Some(group.clone()));
            scope.map(|(scope, month)| format!("{} {month}", scope.as_str()))
        });
        Ok(joined(of_members).map(|names| {
            format!(
                "Users of a site that was in a billing group are also in the group's own set \
                 ({names}), under keys of its own: it goes with the last of its members' sets, \
                 and is kept while a member is on hold. Until then whoever has those keys and a \
                 list of ids could tell who of it was in the group."
            )
        }))
    }

    /// Days that a removed month shares with another one.
    fn days_line(&self, row: &RunRow) -> Option<String> {
        row.removal.as_ref()?;
        let days = months_of(row).flat_map(|(site, month)| {
            let site = self.vault.site(&site);
            let days =
                site.map_or(Vec::new(), |site: std::sync::Arc<Site>| self.left_days(&site, month));
            days.into_iter().map(|day| day.to_string())
        });
        let days = joined(days)?;
        Some(format!(
            "Records of the UTC days {days} stay until they are due: another month of the site \
             shares them. The keys that made the removed month's pseudonyms are gone."
        ))
    }

    /// The backups that were made before an entry; those with a barrier from a time on by name.
    pub(super) async fn backups_before(
        &self,
        entry: u64,
        first: Timestamp,
        dead: String,
    ) -> Result<Backups, DeskError> {
        self.ask(move |ledger| {
            let (mut from, mut made, mut last, mut covered) = (0, 0, None, Vec::new());
            while from < entry {
                let lines = ledger.read(from, READ_ENTRIES.min(entry - from))?;
                for (line, number) in lines.iter().zip(from..) {
                    if !line.contains(BACKUP_LINE) {
                        continue;
                    }
                    let read = Recorded::decode(line.as_bytes());
                    let read = read.map_err(|_| LedgerError::Changed { entry: number })?;
                    if let (Phase::Result, Event::BackupResult { outcome, barrier, manifest, .. }) =
                        (read.event.phase(), &read.event)
                        && outcome.as_str() == "made"
                    {
                        let operation = read.operation;
                        (made, last) = (made + 1, Some(operation));
                        // One that was found made after a cut has both, too.
                        if let (Some(barrier), Some(manifest)) = (*barrier, *manifest)
                            && barrier >= first
                        {
                            covered.push(CoveredBackup { operation, barrier, manifest });
                        }
                    }
                }
                from += lines.len().max(1) as u64;
            }
            covered.sort_unstable_by_key(|backup| backup.operation);
            let (covered, dead) = (Some(covered), Some(dead));
            Ok(Backups { made, last, covered, dead })
        })
        .await
    }

    /// From when on a backup can hold rows of what is destroyed.
    pub(super) fn rows_from(&self, row: &RunRow) -> Timestamp {
        let of = |planned: &Planned| {
            let site = self.vault.site(&planned.site);
            let first = match (planned.lot, epoch_of(planned.lot)) {
                // Persons are suppressed for all months, and uses are noted by the day that was
                // believed, which may be ahead of the clock that a backup has its time from.
                (Lot::Suppression(_) | Lot::Access(_), _) => None,
                (_, Epoch::Day(day)) => Some(day.start()),
                (_, Epoch::Month(month)) => {
                    site.and_then(|site| calendar::span(&site, month).ok()).map(|span| span.from)
                }
            };
            first.map_or(Timestamp(i64::MIN), |first| Timestamp(first.0.saturating_sub(EARLY_MS)))
        };
        row.lots.iter().map(of).min().unwrap_or(Timestamp(i64::MIN))
    }
}

/// Whether a destruction takes months of the access log.
fn has_log(row: &RunRow) -> bool {
    row.lots.iter().any(|planned| matches!(planned.lot, Lot::Access(_)))
}

/// The months of sites that a destruction is about, each once.
fn months_of(row: &RunRow) -> impl Iterator<Item = (SiteId, Month)> {
    let months = row.lots.iter().filter(|planned| planned.hold.is_none()).map(|planned| {
        let month = match epoch_of(planned.lot) {
            Epoch::Month(month) => month,
            Epoch::Day(day) => day.month(),
        };
        (planned.site.clone(), month)
    });
    let months: BTreeSet<(SiteId, Month)> = months.collect();
    months.into_iter()
}

/// Names in their order, each once; `None` where there is none.
fn joined(names: impl Iterator<Item = String>) -> Option<String> {
    let names: BTreeSet<String> = names.collect();
    let all: Vec<String> = names.into_iter().collect();
    (!all.is_empty()).then(|| all.join(", "))
}
