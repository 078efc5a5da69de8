//! Sends marked ids in every format and every part of a request, and keeps every answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use data_encoding::HEXLOWER;
use md5::Digest as _;
use serde_json::{Value, json};

use super::plant::{Planted, Planter, SITE};
use super::search::Canary;
use crate::support::{Answer, Client, Server, producer_token};

/// Records in one request.
const BATCH: usize = 60;

/// The codings of a body.
const CODINGS: [&str; 3] = ["", "gzip", "zstd"];

/// The formats of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Lines,
    Array,
    One,
    Event,
    Events,
    Binary,
}

const FORMATS: [Format; 6] =
    [Format::Lines, Format::Array, Format::One, Format::Event, Format::Events, Format::Binary];

/// Sends, and keeps what comes back.
pub struct Sender {
    address: SocketAddr,
    operator_token: String,
    producer: Client,
    operator: Client,
    planter: Planter,
    sentinels: Vec<String>,
    answers: Vec<(String, Vec<u8>)>,
    /// The path of the open backfill, and how many records it has.
    backfill: Option<(String, u64)>,
}

impl Sender {
    /// A sender to a server.
    pub fn new(server: &Server) -> Self {
        let producer = producer_token(server);
        Self {
            address: server.address(),
            operator_token: server.operator_token(),
            producer: Client::new(server.address(), &producer),
            operator: Client::new(server.address(), &server.operator_token()),
            planter: Planter::new(),
            sentinels: Vec::new(),
            answers: Vec::new(),
            backfill: None,
        }
    }

    /// All canaries so far.
    pub fn canaries(&self) -> Vec<Canary> {
        self.planter.mint.canaries.clone()
    }

    /// Every answer, head and body, with its request line.
    pub fn answers(&self) -> &[(String, Vec<u8>)] {
        &self.answers
    }

    /// The metrics in both forms.
    pub fn metrics(&self) -> String {
        let mut client = Client::new(self.address, &self.operator_token);
        let mut ask = |accept| client.send("GET", "/metrics", &[("accept", accept)], b"").unwrap();
        ask("application/openmetrics-text").text() + &ask("text/plain").text()
    }

    /// A new canary.
    pub fn word(&mut self, name: &str) -> String {
        self.planter.mint.word(name)
    }

    fn keep(&mut self, request: &str, answer: &Answer) {
        let mut bytes = answer.body.clone();
        for (name, value) in &answer.headers {
            bytes.extend(format!("\n{name}: {value}").bytes());
        }
        self.answers.push((request.to_owned(), bytes));
    }

    /// Sends with a token of its own, and keeps the answer.
    pub fn send(
        &mut self,
        token: &str,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let answer = Client::new(self.address, token).send(method, path, headers, body).unwrap();
        self.keep(&format!("{method} {path}"), &answer);
        answer
    }

    fn operate(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let answer = self.operator.send(method, path, headers, body.as_bytes()).unwrap();
        self.keep(&format!("{method} {path}"), &answer);
        answer
    }

    /// The site, with sentinels that are canaries: they are stored, and must be sealed.
    pub fn make_site(&mut self) {
        self.sentinels = (0..5).map(|_| self.word("sentinel")).collect();
        let settings = json!({"name": "Canary", "sentinel_user_ids": self.sentinels}).to_string();
        let path = format!("/v1/sites/{SITE}");
        let answer = self.operate("PUT", &path, &[], &settings);
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(self.operate("PUT", &path, &[], &settings).status, 200);
        assert_eq!(self.operate("GET", "/v1/sites", &[], "").status, 200);
    }

    /// Good records in every format and coding.
    pub fn good_records(&mut self) {
        for format in FORMATS {
            for coding in CODINGS {
                let mut records = self.planter.good();
                for sentinel in self.sentinels.clone() {
                    records.push(self.planter.of_user(&sentinel));
                }
                self.records(format, coding, &records);
            }
        }
    }

    /// Bad records in the formats that hold many.
    pub fn bad_records(&mut self) {
        for (format, coding) in [
            (Format::Lines, "zstd"),
            (Format::Array, "gzip"),
            (Format::Events, ""),
            (Format::Binary, ""),
        ] {
            let records = self.planter.bad();
            self.records(format, coding, &records);
        }
    }

