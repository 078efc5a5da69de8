//! The rules of the house, checked on its own text: who may name whom, which room hosts which
//! outside crate, how long things may be, and that every table in `docs` says what the code says.
//!
//! Each check is a function from text to complaints, and each is shown a broken house beside the
//! real one, so that a check that has gone blind fails as well.

mod code;
mod docs;
mod floors;
mod fuzz;
mod source;

use source::{Source, all_rust, rust_under, text_of};

/// Fails with every complaint, one a line.
#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Fails unless some complaint says this.
#[track_caller]
fn says(complaints: &[String], wanted: &str) {
    assert!(complaints.iter().any(|said| said.contains(wanted)), "{wanted}: {complaints:?}");
}
