//! The server in one process on a port of the system's choice, with desks in memory.

mod access;
mod bodies;
mod http2;
mod life;
mod lists;
mod reconciliation;
mod retention;
mod secure;
mod webhooks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::admin::fake::{Memory, TestClock};
use crate::audit::fake::audit;
use crate::engine::Engine;
use crate::engine::fake::Running;
use crate::ingest::Posted;
use crate::ledger::Ledger;
use crate::model::caller::{Caller, Role, SiteScope, Token};
use crate::model::time::Clock;
use crate::observe::Registry;
use crate::usage::fake::Figures;

/// An ingest desk that keeps what it was given.
pub struct StubIntake {
    /// The bodies that it was given.
    pub bodies: Mutex<Vec<Vec<u8>>>,
    /// The keys that it was given.
    pub keys: Mutex<Vec<Option<String>>>,
    /// What it answers.
    pub next: Mutex<Posted>,
    /// Batches wait here; open unless a test takes the permits.
    pub gate: Semaphore,
    /// Rings when a batch has arrived.
    pub arrived: Notify,
    /// Batches that went their whole way.
    pub finished: AtomicUsize,
    /// Requests that were counted as unreadable.
    pub unreadable: AtomicUsize,
}

struct StubDoor(Arc<StubIntake>);

impl Intake for StubDoor {
    fn post(&self, mut delivery: Delivery) -> Answering {
        let stub = Arc::clone(&self.0);
        Box::pin(async move {
            stub.bodies.lock().unwrap().push(std::mem::take(&mut *delivery.body));
            let key = delivery.idempotency_key.as_ref().map(|key| key.to_string());
            stub.keys.lock().unwrap().push(key);
            stub.arrived.notify_one();
            let _permit = stub.gate.acquire().await;
            stub.finished.fetch_add(1, Ordering::SeqCst);
            stub.next.lock().unwrap().clone()
        })
    }

    fn unreadable(&self, _caller: &Caller) -> Counting {
        let stub = Arc::clone(&self.0);
        Box::pin(async move {
            stub.unreadable.fetch_add(1, Ordering::SeqCst);
            match stub.next.lock().unwrap().clone() {
                Posted::DiskFull => Err(Posted::DiskFull),
                _ => Ok(()),
            }
        })
    }

    fn receipt(&self, _caller: &Caller, key: &str) -> Posted {
        self.0.keys.lock().unwrap().push(Some(key.to_owned()));
        self.0.next.lock().unwrap().clone()
    }
}

/// A running server and what a test needs to ask it.
pub struct Harness {
    /// The server.
    pub server: Server,
    /// Its address.
    pub address: SocketAddr,
    /// A token for each role, for all sites.
    pub tokens: BTreeMap<Role, String>,
    /// The ingest desk.
    pub intake: Arc<StubIntake>,
    /// The retention desk.
    pub retention: Desk,
    /// Tokens, sites and what was said of them.
    pub book: Arc<Memory>,
    /// The metrics.
    pub registry: Registry,
    /// The engine of the desks that need one.
    _engine: Running,
    /// The ledger of the retention desk.
    _kept: tempfile::TempDir,
    /// The directory of the ledger.
    pub _ledger: tempfile::TempDir,
}

/// Settings for tests: short deadlines, small caps.
pub fn settings() -> Settings {
    let long = Duration::from_secs(20);
    Settings {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        tls: None,
        connections_max: 64,
        peer_connections_max: 64,
        encoded_body_bytes_max: 256 << 10,
        body_bytes_max: 512 << 10,
        list_bytes_max: 512 << 10,
        held_body_bytes_max: 64 << 20,
        deadlines: Deadlines {
            handshake: long,
            header: long,
            body: long,
            answer: long,
            idle: long,
            drain: long,
            reload: Duration::from_millis(20),
        },
    }
}

/// Two producers, one of them of a site.
fn reconciliation() -> Reconciliation {
    let rows = [(1, "test", "*", "a"), (2, "other", "*", "b"), (3, "other", "ACME", "c")];
    Reconciliation::new(Arc::new(crate::reconciliation::fake::Rows::of(&rows)))
}

/// The desk for people, over an engine without a site.
fn subjects(engine: &Engine, ledger: Arc<Ledger>, clock: Arc<dyn Clock>) -> Subjects {
    let settings = crate::subjects::Settings::default();
    Subjects::new(engine.clone(), ledger, Arc::new(|_, _| false), clock, settings)
}

