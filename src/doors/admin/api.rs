//! The admin API's table: which paths there are, what methods they take, and who answers.

use std::net::IpAddr;

use hyper::Method;
use hyper::http::request::Parts;

use crate::doors::admin::answer::{Answer, Problem};
use crate::doors::admin::{Admin, parameters};

/// What a path below [`ROOT`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// `events`
    Events,
    /// `events/{id}`
    Event(&'a str),
    /// `events/{id}/body`
    EventBody(&'a str),
    /// `events/{id}/replay`
    EventReplay(&'a str),
    /// `replays`
    Replays,
    /// `replays/{id}`
    Replay(&'a str),
    /// `rejections`
    Rejections,
    /// `routes`
    Routes,
    /// `reload`
    Reload,
}

/// The resource at `path`. Nothing is decoded or normalised: no id needs it.
///
/// # Errors
/// If there is none.
pub fn find(path: &str) -> Result<Resource<'_>, Problem> {
    let segments: Option<Vec<&str>> = path
        .strip_prefix(ROOT)
        .map(|below| below.split('/').collect());
    Ok(match segments.as_deref() {
        Some(["events"]) => Resource::Events,
        Some(["events", id]) => Resource::Event(id),
        Some(["events", id, "body"]) => Resource::EventBody(id),
        Some(["events", id, "replay"]) => Resource::EventReplay(id),
        Some(["replays"]) => Resource::Replays,
        Some(["replays", id]) => Resource::Replay(id),
        Some(["rejections"]) => Resource::Rejections,
        Some(["routes"]) => Resource::Routes,
        Some(["reload"]) => Resource::Reload,
        Some(_) | None => return Err(Problem::not_found("There is nothing here.")),
    })
}

/// Whether a resource takes a method.
///
/// # Errors
/// If it does not.
pub fn check_method(resource: Resource<'_>, method: &Method) -> Result<(), Problem> {
    let allowed = match resource {
        Resource::Events
        | Resource::Event(_)
        | Resource::EventBody(_)
        | Resource::Rejections
        | Resource::Routes => "GET, HEAD",
        Resource::EventReplay(_) | Resource::Reload => "POST",
        Resource::Replays => "GET, HEAD, POST",
        Resource::Replay(_) => "GET, HEAD, DELETE",
    };
    match allowed.split(", ").any(|name| name == method.as_str()) {
        true => Ok(()),
        false => Err(Problem::method(allowed)),
    }
}

impl Admin {
    /// Has the resource answer; the method is one that it takes.
    pub(super) async fn call(
        &self,
        resource: Resource<'_>,
        head: &Parts,
        body: &[u8],
        peer: IpAddr,
    ) -> Result<Answer, Problem> {
        let query = head.uri.query();
        let takes_body = resource == Resource::Replays && head.method == Method::POST;
        if !takes_body {
            parameters::nothing(body)?;
        }
        match resource {
            Resource::Events => self.events(query).await,
            Resource::Event(id) => self.event(id, query).await,
            Resource::EventBody(id) => self.event_body(id, query, peer).await,
            Resource::EventReplay(id) => self.replay_event(id, query, peer).await,
            Resource::Replays if takes_body => self.create_replay(query, body, peer).await,
            Resource::Replays => self.list_replays(query),
            Resource::Replay(id) if head.method == Method::DELETE => {
                self.cancel_replay(id, query, peer).await
            }
            Resource::Replay(id) => self.show_replay(id, query),
            Resource::Rejections => self.rejections(query),
            Resource::Routes => self.routes(query),
            Resource::Reload => self.reload(query, peer).await,
        }
    }
}

const ROOT: &str = "/api/v1/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_as_it_is_written_or_not_at_all() {
        assert_eq!(find("/api/v1/events").ok(), Some(Resource::Events));
        assert_eq!(
            find("/api/v1/events/evt_1/body").ok(),
            Some(Resource::EventBody("evt_1"))
        );
        assert_eq!(
            find("/api/v1/replays/rpl_1").ok(),
            Some(Resource::Replay("rpl_1"))
        );
        for path in [
            "/",
            "/api/v1",
            "/api/v1/",
            "/api/v1//events",
            "/api/v1/events/evt_1/body/",
            "/api/v1/events/evt_1/delete",
            "/api/v1/Events",
            "/api/v1/%65vents",
            "/api/v2/events",
            "/api/v1/../v1/events",
        ] {
            assert!(find(path).is_err(), "{path}");
        }
    }

    #[test]
    fn each_resource_takes_its_methods_and_no_others() {
        for (resource, methods) in [
            (Resource::Events, &["GET", "HEAD"][..]),
            (Resource::EventReplay(""), &["POST"]),
            (Resource::Reload, &["POST"]),
            (Resource::Replays, &["GET", "HEAD", "POST"]),
            (Resource::Replay(""), &["GET", "HEAD", "DELETE"]),
        ] {
            for method in [
                "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GE",
            ] {
                let is_taken =
                    check_method(resource, &Method::from_bytes(method.as_bytes()).unwrap()).is_ok();
                assert_eq!(is_taken, methods.contains(&method), "{resource:?} {method}");
            }
        }
    }
}
