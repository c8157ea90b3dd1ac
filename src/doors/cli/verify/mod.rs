//! `passgate verify`: whether a captured request verifies, and if not, why.

mod captured;
mod report;

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri, Version};

use crate::doors::cli::terminal::{complain, complain_all, say};
use crate::doors::cli::verify::captured::Captured;
use crate::doors::cli::{CONFIGURATION, DONE, REFUSED, USAGE, provider_parser, secrets};
use crate::rules::diagnosis::Case;
use crate::rules::provider::{Kind, Provider};
use crate::rules::reader;
use crate::rules::reader::remark::{Remark, listing};
use crate::words::message::{Head, Message, RequestId};
use crate::words::secret::Secret;
use crate::words::time::{Clock, SystemClock, Timestamp};
use crate::words::verdict::{Fate, Unverified, Verdict};

/// What `verify` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Who sent the request.
    #[arg(value_parser = provider_parser())]
    provider: &'static Kind,
    /// The body, byte for byte as it came; `-` reads it from stdin.
    #[arg(value_name = "BODY_FILE")]
    body: Option<PathBuf>,
    /// A secret of the route: env:NAME or file:PATH. Can be given several times.
    #[arg(long = "secret", value_name = "REF")]
    secrets: Vec<String>,
    /// A header of the request. Can be given several times.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = read_header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The whole request in one file instead: request line, headers, an empty line, body.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["body", "headers", "target", "method"])]
    request: Option<PathBuf>,
    /// The request's path and query.
    #[arg(long, value_name = "/PATH?QUERY")]
    target: Option<Uri>,
    /// The request's method, where the provider uses several.
    #[arg(long)]
    method: Option<Method>,
    /// Judge freshness as if it were this time (RFC 3339), instead of now.
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    at: Option<Timestamp>,
    /// A line of [route.verify], such as 'max_age = "24h"'. Can be given several times.
    #[arg(long = "option", value_name = "KEY = VALUE")]
    options: Vec<String>,
    /// The route's name, which is part of the idempotency key. Default: the provider's name.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
}

/// Shown below the help.
pub const EXAMPLE: &str = "\
Examples:
  passgate verify walletwerk --secret env:WALLETWERK_SECRET \\
      --header 'X-WalletWerk-Signature: 5694e3…' body.json
  passgate verify wallit --secret file:path-secret --request captured.http

Exit codes: 0 it verifies and would be delivered, 1 it does not, 2 wrong usage,
78 a secret cannot be had, or it or an --option is not right. No secret and no credential is printed.";

/// Judges the request and gives the exit code.
pub fn run(arguments: &Arguments) -> u8 {
    let kind = arguments.provider;
    let Some(secrets) = secrets::resolve(&arguments.secrets) else {
        return CONFIGURATION;
    };
    let provider = match build(kind, &secrets, &arguments.options) {
        Ok(provider) => provider,
        Err(remarks) if arguments.secrets.is_empty() && arguments.options.is_empty() => {
            for remark in remarks {
                complain(&remark.message);
            }
            complain("give the secret with --secret, and lines of [route.verify] with --option");
            return USAGE;
        }
        Err(remarks) => {
            complain_all(&listing(Path::new("--option"), &remarks));
            return CONFIGURATION;
        }
    };
    let captured = match capture(arguments) {
        Ok(captured) => captured,
        Err(problem) => {
            complain(&problem);
            return USAGE;
        }
    };
    let now = arguments.at.unwrap_or_else(|| SystemClock::new().now());
    let message = message(captured, now);
    let judged = judge(&*provider, &message, now);
    let case = Case {
        message: &message,
        secrets: &secrets,
        now,
    };
    let route = arguments.route.as_deref().unwrap_or(kind.name);
    say(&report::text(&*provider, &case, route, &judged));
    match judged {
        Ok(Verdict {
            fate: Fate::Deliver,
            ..
        }) if kind.methods.contains(&message.head.method) => DONE,
        Ok(_) | Err(_) => REFUSED,
    }
}

fn build(
    kind: &Kind,
    secrets: &[Secret],
    options: &[String],
) -> Result<Arc<dyn Provider>, Vec<Remark>> {
    let read = reader::read(&options.join("\n"), secrets::source(), |section| {
        (kind.build)(secrets.to_vec(), section)
    });
    match read.value {
        Some(provider) if !read.remarks.iter().any(Remark::is_mistake) => Ok(provider),
        Some(_) | None => Err(read.remarks),
    }
}

/// In the gateway's order: the head first, then that there is a body, then all of it.
fn judge(
    provider: &dyn Provider,
    message: &Message,
    now: Timestamp,
) -> Result<Verdict, Unverified> {
    let kind = provider.kind();
    for name in kind.deciding_headers {
        message
            .head
            .single(name)
            .map_err(|_| Unverified::Ambiguous)?;
    }
    let screened = provider.screen(&message.head)?;
    if kind.needs_body && message.body.is_empty() {
        return Err(Unverified::Empty);
    }
    provider.verify(message, screened, now)
}

fn capture(arguments: &Arguments) -> Result<Captured, String> {
    if let Some(file) = &arguments.request {
        let bytes = contents(file)?;
        return captured::read(&bytes).map_err(|mistake| format!("{}:{mistake}", file.display()));
    }
    let kind = arguments.provider;
    let body = match &arguments.body {
        Some(file) => contents(file)?,
        None if kind.needs_body => {
            return Err(
                "name the file with the body, or the whole request with --request".to_owned(),
            );
        }
        None => Vec::new(),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &arguments.headers {
        headers.append(name, value.clone());
    }
    let usual = kind.methods.first().cloned().unwrap_or(Method::POST);
    Ok(Captured {
        method: arguments.method.clone().unwrap_or(usual),
        uri: arguments.target.clone().unwrap_or_default(),
        headers,
        body,
    })
}

fn contents(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = match file == Path::new("-") {
        true => io::stdin().lock().read_to_end(&mut bytes),
        false => std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
    }
}

fn message(captured: Captured, now: Timestamp) -> Message {
    Message {
        head: Head {
            method: captured.method,
            uri: captured.uri,
            headers: captured.headers,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            version: Version::HTTP_11,
            is_secure: false,
            received_at: now,
            request_id: RequestId::new(0),
        }
        .into(),
        body: captured.body.into(),
    }
}

fn read_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    captured::header(text.as_bytes()).ok_or_else(|| "write it as 'Name: value'".to_owned())
}

fn read_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text)
        .ok_or_else(|| "write it like 2025-12-09T10:30:00Z, with Z or an offset".to_owned())
}
