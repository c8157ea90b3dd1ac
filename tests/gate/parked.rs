//! Events whose route is gone, renamed, or has another provider now.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::clock::HandClock;
use crate::support::gate::Setup;
use crate::support::operator::{ids, json_of, over, subjects, switched};

/// One WalletWerk route that keeps what its app could not take.
fn setup(app: App, more: &str) -> Setup {
    Setup::walletwerk(app, &format!("delivery = \"spill\"\n{more}"))
}

#[tokio::test]
async fn without_its_route_an_event_is_parked_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::new());
    let (app, switch) = switched(503).await;
    let first = setup(app, "");
    let gate = over(folder.path(), &clock, first).start().await;
    gate.send_events(0..1, "spilled").await;
    switch.send(422).unwrap();
    gate.send_events(1..2, "dead_lettered").await;
    gate.stop().await;

    let renamed = setup(App::willing().await, "name = \"other\"");
    let gate = over(folder.path(), &clock, renamed).start().await;
    let parked = gate.events("state=parked").await;
    assert_eq!(subjects(&parked), ["card_0"]);
    assert_eq!(parked[0]["route"], "walletwerk");
    assert_eq!(gate.events("state=queued").await, Vec::<Value>::new());
    let routes = gate.admin_get("routes").await;
    let (configured, gone) = (&routes["routes"][0], &routes["routes"][1]);
    assert_eq!(configured["name"], "other");
    assert_eq!(gone["name"], "walletwerk");
    assert_eq!(gone["state"], "parked");
    assert_eq!(gone["queue"]["parked"], 1);
    assert_eq!(gone["queue"]["dead_letter"], 1);
    let parked_metric = "passgate_queue_events{route=\"walletwerk\",state=\"parked\"}";
    assert_eq!(gate.metric(parked_metric).await, 1.0);
    let order = json!({"filter": {}});
    let made = json_of(&gate.admin_post("replays", Some(order)).await);
    let target = format!("replays/{}", made["id"].as_str().unwrap());
    let done = gate
        .until_shown(&target, |replay| replay["state"] == "done")
        .await;
    assert_eq!(
        (&done["replayed"], &done["skipped"]),
        (&json!(0), &json!(2))
    );
    let one = gate
        .admin_post(&format!("events/{}/replay", ids(&parked)[0]), None)
        .await;
    assert_eq!(
        (one.status, &json_of(&one)["state"]),
        (202, &json!("parked"))
    );
    assert_eq!(gate.app.count(), 0);
    gate.stop().await;

    clock.advance(Duration::from_secs(60));
    let gate = over(folder.path(), &clock, setup(App::willing().await, ""))
        .start()
        .await;
    gate.app_reached(1).await;
    gate.stop().await;
}

#[tokio::test]
async fn a_route_that_was_given_another_provider_keeps_the_events_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::new());
    let (app, _switch) = switched(503).await;
    let named = "name = \"cards\"\npath = \"/webhooks/walletwerk\"";
    let gate = over(folder.path(), &clock, setup(app, named)).start().await;
    gate.send_events(0..2, "spilled").await;
    gate.stop().await;

    let config = "[[route]]\nprovider = \"passworks\"\nname = \"cards\"\ndelivery = \"spill\"\n\
                  secrets = [\"env:PASSWORKS_API_KEY\"]\nupstream = \"http://@APP@/events\"";
    let other = Setup::config(App::willing().await, config);
    let gate = over(folder.path(), &clock, other).start().await;
    for query in ["state=parked", "state=parked&route=cards"] {
        let parked = gate.events(query).await;
        assert_eq!(subjects(&parked), ["card_1", "card_0"], "{query}");
    }
    let routes = gate.admin_get("routes").await;
    let (now, before) = (&routes["routes"][0], &routes["routes"][1]);
    assert_eq!(
        (&now["name"], &now["provider"], &now["queue"]["queued"]),
        (&json!("cards"), &json!("passworks"), &json!(0))
    );
    assert_eq!(
        (
            &before["name"],
            &before["provider"],
            &before["queue"]["parked"]
        ),
        (&json!("cards"), &json!("walletwerk"), &json!(2))
    );
    for (state, count) in [("queued", 0.0), ("parked", 2.0)] {
        let metric = format!("passgate_queue_events{{route=\"cards\",state=\"{state}\"}}");
        assert_eq!(gate.metric(&metric).await, count, "{state}");
    }
    assert_eq!(gate.app.count(), 0);
    gate.stop().await;

    clock.advance(Duration::from_secs(60));
    let back = setup(App::willing().await, named);
    let gate = over(folder.path(), &clock, back).start().await;
    gate.app_reached(2).await;
    gate.send_events(0..2, "duplicate").await;
    gate.stop().await;
}
