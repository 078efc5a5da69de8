//! Refusals under load: what is refused was not kept, what is answered counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::users;
use crate::support::{
    Answer, Client, PATIENCE, Place, Random, billing_token, producer_token, put_site, seed, start,
};

/// Licences of site `A`, each of another user and of a content whose id has so many bytes.
fn batch(number: u64, records: u64, cid_bytes: usize) -> Vec<u8> {
    let now = jiff::Timestamp::now().as_second();
    let mut body = String::new();
    for at in 0..records {
        body += &format!(
            "{{\"event_id\":\"{number}-{at}\",\"type\":\"drm.license.issued\",\"site_id\":\"A\",\
             \"occurred_at\":{now},\"outcome\":\"success\",\"user_id\":\"u-{number}-{at}\",\
             \"cid\":\"{:x>cid_bytes$}\"}}\n",
            format!("{number}-{at}")
        );
    }
    body.into_bytes()
}

fn post(client: &mut Client, body: &[u8]) -> std::io::Result<Answer> {
    client.send("POST", "/v1/records", &[("content-type", "application/x-ndjson")], body)
}

/// A queue of less bytes than a batch has, so that there is one in it. Each request is answered
/// 200, or 503 with a time to come again, and what was refused was not kept. Clients go on until
/// one of them was refused.
#[test]
fn a_full_queue_says_when_to_come_again() {
    const CLIENTS: u64 = 8;
    const BATCHES: u64 = 4;
    const RECORDS: u64 = 8_000;
    let place = Place::new();
    let server = start(&place, &[("LIMITS__QUEUE_BYTES", "1048576")]);
    put_site(&server, "A", "{}");
    let (producer, billing) = (producer_token(&server), billing_token(&server));
    let (refused, next) = (AtomicU64::new(0), AtomicU64::new(0));
    let deadline = Instant::now() + PATIENCE;
    let send_all = || {
        let mut http = Client::new(server.address(), &producer);
        let mut sent = 0;
        while sent < BATCHES || refused.load(Ordering::Relaxed) == 0 {
            let body = batch(next.fetch_add(1, Ordering::Relaxed), RECORDS, 200);
            loop {
                assert!(Instant::now() < deadline, "busy for ever, or never");
                let answer = post(&mut http, &body).unwrap();
                if answer.status == 200 {
                    assert_eq!(answer.count("accepted"), RECORDS, "{answer:?}");
                    break;
                }
                problem_503(&answer);
                refused.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
            sent += 1;
        }
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(send_all);
        }
    });
    assert!(refused.load(Ordering::Relaxed) > 0);
    assert_eq!(users(&server, &billing), next.load(Ordering::Relaxed) * RECORDS);
}

fn problem_503(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..60).contains(&seconds), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(answer.json()["type"].as_str().unwrap().ends_with("/busy"), "{answer:?}");
}

/// SIGTERM under load: the process ends with 0, what was answered counts, and what was not answered
/// can be sent again.
#[test]
fn a_told_end_drains() {
    const CLIENTS: u64 = 4;
    const RECORDS: u64 = 500;
    let mut random = Random::new(seed());
    let place = Place::new();
    let server = start(&place, &[]);
    put_site(&server, "A", "{}");
    let (producer, billing) = (producer_token(&server), billing_token(&server));
    let (next, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    let address = server.address();
    // The number of the batch that was not answered.
    let send_until_the_end = || {
        let mut http = Client::new(address, &producer);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            match post(&mut http, &batch(number, RECORDS, 20)) {
                Ok(answer) if answer.status == 200 => {
                    assert_eq!(answer.count("accepted"), RECORDS, "{answer:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) if answer.status == 503 => {
                    assert!(answer.header("retry-after").is_some(), "{answer:?}");
                    return number;
                }
                Ok(answer) => panic!("{answer:?}"),
                Err(_) => return number,
            }
        }
    };
    let target = 5 + random.below(40);
    let open: Vec<u64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(send_until_the_end)).collect();
        let deadline = Instant::now() + PATIENCE;
        while answered.load(Ordering::Relaxed) < target {
            assert!(Instant::now() < deadline, "too slow");
            thread::sleep(Duration::from_micros(500));
        }
        let ended = server.terminate();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
        assert!(ended.output.contains("stopped"), "{}", ended.output);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let server = start(&place, &[]);
    let answered = answered.load(Ordering::Relaxed);
    let counted = users(&server, &billing);
    assert_eq!(counted % RECORDS, 0, "a batch counts as a whole");
    let possible = answered..=answered + CLIENTS;
    assert!(possible.contains(&(counted / RECORDS)), "{counted} users, {answered} batches");
    let mut http = Client::new(server.address(), &producer);
    for number in open {
        assert_eq!(post(&mut http, &batch(number, RECORDS, 20)).unwrap().status, 200);
    }
    assert_eq!(users(&server, &billing), (answered + CLIENTS) * RECORDS);
}
