//! Where the gateway's admin API is, and the token for it: from the configuration, or said outright.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use hyper::Uri;

use crate::doors::cli::events::Failed;
use crate::doors::cli::secrets::source;
use crate::doors::cli::terminal::{complain, complain_all};
use crate::rules::config::file;
use crate::rules::config::listen::Listen;
use crate::rules::config::surroundings::Surroundings;
use crate::rules::reader::remark::listing;
use crate::rules::reader::secrets::Secrets;
use crate::words::secret::Secret;

/// The arguments that say where the gateway is.
#[derive(Debug, clap::Args)]
pub struct Way {
    /// The gateway's configuration, for the address of its admin API and its token.
    #[arg(long, value_name = "FILE", default_value = "config.toml")]
    config: PathBuf,
    /// The admin API, instead of what the configuration says.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    admin: Option<Uri>,
    /// The token, instead of the configuration's: env:NAME or file:PATH.
    #[arg(long, value_name = "REF")]
    token: Option<String>,
}

/// An admin API.
pub struct Target {
    /// Scheme and authority, without a final slash.
    pub base: String,
    /// The Unix socket that it is reached over, if it is one.
    pub socket: Option<PathBuf>,
    /// Whether it is reached over TLS.
    pub is_https: bool,
    /// The token to show.
    pub token: Option<Secret>,
}

// === impl Target ===

impl Target {
    /// Where it is, for people.
    pub fn shown(&self) -> String {
        match &self.socket {
            Some(socket) => format!("unix:{}", socket.display()),
            None => self.base.clone(),
        }
    }
}

// === impl Way ===

impl Way {
    /// The admin API that is meant.
    pub(super) fn target(&self) -> Result<Target, Failed> {
        let token = self.token.as_deref();
        let given = token.map(|token| resolved("--token", source(), token));
        let given = given.transpose()?;
        if let Some(admin) = &self.admin {
            let (base, is_https) = base(admin).map_err(Failed::Usage)?;
            return Ok(Target {
                base,
                socket: None,
                is_https,
                token: given,
            });
        }
        // No secret but the token is needed, so none is looked up.
        let (config, _) = file::load(&self.config, None).map_err(|remarks| {
            complain_all(&listing(&self.config, &remarks));
            complain("note: --admin URL names a gateway without a configuration");
            Failed::Configuration
        })?;
        let folder = self.config.parent().unwrap_or(Path::new(""));
        let configured = config.admin.token.as_ref().filter(|_| given.is_none());
        let configured = configured.map(|token| {
            let reference = token.reference().as_str();
            resolved(
                "admin.token",
                Secrets::From(&Surroundings, folder),
                reference,
            )
        });
        let (base, socket) = reachable(&config.admin.listen).ok_or_else(|| {
            let passed =
                "admin.listen names only what systemd passes on; say with --admin where that is";
            Failed::Usage(passed.to_owned())
        })?;
        Ok(Target {
            base,
            socket,
            is_https: false,
            token: given.or(configured.transpose()?),
        })
    }
}

fn resolved(what: &str, secrets: Secrets<'_>, reference: &str) -> Result<Secret, Failed> {
    secrets
        .resolve(reference)
        .map(|resolved| resolved.secret)
        .map_err(|problem| {
            complain(&format!("{what}: {problem}"));
            Failed::Configuration
        })
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
