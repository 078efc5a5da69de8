//! What this desk needs of what lies below; a trait, so that its tests need no disk.

use std::collections::BTreeSet;
use std::pin::Pin;

use zeroize::Zeroizing;

use crate::engine::EngineError;
use crate::ledger::{Actor, Event};
use crate::model::ids::SiteId;
use crate::model::time::{Month, Timestamp};

pub use crate::wire::webhooks::message::{DestroyedNews, GroupNews, MonthNews};

/// A change of state that is under way.
pub type Change<'a> = Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send + 'a>>;

/// What something that happened was about: a site, and its month where it was one.
pub type About = (SiteId, Option<Month>);

/// What some certificates say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certified {
    /// What they say of sites; nothing where they are of none.
    pub destroyed: Vec<DestroyedNews>,
    /// The number of the last one that was looked at; `None` when there are no more.
    pub through: Option<u64>,
}

/// Rows with their names.
pub type Rows = Vec<(String, Zeroizing<Vec<u8>>)>;

/// What this desk needs of what lies below. Calls that are no [`Change`] may take a while: they are
/// made off the reactor.
pub trait Source: Send + Sync + 'static {
    /// The months with a record that closed after a time, whenever they ended, and those that are
    /// not closed.
    ///
    /// # Errors
    /// When the engine cannot tell.
    fn months(&self, closed_after: Timestamp) -> Result<Vec<MonthNews>, EngineError>;
    /// The months of billing groups with a record that closed after a time.
    ///
    /// # Errors
    /// When the engine cannot tell.
    fn groups(&self, closed_after: Timestamp) -> Result<Vec<GroupNews>, EngineError>;
    /// What the next certificates behind a number say, by site; those of one certificate are never
    /// parted.
    ///
    /// # Errors
    /// When one cannot be read.
    fn destroyed_after(&self, number: u64) -> Result<Certified, EngineError>;
    /// Those of these that are removed: sites that have no row any more, and months whose data is
    /// destroyed or whose figures have ended. `None` stands for the site as a whole.
    ///
    /// # Errors
    /// When the engine cannot tell.
    fn removed(&self, of: BTreeSet<About>) -> Result<BTreeSet<About>, EngineError>;
    /// What tells this installation from all others, for ever.
    fn origin(&self) -> String;
    /// Writes down what is done; it is durable when this is done.
    fn note(&self, actor: Actor, event: Event) -> Change<'_>;
    /// The desk's rows whose name begins so, in the order of their names.
    ///
    /// # Errors
    /// When a row cannot be read.
    fn load_rows(&self, prefix: &str) -> Result<Rows, EngineError>;
    /// Writes a row of the desk; it is durable when this is done.
    fn put_row(&self, name: String, bytes: Zeroizing<Vec<u8>>) -> Change<'_>;
    /// Removes a row of the desk.
    fn delete_row(&self, name: String) -> Change<'_>;
}
