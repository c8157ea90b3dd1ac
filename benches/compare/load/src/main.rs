//! What stands around a gateway while it is measured: the sender of signed events and the app behind it.
//!
//! `load app …` is the app; `load blast …` sends as fast as answers come; `load paced …` sends at a fixed
//! rate. Each takes words like `to=127.0.0.1:8080` (see the head of its module) and prints one line of JSON.
//!
//! # Why
//! Each request carries a body of its own that is signed as it is sent: a gateway that dedupes by content
//! would call one presigned body a duplicate, and would be measured doing less than its work.

mod app;
mod blast;
mod events;
mod paced;
mod report;
mod wire;
mod words;

use words::Words;

fn main() {
    let mut given = std::env::args().skip(1);
    let command = given.next().unwrap_or_default();
    let words = Words::read(given);
    match command.as_str() {
        "app" => app::run(&words),
        "blast" => blast::run(&words),
        "paced" => paced::run(&words),
        _ => {
            eprintln!("load app|blast|paced name=value …");
            std::process::exit(2);
        }
    }
}
