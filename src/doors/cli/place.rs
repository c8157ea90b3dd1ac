//! Where a running gateway is for its operator: where its configuration says, or said outright.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use hyper::Uri;

use crate::doors::cli::http::{self, HttpClient};
use crate::doors::cli::terminal::{complain, complain_all};
use crate::rules::config::listen::Listen;
use crate::rules::config::{Config, file};
use crate::rules::reader::remark::listing;

/// The arguments that say where the gateway is.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// The gateway's configuration, for where its admin API is.
    #[arg(long, value_name = "FILE", default_value = "config.toml")]
    config: PathBuf,
    /// The admin API, instead of what the configuration says.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    admin: Option<Uri>,
}

/// An admin listener.
pub struct Base {
    /// Scheme and authority, without a final slash.
    pub url: String,
    /// The Unix socket that it is reached over, if it is one.
    pub socket: Option<PathBuf>,
    is_https: bool,
}

/// Why it is not known where.
#[derive(Debug)]
pub enum Nowhere {
    /// The arguments make no sense together.
    Usage(String),
    /// The configuration cannot be used; it has been said why.
    Configuration,
}

// === impl Place ===

impl Place {
    /// The admin listener that is meant, and the configuration that said so. No secret is looked up.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self) -> Result<(Base, Option<Config>), Nowhere> {
        if let Some(admin) = &self.admin {
            let (url, is_https) = base(admin).map_err(Nowhere::Usage)?;
            let base = Base {
                url,
                socket: None,
                is_https,
            };
            return Ok((base, None));
        }
        let (config, _) = file::load(&self.config, None).map_err(|remarks| {
            complain_all(&listing(&self.config, &remarks));
            complain("note: --admin URL names a gateway without a configuration");
            Nowhere::Configuration
        })?;
        let (url, socket) = reachable(&config.admin.listen).ok_or_else(|| {
            let passed =
                "admin.listen names only what systemd passes on; say with --admin where that is";
            Nowhere::Usage(passed.to_owned())
        })?;
        let base = Base {
            url,
            socket,
            is_https: false,
        };
        Ok((base, Some(config)))
    }

    /// The folder that relative paths of the configuration start from.
    pub fn folder(&self) -> &Path {
        self.config.parent().unwrap_or(Path::new(""))
    }
}

// === impl Base ===

impl Base {
    /// A client that reaches it.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn client(&self) -> Result<HttpClient, String> {
        match &self.socket {
            Some(socket) => http::client_at(socket),
            None => http::client(self.is_https),
        }
    }

    /// Where it is, for people.
    pub fn shown(&self) -> String {
        match &self.socket {
            Some(socket) => format!("unix:{}", socket.display()),
            None => self.url.clone(),
        }
    }
}

fn base(admin: &Uri) -> Result<(String, bool), String> {
    let example = "like http://127.0.0.1:9180";
    let (Some(scheme), Some(authority)) = (admin.scheme_str(), admin.authority()) else {
        return Err(format!("--admin needs a whole URL, {example}"));
    };
    if !matches!(scheme, "http" | "https") {
        return Err("--admin can be http:// or https:// only".to_owned());
    }
    if authority.as_str().contains('@') {
        return Err(
            "--admin cannot hold a user or password; the token goes with --token".to_owned(),
        );
    }
    let path = admin.path().trim_end_matches('/');
    if admin.query().is_some() || !matches!(path, "" | "/api/v1") {
        return Err(format!("--admin ends after the port, {example}"));
    }
    Ok((format!("{scheme}://{authority}"), scheme == "https"))
}

/// The base and the socket of where an admin API is best reached: over a Unix socket or loopback, where no token is
/// needed, or else wherever it listens.
fn reachable(places: &[Listen]) -> Option<(String, Option<PathBuf>)> {
    let socket = places.iter().find_map(|place| match place {
        Listen::Unix(path) => Some(path.clone()),
        Listen::Tcp(_) | Listen::Passed(_) => None,
    });
    let addresses = || places.iter().filter_map(Listen::tcp);
    let address = addresses().find(|address| address.ip().is_loopback());
    match (address, socket) {
        (Some(address), _) => Some((format!("http://{address}"), None)),
        (None, Some(socket)) => Some(("http://localhost".to_owned(), Some(socket))),
        (None, None) => Some((format!("http://{}", on_loopback(addresses().next()?)), None)),
    }
}

/// Who listens everywhere is reached on loopback.
fn on_loopback(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    listen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_url_is_cut_to_its_authority() {
        for (url, expected) in [
            ("http://127.0.0.1:9180", "http://127.0.0.1:9180"),
            ("http://gate:9180/", "http://gate:9180"),
            ("https://gate/api/v1/", "https://gate"),
        ] {
            assert_eq!(base(&url.parse().unwrap()).unwrap().0, expected, "{url}");
        }
        for url in [
            "127.0.0.1:9180",
            "/api/v1",
            "ftp://gate/",
            "http://token@gate/",
            "http://gate/metrics",
            "http://gate/?token=x",
        ] {
            assert!(base(&url.parse().unwrap()).is_err(), "{url}");
        }
    }

    #[test]
    fn the_way_that_needs_no_token_is_taken_first() {
        for (places, expected) in [
            (&["0.0.0.0:9180"][..], Some("http://127.0.0.1:9180")),
            (&["[::]:9180"], Some("http://[::1]:9180")),
            (&["192.0.2.1:9180"], Some("http://192.0.2.1:9180")),
            (&["0.0.0.0:9180", "[::1]:9181"], Some("http://[::1]:9181")),
            (
                &["0.0.0.0:9180", "unix:/a"],
                Some("http://localhost over /a"),
            ),
            (&["systemd:a", "unix:/a"], Some("http://localhost over /a")),
            (&["systemd:a"], None),
        ] {
            let places: Vec<Listen> = places.iter().map(|place| place.parse().unwrap()).collect();
            let found = reachable(&places).map(|(base, socket)| match socket {
                Some(socket) => format!("{base} over {}", socket.display()),
                None => base,
            });
            assert_eq!(found.as_deref(), expected, "{places:?}");
        }
    }
}
