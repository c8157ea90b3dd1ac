//! What the demo plays on: the app, the gateway, its temporary store, and secrets that are none.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::doors::cli::demo::app::App;
use crate::doors::cli::opening::Opening;
use crate::doors::cli::send::courier::{Answer, Courier, Target};
use crate::doors::cli::terminal::say;
use crate::doors::gateway::{Gateway, Parts};
use crate::doors::listener::passed::Passed;
use crate::keepers::log::{Format, Log};
use crate::keepers::metrics::Metrics;
use crate::rules::config::Config;
use crate::rules::config::listen::Listen;
use crate::rules::provider::{Kind, Sample};
use crate::rules::reader::remark::listing;
use crate::rules::reader::secrets::{SecretFile, SecretSource, Unreadable};
use crate::words::limits::Limits;
use crate::words::time::{Clock, SystemClock};

/// The demo's app and gateway.
pub struct Stage {
    /// The app.
    pub app: App,
    /// The present.
    pub clock: Arc<dyn Clock>,
    gateway: Option<Gateway>,
    address: SocketAddr,
    admin_address: SocketAddr,
    folder: PathBuf,
}

/// The demo's secrets; they protect nothing.
pub const SECRETS: [(&str, &str); 3] = [
    ("WALLETWERK_SECRET", "demo-walletwerk-signing-secret"),
    ("PASSWORKS_API_KEY", "demo-passworks-api-key"),
    ("WALLIT_PATH_SECRET", "demo-wallit-path-secret"),
];

/// The configuration of the demo, as one would write it.
const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"

[admin]
listen = "127.0.0.1:0"

[client_quota]
rate = "60/min"
burst = 20

[[route]]
provider = "walletwerk"
secrets = ["env:WALLETWERK_SECRET"]
upstream = "http://@APP@/walletwerk"

[[route]]
provider = "walletwerk"
name = "narrow"
secrets = ["env:WALLETWERK_SECRET"]
upstream = "http://@APP@/narrow"
[route.quota]
rate = "6/min"
burst = 3

[[route]]
provider = "walletwerk"
name = "inline"
secrets = ["env:WALLETWERK_SECRET"]
upstream = "http://@APP@/inline"
delivery = "inline"
[route.quota]
rate = "6/min"
burst = 1

[[route]]
provider = "passworks"
secrets = ["env:PASSWORKS_API_KEY"]
upstream = "http://@APP@/passworks"

[[route]]
provider = "wallit"
secrets = ["env:WALLIT_PATH_SECRET"]
upstream = "http://@APP@/wallit"
"#;

// === impl Stage ===

impl Stage {
    /// Starts app and gateway.
    ///
    /// # Errors
    /// What this machine does not allow.
    pub async fn set() -> Result<Self, String> {
        let folder = temporary_folder().map_err(|error| format!("no temporary folder: {error}"))?;
        let app = App::start().await?;
        let unbound = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut stage = Self {
            app,
            clock: Arc::new(SystemClock::new()),
            gateway: None,
            address: unbound,
            admin_address: unbound,
            folder,
        };
        stage.start_gateway().await?;
        Ok(stage)
    }

    /// Stops the gateway and starts it again on the same store.
    ///
    /// # Errors
    /// If it does not start again.
    pub async fn restart_gateway(&mut self) -> Result<(), String> {
        self.stop_gateway().await;
        self.start_gateway().await
    }

    /// Ends everything and removes the store.
    pub async fn clear(mut self) {
        self.stop_gateway().await;
        // A folder that stays behind in the place for temporary things does no harm.
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    /// Sends a sample to a route, as its platform would.
    ///
    /// # Errors
    /// If the sample makes no request.
    pub async fn send(&self, route: &str, sample: Sample) -> Result<Answer, String> {
        let url = format!("{}/webhooks/{route}", self.gateway_url());
        let url = url.parse().map_err(|_| format!("{url} is no URL"))?;
        let target = Target::new(&url)?;
        let courier = Courier::new(&target)?;
        Ok(courier.carry(&target.parcel(sample)).await)
    }

    /// The secret of a platform.
    pub fn secret(kind: &Kind) -> &'static [u8] {
        let prefix = kind.name.to_ascii_uppercase();
        let of_kind = |(name, _): &&(&str, &str)| name.starts_with(&prefix);
        SECRETS
            .iter()
            .find(of_kind)
            .map_or(b"", |(_, secret)| secret.as_bytes())
    }

