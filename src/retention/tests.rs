//! The desk over a vault in memory and a ledger on disk; time is moved, nothing sleeps.

mod access;
mod certificates;
mod clock;
mod crash;
mod due;
mod groups;
mod holds;
mod policy;
mod processing;
mod removal;
mod replay;
mod reviews;
mod run;
mod seen;
mod sweep;
mod told;
mod turn_over;
mod waiting;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fake::{Memory, TestClock};
use super::*;
use crate::engine::calendar;
use crate::ledger::Recorded;
use crate::model::batch::{Bucket, Epoch, SiteMonth};
use crate::model::caller::{Role, SiteScope, Token};
use crate::model::ids::{KeyId, SiteId, SiteNo};
use crate::model::pseudonym::Algorithm;
use crate::model::retention::Lot;
use crate::model::site::{Site, SiteSettings};
use crate::model::time::{DAY_MS, Day, Month, Timestamp};
use crate::model::vocab::Class;

/// The desk with everything around it.
struct World {
    folder: tempfile::TempDir,
    vault: Arc<Memory>,
    ledger: Arc<Ledger>,
    clock: Arc<TestClock>,
    desk: Desk,
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text.as_bytes()).unwrap()
}

fn month(text: &str) -> Month {
    Month::parse(text.as_bytes()).unwrap()
}

fn site_id(id: &str) -> SiteId {
    SiteId::parse(id.as_bytes()).unwrap()
}

/// A site of a zone with the months of 2026.
fn site(id: &str, no: u32, zone: &str, records_days: Option<u32>) -> Site {
    let settings =
        SiteSettings { time_zone: zone.to_owned(), records_days, ..SiteSettings::default() };
    let mut site = Site {
        id: site_id(id),
        no: SiteNo(no),
        algorithm: Algorithm::default(),
        created_at: at("2025-12-01T00:00:00Z"),
        terminated_at: None,
        settings,
        pending: Vec::new(),
        past: Vec::new(),
        months: Vec::new(),
        closed_through: Some(month("2026-12")),
    };
    site.months = calendar::reaching(&site, at("2026-01-15T00:00:00Z")).unwrap();
    site.months = calendar::reaching(&site, at("2026-12-15T00:00:00Z")).unwrap();
    site
}

/// All lots of a site's month: one bucket of records and one of detections, sets and three keys.
fn lots_of(site: &Site, name: &str, first_key: u64) -> Vec<LotInfo> {
    let at = SiteMonth { site: site.no, month: month(name) };
    let ends_at = calendar::span(site, at.month).unwrap().to;
    let bucket =
        |class| Lot::Records(Bucket { class, site: site.no, epoch: Epoch::Month(at.month) });
    let lots = [
        (bucket(Class::Records), 1),
        (bucket(Class::Detections), 1),
        (Lot::Sets(at), 2),
        (Lot::RecordKey(at), 1),
        (Lot::WatermarkKey(at), 1),
        (Lot::BaseKey(at), 1),
    ];
    let mut next = first_key;
    let info = |(lot, count): (Lot, u64)| {
        let keys = (next..next + count).map(KeyId).collect();
        next += count;
        LotInfo { lot, site: site.id.clone(), keys, ends_at }
    };
    lots.into_iter().map(info).collect()
}

/// The token of a key id, as the desk's tests have it: each key id is another person's.
pub(super) fn token_of(key_id: &str) -> Caller {
    Arc::new(Token {
        key_id: key_id.to_owned(),
        secret_hash: [0; 32],
        role: Role::Custodian,
        sites: SiteScope::All,
        name: format!("person {key_id}"),
        producer: "test".to_owned(),
        producers: None,
        created_at: Timestamp(0),
        expires_at: Timestamp::END,
        issuer: None,
    })
}

fn caller(role: Role, person: u8) -> Caller {
    let key_id = char::from(b'a' + person).to_string().repeat(16);
    Arc::new(Token { role, ..Token::clone(&token_of(&key_id)) })
}

fn open_ledger(folder: &std::path::Path, now: Timestamp) -> Ledger {
    let settings = crate::ledger::Settings {
        dir: folder.join("ledger"),
        signing_key: folder.join("keys").join("ledger.key"),
        name: "example.com/ledger".to_owned(),
        second_copy: None,
        marks: Vec::new(),
    };
    Ledger::open(&settings, now).unwrap().0
}

impl World {
    /// Two sites with all lots of May 2026, at this time.
    fn at(now: &str) -> Self {
        let vault = Memory::default();
        vault.with(|inside| {
            inside.epoch = 7;
            for (no, id) in [(1, "ACME"), (2, "B.C")] {
                let site = site(id, no, "UTC", None);
                inside.lots.extend(lots_of(&site, "2026-05", u64::from(no) * 100));
                inside.sites.insert(site.id.clone(), Arc::new(site));
            }
        });
        Self::over(vault, at(now), Settings::default())
    }

    fn over(vault: Memory, now: Timestamp, settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::new(open_ledger(folder.path(), now));
        let (vault, clock) = (Arc::new(vault), Arc::new(TestClock::at(now)));
        let desk = Desk::new(vault.clone(), ledger.clone(), settings, clock.clone()).unwrap();
        Self { folder, vault, ledger, clock, desk }
    }

    /// A new desk, as after a start.
    fn restart(&mut self) {
        let settings = self.desk.0.settings.clone();
        let (vault, ledger, clock) = (self.vault.clone(), self.ledger.clone(), self.clock.clone());
        self.desk = Desk::new(vault, ledger, settings, clock).unwrap();
    }

    async fn run(&self) -> Result<crate::wire::retention::view::RunView, DeskError> {
        self.desk.run_by(Actor::Server).await
    }

    /// Moves the clock in steps that need no confirmation, with a run at each.
    async fn live_until(&self, until: Timestamp) -> u64 {
        let mut destroyed = 0;
        loop {
            let now = self.clock.now();
            if now >= until {
                return destroyed;
            }
            self.clock.set(Timestamp((now.0 + 2 * DAY_MS).min(until.0)));
            destroyed += self.run().await.unwrap().destroyed;
        }
    }

    /// The classes that live, with their sites.
    fn living(&self) -> BTreeSet<String> {
        let name = |info: &LotInfo| format!("{} {}", info.site, plan::word_of(info.lot));
        self.vault.with(|inside| inside.lots.iter().map(name).collect())
    }

    /// Every entry of the ledger.
    fn entries(&self) -> Vec<Recorded> {
        let lines = self.ledger.read(0, 10_000).unwrap();
        lines.iter().map(|line| Recorded::decode(line.as_bytes()).unwrap()).collect()
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.entries().iter().map(|entry| entry.event.kind()).collect()
    }

    fn alarms(&self) -> Vec<&'static str> {
        let reason = |entry: &Recorded| match &entry.event {
            Event::Alarm { reason } => Some(reason.name()),
            _ => None,
        };
        self.entries().iter().filter_map(reason).collect()
    }

    fn list(&self, state: Option<&'static str>) -> String {
        let question = Question { site: None, state, limit: 1_000, from: 0 };
        let listed = self.desk.list(&caller(Role::Auditor, 0), &question).unwrap();
        String::from_utf8(listed).unwrap()
    }

    fn key(&self) -> String {
        self.ledger.verifier_key().to_string()
    }
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}
