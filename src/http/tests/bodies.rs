//! Bodies: formats, codings, caps, and the desk's answers.

use super::*;
use std::io::Write;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

#[tokio::test]
async fn plain_and_coded_bodies_reach_the_desk() {
    let harness = start(settings()).await;
    let body = b"{\"event_id\":\"1\"}\n".repeat(20_000);
    let zstd = zstd::stream::encode_all(&body[..], 3).unwrap();
    for (coding, coded) in
        [("gzip", gzip(&body)), ("zstd", zstd), ("identity", body[..200_000].to_vec())]
    {
        let got = harness.send(harness.post().header("content-encoding", coding), coded).await;
        assert_eq!(got.status, 200, "{coding}: {}", got.body);
        assert_eq!(got.header("content-type"), "application/json");
        let seen = harness.intake.bodies.lock().unwrap().pop().unwrap();
        assert_eq!(seen, body[..seen.len()], "{coding}");
    }
    assert_eq!(harness.intake.unreadable.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn caps_hold_on_both_sides() {
    let harness = start(settings()).await;
    let large = vec![b'x'; (256 << 10) + 1];
    let bomb = gzip(&vec![b'\n'; 200 << 20]);
    assert!(bomb.len() < 256 << 10);
    for (coding, body, status) in [
        ("identity", large, 413),
        ("gzip", bomb, 413),
        ("gzip", b"no gzip".to_vec(), 400),
        ("gzip", gzip(b"whole")[..10].to_vec(), 400),
        ("zstd", b"no zstd".to_vec(), 400),
        ("br", b"x".to_vec(), 415),
        ("gzip, gzip", b"x".to_vec(), 415),
    ] {
        let got = harness.send(harness.post().header("content-encoding", coding), body).await;
        assert_eq!(got.status, status, "{coding}: {}", got.body);
        let accepted = if status == 415 { "gzip, zstd" } else { "" };
        assert_eq!(got.header("accept-encoding"), accepted);
    }
    assert_eq!(harness.intake.unreadable.load(Ordering::SeqCst), 7);
    assert!(harness.intake.bodies.lock().unwrap().is_empty());
    let text = harness.registry.render(crate::observe::metrics::Exposition::Prometheus);
    assert!(text.contains("blindtally_http_held_body_bytes 0\n"), "{text}");
}

#[tokio::test]
async fn a_body_without_length_is_capped_as_well() {
    let harness = start(settings()).await;
    let mut stream = TcpStream::connect(harness.address).await.unwrap();
    let mut text = format!(
        "POST /v1/records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        harness.tokens[&Role::Producer]
    );
    for _ in 0..5 {
        text.push_str(&format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10)));
    }
    text.push_str("0\r\n\r\n");
    let answer = raw(&mut stream, text.as_bytes()).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// A producer that was told nothing counts nothing: what it sends again is all that came.
#[tokio::test]
async fn a_body_that_is_cut_is_no_unreadable_request() {
    let harness = start(settings()).await;
    let head = format!(
        "POST /v1/records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\n",
        harness.tokens[&Role::Producer]
    );
    let cut = |rest: &'static str| {
        let (head, address) = (head.clone(), harness.address);
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
            // The client still listens: whatever it is told, it must not be told 400 uncounted.
            stream.shutdown().await.unwrap();
            raw(&mut stream, b"").await.unwrap()
        }
    };
    for rest in ["Content-Length: 9\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"] {
        let said = cut(rest).await;
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("cut-body"), "{rest}: {said}");
    }
    assert_eq!(harness.intake.unreadable.load(Ordering::SeqCst), 0);
    // What is no body is told so, and counted.
    let said = cut("Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("unreadable"), "{said}");
    assert_eq!(harness.intake.unreadable.load(Ordering::SeqCst), 1);
    assert!(harness.intake.bodies.lock().unwrap().is_empty());
}

