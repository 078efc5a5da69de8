//! `blindtally load --check` against the real server: every figure of every site against the
//! sender's own exact count, and a server that counts something else is told apart.

use crate::support::{self, Place, Server, billing_token, producer_token};

/// Runs it over HTTP as a process of its own.
fn load(server: &Server, arguments: &[&str]) -> support::Ended {
    let records = ["--records", "30000", "--sites", "7", "--users", "5000", "--quiet", "--check"];
    support::load(server, &[&records, arguments].concat())
}

#[test]
fn every_figure_of_the_real_server_is_the_senders_own() {
    let place = Place::new();
    let server = support::start(&place, &[("FOLD__SEGMENT_BYTES", "262144")]);
    let token = place.keys().join("operator.token");
    let made = ["--operator-token-file", token.to_str().unwrap()];
    for (prefix, encoding) in [("plain", "identity"), ("packed", "zstd")] {
        let more = ["--site-prefix", prefix, "--encoding", encoding, "--usage"];
        let done = load(&server, &[&made[..], &more].concat());
        assert_eq!(done.status.code(), Some(0), "{}", done.output);
        assert!(done.output.contains(", 0 different"), "{}", done.output);
        assert!(!done.output.contains("DIFFERENT"), "{}", done.output);
    }
    // Records of somebody else at the same sites: their figures are no longer the sender's.
    let (producer, billing) = (producer_token(&server), billing_token(&server));
    let given = ["--token", &producer, "--billing-token", &billing];
    let done = load(&server, &[&given[..], &["--site-prefix", "plain", "--seed", "2"]].concat());
    assert_eq!(done.status.code(), Some(1), "{}", done.output);
    assert!(done.output.contains("DIFFERENT   plain-0001"), "{}", done.output);
    let ended = server.terminate();
    assert!(ended.status.success(), "{}", ended.output);
    let verified = support::verify(&place, &["--recount"]);
    assert!(verified.status.success(), "{}", verified.output);
}
