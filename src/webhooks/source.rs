//! What this desk needs of what lies below; a trait, so that its tests need no disk.

use std::pin::Pin;

use zeroize::Zeroizing;

use crate::engine::EngineError;
use crate::ledger::{Actor, Event};
use crate::model::time::Timestamp;

pub use crate::wire::webhooks::message::{DestroyedNews, MonthNews};

/// A change of state that is under way.
pub type Change<'a> = Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send + 'a>>;

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
    /// What the next certificates behind a number say, by site; those of one certificate are never
    /// parted. Empty when there are no more.
    ///
    /// # Errors
    /// When one cannot be read.
    fn destroyed_after(&self, number: u64) -> Result<Vec<DestroyedNews>, EngineError>;
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
