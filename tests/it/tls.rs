//! The doors: TLS 1.3 and nothing else on addresses that others can reach, deadlines, a cap.

use crate::support::{Client, PATIENCE, Place, exchange, start};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A server behind TLS, set up by a file.
struct Secure {
    place: Place,
    child: Child,
    address: SocketAddr,
    said: Arc<Mutex<String>>,
}

/// Writes a fresh certificate for `localhost` and its key; answers the certificate.
fn write_pair(directory: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    // The key first: a look between the two writes finds a pair that does not fit, and waits.
    std::fs::write(directory.join("server.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(directory.join("server.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

impl Secure {
    fn start(environment: &[(&str, &str)]) -> (Self, CertificateDer<'static>) {
        let place = Place::new();
        let certificate = write_pair(place.path());
        let directory = place.path().display();
        let file = place.path().join("server.toml");
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nhandshake_seconds = 1\n\
             [tls]\ncertificate = \"{directory}/server.pem\"\n\
             private_key = \"{directory}/server.key\"\nreload_seconds = 1\n\
             [storage]\ndata = \"{directory}/data\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_blindtally"));
        command.arg("serve").arg("--config").arg(file).envs(environment.iter().copied());
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (lines, heard) = (BufReader::new(child.stderr.take().unwrap()).lines(), said.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let mut secure = Self { place, child, address: ([127, 0, 0, 1], 0).into(), said };
        secure.address = secure.wait(|text| {
            let ready = text.lines().find(|line| line.contains("\"ready\""))?;
            let value: serde_json::Value = serde_json::from_str(ready).ok()?;
            value["address"].as_str()?.parse().ok()
        });
        (secure, certificate)
    }

    /// Waits until what the server has said tells something.
    #[track_caller]
    fn wait<T>(&self, told: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.said.lock().unwrap().clone();
            if let Some(value) = told(&text) {
                return value;
            }
            assert!(Instant::now() < deadline, "{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn token(&self) -> String {
        let path = self.place.keys().join("operator.token");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    fn connect(&self, trusted: &CertificateDer<'static>) -> std::io::Result<Tls> {
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(trust(trusted, b"http/1.1"), name).unwrap();
        let mut stream = StreamOwned::new(client, tcp(self.address));
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(BufReader::new(stream))
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Tls = BufReader<StreamOwned<ClientConnection, TcpStream>>;

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn trust(trusted: &CertificateDer<'static>, protocol: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

#[test]
fn tls_1_3_carries_http_1() {
    let log = tempfile::tempdir().unwrap();
    let keys = log.path().join("keys");
    let (secure, certificate) = Secure::start(&[("SSLKEYLOGFILE", keys.to_str().unwrap())]);
    let mut stream = secure.connect(&certificate).unwrap();
    assert_eq!(stream.get_ref().conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(stream.get_ref().conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let bearer = format!("Bearer {}", secure.token());
    let headers = [("host", "localhost"), ("authorization", bearer.as_str())];
    let put = exchange(&mut stream, "PUT", "/v1/sites/A", &headers, b"{}").unwrap();
    assert_eq!(put.status, 201, "{put:?}");
    let get = exchange(&mut stream, "GET", "/v1/sites/A", &headers, b"").unwrap();
    assert_eq!(get.status, 200, "on the same connection: {get:?}");
    assert!(!keys.exists(), "the session keys are logged");
}

#[test]
fn tls_1_3_carries_http_2() {
    let (secure, certificate) = Secure::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(secure.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(trust(&certificate, b"h2"));
        let stream = connector.connect(name, tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let executor = hyper_util::rt::TokioExecutor::new();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        let mut ask = |method: &str, path: &str, token: &str, body: &'static str| {
            let request = hyper::Request::builder()
                .method(method)
                .uri(format!("https://localhost{path}"))
                .header("authorization", format!("Bearer {token}"))
                .body(Full::new(Bytes::from_static(body.as_bytes())));
            sender.send_request(request.unwrap())
        };
        let token = secure.token();
        let answers = tokio::join!(
            ask("PUT", "/v1/sites/A", &token, "{}"),
            ask("GET", "/readyz", "", ""),
            ask("GET", "/v1/sites", "bad", ""),
        );
        assert_eq!(answers.0.unwrap().status(), 201);
        assert_eq!(answers.1.unwrap().status(), 200);
        let refused = answers.2.unwrap();
        assert_eq!(refused.status(), 401);
        let body = refused.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["status"], 401);
    });
}

/// A ClientHello that offers TLS 1.2 and nothing newer (RFC 5246 §7.4.1.2).
fn client_hello_1_2() -> Vec<u8> {
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 23, // supported_groups: secp256r1
        0, 11, 0, 2, 1, 0, // ec_point_formats: uncompressed
        0, 13, 0, 6, 0, 4, 4, 3, 4, 1, // signature_algorithms: ECDSA and RSA with SHA-256
    ];
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    hello.extend([0, u8::try_from(extensions.len()).unwrap()]);
    hello.extend(extensions);
    let length = u8::try_from(hello.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], &hello[..]].concat()
}

#[test]
fn older_tls_and_plain_http_are_refused() {
    let (secure, certificate) = Secure::start(&[]);
    let mut stream = tcp(secure.address);
    stream.write_all(&client_hello_1_2()).unwrap();
    let mut alert = [0; 7];
    stream.read_exact(&mut alert).unwrap();
    // A fatal alert of 70, protocol_version.
    assert_eq!((alert[0], alert[5], alert[6]), (21, 2, 70));
    let mut plain = tcp(secure.address);
    plain.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.windows(5).any(|part| part == b"HTTP/"), "{answer:?}");
    for (version, works) in [("-tls1_2", false), ("-tls1_3", true)] {
        let address = secure.address.to_string();
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &address, version, "-servername", "localhost"]);
        // Another implementation's word; the bytes above have said it where it is not installed.
        let Ok(said) = openssl.stdin(Stdio::null()).output() else { continue };
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert_eq!(text.contains("BEGIN CERTIFICATE"), works, "{version}: {text}");
        assert_eq!(said.status.success(), works, "{version}");
    }
    assert!(secure.connect(&certificate).is_ok());
}

#[test]
fn a_new_certificate_is_taken_without_a_restart() {
    let (secure, old) = Secure::start(&[]);
    let mut kept = secure.connect(&old).unwrap();
    let new = write_pair(secure.place.path());
    secure.wait(|text| text.contains("a new certificate is in use").then_some(()));
    assert!(secure.connect(&new).is_ok());
    assert!(secure.connect(&old).is_err(), "the old one is still shown");
    let headers = [("host", "localhost")];
    let answer = exchange(&mut kept, "GET", "/livez", &headers, b"").unwrap();
    assert_eq!(answer.status, 200, "a connection survives the change");
    // A pair that cannot be used changes nothing.
    std::fs::write(secure.place.path().join("server.key"), "nonsense").unwrap();
    secure.wait(|text| text.contains("the certificate in use stays").then_some(()));
    assert!(secure.connect(&new).is_ok());
}

/// Runs the server where it must refuse its start; answers its one sentence.
#[track_caller]
fn refused(arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindtally"));
    command.arg("serve").arg("--data").arg(place.data()).args(arguments);
    command.envs(settings.iter().copied()).stdin(Stdio::null());
    let ended = command.output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(64), "{arguments:?} {settings:?}: {said}");
    assert_eq!(ended.stdout, b"");
    assert!(said.ends_with(".\n") && said.lines().count() == 1, "one sentence: {said}");
    assert!(!place.keys().exists(), "a refused start leaves no keys behind");
    said
}

#[test]
fn plain_http_stays_on_loopback() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080", "[2001:db8::1]:8080"] {
        let said = refused(&["--listen", address], &[]);
        assert!(said.contains("loopback") && said.contains(address), "{said}");
    }
    let said = refused(&["--listen", "127.0.0.1:0", "--listen", "0.0.0.0:0"], &[]);
    assert!(said.contains("loopback"), "{said}");
    refused(&[], &[("BLINDTALLY__SERVER__LISTEN", "0.0.0.0:0")]);
    refused(&[], &[("BLINDTALLY__SERVER__LISTEN", "localhost")]);
    refused(&[], &[("BLINDTALLY__SERVER__LISTENS", "127.0.0.1:0")]);
    refused(&[], &[("BLINDTALLY__TLS__CERTIFICATE", "/nowhere/server.pem")]);
    refused(&["--config", "/nowhere/server.toml"], &[]);
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    write_pair(directory.path());
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let nonsense = file("nonsense");
    std::fs::write(&nonsense, "nonsense").unwrap();
    for (certificate, key) in
        [(&nonsense, &key), (&certificate, &nonsense), (&certificate, &file("none")), (&key, &key)]
    {
        let place = Place::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_blindtally"));
        command.arg("serve").arg("--data").arg(place.data()).args(["--listen", "127.0.0.1:0"]);
        command.env("BLINDTALLY__TLS__CERTIFICATE", certificate);
        let ended = command.env("BLINDTALLY__TLS__PRIVATE_KEY", key).output().unwrap();
        assert_eq!(ended.status.code(), Some(64), "{ended:?}");
    }
}