    /// Where the app is.
    pub fn app_url(&self) -> String {
        format!("http://{}", self.app.address())
    }

    /// Where the gateway is.
    pub fn gateway_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the gateway's admin listener is.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin_address)
    }

    /// Where the store is.
    pub fn store_path(&self) -> PathBuf {
        self.folder.join("passgate.redb")
    }

    /// Says how to go on by hand.
    pub fn invite(&self) {
        let url = self.gateway_url();
        let [(_, secret), _, (_, path_secret)] = SECRETS;
        say("");
        say("Everything keeps running until Ctrl-C. Try it from another terminal:");
        say("");
        say(
            r#"  BODY='{"event":"card.active","timestamp":"'$(date -u +%FT%TZ)'","data":{"card_id":"c1"}}'"#,
        );
        say(&format!(
            "  SIG=$(printf %s \"$BODY\" | openssl dgst -sha256 -hmac {secret} | sed 's/.* //')"
        ));
        say(&format!(
            "  curl -i {url}/webhooks/walletwerk -d \"$BODY\" -H \"X-WalletWerk-Signature: $SIG\""
        ));
        say(&format!(
            "  curl -i '{url}/webhooks/wallit/{path_secret}?CallbackType=ExternalSubscriberLinked&CallbackToken=t1'"
        ));
        say(&format!("  curl {}/metrics", self.admin_url()));
    }

    async fn start_gateway(&mut self) -> Result<(), String> {
        let text = CONFIG.replace("@APP@", &self.app.address().to_string());
        let file = self.folder.join("config.toml");
        let (config, _) = Config::read(&text, &file, Some(&DemoSecrets))
            .map_err(|remarks| listing(&file, &remarks))?;
        let metrics = Arc::new(Metrics::new());
        let opening = Opening::new(&config, &self.clock, &metrics);
        let store = Arc::new(opening.open().map_err(|failed| failed.message)?);
        let log = Log::new(Box::new(io::sink()), Format::Json, Arc::clone(&self.clock))
            .map_err(|error| format!("the log's thread cannot be started: {error}"))?;
        let parts = Parts {
            store: store.clone(),
            queue: store,
            clock: Arc::clone(&self.clock),
            log,
            metrics,
            limits: Limits::default(),
            source: None,
            passed: Passed::default(),
        };
        let gateway = Gateway::start(config, parts)
            .await
            .map_err(|error| error.to_string())?;
        let first = |places: &[Listen]| places.iter().find_map(Listen::tcp);
        if let (Some(address), Some(admin)) =
            (first(gateway.listening()), first(gateway.admin_listening()))
        {
            (self.address, self.admin_address) = (address, admin);
        }
        self.gateway = Some(gateway);
        Ok(())
    }

    async fn stop_gateway(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop(std::future::pending()).await;
        }
    }
}

fn temporary_folder() -> io::Result<PathBuf> {
    let name = format!("passgate-demo-{:016x}", fastrand::u64(..));
    let folder = std::env::temp_dir().join(name);
    // Fails where it exists already: nobody else's folder is used.
    std::fs::create_dir(&folder)?;
    Ok(folder)
}

struct DemoSecrets;

impl SecretSource for DemoSecrets {
    fn variable(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let found = SECRETS.iter().find(|(other, _)| *other == name);
        found.map(|(_, secret)| Zeroizing::new(secret.as_bytes().to_vec()))
    }

    fn file(&self, _: &Path) -> Result<SecretFile, Unreadable> {
        Err(Unreadable::NotAFile)
    }
}
