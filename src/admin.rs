//! The desk for sites and tokens: what an operator says of both, checked and handed to the engine.
//!
//! Invariants: only the hash of a token's secret goes below this desk (P2); no credential gives or
//! ends more than it has itself (T1).

mod sites;
mod tokens;

#[cfg(test)]
pub mod fake;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use sites::Sites;
pub use tokens::{AuthError, Tokens};

use crate::engine::{Engine, EngineError, SitePut, directory};
use crate::ledger::{Actor, Event};
use crate::model::caller::Token;
use crate::model::ids::SiteId;
use crate::model::reason::Reason;
use crate::model::site::{Site, SiteChange, SiteConflict};
use crate::model::time::Timestamp;
use crate::wire::fault::Flaw;

/// A change of state that is under way.
pub type Change<'a, T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'a>>;

/// What this desk needs of the engine; a trait, so that its tests need no disk.
pub trait Book: Send + Sync + 'static {
    /// The token of a key id.
    fn token(&self, key_id: &str) -> Option<Arc<Token>>;
    /// All tokens.
    fn tokens(&self) -> Vec<Arc<Token>>;
    /// Writes a token down.
    fn put_token(&self, token: Token) -> Change<'_, ()>;
    /// Ends a token; false when there was none.
    fn delete_token<'a>(&'a self, key_id: &'a str) -> Change<'a, bool>;
    /// The site of an id.
    fn site(&self, id: &SiteId) -> Option<Arc<Site>>;
    /// All sites in the order of their ids.
    fn sites(&self) -> Vec<Arc<Site>>;
    /// Writes down what a site is to be.
    fn put_site(&self, id: SiteId, change: SiteChange) -> Change<'_, SitePut>;
}

impl Book for Engine {
    fn token(&self, key_id: &str) -> Option<Arc<Token>> {
        Self::token(self, key_id)
    }

    fn tokens(&self) -> Vec<Arc<Token>> {
        Self::tokens(self)
    }

    fn put_token(&self, token: Token) -> Change<'_, ()> {
        Box::pin(Self::put_token(self, token))
    }

    fn delete_token<'a>(&'a self, key_id: &'a str) -> Change<'a, bool> {
        Box::pin(Self::delete_token(self, key_id))
    }

    fn site(&self, id: &SiteId) -> Option<Arc<Site>> {
        Self::site(self, id).map(|site| as_it_stands(site, self.clock().now()))
    }

    fn sites(&self) -> Vec<Arc<Site>> {
        let now = self.clock().now();
        Self::sites(self).into_iter().map(|site| as_it_stands(site, now)).collect()
    }

    fn put_site(&self, id: SiteId, change: SiteChange) -> Change<'_, SitePut> {
        Box::pin(Self::put_site(self, id, change))
    }
}

/// An entry that is being written.
pub type Noting<'a> = Pin<Box<dyn Future<Output = Result<(), Unwritten>> + Send + 'a>>;

/// The ledger did not take an entry, and will take none any more; the process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger cannot be written")]
pub struct Unwritten;

/// What this desk needs of the ledger; a trait, so that its tests need no disk.
pub trait Scribe: Send + Sync + 'static {
    /// Writes down what is about to happen; durable when it answers.
    fn note(&self, actor: Actor, event: Event) -> Noting<'_>;
}

/// The site as it stands now. Where that cannot be told, as it is stored, with its announcement: no
/// figure depends on it.
fn as_it_stands(site: Arc<Site>, now: Timestamp) -> Arc<Site> {
    directory::as_of(&site, now).unwrap_or_else(|error| {
        tracing::error!(%error, "a site is shown as it is stored");
        site
    })
}

/// Why a request about sites or tokens was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The body is no JSON object.
    #[error("the body cannot be read")]
    Unreadable,
    /// A member does not fit.
    #[error("a member does not fit")]
    Unfit(Flaw),
    /// The caller's own sites do not hold what it wants to give, or whom a billing group is of.
    #[error("a credential cannot give sites that it does not have, nor change groups of others")]
    BeyondCaller,
    /// What is said once, or by all members of a billing group, cannot be changed so.
    #[error("the site cannot be changed so")]
    Conflict(SiteConflict),
    /// Nothing of that name, or nothing for this caller.
    #[error("there is nothing of that name")]
    NotFound,
    /// The engine's queue is full.
    #[error("the engine is busy")]
    Busy,
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// The disk or the key register refused; the log says more.
    #[error("the change failed")]
    Failed,
}

impl From<EngineError> for AdminError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Busy => Self::Busy,
            EngineError::DiskFull => Self::DiskFull,
            EngineError::Stopped => Self::Stopped,
            EngineError::NoSite | EngineError::Ended => Self::NotFound,
            EngineError::Conflict(why) => Self::Conflict(why),
            other @ (EngineError::Damaged(_) | EngineError::Refused(_) | EngineError::InUse) => {
                tracing::error!(error = %other, "a change of sites or tokens failed");
                Self::Failed
            }
        }
    }
}

impl From<Unwritten> for AdminError {
    fn from(_: Unwritten) -> Self {
        Self::Stopped
    }
}

impl From<Flaw> for AdminError {
    fn from(flaw: Flaw) -> Self {
        // A text that is no JSON object has no place to point to.
        if flaw.reason == Reason::BadJson { Self::Unreadable } else { Self::Unfit(flaw) }
    }
}

/// `{"items":[…]}` of JSON texts.
fn list(items: impl Iterator<Item = String>) -> Vec<u8> {
    let items: Vec<String> = items.collect();
    format!("{{\"items\":[{}]}}", items.join(",")).into_bytes()
}
