//! `replays`: replays of all that a filter takes.

use std::net::IpAddr;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use crate::doors::admin::Admin;
use crate::doors::admin::answer::{Answer, Problem, json, json_with};
use crate::doors::admin::parameters::{Parameters, ReplayOrder};
use crate::keepers::store::jobs::ReplayId;
use crate::rules::reader::units::rate_text;
use crate::words::time::Timestamp;
use crate::work::replay::{NotCancelled, NotMade, Replay, from_name, name};

impl Admin {
    /// `POST replays`
    pub(super) async fn create_replay(
        &self,
        query: Option<&str>,
        body: &[u8],
        peer: IpAddr,
    ) -> Result<Answer, Problem> {
        Parameters::read(query, &[])?;
        let order = ReplayOrder::read(body)?;
        let (id, replay) = self
            .replays
            .create(order.filter, order.rate)
            .await
            .map_err(|error| match error {
                NotMade::TooMany => {
                    Problem::conflict(format!("{error}; wait until one is done, or cancel one."))
                }
                NotMade::Store(error) => error.into(),
            })?;
        self.audit("an operator replays events", &name(id), peer);
        Ok(json_with(StatusCode::ACCEPTED, &of(id, &replay)))
    }

    /// `GET replays`
    pub(super) fn list_replays(&self, query: Option<&str>) -> Result<Answer, Problem> {
        Parameters::read(query, &[])?;
        let replays = self.replays.list();
        let replays: Vec<Value> = replays.iter().map(|(id, replay)| of(*id, replay)).collect();
        Ok(json(&json!({ "replays": replays, "next_cursor": null })))
    }

    /// `GET replays/{id}`
    pub(super) fn show_replay(&self, id: &str, query: Option<&str>) -> Result<Answer, Problem> {
        Parameters::read(query, &[])?;
        let id = from_name(id).ok_or_else(unknown)?;
        let replay = self.replays.find(id).ok_or_else(unknown)?;
        Ok(json(&of(id, &replay)))
    }

    /// `DELETE replays/{id}`
    pub(super) async fn cancel_replay(
        &self,
        id: &str,
        query: Option<&str>,
        peer: IpAddr,
    ) -> Result<Answer, Problem> {
        Parameters::read(query, &[])?;
        let id = from_name(id).ok_or_else(unknown)?;
        let cancelled = self.replays.cancel(id).await;
        let replay = cancelled.map_err(|error| match error {
            NotCancelled::Unknown => unknown(),
            NotCancelled::Done => Problem::conflict("The replay is done already."),
            NotCancelled::Store(error) => error.into(),
        })?;
        self.audit("an operator cancelled a replay", &name(id), peer);
        Ok(json(&of(id, &replay)))
    }
}

fn of(id: ReplayId, replay: &Replay) -> Value {
    let filter: Map<String, Value> = replay
        .filter
        .parameters()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    json!({
        "id": name(id),
        "filter": filter,
        "rate": rate_text(replay.rate),
        "state": replay.state.label(),
        "matched": replay.matched,
        "replayed": replay.replayed,
        "skipped": replay.skipped,
        "created_at": replay.created_at.to_rfc3339(),
        "ended_at": replay.ended_at.map(Timestamp::to_rfc3339),
    })
}

fn unknown() -> Problem {
    Problem::not_found("No such replay is known; the last 100 that ended are.")
}
