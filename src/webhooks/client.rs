//! Sends one message: the host's name is resolved, every address it has is checked, and one of
//! those is connected to and no other, so that a name which changes in between leads nowhere else.
//! One POST over HTTP/1.1, no redirect is followed, of the answer only the status is read.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::guard::is_public;
use crate::wire::webhooks::Trouble;

/// Longest name of a host, bytes: it goes into the ledger as a note.
const HOST_BYTES_MAX: usize = 200;
/// Most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Where systems keep the certificates of those whom they trust, the usual ones first.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// What we say who we are.
const AGENT: &str = concat!("blindtally/", env!("CARGO_PKG_VERSION"));

/// Where an endpoint is, as it was checked.
pub struct Target {
    secure: bool,
    host: String,
    port: u16,
    authority: HeaderValue,
    path: Uri,
}

impl Target {
    /// Reads an address: `https` with a host, and `http` only where internal addresses are allowed.
    /// No user, no fragment, no address of IPv4 or IPv6 that may not be asked.
    pub fn parse(url: &str, allow_internal: bool) -> Option<Self> {
        let plain = url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let uri: Uri = url.parse().ok().filter(|_| plain)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if allow_internal => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
        let refused = bare.parse().is_ok_and(|address| !allow_internal && !is_public(address));
        let fits = (1..=HOST_BYTES_MAX).contains(&bare.len());
        // Nothing but a port may stand beside the host: no user, and nothing that looks like a port
        // and is none.
        let port = authority.port_u16().filter(|port| *port > 0);
        let beside = port.map_or_else(String::new, |port| format!(":{port}"));
        let whole = authority.as_str() == format!("{}{beside}", authority.host());
        if refused || !fits || !whole || ServerName::try_from(bare.to_owned()).is_err() {
            return None;
        }
        Some(Self {
            secure,
            host: bare.to_ascii_lowercase(),
            port: port.unwrap_or(if secure { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).ok()?,
            path: uri.path_and_query()?.as_str().parse().ok()?,
        })
    }

    /// The host without anything else of the address: what may be written down.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// Resolving a name, under way.
pub type Resolving<'a> =
    Pin<Box<dyn Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// What turns names into addresses; a trait, so that tests can lead a name astray.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a host.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a>;
}

/// The system's own resolver.
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// A message as it is sent.
pub struct Parcel {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`, seconds since 1970.
    pub timestamp: i64,
    /// `webhook-signature`.
    pub signature: String,
    /// The body.
    pub body: String,
}

/// Whom the certificates of endpoints are checked by.
pub struct Roots(Option<TlsConnector>);

impl Roots {
    /// Reads a bundle of certificates (PEM); without a path the first that the system has. A system
    /// without any, or with one that cannot be used, reaches no endpoint over `https`.
    ///
    /// # Errors
    /// The file that cannot be read, or holds no certificate.
    pub fn read(path: Option<&Path>) -> Result<Self, PathBuf> {
        let usual = BUNDLES.iter().map(Path::new).find(|path| path.exists());
        let Some(path) = path else {
            let found = usual.and_then(|path| Self::of_file(path).ok());
            if found.is_none() {
                tracing::warn!("webhooks: the system has no certificates to check endpoints by");
            }
            return Ok(Self(found));
        };
        Self::of_file(path).map(|connector| Self(Some(connector)))
    }

    fn of_file(path: &Path) -> Result<TlsConnector, PathBuf> {
        let unusable = || path.to_owned();
        let certificates = CertificateDer::pem_file_iter(path).map_err(|_| unusable())?;
        let certificates: Vec<_> =
            certificates.collect::<Result<_, _>>().map_err(|_| unusable())?;
        let mut roots = RootCertStore::empty();
        // Bundles hold old certificates that no modern verifier takes; the others serve.
        let (good, _) = roots.add_parsable_certificates(certificates);
        if good == 0 {
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
}

/// The client.
pub struct Client {
    resolver: Arc<dyn Resolve>,
    roots: Roots,
    allow_internal: bool,
    deadline: Duration,
}

impl Client {
    /// A client; everything of an attempt must have happened within the deadline.
    pub fn new(
        resolver: Arc<dyn Resolve>,
        roots: Roots,
        allow_internal: bool,
        deadline: Duration,
    ) -> Self {
        Self { resolver, roots, allow_internal, deadline }
    }

    /// Sends a message and answers with the status.
    ///
    /// # Errors
    /// Why there was none.
    pub async fn send(&self, target: &Target, parcel: Parcel) -> Result<u16, Trouble> {
        let sending = self.send_now(target, parcel);
        tokio::time::timeout(self.deadline, sending).await.unwrap_or(Err(Trouble::Timeout))
    }

    async fn send_now(&self, target: &Target, parcel: Parcel) -> Result<u16, Trouble> {
        let request = request(target, parcel).ok_or(Trouble::Answer)?;
        let stream = self.connect(target).await?;
        if !target.secure {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|_| Trouble::Tls)?;
        let connector = self.roots.0.as_ref().ok_or(Trouble::Tls)?;
        let stream = connector.connect(name, stream).await.map_err(|_| Trouble::Tls)?;
        exchange(stream, request).await
    }

    /// Connects to an address that was checked. A name that leads to one that may not be asked is
    /// refused as a whole, whatever else it leads to.
    async fn connect(&self, target: &Target) -> Result<TcpStream, Trouble> {
        let found = self.resolver.resolve(&target.host, target.port).await;
        let addresses = found.map_err(|_| Trouble::Name)?;
        let may = |address: IpAddr| self.allow_internal || is_public(address);
        if !addresses.iter().all(|address| may(address.ip())) {
            return Err(Trouble::InternalAddress);
        }
        for address in addresses.iter().take(ADDRESSES_MAX) {
            if let Ok(stream) = TcpStream::connect(address).await {
                return Ok(stream);
            }
        }
        Err(if addresses.is_empty() { Trouble::Name } else { Trouble::Connection })
    }
}

fn request(target: &Target, parcel: Parcel) -> Option<Request<Full<Bytes>>> {
    let request = Request::post(target.path.clone())
        .header(HOST, &target.authority)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .header("webhook-id", parcel.id)
        .header("webhook-timestamp", parcel.timestamp)
        .header("webhook-signature", parcel.signature);
    request.body(Full::from(parcel.body)).ok()
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<u16, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let made = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = made.await.map_err(|_| Trouble::Answer)?;
    let mut answer = pin!(sender.send_request(request));
    // Both here: when this is let go, so is the connection.
    let answered = tokio::select! {
        biased;
        answered = &mut answer => answered,
        _ = connection => answer.await,
    };
    Ok(answered.map_err(|_| Trouble::Answer)?.status().as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_to_a_host() {
        let target = Target::parse("https://Hooks.Example.com/a/b?token=x", false).unwrap();
        assert_eq!((target.host(), target.port), ("hooks.example.com", 443));
        assert_eq!(target.path.to_string(), "/a/b?token=x");
        let target = Target::parse("https://[2606:4700::1111]:8443", false).unwrap();
        assert_eq!((target.host(), target.port), ("2606:4700::1111", 8_443));
        assert_eq!(target.path.to_string(), "/");
        let target = Target::parse("http://127.0.0.1:9/x", true).unwrap();
        assert!(!target.secure && target.port == 9);
        for bad in [
            "",
            "hooks.example.com/x",
            "/x",
            "ftp://hooks.example.com",
            "http://hooks.example.com/x",
            "https://",
            "https:///x",
            "https://user:pass@hooks.example.com/",
            "https://hooks.example.com/#part",
            "https://hooks.example.com/a b",
            "https://hooks.example.com/\n",
            "https://höoks.example.com/",
            "https://hooks.example.com:0/",
            "https://hooks.example.com:99999/",
            "https://hooks.example.com:/",
            "https://127.0.0.1/",
            "https://10.0.0.1:8443/",
            "https://[::1]/",
            "https://[::ffff:1.1.1.1]/",
            "https://169.254.169.254/latest/meta-data/",
        ] {
            assert!(Target::parse(bad, false).is_none(), "{bad}");
        }
        let long = format!("https://{}.example/", "a.".repeat(100));
        assert!(Target::parse(&long, false).is_none());
    }

    #[test]
    fn a_bundle_is_read_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("roots.pem");
        assert_eq!(Roots::read(Some(&file)).err(), Some(file.clone()));
        std::fs::write(&file, "no certificate").unwrap();
        assert_eq!(Roots::read(Some(&file)).err(), Some(file.clone()));
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&file, made.cert.pem()).unwrap();
        assert!(Roots::read(Some(&file)).is_ok_and(|roots| roots.0.is_some()));
    }
}
