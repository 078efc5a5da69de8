//! What a destruction asks of the writer, in its place among the commits.

use std::ops::Range;
use std::sync::Arc;

use super::{FoldOrder, Reply, Writer};
use crate::engine::EngineError;
use crate::engine::fold::Sealing;
use crate::engine::gone::Gone;
use crate::engine::journal::JournalKey;
use crate::model::arrival::Hour;
use crate::model::batch::SiteMonth;
use crate::model::ids::{KeyId, SiteId};
use crate::model::retention::Lot;
use crate::store::Changes;
use crate::store::erasure::Erasure;

/// What a destruction asks.
pub enum Order {
    /// Let no later row into these lots; these changes are written with it. Answers the journal
    /// keys that rows from before may be sealed under; none of them is used from here on, but for
    /// batches on their way.
    Close(Vec<Lot>, Changes, Reply<Vec<KeyId>>),
    /// Drop what memory holds of these lots.
    Forget(Vec<Lot>, Reply<()>),
    /// Have the fold remove the rows of these lots, whose keys are gone.
    Remove(Vec<Lot>, Reply<()>),
    /// Have the fold seal anew what holds a person.
    Erase(Box<Sealing>, Reply<Erasure>),
    /// Forget why records of these hours, and of all before them, were refused; how many rows
    /// knew it.
    EndReasons(Range<Hour>, Reply<u64>),
    /// End the figures of months; how many had any.
    EndFigures(Vec<SiteMonth>, Reply<u64>),
    /// Remove a site of which nothing is left; false where something is.
    EndSite(SiteId, Reply<bool>),
}

impl Writer {
    /// Serves a destruction.
    ///
    /// # Errors
    /// When the disk or the register refuses; then the writer ends.
    pub(super) fn destruction(&mut self, order: Order) -> Result<(), EngineError> {
        match order {
            Order::Close(lots, changes, reply) => {
                let keys = self.close_lots(&lots, changes)?;
                let _ = reply.send(Ok(keys));
            }
            Order::Forget(lots, reply) => {
                for lot in lots {
                    match lot {
                        Lot::Sets(at) => {
                            self.state.drop_sets(at);
                            self.shared.without_sets(at);
                        }
                        Lot::Suppression(at) => self.shared.forget_suppressed(at.site),
                        _ => {}
                    }
                }
                let _ = reply.send(Ok(()));
            }
            Order::Remove(lots, reply) => {
                let order = FoldOrder::Remove(lots, reply);
                self.folder.send(order).map_err(|_| EngineError::Stopped)?;
            }
            Order::EndReasons(hours, reply) => {
                // First here: a cut behind this has none.
                self.shared.arrivals.end_reasons(hours.end);
                let order = FoldOrder::EndReasons(hours, reply);
                self.folder.send(order).map_err(|_| EngineError::Stopped)?;
            }
            Order::EndFigures(months, reply) => self.end_figures(months, reply)?,
            Order::EndSite(id, reply) => {
                let _ = reply.send(Ok(self.end_site(&id)?));
            }
            Order::Erase(sealing, reply) => {
                let order = FoldOrder::Erase(sealing, reply);
                self.folder.send(order).map_err(|_| EngineError::Stopped)?;
            }
        }
        Ok(())
    }

    fn close_lots(
        &mut self,
        lots: &[Lot],
        mut changes: Changes,
    ) -> Result<Vec<KeyId>, EngineError> {
        let from_group = self.next_group;
        self.shared.gone(|gone: &Gone| gone.rows(lots, from_group, &mut changes));
        self.shared.store.apply(&changes)?;
        self.shared.add_gone(lots, from_group);
        let next = match self.keys.next.take() {
            Some(next) => next,
            None => Arc::new(JournalKey { key: self.shared.ring.journal()? }),
        };
        let old = self.shared.rotate_key(next);
        self.keys.old.push((old, self.keys.current_last));
        let old = self.keys.old.iter().map(|(key, _)| key.key.id());
        Ok(old.chain(self.keys.stale.iter().copied()).collect())
    }
}
