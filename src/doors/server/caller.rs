//! Whom a connection is with, and the way of each of its requests to the gate.

use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{Request, Response};

use crate::doors::server::places::Place;
use crate::doors::server::tls::Tls;
use crate::rules::framing::Flaw;
use crate::work::head::HeadNote;
use crate::work::ingest::{Arrived, Gate};

/// The other side of a connection.
pub struct Caller {
    /// Where its requests go.
    pub gate: Arc<Gate>,
    /// Its address.
    pub peer: IpAddr,
    /// Its place.
    pub place: Arc<Place>,
    /// What TLS said of it; `None` in plain text.
    pub secured: Option<Asked>,
}

/// What a sender asked TLS for.
pub struct Asked {
    /// What answered it.
    pub tls: Arc<Tls>,
    /// The name, if there was one.
    pub name: Option<String>,
}

// === impl Caller ===

impl Caller {
    /// Takes in a request, of whose head `note` tells.
    ///
    /// # Why
    /// A request is large, and every step of a way that is waited on hands it to the next. What this gives is small.
    pub fn take_in(&self, request: Request<Incoming>, mut note: HeadNote) -> Arrived {
        self.place.heard();
        if let Some(asked) = &self.secured {
            note.is_secure = true;
            if note.flaw.is_none() && asked.is_for_another_host(&request) {
                note.flaw = Some(Flaw::OtherHost);
            }
        }
        self.gate.take_in(request, self.peer, note)
    }

    /// Takes a request to its answer.
    pub async fn answer(&self, arrived: Arrived) -> Response<Full<Bytes>> {
        let work = match self.gate.receive(arrived).await {
            Ok(work) => work,
            Err(refusal) => {
                self.place.refused();
                return refusal;
            }
        };
        let Some(asking) = self.place.begin() else {
            // The connection is closed now, with nothing begun.
            return pending().await;
        };
        let (response, is_new) = work.done().await;
        if is_new {
            asking.proven();
        }
        response
    }
}

// === impl Asked ===

impl Asked {
    fn is_for_another_host(&self, request: &Request<Incoming>) -> bool {
        let host = request.headers().get(HOST);
        let Some(host) = host.and_then(|host| Authority::try_from(host.as_bytes()).ok()) else {
            return false;
        };
        let host = host.host().trim_matches(['[', ']']);
        self.tls.is_misdirected(self.name.as_deref(), host)
    }
}
