//! Request bodies: collected under a cap and a deadline into memory of our own that is wiped when
//! it is let go, and counted against one budget of the whole server.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use zeroize::Zeroize;

use crate::crypto::WipedVec;

/// First allocation of a body, bytes; it doubles from there.
const FIRST_BYTES: usize = 16 << 10;
/// How many times what has come a body may take ahead when it announced more: memory is for those
/// who send, and growing costs a copy.
const TRUST: usize = 16;

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More bytes than its cap.
    #[error("the body is too large")]
    TooLarge,
    /// Not complete before its deadline.
    #[error("the body came too slowly")]
    TooSlow,
    /// The client or the network cut it.
    #[error("the body was cut")]
    Cut,
    /// Its chunks are none.
    #[error("the chunks of the body are broken")]
    BadChunks,
    /// The server holds as many bytes of bodies as it may.
    #[error("too many bodies are held")]
    Crowded,
    /// The content coding is broken.
    #[error("the content coding is broken")]
    BadCoding,
}

/// The bytes of all bodies that the server may hold at once.
#[derive(Clone, Debug)]
pub struct Budget {
    held_bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self { held_bytes: Arc::default(), max_bytes }
    }

    /// How many bytes are held now.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// A share of the budget, empty at first.
    pub fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

/// A part of the budget, given back on drop.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        let before = self.budget.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        // What was added goes back with the share, so that a refusal leaves nothing behind.
        if before + bytes > self.budget.max_bytes { Err(BodyError::Crowded) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes that may hold raw ids: capped, counted, wiped on drop and when they move elsewhere.
#[derive(Debug)]
pub struct Buffer {
    bytes: WipedVec,
    share: Share,
    max_bytes: usize,
    /// The length that was announced; 0 where none was.
    announced_bytes: usize,
}

impl Buffer {
    /// An empty buffer that takes at most `max_bytes`.
    pub fn new(max_bytes: usize, share: Share) -> Self {
        Self { bytes: WipedVec::default(), share, max_bytes, announced_bytes: 0 }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] beyond the cap, [`BodyError::Crowded`] beyond the budget.
    pub fn extend(&mut self, more: &[u8]) -> Result<(), BodyError> {
        let len = self.bytes.len() + more.len();
        if len > self.max_bytes {
            return Err(BodyError::TooLarge);
        }
        if len > self.bytes.capacity() {
            let doubled = (self.bytes.capacity() * 2).max(FIRST_BYTES);
            let trusted = self.announced_bytes.min(len.saturating_mul(TRUST));
            let capacity = doubled.max(len).max(trusted).min(self.max_bytes);
            self.share.grow(capacity - self.bytes.capacity())?;
            // A plain reallocation would leave the old bytes behind unwiped.
            let mut larger = WipedVec::from(Vec::with_capacity(capacity));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    /// The bytes collected so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Hands the bytes on, with their share of the budget. They are wiped wherever they are let go.
    pub fn into_parts(self) -> (WipedVec, Share) {
        (self.bytes, self.share)
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// Why no more of a body came. Who sends what is no body can be told; who does not send it to its
/// end has gone, in all likelihood.
fn broken(error: Box<dyn Error + Send + Sync>) -> BodyError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(error) = cause {
        // So does hyper name what it cannot read.
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)) {
            return BodyError::BadChunks;
        }
        cause = error.source();
    }
    BodyError::Cut
}

/// Reads the whole body.
///
/// # Errors
/// See [`BodyError`]; the bytes read so far are wiped.
pub async fn collect<B>(
    body: &mut B,
    mut buffer: Buffer,
    deadline: Duration,
) -> Result<Buffer, BodyError>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > buffer.max_bytes {
        return Err(BodyError::TooLarge);
    }
    buffer.announced_bytes = announced;
    let reading = async {
        while let Some(frame) = body.frame().await {
            // Trailers carry nothing for us.
            if let Ok(data) = frame.map_err(|error| broken(error.into()))?.into_data() {
                let taken = buffer.extend(&data);
                // Ours alone when the library let go of it: then it can be wiped as well.
                if let Ok(mut data) = data.try_into_mut() {
                    data.zeroize();
                }
                taken?;
            }
        }
        Ok(buffer)
    };
    tokio::time::timeout(deadline, reading).await.unwrap_or(Err(BodyError::TooSlow))
}

/// Reads and throws away the rest of a body that was refused, up to a number of bytes and a
/// deadline: a socket closed with unread bytes is reset, and the client would lose the answer.
pub async fn discard<B>(body: &mut B, max_bytes: usize, deadline: Duration)
where
    B: Body<Data = Bytes> + Unpin,
{
    let reading = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > max_bytes {
                return;
            }
        }
    };
    // Either way the answer goes out now.
    let _ = tokio::time::timeout(deadline, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Empty, Full};
    use hyper::body::Frame;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// Yields the frames from the last to the first, then waits for ever.
    struct Script(Vec<Result<Frame<Bytes>, &'static str>>);

    impl Body for Script {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0.pop().map_or(Poll::Pending, |frame| Poll::Ready(Some(frame)))
        }
    }

    fn buffer(max_bytes: usize) -> (Buffer, Budget) {
        let budget = Budget::new(1 << 20);
        (Buffer::new(max_bytes, budget.share()), budget)
    }

    #[tokio::test]
    async fn a_body_up_to_its_cap_is_taken_and_given_back() {
        let (empty, budget) = buffer(100_000);
        let mut body = Full::new(Bytes::from(vec![7; 100_000]));
        let full = collect(&mut body, empty, Duration::from_secs(1)).await.unwrap();
        assert_eq!(full.as_slice(), vec![7; 100_000]);
        assert!(budget.held_bytes() >= 100_000);
        let (bytes, share) = full.into_parts();
        assert_eq!(bytes.len(), 100_000);
        drop(share);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[tokio::test]
    async fn a_body_over_its_cap_is_refused() {
        let (empty, budget) = buffer(10);
        let mut body = Full::new(Bytes::from_static(&[0; 11]));
        let refused = collect(&mut body, empty, Duration::from_secs(1)).await;
        assert_eq!(refused.unwrap_err(), BodyError::TooLarge);
        let (mut empty, _) = buffer(10);
        empty.extend(&[0; 6]).unwrap();
        assert_eq!(empty.extend(&[0; 5]), Err(BodyError::TooLarge));
        assert_eq!(budget.held_bytes(), 0);
    }

    #[test]
    fn the_budget_is_shared_by_all_bodies() {
        let budget = Budget::new(80 << 10);
        let mut first = Buffer::new(1 << 20, budget.share());
        let mut second = Buffer::new(1 << 20, budget.share());
        first.extend(&[0; 40 << 10]).unwrap();
        assert_eq!(second.extend(&[0; 50 << 10]), Err(BodyError::Crowded));
        drop(second);
        first.extend(&[0; 1 << 10]).unwrap();
        drop(first);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[tokio::test]
    async fn a_slow_body_is_cut_at_its_deadline() {
        let (empty, _) = buffer(10);
        let deadline = Duration::from_millis(20);
        let refused = collect(&mut Script(vec![]), empty, deadline).await;
        assert_eq!(refused.unwrap_err(), BodyError::TooSlow);
        let mut rest = Script(vec![]);
        let discarded = discard(&mut rest, 10, deadline);
        assert!(tokio::time::timeout(Duration::from_secs(5), discarded).await.is_ok());
    }

    #[tokio::test]
    async fn a_cut_body_is_no_body() {
        let (empty, _) = buffer(10);
        let half = Ok(Frame::data(Bytes::from_static(b"half")));
        let mut body = Script(vec![Err("cut"), half]);
        let refused = collect(&mut body, empty, Duration::from_secs(1)).await;
        assert_eq!(refused.unwrap_err(), BodyError::Cut);
        let (empty, _) = buffer(10);
        let nothing = collect(&mut Empty::new(), empty, Duration::from_secs(1)).await;
        assert_eq!(nothing.unwrap().as_slice(), b"");
    }
}
