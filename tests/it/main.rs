//! The integration tests: one binary, one module for each subject.

mod canary;
mod contract;
mod support;
mod tls;
