//! What a request leaves behind in the memory of the real process (P1): bodies in which every
//! record carries a marked id are sent in every way in which they can end, and the process's memory
//! is searched afterwards.
//!
//! The bodies are sent gzipped, so that the buffers of the connection, which are not ours, never
//! hold an id. What may be left is the window of the inflating library: the last 32 KiB of a body,
//! which the library does not wipe (docs/PRIVACY.md names it). A body in the allocator would be
//! half a megabyte.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::contract::with_a_closed_month;
use crate::support::{
    Client, Place, Server, billing_token, make_token, producer_token, put_site, start,
};

/// Records of a body.
const RECORDS: usize = 3_000;
/// Windows of the inflating library that may be left: those of two threads.
const WINDOWS_BYTES: usize = 2 * (32 << 10);
/// Folded ids that may be left: the last one of each thread, on a stack that nobody wipes.
const FOLDED_LEFT: usize = 4;
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    flate2::bufread::GzEncoder::new(plain, flate2::Compression::fast())
        .read_to_end(&mut coded)
        .unwrap();
    coded
}

/// A body of records of a site, each with its own id that begins with the mark.
fn body(site: &str, mark: &str) -> String {
    let now = jiff::Timestamp::now();
    (0..RECORDS)
        .map(|n| {
            let record = serde_json::json!({
                "event_id": format!("{mark}{n}"), "type": "drm.license.issued", "site_id": site,
                "occurred_at": now.to_string(), "outcome": "success",
                "user_id": format!("{}-{n:06}", marked(mark)),
            });
            format!("{record}\n")
        })
        .collect()
}

/// The mark as it stands in ids; the event ids, which an answer may hold, have another.
fn marked(mark: &str) -> String {
    format!("WHO-{mark}-IS")
}

