//! The life of one connection: handshake, HTTP/1.1 or HTTP/2, deadlines, the end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::Deadlines;
use super::activity::{Activity, Lapse, Watched};
use super::service::Service;

/// Most header fields of a request.
const HEADERS_MAX: usize = 64;
/// Largest request head, bytes; also the size of HTTP/1's read buffer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Largest header list of HTTP/2, bytes.
const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
/// Most requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// Unread bytes that one HTTP/2 request, and one connection, may have in flight.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// How long a connection that was told to end may take for it.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the server as a whole is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Takes connections and requests.
    Running,
    /// Lets running requests finish and takes no new ones.
    Draining,
    /// Drops what is left.
    Closed,
}

impl Phase {
    /// Waits until the server no longer runs.
    pub async fn ended(phase: &mut watch::Receiver<Self>) {
        // An error means that the server is gone altogether.
        drop(phase.wait_for(|phase| *phase != Self::Running).await);
    }

    /// Waits until the server drops what is left.
    pub async fn closed(phase: &mut watch::Receiver<Self>) {
        drop(phase.wait_for(|phase| *phase == Self::Closed).await);
    }
}

/// Serves one connection to its end.
pub async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    service: Arc<Service>,
    mut phase: watch::Receiver<Phase>,
) {
    let deadlines = service.settings().deadlines;
    // Answers are small and complete: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let mut ending = phase.clone();
    let ended = Phase::ended(&mut ending);
    let Some(tls) = tls else {
        let prior_knowledge = tokio::select! {
            found = begins_http2(&stream, deadlines.header) => found,
            () = ended => None,
        };
        let activity = Activity::new();
        let watched = Watched::new(stream, Arc::clone(&activity));
        match prior_knowledge {
            Some(true) => http2(watched, activity, service, &mut phase).await,
            Some(false) => http1(watched, activity, service, &mut phase).await,
            None => {}
        }
        return;
    };
    let handshake = tokio::time::timeout(deadlines.handshake, tls.accept(stream));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = ended => return,
    };
    let Ok(Ok(stream)) = shaken else {
        service.counters().handshake_failed();
        return;
    };
    let activity = Activity::new();
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let watched = Watched::new(stream, Arc::clone(&activity));
    if is_http2 {
        http2(watched, activity, service, &mut phase).await;
    } else {
        http1(watched, activity, service, &mut phase).await;
    }
}

/// Whether a connection without TLS begins with HTTP/2's preface (`PRI * HTTP/2.0`); `None` when
/// it ended or said nothing in time. Methods that begin with `PR` are none of ours.
async fn begins_http2(stream: &TcpStream, deadline: Duration) -> Option<bool> {
    let mut first = [0; 2];
    let peeked = tokio::time::timeout(deadline, stream.peek(&mut first)).await;
    match peeked {
        Ok(Ok(1..)) => Some(first == *b"PR"),
        Ok(Ok(0) | Err(_)) | Err(_) => None,
    }
}

async fn http1<S>(
    stream: Watched<S>,
    activity: Arc<Activity>,
    service: Arc<Service>,
    phase: &mut watch::Receiver<Phase>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let deadlines = service.settings().deadlines;
    let outer = deadlines.idle.max(deadlines.header) * 2;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(outer)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), requests(service, Arc::clone(&activity)));
    run(pin!(connection), &activity, &deadlines, true, phase).await;
}

async fn http2<S>(
    stream: Watched<S>,
    activity: Arc<Activity>,
    service: Arc<Service>,
    phase: &mut watch::Receiver<Phase>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let deadlines = service.settings().deadlines;
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(deadlines.idle / 2)
        .keep_alive_timeout(deadlines.header)
        .serve_connection(TokioIo::new(stream), requests(service, Arc::clone(&activity)));
    run(pin!(connection), &activity, &deadlines, false, phase).await;
}

/// The service of one connection: each request is marked as running while it is answered.
fn requests(
    service: Arc<Service>,
    activity: Arc<Activity>,
) -> impl HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible, Future: Send + 'static> {
    service_fn(move |request| {
        let running = activity.request();
        let service = Arc::clone(&service);
        async move {
            let answer = service.answer(request).await;
            drop(running);
            Ok::<_, Infallible>(answer)
        }
    })
}

/// A connection that can be told to end after its running requests.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn end(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::Connection<I, S>
where
    S: HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Graceful for http2::Connection<I, S, TokioExecutor>
where
    S: HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible, Future: Send + 'static>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs a connection until it ends, lapses or the server closes. What hyper says of its end is the
/// client's doing and not logged: its texts may quote the client.
async fn run(
    mut connection: Pin<&mut impl Graceful>,
    activity: &Activity,
    deadlines: &Deadlines,
    is_http1: bool,
    phase: &mut watch::Receiver<Phase>,
) {
    let head = is_http1.then_some(deadlines.header);
    let lapse = activity.lapse(deadlines.header, head, deadlines.idle);
    tokio::select! {
        _ = &mut connection => return,
        lapse = lapse => {
            if lapse == Lapse::Head {
                return;
            }
            connection.as_mut().end();
            let _ = tokio::time::timeout(FAREWELL, connection).await;
            return;
        }
        () = Phase::ended(phase) => connection.as_mut().end(),
    }
    tokio::select! {
        _ = connection => {}
        () = Phase::closed(phase) => {}
    }
}
