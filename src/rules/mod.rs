//! The rules: pure decisions.
//!
//! Bytes and `now` go in, a decision comes out. No sockets, no tasks, no clock; only the configuration's
//! secrets are read from files and the environment, at load.

pub mod certificate;
pub mod chunks;
pub mod clean;
pub mod client;
pub mod config;
pub mod decoded;
pub mod diagnosis;
pub mod filter;
pub mod framing;
pub mod hmac;
pub mod json;
pub mod letterhead;
pub mod provider;
pub mod reader;
pub mod renewal;
pub mod retry;
pub mod subject;
