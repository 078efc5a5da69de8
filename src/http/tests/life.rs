//! The life of connections and of the server: deadlines, caps, hang-ups, drain, HTTP/2.

use super::*;
use crate::observe::metrics::Exposition;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(5);

fn short(change: impl FnOnce(&mut Deadlines)) -> Settings {
    let mut settings = settings();
    change(&mut settings.deadlines);
    settings
}

#[tokio::test]
async fn a_slow_head_and_silence_are_cut_long_before_an_idle_connection() {
    let harness = start(short(|d| d.header = Duration::from_millis(100))).await;
    let mut slow = TcpStream::connect(harness.address).await.unwrap();
    assert!(raw(&mut slow, b"GET /livez HTTP/1.1\r\nHost:").await.is_some());

    // Nor is there more time for a connection that says nothing at all.
    let mut silent = TcpStream::connect(harness.address).await.unwrap();
    assert!(raw(&mut silent, b"").await.is_some());
}

#[tokio::test]
async fn one_peer_has_not_all_connections() {
    let harness = start(Settings { peer_connections_max: 2, ..settings() }).await;
    let open = |harness: &Harness| TcpStream::connect(harness.address);
    let held = [open(&harness).await.unwrap(), open(&harness).await.unwrap()];
    let mut third = open(&harness).await.unwrap();
    assert_eq!(raw(&mut third, b"").await.as_deref(), Some(""), "it was not closed");
    drop(held);
    timeout(SOON, async {
        loop {
            let mut next = open(&harness).await.unwrap();
            let ask = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            if raw(&mut next, ask).await.is_some_and(|said| said.starts_with("HTTP/1.1 200")) {
                return;
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_credential_that_ends_before_the_body_is_refused() {
    for (role, line) in [
        (Role::Producer, "POST /v1/records"),
        (Role::Operator, "PUT /v1/sites/A"),
        (Role::Operator, "POST /v1/tokens"),
    ] {
        let harness = start(settings()).await;
        let token = &harness.tokens[&role];
        let mut stream = TcpStream::connect(harness.address).await.unwrap();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Expect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server asks for the body once the head has been proven.
        let mut asked = [0; 25];
        timeout(SOON, stream.read_exact(&mut asked)).await.unwrap().unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        let revoke = format!("/v1/tokens/{}", &token[3..19]);
        let revoked = harness.send(harness.request(Role::Operator, "DELETE", &revoke), "").await;
        assert_eq!(revoked.status, 204);
        let answer = raw(&mut stream, b"{}").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{line}: {answer}");
        assert!(harness.intake.bodies.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn headers_that_must_stand_there_once() {
    let harness = start(settings()).await;
    let token = &harness.tokens[&Role::Operator];
    let producer = &harness.tokens[&Role::Producer];
    for (head, status) in [
        ("GET /livez HTTP/1.1\r\n".to_owned(), 400),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n".to_owned(), 400),
        ("GET /livez HTTP/1.0\r\n".to_owned(), 200),
        (
            format!(
                "GET /v1/sites HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
                 Authorization: Bearer junk\r\n"
            ),
            401,
        ),
        (
            format!(
                "POST /v1/records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {producer}\r\n\
                 Content-Length: 0\r\nContent-Type: application/json\r\n\
                 Content-Type: application/x-ndjson\r\n"
            ),
            415,
        ),
        (
            format!(
                "PUT /v1/sites/A HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
                 Content-Length: 0\r\nContent-Encoding: gzip\r\n"
            ),
            415,
        ),
        (
            format!(
                "GET /v1/sites/ACME/usage/2026-11?mnth=1 HTTP/1.1\r\nHost: x\r\n\
                 Authorization: Bearer {token}\r\n"
            ),
            400,
        ),
    ] {
        let mut stream = TcpStream::connect(harness.address).await.unwrap();
        let ask = format!("{head}Connection: close\r\n\r\n");
        let answer = raw(&mut stream, ask.as_bytes()).await.unwrap();
        assert!(answer.get(9..12) == Some(&status.to_string()), "{head}: {answer}");
    }
}

#[tokio::test]
async fn bodies_that_the_desk_cannot_read_are_counted() {
    let harness = start(settings()).await;
    for (posted, status) in [(Posted::Unreadable, 400), (Posted::TooManyRecords, 413)] {
        *harness.intake.next.lock().unwrap() = posted;
        assert_eq!(harness.send(harness.post(), "[{").await.status, status);
    }
    assert_eq!(harness.intake.unreadable.load(Ordering::SeqCst), 2);
    let exposition = Exposition::Prometheus;
    let text = harness.registry.render(exposition);
    assert!(text.contains("blindtally_requests_unreadable_total 2\n"), "{text}");
}

#[tokio::test]
async fn a_kept_connection_outlives_the_head_deadline_and_ends_when_idle() {
    let harness = start(short(|d| {
        d.header = Duration::from_millis(100);
        d.idle = Duration::from_millis(600);
    }))
    .await;
    let mut stream = TcpStream::connect(harness.address).await.unwrap();
    let ask = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..2 {
        stream.write_all(ask).await.unwrap();
        let mut answer = [0; 15];
        timeout(SOON, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        sleep(Duration::from_millis(250)).await;
        let mut rest = [0; 1_000];
        assert!(stream.try_read(&mut rest).unwrap() > 0);
    }
    assert!(raw(&mut stream, b"").await.is_some(), "an idle connection was kept");
}

#[tokio::test]
async fn a_slow_body_is_cut_with_408() {
    let harness = start(short(|d| d.body = Duration::from_millis(100))).await;
    let mut stream = TcpStream::connect(harness.address).await.unwrap();
    let text = format!(
        "POST /v1/records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n[",
        harness.tokens[&Role::Producer]
    );
    let answer = raw(&mut stream, text.as_bytes()).await.expect("the connection was kept");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_slow_desk_is_answered_for_and_still_finishes() {
    let harness = start(short(|d| d.answer = Duration::from_millis(50))).await;
    let gate = harness.intake.gate.acquire_many(1_000).await.unwrap();
    let got = harness.send(harness.post(), "{}").await;
    assert_eq!((got.status.as_u16(), got.header("retry-after")), (503, "1"));
    drop(gate);
    timeout(SOON, async {
        while harness.intake.finished.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_explanation_that_takes_too_long_is_answered_for() {
    let harness = start(short(|d| d.answer = Duration::from_millis(50))).await;
    for path in ["/v1/sites/ACME/usage/{}/explained", "/v1/compat/pallycon/ACME/statistics/{}"] {
        let ask = async |month: &str| {
            let got = harness.get(Role::Billing, &path.replace("{}", month)).await;
            (got.status.as_u16(), got.header("retry-after").to_owned())
        };
        let slow = timeout(SOON, ask(crate::usage::fake::NEVER_EXPLAINED)).await.unwrap();
        assert_eq!(slow, (503, "1".to_owned()), "{path}");
        assert_eq!(ask("2000-03").await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn a_hang_up_leaves_no_batch_without_an_owner() {
    let harness = start(settings()).await;
    let gate = harness.intake.gate.acquire_many(1_000).await.unwrap();
    let mut stream = TcpStream::connect(harness.address).await.unwrap();
    let text = format!(
        "POST /v1/records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}",
        harness.tokens[&Role::Producer]
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    timeout(SOON, harness.intake.arrived.notified()).await.unwrap();
    stream.set_zero_linger().unwrap();
    drop(stream);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(harness.intake.finished.load(Ordering::SeqCst), 0);
    // The drain waits for the batch although its connection is gone.
    let draining = tokio::spawn(harness.server.drain());
    sleep(Duration::from_millis(50)).await;
    assert!(!draining.is_finished());
    drop(gate);
    assert!(timeout(SOON, draining).await.unwrap().unwrap());
    assert_eq!(harness.intake.finished.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_drain_lets_running_requests_finish_and_takes_no_new_ones() {
    let harness = start(settings()).await;
    let idle = TcpStream::connect(harness.address).await.unwrap();
    let gate = harness.intake.gate.acquire_many(1_000).await.unwrap();
    let stream = TcpStream::connect(harness.address).await.unwrap();
    let asked = harness.post().body(Full::from("{}")).unwrap();
    let running = tokio::spawn(exchange(stream, asked));
    timeout(SOON, harness.intake.arrived.notified()).await.unwrap();
    let (address, server) = (harness.address, harness.server);
    let draining = tokio::spawn(server.drain());
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, refused).await.expect("connections are still accepted");
    drop(gate);
    assert_eq!(timeout(SOON, running).await.unwrap().unwrap().status, 200);
    assert!(timeout(SOON, draining).await.unwrap().unwrap());
    drop(idle);
}

#[tokio::test]
async fn the_drain_ends_at_its_deadline() {
    let harness = start(short(|d| d.drain = Duration::from_millis(100))).await;
    let _gate = harness.intake.gate.acquire_many(1_000).await.unwrap();
    let mut stream = TcpStream::connect(harness.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let posting = TcpStream::connect(harness.address).await.unwrap();
    tokio::spawn(exchange(posting, harness.post().body(Full::from("{}")).unwrap()));
    timeout(SOON, harness.intake.arrived.notified()).await.unwrap();
    assert!(!timeout(SOON, harness.server.drain()).await.unwrap());
}

#[tokio::test]
async fn beyond_the_cap_connections_wait() {
    let harness = start(Settings { connections_max: 1, ..settings() }).await;
    let first = TcpStream::connect(harness.address).await.unwrap();
    // Its place is taken once the server says so.
    timeout(SOON, async {
        let open = "blindtally_http_connections 1\n";
        let exposition = Exposition::Prometheus;
        while !harness.registry.render(exposition).contains(open) {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    let mut second = TcpStream::connect(harness.address).await.unwrap();
    let ask = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    second.write_all(ask).await.unwrap();
    let mut byte = [0];
    let waiting = timeout(Duration::from_millis(200), second.peek(&mut byte)).await;
    assert!(waiting.is_err(), "a connection beyond the cap was served");
    drop(first);
    assert!(raw(&mut second, b"").await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn http2_with_prior_knowledge() {
    let harness = start(settings()).await;
    let stream = TcpStream::connect(harness.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{}/v1/records", harness.address);
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let asked = harness.post().uri(&uri).body(Full::<Bytes>::from("{}")).unwrap();
        waiting.push(sender.send_request(asked));
    }
    for answer in waiting {
        assert_eq!(timeout(SOON, answer).await.unwrap().unwrap().status(), 200);
    }
    let head = Request::builder().method("HEAD").uri(format!("http://{}/livez", harness.address));
    let head = sender.send_request(head.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(timeout(SOON, harness.server.drain()).await.unwrap());
}

/// A change that has begun is made, and not left half-way, when the client has gone.
#[tokio::test]
async fn a_change_outlives_the_client_that_hangs_up() {
    let harness = start(settings()).await;
    let gate = harness.book.gate.lock().await;
    let mut stream = TcpStream::connect(harness.address).await.unwrap();
    let body = r#"{"role":"billing","sites":["*"],"name":"one more"}"#;
    let head = format!(
        "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        harness.tokens[&Role::Operator],
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    timeout(SOON, harness.book.asked.notified()).await.unwrap();
    drop(stream);
    let open = || harness.registry.render(Exposition::Prometheus);
    timeout(SOON, async {
        while !open().contains("blindtally_http_connections 0\n") {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    drop(gate);
    timeout(SOON, async {
        while !harness.get(Role::Operator, "/v1/tokens").await.body.contains("one more") {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn plain_http_stays_on_loopback() {
    let open = Settings { listen: vec!["0.0.0.0:0".parse().unwrap()], ..settings() };
    let stub = start(settings()).await;
    let kept = tempfile::tempdir().unwrap();
    let (ledger, audit) = audit();
    let clock = Arc::new(TestClock::default());
    let log = Arc::clone(audit.ledger());
    let engine = Running::open(kept.path(), clock.clone());
    let desks = Desks {
        subjects: subjects(&engine, Arc::clone(&log), clock.clone()),
        backfills: backfills(&engine, log, clock.clone()),
        billing: crate::billing::fake::desk(Arc::clone(audit.ledger()), clock.clone()),
        intake: Arc::new(StubDoor(stub.intake)),
        backups: crate::backup::fake::desk(None, Arc::clone(audit.ledger()), clock),
        tokens: Tokens::new(
            Arc::new(Memory::default()),
            Arc::new(Memory::default()),
            Arc::new(TestClock::default()),
        ),
        sites: Sites::new(Arc::new(Memory::default()), Arc::new(Memory::default())),
        usage: Usage::new(Arc::new(Figures::of(&[]))),
        reconciliation: reconciliation(),
        audit,
        retention: crate::retention::fake::desk(kept.path(), &[], TestClock::default().now()),
        webhooks: crate::webhooks::fake::desk(Arc::new(TestClock::default())),
        ready: Arc::new(|| Ok(())),
    };
    let refused = Server::start(open, desks, &Registry::default()).await.unwrap_err();
    assert!(matches!(refused, StartError::PlainHttp(_)));
    drop(ledger);
}
