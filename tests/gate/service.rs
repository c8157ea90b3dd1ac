//! What the process tells a service manager, and what it asks of the system for itself.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::support::app::{App, Reply};
use crate::support::process::{Process, Said, ended, event, signal};
use crate::support::sender::{Request, exchange};

/// A service manager that listens.
struct Manager(UnixDatagram);

impl Manager {
    fn of(process: &Process, command: &mut Command) -> Self {
        let path = process.path("notify.sock");
        command.env("NOTIFY_SOCKET", &path);
        let socket = UnixDatagram::bind(path).unwrap();
        let patience = Some(Duration::from_secs(20));
        socket.set_read_timeout(patience).unwrap();
        Self(socket)
    }

    fn next(&self) -> String {
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).expect("a message");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// The next message that says this; what is said before it may be these only.
    fn until(&self, line: &str, before: &[&str]) -> String {
        loop {
            let message = self.next();
            if message.lines().any(|other| other == line) {
                return message;
            }
            let is_expected = before.iter().any(|text| message.contains(text));
            assert!(is_expected, "{message:?} before {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_hears_of_start_life_and_end() {
    let app = App::willing().await;
    let server = "drain_delay = \"1s\"\ndrain_timeout = \"20s\"";
    let process = Process::written(app.address, server, "", "");
    let mut command = process.command();
    command.env("WATCHDOG_USEC", "200000");
    let manager = Manager::of(&process, &mut command);
    let child = process.started(command).await;
    let opening = manager.next();
    assert!(opening.contains("STATUS=opening the store\n"), "{opening}");
    assert!(
        opening.contains("EXTEND_TIMEOUT_USEC=30000000\n"),
        "{opening}"
    );
    let ready = manager.until("READY=1", &["opening the store"]);
    let status = format!("STATUS=listening on {}\n", process.address);
    assert!(ready.contains(&status), "{ready}");
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1\n");
    }
    signal(&child, "-TERM");
    let stopping = manager.until("STOPPING=1", &["WATCHDOG=1"]);
    // The delay, the drain, and what closing the store may take.
    assert!(
        stopping.contains("EXTEND_TIMEOUT_USEC=31000000\n"),
        "{stopping}"
    );
    // It is alive while it drains, too; and a manager that no longer listens holds nobody up.
    manager.until("WATCHDOG=1", &[]);
    assert!(ended(child).await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_waits_for_the_store_asks_for_patience_and_is_not_ready() {
    let app = App::willing().await;
    let process = Process::before(app.address);
    let old = process.start().await;
    let next = process.successor("20s");
    let mut command = next.command();
    let manager = Manager::of(&next, &mut command);
    command.stdout(Stdio::piped());
    let mut new = command.spawn().unwrap();
    Said::of(&mut new).until("waiting for it to end").await;
    signal(&old, "-TERM");
    assert!(ended(old).await.success());
    let ready = manager.until("READY=1", &["EXTEND_TIMEOUT_USEC=30000000"]);
    assert!(!ready.contains("EXTEND"), "{ready}");
    signal(&new, "-TERM");
    assert!(ended(new).await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_dumps_no_core_and_takes_no_more_connections_than_it_has_descriptors_for() {
    let app = App::willing().await;
    let process = Process::before(app.address);
    let mut command =
        process.command_after("ulimit -c unlimited; ulimit -S -n 200; ulimit -H -n 300");
    command.stdout(Stdio::piped());
    let mut child = process.started(command).await;
    let said = Said::of(&mut child);
    let starts = said.until("passgate starts").await;
    assert!(starts.contains("\"descriptors_max\":\"300\""), "{starts}");
    assert!(starts.contains("\"connections_max\":\"86\""), "{starts}");
    assert!(starts.contains("\"level\":\"warn\""), "{starts}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id().unwrap())).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let values = line[name.len()..].split_whitespace().take(2);
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(limit("Max open files"), ["300", "300"]);
    let is_root = std::fs::metadata("/proc/self")
        .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    said.until("passgate is ready").await;
    assert_eq!(said.with("it runs as root").len(), usize::from(is_root));
}

/// An event of about 60 KiB.
fn large_event(n: u64) -> Request {
    let body = String::from_utf8(event(n).body).unwrap();
    let large = format!(r#""metadata":{{"note":"{}"}}"#, "x".repeat(60_000));
    let body = body.replace(r#""metadata":{}"#, &large);
    Request::walletwerk(body, &format!("d{n}"))
}

/// Regression: the system ended the process where a file met the limit, and again at every start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_store_may_not_grow_it_refuses_and_lives() {
    let app = App::start(|_, _| Reply::status(503)).await;
    let route = "delivery = \"queue\"";
    let process = Process::written(app.address, "", "[store]\nreserve = \"0B\"", route);
    // In blocks of 512 bytes: less than the log takes.
    let (code, said) = process
        .refused_by(process.command_after("ulimit -f 1000"))
        .await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("LimitFSIZE="), "{said}");
    // 4 MB: a new store, and room for some events.
    let mut command = process.command_after("ulimit -f 8000");
    command.stdout(Stdio::piped());
    let mut child = process.started(command).await;
    let said = Said::of(&mut child);
    said.until("may grow to a limit only").await;
    said.until("a new store was made").await;
    let mut answered = Vec::new();
    let refusal = loop {
        let event = large_event(answered.len() as u64);
        let answer = event.send(process.address).await;
        if answer.status != 200 {
            break answer;
        }
        answered.push(event);
        assert!(answered.len() < 100, "the limit is not met");
    };
    assert_eq!(refusal.status, 503, "{}", refusal.outcome());
    assert!(!answered.is_empty());
    let metrics = exchange(process.admin, &Request::get("/metrics").bytes()).await;
    let metrics = metrics.unwrap().body;
    assert!(!metrics.contains("passgate_store_faults 0\n"), "{metrics}");
    // It is open again as soon as it can be, and still knows them.
    process.until_ready(&mut child).await;
    signal(&child, "-TERM");
    assert!(ended(child).await.success());
    let _child = process.start().await;
    for event in answered {
        let again = event.send(process.address).await;
        assert_eq!((again.status, again.outcome()), (200, "duplicate"));
    }
}

#[tokio::test]
async fn the_bounds_of_the_configuration_hold() {
    let app = App::willing().await;
    let sections =
        "[server.limits]\nheaders = 16\nhead_bytes = \"4KiB\"\ntarget_bytes = \"256B\"\n";
    let process = Process::written(app.address, "", sections, "");
    let _child = process.start().await;
    let with_fields = |count: usize| {
        let plain = event(count as u64);
        // What the request has already, its length among it.
        let more = count - plain.headers.len() - 1;
        (0..more).fold(plain, |request, n| request.with(&format!("X-{n}: y")))
    };
    let long_target = |bytes: usize| Request {
        line: format!("POST /{} HTTP/1.1", "a".repeat(bytes - 1)),
        ..event(0)
    };
    for (request, status) in [
        (with_fields(16), 200),
        (with_fields(17), 431),
        (event(1).with(&format!("X: {}", "y".repeat(4096))), 431),
        (long_target(256), 404),
        (long_target(257), 414),
    ] {
        assert_eq!(
            request.send(process.address).await.status,
            status,
            "{request:?}"
        );
    }
}