/// Reads to the end of a connection that the server cuts; answers what came and how long it took.
fn until_cut(stream: &mut TcpStream) -> (String, Duration) {
    let began = Instant::now();
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    // A cut may be a reset; only a time-out of ours would be none.
    let cut = ended.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::ConnectionReset);
    assert!(cut, "not cut: {ended:?}");
    (String::from_utf8_lossy(&answer).into_owned(), began.elapsed())
}

/// Later than a deadline of one second by far, and before any other deadline.
const SOON: Duration = Duration::from_secs(15);

#[test]
fn slow_clients_are_cut() {
    let place = Place::new();
    let settings = [
        ("SERVER__HEADER_SECONDS", "1"),
        ("SERVER__BODY_SECONDS", "1"),
        ("SERVER__IDLE_SECONDS", "30"),
    ];
    let server = start(&place, &settings);
    let producer = crate::support::producer_token(&server);
    let mut slow = tcp(server.address());
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost:").unwrap();
    // One byte at a time does not win time.
    let drip = slow.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        let mut drip = drip;
        while drip.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let (_, took) = until_cut(&mut slow);
    assert!(took < SOON, "a slow head lived {took:?}");
    drop(slow);
    dripping.join().unwrap();
    let mut slow = tcp(server.address());
    let head = format!(
        "POST /v1/records HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {producer}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: 100\r\n\r\n{{\"event"
    );
    slow.write_all(head.as_bytes()).unwrap();
    let (answer, took) = until_cut(&mut slow);
    assert!(took < SOON, "a slow body lived {took:?}");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("application/problem+json") && answer.contains("\"status\":408"));
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    server.wait_for("/livez", 200);
}

