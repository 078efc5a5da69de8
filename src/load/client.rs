//! A small HTTP/1.1 client on hyper: one connection, kept alive, patient with a busy server.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// How long an answer may take before the connection counts as broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// The first pause after a broken connection, which doubles up to the last.
const BACKOFF: std::ops::Range<Duration> = Duration::from_millis(50)..Duration::from_secs(2);
/// The longest pause that a `Retry-After` may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A bearer token; never printed.
#[derive(Clone)]
pub(super) struct Bearer(HeaderValue);

impl FromStr for Bearer {
    type Err = &'static str;

    fn from_str(token: &str) -> Result<Self, Self::Err> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| "a token has characters that no header can carry")?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

/// The server's place: `http://host:port` and perhaps a path before all of ours.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    authority: HeaderValue,
    address: String,
    prefix: String,
}

impl FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let uri: Uri = url.parse().map_err(|_| "not a URL")?;
        if uri.scheme_str() != Some("http") {
            return Err("only http:// is spoken here; a load test belongs on the server's host");
        }
        let authority = uri.authority().ok_or("the URL names no host")?;
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self {
            authority: HeaderValue::try_from(authority.as_str()).map_err(|_| "not a URL")?,
            address: format!("{}:{port}", authority.host()),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// What to ask.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    /// The method.
    pub(super) method: Method,
    /// The path, from the root of the API.
    pub(super) path: &'a str,
    /// Who asks.
    pub(super) bearer: &'a Bearer,
    /// The media type of the body; empty when there is none.
    pub(super) media_type: &'static str,
    /// The coding of the body.
    pub(super) coding: Option<&'static str>,
    /// The body.
    pub(super) body: Bytes,
}

impl<'a> Call<'a> {
    /// A call without a body.
    pub(super) fn new(method: Method, path: &'a str, bearer: &'a Bearer) -> Self {
        Self { method, path, bearer, media_type: "", coding: None, body: Bytes::new() }
    }

    /// The same call with a JSON body.
    pub(super) fn json(self, body: &serde_json::Value) -> Self {
        Self { media_type: "application/json", body: body.to_string().into(), ..self }
    }
}

/// What the server said.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: StatusCode,
    /// The whole body.
    pub(super) body: Bytes,
    retry_after: Option<Duration>,
}

/// What a call met before its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Retries {
    /// Answers 429 and 503.
    pub(super) throttled: u64,
    /// Connections that failed, so that nobody knows whether the batch was taken.
    pub(super) broken: u64,
}

/// A call that never got an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No answer within the patience of this client.
    #[error("no answer from the server: {0}")]
    Broken(String),
    /// The server kept saying that it is busy.
    #[error("the server kept saying that it is busy")]
    Busy,
    /// A request that cannot be written.
    #[error("the request cannot be made")]
    Request(#[from] hyper::http::Error),
}

/// One connection, made anew when it broke.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    patience: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client that connects at its first call, and bears a server that is away or busy for so
    /// long.
    pub(super) fn new(endpoint: Endpoint, patience: Duration) -> Self {
        Self { endpoint, patience, connection: None }
    }

    /// Calls until there is an answer that is neither 429 nor 503.
    ///
    /// # Errors
    ///
    /// When the server stays away or busy for longer than this client's patience.
    pub(super) async fn call(&mut self, call: &Call<'_>) -> Result<(Answer, Retries), Error> {
        let mut retries = Retries::default();
        let mut backoff = BACKOFF.start;
        let started = Instant::now();
        loop {
            let request = self.request(call)?;
            let given_up = started.elapsed() > self.patience;
            match timeout(ANSWER_TIMEOUT, self.once(request)).await {
                Ok(Ok(answer)) if !is_busy(answer.status) => return Ok((answer, retries)),
                Ok(Ok(_)) if given_up => return Err(Error::Busy),
                Ok(Ok(answer)) => {
                    retries.throttled += 1;
                    sleep(answer.retry_after.unwrap_or(BACKOFF.end)).await;
                }
                Ok(Err(broken)) if given_up => return Err(Error::Broken(broken)),
                Err(_) if given_up => return Err(Error::Broken("timeout".to_owned())),
                Ok(Err(_)) | Err(_) => {
                    self.connection = None;
                    retries.broken += 1;
                    sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF.end);
                }
            }
        }
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}{}", self.endpoint.prefix, call.path))
            .header(HOST, &self.endpoint.authority)
            .header(AUTHORIZATION, &call.bearer.0)
            .header(ACCEPT, "application/json");
        if !call.media_type.is_empty() {
            request = request.header(CONTENT_TYPE, call.media_type);
        }
        if let Some(coding) = call.coding {
            request = request.header(CONTENT_ENCODING, coding);
        }
        request.body(Full::new(call.body.clone()))
    }

    async fn once(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connect().await?,
        };
        connection.ready().await.map_err(|error| error.to_string())?;
        let response = connection.send_request(request).await.map_err(|e| e.to_string())?;
        let answer = read(response).await?;
        // Kept only now: a connection whose answer was not read to its end is of no use.
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let describe = |error: &dyn fmt::Display| format!("{} ({error})", self.endpoint.address);
        let stream = TcpStream::connect(&self.endpoint.address).await.map_err(|e| describe(&e))?;
        stream.set_nodelay(true).map_err(|error| describe(&error))?;
        let (sender, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| describe(&error))?;
        // Its errors reach us through the request that they break.
        tokio::spawn(async move { driver.await.ok() });
        Ok(sender)
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, String> {
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = seconds
        .and_then(|seconds| seconds.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).clamp(BACKOFF.start, RETRY_AFTER_MAX));
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok(Answer { status, body, retry_after })
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let endpoint: Endpoint = "http://127.0.0.1:8080".parse().unwrap();
        assert_eq!(endpoint.address, "127.0.0.1:8080");
        assert_eq!(endpoint.prefix, "");
        let endpoint: Endpoint = "http://localhost/meter/".parse().unwrap();
        assert_eq!(endpoint.address, "localhost:80");
        assert_eq!(endpoint.prefix, "/meter");
        assert!("https://localhost".parse::<Endpoint>().is_err());
        assert!("localhost:8080".parse::<Endpoint>().is_err());
    }

    #[test]
    fn a_token_is_not_printed() {
        let bearer: Bearer = "bt_abc_secret\n".parse().unwrap();
        assert!(!format!("{bearer:?}").contains("secret"));
        assert!("a\nb".parse::<Bearer>().is_err());
    }
}
