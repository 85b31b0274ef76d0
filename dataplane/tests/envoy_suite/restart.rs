//! Envoy and the configuration server die and come back.

use model::AckState;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    backend::Backend,
    client::{Client, get},
    plane::{DEADLINE, Plane, eventually, free_port, http_listener, route, service, to},
    websocket::WebSocket,
};

#[tokio::test(flavor = "multi_thread")]
async fn envoy_killed_comes_back_with_its_configuration() {
    let a = Backend::start("a").await;
    let port = free_port();
    let config =
        http_listener(port) + &service("a", &[a.port]) + &route("r", "shop.example", &to("a"));
    let plane = Plane::with(&config).await;
    for _ in 0..2 {
        let pid = plane.pid();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        eventually("another envoy", async || (plane.pid() != pid).then_some(())).await;
        let answer = eventually("an answer", async || {
            Client::connect(port).await?.get("shop.example", "/").await
        })
        .await;
        assert_eq!(answer.backend(), "a", "the listener opens with its routes, not before");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_reconnecting_is_sent_nothing_again() {
    const HOSTS: usize = 50;
    let a = Backend::start("a").await;
    let port = free_port();
    let mut config = http_listener(port);
    for i in 0..HOSTS {
        let name = format!("s{i}");
        config += &service(&name, &[a.port]);
        config += &route(&name, &format!("h{i}.example"), &to(&name));
    }
    let mut plane = Plane::with(&config).await;
    let mut socket = WebSocket::open(port, "h1.example").await;
    let before = plane.sent();
    assert!(before.0 >= 3 * HOSTS as u64, "clusters, endpoints and scopes were sent");

    plane.restart_xds().await;
    let mut report = plane.report();
    let connected = report
        .wait_for(|report| report.as_ref().is_some_and(|report| report.ack == AckState::Applied));
    tokio::time::timeout(DEADLINE, connected).await.expect("envoy connects again").unwrap();
    let revision = plane.publish(&route("new", "new.example", &to("s0")));
    plane.applied(revision).await;
    let after = plane.sent();
    assert_eq!(after.0 - before.0, 1, "the new scope and nothing else");
    assert!(after.1 - before.1 < 2_000, "{} bytes", after.1 - before.1);
    socket.echo("still here").await;
    assert_eq!(get(port, "new.example", "/").await.backend(), "a");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_of_a_dead_data_plane_is_ended_before_another_starts() {
    let a = Backend::start("a").await;
    let port = free_port();
    let config =
        http_listener(port) + &service("a", &[a.port]) + &route("r", "shop.example", &to("a"));
    let plane = Plane::with(&config).await;
    // What a data plane that died would leave: a process with the bootstrap among its arguments.
    let bootstrap = plane.directory.path().join("envoy-bootstrap.json");
    let mut left = std::process::Command::new("tail")
        .arg("-f")
        .arg(&bootstrap)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = plane.pid();
    std::fs::write(plane.directory.path().join("envoy.pid"), left.id().to_string()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let status = tokio::task::spawn_blocking(move || left.wait().unwrap());
    let status = tokio::time::timeout(DEADLINE, status).await.expect("it is killed").unwrap();
    assert!(!status.success());
    let answer = eventually("an answer", async || {
        Client::connect(port).await?.get("shop.example", "/").await
    })
    .await;
    assert_eq!(answer.backend(), "a");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_sockets_and_files_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let plane = Plane::with(&http_listener(free_port())).await;
    for name in ["xds.sock", "envoy-admin.sock", "envoy-bootstrap.json"] {
        let path = plane.directory.path().join(name);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name} has mode {mode:o}");
    }
    assert!(plane.admin().get("/ready").await.is_ok());
    plane.stop().await;
}
