//! A book in memory and a clock that tests move.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Book, Change, Noting, Scribe, Unwritten};
use crate::engine::{EngineError, SitePut};
use crate::ledger::{Actor, Event};
use crate::model::caller::{Caller, Role, SiteScope, Token};
use crate::model::ids::{SiteId, SiteNo};
use crate::model::site::{Site, SiteChange};
use crate::model::time::{Clock, Timestamp};

/// 2026-11-22T04:16:00Z and later, in milliseconds.
pub struct TestClock(pub AtomicI64);

impl Default for TestClock {
    fn default() -> Self {
        Self(AtomicI64::new(1_795_320_960_000))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A caller that needs no token.
pub fn caller(role: Role, sites: SiteScope) -> Caller {
    Arc::new(Token {
        key_id: "a".repeat(16),
        secret_hash: [0; 32],
        role,
        sites,
        name: "test".to_owned(),
        producer: "test".to_owned(),
        producers: None,
        created_at: Timestamp(0),
        expires_at: Timestamp(i64::MAX),
        issuer: None,
    })
}

/// Tokens, sites and the ledger's entries in memory.
#[derive(Default)]
pub struct Memory {
    tokens: Mutex<BTreeMap<String, Arc<Token>>>,
    sites: Mutex<BTreeMap<SiteId, Arc<Site>>>,
    failure: Mutex<Option<EngineError>>,
    notes: Mutex<Vec<(Actor, Event)>>,
    unwritten: AtomicBool,
    /// Held by a test that lets the ledger wait.
    pub gate: tokio::sync::Mutex<()>,
    /// Somebody waits for the ledger, or did.
    pub asked: tokio::sync::Notify,
}

impl Memory {
    /// Lets every change fail from now on.
    pub fn fail(&self, error: EngineError) {
        *self.failure.lock().unwrap() = Some(error);
    }

    /// What was written down so far.
    pub fn notes(&self) -> Vec<(Actor, Event)> {
        self.notes.lock().unwrap().clone()
    }

    /// Lets the ledger fail from now on.
    pub fn break_notes(&self) {
        self.unwritten.store(true, Ordering::Relaxed);
    }

    fn change<T: Send + 'static>(&self, change: impl FnOnce() -> T) -> Change<'_, T> {
        let done = match self.failure.lock().unwrap().clone() {
            Some(error) => Err(error),
            None => Ok(change()),
        };
        Box::pin(std::future::ready(done))
    }
}

impl Scribe for Memory {
    fn note(&self, actor: Actor, event: Event) -> Noting<'_> {
        let broken = self.unwritten.load(Ordering::Relaxed);
        if !broken {
            self.notes.lock().unwrap().push((actor, event));
        }
        self.asked.notify_one();
        Box::pin(async move {
            drop(self.gate.lock().await);
            if broken { Err(Unwritten) } else { Ok(()) }
        })
    }
}

impl Book for Memory {
    fn token(&self, key_id: &str) -> Option<Arc<Token>> {
        self.tokens.lock().unwrap().get(key_id).cloned()
    }

    fn tokens(&self) -> Vec<Arc<Token>> {
        self.tokens.lock().unwrap().values().cloned().collect()
    }

    fn put_token(&self, token: Token) -> Change<'_, ()> {
        self.change(|| {
            self.tokens.lock().unwrap().insert(token.key_id.clone(), Arc::new(token));
        })
    }

    fn delete_token<'a>(&'a self, key_id: &'a str) -> Change<'a, bool> {
        self.change(|| self.tokens.lock().unwrap().remove(key_id).is_some())
    }

    fn site(&self, id: &SiteId) -> Option<Arc<Site>> {
        self.sites.lock().unwrap().get(id).cloned()
    }

    fn sites(&self) -> Vec<Arc<Site>> {
        self.sites.lock().unwrap().values().cloned().collect()
    }

    fn put_site(&self, id: SiteId, change: SiteChange) -> Change<'_, SitePut> {
        self.change(|| {
            let mut sites = self.sites.lock().unwrap();
            let site = Arc::new(Site {
                id: id.clone(),
                no: SiteNo(1),
                algorithm: change.algorithm.unwrap_or_default(),
                created_at: Timestamp(0),
                terminated_at: None,
                settings: change.settings,
                pending: Vec::new(),
                past: Vec::new(),
                months: Vec::new(),
                closed_through: None,
            });
            let created = sites.insert(id, Arc::clone(&site)).is_none();
            SitePut { site, created, effective: None }
        })
    }
}
