//! Site zones.
use crate::support::*;

#[test]
fn smoke() {
    let place = Place::new();
    let server = start(&place, &[]);
    put_site(&server, "A", "{}");
    let billing = billing_token(&server);
    println!("{}", usage(&server, &billing, "A", "2026-10"));
    let ended = server.terminate();
    println!("{}", ended.output);
    assert_eq!(ended.status.code(), Some(0));
}
