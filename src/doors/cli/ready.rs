//! `passgate ready`: asks a running gateway whether it is ready, for health checks where there is no shell.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use serde_json::Value;

use crate::doors::cli::http::exchange;
use crate::doors::cli::place::{Base, Nowhere, Place};
use crate::doors::cli::terminal::{complain, foreign, say};
use crate::doors::cli::{CONFIGURATION, DONE, REFUSED, USAGE};

/// What `ready` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
}

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:
  passgate ready --config /etc/passgate/config.toml
  passgate ready --admin http://127.0.0.1:9180

Exit codes: 0 it is ready, 1 it is not or cannot be reached, 2 wrong usage, 78 the configuration cannot be
used.";

/// It answers from memory; whoever waits longer waits for nothing.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A reason is a sentence.
const ANSWER_BYTES_MAX: usize = 4096;

/// Asks, and gives the exit code.
pub fn run(arguments: &Arguments) -> u8 {
    let base = match arguments.place.find() {
        Ok((base, _)) => base,
        Err(Nowhere::Usage(problem)) => {
            complain(&problem);
            return USAGE;
        }
        Err(Nowhere::Configuration) => return CONFIGURATION,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let asked = match runtime {
        Ok(runtime) => runtime.block_on(ask(&base)),
        Err(error) => Err(format!("cannot start: {error}")),
    };
    match asked {
        Ok(()) => {
            say("ready");
            DONE
        }
        Err(reason) => {
            complain(&reason);
            REFUSED
        }
    }
}

async fn ask(base: &Base) -> Result<(), String> {
    let request = Request::get(format!("{}/readyz", base.url)).body(Full::<Bytes>::default());
    let request = request.map_err(|error| error.to_string())?;
    let client = base.client()?;
    let exchanged = exchange(&client, request, ANSWER_BYTES_MAX, TIMEOUT).await;
    match exchanged {
        Ok((StatusCode::OK, _)) => Ok(()),
        Ok((status, body)) => {
            let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
            let reason = answer.get("reason").and_then(Value::as_str);
            Err(match reason {
                Some(reason) => format!("not ready: {}", foreign(reason)),
                None => format!("not ready: {} answered {}", base.shown(), status.as_u16()),
            })
        }
        Err(problem) => Err(format!("{} cannot be reached: {problem}", base.shown())),
    }
}
