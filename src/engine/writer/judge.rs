//! The judging of a group: each batch in its order, against what the ones before it left.

use std::collections::BTreeMap;
use std::mem::take;

use super::{Piece, RingKeys, Submission, Writer};
use crate::engine::EngineError;
use crate::engine::state::{Apply, Window};
use crate::model::arrival::Received;
use crate::model::time::Timestamp;
use crate::model::usage::Extent;
use crate::store::verdict::GroupVerdict;

impl Writer {
    /// Judges a group; of a backfill, with the rows that are known to be repeated.
    ///
    /// # Errors
    /// When a set on disk cannot be read; then the engine must stop.
    pub(super) fn judge(
        &mut self,
        group: &mut [Submission],
        repeats: Option<&[Vec<bool>]>,
        now: Timestamp,
    ) -> Result<GroupVerdict, EngineError> {
        let number = self.next_group;
        let keys = RingKeys(&self.shared);
        let mut verdict = GroupVerdict {
            judged_at: now,
            believed: self.closing.believed(),
            batches: Vec::with_capacity(group.len()),
            tallies: Vec::new(),
            arrivals: Vec::new(),
            extent: Extent::Everything,
        };
        let mut arrived: BTreeMap<_, Received> = BTreeMap::new();
        let mut touched: Vec<usize> = Vec::new();
        for (at, submission) in group.iter_mut().enumerate() {
            let repeats =
                repeats.map(|of| submission.order.split(of.get(at).map_or(&[][..], Vec::as_slice)));
            let first = verdict.batches.len();
            for (piece, Piece { batch, .. }) in submission.pieces.iter().enumerate() {
                let repeats = repeats.as_ref();
                let input = Apply {
                    batch,
                    verdicts: None,
                    repeats: repeats.map(|of| of.get(piece).map_or(&[][..], Vec::as_slice)),
                    now,
                    window: Window { age_ms: self.settings.age_ms },
                    group: number,
                    extent: Extent::Everything,
                    store: &self.shared.store,
                    keys: &keys,
                };
                let (rows, months) = self.state.apply(input)?;
                verdict.batches.push(rows);
                touched.extend(months);
            }
            let arrival = take(&mut submission.arrival);
            let judged = match &verdict.batches[first..] {
                [whole] => arrival.judged(whole),
                pieces => arrival.judged(&submission.order.join(pieces.to_vec())),
            };
            for (sender, received) in judged {
                arrived.entry(sender).or_default().add(&received);
            }
        }
        verdict.arrivals = arrived.into_iter().collect();
        touched.sort_unstable();
        touched.dedup();
        let months = self.state.months();
        let tally = |index: usize| (months[index].at, months[index].tally.clone());
        verdict.tallies = touched.into_iter().map(tally).collect();
        Ok(verdict)
    }
}
