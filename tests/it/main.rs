//! The integration tests: one binary, one module for each subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod canary;
mod contract;
mod crash;
mod support;
mod tidy;
mod tls;
mod vectors;
