//! What the app receives.

use crate::support::app::App;
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Request, card_event, sign};

#[tokio::test]
async fn a_signed_event_reaches_the_app_byte_for_byte_and_is_answered_with_its_status() {
    let gate = Gate::willing().await;
    let body = "{ \"event\" : \"card.active\",\"timestamp\":\"2026-01-01T00:00:00Z\",\n\"data\":{\"card_id\":\"Zo\u{eb} \\u00e9\",\"n\":12345678901234567890,\"r\":1.0}}";
    let answer = gate.send(&Request::walletwerk(body, "d1")).await;
    assert_eq!((answer.status, answer.outcome()), (200, "forwarded"));
    let request = &gate.app.requests()[0];
    assert_eq!(request.line, "POST /events HTTP/1.1");
    assert_eq!(request.body, body.as_bytes());
    assert_eq!(
        request.header("content-length"),
        Some(body.len().to_string().as_str())
    );
    assert_eq!(request.header("x-walletwerk-delivery-id"), Some("d1"));
}

#[tokio::test]
async fn what_is_not_on_the_list_is_dropped_and_what_imitates_us_is_replaced() {
    let gate = Gate::willing().await;
    let request = Request::walletwerk(card_event(1), "d1")
        .with("User-Agent: WalletWerk/1")
        .with("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .with("Cookie: a=b")
        .with("X-Secret: x")
        .with("Authorization: Bearer t")
        .with("Idempotency-Key: forged")
        .with("Passgate-Assurance: forged")
        .with("passgate-replay: true")
        .with("ce-id: forged")
        .with("webhook-signature: forged")
        .with("X-Forwarded-For: 1.2.3.4")
        .with("Forwarded: for=1.2.3.4")
        .with("Via: 1.0 forged")
        .with("X_WalletWerk_Event: forged")
        .with("TE: trailers")
        .with("Connection: keep-alive, x-hop")
        .with("X-Hop: x");
    assert_eq!(gate.send(&request).await.status, 200);
    let request = &gate.app.requests()[0];
    let mut names: Vec<&str> = request.headers.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "ce-id",
            "ce-source",
            "ce-specversion",
            "ce-subject",
            "ce-time",
            "ce-type",
            "content-length",
            "content-type",
            "forwarded",
            "host",
            "idempotency-key",
            "passgate-assurance",
            "passgate-attempt",
            "traceparent",
            "user-agent",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-walletwerk-delivery-id",
            "x-walletwerk-signature",
        ]
    );
    let key = request.header("idempotency-key").unwrap();
    assert!(key.starts_with("evt_") && key.len() == 36, "{key}");
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", key),
        ("ce-source", "/walletwerk/walletwerk"),
        ("ce-type", "eu.walletwerk.card.active"),
        ("ce-time", "2026-01-01T00:00:00Z"),
        ("ce-subject", "card_1"),
        ("passgate-assurance", "signature"),
        ("passgate-attempt", "1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "gate"),
        ("forwarded", "for=127.0.0.1;host=\"gate\";proto=http"),
        ("via", "1.1 passgate"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn the_app_can_verify_a_standard_webhooks_signature() {
    let app = App::willing().await;
    let gate = Setup::walletwerk(app, "sign_with = \"env:SIGNING_SECRET\"")
        .start()
        .await;
    assert_eq!(
        gate.send(&Request::walletwerk(card_event(1), "d1"))
            .await
            .status,
        200
    );
    let request = &gate.app.requests()[0];
    let (id, timestamp) = (
        request.header("webhook-id").unwrap(),
        request.header("webhook-timestamp").unwrap(),
    );
    assert_eq!(Some(id), request.header("idempotency-key"));
    assert_eq!(timestamp, "1767225600");
    let key = data_encoding::BASE64
        .decode(b"C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
        .unwrap();
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &request.body].concat();
    let tag = data_encoding::HEXLOWER
        .decode(sign(&key, &signed).as_bytes())
        .unwrap();
    assert_eq!(
        request.header("webhook-signature"),
        Some(format!("v1,{}", data_encoding::BASE64.encode(&tag)).as_str())
    );
}
