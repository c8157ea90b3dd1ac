//! Who may use the admin API, and from where.
//!
//! Without a token it is for this machine only, over loopback or a Unix socket, and then a browser is the way in for strangers: a page can
//! make it send requests here, under a name that resolves to 127.0.0.1 even read the answers. So the name
//! it was called by must be no stranger's, and what changes something must not come from another origin nor
//! in a form's encoding.
//!
//! # Why
//! A name of any kind is fine for who shows the token: a page knows none, and in a container network every
//! gateway is called by a name.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Uri};

use crate::doors::admin::answer::Problem;
use crate::keepers::limit::ClientLimiter;
use crate::rules::client::ClientKey;
use crate::rules::config::Quota;
use crate::words::secret::Presented;
use crate::words::time::Clock;

/// Wrong tokens that a client may try.
const ATTEMPTS: Quota = Quota {
    count: NonZeroU32::new(30).unwrap(),
    per: Duration::from_secs(60),
    burst: NonZeroU32::new(30).unwrap(),
};

/// What guards the admin API.
pub struct Access {
    token: Arc<ArcSwapOption<Presented>>,
    attempts: ClientLimiter,
}

// === impl Access ===

impl Access {
    /// The guard of every admin listener, with the token of the moment.
    pub fn new(token: Arc<ArcSwapOption<Presented>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            token,
            attempts: ClientLimiter::new(ATTEMPTS, clock),
        }
    }

    /// Lets a request through to the API, or not. `is_local` says whether its listener can be reached from this
    /// machine only.
    ///
    /// # Errors
    /// Why not.
    pub fn check(
        &self,
        head: &Parts,
        peer: IpAddr,
        is_local: bool,
        has_body: bool,
    ) -> Result<(), Problem> {
        match &*self.token.load() {
            None if !is_local => Err(Problem::forbidden(
                "Beyond loopback the admin API needs a token: set admin.token in the configuration.",
            )),
            None => check_host(head),
            Some(token) => self.check_token(token, head, ClientKey::from(peer)),
        }?;
        match is_reading(&head.method) {
            true => Ok(()),
            false => check_change(head, has_body),
        }
    }

    fn check_token(
        &self,
        token: &Presented,
        head: &Parts,
        client: ClientKey,
    ) -> Result<(), Problem> {
        // Before anything is compared, or the limit would not limit guessing.
        if self.attempts.is_used_up(client) {
            let wait = self.attempts.standing(client).next_in;
            return Err(Problem::too_many("Too many wrong tokens from here.", wait));
        }
        let Some(shown) = bearer(head) else {
            // Who knows nothing of a token may as well be a page in a browser.
            check_host(head)?;
            return Err(Problem::unauthorized(
                "A token is needed: Authorization: Bearer …",
            ));
        };
        match Presented::find(std::slice::from_ref(token), shown) {
            Some(_) => Ok(()),
            None => {
                self.attempts.charge(client);
                Err(Problem::unauthorized("The token is not the right one."))
            }
        }
    }
}