/// How often a text stands in the memory of a process; `None` where this user may not look.
fn found(server: &Server, text: &str) -> Option<usize> {
    let directory = format!("/proc/{}", server.pid());
    let memory = match File::open(format!("{directory}/mem")) {
        Ok(memory) => memory,
        Err(error) => {
            // The server makes itself unreadable to others of its user, root excepted.
            let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
            assert!(!root, "root cannot read the memory of the server: {error}");
            eprintln!("The memory of the server cannot be read ({error}); run this as root.");
            return None;
        }
    };
    let maps = std::fs::read_to_string(format!("{directory}/maps")).unwrap();
    let mut count = 0;
    let mut looked = 0;
    for line in maps.lines() {
        let mut parts = line.split_whitespace();
        let (range, rights) = (parts.next().unwrap(), parts.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let at = |text| u64::from_str_radix(text, 16).unwrap();
        let mut bytes = vec![0; usize::try_from(at(to) - at(from)).unwrap()];
        if memory.read_exact_at(&mut bytes, at(from)).is_ok() {
            looked += bytes.len();
            count += memchr::memmem::find_iter(&bytes, text.as_bytes()).count();
        }
    }
    assert!(looked > 1 << 20, "only {looked} bytes could be read");
    Some(count)
}

struct World {
    server: Server,
    token: String,
    _place: Place,
}

impl World {
    fn new() -> Self {
        let place = Place::new();
        let server = start(&place, &[]);
        put_site(&server, "A", "{}");
        let token = producer_token(&server);
        Self { server, token, _place: place }
    }

    fn post(&self, coded: &[u8], key: Option<&str>) -> u16 {
        let mut headers = vec![NDJSON, GZIP];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        self.send("/v1/records", &headers, coded)
    }

    fn send(&self, path: &str, headers: &[(&str, &str)], coded: &[u8]) -> u16 {
        let mut client = Client::new(self.server.address(), &self.token);
        client.send("POST", path, headers, coded).unwrap().status
    }

    /// Checks that hardly any id of a body is left.
    #[track_caller]
    fn is_wiped(&self, what: &str, mark: &str, body: &str) {
        let most = WINDOWS_BYTES / (body.len() / RECORDS) + 1;
        if let Some(left) = found(&self.server, &marked(mark)) {
            assert!(left <= most, "{what}: {left} of {RECORDS} ids are left, {most} may be");
        }
    }
}

#[test]
fn ids_are_wiped_however_a_request_ends() {
    let world = World::new();
    let send = |what: &str, site: &str, mark: &str, key: Option<&str>, statuses: &[u16]| {
        let body = body(site, mark);
        let coded = gzip(body.as_bytes());
        for status in statuses {
            assert_eq!(world.post(&coded, key), *status, "{what}");
        }
        world.is_wiped(what, mark, &body);
    };
    send("accepted", "A", "ACCEPTED", None, &[200]);
    send("kept", "A", "KEPT", Some("k"), &[200]);
    send("replayed", "A", "REPLAYED", Some("r"), &[200, 200]);
    send("mismatch", "A", "MISMATCH", Some("k"), &[422]);
    send("refused", "NOWHERE", "REFUSED", None, &[422]);
    send("refused with a key", "NOWHERE", "REFUSEDKEY", Some("n"), &[422]);
}

/// Where a site wants another form of user ids: neither the ids nor what they are folded to is
/// left, as text or as the characters on the way, under either algorithm.
#[test]
fn ids_are_wiped_in_every_form() {
    let world = World::new();
    for (site, algorithm) in [("H", "hmac-sha-256"), ("B", "blake3")] {
        let settings = serde_json::json!({
            "pseudonym_algorithm": algorithm,
            "user_id_trim": true, "user_id_nfc": true, "user_id_lower": true,
        });
        put_site(&world.server, site, &settings.to_string());
        // Plain, and with a letter that needs the tables.
        for (mark, end) in [(format!("PLAIN{site}"), ""), (format!("TABLES{site}"), "E\u{301}")] {
            let user = format!("{}-", marked(&mark));
            let body = body(site, &mark).replace(&user, &format!(" {end}{user}"));
            assert_eq!(world.post(&gzip(body.as_bytes()), None), 200);
            world.is_wiped(algorithm, &mark, &body);
            let folded = marked(&mark).to_lowercase();
            let wide: String = folded.chars().flat_map(|char| [char, '\0', '\0', '\0']).collect();
            for text in [folded, wide] {
                // Nobody else ever has these, so hardly a stack may.
                let left = found(&world.server, &text);
                assert!(left.is_none_or(|left| left <= FOLDED_LEFT), "{mark} {text:?}: {left:?}");
            }
        }
    }
}

/// A customer's list of a month that is closed: answered, too small, broken in the midst of it, and
/// with a coding that breaks.
#[test]
fn the_ids_of_a_list_are_wiped_however_it_ends() {
    let (place, month) = with_a_closed_month();
    let server = start(&place, &[]);
    let token = billing_token(&server);
    let world = World { server, token, _place: place };
    let path = format!("/v1/sites/A/statements/{month}/challenge");
    let list = |mark: &str| -> String {
        let line = |n| format!("{{\"user_id\":\"{}-{n:06}\"}}\n", marked(mark));
        (0..RECORDS).map(line).collect()
    };
    let (broken, cut) =
        (list("BROKEN").replace("002990\"", "002990"), gzip(list("CUT").as_bytes()));
    for (mark, text, coded, status) in [
        ("LISTED", list("LISTED"), None, 200),
        ("BROKEN", broken, None, 422),
        ("CUT", list("CUT"), Some(cut[..cut.len() - 9].to_vec()), 400),
    ] {
        let coded = coded.unwrap_or_else(|| gzip(text.as_bytes()));
        assert_eq!(world.send(&path, &[NDJSON, GZIP], &coded), status, "{mark}");
        world.is_wiped(mark, mark, &text);
    }
}

#[test]
fn ids_are_wiped_where_the_first_request_still_runs() {
    let world = World::new();
    let mut conflicts = 0;
    for round in 0..40 {
        let mark = format!("RUNNING{round}");
        let body = body("A", &mark);
        let coded = gzip(body.as_bytes());
        let key = format!("running-{round}");
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..6).map(|_| scope.spawn(|| world.post(&coded, Some(&key)))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(statuses.iter().all(|status| matches!(status, 200 | 409)), "{statuses:?}");
        conflicts += statuses.iter().filter(|status| **status == 409).count();
        if conflicts > 2 {
            let most = 6 * (32 << 10) / (body.len() / RECORDS) + 1;
            if let Some(left) = found(&world.server, &marked(&mark)) {
                assert!(left <= most, "{left} of {RECORDS} ids are left, {most} may be");
            }
            return;
        }
    }
    panic!("no request met another of its key");
}

#[test]
fn the_text_of_a_new_token_is_wiped() {
    let world = World::new();
    let text = make_token(&world.server, "billing", &["A"]);
    // The secret itself may have such signs, too.
    let secret = text.splitn(3, '_').nth(2).unwrap();
    // Something else on that way, so that nothing of it is in use any more.
    make_token(&world.server, "billing", &["A"]);
    if let Some(left) = found(&world.server, secret) {
        assert_eq!(left, 0, "the secret of a token is left in memory");
    }
}
