//! TLS: 1.3 only, both protocols, and certificates that change while the server runs.

use super::*;
use crate::http::tls::tests::write_pair;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn connector(trusted: &CertificateDer<'static>, protocol: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    connector(trusted, protocol).connect(name, stream).await
}

async fn secure() -> (Harness, tempfile::TempDir, CertificateDer<'static>) {
    let directory = tempfile::tempdir().unwrap();
    let (files, certificate) = write_pair(directory.path());
    let harness = start(Settings { tls: Some(files), ..settings() }).await;
    (harness, directory, certificate)
}

#[tokio::test]
async fn tls_1_3_carries_both_protocols() {
    let (harness, _directory, certificate) = secure().await;
    let stream = connect(harness.address, &certificate, b"http/1.1").await.unwrap();
    let got = exchange(stream, harness.post().body(Full::from("{}")).unwrap()).await;
    assert_eq!(got.status, 200);

    let stream = connect(harness.address, &certificate, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let asked = harness.post().uri("https://localhost/v1/records");
    let answer = sender.send_request(asked.body(Full::<Bytes>::from("{}")).unwrap()).await;
    assert_eq!(answer.unwrap().status(), 200);
}

/// A ClientHello of TLS 1.2 (RFC 5246 §7.4.1.2), by hand: the library that we build cannot say it.
fn client_hello_1_2() -> Vec<u8> {
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 23, // supported_groups: secp256r1
        0, 11, 0, 2, 1, 0, // ec_point_formats: uncompressed
        0, 13, 0, 6, 0, 4, 4, 3, 4, 1, // signature_algorithms: ECDSA and RSA with SHA-256
    ];
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xC0, 0x2B, 0xC0, 0x2F, 1, 0]);
    hello.extend([0, u8::try_from(extensions.len()).unwrap()]);
    hello.extend(extensions);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

#[tokio::test]
async fn tls_1_2_and_plain_http_are_refused() {
    let (harness, _directory, _) = secure().await;
    let mut stream = TcpStream::connect(harness.address).await.unwrap();
    stream.write_all(&client_hello_1_2()).await.unwrap();
    let mut alert = [0; 7];
    stream.read_exact(&mut alert).await.unwrap();
    // A fatal alert of 70, protocol_version.
    assert_eq!((alert[0], alert[5], alert[6]), (21, 2, 70));

    let mut plain = TcpStream::connect(harness.address).await.unwrap();
    let answer = raw(&mut plain, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
}

#[tokio::test]
async fn a_stalled_handshake_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let (files, _) = write_pair(directory.path());
    let mut settings = Settings { tls: Some(files), ..settings() };
    settings.deadlines.handshake = Duration::from_millis(50);
    let harness = start(settings).await;
    let mut stream = TcpStream::connect(harness.address).await.unwrap();
    assert!(raw(&mut stream, b"\x16\x03\x01").await.is_some(), "the connection was kept");
}

#[tokio::test]
async fn a_new_certificate_is_taken_while_running() {
    let (harness, directory, old) = secure().await;
    let (_, new) = write_pair(directory.path());
    let taken = async {
        while connect(harness.address, &new, b"h2").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), taken).await.expect("the old one is still used");
    assert!(connect(harness.address, &old, b"h2").await.is_err());
    // A bad pair changes nothing.
    std::fs::write(directory.path().join("server.key"), "nonsense").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(connect(harness.address, &new, b"h2").await.is_ok());
}
