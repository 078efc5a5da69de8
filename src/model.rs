//! The words of the domain: ids, times, months, vocabularies, limits. No I/O, no keys, no bytes of
//! any network or disk format; every other room may name this one and it names none.

pub mod arrival;
pub mod backfill;
pub mod batch;
pub mod caller;
pub mod explained;
pub mod field;
pub mod ids;
pub mod limits;
pub mod person;
pub mod pseudonym;
pub mod reason;
pub mod retention;
pub mod rules;
pub mod site;
pub mod systems;
pub mod time;
pub mod usage;
pub mod vocab;
