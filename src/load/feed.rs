//! Where bodies come from: made by threads while they are sent, made beforehand, or read from a
//! file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::{Mutex, mpsc};

use super::oracle::Oracle;
use super::traffic::Traffic;

/// How bodies are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Encoding {
    /// As they are.
    Identity,
    /// RFC 1952, at the fastest level.
    Gzip,
    /// RFC 8878, at level 1.
    Zstd,
}

impl Encoding {
    /// The value of `Content-Encoding`.
    pub(super) fn header(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    fn encode(self, plain: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(plain),
            Self::Gzip => {
                let room = Vec::with_capacity(plain.len() / 4);
                let mut encoder = GzEncoder::new(room, Compression::fast());
                encoder.write_all(&plain)?;
                encoder.finish()
            }
            Self::Zstd => zstd::bulk::compress(&plain, 1),
        }
    }
}

/// A body, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// What goes over the wire.
    pub(super) bytes: Bytes,
    /// Records in it.
    pub(super) records: u32,
    /// Bytes before the coding.
    pub(super) plain_bytes: u64,
}

impl Body {
    fn new(plain: Vec<u8>, records: u32, encoding: Encoding) -> io::Result<Self> {
        let plain_bytes = plain.len() as u64;
        Ok(Self { bytes: encoding.encode(plain)?.into(), records, plain_bytes })
    }
}

/// Hands out bodies to connections, each once.
#[derive(Debug)]
pub(super) struct Feed {
    bodies: Mutex<mpsc::Receiver<Body>>,
    handed_out: AtomicU64,
    stopped: AtomicBool,
}

impl Feed {
    fn new(bodies: mpsc::Receiver<Body>) -> Self {
        let bodies = Mutex::new(bodies);
        Self { bodies, handed_out: AtomicU64::new(0), stopped: AtomicBool::new(false) }
    }

    /// The next body and its place in the order of sending; `None` at the end.
    pub(super) async fn next(&self) -> Option<(u64, Body)> {
        let mut bodies = self.bodies.lock().await;
        if self.stopped.load(Ordering::Relaxed) {
            // The threads that still make bodies end when they find the channel closed.
            bodies.close();
            return None;
        }
        let body = bodies.recv().await?;
        Some((self.handed_out.fetch_add(1, Ordering::Relaxed), body))
    }

    /// Hands out no further body.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Threads at work, and what they will know in the end.
type Workers = Vec<JoinHandle<io::Result<Option<Oracle>>>>;

/// A running generator.
#[derive(Debug)]
pub(super) struct Generator {
    workers: Workers,
}

impl Generator {
    /// Starts so many threads, which keep at most `ahead` bodies ready.
    pub(super) fn start(
        traffic: &Arc<Traffic>,
        oracle: Option<&Oracle>,
        encoding: Encoding,
        threads: usize,
        ahead: usize,
    ) -> (Self, Feed) {
        let (bodies, receiver) = mpsc::channel(ahead.max(1));
        let next = Arc::new(AtomicU64::new(0));
        let spawn = |_| {
            let (traffic, next, bodies) = (Arc::clone(traffic), Arc::clone(&next), bodies.clone());
            let oracle = oracle.map(Oracle::emptied);
            std::thread::spawn(move || generate(&traffic, oracle, encoding, &next, &bodies))
        };
        (Self { workers: (0..threads.max(1)).map(spawn).collect() }, Feed::new(receiver))
    }

    /// Waits for the threads; what they observed goes into the oracle.
    ///
    /// # Errors
    ///
    /// When a body could not be coded.
    pub(super) fn join(self, mut oracle: Option<&mut Oracle>) -> io::Result<()> {
        for worker in self.workers {
            let observed = worker.join().map_err(|_| io::Error::other("a thread panicked"))??;
            if let (Some(oracle), Some(observed)) = (oracle.as_deref_mut(), observed) {
                oracle.merge(&observed);
            }
        }
        Ok(())
    }
}

fn generate(
    traffic: &Traffic,
    mut oracle: Option<Oracle>,
    encoding: Encoding,
    next: &AtomicU64,
    bodies: &mpsc::Sender<Body>,
) -> io::Result<Option<Oracle>> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= traffic.batches() {
            return Ok(oracle);
        }
        let (plain, records) = traffic.batch(number, oracle.as_mut());
        if bodies.blocking_send(Body::new(plain, records, encoding)?).is_err() {
            return Ok(oracle);
        }
    }
}

/// Bodies that are already made.
pub(super) fn ready(bodies: Vec<Body>) -> Feed {
    let (sender, receiver) = mpsc::channel(bodies.len().max(1));
    for body in bodies {
        // Cannot fail: the channel has room for all, and its receiver is ours.
        sender.try_send(body).ok();
    }
    Feed::new(receiver)
}

/// Makes all bodies, on every core.
///
/// # Errors
///
/// When a body could not be coded.
pub(super) fn pregenerate(
    traffic: &Arc<Traffic>,
    oracle: Option<&mut Oracle>,
    encoding: Encoding,
) -> io::Result<Vec<Body>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (generator, feed) = Generator::start(traffic, oracle.as_deref(), encoding, threads, 256);
    let mut receiver = feed.bodies.into_inner();
    let mut bodies = Vec::with_capacity(usize::try_from(traffic.batches()).unwrap_or(0));
    while let Some(body) = receiver.blocking_recv() {
        bodies.push(body);
    }
    generator.join(oracle)?;
    Ok(bodies)
}

/// Reads NDJSON from a file into bodies of so many lines.
///
/// # Errors
///
/// When the file cannot be read, or a body could not be coded.
pub(super) fn read(path: &Path, batch: u32, encoding: Encoding) -> io::Result<Vec<Body>> {
    let mut input = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut bodies = Vec::new();
    loop {
        let mut plain = Vec::new();
        let mut records = 0;
        while records < batch && input.read_until(b'\n', &mut plain)? > 0 {
            records += 1;
        }
        if records == 0 {
            return Ok(bodies);
        }
        bodies.push(Body::new(plain, records, encoding)?);
    }
}

/// Writes the whole stream as NDJSON to a file, or to the standard output for `-`. Returns its
/// bytes.
///
/// # Errors
///
/// When the file cannot be written.
pub(super) fn write(
    path: &Path,
    traffic: &Traffic,
    mut progress: impl FnMut(u32),
) -> io::Result<u64> {
    let output: Box<dyn Write> = match path.as_os_str() == "-" {
        true => Box::new(io::stdout().lock()),
        false => Box::new(File::create(path)?),
    };
    let mut output = BufWriter::with_capacity(1 << 20, output);
    let mut bytes = 0;
    for number in 0..traffic.batches() {
        let (plain, records) = traffic.batch(number, None);
        output.write_all(&plain)?;
        bytes += plain.len() as u64;
        progress(records);
    }
    output.flush()?;
    Ok(bytes)
}
