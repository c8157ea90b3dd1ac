//! The demo's story: what is sent, and what should become of it.

use crate::doors::cli::demo::stage::Stage;
use crate::doors::cli::send::courier::Answer;
use crate::doors::cli::send::tamper::Tamperer;
use crate::doors::cli::terminal::say;
use crate::rules::provider::{KINDS, Kind, Sample, SampleOrder};
use crate::words::secret::{Reference, Secret};

/// Plays every chapter; `true` if all went as it should.
///
/// # Errors
/// What kept it from being played.
pub async fn tell(stage: &mut Stage) -> Result<bool, String> {
    let mut teller = Teller {
        stage,
        nonce: 0,
        failures: 0,
    };
    for kind in KINDS {
        teller.chapter(&format!("{}: {}", kind.name, kind.proof));
        teller.one_platform(kind).await?;
    }
    teller.chapter("Too many at once: a route with a quota of 3, then 6 a minute");
    teller.too_many().await?;
    teller.chapter("The same with delivery = \"inline\": the sender is told to slow down");
    teller.too_many_inline().await?;
    teller.chapter("The app goes down and comes back");
    teller.outage().await?;
    teller.chapter("A flood of forgeries from the same address as the genuine sender");
    teller.flood().await?;
    teller.chapter("A restart: what was answered is not forgotten");
    teller.restart().await?;
    Ok(teller.end())
}

struct Teller<'a> {
    stage: &'a mut Stage,
    nonce: u64,
    failures: usize,
}