    /// Good and bad records once more, in a backfill that is left open.
    pub fn open_backfill(&mut self) {
        let now = jiff::Timestamp::now();
        let from = now - jiff::SignedDuration::from_hours(24);
        let (from, to) = (from.to_string(), now.to_string());
        let body = json!({"site_id": SITE, "from": from, "to": to, "reason": "canaries"});
        let made = self.operate("POST", "/v1/backfills", &[], &body.to_string());
        assert_eq!(made.status, 201, "{made:?}");
        let path = format!("/v1/backfills/{}", made.json()["id"].as_str().unwrap());
        let records = [self.planter.good(), self.planter.bad()].concat();
        let (mut staged, mut good) = (0, 0);
        for batch in records.chunks(BATCH) {
            let texts: Vec<&str> = batch.iter().map(|record| record.text.as_str()).collect();
            let key = self.word("idempotency key");
            let headers =
                [("content-type", "application/x-ndjson"), ("idempotency-key", key.as_str())];
            let (body, load) = (texts.join("\n"), format!("{path}/records"));
            let answer = self.producer.send("POST", &load, &headers, body.as_bytes()).unwrap();
            staged += answer.count("staged");
            good += batch.iter().filter(|record| record.good).count() as u64;
            self.keep("POST a backfill's records", &answer);
        }
        assert!(staged == good && good > 20, "{staged} of {good}");
        self.backfill = Some((path, good));
    }

    /// Counts it.
    pub fn close_backfill(&mut self) {
        let (path, good) = self.backfill.take().expect("an open backfill");
        let closed = self.operate("POST", &format!("{path}/close"), &[], "");
        assert_eq!(closed.json()["outcome"]["accepted"], json!(good), "{closed:?}");
    }

    fn records(&mut self, format: Format, coding: &str, records: &[Planted]) {
        let events: Vec<Planted> = match format {
            Format::Event | Format::Events | Format::Binary => {
                records.iter().filter_map(Planted::event).collect()
            }
            _ => records.to_vec(),
        };
        let (media, size) = match format {
            Format::Lines => ("application/x-ndjson", BATCH),
            Format::Array => ("application/json", BATCH),
            Format::One | Format::Binary => ("application/json", 1),
            Format::Event => ("application/cloudevents+json", 1),
            Format::Events => ("application/cloudevents-batch+json", BATCH),
        };
        for batch in events.chunks(size) {
            let texts: Vec<&str> = batch.iter().map(|record| record.text.as_str()).collect();
            let mut headers = vec![("content-type".to_owned(), media.to_owned())];
            let body = match format {
                Format::Lines => texts.join("\n"),
                Format::Array | Format::Events => format!("[{}]", texts.join(",")),
                Format::One | Format::Event => texts[0].to_owned(),
                Format::Binary => match binary(texts[0], &mut headers) {
                    Some(body) => body,
                    None => continue,
                },
            };
            let good = batch.iter().filter(|record| record.good).count() as u64;
            let answer = self.post(headers, coding, body.as_bytes());
            let wanted = if good > 0 { 200 } else { 422 };
            assert_eq!((answer.status, answer.count("accepted")), (wanted, good), "{answer:?}");
        }
    }

    /// Posts a body with a marked key, twice: the answer to the first is kept with a digest of the
    /// body, which must not lie open either.
    fn post(&mut self, mut headers: Vec<(String, String)>, coding: &str, body: &[u8]) -> Answer {
        let coded = match coding {
            "gzip" => gzip(body),
            "zstd" => zstd::stream::encode_all(body, 1).unwrap(),
            _ => body.to_vec(),
        };
        if !coding.is_empty() {
            headers.push(("content-encoding".to_owned(), coding.to_owned()));
        }
        let key = self.word("idempotency key");
        headers.push(("idempotency-key".to_owned(), key));
        let digests = [
            blake3::hash(body).as_bytes().to_vec(),
            sha2::Sha256::digest(body).to_vec(),
            md5::Md5::digest(body).to_vec(),
        ];
        let canary = |digest: Vec<u8>| Canary {
            name: "digest of a body".to_owned(),
            text: HEXLOWER.encode(&digest),
            forms: vec![digest],
        };
        self.planter.mint.canaries.extend(digests.map(canary));
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = self.producer.send("POST", "/v1/records", &headers, &coded).unwrap();
        self.keep("POST /v1/records", &answer);
        if answer.status == 200 && self.answers.len().is_multiple_of(4) {
            let again = self.producer.send("POST", "/v1/records", &headers, &coded).unwrap();
            assert_eq!(again.header("idempotent-replayed"), Some("true"), "{again:?}");
            self.keep("POST /v1/records (again)", &again);
        }
        answer
    }

