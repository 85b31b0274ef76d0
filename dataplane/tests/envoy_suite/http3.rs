//! HTTP/3 beside HTTP/1.1 and HTTP/2 on the port of the same number.

use std::{
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use dataplane::envoy::Restart;
use tokio::task::JoinHandle;

use crate::{
    backend::Backend,
    certificates::{Authority, TlsClient, certificates},
    http3_client::{Http3, Unanswered},
    plane::{Plane, eventually, free_port, route, service, to},
};

/// Changes under the connections.
const CHANGES: usize = 20;
/// What a listener and an Envoy of before have ended by: a drain of 1 s and what comes after it.
const DRAINED: Duration = Duration::from_secs(4);
/// Connections that stay while something else changes.
const KEPT: usize = 4;

/// A listener with the certificate `a`, and a service behind every host.
fn site(port: u16, directory: &Path, http: &str, backend: &Backend) -> String {
    let tls = certificates(directory, &["a"]);
    format!(
        "kind: Listener\nmetadata: {{ name: web }}\nspec: {{ protocol: HTTPS, port: {port}, tls: {{ \
         {tls} }}, http: {{ {http} }} }}\n"
    ) + &service("a", &[backend.port])
        + &route("r", "*", &to("a"))
        + &route("exact", "a.example", &to("a"))
}

/// A number that is free for TCP and UDP.
fn free_in_both() -> u16 {
    loop {
        let port = free_port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Requests one after the other on connections that are kept until the server closes them; each
/// request has to be answered.
struct Kept {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    /// How often each client connected.
    tasks: Vec<JoinHandle<usize>>,
}

impl Kept {
    fn start(client: &Arc<TlsClient>, port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicU64::new(0));
        let one = |_| {
            let (client, stop, answers) = (client.clone(), stop.clone(), answers.clone());
            tokio::spawn(async move {
                let mut connected = 0;
                loop {
                    let mut connection = Http3::connect(&client, port, "a.example").await.unwrap();
                    connected += 1;
                    loop {
                        match connection.get("a.example", "/").await {
                            Ok(answer) => assert_eq!(answer.status, 200),
                            Err(Unanswered::Closing) => break,
                            Err(Unanswered::Lost(why)) => panic!("a request got lost: {why}"),
                        }
                        answers.fetch_add(1, Ordering::Relaxed);
                        if stop.load(Ordering::Relaxed) {
                            return connected;
                        }
                    }
                }
            })
        };
        let tasks = (0..KEPT).map(one).collect();
        Self { stop, answers, tasks }
    }

    async fn until_answered_again(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        let more = async || (self.answers.load(Ordering::Relaxed) > before + 20).then_some(());
        eventually("further answers", more).await;
    }

    /// Ends it; returns how often clients connected.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut connected = 0;
        for task in self.tasks {
            connected += task.await.unwrap();
        }
        connected
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_speaks_http3_where_it_is_asked_to_and_tells_clients_so() {
    let backend = Backend::start("a").await;
    let directory = tempfile::tempdir().unwrap();
    let (authority, port) = (Authority::new(), free_in_both());
    authority.issue(&["a.example", "b.example"]).write(directory.path(), "a");
    let mut plane = Plane::with(&site(port, directory.path(), "", &backend)).await;
    let client = authority.client();
    let answer = client.get(port, "a.example").await.unwrap();
    assert_eq!(answer.header("alt-svc"), "", "{answer:?}");
    drop(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("no UDP port is taken"));

    plane.apply(&site(port, directory.path(), "http3: {}", &backend)).await;
    let told = format!("h3=\":{port}\"; ma=86400");
    for host in ["a.example", "b.example"] {
        let answer = client.get(port, host).await.unwrap();
        assert_eq!(answer.header("alt-svc"), told, "{answer:?}");
        let over_tcp = answer.json()["headers"]["x-forwarded-for"].clone();
        let mut connection = Http3::connect(&client, port, host).await.unwrap();
        let answer = connection.get(host, "/some?query").await.unwrap();
        assert_eq!(answer.backend(), "a");
        assert_eq!(answer.json()["headers"]["x-forwarded-proto"], "https");
        assert_eq!(answer.json()["headers"]["x-forwarded-for"], over_tcp);
        assert_eq!(answer.header("alt-svc"), told);
    }

    let told_otherwise = "http3: { maxAge: 60s, advertisedPort: 443 }";
    plane.apply(&site(port, directory.path(), told_otherwise, &backend)).await;
    eventually("the other header", async || {
        let answer = client.get(port, "a.example").await?;
        (answer.header("alt-svc") == "h3=\":443\"; ma=60").then_some(())
    })
    .await;

    plane.apply(&site(port, directory.path(), "", &backend)).await;
    eventually("a port that is closed", async || {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok().map(drop)
    })
    .await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_certificates_and_unrelated_changes_cut_no_connection_of_http3() {
    let backend = Backend::start("a").await;
    let directory = tempfile::tempdir().unwrap();
    let (authority, port) = (Authority::new(), free_in_both());
    authority.issue(&["a.example"]).write(directory.path(), "a");
    let mut plane = Plane::with(&site(port, directory.path(), "http3: {}", &backend)).await;
    let client = Arc::new(authority.client());
    let kept = Kept::start(&client, port);
    kept.until_answered_again().await;
    for i in 0..CHANGES {
        let issued = authority.issue(&["a.example"]);
        issued.write(directory.path(), "a");
        let host = format!("h{i}.example");
        plane
            .apply(&(service(&format!("s{i}"), &[backend.port]) + &route(&host, &host, &to("a"))))
            .await;
        eventually("the certificate", async || {
            let connection = Http3::connect(&client, port, "a.example").await.ok()?;
            (connection.certificate == *issued.certificate.der()).then_some(())
        })
        .await;
    }
    kept.until_answered_again().await;
    assert_eq!(kept.stop().await, KEPT, "no connection was closed");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_change_of_the_listener_and_a_hot_restart_fail_no_request_of_http3() {
    let backend = Backend::start("a").await;
    let directory = tempfile::tempdir().unwrap();
    let (authority, port) = (Authority::new(), free_in_both());
    authority.issue(&["a.example"]).write(directory.path(), "a");
    let mut plane = Plane::with(&site(port, directory.path(), "http3: {}", &backend)).await;
    let client = Arc::new(authority.client());
    let kept = Kept::start(&client, port);
    kept.until_answered_again().await;
    plane.apply(&site(port, directory.path(), "http3: {}, idleTimeout: 9s", &backend)).await;
    tokio::time::sleep(DRAINED).await;
    kept.until_answered_again().await;
    plane.restart_envoy(Restart::hot("a test")).await.unwrap();
    tokio::time::sleep(DRAINED).await;
    kept.until_answered_again().await;
    assert!(kept.stop().await >= 3 * KEPT, "clients went over to the new listeners");
    plane.stop().await;
}
