//! The bytes' way to a server: TCP, or TLS over it.

use std::{
    error, fmt, io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{ConnectError, endpoint::Endpoint};

/// Whose certificates a `wss://` server is believed by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Roots {
    /// Those that the operating system trusts.
    #[default]
    System,
    /// Those in a file, PEM, and no others: a server's own, as `pulse dev-cert` makes it, or the authority's that signed it.
    File(PathBuf),
}

/// Why nobody would be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootsError(String);

/// What TLS sessions are made with.
#[derive(Clone)]
pub(super) struct Trust(Arc<ClientConfig>);

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Trust {
    pub(super) fn new(roots: &Roots) -> Result<Self, RootsError> {
        let mut store = RootCertStore::empty();
        match roots {
            Roots::System => {
                let found = rustls_native_certs::load_native_certs();
                store.add_parsable_certificates(found.certs);
                if store.is_empty() {
                    let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
                    return Err(RootsError(format!(
                        "the operating system names nobody whose certificates are to be trusted{why}; name a file \
                         instead"
                    )));
                }
            }
            Roots::File(path) => {
                let path_shown = path.display();
                let wrong = |what: &dyn fmt::Display| {
                    RootsError(format!(
                        "cannot take certificates to trust from {path_shown}: {what}; it has to be PEM, as \
                         `pulse dev-cert` writes it"
                    ))
                };
                let certs = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
                for cert in certs {
                    let cert = cert.map_err(|error| wrong(&error))?;
                    store.add(cert).map_err(|error| wrong(&error))?;
                }
                if store.is_empty() {
                    return Err(wrong(&"there is no certificate in it"));
                }
            }
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_root_certificates(store)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

impl Stream {
    /// Connects; over TLS where there is somebody to trust, which is so exactly where the URL asks for it.
    pub(super) async fn open(endpoint: &Endpoint, trust: Option<Trust>) -> Result<Self, ConnectError> {
        let unreachable =
            |error| ConnectError::Unreachable { url: endpoint.url().to_owned(), source: Arc::new(error) };
        let tcp = TcpStream::connect(endpoint.address()).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let (Some(host), Some(trust)) = (endpoint.secure_host(), trust) else { return Ok(Self::Plain(tcp)) };
        let insecure =
            |error| ConnectError::Insecure { url: endpoint.url().to_owned(), source: Arc::new(error) };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| insecure(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let tls = TlsConnector::from(trust.0).connect(name, tcp).await.map_err(insecure)?;
        Ok(Self::Tls(Box::new(tls)))
    }
}

macro_rules! either {
    ($stream:expr, $it:ident => $what:expr) => {
        match $stream.get_mut() {
            Stream::Plain($it) => {
                let $it = Pin::new($it);
                $what
            }
            Stream::Tls($it) => {
                let $it = Pin::new(&mut **$it);
                $what
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, it => it.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, it => it.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, it => it.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, it => it.poll_shutdown(cx))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust(..)")
    }
}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for RootsError {}
