//! Files of the room `http`, compiled once more: they parse outside bytes, and the room shows
//! nothing of them to the outside, which is right. They are formatted where they live.
#![allow(dead_code, reason = "the server uses more of these files than the targets")]

#[rustfmt::skip]
#[path = "../../src/http/body.rs"]
pub mod body;
#[rustfmt::skip]
#[path = "../../src/http/inflate.rs"]
pub mod inflate;
#[rustfmt::skip]
#[path = "../../src/http/key.rs"]
pub mod key;
#[rustfmt::skip]
#[path = "../../src/http/query.rs"]
pub mod query;
