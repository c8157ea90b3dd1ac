//! The keepers: what must be remembered from one request to the next.
//!
//! Quotas, metrics, the log, the ledger's claims and its durable store, and the event that carries the
//! proof of what was done to it. None of them knows HTTP servers or clients.

pub mod breaker;
pub mod event;
pub mod ledger;
pub mod limit;
pub mod log;
pub mod metrics;
pub mod recent;
pub mod rest;
pub mod store;
