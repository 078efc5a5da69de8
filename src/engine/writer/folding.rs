//! The fold thread: what the writer asks of it, one order after the other.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender};

use super::{Message, Reply};
use crate::engine::fold::{Cut, Folder, ListOrder, Sealing};
use crate::engine::runs::SetId;
use crate::model::arrival::Hour;
use crate::model::batch::SiteMonth;
use crate::model::ids::KeyId;
use crate::model::retention::Lot;
use crate::model::time::{Day, Timestamp};
use crate::store::erasure::Erasure;

/// What the fold thread is asked to do.
pub enum FoldOrder {
    /// Fold.
    Fold(Box<Cut>),
    /// Retire journal keys.
    Retire(Vec<KeyId>),
    /// Remove merged runs.
    Forget(Vec<(SetId, u64)>),
    /// Remove the rows of destroyed lots.
    Remove(Vec<Lot>, Reply<()>),
    /// Seal anew what holds a person.
    Erase(Box<Sealing>, Reply<Erasure>),
    /// Remove the figures of months, which counted so many records.
    End(Vec<SiteMonth>, u64, Reply<u64>),
    /// Forget why records of these hours were refused; how many rows knew it.
    EndReasons(Range<Hour>, Reply<u64>),
    /// End the slots of days before the first of these two, and drop the answers of those before
    /// the other.
    Expire(Day, Day, Reply<()>),
    /// List blocks; between two folds nothing is half there. All that was counted until then is
    /// folded.
    List(ListOrder, Timestamp),
}

/// Runs the fold thread until the writer ends.
pub fn fold_thread(mut folder: Folder, orders: &Receiver<FoldOrder>, writer: &Sender<Message>) {
    for order in orders {
        let result = match order {
            FoldOrder::Fold(cut) => folder.fold(*cut).map(Some),
            FoldOrder::Retire(ids) => folder.retire(&ids).map(|()| None),
            FoldOrder::Forget(merged) => folder.forget(&merged).map(|()| None),
            FoldOrder::Remove(lots, reply) => folder.remove(&lots).map(|()| {
                let _ = reply.send(Ok(()));
                None
            }),
            FoldOrder::Erase(sealing, reply) => folder.serve(*sealing, reply).map(|()| None),
            FoldOrder::End(months, records, reply) => {
                folder.end_figures(&months, records).map(|ended| {
                    let _ = reply.send(Ok(ended));
                    None
                })
            }
            FoldOrder::EndReasons(hours, reply) => folder.end_reasons(&hours).map(|rows| {
                let _ = reply.send(Ok(rows));
                None
            }),
            FoldOrder::Expire(slots, answers, reply) => folder.expire(slots, answers).map(|()| {
                let _ = reply.send(Ok(()));
                None
            }),
            FoldOrder::List(order, as_of) => {
                order.answer(&folder, as_of);
                Ok(None)
            }
        };
        let message = match result {
            Ok(None) => continue,
            Ok(Some(folded)) => Ok(folded),
            Err(error) => Err(error.into()),
        };
        if writer.send(Message::Folded(Box::new(message))).is_err() {
            return;
        }
    }
}
