//! Certificates in files, and clients by rustls: blocking, with their own certificate as the only one they trust.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pulse_native::tls::Identity;
use rcgen::{CertificateParams, KeyPair, SerialNumber};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned,
};
use tungstenite::WebSocket;
use tungstenite::client::IntoClientRequest as _;

/// Longer than anything takes, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with `cert.pem` and `key.pem`.
pub struct Files {
    pub folder: PathBuf,
    pub cert: String,
    pub key: String,
    /// The certificate that is in the file.
    pub der: CertificateDer<'static>,
}

impl Files {
    /// In a folder of this test's own.
    pub fn new(test: &str) -> Self {
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = |name| folder.join(name).to_str().unwrap().to_owned();
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        let mut files = Self { folder, cert, key, der: CertificateDer::from(Vec::new()) };
        files.renew(1);
        files
    }

    /// Writes another certificate with another key.
    pub fn renew(&mut self, serial: u64) {
        self.renew_with(serial, |_| {});
    }

    pub fn renew_with(&mut self, serial: u64, change: impl FnOnce(&mut CertificateParams)) {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let certificate = params.self_signed(&pair).unwrap();
        fs::write(&self.key, pair.serialize_pem()).unwrap();
        fs::write(&self.cert, certificate.pem()).unwrap();
        self.der = certificate.der().clone();
    }

    pub fn identity(&self) -> Arc<Identity> {
        Arc::new(Identity::load(&self.cert, &self.key).unwrap())
    }

    /// A client that trusts this certificate and no other.
    pub fn trusting(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A client that takes any certificate and never resumes a session.
pub fn careless() -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Anyone(provider.signature_verification_algorithms));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// TLS over a stream that may be any.
pub type Secure<S = TcpStream> = StreamOwned<ClientConnection, S>;

pub fn dial(addr: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(addr).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_write_timeout(Some(PATIENCE)).unwrap();
    tcp
}

pub fn secure<S: Read + Write>(config: &Arc<ClientConfig>, stream: S) -> Secure<S> {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}

/// The certificate that a new handshake shows.
pub fn shown(addr: SocketAddr) -> CertificateDer<'static> {
    let mut stream = secure(&careless(), dial(addr));
    stream.conn.complete_io(&mut stream.sock).unwrap();
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

/// A WebSocket of `pulse.v1` over a stream that is connected.
pub fn websocket<S: Read + Write>(addr: SocketAddr, stream: S) -> WebSocket<S> {
    let mut request = format!("wss://{addr}/ws").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "pulse.v1".parse().unwrap());
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => socket,
        Err(error) => panic!("the server does not upgrade: {error}"),
    }
}

/// The whole answer, up to the end of the stream, which has to be told by `close_notify`.
pub fn ask(config: &Arc<ClientConfig>, addr: SocketAddr, request: &str) -> String {
    let mut stream = secure(config, dial(addr));
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Writes one byte at a time.
pub struct Drip(pub TcpStream);

impl Read for Drip {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Drip {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
