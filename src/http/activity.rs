//! What a connection is doing, so that it can be cut when it does nothing: a request head that
//! comes too slowly, or no request for too long.
//!
//! hyper's own header time-out also runs while a kept-alive connection waits for its next request,
//! which would make the idle time as short as the header time. So both are kept here, and hyper's
//! is only the outer bound.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Why a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// A request head began and did not end in time.
    Head,
    /// No request ran for too long.
    Idle,
}

/// The state of a connection; times are milliseconds since it began, 0 = never.
#[derive(Debug)]
pub struct Activity {
    began: Instant,
    /// Whether anything has ever come in.
    heard: AtomicBool,
    running: AtomicUsize,
    idle_since_ms: AtomicU64,
    head_since_ms: AtomicU64,
}

impl Activity {
    /// A connection that begins now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            heard: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(0),
            head_since_ms: AtomicU64::new(0),
        })
    }

    /// Marks a request as running until the mark is dropped.
    pub fn request(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.head_since_ms.store(0, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Bytes came in; while no request runs, they begin a request head.
    fn bytes_came(&self) {
        self.heard.store(true, Ordering::Relaxed);
        if self.running.load(Ordering::Relaxed) == 0 {
            let now = self.now_ms().max(1);
            let _ =
                self.head_since_ms.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Waits until the connection has done nothing for too long: said nothing at all within
    /// `first`, begun a request head and not ended it within `head`, or had no request for `idle`.
    /// `head` is `None` for HTTP/2, where bytes between requests need not be a request head.
    pub async fn lapse(&self, first: Duration, head: Option<Duration>, idle: Duration) -> Lapse {
        // Four looks a deadline: a connection is cut at most a quarter of it late.
        let step = first.min(head.unwrap_or(idle)).min(idle) / 4;
        let passed = |since: &AtomicU64, limit: Duration| {
            let waited = self.now_ms().saturating_sub(since.load(Ordering::Relaxed));
            u128::from(waited) >= limit.as_millis()
        };
        loop {
            tokio::time::sleep(step.max(Duration::from_millis(1))).await;
            if self.running.load(Ordering::Relaxed) > 0 {
                continue;
            }
            if !self.heard.load(Ordering::Relaxed) && self.began.elapsed() >= first {
                return Lapse::Head;
            }
            let head_began = self.head_since_ms.load(Ordering::Relaxed) > 0;
            if head.is_some_and(|head| head_began && passed(&self.head_since_ms, head)) {
                return Lapse::Head;
            }
            if passed(&self.idle_since_ms, idle) {
                return Lapse::Idle;
            }
        }
    }
}

/// A request that runs.
#[derive(Debug)]
pub struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.idle_since_ms.store(self.0.now_ms(), Ordering::Relaxed);
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that reports incoming bytes to an [`Activity`].
#[derive(Debug)]
pub struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    /// Watches a stream.
    pub fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        if into.filled().len() > before {
            self.activity.bytes_came();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_millis(40);
    const IDLE: Duration = Duration::from_millis(240);

    #[tokio::test]
    async fn silence_is_idle_and_a_head_is_not_given_that_long() {
        let activity = Activity::new();
        drop(activity.request());
        activity.heard.store(true, Ordering::Relaxed);
        assert_eq!(activity.lapse(HEAD, Some(HEAD), IDLE).await, Lapse::Idle);
        assert!(activity.began.elapsed() >= IDLE);

        let activity = Activity::new();
        activity.bytes_came();
        activity.bytes_came();
        assert_eq!(activity.lapse(IDLE, Some(HEAD), IDLE).await, Lapse::Head);
        assert!(activity.began.elapsed() >= HEAD);
    }

    #[tokio::test]
    async fn a_connection_that_never_says_anything_is_not_given_the_idle_time() {
        for head in [Some(IDLE), None] {
            let activity = Activity::new();
            assert_eq!(activity.lapse(HEAD, head, IDLE * 1_000).await, Lapse::Head);
            assert!(activity.began.elapsed() >= HEAD);
        }
    }

    #[tokio::test]
    async fn a_running_request_is_left_alone() {
        let activity = Activity::new();
        activity.bytes_came();
        let running = activity.request();
        let waiting = activity.lapse(HEAD, Some(HEAD), HEAD);
        assert!(tokio::time::timeout(HEAD * 5, waiting).await.is_err());
        drop(running);
        let ended = Instant::now();
        assert_eq!(activity.lapse(HEAD, Some(HEAD), IDLE).await, Lapse::Idle);
        // Whole milliseconds are counted.
        assert!(ended.elapsed() >= IDLE - Duration::from_millis(2));
    }

    #[tokio::test]
    async fn http2_frames_begin_no_head() {
        let activity = Activity::new();
        activity.bytes_came();
        assert_eq!(activity.lapse(HEAD, None, HEAD).await, Lapse::Idle);
    }
}
