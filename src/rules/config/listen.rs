//! A place to listen at: an address, a socket in the file system, or a socket that the service manager
//! opened and passes on.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// `"0.0.0.0:8080"`: an IP address and a port.
    Tcp(SocketAddr),
    /// `"unix:/run/passgate.sock"`: a socket in the file system.
    Unix(PathBuf),
    /// `"systemd:NAME"`: every socket that the service manager passes on under this name.
    Passed(String),
}

/// Completes "… is expected", and "write …".
pub const EXPECTED: &str = "an address such as \"0.0.0.0:8080\", \"[::]:8080\", \"unix:/run/passgate.sock\" or \"systemd:NAME\"";

// === impl Listen ===

impl Listen {
    /// Reads a place; the path of a socket may be relative to `folder`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn read(text: &str, folder: &Path) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return read_path(path, folder).map(Self::Unix);
        }
        if let Some(name) = text.strip_prefix(SYSTEMD) {
            return read_name(name).map(Self::Passed);
        }
        text.parse()
            .map(Self::Tcp)
            .map_err(|_| format!("is not an address to listen on; write {EXPECTED}"))
    }

    /// Whether two listeners would be in each other's way. Port 0 is another one each time.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                let same_ip = one.ip() == other.ip() || covers(one, other) || covers(other, one);
                one.port() != 0 && one.port() == other.port() && same_ip
            }
            (Self::Unix(_), Self::Unix(_)) | (Self::Passed(_), Self::Passed(_)) => self == other,
            (Self::Tcp(_) | Self::Unix(_) | Self::Passed(_), _) => false,
        }
    }

    /// The address, where it is one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) | Self::Passed(_) => None,
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text, Path::new(""))
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
            Self::Passed(name) => write!(f, "{SYSTEMD}{name}"),
        }
    }
}

fn read_path(path: &str, folder: &Path) -> Result<PathBuf, String> {
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return Err(
            "does not name a socket; write a path such as \"unix:/run/passgate.sock\"".into(),
        );
    }
    let path = folder.join(path);
    match path.as_os_str().len() {
        ..=PATH_BYTES_MAX => Ok(path),
        bytes => Err(format!(
            "is {bytes} bytes long with its folder, and the path of a socket can have {PATH_BYTES_MAX}"
        )),
    }
}

fn read_name(name: &str) -> Result<String, String> {
    let is_name = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':');
    match is_name {
        true => Ok(name.to_owned()),
        false => Err(
            "does not name a socket of systemd; write its FileDescriptorName, or else the name of its \
             unit, such as \"systemd:passgate.socket\""
                .to_owned(),
        ),
    }
}

/// `0.0.0.0` covers IPv4; `[::]` covers both, where the system lets it.
fn covers(wide: &SocketAddr, narrow: &SocketAddr) -> bool {
    wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
}

const UNIX: &str = "unix:";
const SYSTEMD: &str = "systemd:";

/// What the system's address of a socket has room for, less the byte that ends it.
const PATH_BYTES_MAX: usize = 107;

/// As systemd has it for a `FileDescriptorName`.
const NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_and_shown_alike() {
        for text in [
            "0.0.0.0:8080",
            "[::1]:0",
            "unix:/run/passgate.sock",
            "systemd:passgate.socket",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        let relative = Listen::read("unix:gate.sock", Path::new("/etc/passgate")).unwrap();
        assert_eq!(relative.to_string(), "unix:/etc/passgate/gate.sock");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let long = format!("unix:/{}", "x".repeat(PATH_BYTES_MAX));
        for text in [
            "",
            "8080",
            "localhost:8080",
            "unix:",
            "unix:/run/",
            "unix:/run/a\0b",
            &long,
            "systemd:",
            "systemd:a b",
            "systemd:a:b",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text:?}");
        }
        assert!(long[..long.len() - 1].parse::<Listen>().is_ok());
    }

    #[test]
    fn two_are_in_each_others_way_only_where_the_system_would_refuse_the_second() {
        for (one, other, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
            ("unix:/a", "systemd:a", false),
            ("systemd:a", "systemd:a", true),
        ] {
            let [one, other] = [one, other].map(|text| text.parse::<Listen>().unwrap());
            assert_eq!(one.overlaps(&other), expected, "{one} {other}");
            assert_eq!(other.overlaps(&one), expected, "{other} {one}");
        }
    }
}
