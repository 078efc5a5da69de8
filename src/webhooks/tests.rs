//! The desk against a source in memory, a clock that is moved, and a real HTTP server.

mod deliver;
mod manage;
mod replay;
mod scan;
mod server;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::fake::{Memory, TestClock};
use super::source::{DestroyedNews, MonthNews};
use super::*;
use crate::model::caller::{Caller, Role, SiteScope};
use crate::model::ids::SiteId;
use crate::model::pseudonym::Pseudonyms;
use crate::model::rules::RuleSet;
use crate::model::site::MonthSpan;
use crate::model::time::{Clock, Month, Timestamp};
use crate::model::usage::Counters;
use crate::usage::fake::caller;
use server::{Reply, Seen, Server};

const HOUR_MS: i64 = 3_600_000;
/// 2026-11-22T04:16:00Z.
const NOW: i64 = 1_795_320_960_000;

/// A desk with everything around it.
struct World {
    source: Arc<Memory>,
    clock: Arc<TestClock>,
    server: Server,
    desk: Webhooks,
    settings: Settings,
}

fn site(id: &str) -> SiteId {
    SiteId::parse(id.as_bytes()).unwrap()
}

fn all() -> Caller {
    caller(Role::Operator, SiteScope::All)
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text.as_bytes()).unwrap()
}

/// November 2026 of a site.
fn november(id: &str, mau: u64) -> MonthNews {
    let month = Month::parse(b"2026-11").unwrap();
    MonthNews {
        site: site(id),
        plan_mau: Some(100),
        span: MonthSpan {
            month,
            from: at("2026-11-01T00:00:00Z"),
            to: at("2026-12-01T00:00:00Z"),
            partitions: 1,
            pseudonyms: Pseudonyms::default(),
            rule_set: RuleSet::default(),
        },
        time_zone: "UTC".to_owned(),
        closed_at: None,
        counters: Counters { mau, licenses_issued: 2 * mau, ..Counters::default() },
        suspects: None,
    }
}

impl World {
    async fn new() -> Self {
        let deadline = Duration::from_millis(300);
        Self::with(Settings { allow_internal: true, deadline, ..Settings::default() }).await
    }

    async fn with(settings: Settings) -> Self {
        let source = Arc::new(Memory::default());
        let clock = Arc::new(TestClock(AtomicI64::new(NOW)));
        let server = Server::start().await;
        let desk = Webhooks::new(source.clone(), settings.clone(), clock.clone()).unwrap();
        Self { source, clock, server, desk, settings }
    }

    /// Another process on the same rows.
    fn restart(&mut self) {
        self.source.with(|inside| inside.changes_left = None);
        let (source, clock) = (self.source.clone(), self.clock.clone());
        self.desk = Webhooks::new(source, self.settings.clone(), clock).unwrap();
    }

    /// Makes an endpoint at a path of the server; its id and secret.
    async fn hook(&self, path: &str, events: &[&str], sites: &[&str]) -> (String, String) {
        let url = self.server.url(path);
        let body = serde_json::json!({"url": url, "events": events, "sites": sites});
        let mut body = body.to_string().into_bytes();
        let made = self.desk.create(&all(), &mut body).await.unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }

    /// Looks for everything there is to tell.
    async fn look(&self) {
        while self.desk.0.scan().await.unwrap() {}
    }

    /// Sends everything that is due, and waits for it.
    async fn send(&self) {
        let mut running = JoinSet::new();
        loop {
            self.desk.start_due(&mut running);
            if running.join_next().await.is_none() {
                break;
            }
        }
    }

    /// Looks, sends, and gives back what the server got since.
    async fn turn(&self) -> Vec<Seen> {
        self.look().await;
        self.send().await;
        self.server.take()
    }

    async fn test(&self, id: &str) -> String {
        let queued: Value =
            serde_json::from_slice(&self.desk.test(&all(), id).await.unwrap()).unwrap();
        queued["id"].as_str().unwrap().to_owned()
    }

    fn deliveries(&self, id: &str) -> Vec<Value> {
        let list = self.desk.deliveries(&all(), id, 1_000).unwrap();
        let list: Value = serde_json::from_slice(&list).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    fn set(&self, months: Vec<MonthNews>) {
        self.source.with(|inside| inside.months = months);
    }
}
