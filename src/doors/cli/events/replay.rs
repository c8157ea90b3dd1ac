//! `passgate events replay`: some events by their ids, or all that a filter takes.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::doors::cli::events::client::Client;
use crate::doors::cli::events::list::text;
use crate::doors::cli::events::selection::Selection;
use crate::doors::cli::events::show::read_id;
use crate::doors::cli::events::way::Way;
use crate::doors::cli::events::{Failed, client};
use crate::doors::cli::terminal::{complain, foreign, say};
use crate::doors::cli::{DONE, REFUSED};
use crate::rules::filter::Filter;
use crate::rules::reader::units;

/// What `events replay` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The events' ids.
    #[arg(value_name = "ID", value_parser = read_id)]
    ids: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// How fast, such as 10/s; without it the route's quota, or 50/s.
    #[arg(long, value_name = "RATE", value_parser = read_rate)]
    rate: Option<String>,
    /// Wait until all that the filter takes is queued again.
    #[arg(long)]
    wait: bool,
    /// JSON, as the admin API answers, one line for each answer.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    way: Way,
}

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:
  passgate events replay evt_0123456789abcdef0123456789abcdef
  passgate events replay --route walletwerk --state dead_letter --rate 10/s --wait

Delivered events and dead letters can be replayed, and nothing that is on its way. The app gets them with
the same idempotency key and with `Passgate-Replay: true`.";

/// Replays and gives the exit code.
pub(super) async fn run(arguments: &Arguments) -> Result<u8, Failed> {
    let filter = arguments.selection.filter()?;
    let by_filter = filter != Filter::default();
    let usage = |problem: &str| Err(Failed::Usage(problem.to_owned()));
    match (arguments.ids.is_empty(), by_filter) {
        (true, false) => usage("name events by their ids, or choose some by --route, --state, …"),
        (false, true) => usage("name events by their ids or choose them by a filter, not both"),
        (false, false) if arguments.wait || arguments.rate.is_some() => usage(
            "--rate and --wait are for a filter; events named by their ids are queued at once",
        ),
        (false, false) => one_by_one(arguments, &client(&arguments.way)?).await,
        (true, true) => all(arguments, &filter, &client(&arguments.way)?).await,
    }
}

async fn one_by_one(arguments: &Arguments, client: &Client) -> Result<u8, Failed> {
    let mut code = DONE;
    for id in &arguments.ids {
        match client.post(&format!("events/{id}/replay"), None).await {
            Ok(answer) if arguments.json => say(&answer.to_string()),
            Ok(answer) => say(&format!("{id}  {}", text(&answer, "state"))),
            Err(trouble) => {
                complain(&format!("{id}: {trouble}"));
                code = REFUSED;
            }
        }
    }
    Ok(code)
}

async fn all(arguments: &Arguments, filter: &Filter, client: &Client) -> Result<u8, Failed> {
    let parameters: Map<String, Value> = filter
        .parameters()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let order = json!({ "filter": parameters, "rate": arguments.rate });
    let mut replay = client.post("replays", Some(&order)).await?;
    let id = text(&replay, "id");
    if !arguments.wait {
        tell(arguments, &replay);
        return Ok(DONE);
    }
    while replay.get("state").and_then(Value::as_str) == Some("running") {
        tokio::time::sleep(POLL).await;
        replay = client.get(&format!("replays/{}", foreign(&id))).await?;
    }
    tell(arguments, &replay);
    let is_done = replay.get("state").and_then(Value::as_str) == Some("done");
    Ok(if is_done { DONE } else { REFUSED })
}

fn tell(arguments: &Arguments, replay: &Value) {
    if arguments.json {
        return say(&replay.to_string());
    }
    say(&format!(
        "{}  {}: {} of {} events queued again, {} skipped",
        text(replay, "id"),
        text(replay, "state"),
        text(replay, "replayed"),
        text(replay, "matched"),
        text(replay, "skipped"),
    ));
}

fn read_rate(text: &str) -> Result<String, String> {
    units::rate(text).map(|_| text.to_owned())
}

const POLL: Duration = Duration::from_millis(300);
