//! What the desks of retention and of webhooks ask of the engine: rows of their own, sealed and
//! kept by the writer like all others, and the end of a site's collection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fold::ListOrder;
use super::gone::Dues;
use super::writer::{FoldOrder, Message, Reply, Writer};
use super::{Engine, EngineError, access, names};
use crate::model::ids::SiteId;
use crate::model::site::Site;
use crate::model::time::Timestamp;
use crate::store::{Changes, Table};

/// An order to the writer.
pub enum DeskOrder {
    /// Write a row, already sealed.
    Put(Vec<u8>, Vec<u8>, Reply<()>),
    /// Remove a row.
    Delete(Vec<u8>, Reply<()>),
    /// Drop what is older than its stated life at a time.
    Expire(Timestamp, Reply<()>),
    /// Close months by this time: somebody says that a clock which jumped is right.
    Believe(Timestamp, Reply<()>),
    /// End a site's collection.
    Terminate(SiteId, Timestamp, Reply<Arc<Site>>),
    /// List the blocks of a site's month as of the last fold.
    List(ListOrder),
}

/// Names are ASCII, so this comes after all that begin with the same text.
const AFTER_ALL: u8 = 0x7f;

impl Engine {
    /// The desk's rows whose name begins so, in the order of their names.
    ///
    /// # Errors
    /// When a row cannot be read or opened.
    pub fn desk_rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
        let head = self.row_of(prefix);
        let mut rows = self.desk_range(head.clone(), &head, usize::MAX)?;
        // Those of one id are; of several they lie by the hashes of these.
        rows.sort_unstable();
        Ok(rows)
    }

    /// The first of the desk's rows whose name begins so and comes after another; for kinds of rows
    /// that are no site's, or those of one site.
    ///
    /// # Errors
    /// When a row cannot be read or opened.
    pub fn desk_rows_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
        // The next text after a name is the name with a zero behind it.
        let from = [&self.row_of(after)[..], &[0]].concat();
        self.desk_range(from, &self.row_of(prefix), limit)
    }

    fn desk_range(
        &self,
        from: Vec<u8>,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
        let to = end_of(prefix);
        let mut rows = Vec::new();
        for row in self.shared.store.scan(Table::Meta, &from, Some(&to))? {
            if rows.len() >= limit {
                break;
            }
            rows.extend(self.desk_row(row?)?);
        }
        Ok(rows)
    }

    /// The desk's first row from a name on, of those whose name begins so; as
    /// [`Engine::desk_rows_after`].
    ///
    /// # Errors
    /// When the row cannot be read or opened.
    pub fn desk_row_from(
        &self,
        prefix: &str,
        from: &str,
    ) -> Result<Option<(String, Vec<u8>)>, EngineError> {
        let to = end_of(&self.row_of(prefix));
        for row in self.shared.store.scan(Table::Meta, &self.row_of(from), Some(&to))? {
            if let Some(row) = self.desk_row(row?)? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    fn row_of(&self, name: &str) -> Vec<u8> {
        access::row_of(name).unwrap_or_else(|| names::row_of(&self.shared.ring.state_key(), name))
    }

    /// Writes a row of the desk, whose name is ASCII; it is durable when this returns.
    ///
    /// # Errors
    /// When the engine has stopped; [`EngineError::Ended`] for a day of the access log whose month
    /// is destroyed.
    pub async fn put_desk_row(&self, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
        let (row, sealed) = if access::row_of(name).is_some() {
            // Its key may have to be made.
            let (name, bytes) = (name.to_owned(), bytes.to_vec());
            self.aside(move |engine| engine.shared.seal_desk_row(&name, &bytes)).await?
        } else {
            self.shared.seal_desk_row(name, bytes)?
        };
        self.ask(|reply| Message::Desk(DeskOrder::Put(row, sealed, reply))).await
    }

    /// Removes a row of the desk.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn delete_desk_row(&self, name: &str) -> Result<(), EngineError> {
        let row = self.row_of(name);
        self.ask(|reply| Message::Desk(DeskOrder::Delete(row, reply))).await
    }

    /// Asks the desk from now on which buckets are due, so that no record is stored in one. The
    /// first desk that says so is asked.
    pub fn judge_by(&self, dues: Box<dyn Dues>) {
        let _ = self.shared.dues.set(dues);
    }

    /// Somebody says that the clock, which jumped to this time, is right. Months that are over by
    /// it are closed when this returns.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn believe(&self, at: Timestamp) -> Result<(), EngineError> {
        self.ask(|reply| Message::Desk(DeskOrder::Believe(at, reply))).await
    }

    /// The time that is believed, as of the writer's last look at the clock, a moment ago.
    pub fn believed(&self) -> Timestamp {
        Timestamp(self.shared.believed.load(Ordering::Acquire))
    }

    /// Drops seen slots and kept answers that are older than their stated life, also where no
    /// record comes in any more. It is done when this returns.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn expire(&self, believed: Timestamp) -> Result<(), EngineError> {
        self.ask(|reply| Message::Desk(DeskOrder::Expire(believed, reply))).await
    }

    /// Ends a site's collection; one that has ended keeps its time.
    ///
    /// # Errors
    /// When there is no such site or the engine has stopped.
    pub async fn terminate_site(
        &self,
        id: SiteId,
        at: Timestamp,
    ) -> Result<Arc<Site>, EngineError> {
        self.ask(|reply| Message::Desk(DeskOrder::Terminate(id, at, reply))).await
    }
}

