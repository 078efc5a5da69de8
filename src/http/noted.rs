//! A use of a route by a credential that was proven, from then until the access log has it. A read
//! whose connection drops is no task of its own: it ends where it waits, and what it had looked up
//! by then nobody can tell. So it is in the log all the same, with a status that says so. (One
//! whose connection drops with its last byte is not begun: nothing is looked up for it.)

use hyper::Method;

use super::router::Row;
use crate::model::caller::Caller;
use crate::retention::Desk;

/// The status of a read whose client hung up before its answer was there. It is never sent.
pub(super) const HUNG_UP: u16 = 499;

/// A use that the log does not have yet.
pub(super) struct Use<'a> {
    desk: &'a Desk,
    caller: &'a Caller,
    row: &'a Row,
    site: Option<&'a str>,
    noted: bool,
}

impl<'a> Use<'a> {
    /// It begins: the caller is proven. `site` is what the path names in the place of a site.
    pub(super) const fn new(
        desk: &'a Desk,
        caller: &'a Caller,
        row: &'a Row,
        site: Option<&'a str>,
    ) -> Self {
        Self { desk, caller, row, site, noted: false }
    }

    /// It has an answer of this status, whether anybody still waits for it or not.
    pub(super) fn answered(mut self, status: u16) {
        self.note(status);
    }

    fn note(&mut self, status: u16) {
        self.noted = true;
        self.desk.note_access(self.caller, self.row.name, self.site, status);
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        // What changes something goes its whole way, and records are counted where they are taken.
        if !self.noted && self.row.method == Method::GET {
            self.note(HUNG_UP);
        }
    }
}
