//! `pulse dev-cert`: a certificate for trying TLS and WebTransport out, signed by nobody.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use ring::digest::{SHA256, digest};

use super::complain;

pub(crate) const AFTER: &str = "\
The certificate is good for 13 days: browsers take one by its hash (serverCertificateHashes) only if it holds for
at most 14. For anything but trying out, take one from an authority, such as Let's Encrypt.";

/// Names that always are in it.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const DAY: Duration = Duration::from_secs(86_400);

/// How long it holds, and for how long it has held already where clocks differ. Together less than 14 days.
const AHEAD: Duration = Duration::from_secs(13 * 86_400);
const BEHIND: Duration = Duration::from_secs(3_600);

/// What to make, and where.
#[derive(Args, Debug)]
pub(crate) struct DevCert {
    /// Folder for cert.pem and key.pem; it is made if it does not exist.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Names or IP addresses of this machine, beside localhost, 127.0.0.1 and ::1.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    host: Vec<String>,
    /// Write over files that are there.
    #[arg(long)]
    force: bool,
}

impl DevCert {
    pub(crate) fn run(self) -> ExitCode {
        match self.make().and_then(|text| Ok(io::stdout().write_all(text.as_bytes())?)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(error);
                ExitCode::FAILURE
            }
        }
    }

    /// Writes the two files; returns what is to be said about them.
    fn make(&self) -> Result<String, Box<dyn Error>> {
        let (cert, key) = (self.out.join("cert.pem"), self.out.join("key.pem"));
        for path in [&cert, &key] {
            if !self.force && path.exists() {
                return Err(format!("{} is there already; --force writes over it", path.display()).into());
            }
        }
        let pair = KeyPair::generate()?;
        let certificate = self.params()?.self_signed(&pair)?;
        fs::create_dir_all(&self.out).map_err(|error| failed(&self.out, "made", &error))?;
        // The key first: a certificate without its key would be the worse half.
        write(&key, 0o600, &pair.serialize_pem())?;
        write(&cert, 0o644, &certificate.pem())?;

        let hash = digest(&SHA256, certificate.der());
        let hex: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let (cert, key) = (cert.display(), key.display());
        Ok(format!(
            "certificate: {cert}\nkey:         {key}\nnames:       {}\nvalid for:   {} days\n\
             SHA-256:     {}\n     base64: {}\n\nServe with it:\n  pulse serve --tls-cert {cert} --tls-key {key}\n",
            self.names().join(", "),
            AHEAD.as_secs() / DAY.as_secs(),
            hex.join(":"),
            STANDARD.encode(hash),
        ))
    }

    fn names(&self) -> Vec<&str> {
        let mut names = NAMES.to_vec();
        for name in &self.host {
            if !names.contains(&&**name) {
                names.push(name);
            }
        }
        names
    }

    fn params(&self) -> Result<CertificateParams, Box<dyn Error>> {
        let names: Vec<String> = self.names().into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names)
            .map_err(|error| format!("a --host is neither a name nor an IP address: {error}"))?;
        let now = rcgen::date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(UNIX_EPOCH)?;
        params.not_before = now - BEHIND;
        params.not_after = now + AHEAD;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "pulse dev-cert");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params)
    }
}

/// Writes a file that has this mode from its first byte on.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), String> {
    // What is there may be open to others, and keeps its mode if it is only written over.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(path, "replaced", &error));
        }
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| failed(path, "written", &error))
}

fn failed(path: &Path, done: &str, error: &io::Error) -> String {
    format!("{} cannot be {done}: {error}", path.display())
}
