//! `POST reload`: has the configuration read anew.

use std::net::IpAddr;

use hyper::StatusCode;
use serde_json::json;

use crate::doors::admin::Admin;
use crate::doors::admin::answer::{Answer, Problem, json};
use crate::doors::admin::parameters::Parameters;
use crate::doors::reload::NotReloaded;
use crate::rules::reader::remark::Remark;

impl Admin {
    /// `POST reload`
    pub(super) async fn reload(
        &self,
        query: Option<&str>,
        peer: IpAddr,
    ) -> Result<Answer, Problem> {
        Parameters::read(query, &[])?;
        self.audit(
            "an operator has the configuration read anew",
            "reload",
            peer,
        );
        match self.reloader.reload().await {
            Ok(reloaded) => Ok(json(&json!({
                "reloaded": true,
                "warnings": shown(&reloaded.warnings),
                "needs_restart": reloaded.needs_restart,
            }))),
            Err(error) => Err(problem(&error)),
        }
    }
}

fn problem(error: &NotReloaded) -> Problem {
    let title = format!("Nothing has changed: {error}.");
    match error {
        NotReloaded::NoFile => Problem::conflict(title),
        NotReloaded::Mistakes(remarks) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).with("mistakes", shown(remarks))
        }
        NotReloaded::Moving | NotReloaded::NotWorking(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, title)
        }
    }
}

/// As the terminal would show them, without the file's name.
fn shown(remarks: &[Remark]) -> Vec<String> {
    remarks.iter().map(ToString::to_string).collect()
}
