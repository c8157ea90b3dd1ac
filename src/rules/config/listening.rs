//! `[server]` and `[admin]`: the addresses to listen on, and whose word on the client's address counts.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use ipnet::IpNet;

use crate::rules::config::drain::drain;
use crate::rules::config::listen::{EXPECTED, Listen};
use crate::rules::config::{Admin, ClientAddressFrom, Server, limits, tls};
use crate::rules::reader::Section;
use crate::words::limits::Limits;
use crate::words::secret::Presented;

/// What a peer on a Unix socket counts as: it is a process of this machine.
pub const UNIX_PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Reads `[server]`; relative paths start from the configuration's folder.
pub fn server(section: &mut Section<'_>, folder: &Path) -> Server {
    let trusted_proxies = trusted_proxies(section);
    let server = Server {
        listen: listen(section, folder, SERVER_DEFAULT),
        socket_mode: socket_mode(section),
        limits: limits(section),
        drain: drain(section),
        client_address_from: client_address_from(section, &trusted_proxies),
        trusted_proxies,
        tls: tls::tls(section.section("tls"), folder),
    };
    warn_of_a_distrusted_socket(section, &server);
    server
}

/// Reads `[admin]`.
pub fn admin(section: &mut Section<'_>, folder: &Path) -> Admin {
    Admin {
        listen: listen(section, folder, ADMIN_DEFAULT),
        socket_mode: socket_mode(section),
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
    let is_shared = |listen: &&Listen| admin.listen.iter().any(|other| listen.overlaps(other));
    let Some(shared) = server.listen.iter().find(is_shared) else {
        return;
    };
    let message = |other: &str| {
        format!("server.listen and admin.listen share {shared}; give {other} another place")
    };
    if admin_section.has("listen") {
        admin_section.mistake("listen", message("one of them"));
    } else {
        // The default of the other section is in the way of what is written here.
        server_section.mistake("listen", message("the server"));
    }
}

fn listen(section: &mut Section<'_>, folder: &Path, default: SocketAddr) -> Vec<Listen> {
    let read = |text: &str| Listen::read(text, folder);
    let listen = section.parse_one_or_each("listen", EXPECTED, read);
    let mut seen = HashSet::new();
    for place in &listen {
        let is_any_port = place.tcp().is_some_and(|address| address.port() == 0);
        if !is_any_port && !seen.insert(place) {
            section.mistake("listen", format!("names {place} twice"));
        }
    }
    if listen.is_empty() && section.has("listen") && !section.is_spoiled("listen") {
        section.mistake(
            "listen",
            format!("names no address; write {EXPECTED}, or leave it out"),
        );
    }
    if listen.is_empty() {
        vec![default.into()]
    } else {
        listen
    }
}

fn limits(section: &mut Section<'_>) -> Limits {
    let mut inner = section.section("limits");
    let limits = limits::limits(&mut inner);
    inner.finish();
    limits
}

fn socket_mode(section: &mut Section<'_>) -> u32 {
    section
        .parse("socket_mode", MODE, mode)
        .unwrap_or(MODE_DEFAULT)
}

/// Everybody on the socket would be one client, with one quota of failed verifications and one client's
/// share of connections.
fn warn_of_a_distrusted_socket(section: &mut Section<'_>, server: &Server) {
    let is_trusted = |network: &IpNet| network.contains(&UNIX_PEER);
    let has_socket = server
        .listen
        .iter()
        .any(|listen| matches!(listen, Listen::Unix(_)));
    if has_socket && !server.trusted_proxies.iter().any(is_trusted) {
        section.warn(
            "listen",
            format!(
                "whoever connects to a Unix socket counts as {UNIX_PEER}, so all senders behind it are one \
                 client; name {UNIX_PEER} in trusted_proxies if it is a proxy that says who they are"
            ),
        );
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

fn client_address_from(section: &mut Section<'_>, trusted: &[IpNet]) -> ClientAddressFrom {
    let choices = [
        ("x-forwarded-for", ClientAddressFrom::XForwardedFor),
        ("forwarded", ClientAddressFrom::Forwarded),
        ("proxy_protocol", ClientAddressFrom::ProxyProtocol),
    ];
    let from = section
        .one_of("client_address_from", &choices)
        .unwrap_or(ClientAddressFrom::XForwardedFor);
    if from == ClientAddressFrom::ProxyProtocol && trusted.is_empty() {
        section.mistake(
            "client_address_from",
            "asks proxies for a header that nobody else may send, but trusted_proxies names none",
        );
    }
    from
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

/// Permissions as `chmod` takes them, in octal digits.
fn mode(text: &str) -> Result<u32, String> {
    let is_octal = matches!(text.len(), 3..=4) && text.bytes().all(|byte| byte.is_ascii_digit());
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| is_octal && *mode <= 0o777)
        .ok_or_else(|| format!("is not a mode; write {MODE}"))
}

/// Reads one network, or one address.
pub fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>();
    // One address is the network of itself.
    let network = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network
        .map(|network| network.trunc())
        .map_err(|_| format!("is not a network; write {NETWORK}"))
}

const SERVER_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);

/// The owner and the group, so that a proxy in the group may connect.
const MODE_DEFAULT: u32 = 0o660;

const MODE: &str = "octal digits such as \"0660\"";
/// What [`network`] takes.
pub const NETWORK: &str = "a network such as \"10.0.0.0/8\", \"fd00::/8\" or \"192.0.2.7\"";
