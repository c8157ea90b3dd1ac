//! Where an app's name leads to.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

/// The system's resolver, without link-local addresses: that is where clouds serve their credentials, and
/// no app lives there. Checked after resolution, on the addresses that are connected to.
#[derive(Clone)]
pub(super) struct CheckedResolver(GaiResolver);

impl CheckedResolver {
    pub(super) fn new() -> Self {
        Self(GaiResolver::new())
    }
}

impl Service<Name> for CheckedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.0.call(name);
        Box::pin(async move {
            let all: Vec<SocketAddr> = resolving.await?.collect();
            let allowed: Vec<SocketAddr> = all
                .iter()
                .copied()
                .filter(|address| !is_link_local(address.ip()))
                .collect();
            if allowed.is_empty() && !all.is_empty() {
                return Err(std::io::Error::other(
                    "the upstream's name resolves to link-local addresses only",
                ));
            }
            Ok(allowed.into_iter())
        })
    }
}

/// Link-local, the metadata services' addresses among them (`fd00:ec2::254` is AWS's for IPv6).
fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local() || v6.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
    }
}
