//! Webhooks of the real server: a message arrives, an independent implementation verifies it, and
//! what could not be delivered is delivered by the next process.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, Place, Server, get, make_token, post_records, producer_token, put_site, send_json,
    start,
};

/// What a receiver does with a message, in another language: the secret, then the three headers and
/// the body, each on a line; it says `good` or fails.
const RECEIVER: &str = r#"
import base64, hashlib, hmac, sys
secret, mid, at, signatures, body = sys.stdin.read().split("\n", 4)
assert secret.startswith("whsec_")
key = base64.b64decode(secret[len("whsec_"):], validate=True)
assert 24 <= len(key) <= 64
mac = hmac.new(key, f"{mid}.{at}.{body}".encode(), hashlib.sha256).digest()
good = [s.split(",", 1)[1] for s in signatures.split(" ") if s.startswith("v1,")]
assert any(hmac.compare_digest(base64.b64decode(s), mac) for s in good), "no signature fits"
print("good")
"#;

struct Seen {
    headers: BTreeMap<String, String>,
    body: String,
    /// The status that it was answered with.
    answered: u16,
}

/// An endpoint of ours on a thread of its own.
struct Endpoint {
    address: SocketAddr,
    status: Arc<Mutex<u16>>,
    seen: Receiver<Seen>,
}

impl Endpoint {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(Mutex::new(200));
        let (tell, seen) = channel();
        let shared = Arc::clone(&status);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let read = answer(stream, *shared.lock().unwrap());
                if read.is_some_and(|read| tell.send(read).is_err()) {
                    break;
                }
            }
        });
        Self { address, status, seen }
    }

    fn answer_with(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }

    #[track_caller]
    fn next(&self, server: &Server) -> Seen {
        self.seen.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{}", server.logs()))
    }
}

fn answer(mut stream: TcpStream, status: u16) -> Option<Seen> {
    let mut got = Vec::new();
    let mut part = [0; 4_096];
    let mut more = |got: &mut Vec<u8>| {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        got.extend_from_slice(&part[..read]);
        Some(())
    };
    let end = loop {
        match got.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => break end,
            None => more(&mut got)?,
        }
    };
    let head = String::from_utf8(got[..end].to_vec()).unwrap();
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<String, String> =
        lines.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let length: usize = headers["content-length"].parse().unwrap();
    while got.len() < end + 4 + length {
        more(&mut got)?;
    }
    let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).ok()?;
    let body = String::from_utf8(got[end + 4..].to_vec()).unwrap();
    Some(Seen { headers, body, answered: status })
}

