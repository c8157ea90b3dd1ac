//! The real binary, as its users run it.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::sender::{Request, SECRET, event_at, exchange};

/// The gateway as its users run it.
pub struct Process {
    folder: Arc<tempfile::TempDir>,
    config: PathBuf,
    /// Where senders reach it.
    pub address: SocketAddr,
    /// Where the operator reaches it.
    pub admin: SocketAddr,
}

/// It may take this long to be ready; in a release build it takes a small part of it.
const READY_TIME: Duration = Duration::from_secs(10);

// === impl Process ===

impl Process {
    /// Writes its configuration; nothing runs yet.
    pub fn before(app: SocketAddr) -> Self {
        Self::with(app, "")
    }

    /// The same with `more` lines in its route.
    pub fn with(app: SocketAddr, more: &str) -> Self {
        Self::written(app, "", "", more)
    }

    /// The same with lines in `[server]`, sections of their own, and lines in its route.
    pub fn written(app: SocketAddr, server: &str, sections: &str, route: &str) -> Self {
        let (address, admin) = (free_address(), free_address());
        let listen = match server.contains("listen =") {
            true => String::new(),
            false => format!("listen = \"{address}\""),
        };
        let own_admin = match sections.contains("[admin]") {
            true => String::new(),
            false => format!("[admin]\nlisten = \"{admin}\""),
        };
        let sections = sections.replace("@ADMIN@", &admin.to_string());
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let text = format!(
            "[server]\n{listen}\n{server}\n{own_admin}\n{sections}\n[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://{app}/events\"\n{route}\n"
        );
        let config = folder.path().join("config.toml");
        std::fs::write(&config, text).unwrap();
        Self {
            folder,
            config,
            address,
            admin,
        }
    }

    /// One on the same store at other addresses, which waits for it for so long.
    pub fn successor(&self, lock_wait: &str) -> Self {
        let (address, admin) = (free_address(), free_address());
        let text = std::fs::read_to_string(&self.config).unwrap();
        let text = text
            .replace(&self.address.to_string(), &address.to_string())
            .replace(&self.admin.to_string(), &admin.to_string());
        let config = self.path("successor.toml");
        let store = format!("{text}\n[store]\nlock_wait = \"{lock_wait}\"\n");
        std::fs::write(&config, store).unwrap();
        Self {
            folder: Arc::clone(&self.folder),
            config,
            address,
            admin,
        }
    }

    /// From its next start on, it sends to `target` at its app; gives that back.
    pub fn aim_at(&self, target: &str) -> String {
        let text = std::fs::read_to_string(&self.config).unwrap();
        let is_upstream = |line: &&str| line.starts_with("upstream = ");
        let upstream = text.lines().find(is_upstream).unwrap();
        let app = upstream.split('/').nth(2).unwrap();
        let aimed = format!("upstream = \"http://{app}{target}\"");
        std::fs::write(&self.config, text.replace(upstream, &aimed)).unwrap();
        target.to_owned()
    }

    /// A file beside its configuration.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How it is started.
    pub fn command(&self) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_passgate"), &[])
    }

    /// The same in a shell that does something first, with the command as its arguments.
    pub fn command_after(&self, script: &str) -> Command {
        let script = format!("{script}\nexec \"$@\"");
        self.command_of("sh", &["-c", &script, "sh", env!("CARGO_BIN_EXE_passgate")])
    }

    fn command_of(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(["run", "--config"])
            .arg(&self.config)
            .env("WALLETWERK_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self) -> Child {
        self.started(self.command()).await
    }

    /// The same by a command of the test's own.
    pub async fn started(&self, mut command: Command) -> Child {
        let mut child = command.spawn().unwrap();
        self.until_ready(&mut child).await;
        child
    }

    /// Waits until it is ready.
    pub async fn until_ready(&self, child: &mut Child) {
        let began = Instant::now();
        while !self.is_ready().await {
            assert_eq!(
                child.try_wait().unwrap(),
                None,
                "it ended instead of starting"
            );
            assert!(began.elapsed() < READY_TIME, "it is not ready");
            // Between two looks at another process there is nothing to wait on.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The exit code and all that was said of one that does not start.
    pub async fn refused(&self) -> (i32, String) {
        self.refused_by(self.command()).await
    }

    /// The same by a command of the test's own.
    pub async fn refused_by(&self, mut command: Command) -> (i32, String) {
        let output = command
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .output();
        let output = tokio::time::timeout(Duration::from_secs(10), output);
        let output = output.await.expect("it ends").unwrap();
        let said = [output.stderr, output.stdout].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(!said.contains("panicked"), "{said}");
        (output.status.code().unwrap(), said)
    }

    /// Whether it answers that it is ready.
    pub async fn is_ready(&self) -> bool {
        let Ok(socket) = tokio::net::TcpStream::connect(self.admin).await else {
            return false;
        };
        drop(socket);
        let ready = exchange(self.admin, &Request::get("/readyz").bytes()).await;
        ready.is_some_and(|answer| answer.status == 200)
    }
}

/// An address outside of the range that outgoing connections take theirs from, so that nobody gets it
/// while the process is down.
pub fn free_address() -> SocketAddr {
    loop {
        let port = fastrand::u16(15_000..30_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// An event with the present for its time: a process has no clock set by hand.
pub fn event(n: u64) -> Request {
    let now = passgate::words::time::Clock::now(&passgate::words::time::SystemClock::new());
    Request::walletwerk(
        event_at("card.active", &now.to_rfc3339(), n),
        &format!("d{n}"),
    )
}

/// Sends a signal by its name.
pub fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    let status = std::process::Command::new("kill")
        .args([name, &id])
        .status();
    assert!(status.unwrap().success());
}

/// Waits for its end.
pub async fn ended(mut child: Child) -> ExitStatus {
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    ended.expect("it ends").unwrap()
}

/// What a process says, line by line.
#[derive(Clone, Default)]
pub struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    /// Reads the stdout of a process, which must be piped.
    pub fn of(child: &mut Child) -> Self {
        let said = Self::default();
        let lines = Arc::clone(&said.0);
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                lines.lock().unwrap().push(line);
            }
        });
        said
    }

    /// The lines with this text in them, so far.
    pub fn with(&self, text: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines
            .iter()
            .filter(|line| line.contains(text))
            .cloned()
            .collect()
    }

    /// Waits for a line with this text in it.
    pub async fn until(&self, text: &str) -> String {
        let began = Instant::now();
        loop {
            if let Some(line) = self.with(text).into_iter().next() {
                return line;
            }
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "nobody said {text}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