impl Writer {
    /// Does what the desk asks for.
    pub fn desk(&mut self, order: DeskOrder) -> Result<(), EngineError> {
        match order {
            DeskOrder::Put(row, sealed, reply) => {
                // Shut since it was sealed: it would be written behind the end of its month.
                if access::month_of(&row).is_some_and(|month| self.shared.access_is_gone(month)) {
                    let _ = reply.send(Err(EngineError::Ended));
                    return Ok(());
                }
                let mut changes = Changes::default();
                changes.put(Table::Meta, row, sealed);
                self.shared.store.apply(&changes)?;
                let _ = reply.send(Ok(()));
            }
            DeskOrder::Delete(row, reply) => {
                let mut changes = Changes::default();
                changes.delete(Table::Meta, row);
                self.shared.store.apply(&changes)?;
                let _ = reply.send(Ok(()));
            }
            DeskOrder::Expire(now, reply) => self.expire(now, reply)?,
            DeskOrder::Believe(at, reply) => {
                self.closing.believe(at);
                self.close_due(self.shared.clock.now())?;
                let _ = reply.send(Ok(()));
            }
            DeskOrder::Terminate(id, at, reply) => {
                let _ = reply.send(match self.terminate(&id, at)? {
                    Some(site) => Ok(site),
                    None => Err(EngineError::NoSite),
                });
            }
            DeskOrder::List(order) => {
                let (through, at) = self.last_cut;
                let is_whole = through + 1 == self.next_group;
                // What is folded then is what was counted until now, or until the last cut.
                let as_of = if is_whole { self.shared.clock.now() } else { at };
                let order = FoldOrder::List(order, as_of);
                self.folder.send(order).map_err(|_| EngineError::Stopped)?;
            }
        }
        Ok(())
    }

    fn terminate(&self, id: &SiteId, at: Timestamp) -> Result<Option<Arc<Site>>, EngineError> {
        let Some(site) = self.shared.directory.site(id) else { return Ok(None) };
        if site.terminated_at.is_some() {
            return Ok(Some(site));
        }
        let ended = Site { terminated_at: Some(at), ..Site::clone(&site) };
        self.shared.directory.put_site(&self.shared.store, ended).map(Some)
    }
}

/// What comes after all rows whose key begins so.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[AFTER_ALL]].concat()
}
