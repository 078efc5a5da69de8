//! A small HTTP server that answers as it is told, and remembers what it got.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// How it answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// With a status.
    Status(u16),
    /// With a way to elsewhere.
    Redirect(String),
    /// Never.
    Hang,
    /// Not at all, and it hangs up.
    Cut,
    /// With something that is no HTTP.
    Noise,
}

/// A request that it got.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The path.
    pub path: String,
    /// The headers by their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body, byte for byte.
    pub body: String,
}

impl Seen {
    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// `webhook-id`.
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }
}

#[derive(Default)]
struct Inside {
    seen: Vec<Seen>,
    replies: BTreeMap<String, Reply>,
}

/// The server.
pub struct Server {
    address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
}

impl Server {
    /// On a free port, without TLS.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// On a free port.
    pub async fn start_with(tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inside = Arc::new(Mutex::new(Inside::default()));
        let shared = Arc::clone(&inside);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, shared).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => answer(stream, shared).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, inside }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on a path is answered so; others with 204.
    pub fn reply(&self, path: &str, reply: Reply) {
        self.inside.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    /// What it got since the last time.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.inside.lock().unwrap().seen)
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    inside: Arc<Mutex<Inside>>,
) -> Option<()> {
    let mut got = Vec::new();
    let end = loop {
        if let Some(end) = got.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut got).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(got[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let first = lines.next()?.to_owned();
    assert!(first.starts_with("POST "), "{first}");
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers["content-length"].parse().ok()?;
    while got.len() < end + 4 + length {
        if stream.read_buf(&mut got).await.ok()? == 0 {
            return None;
        }
    }
    let path = first.split(' ').nth(1)?.to_owned();
    let body = String::from_utf8(got[end + 4..].to_vec()).ok()?;
    let reply = {
        let mut inside = inside.lock().unwrap();
        inside.seen.push(Seen { path: path.clone(), headers, body });
        inside.replies.get(&path).cloned().unwrap_or(Reply::Status(204))
    };
    let text = match reply {
        Reply::Status(status) => format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"),
        Reply::Redirect(to) => {
            format!("HTTP/1.1 307 X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        Reply::Hang => std::future::pending().await,
        Reply::Cut => return None,
        Reply::Noise => "SSH-2.0-X\r\n\r\n".to_owned(),
    };
    stream.write_all(text.as_bytes()).await.ok()?;
    stream.flush().await.ok()
}
