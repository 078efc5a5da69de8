//! HTTP/2 with clients that stall: in the middle of a head, and in the middle of a body.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame};

use super::*;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
/// A frame's head: length, kind, flags, stream (RFC 9113 §4.1).
const FRAME_HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const ACK: u8 = 1;

/// Reads frames until the server closes; answers its PINGs where told so.
async fn until_closed(stream: &mut TcpStream, answers: bool) {
    loop {
        let mut head = [0; FRAME_HEAD_BYTES];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        if answers && head[3] == PING && head[4] & ACK == 0 {
            head[4] = ACK;
            if stream.write_all(&[&head[..], &payload].concat()).await.is_err() {
                return;
            }
        }
    }
}

/// A head that begins and does not end: whether its client still answers PINGs or not.
#[tokio::test]
async fn a_head_that_stalls_ends_the_connection() {
    let mut settings = settings();
    settings.deadlines.header = Duration::from_millis(50);
    settings.deadlines.idle = Duration::from_millis(200);
    let harness = start(settings).await;
    for answers in [false, true] {
        let mut stream = TcpStream::connect(harness.address).await.unwrap();
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        // A hundred bytes are promised and three come; no flag says that the head ends.
        let begun = [0, 0, 100, HEADERS, 0, 0, 0, 0, 1, 0x82, 0x87, 0x84];
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        stream.write_all(&[&preface[..], &settings, &begun].concat()).await.unwrap();
        let closed = timeout(SOON, until_closed(&mut stream, answers)).await;
        assert!(closed.is_ok(), "answers to PING: {answers}");
    }
}

/// A body that never comes.
struct Stalled;

impl Body for Stalled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_answered() {
    let mut settings = settings();
    settings.deadlines.body = Duration::from_millis(50);
    let harness = start(settings).await;
    let stream = TcpStream::connect(harness.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{}/v1/records", harness.address);
    let asked = harness.post().uri(&uri).body(Stalled).unwrap();
    let answer = timeout(SOON, sender.send_request(asked)).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    assert!(harness.intake.bodies.lock().unwrap().is_empty(), "half a batch was taken");
}
