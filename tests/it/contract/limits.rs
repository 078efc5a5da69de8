//! Sizes: of records, of batches, of bodies, and of bodies that pretend to be small.

use super::*;
use std::io::{Read, Write};

/// The largest body and the largest record, bytes, and the most records.
const BODY_BYTES: usize = 16 << 20;
const RECORD_BYTES: usize = 64 << 10;
const RECORDS: usize = 10_000;

/// One gzip member.
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(body).unwrap();
    writer.finish().unwrap()
}

/// A record of exactly so many bytes.
fn record_of(bytes: usize, id: &str) -> String {
    let text = with(&license(id, "u"), "error_message", "").to_string();
    text.replace(
        "\"error_message\":\"\"",
        &format!("\"error_message\":\"{}\"", "y".repeat(bytes - text.len())),
    )
}

#[test]
fn a_record_may_have_64_kib() {
    let world = World::new();
    let (fits, long) = (record_of(RECORD_BYTES, "s1"), record_of(RECORD_BYTES + 1, "s2"));
    assert_eq!((fits.len(), long.len()), (RECORD_BYTES, RECORD_BYTES + 1));
    for (media, body) in [
        ("application/x-ndjson", format!("{fits}\n{long}")),
        ("application/json", format!("[{fits},{long}]")),
    ] {
        let answer = world.post(&[("content-type", media)], body);
        let [received, accepted, duplicates, rejected] = counts(&answer);
        assert_eq!((received, accepted + duplicates, rejected), (2, 1, 1), "{answer:?}");
        let error = only_error(&answer);
        assert_eq!((&error["index"], &error["code"]), (&json!(1), &json!("too_long")));
        assert_eq!((&error["pointer"], &error["event_id"]), (&json!(""), &json!("s2")));
    }
}

#[test]
fn a_batch_may_have_10_000_records() {
    let world = World::new();
    let most = "{}\n".repeat(RECORDS);
    let answer = world.post(&[NDJSON], &most);
    let read = problem(&answer, 422, "nothing-accepted");
    assert_eq!(read["rejected"], json!(RECORDS));
    assert_eq!(read["errors"].as_array().unwrap().len(), 1_000);
    assert_eq!(read["errors_truncated"], json!(true));
    problem(&world.post(&[NDJSON], most + "{}"), 413, "too-many-records");
    let array = format!("[{}]", vec!["{}"; RECORDS + 1].join(","));
    problem(&world.post(&[JSON], array), 413, "too-many-records");
    let good: String =
        (0..RECORDS).map(|n| format!("{}\n", license(&format!("r{n}"), "u"))).collect();
    let more = format!("{good}{{}}\n");
    problem(&world.post(&[NDJSON], more), 413, "too-many-records");
    let answer = world.post(&[NDJSON], good);
    assert_eq!(counts(&answer), [10_000, 10_000, 0, 0], "after a 4xx no record was kept");
}

#[test]
fn a_body_may_have_16_mib() {
    let world = World::new();
    let most = vec![b'\n'; BODY_BYTES];
    assert_eq!(world.post(&[NDJSON], &most).status, 200);
    problem(&world.post(&[NDJSON], vec![b'\n'; BODY_BYTES + 1]), 413, "too-large");
    for (coding, plain, coded) in codings(b"\n") {
        let plain = plain(BODY_BYTES);
        let fits = world.post(&[NDJSON, ("content-encoding", coding)], &plain);
        assert_eq!(fits.status, 200, "{coding}: {fits:?}");
        let more = [plain, coded].concat();
        let answer = world.post(&[NDJSON, ("content-encoding", coding)], more);
        problem(&answer, 413, "too-large");
    }
}

/// For each coding: its name, a maker of bodies of so many plain bytes, and one more plain byte.
#[allow(clippy::type_complexity, reason = "one line a coding is easier to read")]
fn codings(unit: &'static [u8]) -> [(&'static str, Box<dyn Fn(usize) -> Vec<u8>>, Vec<u8>); 2] {
    let make = |code: fn(&[u8]) -> Vec<u8>| {
        // Members and frames join: a bomb is many copies of a small one.
        Box::new(move |bytes: usize| code(&unit.repeat(1 << 20)).repeat(bytes >> 20))
    };
    let zstd: fn(&[u8]) -> Vec<u8> = |body| zstd::stream::encode_all(body, 3).unwrap();
    [("gzip", make(gzip), gzip(unit)), ("zstd", make(zstd), zstd(unit))]
}

#[test]
fn bombs_are_stopped_at_the_cap() {
    // One arena: what the allocator keeps for each thread is not what a body costs.
    let mut place = Place::new();
    place.set("MALLOC_CONF", "narenas:1");
    let world = World::at(place, &[]);
    // The first large body takes the memory that large bodies take.
    assert_eq!(world.post(&[NDJSON], vec![b'\n'; BODY_BYTES]).status, 200);
    let before = peak_kib(&world.server);
    for unit in [&b"\n"[..], b" ", b"\0"] {
        for (coding, bomb, _) in codings(unit) {
            let bomb = bomb(2 << 30);
            assert!(bomb.len() < BODY_BYTES, "{} bytes", bomb.len());
            let answer = world.post(&[NDJSON, ("content-encoding", coding)], &bomb);
            problem(&answer, 413, "too-large");
        }
    }
    let grown = peak_kib(&world.server) - before;
    println!("the process grew by {grown} KiB");
    assert!(grown < 48 << 10, "the process grew by {grown} KiB");
    let one_frame = zstd::stream::encode_all(std::io::repeat(0).take(1 << 30), 1).unwrap();
    let answer = world.post(&[NDJSON, ("content-encoding", "zstd")], one_frame);
    problem(&answer, 413, "too-large");
}

/// The most memory that the process has had, KiB.
fn peak_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn media_types_and_codings_are_those_of_the_contract() {
    let world = World::new();
    let text = license("m", "u").to_string();
    for media in ["text/plain", "application/xml", "application/cloudevents", ""] {
        let answer = world.post(&[("content-type", media)], &text);
        problem(&answer, 415, "unsupported-media-type");
    }
    problem(&world.post(&[], &text), 415, "unsupported-media-type");
    for coding in ["br", "deflate", "compress", "gzip, gzip", "gzip, zstd"] {
        let answer = world.post(&[NDJSON, ("content-encoding", coding)], &text);
        problem(&answer, 415, "unsupported-coding");
        assert_eq!(answer.header("accept-encoding"), Some("gzip, zstd"));
    }
    assert_eq!(counts(&world.lines(&[license("m", "u")])), [1, 1, 0, 0]);
}

#[test]
fn a_body_of_unknown_length_is_capped_as_well() {
    let world = World::with(&[("LIMITS__BODY_BYTES", "65536")]);
    let mut stream = std::net::TcpStream::connect(world.server.address()).unwrap();
    let head = format!(
        "POST /v1/records HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n",
        world.producer
    );
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..17 {
        stream.write_all(b"1000\r\n").unwrap();
        stream.write_all(&[b'\n'; 4_096]).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"status\":413"), "{answer}");
}