    /// Bodies that are broken in the midst of a canary.
    pub fn broken_bodies(&mut self) {
        for media in [
            "application/x-ndjson",
            "application/json",
            "application/cloudevents+json",
            "application/cloudevents-batch+json",
        ] {
            for coding in CODINGS {
                for body in self.planter.broken() {
                    let array = media.contains("batch");
                    let body = if array { [&b"["[..], &body, b"]"].concat() } else { body };
                    let headers = vec![("content-type".to_owned(), media.to_owned())];
                    let answer = self.post(headers, coding, &body);
                    let wanted = if media == "application/x-ndjson" { 422 } else { 400 };
                    assert_eq!(answer.status, wanted, "{answer:?}");
                    // The coding itself is broken.
                    let cut = gzip(&body);
                    let headers = [("content-type", media), ("content-encoding", "gzip")];
                    let body = &cut[..cut.len() - 5];
                    let answer = self.producer.send("POST", "/v1/records", &headers, body).unwrap();
                    assert_eq!(answer.status, 400, "{answer:?}");
                    self.keep("POST a cut body", &answer);
                }
            }
        }
    }

    /// Canaries in headers, paths and queries of all routes.
    pub fn headers_and_urls(&mut self) {
        for name in [
            "x-user-id",
            "cookie",
            "user-agent",
            "referer",
            "x-forwarded-for",
            "forwarded",
            "host",
            "traceparent",
            "x-request-id",
            "accept",
            "accept-language",
            "content-type",
            "from",
            "content-encoding",
            "ce-userid",
            "ce-subject",
            "ce-type",
            "ce-time",
            "ce-dataschema",
            "expect",
            "if-none-match",
            "range",
            "authorization",
            "idempotency-key",
            "te",
        ] {
            for path in ["/v1/records", "/v1/usage?month=2026-11", "/livez", "/metrics", "/none"] {
                let word = self.word(name);
                let method = if path == "/v1/records" { "POST" } else { "GET" };
                let mut client = Client::new(self.address, "");
                let bearer = format!("Bearer {}", self.operator_token);
                let mut headers = vec![(name, word.as_str()), ("connection", "close")];
                if name != "authorization" {
                    headers.push(("authorization", &bearer));
                }
                if let Ok(answer) = client.send(method, path, &headers, b"{}") {
                    self.keep(&format!("{path} with {name}"), &answer);
                }
            }
        }
        for scheme in ["Bearer ", "bearer bt_", "Basic ", "Digest username=", ""] {
            let value = format!("{scheme}{}", self.word("credential"));
            let secret = self.word("secret of a credential");
            for value in [value, format!("Bearer bt_{}_{secret:a<43}", "a".repeat(16))] {
                let mut client = Client::new(self.address, "");
                let headers = [("authorization", value.as_str())];
                let answer = client.send("POST", "/v1/records", &headers, b"{}").unwrap();
                assert_eq!(answer.status, 401, "{answer:?}");
                self.keep("a bad credential", &answer);
            }
        }
        self.urls();
    }

    fn urls(&mut self) {
        for pattern in [
            "/{}",
            "/v1/{}",
            "/v1/sites/{}",
            "/v1/sites/{}/usage/2026-11",
            "/v1/tokens/{}",
            "/v1/sites/CANARY-SITE/usage/{}",
            "/v1/usage?{}=1",
            "/v1/usage?month={}",
            "/v1/usage?month=2026-11&cursor={}",
            "/v1/usage?month=2026-11&limit={}",
            "/v1/usage?from={}&to={}",
            "/livez?user_id={}",
            "/metrics?user_id={}",
            "/v1/records?user_id={}",
            "/v1/sites/CANARY-SITE/subjects/{}",
            "/readyz#{}",
            "/%00{}",
        ] {
            for method in ["GET", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
                let path = pattern.replace("{}", &self.word("a URL"));
                let answer = self.operate(method, &path, &[("connection", "close")], "");
                assert!(answer.status < 500, "{method} {pattern}: {answer:?}");
            }
        }
        let path = format!("/v1/records?user_id={}", self.word("a query"));
        let headers = [("content-type", "application/x-ndjson")];
        let answer = self.producer.send("POST", &path, &headers, b"").unwrap();
        self.keep("POST with a query", &answer);
    }

