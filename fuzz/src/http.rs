//! Files of the room `http`, compiled once more: they parse outside bytes, and the room shows
//! nothing of them to the outside, which is right.
#![allow(dead_code, reason = "the server uses more of these files than the targets")]

#[path = "../../src/http/body.rs"]
pub mod body;
#[path = "../../src/http/inflate.rs"]
pub mod inflate;
#[path = "../../src/http/query.rs"]
pub mod query;
