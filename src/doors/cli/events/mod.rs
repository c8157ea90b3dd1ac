//! `passgate events`: the admin API from the shell. It talks to a running gateway and opens no store.

mod client;
mod list;
mod replay;
mod selection;
mod show;
mod way;

use crate::doors::cli::events::client::{Client, Trouble};
use crate::doors::cli::events::way::Way;
use crate::doors::cli::terminal::complain;
use crate::doors::cli::{CONFIGURATION, REFUSED, USAGE};

/// What `events` is called with.
#[derive(Debug, clap::Subcommand)]
pub enum Arguments {
    /// List events, the newest first.
    #[command(after_help = list::EXAMPLE)]
    List(list::Arguments),
    /// Show one event: its headers and its attempts.
    #[command(after_help = show::EXAMPLE)]
    Show(show::Arguments),
    /// Send events to the app again: some by their ids, or all that a filter takes.
    #[command(after_help = replay::EXAMPLE)]
    Replay(replay::Arguments),
}

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:
  passgate events list --state dead_letter
  passgate events show evt_0123456789abcdef0123456789abcdef
  passgate events replay --route walletwerk --state dead_letter --rate 10/s --wait

Exit codes: 0 as wished, 1 the gateway cannot be reached or refused, 2 wrong usage, 78 the configuration
or the token cannot be used.";

/// Why a command ends without what was wished.
#[derive(Debug)]
enum Failed {
    /// The arguments make no sense together.
    Usage(String),
    /// The configuration or the token cannot be used; it has been said why.
    Configuration,
    /// The gateway did not do it.
    Gateway(Trouble),
}

/// Does it and gives the exit code.
pub fn run(arguments: &Arguments) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return REFUSED;
        }
    };
    let done = runtime.block_on(async {
        match arguments {
            Arguments::List(arguments) => list::run(arguments).await,
            Arguments::Show(arguments) => show::run(arguments).await,
            Arguments::Replay(arguments) => replay::run(arguments).await,
        }
    });
    match done {
        Ok(code) => code,
        Err(Failed::Usage(problem)) => {
            complain(&problem);
            USAGE
        }
        Err(Failed::Configuration) => CONFIGURATION,
        Err(Failed::Gateway(trouble)) => {
            complain(&trouble.to_string());
            REFUSED
        }
    }
}

/// A client for the gateway that the arguments name.
fn client(way: &Way) -> Result<Client, Failed> {
    Client::new(way.target()?).map_err(Failed::Usage)
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        Self::Gateway(trouble)
    }
}
