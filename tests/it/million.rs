//! Ten million records at full speed, in random order, with repeats and a `kill -9` in the middle:
//! every figure of every site and month equals an exact oracle (C1, C2).

mod traffic;

use std::net::SocketAddr;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Client, PATIENCE, Place, Server, billing_token, producer_token, put_site, seed, start, usage,
};
use traffic::{DRM, DUPLICATES, Figures, MONTHS, RECORDS, SITES, Traffic};

/// Records of a request.
const BATCH_RECORDS: u64 = 4_000;
/// Connections at once.
const CONNECTIONS: u64 = 4;
/// One request of so many is compressed.
const ZSTD_EVERY: u64 = 8;

#[test]
fn ten_million_records_equal_the_oracle() {
    let traffic = Traffic::new(seed());
    let place = Place::new();
    let server = start(&place, &[]);
    for site in &SITES {
        put_site(&server, site.id, "{}");
    }
    let (producer, billing) = (producer_token(&server), billing_token(&server));
    let run = Run {
        traffic: &traffic,
        token: &producer,
        address: RwLock::new(server.address()),
        next: AtomicU64::new(0),
        acknowledged: AtomicU64::new(0),
        sent_again: AtomicU64::new(0),
    };
    let began = Instant::now();
    let server = thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| run.send_all());
        }
        run.wait_for(RECORDS / 2, &server);
        server.kill();
        let server = start(&place, &[]);
        *run.address.write().expect("the address") = server.address();
        server
    });
    let seconds = began.elapsed().as_secs_f64();
    let again = run.sent_again.load(Ordering::Relaxed);
    println!("{RECORDS} records in {seconds:.1} s, {again} of them sent again");
    let figures = traffic.figures();
    check(&server, &billing, &traffic, &figures, again);
    server.kill();
    let server = start(&place, &[]);
    check(&server, &billing, &traffic, &figures, again);
    assert_eq!(server.terminate().status.code(), Some(0));
}

/// What the connections share.
struct Run<'a> {
    traffic: &'a Traffic,
    token: &'a str,
    address: RwLock<SocketAddr>,
    /// The next batch.
    next: AtomicU64,
    /// Records that were answered 200.
    acknowledged: AtomicU64,
    /// Records whose first answer did not come.
    sent_again: AtomicU64,
}

impl Run<'_> {
    fn send_all(&self) {
        let mut body = Vec::new();
        let mut address = *self.address.read().expect("the address");
        let mut client = Client::new(address, self.token);
        loop {
            let batch = self.next.fetch_add(1, Ordering::Relaxed);
            let range = batch * BATCH_RECORDS..((batch + 1) * BATCH_RECORDS).min(RECORDS);
            if range.is_empty() {
                return;
            }
            let count = range.end - range.start;
            self.traffic.write(range, &mut body);
            let mut headers = vec![("content-type", "application/x-ndjson")];
            if batch.is_multiple_of(ZSTD_EVERY) {
                body = zstd::bulk::compress(&body, 1).expect("a frame");
                headers.push(("content-encoding", "zstd"));
            }
            while !send(&mut client, &headers, &body, count) {
                self.sent_again.fetch_add(count, Ordering::Relaxed);
                address = self.other_address(address);
                client = Client::new(address, self.token);
            }
            self.acknowledged.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Where the server is after its restart.
    fn other_address(&self, old: SocketAddr) -> SocketAddr {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let address = *self.address.read().expect("the address");
            if address != old {
                return address;
            }
            assert!(Instant::now() < deadline, "the server did not come back");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_for(&self, records: u64, server: &Server) {
        let deadline = Instant::now() + 2 * PATIENCE;
        while self.acknowledged.load(Ordering::Relaxed) < records {
            assert!(Instant::now() < deadline, "too slow:\n{}", server.logs());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Sends a batch until the server is not busy; false when there was no answer.
fn send(client: &mut Client, headers: &[(&str, &str)], body: &[u8], count: u64) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Ok(answer) = client.send("POST", "/v1/records", headers, body) else { return false };
        if answer.status == 503 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.count("accepted") + answer.count("duplicates"), count, "{answer:?}");
        return true;
    }
}

fn check(server: &Server, token: &str, traffic: &Traffic, figures: &[Figures], again: u64) {
    let mut duplicates = 0;
    for (place, wanted) in figures.iter().enumerate() {
        let (site, month) = (SITES[place / MONTHS].id, traffic.month(place % MONTHS));
        let found = usage(server, token, site, &month);
        let figure = |pointer: &str| found.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let name = format!("{site} in {month}");
        assert_eq!(figure("/mau"), wanted.users.len(), "users of {name}");
        assert_eq!(figure("/devices"), wanted.devices.len(), "devices of {name}");
        assert_eq!(figure("/licenses_issued"), wanted.licenses, "licences of {name}");
        assert_eq!(figure("/unattributed_licenses"), wanted.unattributed, "nobody of {name}");
        for (drm, (users, licenses)) in DRM.iter().zip(&wanted.by_drm) {
            let figure = |last: &str| figure(&format!("/by_drm_type/{drm}/{last}"));
            assert_eq!(figure("mau"), users.len(), "users of {drm} of {name}");
            assert_eq!(figure("licenses_issued"), *licenses, "licences of {drm} of {name}");
        }
        duplicates += figure("/duplicates");
    }
    let bounds = DUPLICATES..=DUPLICATES + again;
    assert!(bounds.contains(&duplicates), "{duplicates} duplicates, not in {bounds:?}");
}