/// The desk of backfills, over an engine without a site.
fn backfills(engine: &Engine, ledger: Arc<Ledger>, clock: Arc<dyn Clock>) -> Backfills {
    let settings = crate::backfill::Settings::default();
    Backfills::new(engine.clone(), ledger, clock, settings, || {})
}

/// Starts a server.
pub async fn start(settings: Settings) -> Harness {
    start_with(settings, Default::default()).await
}

/// Starts a server with months for the desk of statements.
pub async fn start_with(settings: Settings, months: crate::billing::fake::Memory) -> Harness {
    let receipt = Posted::Receipt { status: 200, body: b"{}".to_vec(), replayed: false };
    let intake = Arc::new(StubIntake {
        bodies: Mutex::default(),
        keys: Mutex::default(),
        next: Mutex::new(receipt),
        gate: Semaphore::new(1_000),
        arrived: Notify::new(),
        finished: AtomicUsize::new(0),
        unreadable: AtomicUsize::new(0),
    });
    let clock = Arc::new(TestClock::default());
    let book = Arc::new(Memory::default());
    let desk = Tokens::new(book.clone(), book.clone(), clock.clone());
    let (ledger, audit) = audit();
    let mut tokens = BTreeMap::new();
    for role in Role::ALL {
        let (token, text) = desk.mint_operator("test");
        desk.adopt(Token { role: *role, sites: SiteScope::All, ..token }).await.unwrap();
        tokens.insert(*role, text.to_string());
    }
    let kept = tempfile::tempdir().unwrap();
    let retention = crate::retention::fake::desk(kept.path(), &["ACME", "B"], clock.now());
    let billing = crate::billing::fake::desk_of(months, Arc::clone(audit.ledger()), clock.clone());
    let log = Arc::clone(audit.ledger());
    let engine = Running::open(kept.path(), clock.clone());
    let desks = Desks {
        intake: Arc::new(StubDoor(Arc::clone(&intake))),
        subjects: subjects(&engine, Arc::clone(&log), clock.clone()),
        backfills: backfills(&engine, log, clock.clone()),
        retention: retention.clone(),
        backups: crate::backup::fake::desk(None, Arc::clone(audit.ledger()), clock.clone()),
        webhooks: crate::webhooks::fake::desk(clock),
        tokens: desk,
        sites: Sites::new(book.clone(), book.clone()),
        usage: Usage::new(Arc::new(Figures::of(&["ACME", "B"]))),
        reconciliation: reconciliation(),
        billing,
        audit,
        ready: Arc::new(|| Ok(())),
    };
    let registry = Registry::default();
    let server = Server::start(settings, desks, &registry).await.unwrap();
    let address = server.addresses()[0];
    Harness {
        server,
        address,
        tokens,
        intake,
        retention,
        book,
        registry,
        _engine: engine,
        _kept: kept,
        _ledger: ledger,
    }
}

/// An answer.
pub struct Got {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl Got {
    /// A header as text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A request without token and body.
pub fn request(method: &str, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header(HOST, "localhost")
}

impl Harness {
    /// A request with the token of a role.
    pub fn request(&self, role: Role, method: &str, path: &str) -> hyper::http::request::Builder {
        request(method, path).header(AUTHORIZATION, format!("Bearer {}", self.tokens[&role]))
    }

    /// A post of records with the producer's token.
    pub fn post(&self) -> hyper::http::request::Builder {
        self.request(Role::Producer, "POST", "/v1/records")
            .header("content-type", "application/x-ndjson")
    }

    /// Sends a request over a connection of its own.
    pub async fn send(
        &self,
        request: hyper::http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Got {
        let stream = TcpStream::connect(self.address).await.unwrap();
        exchange(stream, request.body(Full::from(body.into())).unwrap()).await
    }

    /// The same without a body.
    pub async fn get(&self, role: Role, path: &str) -> Got {
        self.send(self.request(role, "GET", path), "").await
    }
}

/// Sends a request over HTTP/1.1 on a stream.
pub async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Got
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Got { status: head.status, headers: head.headers, body }
}

/// Writes text to a stream and reads until the server closes it; `None` when it does not.
pub async fn raw(stream: &mut TcpStream, text: &[u8]) -> Option<String> {
    stream.write_all(text).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    // A reset is an end as well.
    let _ = tokio::time::timeout(Duration::from_secs(5), reading).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}
