//! What the desk looks at itself after a destruction, beside what the engine reports: lots, keys,
//! the copies for heirs, and both files of the register.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::plan::{keys_of, name_of};
use super::run::{End, FAILED, all_keys};
use super::vault::{DestroyReport, LotReport};
use super::{DeskError, Inner};
use crate::keys::RegisterScan;
use crate::ledger::{Alarm, Keys};
use crate::model::ids::KeyId;
use crate::model::retention::Lot;
use crate::wire::retention::certificate::RegisterSearch;
use crate::wire::retention::rows::{FailedRow, Planned, Reported, RunRow};
use crate::wire::retention::view::RunView;

impl Inner {
    /// What the desk finds itself: no planned lot lives, every planned key is gone, each hold has
    /// its copy, and a search in the register finds none of the keys.
    fn is_gone(&self, row: &RunRow, register: RegisterSearch) -> Result<bool, DeskError> {
        let keys: Vec<KeyId> = all_keys(row).iter().map(|key| KeyId(key.key)).collect();
        let lots = self.vault.lots().into_iter().map(|info| (None, info.lot));
        let copies = self.vault.held()?.into_iter().map(|held| (Some(held.hold.0), held.lot));
        let living: BTreeSet<(Option<u64>, Lot)> = lots.chain(copies).collect();
        let gone = row.lots.iter().all(|planned| !living.contains(&(planned.hold, planned.lot)));
        let kept = |planned: &Planned| {
            planned.heirs.iter().all(|heir| living.contains(&(Some(*heir), planned.lot)))
        };
        let ended = !self.is_begun(row);
        let of_holds = row.lots.iter().any(|planned| planned.hold.is_some());
        let dead = match of_holds {
            true => self.vault.is_held_destroyed(&keys, row.vek_before),
            false => self.vault.is_destroyed(&keys, row.vek_before),
        };
        Ok(gone && ended && dead && register.found == 0 && row.lots.iter().all(kept))
    }

    /// The engine's report, and what the desk finds itself ([`Inner::is_gone`]); each key had the
    /// commitment that the ledger has.
    pub(super) fn looked_at(
        &self,
        row: &RunRow,
        report: &DestroyReport,
        again: bool,
        register: RegisterSearch,
    ) -> Result<Reported, DeskError> {
        let planned = all_keys(row);
        let destroyed = self.is_gone(row, register)?;
        let register = Some(register);
        // A start may have finished what a cut had left: then there is nothing to do any more.
        let finished = again && report.nothing && destroyed;
        let ended_at = self.clock.now().max(row.begun_at);
        if report.nothing {
            return Ok(Reported {
                records: None,
                keys: if finished { keys_of(&planned) } else { Keys::default() },
                keys_tried: 0,
                old_epoch: row.vek_before,
                new_epoch: self.epoch_of_plan(&row.lots).unwrap_or(row.vek_before),
                generation: None,
                files_removed: 0,
                bytes_reclaimed: 0,
                files_searched: 0,
                register,
                home_copy_opens: true,
                passed: finished,
                nothing: !finished,
                withdrawn: false,
                ended_at,
            });
        }
        let victims = report.lots.iter().flat_map(|lot| &lot.keys);
        let same = victims.clone().all(|victim| {
            let own = planned.iter().find(|key| key.key == victim.key.id.0);
            own.is_none_or(|own| own.commitment.0 == victim.commitment)
        });
        let records = |planned: &Planned| {
            let of = |done: &&LotReport| (done.lot, done.hold) == name_of(planned);
            report.lots.iter().find(of).map(|done| done.records)
        };
        let records: Option<Vec<Option<u64>>> = row.lots.iter().map(records).collect();
        Ok(Reported {
            records,
            keys: keys_of(&planned),
            keys_tried: report.keys_tried,
            old_epoch: report.old_epoch,
            new_epoch: report.new_epoch,
            generation: Some(report.generation),
            files_removed: report.files_removed,
            bytes_reclaimed: report.bytes_reclaimed,
            files_searched: report.files_searched,
            register,
            home_copy_opens: report.home_copy_opens,
            passed: destroyed && same,
            nothing: false,
            withdrawn: false,
            ended_at,
        })
    }

    /// The ledger has a result that was not passed: an alarm, a row of what failed, and the plan
    /// ends.
    pub(super) async fn not_passed(
        &self,
        row: &RunRow,
        reported: &Reported,
        operation: u64,
        view: &mut RunView,
    ) -> Result<End, DeskError> {
        let failed = Alarm::VerificationFailed;
        let reason = if reported.nothing { Alarm::NothingDestroyed } else { failed };
        self.alarm(reason).await?;
        let name = format!("{FAILED}{operation:020}");
        let ended_at = reported.ended_at;
        let failed = FailedRow { operation, ended_at, lots: row.lots.clone() };
        self.vault.put_row(name, failed.to_bytes()?).await?;
        self.drop_run(row).await?;
        view.failed += 1;
        Ok(End::Failed)
    }

    /// What a search for the keys of a plan finds in the register.
    pub(super) async fn searched(&self, row: &RunRow) -> Result<RegisterSearch, DeskError> {
        let keys: Vec<KeyId> = all_keys(row).iter().map(|key| KeyId(key.key)).collect();
        let of_holds = row.lots.iter().any(|planned| planned.hold.is_some());
        let vault = Arc::clone(&self.vault);
        // Both files are read whole.
        let found = tokio::task::spawn_blocking(move || vault.scan_register(&keys, of_holds));
        let found = found.await.map_err(|_| DeskError::Failed)??;
        if found.found > 0 {
            tracing::error!(places = found.found, "the register still has what was destroyed");
        }
        let RegisterScan { copies, places, keys, wrapped, found } = found;
        Ok(RegisterSearch { copies, places, keys, wrapped, found })
    }

    /// The same; `None` where it could not be made, after an alarm. The row stays, and the next run
    /// searches again: nothing that was destroyed is certified without.
    pub(super) async fn searched_or_told(
        &self,
        row: &mut RunRow,
        view: &mut RunView,
    ) -> Result<Option<RegisterSearch>, DeskError> {
        match self.searched(row).await {
            Ok(search) => Ok(Some(search)),
            Err(DeskError::Stopped) => Err(DeskError::Stopped),
            Err(error) => {
                tracing::error!(%error, "retention: the register could not be searched");
                self.alarm_once(row, Alarm::VerificationFailed).await?;
                view.failed += 1;
                Ok(None)
            }
        }
    }

    /// A report with what the search found, made now where a build reported that did not look.
    /// `None`, after an alarm, where it cannot be made or finds a key.
    pub(super) async fn with_search(
        &self,
        row: &mut RunRow,
        reported: Reported,
        view: &mut RunView,
    ) -> Result<Option<Reported>, DeskError> {
        if reported.register.is_some() {
            return Ok(Some(reported));
        }
        let Some(search) = self.searched_or_told(row, view).await? else { return Ok(None) };
        if search.found > 0 {
            self.alarm_once(row, Alarm::VerificationFailed).await?;
            view.failed += 1;
            return Ok(None);
        }
        let reported = Reported { register: Some(search), ..reported };
        row.report = Some(reported.clone());
        self.keep_run(row).await?;
        Ok(Some(reported))
    }
}
