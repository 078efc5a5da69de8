//! Arrivals in memory, for the tests of the desk and of the server.

use std::ops::Range;
use std::sync::Arc;

use super::{Arrivals, Wanted};
use crate::engine::EngineError;
use crate::engine::arrivals::ArrivalRow;
use crate::model::arrival::{Credential, Hour, Received, Sender};
use crate::model::caller::{Caller, Role, SiteScope, Token};
use crate::model::time::Timestamp;

/// A caller.
pub fn caller(role: Role, producer: &str, sites: SiteScope) -> Caller {
    Arc::new(Token {
        key_id: "k".into(),
        secret_hash: [0; 32],
        role,
        sites,
        name: String::new(),
        producer: producer.into(),
        producers: None,
        created_at: Timestamp(0),
        expires_at: Timestamp(0),
    })
}

/// Rows that never change.
pub struct Rows(Vec<ArrivalRow>);

/// A sender of these names.
pub fn sender(credential: &str, sites: &str, producer: &str) -> Sender {
    let credential = Arc::new(Credential { producer: credential.into(), sites: sites.into() });
    Sender { credential, producer: producer.into() }
}

impl Rows {
    /// Rows of hour, credential, its sites and producer; each accepted one record.
    pub fn of(rows: &[(u32, &str, &str, &str)]) -> Self {
        let row = |(hour, name, sites, producer): &(u32, &str, &str, &str)| {
            let received = Received { accepted: 1, ..Received::default() };
            (Hour(*hour), sender(name, sites, producer), received)
        };
        let mut rows: Vec<ArrivalRow> = rows.iter().map(row).collect();
        rows.sort_by(|left, right| (left.0, &left.1).cmp(&(right.0, &right.1)));
        Self(rows)
    }
}

impl Arrivals for Rows {
    fn arrivals(
        &self,
        range: Range<Hour>,
        after: Option<&(Hour, Sender)>,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<(Vec<ArrivalRow>, bool), EngineError> {
        let is_after = |row: &&ArrivalRow| {
            range.contains(&row.0) && after.is_none_or(|(hour, of)| (row.0, &row.1) > (*hour, of))
        };
        let mut found = self.0.iter().filter(is_after).filter(|(_, sender, _)| wanted(sender));
        let rows = found.by_ref().take(limit).cloned().collect();
        Ok((rows, found.next().is_some()))
    }
}
