//! Envoys that take over from each other, fail to, are paused, and crash.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dataplane::envoy::{EnvoyState, Restart, RestartError};
use model::AckState;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    backend::Backend,
    client::{Client, get},
    load::Load,
    plane::{
        DEADLINE, PROVEN_AFTER, Plane, eventually, free_port, http_listener, route, service, to,
    },
    websocket::WebSocket,
};

/// Takeovers one after the other.
const TAKEOVERS: usize = 3;

async fn until_drained(plane: &Plane) {
    let mut status = plane.life.status.subscribe();
    let drained = status.wait_for(|status| status.state == EnvoyState::Ready && !status.draining);
    tokio::time::timeout(DEADLINE, drained).await.expect("the one before ends").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_hot_restart_fails_no_request_and_cuts_no_websocket_before_its_time() {
    let a = Backend::start("a").await;
    let port = free_port();
    let config =
        http_listener(port) + &service("a", &[a.port]) + &route("r", "shop.example", &to("a"));
    let mut plane = Plane::with(&config).await;
    until_drained(&plane).await;
    let load = Load::start(port, "shop.example", 4);
    for i in 0..TAKEOVERS {
        let before = plane.pid();
        let mut socket = WebSocket::open(port, "shop.example").await;
        plane.restart_envoy(Restart::hot("a test")).await.unwrap();
        assert_ne!(plane.pid(), before);
        socket.echo("the one before still carries me").await;
        let served = load.answers();
        eventually("requests", async || (load.answers() > served + 100).then_some(())).await;
        // Changes go to the one that took over, and are acknowledged by it.
        let host = format!("h{i}.example");
        plane.apply(&route(&format!("r{i}"), &host, &to("a"))).await;
        assert_eq!(get(port, &host, "/").await.backend(), "a");
        until_drained(&plane).await;
        assert!(kill(Pid::from_raw(before), None).is_err(), "the one before is gone");
    }
    let status = plane.life.status.borrow().clone();
    assert_eq!(status.epoch as usize, TAKEOVERS);
    assert_eq!(status.last_restart.unwrap().error, None);
    println!("{} requests, none failed", load.stop().await);
    plane.stop().await;
}

/// Makes a program that is an Envoy, but for what it does when it is to take over: it makes the one
/// before close its admin interface, and ends before it is live, since nobody configures it.
fn impostor(directory: &Path) -> PathBuf {
    let real = dataplane::envoy::find(None).unwrap().path;
    let script = format!(
        "#!/bin/sh\nreal={}\ncase \"$*\" in *\"--restart-epoch 0\"*|*version*|*validate*) exec $real \
         \"$@\";; esac\nb=$2; shift 2; sed s/xds.sock/nobody.sock/ $b > $b.broken\n\
         timeout -s KILL 0.5 $real --config-path $b.broken \"$@\"; exit 7\n",
        real.display()
    );
    let path = directory.join("impostor");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_one_that_fails_to_take_over_is_ended_and_the_one_before_goes_on() {
    let a = Backend::start("a").await;
    let port = free_port();
    let programs = tempfile::tempdir().unwrap();
    let path = impostor(programs.path());
    let binary = path.clone();
    let mut plane = Plane::start_with(|envoy| envoy.binary = Some(binary)).await;
    let config =
        http_listener(port) + &service("a", &[a.port]) + &route("r", "shop.example", &to("a"));
    plane.apply(&config).await;
    until_drained(&plane).await;
    let load = Load::start(port, "shop.example", 2);
    let pid = plane.pid();
    let error = plane.restart_envoy(Restart::hot("a test")).await.unwrap_err();
    assert!(matches!(error, RestartError::Ended { .. }), "{error}");
    assert_eq!(plane.pid(), pid);
    let status = plane.life.status.borrow().clone();
    assert_eq!(status.state, EnvoyState::Ready);
    assert!(status.last_restart.unwrap().error.unwrap().contains("exited with code 7"));
    assert!(plane.admin().get("/ready").await.is_err(), "its admin interface is closed for good");

    // The one before is told the configuration again, and answers for it: listeners, too, of which
    // its admin interface would have told when they are open.
    plane.apply(&route("s", "other.example", &to("a"))).await;
    assert_eq!(get(port, "other.example", "/").await.backend(), "a");
    let second = free_port();
    plane.apply(&http_listener(second).replace("name: web", "name: second")).await;
    eventually("the second listener", async || Client::connect(second).await.map(drop)).await;

    // A program that works takes over after all.
    let real = dataplane::envoy::find(None).unwrap().path;
    std::fs::write(&path, format!("#!/bin/sh\nexec {} \"$@\"\n", real.display())).unwrap();
    plane.restart_envoy(Restart::hot("a better one")).await.unwrap();
    assert_ne!(plane.pid(), pid);
    plane.apply(&route("t", "third.example", &to("a"))).await;
    until_drained(&plane).await;
    load.stop().await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_restart_with_drain_ends_one_before_the_other_starts() {
    let a = Backend::start("a").await;
    let port = free_port();
    let config =
        http_listener(port) + &service("a", &[a.port]) + &route("r", "shop.example", &to("a"));
    let plane = Plane::with(&config).await;
    until_drained(&plane).await;
    let before = plane.pid();
    let restart = Restart { reason: "a test".to_owned(), drain: true };
    plane.restart_envoy(restart).await.unwrap();
    assert!(kill(Pid::from_raw(before), None).is_err(), "the one before is gone");
    let answer = eventually("an answer", async || {
        Client::connect(port).await?.get("shop.example", "/").await
    })
    .await;
    assert_eq!(answer.backend(), "a");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_killed_under_load_loses_what_is_measured_here() {
    let a = Backend::start("a").await;
    let port = free_port();
    let config =
        http_listener(port) + &service("a", &[a.port]) + &route("r", "shop.example", &to("a"));
    let plane = Plane::with(&config).await;
    let load = Load::start(port, "shop.example", 2);
    eventually("requests", async || (load.answers() > 100).then_some(())).await;
    let killed = Instant::now();
    kill(Pid::from_raw(plane.pid()), Signal::SIGKILL).unwrap();
    eventually("the first answer after it", async || {
        let answer = Client::connect(port).await?.get("shop.example", "/").await?;
        (answer.status == 200).then_some(())
    })
    .await;
    let window = killed.elapsed();
    println!("requests failed for {window:?} after a kill");
    assert!(window < Duration::from_secs(5), "{window:?}");
    let (answers, bad) = load.outcome().await;
    println!("{answers} answered, {} failed", bad.len());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_has_no_port_but_those_of_its_listeners() {
    let port = free_port();
    let plane = Plane::with(&http_listener(port)).await;
    let ports = eventually("the listener", async || {
        let ports = listening_ports(plane.pid());
        (!ports.is_empty()).then_some(ports)
    })
    .await;
    assert_eq!(ports, [port].into());
    plane.stop().await;
}

/// The TCP ports that a process listens on, by the kernel's own tables.
fn listening_ports(pid: i32) -> std::collections::BTreeSet<u16> {
    let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
            Some(link)
        })
        .collect();
    ["tcp", "tcp6"]
        .iter()
        .flat_map(|table| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap();
            text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        })
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields.get(3) == Some(&"0A");
            let own = inodes.iter().any(|inode| fields.get(9) == Some(&inode.as_str()));
            let port = fields.get(1)?.rsplit(':').next()?;
            (listens && own).then(|| u16::from_str_radix(port, 16).unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_that_crashes_over_and_over_gets_the_revision_before_and_the_next_one_is_tried() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    let config = http_listener(port)
        + &service("a", &[a.port])
        + &service("b", &[b.port])
        + &route("r", "shop.example", &to("a"));
    let mut plane = Plane::with(&config).await;
    // Envoy has to live with it for a time, which is what passes here.
    tokio::time::sleep(PROVEN_AFTER).await;
    let bad = plane.apply(&route("r", "shop.example", &to("b"))).await;
    for _ in 0..3 {
        // What crashes it is this test, each time that it serves the new revision.
        let pid = plane.pid();
        kill(Pid::from_raw(pid), Signal::SIGSEGV).unwrap();
        eventually("another envoy", async || (plane.pid() != pid).then_some(())).await;
        eventually("an answer", async || {
            Client::connect(port).await?.get("shop.example", "/").await
        })
        .await;
    }
    let refused = async || {
        let report = plane.report().borrow().clone()?;
        match report.ack {
            AckState::Refused { refusals } if report.revision == bad => Some(refusals),
            _ => None,
        }
    };
    let refusals = eventually("the refusal", refused).await;
    assert_eq!(refusals[0].object, Some("HTTPRoute/default/r".parse().unwrap()));
    assert!(refusals[0].message.contains("3 crashes within"), "{refusals:?}");
    assert!(refusals[0].message.contains("SIGSEGV"), "{refusals:?}");
    assert_eq!(get(port, "shop.example", "/").await.backend(), "a", "the revision before runs");
    // Health still reaches Envoy, without an end of the refusal.
    plane.unhealthy([]);
    assert_eq!(get(port, "shop.example", "/").await.backend(), "a");
    // Another revision is tried, and answered for.
    plane.apply(&route("r2", "other.example", &to("b"))).await;
    assert_eq!(get(port, "shop.example", "/").await.backend(), "b");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_paused_for_a_time_goes_on_with_what_changed_meanwhile() {
    const PAUSE: Duration = Duration::from_secs(10);
    const CHANGES: usize = 500;
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    let config = http_listener(port)
        + &service("a", &[a.port])
        + &service("b", &[b.port])
        + &route("r", "shop.example", &to("a"));
    let mut plane = Plane::with(&config).await;
    let mut client = Client::connect(port).await.unwrap();
    assert_eq!(client.get("shop.example", "/").await.unwrap().backend(), "a");
    let pid = Pid::from_raw(plane.pid());
    let (before, start) = (plane.sent(), Instant::now());
    kill(pid, Signal::SIGSTOP).unwrap();
    // A request of that time waits, and is answered.
    let waiting = tokio::spawn(async move {
        let answer = client.get("shop.example", "/").await;
        (answer.map(|answer| answer.status), client)
    });
    for i in 0..CHANGES {
        plane.publish(&route("r", "shop.example", &to(if i % 2 == 0 { "b" } else { "a" })));
        tokio::time::sleep(PAUSE / CHANGES as u32).await;
    }
    let during = plane.sent();
    println!("{} resources were sent to the paused one", during.0 - before.0);
    assert!(during.0 - before.0 < 10, "changes coalesce while one response is in flight");
    let last = plane.publish(&route("r", "shop.example", &to("b")));
    tokio::time::sleep(PAUSE.saturating_sub(start.elapsed())).await;
    kill(pid, Signal::SIGCONT).unwrap();
    plane.applied(last).await;
    let (status, mut client) = waiting.await.unwrap();
    assert_eq!(status, Some(http::StatusCode::OK));
    assert_eq!(client.get("shop.example", "/").await.unwrap().backend(), "b");
    assert_eq!(Pid::from_raw(plane.pid()), pid, "it was not taken for dead");
    plane.stop().await;
}
