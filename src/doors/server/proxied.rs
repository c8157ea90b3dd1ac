//! The PROXY protocol: a trusted proxy says before anything else whom it stands for.
//!
//! Versions 1 and 2 are read by a library; what it says of anything but the client's address is skipped. Only
//! peers on the list of trusted proxies are asked, and they must: without a header nobody knows whose the
//! connection is, and it is closed.

use std::net::IpAddr;
use std::time::Duration;

use proxy_header::ParseConfig;
use proxy_header::io::ProxiedStream;
use tokio::io::{AsyncRead, AsyncWrite};

/// What a proxy said, and the connection behind it.
pub struct Proxied<S> {
    /// The rest of the connection.
    pub stream: ProxiedStream<S>,
    /// The client; `None` where the proxy speaks for itself, as when it looks whether somebody is there.
    pub client: Option<IpAddr>,
}

/// Reads the header within `limit`; `None` where there is none.
pub async fn read<S>(socket: S, limit: Duration) -> Option<Proxied<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = ParseConfig {
        // Nothing but the address is used.
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let reading = ProxiedStream::create_from_tokio(socket, config);
    let stream = tokio::time::timeout(limit, reading).await.ok()?.ok()?;
    let client = stream.proxy_header().proxied_address();
    Some(Proxied {
        client: client.map(|address| address.source.ip().to_canonical()),
        stream,
    })
}
