//! A gateway in this process, made from a configuration's text.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use passgate::doors::gateway::{Gateway, Parts};
use passgate::doors::listener::passed::Passed;
use passgate::keepers::log::{Format, Log};
use passgate::keepers::metrics::Metrics;
use passgate::keepers::store::Store;
use passgate::keepers::store::embedded::Embedded;
use passgate::keepers::store::jobs::Queue;
use passgate::keepers::store::memory::Memory;
use passgate::keepers::store::tuning::{Options, Tuning};
use passgate::rules::config::Config;
use passgate::rules::config::source::{ConfigSource, FileSource};
use passgate::rules::config::surroundings::Surroundings;
use passgate::rules::reader::secrets::{SecretFile, SecretSource, Unreadable};
use passgate::words::limits::Limits;
use zeroize::Zeroizing;

use crate::support::app::App;
use crate::support::clock::HandClock;
use crate::support::sender::{Answer, Request, SECRET};

/// A gateway, its app and its clock.
pub struct Gate {
    /// Where senders reach it.
    pub address: SocketAddr,
    /// Where the operator reaches it.
    pub admin: SocketAddr,
    /// The app behind it.
    pub app: App,
    /// Its clock.
    pub clock: Arc<HandClock>,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// What it logged so far.
    pub logged: Logged,
    log: Log,
    gateway: Gateway,
    _folder: Option<tempfile::TempDir>,
}

/// What a gateway is started with.
pub struct Setup {
    app: App,
    config: String,
    clock: Arc<HandClock>,
    store: Option<(Arc<dyn Store>, Arc<dyn Queue>)>,
    limits: Limits,
    file: Option<PathBuf>,
}

/// The lines of a log.
#[derive(Clone, Default)]
pub struct Logged(Arc<Mutex<Vec<u8>>>);

impl Setup {
    /// One WalletWerk route before this app, with `more` lines in its table.
    pub fn walletwerk(app: App, more: &str) -> Self {
        let config = format!(
            "[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://{}/events\"\n{more}\n",
            app.address
        );
        Self::config(app, config)
    }

    /// This configuration; `@APP@` stands for the app's address. Listeners and store are set by the test.
    pub fn config(app: App, config: impl Into<String>) -> Self {
        let mut config = config.into().replace("@APP@", &app.address.to_string());
        // Most of what is tried here is what the gateway itself says; the app's own word is part of it only
        // where the sender waits for it.
        if !config.contains("delivery") {
            config = config.replace("[[route]]", "[[route]]\ndelivery = \"inline\"");
        }
        Self {
            app,
            config,
            clock: Arc::new(HandClock::new()),
            store: None,
            limits: Limits::default(),
            file: None,
        }
    }

    /// The configuration in this file, which may change; it names its listeners itself.
    pub fn from_file(app: App, file: &Path) -> Self {
        Self {
            file: Some(file.to_owned()),
            ..Self::config(app, "")
        }
    }

    /// The same over this store and clock.
    pub fn over<S: Store + Queue>(mut self, store: Arc<S>, clock: Arc<HandClock>) -> Self {
        self.store = Some((store.clone(), store));
        self.clock = clock;
        self
    }

