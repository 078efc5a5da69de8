//! `kill -9` of the real process under load, many times: nothing that was acknowledged is lost and
//! nothing is counted twice (C1, C2, D1).
//!
//! Each round starts the server on the same directory, lets every client send again what was not
//! answered 200, compares all figures with an exact oracle, and then loads the server until a
//! random moment, when it is killed (or, now and then, told to end).

mod clients;
mod oracle;
mod restore;

use std::time::Duration;

use clients::Fleet;
use oracle::SITES;

use crate::support::{
    Place, Random, Server, billing_token, get, kill_early, post_records, producer_token, put_site,
    seed, start, verify,
};

/// Rounds; each but every sixth ends with a SIGKILL.
const ROUNDS: u64 = 32;
/// Clients at once.
const CLIENTS: u64 = 5;
/// Acknowledged batches of a round before the kill, at most.
const BATCHES_MAX: u64 = 80;
/// Those of the first round.
const FIRST_BATCHES: u64 = 400;

/// Folds all the time, and in half of the rounds next to no memory for the sets, with and without
/// a cache before those on disk.
fn settings(round: u64) -> Vec<(&'static str, &'static str)> {
    let mut settings = vec![("FOLD__SEGMENT_BYTES", "65536"), ("FOLD__SECONDS", "1")];
    if round % 2 == 1 {
        settings.push(("MEMORY__TALLY_BYTES", "1048576"));
        settings.push(("MEMORY__SEEN_BYTES", "1048576"));
        let cache = if round % 4 == 1 { "0" } else { "4194304" };
        settings.push(("MEMORY__TAG_CACHE_BYTES", cache));
    }
    settings
}

#[test]
fn nothing_is_lost_or_counted_twice_over_many_kills() {
    let mut random = Random::new(seed());
    let place = Place::new();
    let tokens = set_up(&place);
    let mut fleet = Fleet::new(CLIENTS, &mut random);
    let (mut kills, mut rounds_with_folds) = (0, 0);
    for round in 0..ROUNDS {
        if random.below(4) == 0 {
            // Recovery is cut as well.
            kill_early(&place, &settings(round), Duration::from_micros(random.below(120_000)));
            kills += 1;
        }
        let server = start(&place, &settings(round));
        fleet.send_pending(&server, &tokens.producer);
        fleet.check(&server, &tokens.billing);
        fleet.send_again(&server, &tokens.producer);
        // The first round fills the sets, so that later ones spill.
        let target = if round == 0 { FIRST_BATCHES } else { random.below(BATCHES_MAX) };
        let pause = Duration::from_micros(random.below(20_000));
        let terminate = round % 6 == 5;
        fleet.load(server, &tokens.producer, |server, acknowledged| {
            acknowledged.wait(target, &server);
            rounds_with_folds += u64::from(folds(&server, &tokens.operator) > 0);
            std::thread::sleep(pause);
            if terminate {
                let ended = server.terminate();
                assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
            } else {
                server.kill();
                kills += 1;
            }
        });
    }
    assert!(kills >= 25, "{kills} kills only");
    assert!(rounds_with_folds >= ROUNDS / 3, "folds in {rounds_with_folds} rounds only");
    let server = start(&place, &settings(ROUNDS));
    fleet.send_pending(&server, &tokens.producer);
    fleet.check(&server, &tokens.billing);
    fleet.send_everything_again(&server, &tokens.producer);
    fleet.check(&server, &tokens.billing);
    println!("{kills} kills, {} records", fleet.records());
    assert_eq!(server.terminate().status.code(), Some(0));
    let verified = verify(&place, &[]);
    assert_eq!(verified.status.code(), Some(0), "{}", verified.output);
}

struct Tokens {
    operator: String,
    producer: String,
    billing: String,
}

fn set_up(place: &Place) -> Tokens {
    let server = start(place, &settings(0));
    for site in &SITES {
        put_site(&server, site.id, &format!("{{\"time_zone\":\"{}\"}}", site.zone));
    }
    let tokens = Tokens {
        operator: server.operator_token(),
        producer: producer_token(&server),
        billing: billing_token(&server),
    };
    server.kill();
    tokens
}

/// Folds that this process has done.
fn folds(server: &Server, operator: &str) -> u64 {
    let metrics = get(server, operator, "/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with("blindtally_folds_total"));
    let figure = line.and_then(|line| line.split(' ').nth(1)).expect("the figure");
    figure.parse::<f64>().expect("a number") as u64
}

#[test]
fn a_first_start_may_be_cut_anywhere() {
    let mut random = Random::new(seed());
    for _ in 0..24 {
        let place = Place::new();
        for _ in 0..=random.below(3) {
            kill_early(&place, &[], Duration::from_micros(random.below(150_000)));
        }
        let server = start(&place, &[]);
        put_site(&server, "ACME", "{}");
        let producer = producer_token(&server);
        let answer = post_records(&server, &producer, "");
        assert_eq!(answer.status, 200, "{answer:?}");
        // An entry that is on its way when a server is killed is not signed yet.
        assert_eq!(server.terminate().status.code(), Some(0));
        let verified = verify(&place, &[]);
        assert_eq!(verified.status.code(), Some(0), "{}", verified.output);
    }
}
