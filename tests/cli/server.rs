//! A server that answers as it is told, and remembers what came.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A connection, encrypted or not.
trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Every request as it came, byte for byte.
#[derive(Clone)]
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Server {
    /// Answers the n-th request, counted from 0, with `answer(n)`: a status and an outcome.
    pub fn start(answer: impl Fn(usize) -> (u16, &'static str) + Send + 'static) -> Self {
        Self::serve(answer, |mut stream, exchange| exchange(&mut stream))
    }

    /// The same behind TLS, with that certificate.
    pub fn start_tls(
        certified: rcgen::CertifiedKey<rcgen::KeyPair>,
        answer: impl Fn(usize) -> (u16, &'static str) + Send + 'static,
    ) -> Self {
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config =
            ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certified.cert.der().clone()], key)
                .unwrap();
        let config = Arc::new(config);
        Self::serve(answer, move |stream, exchange| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            exchange(&mut StreamOwned::new(connection, stream));
        })
    }

    fn serve(
        answer: impl Fn(usize) -> (u16, &'static str) + Send + 'static,
        connect: impl Fn(TcpStream, &mut dyn FnMut(&mut dyn ReadWrite)) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            requests: Arc::default(),
        };
        let requests = Arc::clone(&server.requests);
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                connect(stream.unwrap(), &mut |stream| {
                    // A client that does not trust us hangs up in the handshake.
                    let Ok(request) = read_request(stream) else {
                        return;
                    };
                    requests.lock().unwrap().push(request);
                    let (status, outcome) = answer(number);
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\nPassgate-Outcome: {outcome}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
                    );
                    stream.write_all(answer.as_bytes()).unwrap();
                });
            }
        });
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<Vec<u8>> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_request(stream: &mut dyn ReadWrite) -> io::Result<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut request = Vec::new();
    let mut length = 0;
    loop {
        let start = request.len();
        reader.read_until(b'\n', &mut request)?;
        let line = String::from_utf8_lossy(&request[start..]).to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok([request, body].concat())
}