    /// The same within other limits.
    pub fn within(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// The same with a store in memory, and its handle.
    pub fn in_memory(mut self) -> (Self, Arc<Memory>) {
        let store = Arc::new(Memory::new());
        self.store = Some((store.clone(), store.clone()));
        (self, store)
    }

    /// Its clock.
    pub fn clock(&self) -> Arc<HandClock> {
        self.clock.clone()
    }

    /// Starts the gateway.
    pub async fn start(self) -> Gate {
        let source = self
            .file
            .as_deref()
            .map(|file| Arc::new(FileSource::with(file, TestSecrets)));
        let read = match &source {
            Some(source) => source.read(),
            None => {
                let text = format!("{}\n", self.config);
                Config::read(&text, Path::new("test.toml"), Some(&TestSecrets))
            }
        };
        let (mut config, _) =
            read.unwrap_or_else(|mistakes| panic!("{mistakes:#?}\nin {}", self.config));
        if source.is_none() {
            config.server.listen = vec!["127.0.0.1:0".parse().unwrap()];
            config.admin.listen = vec!["127.0.0.1:0".parse().unwrap()];
        }
        let (store, queue, folder): (Arc<dyn Store>, Arc<dyn Queue>, _) = match self.store {
            Some((store, queue)) => (store, queue, None),
            None => {
                let folder = tempfile::tempdir().unwrap();
                let store = open_store(&folder.path().join("test.redb"), self.clock.clone());
                (store.clone(), store, Some(folder))
            }
        };
        let logged = Logged::default();
        let log = Log::new(Box::new(logged.clone()), Format::Json, self.clock.clone()).unwrap();
        let parts = Parts {
            store: Arc::clone(&store),
            queue,
            clock: self.clock.clone(),
            log: log.clone(),
            metrics: Arc::new(Metrics::new()),
            limits: self.limits,
            source: source.map(|source| source as Arc<dyn ConfigSource>),
            passed: Passed::default(),
        };
        let gateway = Gateway::start(config, parts).await.unwrap();
        Gate {
            address: gateway.listening()[0].tcp().unwrap(),
            admin: gateway.admin_listening()[0].tcp().unwrap(),
            app: self.app,
            clock: self.clock,
            store,
            logged,
            log,
            gateway,
            _folder: folder,
        }
    }
}

/// A durable store in this file.
pub fn open_store(path: &Path, clock: Arc<HandClock>) -> Arc<Embedded> {
    Arc::new(
        Embedded::open(Options {
            path: path.to_owned(),
            clock,
            tuning: Tuning::default(),
            on_commit: None,
        })
        .unwrap(),
    )
}

impl Gate {
    /// One WalletWerk route before an app that answers 200.
    pub async fn willing() -> Self {
        Setup::walletwerk(App::willing().await, "").start().await
    }

    /// Sends a request.
    pub async fn send(&self, request: &Request) -> Answer {
        request.send(self.address).await
    }

    /// The metrics.
    pub async fn metrics(&self) -> String {
        Request::get("/metrics").send(self.admin).await.body
    }

    /// The value of one series.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics().await;
        let line = metrics.lines().find(|line| {
            line.rsplit_once(' ')
                .is_some_and(|(name, _)| name == series)
        });
        let line = line.unwrap_or_else(|| panic!("no {series} in\n{metrics}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    /// Asks for one series until it has this value.
    pub async fn reached(&self, series: &str, value: f64) {
        let asking = async { while self.metric(series).await != value {} };
        tokio::time::timeout(Duration::from_secs(20), asking)
            .await
            .unwrap_or_else(|_| panic!("{series} never became {value}"));
    }

    /// Waits until the log holds this.
    pub async fn told(&self, text: &str) {
        let looking = async {
            while !self.logged.text().contains(text) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), looking)
            .await
            .unwrap_or_else(|_| panic!("never said: {text}\n{}", self.logged.text()));
    }

    /// Stops it gently, so that nothing can come to the app any more, and gives the app and the log.
    pub async fn end(self) -> (App, Logged) {
        self.gateway.stop(std::future::pending()).await;
        self.log.close();
        (self.app, self.logged)
    }

    /// Waits until a series is as wished, and fails where it never is.
    pub async fn until(&self, series: &str, is_wished: impl Fn(f64) -> bool) {
        let looking = async {
            while !is_wished(self.metric(series).await) {
                tokio::task::yield_now().await;
            }
        };
        let looked = tokio::time::timeout(std::time::Duration::from_secs(20), looking).await;
        assert!(looked.is_ok(), "{series} is {}", self.metric(series).await);
    }

    /// Stops it gently and leaves the app behind.
    pub async fn retire(self) -> App {
        self.end().await.0
    }

    /// Stops it gently.
    pub async fn stop(self) -> Logged {
        self.gateway.stop(std::future::pending()).await;
        self.log.close();
        self.logged
    }
}

impl Logged {
    /// All of it, as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The secrets that test configurations refer to.
struct TestSecrets;

impl SecretSource for TestSecrets {
    fn variable(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let secrets = HashMap::from([
            ("WALLETWERK_SECRET", SECRET),
            ("WALLETWERK_SECRET_OLD", "walletwerk_previous_secret"),
            ("PASSWORKS_API_KEY", "passworks-live-api-key"),
            ("WALLIT_PATH_SECRET", "wallit-path-secret"),
            ("WALLIT_KEY", "BB772A5B-1E7B-461C-8AC6-CA9E6E2FD2B9"),
            ("WALLIT_SECRET", "test-secret"),
            ("SIGNING_SECRET", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
        ]);
        secrets
            .get(name)
            .map(|secret| Zeroizing::new(secret.as_bytes().to_vec()))
    }

    fn file(&self, path: &Path) -> Result<SecretFile, Unreadable> {
        Surroundings.file(path)
    }
}
