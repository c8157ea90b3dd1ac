//! `passgate demo`: a newcomer's first minute. Nothing has to be prepared.
//!
//! A sample app and a real gateway are started on free ports of this machine, with a store in a temporary
//! folder, and events of every platform are sent to it over HTTP: genuine ones, repeated ones, forged ones,
//! and too many. What became of each is printed beside what should have; the exit code tells whether all of
//! it went as it should.

mod app;
mod stage;
mod story;

use std::process::ExitCode;

use crate::doors::cli::demo::stage::Stage;
use crate::doors::cli::terminal::{complain, say};
use crate::doors::cli::{DONE, REFUSED};

/// Plays the demo and gives the exit code.
pub fn run(keep_running: bool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let played = match runtime {
        Ok(runtime) => runtime.block_on(play(keep_running)),
        Err(error) => Err(format!("the runtime cannot be started: {error}")),
    };
    match played {
        Ok(true) => ExitCode::from(DONE),
        Ok(false) => ExitCode::from(REFUSED),
        Err(reason) => {
            complain(&reason);
            ExitCode::from(REFUSED)
        }
    }
}

async fn play(keep_running: bool) -> Result<bool, String> {
    let mut stage = Stage::set().await?;
    say("passgate demo: a sample app, a gateway before it, and three wallet platforms.");
    say("");
    say(&format!("  the app      {}", stage.app_url()));
    say(&format!("  the gateway  {}", stage.gateway_url()));
    say(&format!("  its admin    {}/metrics", stage.admin_url()));
    say(&format!(
        "  its store    {} (temporary)",
        stage.store_path().display()
    ));
    let went_well = story::tell(&mut stage).await?;
    if keep_running {
        stage.invite();
        // An error means that Ctrl-C cannot be waited for; then there is nothing to wait for.
        let _ = tokio::signal::ctrl_c().await;
    }
    stage.clear().await;
    Ok(went_well)
}
