//! The command line: which commands there are, and what each is called with.
//!
//! Every command is a file of its own with its arguments; here they are only listed and told apart.
//! Results go to stdout, complaints to stderr. No command prints a secret.
//!
//! Exit codes: 0 as wished, 1 not as wished, 2 for arguments that make no sense (clap's), 75 for a store that
//! another process has (`EX_TEMPFAIL` of sysexits), 78 for a configuration or a reference to a secret that
//! cannot be used (`EX_CONFIG`).

mod check;
mod connect;
mod demo;
mod events;
mod http;
mod opening;
mod place;
mod ready;
mod run;
mod secrets;
mod send;
mod terminal;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};

use crate::doors::cli::terminal::complain;
use crate::doors::process::{forbid_dumps, share_one_heap};
use crate::rules::provider::{self, KINDS, Kind};

/// A gateway for the webhooks of wallet platforms: verifies each one, keeps duplicates away, and hands
/// only clean events to your app.
#[derive(Debug, Parser)]
#[command(
    name = "passgate",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = EXIT_CODES
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    #[command(after_help = format!("Example:\n  passgate run --config /etc/passgate/config.toml\n\n{EXIT_CODES}"))]
    Run {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "config.toml")]
        config: PathBuf,
    },
    /// Ask a running gateway whether it is ready.
    #[command(after_help = ready::EXAMPLE)]
    Ready(ready::Arguments),
    /// Read the configuration and say every mistake in it, with line and column.
    #[command(after_help = check::EXAMPLE)]
    Check(check::Arguments),
    /// See it work: a sample app, the gateway, and events of every platform. Needs nothing prepared.
    #[command(after_help = "Example:\n  passgate demo --keep-running")]
    Demo {
        /// Keep app and gateway running afterwards, to try things out by hand.
        #[arg(long)]
        keep_running: bool,
    },
    /// Sign and send sample events as a platform would.
    #[command(after_help = send::help())]
    Send(send::Arguments),
    /// Say whether a captured request verifies, and if not, why.
    #[command(after_help = verify::EXAMPLE)]
    Verify(verify::Arguments),
    /// List, show and replay the events of a running gateway.
    #[command(subcommand, after_help = events::EXAMPLE)]
    Events(events::Arguments),
}

/// As wished.
const DONE: u8 = 0;
/// Not as wished: refused, not verified.
const REFUSED: u8 = 1;
/// Arguments that make no sense.
const USAGE: u8 = 2;
/// Another process has the store; later it may go.
const LATER: u8 = 75;
/// A configuration or a reference that cannot be used.
const CONFIGURATION: u8 = 78;

const EXIT_CODES: &str = "\
Exit codes:
  0   as wished; for `run`: it was told to stop (SIGTERM, SIGINT), and drained
  1   not as wished: refused, not verified; for `run`: it could not start
  2   arguments that make no sense
  75  `run`: another process has the store, and did not end in time; try again later
  78  a configuration or a secret that cannot be used";

/// Does what the arguments say; the first of them is the program's own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too and are no errors. Nobody may be reading any more.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    if let Command::Run { .. } = arguments.command {
        // Before all else: what was done before would have to be done again.
        share_one_heap();
    }
    if let Err(error) = forbid_dumps() {
        complain(&format!("core dumps cannot be turned off: {error}"));
    }
    match arguments.command {
        Command::Run { config } => run::run(&config),
        Command::Ready(arguments) => ExitCode::from(ready::run(&arguments)),
        Command::Check(arguments) => ExitCode::from(check::run(&arguments)),
        Command::Demo { keep_running } => demo::run(keep_running),
        Command::Send(arguments) => ExitCode::from(send::run(&arguments)),
        Command::Verify(arguments) => ExitCode::from(verify::run(&arguments)),
        Command::Events(arguments) => ExitCode::from(events::run(&arguments)),
    }
}

/// Reads a provider's name.
fn provider_parser() -> impl TypedValueParser<Value = &'static Kind> {
    PossibleValuesParser::new(KINDS.iter().map(|kind| kind.name))
        .try_map(|name| provider::find(&name).ok_or("there is no such provider"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_of_all_commands_agree_with_each_other() {
        Arguments::command().debug_assert();
    }
}