fn is_reading(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// The token of a request that shows exactly one.
fn bearer(head: &Parts) -> Option<&[u8]> {
    let (scheme, token) = single(head, &AUTHORIZATION)?.split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then_some(token)
}

/// The name that a request was sent to must be no stranger's.
fn check_host(head: &Parts) -> Result<(), Problem> {
    let host = host(head).filter(|host| is_ours(host.host()));
    match (host, head.uri.host()) {
        (Some(_), None) => Ok(()),
        (Some(_), Some(target)) if is_ours(target) => Ok(()),
        (Some(_), Some(_)) | (None, _) => Err(Problem::forbidden(
            "Call the admin API by an IP address or localhost, or set a token.",
        )),
    }
}

fn host(head: &Parts) -> Option<Authority> {
    let host = Authority::try_from(single(head, &HOST)?).ok()?;
    (!host.as_str().contains('@')).then_some(host)
}

/// The address that is listened on is always one, and no name of a stranger is.
fn is_ours(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    address.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

/// What changes something must not be what a stranger's page can send.
fn check_change(head: &Parts, has_body: bool) -> Result<(), Problem> {
    let origins = head.headers.get_all(ORIGIN).iter();
    for origin in origins {
        let origin = Uri::try_from(origin.as_bytes()).ok();
        let origin = origin.as_ref().and_then(Uri::authority);
        if origin.is_none() || origin != host(head).as_ref() {
            return Err(Problem::forbidden("Other origins can change nothing here."));
        }
    }
    let is_json = || {
        single(head, &CONTENT_TYPE).is_some_and(|kind| {
            let essence = kind.split(|byte| *byte == b';').next().unwrap_or(kind);
            essence
                .trim_ascii()
                .eq_ignore_ascii_case(b"application/json")
        })
    };
    if has_body && !is_json() {
        // 403 and not 415: it is refused as what a form can send.
        return Err(Problem::forbidden(
            "A body must be sent with Content-Type: application/json.",
        ));
    }
    Ok(())
}

/// The value of a header that is there once.
fn single<'a>(head: &'a Parts, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = head.headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

const BEARER: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    use hyper::{Request, StatusCode};

    use super::*;
    use crate::words::secret::{Reference, Secret};
    use crate::words::time::SystemClock;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn access(token: Option<&str>) -> Access {
        let token = token.map(|token| {
            let token = token.as_bytes().to_vec();
            Secret::new(token, Reference::new("env:TOKEN")).to_presented()
        });
        Access::new(
            Arc::new(ArcSwapOption::new(token.map(Arc::new))),
            Arc::new(SystemClock::new()),
        )
    }

    fn status(access: &Access, method: &str, headers: &[(&str, &str)], has_body: bool) -> u16 {
        status_at(access, true, method, headers, has_body)
    }

    fn status_at(
        access: &Access,
        is_local: bool,
        method: &str,
        headers: &[(&str, &str)],
        has_body: bool,
    ) -> u16 {
        let mut request = Request::builder().method(method).uri("/api/v1/events");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        match access.check(&head, PEER, is_local, has_body) {
            Ok(()) => 200,
            Err(problem) => problem.into_answer().status().as_u16(),
        }
    }

    #[test]
    fn without_a_token_only_a_local_listener_serves_the_api() {
        let headers = [("host", "127.0.0.1:9180")];
        for (is_local, expected) in [(true, 200), (false, 403)] {
            let found = status_at(&access(None), is_local, "GET", &headers, false);
            assert_eq!(found, expected, "{is_local}");
        }
    }

    #[test]
    fn a_strangers_name_is_no_way_in() {
        let access = access(None);
        for (host, expected) in [
            ("127.0.0.1", 200),
            ("127.0.0.1:9180", 200),
            ("[::1]:9180", 200),
            ("LocalHost:1", 200),
            ("evil.example", 403),
            ("evil.example:9180", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example", 403),
            ("localhost@evil.example", 403),
            ("", 403),
        ] {
            assert_eq!(
                status(&access, "GET", &[("host", host)], false),
                expected,
                "{host}"
            );
        }
        assert_eq!(status(&access, "GET", &[], false), 403);
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(status(&access, "GET", &two, false), 403);
    }

    #[test]
    fn the_token_is_needed_whole_and_only_in_its_header() {
        let access = access(Some("a-long-token"));
        for (value, expected) in [
            ("Bearer a-long-token", 200),
            ("bearer a-long-token", 200),
            ("Bearer a-long-toke", 401),
            ("Bearer a-long-tokenn", 401),
            ("Bearer  a-long-token", 401),
            ("Basic a-long-token", 401),
            ("a-long-token", 401),
            ("", 401),
        ] {
            let headers = [("host", "gate.internal"), ("authorization", value)];
            let found = status(&access, "GET", &headers, false);
            // Without any token the name counts as well.
            let expected = match value.to_ascii_lowercase().starts_with("bearer ") {
                true => expected,
                false => 403,
            };
            assert_eq!(found, expected, "{value}");
        }
        let headers = [("host", "localhost")];
        assert_eq!(status(&access, "GET", &headers, false), 401);
    }

    #[test]
    fn guessing_tokens_ends_soon_and_not_for_others() {
        let access = access(Some("a-long-token"));
        let wrong = [("host", "x"), ("authorization", "Bearer wrong-token")];
        let right = [("host", "x"), ("authorization", "Bearer a-long-token")];
        for _ in 0..ATTEMPTS.burst.get() {
            assert_eq!(status(&access, "GET", &wrong, false), 401);
        }
        assert_eq!(status(&access, "GET", &wrong, false), 429);
        assert_eq!(status(&access, "GET", &right, false), 429);
        let request = Request::builder().header("authorization", "Bearer a-long-token");
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert!(
            access
                .check(&head, [192, 0, 2, 7].into(), false, false)
                .is_ok()
        );
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing() {
        let access = access(None);
        let json = ("content-type", "application/json");
        for (origin, expected) in [
            ("http://127.0.0.1:9180", 200),
            ("https://127.0.0.1:9180", 200),
            ("http://127.0.0.1:9181", 403),
            ("http://evil.example", 403),
            ("null", 403),
            ("", 403),
        ] {
            for method in ["POST", "DELETE"] {
                let headers = [("host", "127.0.0.1:9180"), ("origin", origin), json];
                assert_eq!(
                    status(&access, method, &headers, true),
                    expected,
                    "{method} {origin}"
                );
            }
        }
    }

    #[test]
    fn a_forms_body_changes_nothing() {
        let access = access(None);
        let post = |kind: Option<&str>, has_body| {
            let mut headers = vec![("host", "127.0.0.1:9180")];
            headers.extend(kind.map(|kind| ("content-type", kind)));
            status(&access, "POST", &headers, has_body)
        };
        for kind in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(post(Some(kind), true), 200, "{kind}");
        }
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/jsonp",
            "text/plain, application/json",
        ] {
            assert_eq!(post(Some(kind), true), 403, "{kind}");
        }
        assert_eq!(post(None, true), StatusCode::FORBIDDEN.as_u16());
        assert_eq!(post(None, false), 200);
    }
}
