//! Arrivals in memory, for the tests of the desk and of the server.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Arrivals, READERS_MAX, Wanted};
use crate::engine::EngineError;
use crate::engine::arrivals::{ArrivalRow, Look};
use crate::model::arrival::{Credential, Hour, Place, Received, Sender};
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
        issuer: None,
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
        from: Option<&Place>,
        look: &Look,
        wanted: Wanted<'_>,
    ) -> Result<(Vec<ArrivalRow>, Option<Place>), EngineError> {
        let place = |row: &ArrivalRow| Place { hour: row.0, behind: Some(row.1.clone()) };
        let is_new = |row: &&ArrivalRow| {
            range.contains(&row.0) && from.is_none_or(|from| place(row) > *from)
        };
        let new: Vec<&ArrivalRow> = self.0.iter().filter(is_new).collect();
        let mut hours: Vec<Hour> = new.iter().map(|row| row.0).collect();
        hours.dedup();
        let end = hours.get(look.hours).copied();
        let found = new.into_iter().filter(|row| end.is_none_or(|end| row.0 < end));
        let mut found = found.filter(|(_, sender, _)| wanted(sender));
        let rows: Vec<ArrivalRow> = found.by_ref().take(look.rows).cloned().collect();
        let next = match found.next() {
            Some(_) => rows.last().map(place),
            None => end.map(|hour| Place { hour, behind: None }),
        };
        Ok((rows, next))
    }
}

/// Nothing arrived, and every question waits a moment for one more than there may be.
#[derive(Default)]
pub struct Crowd {
    /// Questions that are looked into now, and the most that were at once.
    now: Mutex<(usize, usize)>,
    changed: Condvar,
    begun: Notify,
}

impl Crowd {
    /// Waits until so many questions were looked into at once.
    pub async fn begun(&self, questions: usize) {
        while self.most() < questions {
            self.begun.notified().await;
        }
    }

    /// The most questions that were looked into at once.
    pub fn most(&self) -> usize {
        self.now.lock().unwrap().1
    }
}

impl Arrivals for Crowd {
    fn arrivals(
        &self,
        _: Range<Hour>,
        _: Option<&Place>,
        _: &Look,
        _: Wanted<'_>,
    ) -> Result<(Vec<ArrivalRow>, Option<Place>), EngineError> {
        let mut now = self.now.lock().unwrap();
        now.0 += 1;
        now.1 = now.1.max(now.0);
        self.begun.notify_one();
        self.changed.notify_all();
        let few = |now: &mut (usize, usize)| now.1 <= READERS_MAX;
        let waited = self.changed.wait_timeout_while(now, Duration::from_millis(300), few);
        waited.unwrap().0.0 -= 1;
        Ok((Vec::new(), None))
    }
}