#[tokio::test]
async fn media_types_are_known_or_refused() {
    let harness = start(settings()).await;
    let post = || harness.request(Role::Producer, "POST", "/v1/records");
    for (media, status) in [
        ("application/json; charset=utf-8", 200),
        ("application/jsonl", 200),
        ("application/cloudevents-batch+json", 200),
        ("text/plain", 415),
        ("application/xml", 415),
    ] {
        let got = harness.send(post().header("content-type", media), "{}").await;
        assert_eq!(got.status, status, "{media}");
    }
    assert_eq!(harness.send(post(), "{}").await.status, 415);
    // A CloudEvent in binary mode may have JSON of any name, or none, as its data.
    for media in ["application/json", "text/json", "application/x+json"] {
        let event = post().header("ce-id", "1").header("content-type", media);
        assert_eq!(harness.send(event, "{}").await.status, 200, "{media}");
    }
    assert_eq!(harness.send(post().header("ce-id", "1"), "").await.status, 200);
}

#[tokio::test]
async fn the_desk_s_answers_have_their_status() {
    let harness = start(settings()).await;
    let receipt = |status, replayed| Posted::Receipt { status, body: b"{}".to_vec(), replayed };
    for (posted, status, retry) in [
        (receipt(200, false), 200, ""),
        (receipt(200, true), 200, ""),
        (receipt(422, false), 422, ""),
        (Posted::Unreadable, 400, ""),
        (Posted::TooManyRecords, 413, ""),
        (Posted::Busy, 503, "1"),
        (Posted::DiskFull, 507, "60"),
        (Posted::Stopped, 503, "5"),
        (Posted::IdempotencyMismatch, 422, ""),
        (Posted::IdempotencyRunning, 409, "1"),
    ] {
        *harness.intake.next.lock().unwrap() = posted.clone();
        let got = harness.send(harness.post(), "{}\n").await;
        assert_eq!(got.status, status, "{posted:?}");
        assert_eq!(got.header("retry-after"), retry, "{posted:?}");
        let problem = got.header("content-type") == "application/problem+json";
        assert_eq!(problem, status != 200, "{posted:?}");
        let replayed = posted == receipt(200, true);
        assert_eq!(got.header("idempotent-replayed") == "true", replayed);
    }
}

#[tokio::test]
async fn idempotency_keys_reach_the_desk() {
    let harness = start(settings()).await;
    let keyed = harness.post().header("idempotency-key", "\"k 1\"");
    assert_eq!(harness.send(keyed, "").await.status, 200);
    assert_eq!(harness.intake.keys.lock().unwrap().pop().unwrap().as_deref(), Some("k 1"));
    let bad = harness.post().header("idempotency-key", "x".repeat(256));
    assert_eq!(harness.send(bad, "").await.status, 400);
}

#[tokio::test]
async fn crowded_servers_say_so() {
    let harness = start(Settings { held_body_bytes_max: 100 << 10, ..settings() }).await;
    let got = harness.send(harness.post(), vec![b'\n'; 200 << 10]).await;
    assert_eq!((got.status.as_u16(), got.header("retry-after")), (503, "1"));
    assert_eq!(harness.send(harness.post(), vec![b'\n'; 50 << 10]).await.status, 200);
}

#[tokio::test]
async fn errors_never_hold_input() {
    let harness = start(settings()).await;
    let mark = "CANARY-7f3a";
    for (method, path) in [
        ("GET", format!("/{mark}")),
        ("GET", format!("/v1/sites/{mark}")),
        ("GET", format!("/v1/sites/ACME/usage/{mark}")),
        ("GET", format!("/v1/usage?{mark}=1")),
        ("PUT", format!("/v1/sites/{mark}%20")),
        ("DELETE", format!("/v1/tokens/{mark}")),
        ("POST", "/v1/tokens".to_owned()),
        ("PUT", "/v1/sites/ACME".to_owned()),
    ] {
        let asked = harness.request(Role::Operator, method, &path).header("x-mark", mark);
        let got = harness.send(asked, format!("{{\"{mark}\":\"{mark}\"")).await;
        assert!(got.status.is_client_error(), "{method} {path}: {}", got.status);
        assert!(!got.body.contains(mark), "{}", got.body);
        assert!(got.headers.values().all(|value| !value.to_str().unwrap().contains(mark)));
    }
}
