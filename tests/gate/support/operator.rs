//! The operator's side: the admin API as a client meets it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::support::app::{App, Reply};
use crate::support::clock::HandClock;
use crate::support::gate::{Gate, Setup, open_store};
use crate::support::sender::{Answer, Request, card_event};

/// A request to the admin API, as curl would send it.
pub fn ask(method: &str, target: &str, body: Option<Value>) -> Request {
    let mut headers = vec!["Host: 127.0.0.1:9180".to_owned()];
    headers.extend(
        body.is_some()
            .then(|| "Content-Type: application/json".to_owned()),
    );
    Request {
        line: format!("{method} /api/v1/{target} HTTP/1.1"),
        headers,
        body: body.map_or(Vec::new(), |body| body.to_string().into_bytes()),
    }
}

/// The JSON of an answer.
pub fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
}

impl Gate {
    /// What the operator is shown.
    pub async fn admin_get(&self, target: &str) -> Value {
        let answer = ask("GET", target, None).send(self.admin).await;
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        json_of(&answer)
    }

    /// What the operator is answered.
    pub async fn admin_post(&self, target: &str, body: Option<Value>) -> Answer {
        ask("POST", target, body).send(self.admin).await
    }

    /// The events of a list.
    pub async fn events(&self, query: &str) -> Vec<Value> {
        let list = self.admin_get(&format!("events?{query}")).await;
        list["events"].as_array().unwrap().clone()
    }

    /// Asks until the answer is right.
    pub async fn until_shown(&self, target: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..1000 {
            let answer = self.admin_get(target).await;
            if is_right(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!(
            "{target} never came right: {}",
            self.admin_get(target).await
        );
    }

    /// Waits until so many requests came to the app, but not for ever.
    pub async fn app_reached(&self, count: usize) {
        let reached = tokio::time::timeout(Duration::from_secs(10), self.app.reached(count));
        assert!(reached.await.is_ok(), "{count} requests never came");
    }

    /// Sends these events; each must end so.
    pub async fn send_events(&self, numbers: std::ops::Range<u64>, outcome: &str) {
        for n in numbers {
            let answer = self
                .send(&Request::walletwerk(card_event(n), &format!("id-{n}")))
                .await;
            assert_eq!(answer.outcome(), outcome, "{n}: {answer:?}");
        }
    }
}

/// Their ids.
pub fn ids(events: &[Value]) -> Vec<String> {
    let id = |event: &Value| event["id"].as_str().unwrap().to_owned();
    events.iter().map(id).collect()
}

/// Their subjects.
pub fn subjects(events: &[Value]) -> Vec<&str> {
    let events = events.iter();
    events
        .map(|event| event["subject"].as_str().unwrap())
        .collect()
}

/// An app that answers with this status until the sender says otherwise.
pub async fn switched(first: u16) -> (App, watch::Sender<u16>) {
    let (switch, status) = watch::channel(first);
    let app = App::start(move |_, _| Reply::status(*status.borrow())).await;
    (app, switch)
}

/// The same over the store in this folder.
pub fn over(folder: &Path, clock: &Arc<HandClock>, setup: Setup) -> Setup {
    let store = open_store(&folder.join("test.redb"), Arc::clone(clock));
    setup.over(store, Arc::clone(clock))
}
