//! What the tests share: an app that records, a gateway to try, a sender, and a clock set by hand.

pub mod app;
pub mod clock;
pub mod frames;
pub mod gate;
pub mod operator;
pub mod panics;
pub mod process;
pub mod sender;
pub mod tls;
pub mod wire;
