//! Listeners beside TCP: Unix sockets, and sockets that a service manager passes on.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::support::app::App;
use crate::support::process::{Process, Said, ended, event, free_address, signal};
use crate::support::sender::{Answer, Request, read_answer};

async fn send(to: &Path, request: &Request) -> Option<Answer> {
    let mut socket = UnixStream::connect(to).await.ok()?;
    socket.write_all(&request.bytes()).await.unwrap();
    read_answer(&mut socket, &mut Vec::new()).await
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_serves_beside_an_address_and_goes_with_its_process() {
    let app = App::willing().await;
    let address = free_address();
    let server = format!("listen = [\"unix:gate.sock\", \"{address}\"]");
    let process = Process::written(app.address, &server, "", "");
    let child = process.start().await;
    let socket = process.path("gate.sock");
    assert_eq!(mode(&socket), 0o660);
    let event = event(1);
    let over_unix = send(&socket, &event).await.unwrap();
    assert_eq!(over_unix.outcome(), "forwarded");
    assert_eq!(event.send(address).await.outcome(), "duplicate");
    signal(&child, "-TERM");
    assert!(ended(child).await.success());
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_on_a_unix_socket_is_this_machine_and_believed_only_where_that_is_trusted() {
    for (trusted, expected) in [("", "127.0.0.1"), ("127.0.0.1", "198.51.100.7")] {
        let app = App::willing().await;
        let server = format!(
            "listen = \"unix:gate.sock\"\nsocket_mode = \"0600\"\ntrusted_proxies = [{}]",
            match trusted {
                "" => String::new(),
                trusted => format!("\"{trusted}\""),
            }
        );
        let process = Process::written(app.address, &server, "", "");
        let _child = process.start().await;
        let socket = process.path("gate.sock");
        assert_eq!(mode(&socket), 0o600);
        let request = event(1).with("X-Forwarded-For: 198.51.100.7");
        assert_eq!(send(&socket, &request).await.unwrap().status, 200);
        let requests = app.requests();
        assert_eq!(requests[0].header("x-forwarded-for"), Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_process_leaves_a_socket_that_is_cleared_away_and_a_living_one_keeps_its_own() {
    let app = App::willing().await;
    let process = Process::written(app.address, "listen = \"unix:gate.sock\"", "", "");
    let socket = process.path("gate.sock");
    let mut child = process.start().await;
    child.kill().await.unwrap();
    assert!(socket.exists(), "nothing is left to clear away");
    let mut child = process.start().await;
    assert_eq!(send(&socket, &event(1)).await.unwrap().status, 200);
    child.kill().await.unwrap();

    fs::remove_file(&socket).unwrap();
    let other = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    other.bind(&SockAddr::unix(&socket).unwrap()).unwrap();
    other.listen(0).unwrap();
    // It lives, though it accepts nobody: the first question is answered by the system, the second by nobody.
    for _ in 0..2 {
        let (code, said) = process.refused().await;
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("gate.sock: another process listens there"),
            "{said}"
        );
    }
    drop(other);

    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "precious").unwrap();
    let (code, said) = process.refused().await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("no socket; it is left alone"), "{said}");
    assert_eq!(fs::read(&socket).unwrap(), b"precious");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_api_needs_no_token_over_a_unix_socket_but_beside_it_beyond_loopback() {
    let app = App::willing().await;
    let admin = "[admin]\nlisten = [\"unix:admin.sock\", \"@ADMIN@\", \"0.0.0.0:@OTHER@\"]";
    let beyond = free_address();
    let admin = admin.replace("@OTHER@", &beyond.port().to_string());
    let process = Process::written(app.address, "", &admin, "");
    let _child = process.start().await;
    let routes = Request::get("/api/v1/routes");
    let routes = routes.without("host").with("Host: localhost");
    let over_unix = send(&process.path("admin.sock"), &routes).await.unwrap();
    assert_eq!(over_unix.status, 200, "{}", over_unix.body);
    assert_eq!(routes.send(process.admin).await.status, 200);
    assert_eq!(routes.send(beyond).await.status, 403);
    assert_eq!(Request::get("/readyz").send(beyond).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_was_passed_on_is_served_by_its_name_and_outlives_the_process() {
    let app = App::willing().await;
    let process = Process::written(app.address, "listen = \"systemd:gate\"", "", "");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = "exec 3<&0 4<&0 0</dev/null
        export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=gate:spare";
    let start = || {
        let mut command = process.command_after(script);
        let passed = OwnedFd::from(listener.try_clone().unwrap());
        command.stdin(Stdio::from(passed)).stdout(Stdio::piped());
        command
    };
    let mut child = process.started(start()).await;
    let said = Said::of(&mut child);
    let spare = said
        .until("passed a socket on that no `listen` names")
        .await;
    assert!(spare.contains("spare"), "{spare}");
    let ready = said.until("passgate is ready").await;
    assert!(ready.contains(&address.to_string()), "{ready}");
    assert_eq!(event(1).send(address).await.outcome(), "forwarded");
    signal(&child, "-TERM");
    assert!(ended(child).await.success());
    // Nobody serves now, and nobody is turned away.
    let sender = tokio::spawn(async move { event(2).send(address).await });
    let _child = process.started(start()).await;
    assert_eq!(sender.await.unwrap().outcome(), "forwarded");
    assert_eq!(app.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_that_was_passed_on_is_left_where_it_is() {
    let app = App::willing().await;
    let process = Process::written(app.address, "listen = \"systemd:gate\"", "", "");
    let path = process.path("passed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let script = "exec 3<&0 0</dev/null
        export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=gate";
    let mut command = process.command_after(script);
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let child = process.started(command).await;
    assert_eq!(send(&path, &event(1)).await.unwrap().outcome(), "forwarded");
    signal(&child, "-TERM");
    assert!(ended(child).await.success());
    assert!(path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_nobody_passed_on_is_a_clear_refusal() {
    let app = App::willing().await;
    let process = Process::written(app.address, "listen = \"systemd:gate\"", "", "");
    let (code, said) = process.refused().await;
    assert_eq!(code, 1, "{said}");
    let expected = "cannot listen on systemd:gate: the service manager passed no such socket on";
    assert!(said.contains(expected), "{said}");
}
