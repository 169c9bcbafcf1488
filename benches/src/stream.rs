//! A client's bytes on their way: plain TCP, or TLS by rustls, which trusts the one certificate of its server.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// No record of TLS holds more plaintext.
const RECORD: usize = 16 << 10;

/// Where a server listens, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Target {
    pub(crate) addr: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl From<SocketAddr> for Target {
    /// Without TLS.
    fn from(addr: SocketAddr) -> Self {
        Self { addr, tls: None }
    }
}

impl Target {
    /// A server that shows this certificate, in PEM. Every handshake with it is a full one: no session is resumed.
    pub(crate) fn secure(addr: SocketAddr, certificate: &[u8]) -> io::Result<Self> {
        let certificate = CertificateDer::from_pem_slice(certificate).map_err(io::Error::other)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(io::Error::other)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self { addr, tls: Some(Arc::new(config)) })
    }
}

/// A connection. Blocking until [`set_nonblocking`](Self::set_nonblocking).
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Stream {
    /// Connects. With TLS, the handshake is made by what is written and read.
    pub(crate) fn connect(target: &Target) -> io::Result<Self> {
        let tcp = TcpStream::connect(target.addr)?;
        tcp.set_nodelay(true)?;
        let tls = target.tls.as_ref().map(|config| {
            let name = ServerName::from(target.addr.ip());
            ClientConnection::new(Arc::clone(config), name).map(Box::new).map_err(io::Error::other)
        });
        Ok(Self { tcp, tls: tls.transpose()? })
    }

    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        self.tcp.set_nonblocking(true)
    }

    pub(crate) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.tcp.set_read_timeout(Some(timeout))
    }

    /// Writes some of `bytes`. With TLS they may wait here for the socket; the next call waits for them in turn.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.tcp.write(bytes) };
        flush(tls, &mut self.tcp)?;
        let taken = tls.writer().write(bytes)?;
        match flush(tls, &mut self.tcp) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Writes all of `bytes`. A socket that does not wait has to have room for them.
    pub(crate) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.tcp.write_all(bytes) };
        while !bytes.is_empty() {
            let taken = tls.writer().write(bytes)?;
            bytes = &bytes[taken..];
            flush(tls, &mut self.tcp)?;
        }
        Ok(())
    }

    /// Reads some bytes; 0 are the end of the stream. With TLS, `buffer` has room for the records as well.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.tcp.read(buffer) };
        // Half a record may be there already: with it the plaintext still fits before the records.
        let wire = buffer.len().saturating_sub(RECORD) / 2;
        if wire == 0 {
            return Err(io::Error::other("the buffer has no room for another record"));
        }
        let (plain, wire) = buffer.split_at_mut(buffer.len() - wire);
        loop {
            let len = self.tcp.read(wire)?;
            let (mut records, mut end) = (&wire[..len], 0);
            while !records.is_empty() {
                tls.read_tls(&mut records)?;
                let left = tls.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read();
                tls.reader().read_exact(&mut plain[end..end + left])?;
                end += left;
            }
            flush(tls, &mut self.tcp)?;
            if end > 0 || len == 0 {
                return Ok(end);
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

fn flush(tls: &mut ClientConnection, tcp: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(tcp)?;
    }
    Ok(())
}
