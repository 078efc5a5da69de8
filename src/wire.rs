//! All network bytes: what callers send becomes records that borrow from the body, and figures
//! become answers. Nothing passes through unread: a schema names every member that may come in,
//! and no answer carries a value of the input or a parser's own text.
//!
//! The way of the bytes: [`Media`] names the format, [`Decoder`] cuts a body into records and reads
//! each by the tables of [`schema`] with the pull reader of [`json`]. A record comes out as a
//! [`Record`] or as a [`Fault`]; a body that cannot be cut is [`Unfit`] as a whole.

pub mod admin;
pub mod arrivals;
pub mod attributes;
pub mod backfill;
pub mod backup;
pub mod batch;
pub mod challenge;
pub mod explained;
pub mod export;
pub mod fault;
pub mod group;
pub mod json;
pub mod ledger;
pub mod media;
pub mod page;
mod pass;
pub mod problem;
pub mod receipt;
pub mod record;
pub mod retention;
pub mod schema;
pub mod statement;
pub mod subjects;
pub mod usage;
pub mod webhooks;
mod words;

#[cfg(test)]
mod tests;

pub use attributes::Attributes;
pub use batch::{Decoder, Limits, Unfit};
pub use fault::{Fault, Pointer};
pub use media::Media;
pub use problem::Problem;
pub use receipt::Receipt;
pub use record::{Devices, RawDevice, Record, Value, namespace};
