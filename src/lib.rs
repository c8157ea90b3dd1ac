//! passgate: a gateway that receives the webhooks of wallet platforms for an app.
//!
//! It verifies each request over its raw bytes, keeps duplicates away with a durable ledger, limits rates,
//! keeps events safe while the app is away, and forwards only clean ones. This page is the map; every folder and file says at its head what it
//! holds and what it refuses to do.
//!
//! # The life of an event
//!
//! ```text
//!   socket ─▶ guard ─▶ route ─▶ head ─▶ client lane ─▶ body ─▶ VERIFY ─▶ CLAIM ─▶ quota ─▶ clean ─▶ app
//!             doors/   work/    work/   keepers/       work/   rules/    keepers/ keepers/ rules/   │
//!             server   routes   head    limit          body    provider  ledger   limit    clean    ▼
//!                                                                                       SETTLE ◀── 2xx
//!   answer ◀─ one Outcome decides status, headers, metric and log line ◀─────────────── keepers/store
//!                                                                                        ▲ push   │ due
//!   not now, or not taken: the event goes to the queue with its keys, in one commit ─────┘        ▼
//!                                                              app ◀─ clean ◀─ breaker, place, quota ◀─ worker
//! ```
//!
//! [`work::ingest`] tells it in order, on one screen; [`work::live`] brings it as far as it goes while its sender
//! waits, [`work::delivery`] the rest of the way. The order is the security: nothing is remembered of
//! a request before it is verified, no quota is charged for a duplicate, and no 2xx leaves before the event
//! is settled or stored, and synced.
//!
//! # The floors
//!
//! | floor | what it is | what it may import |
//! |---|---|---|
//! | [`words`] | plain values: message, verdict, outcome, identity, secret, time | nothing of ours |
//! | [`rules`] | decisions: configuration, providers, framing, the clean request; pure but for reading the configuration's files | words |
//! | [`keepers`] | what is remembered: ledger, store, quotas, metrics, log, the typed event | rules and below |
//! | [`work`] | what happens to a request | keepers and below |
//! | [`doors`] | sockets, TLS, the operator's side, command line, reload, wiring | all |
//!
//! Imports go downward or stay on their floor, never in a circle; a test reads the `use` lines.
//!
//! # What is deliberately absent
//!
//! - No module but [`keepers::store`] knows redb, none but [`keepers::limit`] knows governor. Connections of
//!   hyper are known to [`doors`], its messages to [`work`], and nothing below knows more of it than methods, headers
//!   and statuses. Apps are spoken to by [`work::pool`] alone.
//! - No way from a message to the app but through [`keepers::event`]: the forwarder takes an
//!   [`Event<Clean>`](keepers::event::Clean), and only verification, a claim and the fate `Deliver` make one.
//! - No handshake, certificate or version of HTTP beyond [`doors::server`]: the gate is handed a request, and a
//!   note of what was found out about its head.
//! - No mode without the ledger: a store that fails answers 503, it is never replaced by memory.
//! - No re-serialised body, no normalised path, no second HTTP parser.
//! - No `unsafe`, no global state, and nobody asks for the time who was not handed a clock.

pub mod doors;
pub mod keepers;
pub mod rules;
pub mod words;
pub mod work;
