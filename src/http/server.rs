//! The listening sockets: bind, accept under a cap, drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::connection::{self, Phase};
use super::peers::{Admitted, Peers};
use super::service::Service;
use super::tls::{Certificate, TlsError};
use super::{Desks, Settings};
use crate::observe::Registry;

/// How long accepting waits after the operating system refused a connection (too many files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections may take to notice that they were dropped.
const DROP_WAIT: Duration = Duration::from_secs(1);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{0} cannot be listened on: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// Plain HTTP on an address that others can reach.
    #[error("{0} is not a loopback address, and plain HTTP is allowed on loopback only")]
    PlainHttp(SocketAddr),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    phase: Arc<watch::Sender<Phase>>,
    drain: Duration,
}

impl Server {
    /// Binds all addresses and begins to serve.
    ///
    /// # Errors
    /// [`StartError`]; nothing is served then.
    pub async fn start(
        settings: Settings,
        desks: Desks,
        registry: &Registry,
    ) -> Result<Self, StartError> {
        let certificate = settings.tls.clone().map(Certificate::load).transpose()?;
        let tls = match &certificate {
            Some(certificate) => Some(TlsAcceptor::from(certificate.server_config()?)),
            None => None,
        };
        let mut listeners = Vec::with_capacity(settings.listen.len());
        let mut addresses = Vec::with_capacity(settings.listen.len());
        for address in &settings.listen {
            if tls.is_none() && !address.ip().is_loopback() {
                return Err(StartError::PlainHttp(*address));
            }
            let listening = TcpListener::bind(address).await;
            let listener = listening.map_err(|error| StartError::Listen(*address, error))?;
            addresses.push(listener.local_addr().unwrap_or(*address));
            listeners.push(listener);
        }
        let phase = Arc::new(watch::Sender::new(Phase::Running));
        let permits = Arc::new(Semaphore::new(settings.connections_max));
        let peers = Peers::new(settings.peer_connections_max);
        let (drain, reload) = (settings.deadlines.drain, settings.deadlines.reload);
        let service = Arc::new(Service::new(settings, desks, Arc::clone(&phase), registry));
        for listener in listeners {
            let door = Door {
                listener,
                tls: tls.clone(),
                permits: Arc::clone(&permits),
                peers: peers.clone(),
                service: Arc::clone(&service),
                phase: phase.subscribe(),
            };
            tokio::spawn(door.run());
        }
        if let Some(certificate) = certificate {
            tokio::spawn(watch_certificate(certificate, reload, phase.subscribe()));
        }
        Ok(Self { addresses, phase, drain })
    }

    /// The addresses that are listened on, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops accepting, lets running requests finish up to the drain deadline, then drops the rest.
    /// Returns whether everything finished.
    pub async fn drain(self) -> bool {
        self.phase.send_replace(Phase::Draining);
        // Everything that belongs to the server holds a receiver of the phase.
        let finished = tokio::time::timeout(self.drain, self.phase.closed()).await.is_ok();
        self.phase.send_replace(Phase::Closed);
        if !finished {
            let _ = tokio::time::timeout(DROP_WAIT, self.phase.closed()).await;
        }
        finished
    }
}

/// One listening socket.
struct Door {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    permits: Arc<Semaphore>,
    peers: Peers,
    service: Arc<Service>,
    phase: watch::Receiver<Phase>,
}

impl Door {
    async fn run(mut self) {
        loop {
            // The permit comes before the connection: beyond the cap, clients wait in the backlog.
            let permit = tokio::select! {
                permit = Arc::clone(&self.permits).acquire_owned() => permit,
                () = Phase::ended(&mut self.phase) => return,
            };
            let Ok(permit) = permit else { return };
            let Some((stream, admitted)) = self.accept().await else { return };
            let service = Arc::clone(&self.service);
            let (tls, phase) = (self.tls.clone(), self.phase.clone());
            let open = service.counters().connection();
            tokio::spawn(async move {
                connection::serve(stream, tls, service, phase).await;
                drop((open, admitted, permit));
            });
        }
    }

    /// The next connection of a peer that may have one more; `None` when the server drains.
    async fn accept(&mut self) -> Option<(TcpStream, Admitted)> {
        loop {
            tokio::select! {
                () = Phase::ended(&mut self.phase) => return None,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => match self.peers.admit(peer.ip()) {
                        Some(admitted) => return Some((stream, admitted)),
                        // Closed without a word: it is dropped here.
                        None => self.service.counters().beyond_peer(),
                    },
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(kind = %error.kind(), "a connection cannot be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

/// Whether an error of accept belongs to the one connection, which is gone then.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Looks at the certificate's files every few seconds.
async fn watch_certificate(
    certificate: Arc<Certificate>,
    every: Duration,
    mut phase: watch::Receiver<Phase>,
) {
    let mut unreadable = false;
    loop {
        tokio::select! {
            () = Phase::ended(&mut phase) => return,
            () = tokio::time::sleep(every) => {}
        }
        let looked = Arc::clone(&certificate);
        let reloaded = tokio::task::spawn_blocking(move || looked.reload()).await;
        let was_unreadable = std::mem::take(&mut unreadable);
        match reloaded {
            Ok(Ok(true)) => tracing::info!("a new certificate is in use"),
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error @ TlsError::Unreadable(..))) => {
                unreadable = true;
                if !was_unreadable {
                    tracing::error!(%error, "the certificate in use stays");
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "the certificate in use stays"),
        }
    }
}
