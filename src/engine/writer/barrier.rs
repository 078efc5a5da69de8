//! The barrier of a backup: a moment at which everything that was acknowledged is folded and the
//! journal is empty. The writer takes no batch meanwhile, so that no kept answer and no setting is
//! in the copy whose records are not; batches wait, no longer than a small fold takes.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::{Message, Reply, Submission, Writer};
use crate::engine::EngineError;
use crate::model::time::Timestamp;
use crate::store::backup::DataMark;

/// The copy and what it is of.
pub struct Copied {
    /// Where the copy is.
    pub path: PathBuf,
    /// Everything that was acknowledged before this is in it, and nothing after.
    pub barrier: Timestamp,
    /// The last group in it.
    pub folded_through: u64,
    /// How far keys and ledger were.
    pub mark: DataMark,
}

/// Who waits for a barrier, and the batches that wait for its end.
#[derive(Default)]
pub struct Barrier {
    /// Who waits.
    pub waiter: Option<Reply<Copied>>,
    /// Batches, in the order in which they came.
    pub held: VecDeque<Box<Submission>>,
}

impl Writer {
    /// A batch that waited for a barrier, once there is none.
    pub(super) fn next_held(&mut self) -> Option<Message> {
        if self.barrier.waiter.is_some() {
            return None;
        }
        self.barrier.held.pop_front().map(Message::Append)
    }

    /// Makes the copy, if everything is folded; else folds.
    ///
    /// # Errors
    /// When the fold thread has ended.
    pub(super) fn try_barrier(&mut self) -> Result<(), EngineError> {
        if self.barrier.waiter.is_none() || self.folding {
            return Ok(());
        }
        if self.folded_through + 1 < self.next_group {
            return self.cut();
        }
        let Some(reply) = self.barrier.waiter.take() else { return Ok(()) };
        // A copy that failed is the caller's; a disk that cannot go on shows at the next write.
        let _ = reply.send(self.copied());
        Ok(())
    }

    fn copied(&self) -> Result<Copied, EngineError> {
        let shared = &self.shared;
        let mark = shared.mark()?;
        let barrier = shared.clock.now();
        let path = shared.store.checkpoint()?;
        Ok(Copied { path, barrier, folded_through: self.folded_through, mark })
    }
}
