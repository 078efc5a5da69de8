//! TLS 1.3 with a certificate that is read again when its files change, so that a renewal needs no
//! restart.
//!
//! TLS 1.2 is refused, there is no early data (a replayed 0-RTT request would be a duplicate) and
//! no key log.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use zeroize::Zeroizing;

use crate::crypto;

/// Where the certificate chain and its private key lie, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub private_key: PathBuf,
}

/// Why a certificate cannot be used. The texts name files, never their content.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// A file holds no PEM of the expected kind.
    #[error("{0} holds no {1} in PEM form")]
    NoPem(PathBuf, &'static str),
    /// The certificate and the key do not belong together, or rustls cannot use them.
    #[error("the certificate in {0} and its private key cannot be used together")]
    Unfit(PathBuf),
    /// The library refuses TLS 1.3 with its own provider.
    #[error("TLS 1.3 is not available")]
    NoTls13,
}

/// The certificate in use and where it came from.
#[derive(Debug)]
pub struct Certificate {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
    /// The digest of the files as last looked at, good or bad, so that a bad pair is reported once.
    looked_at: RwLock<[u8; 32]>,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] where they cannot be used.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let content = Content::read(&files)?;
        let key = content.parse(&files, &provider)?;
        Ok(Arc::new(Self {
            looked_at: RwLock::new(content.digest()),
            current: RwLock::new(Arc::new(key)),
            provider,
            files,
        }))
    }

    /// Reads the files again; takes them when they changed and are good. `Ok(true)` when a new
    /// certificate is in use.
    ///
    /// # Errors
    /// [`TlsError`] once for each change that cannot be used; the certificate in use stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let content = Content::read(&self.files)?;
        let digest = content.digest();
        {
            let mut looked_at = self.looked_at.write().unwrap_or_else(PoisonError::into_inner);
            if crypto::equal(&looked_at, &digest) {
                return Ok(false);
            }
            *looked_at = digest;
        }
        let key = content.parse(&self.files, &self.provider)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
        Ok(true)
    }

    /// The server side of TLS 1.3 with this certificate, offering HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// [`TlsError::NoTls13`], which does not happen with the provider that is built in.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|_| TlsError::NoTls13)?;
        let resolver = Arc::clone(self) as Arc<dyn ResolvesServerCert>;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The bytes of both files; the key's are wiped.
struct Content {
    certificate: Vec<u8>,
    private_key: Zeroizing<Vec<u8>>,
}

impl Content {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| TlsError::Unreadable(path.clone(), error))
        };
        let certificate = read(&files.certificate)?;
        Ok(Self { certificate, private_key: Zeroizing::new(read(&files.private_key)?) })
    }

    fn digest(&self) -> [u8; 32] {
        let both = [crypto::digest(&self.certificate), crypto::digest(&self.private_key)];
        crypto::digest(both.as_flattened())
    }

    fn parse(&self, files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::NoPem(files.certificate.clone(), "certificate"))?;
        if chain.is_empty() {
            return Err(TlsError::NoPem(files.certificate.clone(), "certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.private_key)
            .map_err(|_| TlsError::NoPem(files.private_key.clone(), "private key"))?;
        CertifiedKey::from_der(chain, key, provider)
            .map_err(|_| TlsError::Unfit(files.certificate.clone()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::path::Path;

    /// Writes a fresh self-signed pair for `localhost` and gives its certificate.
    pub fn write_pair(directory: &Path) -> (TlsFiles, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let files = TlsFiles {
            certificate: directory.join("server.pem"),
            private_key: directory.join("server.key"),
        };
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.private_key, made.signing_key.serialize_pem()).unwrap();
        (files, made.cert.der().clone())
    }

    fn in_use(certificate: &Certificate) -> CertificateDer<'static> {
        certificate.current.read().unwrap().cert[0].clone()
    }

    #[test]
    fn a_change_is_taken_and_a_bad_one_is_reported_once() {
        let directory = tempfile::tempdir().unwrap();
        let (files, first) = write_pair(directory.path());
        let certificate = Certificate::load(files.clone()).unwrap();
        assert!(!certificate.reload().unwrap());
        let (_, second) = write_pair(directory.path());
        assert!(certificate.reload().unwrap());
        assert_eq!(in_use(&certificate), second);
        assert_ne!(first, second);

        std::fs::write(&files.certificate, "no certificate").unwrap();
        assert!(matches!(certificate.reload(), Err(TlsError::NoPem(..))));
        assert!(!certificate.reload().unwrap());
        assert_eq!(in_use(&certificate), second);

        // A certificate without its key: as in the moment between the two files of a renewal.
        let key = std::fs::read(&files.private_key).unwrap();
        let (_, third) = write_pair(directory.path());
        let fitting = std::fs::read(&files.private_key).unwrap();
        std::fs::write(&files.private_key, key).unwrap();
        assert!(matches!(certificate.reload(), Err(TlsError::Unfit(_))));
        assert_eq!(in_use(&certificate), second);
        std::fs::write(&files.private_key, fitting).unwrap();
        assert!(certificate.reload().unwrap());
        assert_eq!(in_use(&certificate), third);
    }

    #[test]
    fn errors_name_the_file_and_nothing_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let (files, _) = write_pair(directory.path());
        std::fs::write(&files.private_key, "secret text").unwrap();
        let error = Certificate::load(files).unwrap_err().to_string();
        assert!(error.contains("server.key") && !error.contains("secret"), "{error}");
        let nowhere = directory.path().join("nowhere");
        let files = TlsFiles { certificate: nowhere.clone(), private_key: nowhere };
        assert!(matches!(Certificate::load(files), Err(TlsError::Unreadable(..))));
    }
}
