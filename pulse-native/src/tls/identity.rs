//! The certificate and the key that the server shows, read from two files and replaced without a restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::error::TlsError;
use super::validity::{self, Validity};

/// The one protocol that is spoken over TLS (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

const CERT: &str = "tls.cert";
const KEY: &str = "tls.key";

/// Who the server is. Live connections keep what they were set up with when it changes.
#[derive(Debug)]
pub struct Identity {
    cert: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    /// The files when they were last read.
    known: Mutex<Stamp>,
    config: Arc<ServerConfig>,
}

/// What new handshakes show.
#[derive(Debug)]
struct Current(RwLock<Shown>);

#[derive(Debug)]
struct Shown {
    certified: Arc<CertifiedKey>,
    validity: Option<Validity>,
}

/// What tells that a file was written: length and time of the last change, of both files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<(u64, SystemTime)>; 2]);

impl Identity {
    /// Reads the certificate chain and its key, both PEM.
    ///
    /// # Errors
    /// Which file is wrong, and what would be right.
    pub fn load(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let (cert, key) = (cert.into(), key.into());
        // Before they are read: a change in between is noticed later, rather than never.
        let known = Mutex::new(Stamp::of(&cert, &key));
        let current = Arc::new(Current(RwLock::new(read(&cert, &key)?)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Tickets instead of a store of sessions: nothing that shards would have to share.
        config.ticketer = ring::Ticketer::new().expect("the system has randomness");
        config.send_tls13_tickets = 1;
        Ok(Self { cert, key, current, known, config: Arc::new(config) })
    }

    /// Reads the files again. Handshakes from now on show what is in them; on an error, what was shown before.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = self.stamp();
        let shown = read(&self.cert, &self.key)?;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(())
    }

    /// A sentence if clients will refuse the certificate because of its dates.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let shown = self.current.0.read().unwrap_or_else(PoisonError::into_inner);
        let Validity { from, until } = shown.validity.as_ref()?;
        let now = validity::now();
        let cert = self.cert.display();
        if *until < now {
            return Some(format!(
                "{CERT}: the certificate in {cert} has expired: it was valid until {until} UTC; clients will refuse it \
                 until there is a newer one"
            ));
        }
        (*from > now).then(|| {
            format!("{CERT}: the certificate in {cert} is valid from {from} UTC on; clients will refuse it until then")
        })
    }

    /// What sessions are made with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp::of(&self.cert, &self.key)
    }

    /// The stamp of the files when they were last read, whether or not they were of use.
    pub(super) fn known(&self) -> Stamp {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn cert(&self) -> &Path {
        &self.cert
    }
}

impl Stamp {
    fn of(cert: &Path, key: &Path) -> Self {
        Self([cert, key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.len(), metadata.modified().ok()?))
        }))
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).certified))
    }
}

fn read(cert: &Path, key: &Path) -> Result<Shown, TlsError> {
    let chain = chain(cert)?;
    let private = private_key(key)?;
    let validity = chain.first().and_then(|own| Validity::read(own));
    let wrong = |setting, path: &Path, what| TlsError::Wrong { setting, path: path.to_owned(), what };
    let certified = CertifiedKey::from_der(chain, private, &ring::default_provider());
    let certified = certified.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::KeyDoesNotFit { cert: cert.to_owned(), key: key.to_owned() }
        }
        rustls::Error::InvalidCertificate(error) => {
            wrong(CERT, cert, format!("the first certificate cannot be used: {error}"))
        }
        other => wrong(
            KEY,
            key,
            format!(
                "the key cannot be used ({other}); it has to be an ECDSA (P-256, P-384), Ed25519 or RSA key"
            ),
        ),
    })?;
    Ok(Shown { certified: Arc::new(certified), validity })
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = contents(CERT, path)?;
    let wrong = |what: String| TlsError::Wrong { setting: CERT, path: path.to_owned(), what };
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| wrong(format!("this is no valid PEM: {error}")))?;
    if chain.is_empty() {
        return Err(wrong(
            "there is no certificate in it; it has to be PEM with -----BEGIN CERTIFICATE-----, the server's own first, \
             then those that signed it"
                .into(),
        ));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = contents(KEY, path)?;
    let wrong = |what: String| TlsError::Wrong { setting: KEY, path: path.to_owned(), what };
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        PemError::NoItemsFound if text.windows(9).any(|bytes| bytes == b"ENCRYPTED") => wrong(
            "the key is encrypted; take the passphrase off, as with `openssl pkey -in FILE -out FILE`".into(),
        ),
        PemError::NoItemsFound => {
            wrong("there is no private key in it; it has to be PEM with -----BEGIN PRIVATE KEY-----".into())
        }
        other => wrong(format!("this is no valid PEM: {other}")),
    })
}

fn contents(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source: io::Error| TlsError::Unreadable { setting, path: path.to_owned(), source };
    fs::read(path).map_err(unreadable)
}