    /// Canaries in the bodies about sites and tokens, which are refused.
    pub fn operator_bodies(&mut self) {
        const SITES: [&str; 12] = [
            r#"{"C":1}"#,
            r#"{"name":{"C":"C"}}"#,
            r#"{"name":["C"]}"#,
            r#"{"time_zone":"C"}"#,
            r#"{"billing_group":["C"]}"#,
            r#"{"retention":{"C":1}}"#,
            r#"{"retention":{"records_days":"C"}}"#,
            r#"{"device_as_user":"C"}"#,
            r#"{"sentinel_user_ids":[{"C":1}]}"#,
            r#"{"sentinel_user_ids":["C","C"#,
            r#"{"sentinel_user_ids":["C"],"user_id":"C"}"#,
            r#"{"name":"C","name":"C"}"#,
        ];
        const TOKENS: [&str; 9] = [
            r#"{"C":1,"role":"billing","sites":["*"]}"#,
            r#"{"role":"C","sites":["*"]}"#,
            r#"{"role":"billing","sites":["C !"]}"#,
            r#"{"role":"billing","sites":[{"C":"C"}]}"#,
            r#"{"role":"billing","sites":["*"],"expires_in_days":"C"}"#,
            r#"{"role":"billing","sites":["*"],"name":{"C":"C"}}"#,
            r#"{"role":"billing","sites":["*"],"user_id":"C"}"#,
            r#"{"role":"billing","sites":["*"],"name":"C"#,
            r#"{"role":"billing","sites":["*"],"producers":"C"}"#,
        ];
        for (method, path, bodies) in
            [("PUT", "/v1/sites/CANARY-SITE-2", &SITES[..]), ("POST", "/v1/tokens", &TOKENS)]
        {
            for body in bodies {
                let word = self.word(body);
                let answer = self.operate(method, path, &[], &body.replace('C', &word));
                assert!(matches!(answer.status, 400 | 422), "{body}: {answer:?}");
                let long = format!("{word}{}", "x".repeat(300));
                let answer = self.operate(method, path, &[], &body.replace('C', &long));
                assert!(matches!(answer.status, 400 | 422), "{body}: {answer:?}");
            }
        }
    }

    /// Canaries as the persons of erasures that are carried out.
    pub fn people(&mut self, privacy: &str) {
        const BODIES: [&str; 3] = [
            r#"{"user_id":"C","suppress":true}"#,
            r#"{"user_id":"C"}"#,
            r#"{"device":{"kind":"opaque","value":"C"}}"#,
        ];
        let path = format!("/v1/sites/{SITE}/subjects/erase");
        for body in BODIES {
            let word = self.word(body);
            let answer =
                self.send(privacy, ("POST", &path), &[], body.replace('C', &word).as_bytes());
            assert_eq!(answer.status, 200, "{body}: {answer:?}");
        }
    }

    /// What is no HTTP at all, or beyond its limits.
    pub fn no_http(&mut self) {
        for pattern in [
            "{}\r\n\r\n",
            "{} / HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET /{} HTTP/9.9\r\n\r\n",
            "GET /a {} HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\r\n{}\r\n\r\n",
            "GET / HTTP/1.1\r\n{} : x\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            "POST /v1/records HTTP/1.1\r\nhost: x\r\ntransfer-encoding: {}\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{}{}{}{}",
        ] {
            let bytes = pattern.replace("{}", &self.word("no HTTP"));
            self.raw(pattern, bytes.as_bytes());
        }
        let many: String = (0..200).map(|n| format!("x-{n}: {}\r\n", self.word("many"))).collect();
        self.raw("many headers", format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes());
        let long = format!("{}{}", self.word("a long path"), "z".repeat(80_000));
        self.raw("a long path", format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
    }

    fn raw(&mut self, name: &str, bytes: &[u8]) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        self.answers.push((format!("no HTTP: {name}"), answer));
    }
}

/// The attributes of an event as headers; answers its data. `None` where one is no text.
fn binary(event: &str, headers: &mut Vec<(String, String)>) -> Option<String> {
    let event: Value = serde_json::from_str(event).unwrap();
    for name in ["specversion", "source", "id", "type", "time", "subject"] {
        headers.push((format!("ce-{name}"), event[name].as_str()?.to_owned()));
    }
    Some(event["data"].to_string())
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(body).unwrap();
    writer.finish().unwrap()
}

/// A figure of the metrics.
#[track_caller]
pub fn metric(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{name}: {metrics}"))
}
