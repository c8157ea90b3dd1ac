//! `passgate check`: every mistake in a configuration, with its place.

use std::path::PathBuf;
use std::sync::Arc;

use crate::doors::cli::terminal::{complain_all, say};
use crate::doors::cli::{CONFIGURATION, DONE};
use crate::rules::config::file;
use crate::rules::config::surroundings::SurroundingsBy;
use crate::rules::reader::remark::listing;
use crate::rules::reader::secrets::SecretSource;
use crate::words::time::SystemClock;

/// What `check` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "config.toml")]
    config: PathBuf,
    /// Do not look secrets up: for a build server that has none.
    #[arg(long)]
    no_secrets: bool,
}

/// Shown below the help.
pub const EXAMPLE: &str = "Example:\n  passgate check --config config.toml --no-secrets";

/// Checks and gives the exit code.
pub fn run(arguments: &Arguments) -> u8 {
    let surroundings = SurroundingsBy(Arc::new(SystemClock::new()));
    let source: Option<&dyn SecretSource> = match arguments.no_secrets {
        true => None,
        false => Some(&surroundings),
    };
    match file::load(&arguments.config, source) {
        Ok((config, warnings)) => {
            complain_all(&listing(&arguments.config, &warnings));
            let count = config.routes.len();
            let plural = if count == 1 { "" } else { "s" };
            let name = arguments.config.display();
            say(&format!("{name} is right: {count} route{plural}"));
            DONE
        }
        Err(remarks) => {
            complain_all(&listing(&arguments.config, &remarks));
            CONFIGURATION
        }
    }
}
