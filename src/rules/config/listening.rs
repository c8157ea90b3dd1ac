//! `[server]` and `[admin]`: the addresses to listen on, and whose word on the client's address counts.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use crate::rules::config::{Admin, ClientAddressFrom, Server};
use crate::rules::reader::Section;
use crate::words::secret::Presented;

/// Reads `[server]`.
pub fn server(section: &mut Section<'_>) -> Server {
    section.not_yet("tls", "TLS of its own (a proxy before it does)");
    Server {
        listen: listen(section),
        trusted_proxies: trusted_proxies(section),
        client_address_from: client_address_from(section),
    }
}

/// Reads `[admin]`.
pub fn admin(section: &mut Section<'_>) -> Admin {
    Admin {
        listen: section
            .parse("listen", ADDRESS, address)
            .unwrap_or(ADMIN_DEFAULT),
        token: token(section),
    }
}

/// The two listeners are for different people, so they never share an address.
pub fn refuse_overlap(
    server: &Server,
    server_section: &Section<'_>,
    admin: &Admin,
    admin_section: &mut Section<'_>,
) {
    let Some(shared) = server
        .listen
        .iter()
        .find(|listen| overlap(**listen, admin.listen))
    else {
        return;
    };
    let message = |other: &str| {
        format!("server.listen and admin.listen share {shared}; give {other} another port")
    };
    if admin_section.has("listen") {
        admin_section.mistake("listen", message("one of them"));
    } else {
        // The default of the other section is in the way of what is written here.
        server_section.mistake("listen", message("the server"));
    }
}

fn listen(section: &mut Section<'_>) -> Vec<SocketAddr> {
    let listen = section.parse_one_or_each("listen", ADDRESS, address);
    let mut seen = HashSet::new();
    for address in &listen {
        if address.port() != 0 && !seen.insert(*address) {
            section.mistake("listen", format!("names {address} twice"));
        }
    }
    if listen.is_empty() && section.has("listen") && !section.is_spoiled("listen") {
        section.mistake(
            "listen",
            format!("names no address; write {ADDRESS}, or leave it out"),
        );
    }
    if listen.is_empty() {
        vec![SERVER_DEFAULT]
    } else {
        listen
    }
}

fn trusted_proxies(section: &mut Section<'_>) -> Vec<IpNet> {
    let networks = section.parse_each("trusted_proxies", NETWORK, network);
    if networks.iter().any(|network| network.prefix_len() == 0) {
        section.warn(
            "trusted_proxies",
            "believes everybody, so that any sender can choose the client address that is limited",
        );
    }
    networks
}

fn client_address_from(section: &mut Section<'_>) -> ClientAddressFrom {
    let choices = [
        ("x-forwarded-for", ClientAddressFrom::XForwardedFor),
        ("forwarded", ClientAddressFrom::Forwarded),
    ];
    section
        .one_of_now("client_address_from", &choices, &["proxy_protocol"])
        .unwrap_or(ClientAddressFrom::XForwardedFor)
}

fn token(section: &mut Section<'_>) -> Option<Presented> {
    let token = section.secret("token")?;
    if !token.expose().iter().all(u8::is_ascii_graphic) {
        section.mistake(
            "token",
            "holds characters that an Authorization header cannot carry; use visible ASCII without spaces",
        );
    }
    Some(token.to_presented())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("is not an address to listen on; write {ADDRESS} (an IP and a port)"))
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>();
    // One address is the network of itself.
    let network = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network
        .map(|network| network.trunc())
        .map_err(|_| format!("is not a network; write {NETWORK}"))
}

/// Whether two listeners would be in each other's way. Port 0 is another one each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip =
        one.ip() == other.ip() || covers(one.ip(), other.ip()) || covers(other.ip(), one.ip());
    one.port() != 0 && one.port() == other.port() && same_ip
}

/// `0.0.0.0` covers IPv4; `[::]` covers both, where the system lets it.
fn covers(wide: IpAddr, narrow: IpAddr) -> bool {
    wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
}

const SERVER_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);

const ADDRESS: &str = "an address such as \"0.0.0.0:8080\" or \"[::]:8080\"";
const NETWORK: &str = "a network such as \"10.0.0.0/8\", \"fd00::/8\" or \"192.0.2.7\"";
