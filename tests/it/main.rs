//! The integration tests: one binary, one module for each subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "seeds and logs of what failed")]

mod canary;
mod contract;
mod crash;
mod destroy;
mod failures;
mod ledger;
mod load;
mod memory;
mod million;
mod month;
mod softhsm;
mod support;
mod tidy;
mod tls;
mod vectors;
mod webhooks;
