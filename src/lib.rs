//! Blindtally counts who is active without knowing who they are.
//!
//! The way of a record, and the floors of the house (a room names only rooms of lower floors;
//! `tests/it/tidy.rs` enforces it):
//!
//! | floor | rooms | |
//! |---|---|---|
//! | 0 | [`model`], [`observe`] | words of the domain; metrics and logs |
//! | 1 | [`crypto`], [`keys`] | secrets, keyed hash, seal and open; the key register |
//! | 2 | [`identity`], [`ledger`] | the only place that sees a raw id; entries, tree, proofs |
//! | 3 | [`wire`], [`store`] | all network bytes; all disk bytes |
//! | 4 | [`engine`] | journal, seen, tallies, blocks, fold, recovery |
//! | 5 | [`ingest`], [`usage`], [`billing`], [`admin`] | one desk per use case |
//! | 5 | [`audit`], [`retention`], [`backup`], [`webhooks`], [`reconciliation`] | likewise |
//! | 5 | [`subjects`], [`backfill`] | likewise |
//! | 6 | [`http`] | sockets, TLS, routes, limits, problems |
//! | 7 | [`config`], [`app`], [`cli`], [`load`] | wiring |

pub mod model;
pub mod observe;

pub mod crypto;
pub mod keys;

pub mod identity;
pub mod ledger;

pub mod store;
pub mod wire;

pub mod engine;

pub mod admin;
pub mod audit;
pub mod backfill;
pub mod backup;
pub mod billing;
pub mod ingest;
pub mod reconciliation;
pub mod retention;
pub mod subjects;
pub mod usage;
pub mod webhooks;

pub mod http;

pub mod app;
pub mod cli;
pub mod config;
pub mod load;
