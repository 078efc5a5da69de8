//! The seam between a request and whoever decides about its batch: today the writer thread of this
//! process, later a partitioned log whose owners may be elsewhere. Appending gives a position; what
//! became of the batch is known once it is durable and judged.

use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::partition::{self, Order};
use super::writer::{Message, Piece, Submission};
use super::{Answer, Engine, EngineError, MonthSeen, Outcome, calendar, journal};
use crate::model::batch::{Batch, Details, SiteMonth};

/// Takes batches, and tells what became of them.
pub trait Log {
    /// Where an appended batch is.
    type Position: Send;

    /// Takes a batch whose rows were made under these months: where one of them has changed since,
    /// its outcome is busy, and the same body makes other rows.
    ///
    /// # Errors
    /// Busy, out of disk, or stopped; then nothing was taken, and the same batch may be sent again.
    fn append(
        &self,
        batch: Batch,
        months: Vec<MonthSeen>,
        answer: Option<Answer>,
    ) -> Result<Self::Position, EngineError>;

    /// What became of a batch; waits until it is on the disk, judged and counted.
    ///
    /// # Errors
    /// As [`Log::append`]; then nothing was acknowledged.
    fn outcome(
        &self,
        position: Self::Position,
    ) -> impl Future<Output = Result<Outcome, EngineError>> + Send;
}

/// A batch in the writer's queue.
pub struct Queued(oneshot::Receiver<Result<Outcome, EngineError>>);

impl Log for Engine {
    type Position = Queued;

    fn append(
        &self,
        mut batch: Batch,
        months: Vec<MonthSeen>,
        answer: Option<Answer>,
    ) -> Result<Queued, EngineError> {
        if self.shared.disk_low.load(Ordering::Acquire) {
            return Err(EngineError::DiskFull);
        }
        let unfolded = self.shared.journal_bytes.load(Ordering::Acquire);
        if unfolded > self.settings.unfolded_bytes {
            return Err(EngineError::Busy);
        }
        let arrival = take(&mut batch.arrival);
        let (pieces, order) = self.pieces(batch);
        // Its senders are not in the sealed part, and are all that a batch without rows has.
        let sealed: usize = pieces.iter().map(|piece| piece.sealed.bytes.len()).sum();
        let bytes = sealed + arrival.bytes() + size_of::<Submission>();
        let waiting = self.shared.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        if waiting > 0 && waiting + bytes > self.settings.queue_bytes {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(EngineError::Busy);
        }
        let submission =
            |reply| Submission { pieces, order, arrival, bytes, months, answer, reply };
        let outcome = self.tell(|reply| Message::Append(Box::new(submission(reply))))?;
        Ok(Queued(outcome))
    }

    async fn outcome(&self, Queued(outcome): Queued) -> Result<Outcome, EngineError> {
        outcome.await.map_err(|_| EngineError::Stopped)?
    }
}

impl Engine {
    /// A batch cut by groups of event partitions, each piece sealed by itself.
    pub(super) fn pieces(&self, batch: Batch) -> (Vec<Piece>, Order) {
        let partitions = |at: SiteMonth| {
            let site = self.shared.directory.by_no(at.site);
            let span = site.and_then(|site| calendar::named(&site, at.month));
            span.map_or(calendar::PARTITIONS, |span| span.partitions)
        };
        let (pieces, order) = partition::cut(batch, self.settings.partition_groups, partitions);
        let key = self.shared.current_key();
        let seal = |mut batch: Batch| {
            let sealed = journal::seal(&batch, crate::crypto::random_bytes(), Arc::clone(&key));
            batch.details = Details::default();
            Piece { batch, sealed }
        };
        (pieces.into_iter().map(seal).collect(), order)
    }
}
