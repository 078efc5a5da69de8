//! All disk bytes: formats, tables, and the only host of RocksDB.
//!
//! It never sees a key or a raw id: what it is given is sealed, or a count, or (in row keys)
//! numbers of sites, months and runs. Writes go through [`Changes`], which apply as a whole or not
//! at all.

pub mod arrivals;
pub mod backfill;
pub mod backup;
pub mod batch;
pub mod block;
pub mod codec;
pub mod destruction;
pub mod details;
pub mod dictionary;
pub mod erasure;
pub mod filter;
pub mod header;
pub mod keys;
pub mod padding;
pub mod pages;
pub mod rows;
pub mod shapes;
pub mod spread;
mod tables;
pub mod verdict;

pub use keys::META_ROWS;
pub use tables::{
    Changes, Files, Half, RESTORING, Reclaimed, RowRange, Settings, Store, StoreError, Table,
    Written,
};
