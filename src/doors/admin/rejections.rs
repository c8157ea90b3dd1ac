//! `rejections`: recent refusals, with the reason that the sender was not told.

use serde_json::{Value, json};

use crate::doors::admin::Admin;
use crate::doors::admin::answer::{Answer, Problem, json};
use crate::doors::admin::parameters::Parameters;
use crate::keepers::recent::Refused;

impl Admin {
    /// `GET rejections`
    pub(super) fn rejections(&self, query: Option<&str>) -> Result<Answer, Problem> {
        let parameters = Parameters::read(query, &[&["route", "limit", "cursor"]])?;
        let limit = parameters.limit()?;
        let before = match parameters.find("cursor") {
            None => u64::MAX,
            Some(text) => u64::from_str_radix(text, 16).map_err(|_| {
                Problem::parameter("cursor", "is none that a list gave as its next_cursor")
            })?,
        };
        let mut refused = self.gate.recent.refused(before);
        if let Some(name) = parameters.find("route") {
            refused.retain(|(_, refused)| refused.route.as_deref() == Some(name));
        }
        let is_more = refused.len() > limit;
        refused.truncate(limit);
        let last = refused.last().map(|(number, _)| format!("{number:x}"));
        let rejections: Vec<Value> = refused.iter().map(|(_, refused)| of(refused)).collect();
        Ok(json(&json!({
            "rejections": rejections,
            "next_cursor": last.filter(|_| is_more),
        })))
    }
}

fn of(refused: &Refused) -> Value {
    let event = refused.event.as_ref();
    json!({
        "at": refused.at.to_rfc3339(),
        "request_id": refused.request_id.as_str(),
        "route": refused.route.as_deref(),
        "outcome": refused.outcome.label(),
        "status": refused.outcome.status().as_u16(),
        "reason": refused.reason,
        "client": refused.client,
        "method": refused.method,
        "event_id": event.map(|event| &event.id),
        "type": event.map(|event| &event.event_type),
        "delivery_id": event.and_then(|event| event.delivery_id.as_ref()),
    })
}
