//! A sender behind TLS, and the certificates that the gateway shows it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::sender::{Answer, Request, read_answer};

/// Certificates in a folder of their own.
pub struct Certificates {
    folder: tempfile::TempDir,
}

/// A certificate and its key.
pub struct Pair {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// The same, in PEM.
    pub chain: String,
    /// Its key, in PEM.
    pub key: String,
}

/// How a sender shakes hands.
#[derive(Clone)]
pub struct Hello {
    /// The name it asks for; an address asks for none.
    pub name: String,
    /// The protocols it offers.
    pub protocols: Vec<Vec<u8>>,
    /// The address of ours that it comes from.
    pub from: IpAddr,
    /// The version it speaks.
    pub version: &'static SupportedProtocolVersion,
}

/// A connection behind TLS.
pub struct Secure {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

// === impl Certificates ===

impl Certificates {
    /// A folder with `one.pem` and `one.key` of this name.
    pub fn of(name: &str) -> (Self, Pair) {
        let certificates = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let pair = certificates.put("one", &[name]);
        (certificates, pair)
    }

    /// Where a file of the folder is.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes a new certificate of these names.
    pub fn put(&self, file: &str, names: &[&str]) -> Pair {
        let pair = Pair::of(names);
        self.write(file, &pair);
        pair
    }

    /// Writes a certificate and its key.
    pub fn write(&self, file: &str, pair: &Pair) {
        write(&self.path(&format!("{file}.key")), &pair.key);
        write(&self.path(&format!("{file}.pem")), &pair.chain);
    }

    /// The lines of the configuration for this file.
    pub fn lines(&self, file: &str) -> String {
        let path = |ending| self.path(&format!("{file}.{ending}"));
        format!(
            "certificate = {:?}\nkey = {:?}\n",
            path("pem").to_str().unwrap(),
            path("key").to_str().unwrap()
        )
    }
}

/// Puts a file into its place at once, as careful tools do.
fn write(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

// === impl Pair ===

impl Pair {
    /// A new certificate of these names.
    pub fn of(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Self::from_params(rcgen::CertificateParams::new(names).unwrap())
    }

    /// A new certificate of these names that expires with this day.
    pub fn until(names: &[&str], (year, month, day): (i32, u8, u8)) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(year, month, day);
        Self::from_params(params)
    }

    fn from_params(params: rcgen::CertificateParams) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            der: certificate.der().clone(),
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

// === impl Hello ===

impl Hello {
    /// TLS 1.3 for this name, without a word on protocols.
    pub fn to(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            protocols: Vec::new(),
            from: IpAddr::from([127, 0, 0, 1]),
            version: &TLS13,
        }
    }

    /// The same from this address of ours.
    pub fn coming_from(mut self, from: IpAddr) -> Self {
        self.from = from;
        self
    }

    /// The same in TLS 1.2.
    pub fn old(mut self) -> Self {
        self.version = &TLS12;
        self
    }

    /// The same, offering these protocols.
    pub fn offering(mut self, protocols: &[&str]) -> Self {
        self.protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        self
    }

    /// Connects and shakes hands.
    pub async fn shake(&self, to: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[self.version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        config.alpn_protocols.clone_from(&self.protocols);
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        let socket = socket.connect(to).await?;
        socket.set_nodelay(true)?;
        TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await
    }

    /// The certificate that is shown.
    pub async fn shown(&self, to: SocketAddr) -> CertificateDer<'static> {
        let stream = self.shake(to).await.expect("a handshake");
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    }

    /// A connection for requests.
    pub async fn open(&self, to: SocketAddr) -> Secure {
        Secure {
            stream: self.shake(to).await.expect("a handshake"),
            read: Vec::new(),
        }
    }
}

// === impl Secure ===

impl Secure {
    /// Sends a request and reads its answer; `None` where the connection ends first.
    pub async fn try_ask(&mut self, request: &Request) -> Option<Answer> {
        self.stream.write_all(&request.bytes()).await.ok()?;
        read_answer(&mut self.stream, &mut self.read).await
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: &Request) -> Answer {
        self.try_ask(request).await.expect("an answer")
    }
}

/// Looks at no certificate: which one is shown is what the tests ask.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
