//! Behaviour through real sockets: a gateway in this process, or the real binary, before an app that
//! records every byte it is sent.

// Clippy knows tests by their attribute and takes their helpers for production code.
#![allow(clippy::unwrap_used)]

mod support;

/// The first event, and what the app receives of it.
mod clean;

/// Each way a request can end: its status, its headers, its line in the log and its count.
mod outcomes;

/// How requests are framed and cut: ambiguous ones, early refusals, slow senders, paths and hosts.
mod framing;

/// Certificates from a real authority.
mod acme;

/// More connections than there are places.
mod crowds;

/// TLS with senders.
mod tls;

/// HTTP/2 inside of it.
mod http2;

/// The memory that heads of HTTP/2 take, and who waits for it.
mod heads;

/// Quotas of routes and of clients, and the numbers they tell.
mod quotas;

/// The app's side, broken and hostile.
mod upstream;

/// No secret comes out, whatever happens.
mod secrets;

/// Bytes of any kind, and true requests with something broken in them.
mod hostile;

/// Events that outlive an app's absence.
mod delivery;

/// Stored events that are delivered while others come in.
mod turns;

/// Outages: what is tried, what is left alone, and what is given up.
mod outages;

/// What is the same event, and what becomes of the second one.
mod dedupe;

/// The disk that the store's faults happen on, which it has in common with the crash tests of the store.
#[path = "../crash/disk.rs"]
mod disk;

/// A store in trouble, and the way out of it.
mod faults;

/// Every platform, from its request to what the app is told.
mod providers;

/// The same event several times at once.
mod races;

/// Proxies that name their clients by the PROXY protocol.
mod proxied;

/// The configuration read anew.
mod reload;

/// Stops, starts and kills.
mod restart;

/// One process after the other on one store.
mod handover;
/// Events without a route, until it is back.
mod parked;

/// Unix sockets, and sockets that a service manager passes on.
mod listeners;

/// The end: who is told of it, who is still served, and when it is over.
mod drain;

/// What the process tells a service manager, and what it asks of the system.
mod service;

/// The operator's side: what is listed, who may ask, and what is sent again.
mod admin;