/// Whether the other implementation takes the message under this secret.
fn is_good(secret: &str, seen: &Seen) -> bool {
    let header = |name: &str| seen.headers[name].as_str();
    let input = [
        secret,
        header("webhook-id"),
        header("webhook-timestamp"),
        header("webhook-signature"),
        &seen.body,
    ];
    let mut python = Command::new("python3")
        .args(["-c", RECEIVER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3");
    python.stdin.take().unwrap().write_all(input.join("\n").as_bytes()).unwrap();
    let ended = python.wait_with_output().unwrap();
    ended.status.success() && ended.stdout == b"good\n"
}

const INSIDE: [(&str, &str); 2] =
    [("WEBHOOKS__ALLOW_INTERNAL", "true"), ("WEBHOOKS__LOOK_SECONDS", "1")];

#[track_caller]
fn hook(server: &Server, url: &str, events: &[&str]) -> (String, String) {
    let body = json!({"url": url, "events": events}).to_string();
    let made = send_json(server, &server.operator_token(), "POST", "/v1/webhooks", &body);
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

#[track_caller]
fn deliveries(server: &Server, id: &str) -> Vec<Value> {
    let path = format!("/v1/webhooks/{id}/deliveries");
    let answer = get(server, &server.operator_token(), &path);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["items"].as_array().unwrap().clone()
}

fn license(event: &str) -> String {
    let now = jiff::Timestamp::now();
    format!(
        "{{\"event_id\":\"{event}\",\"type\":\"drm.license.issued\",\"site_id\":\"A\",\
         \"occurred_at\":\"{now:.0}\",\"outcome\":\"success\",\"user_id\":\"u-{event}\"}}\n"
    )
}

#[test]
fn another_implementation_verifies_what_arrives() {
    let (place, endpoint) = (Place::new(), Endpoint::start());
    let server = start(&place, &INSIDE);
    put_site(&server, "A", r#"{"plan_mau":2}"#);
    let url = format!("http://{}/in?token=canary-in-url", endpoint.address);
    let (id, secret) = hook(&server, &url, &["threshold.reached"]);
    let producer = producer_token(&server);
    assert_eq!(post_records(&server, &producer, &license("1")).count("accepted"), 1);
    let half = endpoint.next(&server);
    assert!(is_good(&secret, &half), "{:?}", half.headers);
    let read: Value = serde_json::from_str(&half.body).unwrap();
    assert_eq!(read["type"], "threshold.reached");
    assert_eq!(read["data"]["threshold_percent"], 50);
    assert_eq!((&read["data"]["mau"], &read["data"]["plan_mau"]), (&json!(1), &json!(2)));
    let headers = half.headers.clone();
    let changed = Seen { body: half.body.replace("50", "51"), headers, answered: 200 };
    assert!(!is_good(&secret, &changed));

    // A second secret, while the first still signs; what the endpoint refuses comes again.
    let path = format!("/v1/webhooks/{id}/rotate");
    let rotated = send_json(&server, &server.operator_token(), "POST", &path, "");
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let new = rotated.json()["secret"].as_str().unwrap().to_owned();
    endpoint.answer_with(500);
    assert_eq!(post_records(&server, &producer, &license("2")).count("accepted"), 1);
    let (one, other) = (endpoint.next(&server), endpoint.next(&server));
    // Killed with one message for each of two thresholds, whether their failure was kept or not.
    let logs = server.logs();
    server.kill();
    endpoint.answer_with(204);
    let server = start(&place, &INSIDE);
    let again = [endpoint.next(&server), endpoint.next(&server)];
    assert!(again.iter().all(|seen| seen.answered == 204));
    assert_ne!(again[0].headers["webhook-id"], again[1].headers["webhook-id"]);
    for seen in &again {
        let same = |tried: &&Seen| tried.headers["webhook-id"] == seen.headers["webhook-id"];
        let tried = [&one, &other].into_iter().find(same).expect("the same ids");
        assert_eq!(tried.body, seen.body);
        assert!(is_good(&new, seen));
    }
    assert_eq!(deliveries(&server, &id).len(), 3);
    assert!(is_good(&secret, &one) && is_good(&new, &one) && is_good(&new, &other));
    assert!(!is_good("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &one));

    // The ledger knows the host, and neither it nor the log knows the address or a secret.
    let auditor = make_token(&server, "auditor", &["*"]);
    let entries = get(&server, &auditor, "/v1/ledger?limit=1000").text();
    assert!(entries.contains("webhook_made") && entries.contains("127.0.0.1"), "{entries}");
    for text in [entries, logs, server.logs()] {
        for hidden in ["canary-in-url", &secret[6..], &new[6..]] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }
    }
}

#[test]
fn inside_is_not_asked_unless_a_setting_says_so() {
    let (place, endpoint) = (Place::new(), Endpoint::start());
    let server = start(&place, &[("WEBHOOKS__LOOK_SECONDS", "1")]);
    let operator = server.operator_token();
    for url in [
        format!("http://{}/", endpoint.address),
        format!("https://{}/", endpoint.address),
        "https://[::ffff:127.0.0.1]/".to_owned(),
        "https://169.254.169.254/latest".to_owned(),
    ] {
        let body = json!({"url": url, "events": ["month.closed"]}).to_string();
        let refused = send_json(&server, &operator, "POST", "/v1/webhooks", &body);
        assert_eq!(refused.status, 422, "{url}: {refused:?}");
        assert_eq!(refused.json()["pointer"], "/url");
    }
    // A name tells nothing until it is resolved, and then it is refused.
    let url = format!("https://localhost:{}/", endpoint.address.port());
    let (id, _) = hook(&server, &url, &["month.closed"]);
    let queued = send_json(&server, &operator, "POST", &format!("/v1/webhooks/{id}/test"), "");
    assert_eq!(queued.status, 202, "{queued:?}");
    let deadline = std::time::Instant::now() + PATIENCE;
    let last = loop {
        let last = deliveries(&server, &id)[0]["last"].clone();
        if !last.is_null() || std::time::Instant::now() > deadline {
            break last;
        }
        std::thread::yield_now();
    };
    assert_eq!(last["error"], "internal_address", "{}", server.logs());
    let removed = send_json(&server, &operator, "DELETE", &format!("/v1/webhooks/{id}"), "");
    assert_eq!(removed.status, 204);
    assert_eq!(get(&server, &operator, &format!("/v1/webhooks/{id}/deliveries")).status, 404);
    assert!(endpoint.seen.try_recv().is_err());
}