impl Teller<'_> {
    async fn one_platform(&mut self, kind: &'static Kind) -> Result<(), String> {
        let genuine = self.sample(kind);
        let before = self.stage.app.count();
        self.act("genuine", kind.name, genuine.clone(), 200, "forwarded")
            .await?;
        self.check(
            "the app got it, byte for byte",
            self.has_arrived(&genuine, before + 1),
        );
        self.act(
            "the same again",
            kind.name,
            genuine.clone(),
            200,
            "duplicate",
        )
        .await?;
        if kind.has_delivery_ids {
            let renamed = with_new_delivery_id(genuine.clone());
            self.act(
                "replayed under a new id",
                kind.name,
                renamed,
                200,
                "duplicate",
            )
            .await?;
        }
        let stranger = self.sample_by(kind, b"not-the-secret-of-this-route");
        self.act(
            "by one who lacks the secret",
            kind.name,
            stranger,
            401,
            "unauthentic",
        )
        .await?;
        let tampered = self.tampered(kind)?;
        self.act(
            "changed by one bit on the way",
            kind.name,
            tampered,
            401,
            "unauthentic",
        )
        .await?;
        self.check(
            "the app got nothing else",
            self.stage.app.count() == before + 1,
        );
        Ok(())
    }

    async fn too_many(&mut self) -> Result<(), String> {
        let Some(kind) = KINDS.first() else {
            return Ok(());
        };
        let before = self.stage.app.count();
        for number in 1..=5 {
            let sample = self.sample(kind);
            let outcome = if number <= 3 { "forwarded" } else { "queued" };
            let what = format!("event {number} of 5");
            self.act(&what, "narrow", sample, 200, outcome).await?;
        }
        self.check(
            "the app got three so far; the others follow at the quota's pace",
            self.stage.app.count() == before + 3,
        );
        Ok(())
    }

    async fn too_many_inline(&mut self) -> Result<(), String> {
        let Some(kind) = KINDS.first() else {
            return Ok(());
        };
        for number in 1..=2 {
            let sample = self.sample(kind);
            let (status, outcome) = match number {
                1 => (200, "forwarded"),
                _ => (429, "rate_limited"),
            };
            let what = format!("event {number} of 2");
            self.act(&what, "inline", sample, status, outcome).await?;
        }
        Ok(())
    }

    async fn outage(&mut self) -> Result<(), String> {
        self.stage.app.set_down(true);
        say("    … the app is down …");
        let paths: Vec<String> = KINDS.iter().map(|kind| format!("/{}", kind.name)).collect();
        let before = self.stage.app.count_at(&paths);
        let mut taken = 0;
        let mut last = None;
        for kind in KINDS {
            for _ in 0..10 {
                let sample = self.sample(kind);
                let answer = self.stage.send(kind.name, sample.clone()).await?;
                taken += usize::from(answer.status.is_ok_and(|status| status.as_u16() == 200));
                last = Some((kind, sample));
            }
        }
        self.check(
            &format!("30 events while it is down: {taken} were answered 200"),
            taken == 30,
        );
        self.stage.restart_gateway().await?;
        say("    … the gateway is stopped and started, and the app is back …");
        self.stage.app.set_down(false);
        let got = self.stage.app.wait_for(&paths, before + 30).await - before;
        self.check(
            &format!("the app got {got} of them, each one once"),
            got == 30,
        );
        if let Some((kind, sample)) = last {
            self.act("the last one again", kind.name, sample, 200, "duplicate")
                .await?;
        }
        Ok(())
    }

    async fn flood(&mut self) -> Result<(), String> {
        let Some(kind) = KINDS.first() else {
            return Ok(());
        };
        let mut limited = 0;
        for _ in 0..40 {
            let forged = self.tampered(kind)?;
            let answer = self.stage.send(kind.name, forged).await?;
            limited += usize::from(answer.outcome.as_deref() == Some("client_limited"));
        }
        self.check(
            &format!("40 forgeries: {limited} were told to slow down (429)"),
            limited >= 10,
        );
        let genuine = self.sample(kind);
        self.act("genuine, in between", kind.name, genuine, 200, "forwarded")
            .await
    }

    async fn restart(&mut self) -> Result<(), String> {
        let Some(kind) = KINDS.last() else {
            return Ok(());
        };
        let event = self.sample(kind);
        self.act("genuine", kind.name, event.clone(), 200, "forwarded")
            .await?;
        self.stage.restart_gateway().await?;
        say("    … the gateway is stopped and started on the same store …");
        self.act("the same again", kind.name, event, 200, "duplicate")
            .await
    }

    fn end(&self) -> bool {
        let app = &self.stage.app;
        say("");
        say(&format!(
            "The app received {} events, {} of them different: each one once.",
            app.count(),
            app.distinct()
        ));
        let is_once = app.count() == app.distinct();
        match self.failures {
            0 if is_once => {
                say("All went as it should.");
                true
            }
            count => {
                say(&format!("{count} did not go as they should."));
                false
            }
        }
    }

    /// Sends, and holds the answer against what it should be.
    async fn act(
        &mut self,
        what: &str,
        route: &str,
        sample: Sample,
        status: u16,
        outcome: &str,
    ) -> Result<(), String> {
        let answer = self.stage.send(route, sample).await?;
        let is_right = answer
            .status
            .as_ref()
            .is_ok_and(|got| got.as_u16() == status)
            && answer.outcome.as_deref() == Some(outcome);
        self.check(&format!("{what:<32} {}", shown(&answer)), is_right);
        Ok(())
    }

    fn check(&mut self, what: &str, is_right: bool) {
        let mark = if is_right { "ok " } else { "NOT" };
        self.failures += usize::from(!is_right);
        say(&format!("  {mark} {what}"));
    }

    fn chapter(&self, title: &str) {
        say("");
        say(title);
    }

    fn sample(&mut self, kind: &Kind) -> Sample {
        self.sample_by(kind, Stage::secret(kind))
    }

    fn sample_by(&mut self, kind: &Kind, secret: &[u8]) -> Sample {
        self.nonce += 1;
        (kind.sample)(&SampleOrder {
            event: kind.events.first().copied().unwrap_or_default(),
            secret: Some(secret),
            now: self.stage.clock.now(),
            nonce: self.nonce,
        })
    }

    /// A genuine sample with one bit changed where the platform's proof covers it.
    fn tampered(&mut self, kind: &Kind) -> Result<Sample, String> {
        let secret = Secret::new(Stage::secret(kind).to_vec(), Reference::new("demo"));
        let tamperer = Tamperer::new(kind, &[secret])?;
        Ok(tamperer.tampered(self.sample(kind), self.stage.clock.now()))
    }

    fn has_arrived(&self, sample: &Sample, count: usize) -> bool {
        let app = &self.stage.app;
        let last = app.last();
        app.count() == count
            && last.is_some_and(|event| event.body == sample.body && event.query == sample.query)
    }
}

fn shown(answer: &Answer) -> String {
    match &answer.status {
        Ok(status) => format!(
            "{} {}",
            status.as_u16(),
            answer.outcome.as_deref().unwrap_or("-")
        ),
        Err(problem) => problem.clone(),
    }
}

fn with_new_delivery_id(mut sample: Sample) -> Sample {
    for (name, value) in &mut sample.headers {
        if name.as_str().ends_with("-delivery-id") {
            value.push_str("-again");
        }
    }
    sample
}
