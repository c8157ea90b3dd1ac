//! The folder in which an account and a certificate outlive a restart, so that neither is asked for each time:
//! authorities limit how often.
//!
//! Every file is for its owner alone (0600), and takes its place at once, whole and synced. Certificate and key
//! are one file, so that they never mismatch. The names hold a hash of what they belong to: another directory has
//! another account, other domains another certificate.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::rules::certificate::Certificate;
use crate::rules::config::acme::Acme;
use crate::rules::config::surroundings::Surroundings;
use crate::rules::reader::secrets::SecretSource;

/// Where account and certificate are kept.
#[derive(Clone)]
pub struct Cache {
    folder: PathBuf,
    account: PathBuf,
    certificate: PathBuf,
}

// === impl Cache ===

impl Cache {
    /// The cache of this configuration.
    pub fn new(config: &Acme) -> Self {
        let directory = hash(&[config.directory.as_str()]);
        let domains: Vec<&str> = std::iter::once(config.directory.as_str())
            .chain(config.domains.iter().map(String::as_str))
            .collect();
        Self {
            folder: config.cache.clone(),
            account: config.cache.join(format!("account-{directory}.json")),
            certificate: config
                .cache
                .join(format!("certificate-{}.pem", hash(&domains))),
        }
    }

    /// The certificate, if there is one that can be served.
    pub fn certificate(&self) -> Option<Certificate> {
        let pem = Surroundings.file(&self.certificate).ok()?.bytes;
        Certificate::read(&pem, &pem).ok()
    }

    /// Keeps a certificate and its key.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn keep_certificate(&self, pem: &str) -> io::Result<()> {
        self.write(&self.certificate, pem.as_bytes())
    }

    /// The account, if there is one.
    pub fn account(&self) -> Option<Zeroizing<Vec<u8>>> {
        Some(Surroundings.file(&self.account).ok()?.bytes)
    }

    /// Keeps an account and its key.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn keep_account(&self, json: &[u8]) -> io::Result<()> {
        self.write(&self.account, json)
    }

    /// Forgets an account that the authority does not know.
    pub fn forget_account(&self) {
        // One that is gone already is as good as forgotten.
        let _ = fs::remove_file(&self.account);
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        let beside = path.with_extension("new");
        // A file that a crash left behind could be anybody's to read.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(&self.folder)?.sync_all()
    }
}

/// Eight bytes tell the few configurations of a gateway apart.
fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hash = hash.finalize();
    HEXLOWER.encode(hash.get(..8).unwrap_or(&hash))
}