#[test]
fn silent_clients_are_cut() {
    let place = Place::new();
    let server = start(&place, &[("SERVER__IDLE_SECONDS", "1")]);
    let (_, took) = until_cut(&mut tcp(server.address()));
    assert!(took < SOON, "a client that says nothing lived {took:?}");
    let mut kept = tcp(server.address());
    kept.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let (answer, took) = until_cut(&mut kept);
    assert!(answer.starts_with("HTTP/1.1 200 ") && took < SOON, "{took:?} {answer}");
    let (secure, _) = Secure::start(&[]);
    let mut stalled = tcp(secure.address);
    stalled.write_all(b"\x16\x03\x01").unwrap();
    let (_, took) = until_cut(&mut stalled);
    assert!(took < SOON, "a stalled handshake lived {took:?}");
}

#[test]
fn connections_beyond_the_cap_wait() {
    let place = Place::new();
    let server = start(&place, &[("SERVER__MAX_CONNECTIONS", "3")]);
    let held: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = Client::new(server.address(), "");
            // The connection of `start` may still be closing, and this one waits for it.
            assert_eq!(client.send("GET", "/livez", &[], b"").unwrap().status, 200);
            client
        })
        .collect();
    let mut fourth = tcp(server.address());
    fourth.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    fourth.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let waits = fourth.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(waits.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{waits}");
    drop(held);
    fourth.set_read_timeout(Some(PATIENCE)).unwrap();
    let (answer, _) = until_cut(&mut fourth);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
