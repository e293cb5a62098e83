//! Connections over TLS, whose certificate is changed while they are served.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// A handshake takes milliseconds; who takes longer is not waited for.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time: some milliseconds of a processor each. More wait in the kernel's queue.
const HANDSHAKES: usize = 64;
/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A certificate that cannot be served with.
#[derive(Debug, Error)]
pub enum BadCertificate {
    /// The text holds no certificate in PEM form.
    #[error("no certificate in PEM form")]
    NoCertificate,
    /// The text holds no private key in PEM form.
    #[error("no private key in PEM form")]
    NoKey(#[source] rustls::pki_types::pem::Error),
    /// They do not belong together, or are of a kind that cannot be used.
    #[error("the certificate and its key cannot be used")]
    Unusable(#[source] rustls::Error),
}

/// The certificate that is served now. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Certificate {
    current: Arc<RwLock<Option<Arc<CertifiedKey>>>>,
}

impl Certificate {
    /// Serves with this one from now on: a certificate with those that it rests on, and its private key, in PEM form.
    /// Connections that there are go on.
    ///
    /// # Errors
    /// [`BadCertificate`]; then the one before is served on.
    pub fn install(&self, chain: &[u8], key: &[u8]) -> Result<(), BadCertificate> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain).filter_map(Result::ok).collect();
        if chain.is_empty() {
            return Err(BadCertificate::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(BadCertificate::NoKey)?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(BadCertificate::Unusable)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified));
        Ok(())
    }

    fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Accepts connections, for [`axum::serve()`]. Those whose handshake fails are not seen there.
#[derive(Debug)]
pub struct TlsListener {
    address: SocketAddr,
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    stop: CancellationToken,
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl TlsListener {
    /// Listens with a certificate. Until it has one, handshakes fail.
    ///
    /// # Errors
    /// Where TLS cannot be set up with this program's cryptography, or the address cannot be asked for.
    pub fn new(listener: TcpListener, certificate: Certificate) -> std::io::Result<Self> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificate));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let address = listener.local_addr()?;
        // Those that are made and not taken yet, where the server has as many as it takes: then no more are accepted either.
        let (sender, connections) = mpsc::channel(HANDSHAKES);
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), sender, stop.clone()));
        Ok(Self {
            address,
            connections,
            stop,
        })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            // The other end lives until this one is dropped.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}

type Connections = mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>;

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, connections: Connections, stop: CancellationToken) {
    let turns = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(turn) = turns.clone().acquire_owned().await else { return };
        let (acceptor, connections) = (acceptor.clone(), connections.clone());
        tokio::spawn(async move {
            let _turn = turn;
            // Answers are small and awaited: they are not to be held back for more.
            let _ = stream.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    if let Err(SendError(_)) = connections.send((stream, peer)).await {
                        tracing::debug!(%peer, "a connection came as the server stopped");
                    }
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests
mod tests {
    use axum::Router;
    use axum::routing::get;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::serve::{Limits, serve};

    const LIMITS: Limits = Limits {
        connections: 64,
        silence: HANDSHAKE,
    };

    /// A certificate that trusts itself, and its key.
    fn made(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    async fn get_over_tls(address: SocketAddr, trusted: &str, name: &'static str) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let mut stream = TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from(name).unwrap(), stream)
            .await?;
        let request = format!("GET / HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_certificate_is_changed_while_connections_are_served() {
        let certificate = Certificate::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TlsListener::new(listener, certificate.clone()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let routes = Router::new().route("/", get(|| async { "served" }));
        let server = tokio::spawn(serve(listener, routes, LIMITS, stop.clone().cancelled_owned()));

        let (old, new) = (made("old.test"), made("new.test"));
        assert!(
            get_over_tls(address, &old.0, "old.test").await.is_err(),
            "there is no certificate yet"
        );
        certificate.install(old.0.as_bytes(), old.1.as_bytes()).unwrap();
        assert!(get_over_tls(address, &old.0, "old.test").await.unwrap().ends_with("served"));
        // What cannot be used changes nothing.
        assert!(certificate.install(old.0.as_bytes(), new.1.as_bytes()).is_err());
        assert!(certificate.install(b"", new.1.as_bytes()).is_err());
        assert!(certificate.install(new.0.as_bytes(), b"").is_err());
        assert!(get_over_tls(address, &old.0, "old.test").await.unwrap().ends_with("served"));
        certificate.install(new.0.as_bytes(), new.1.as_bytes()).unwrap();
        assert!(get_over_tls(address, &new.0, "new.test").await.unwrap().ends_with("served"));
        assert!(get_over_tls(address, &old.0, "old.test").await.is_err(), "the new one is served");
        stop.cancel();
        server.await.unwrap();
    }

    /// A connection that says nothing keeps no other one waiting, nor the stop.
    #[tokio::test]
    async fn a_silent_peer_is_in_nobodys_way() {
        let certificate = Certificate::default();
        let own = made("own.test");
        certificate.install(own.0.as_bytes(), own.1.as_bytes()).unwrap();
        let listener = TlsListener::new(TcpListener::bind("127.0.0.1:0").await.unwrap(), certificate).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let routes = Router::new().route("/", get(|| async { "served" }));
        let server = tokio::spawn(serve(listener, routes, LIMITS, stop.clone().cancelled_owned()));
        let silent: Vec<TcpStream> = futures::future::join_all((0..8).map(|_| TcpStream::connect(address)))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert!(get_over_tls(address, &own.0, "own.test").await.unwrap().ends_with("served"));
        stop.cancel();
        server.await.unwrap();
        drop(silent);
    }
}
