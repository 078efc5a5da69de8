//! Every change of state (stub of the interface; the engine itself is being built).
#![allow(missing_docs, clippy::todo)]

pub mod calendar;
pub mod distinct;
pub mod runs;
pub mod tagset;

use std::sync::Arc;

use crate::model::caller::Token;
use crate::model::ids::SiteId;
use crate::model::site::{MonthSpan, Site, SiteSettings};
use crate::model::time::{Month, Timestamp};
use crate::model::usage::Counters;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error("the queue is full")]
    Busy,
    #[error("the disk is full")]
    DiskFull,
    #[error("the engine has stopped")]
    Stopped,
}

/// What a PUT of a site did.
#[derive(Clone, Debug)]
pub struct SitePut {
    pub site: Arc<Site>,
    pub created: bool,
    /// The month from which the frozen settings hold, where they do not hold at once.
    pub effective: Option<Month>,
}

/// A site's month as it stands.
#[derive(Clone, Debug)]
pub struct UsageMonth {
    pub site: Arc<Site>,
    pub span: MonthSpan,
    pub counters: Counters,
    pub as_of: Timestamp,
}

#[derive(Clone)]
pub struct Engine;

impl Engine {
    /// Lock-free or nearly so; called for every request.
    pub fn site(&self, _id: &SiteId) -> Option<Arc<Site>> { todo!() }
    /// All sites in the order of their ids.
    pub fn sites(&self) -> Vec<Arc<Site>> { todo!() }
    pub async fn put_site(&self, _id: SiteId, _settings: SiteSettings) -> Result<SitePut, EngineError> { todo!() }
    pub fn token(&self, _key_id: &str) -> Option<Arc<Token>> { todo!() }
    pub fn tokens(&self) -> Vec<Arc<Token>> { todo!() }
    pub async fn put_token(&self, _token: Token) -> Result<(), EngineError> { todo!() }
    /// False when there was no such token.
    pub async fn delete_token(&self, _key_id: &str) -> Result<bool, EngineError> { todo!() }
    pub fn usage(&self, _site: &SiteId, _month: Month) -> Option<UsageMonth> { todo!() }
    /// Whether records can be taken (readyz).
    pub fn ready(&self) -> Result<(), &'static str> { todo!() }
}
