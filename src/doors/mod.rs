//! The doors: sockets, the command line, and the wiring of everything else.

pub mod admin;
pub mod cli;
pub mod gateway;
pub mod listener;
pub mod notify;
mod process;
pub mod reload;
mod sentinel;
pub mod server;
