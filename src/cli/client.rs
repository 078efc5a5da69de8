//! One request to a server, over plain HTTP or TLS with a CA of the caller's.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(120);

/// A status and the whole body.
pub type Answered = (StatusCode, Bytes);

/// An answer with its head.
pub type Whole = Response<Bytes>;

/// Which server, and as whom.
#[derive(Debug, Args)]
pub struct Target {
    /// The server's address.
    #[arg(long, env = "BLINDTALLY_URL", default_value = "http://127.0.0.1:8080", global = true)]
    url: String,
    /// The CA certificate that vouches for the server (PEM), for https.
    #[arg(long, global = true)]
    ca: Option<PathBuf>,
}

impl Target {
    /// A server of plain HTTP.
    #[cfg(test)]
    pub fn plain(address: std::net::SocketAddr) -> Self {
        Self { url: format!("http://{address}"), ca: None }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// The path, escaped.
    pub path: String,
    /// The body; empty for none.
    pub body: String,
    /// Its media type.
    pub media: &'static str,
    /// Whether CSV is wanted.
    pub csv: bool,
    /// The media types that are wanted, where it is neither JSON nor CSV.
    pub accept: Option<&'static str>,
}

impl Ask {
    /// A question without a body.
    pub fn get(path: String) -> Self {
        let media = "application/json";
        Self { method: Method::GET, path, body: String::new(), media, csv: false, accept: None }
    }
}

/// Why there is no answer: one sentence.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("BLINDTALLY_URL must be like http://127.0.0.1:8080 or https://host:port.")]
    Url,
    /// The token cannot be sent.
    #[error("BLINDTALLY_TOKEN must hold a token.")]
    Token,
    /// The CA certificate cannot be used.
    #[error("{0} holds no usable CA certificate; give one with --ca FILE.")]
    Ca(PathBuf),
    /// No CA certificate for https.
    #[error("https needs the server's CA certificate; give it with --ca FILE.")]
    NoCa,
    /// The server cannot be reached, or went away.
    #[error("The server does not answer: {0}.")]
    Unreachable(String),
}

/// Sends one request and reads the whole answer.
///
/// # Errors
/// [`ClientError`] with the sentence to print.
pub async fn send(target: &Target, token: &str, ask: &Ask) -> Result<Answered, ClientError> {
    let (head, body) = send_whole(target, token, ask).await?.into_parts();
    Ok((head.status, body))
}

/// The same with the head of the answer.
///
/// # Errors
/// [`ClientError`] with the sentence to print.
pub async fn send_whole(target: &Target, token: &str, ask: &Ask) -> Result<Whole, ClientError> {
    let uri: Uri = target.url.parse().map_err(|_| ClientError::Url)?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(ClientError::Url),
    };
    let host = uri.host().ok_or(ClientError::Url)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let request = request(ask, token, uri.path().trim_end_matches('/'), &authority)?;
    let asking = async {
        let stream = TcpStream::connect((bare, port)).await.map_err(unreachable)?;
        if !secure {
            return exchange(stream, request).await;
        }
        let connector = connector(target.ca.as_deref().ok_or(ClientError::NoCa)?)?;
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| ClientError::Url)?;
        let stream = connector.connect(name, stream).await.map_err(unreachable)?;
        exchange(stream, request).await
    };
    let answer = tokio::time::timeout(DEADLINE, asking).await;
    answer.unwrap_or_else(|_| Err(ClientError::Unreachable("it took too long".to_owned())))
}

/// Writes an answer to standard output, or an error to standard error, and ends the line.
///
/// # Errors
/// What the system said.
pub fn print(body: &[u8], good: bool) -> std::io::Result<()> {
    let end: &[u8] = if body.is_empty() || body.ends_with(b"\n") { b"" } else { b"\n" };
    if good {
        let mut out = std::io::stdout().lock();
        out.write_all(body)?;
        return out.write_all(end);
    }
    let mut out = std::io::stderr().lock();
    out.write_all(body)?;
    out.write_all(end)
}

fn request(
    ask: &Ask,
    token: &str,
    base: &str,
    authority: &str,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let usual = if ask.csv { "text/csv" } else { "application/json" };
    let mut builder = Request::builder()
        .method(ask.method.clone())
        .uri(format!("{base}{}", ask.path))
        .header(HOST, authority)
        .header(ACCEPT, ask.accept.unwrap_or(usual));
    if !token.trim().is_empty() {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| ClientError::Token)?;
        value.set_sensitive(true);
        builder = builder.header(AUTHORIZATION, value);
    }
    if !ask.body.is_empty() {
        builder = builder.header(CONTENT_TYPE, ask.media);
    }
    builder.body(Full::from(ask.body.clone())).map_err(|_| ClientError::Url)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Whole, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(unreachable)?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    Ok(Response::from_parts(head, body.map_err(unreachable)?.to_bytes()))
}

fn connector(ca: &Path) -> Result<TlsConnector, ClientError> {
    let unusable = || ClientError::Ca(ca.to_owned());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|_| unusable())? {
        roots.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
    }
    if roots.is_empty() {
        return Err(unusable());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| unusable())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn unreachable(error: impl ToString) -> ClientError {
    ClientError::Unreachable(error.to_string())
}
