//! TLS to endpoints: who is believed, and certificates that rotate under load.

use std::path::Path;

use runtime::identity::{Authority, ClusterId};

use crate::{
    client::{Answer, get},
    load::Load,
    plane::{Plane, eventually, free_port, http_listener, route, to},
    secure_backend::{Issued, SecureBackend, issue, tls},
};

/// Writes files and renames them into place, as rotation tools do.
fn place(directory: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let new = directory.join(format!("{name}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, directory.join(name)).unwrap();
    }
}

fn place_client(directory: &Path, client: &Issued) {
    place(directory, &[("client.key", &client.key), ("client.pem", &client.chain)]);
}

fn service(port: u16, tls: &str, more: &str) -> String {
    format!(
        "---\nkind: Service\nmetadata: {{ name: s }}\nspec:\n  endpoints: [{{ address: 127.0.0.1, port: \
         {port} }}]\n  tls: {{ {tls} }}\n{more}"
    )
}

/// Asks until the answer has this status.
async fn answers(port: u16, status: u16) -> Answer {
    eventually(&status.to_string(), async || {
        let answer = get(port, "h.example", "/").await;
        (answer.status == status).then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_believes_only_the_endpoints_it_is_told_to_believe() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create(ClusterId::random()).unwrap();
    let stranger = Authority::create(ClusterId::random()).unwrap();
    let server = issue(&authority, 1);
    let backend = SecureBackend::start("a", Some(tls(&authority, &server, &["http/1.1"]))).await;
    let path = |name: &str| directory.path().join(name).display().to_string();
    place(
        directory.path(),
        &[("ca.pem", authority.certificate_pem()), ("other.pem", stranger.certificate_pem())],
    );
    place_client(directory.path(), &issue(&authority, 2));
    let pair =
        format!("certificateFile: {}, privateKeyFile: {}", path("client.pem"), path("client.key"));
    let (ca, other) = (path("ca.pem"), path("other.pem"));
    let (name, port) = (&server.name, free_port());
    let good = format!("serverName: {name}, caFile: {ca}, {pair}");
    // Open connections outlive a change of whom to believe, so each request has one of its own.
    let each = "  circuitBreakers: { maxRequestsPerConnection: 1 }\n";
    let config = http_listener(port)
        + &service(backend.port, &good, each)
        + &route("r", "h.example", &to("s"));
    let mut plane = Plane::with(&config).await;
    // The first request finds cluster, endpoints and secrets in place.
    assert_eq!(get(port, "h.example", "/").await.status, 200);

    for (what, tls, status) in [
        (
            "an authority that did not sign it",
            format!("serverName: {name}, caFile: {other}, {pair}"),
            503,
        ),
        (
            "the name that it is for",
            format!("subjectAltNames: [{{ dns: {name} }}], caFile: {ca}, {pair}"),
            200,
        ),
        ("another name", format!("serverName: other.example, caFile: {ca}, {pair}"), 503),
        (
            "another name beside SNI",
            format!(
                "serverName: {name}, subjectAltNames: [{{ dns: b.example }}], caFile: {ca}, {pair}"
            ),
            503,
        ),
        ("no certificate of its own", format!("serverName: {name}, caFile: {ca}"), 503),
        ("TLS 1.3", format!("serverName: {name}, caFile: {ca}, minVersion: '1.3', {pair}"), 200),
        ("the system's authorities", format!("serverName: {name}, {pair}"), 503),
        ("anybody", format!("dangerouslyAcceptAnyCertificate: true, {pair}"), 200),
    ] {
        plane.apply(&service(backend.port, &tls, each)).await;
        let answer = answers(port, status).await;
        for _ in 0..5 {
            assert_eq!(get(port, "h.example", "/").await.status, status, "{what}: {answer:?}");
        }
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_rotated_client_certificates_and_authorities_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create(ClusterId::random()).unwrap();
    let next = Authority::create(ClusterId::random()).unwrap();
    let server = issue(&authority, 1);
    let backend = SecureBackend::start("a", Some(tls(&authority, &server, &["http/1.1"]))).await;
    let path = |name: &str| directory.path().join(name).display().to_string();
    place(directory.path(), &[("ca.pem", authority.certificate_pem())]);
    place_client(directory.path(), &issue(&authority, 2));
    let tls = format!(
        "serverName: {}, caFile: {}, certificateFile: {}, privateKeyFile: {}",
        server.name,
        path("ca.pem"),
        path("client.pem"),
        path("client.key")
    );
    // New connections all the time.
    let more = "  circuitBreakers: { maxRequestsPerConnection: 5 }\n";
    let port = free_port();
    let config = http_listener(port)
        + &service(backend.port, &tls, more)
        + &route("r", "h.example", &to("s"));
    let mut plane = Plane::with(&config).await;
    let load = Load::start(port, "h.example", 2);
    let seen = async |count: usize| {
        eventually("the new certificate", async || {
            (backend.seen.clients.lock().unwrap().len() >= count).then_some(())
        })
        .await;
    };
    seen(1).await;
    for rotation in 0..4 {
        place_client(directory.path(), &issue(&authority, 3 + rotation));
        seen(2 + rotation as usize).await;
    }
    // A bundle with another authority, and a change of the cluster itself.
    let bundle = format!("{}{}", authority.certificate_pem(), next.certificate_pem());
    place(directory.path(), &[("ca.pem", &bundle)]);
    let before = std::time::Instant::now();
    plane.apply(&service(backend.port, &tls, &format!("{more}  connectTimeout: 4s\n"))).await;
    assert!(before.elapsed().as_secs() < 4, "a changed cluster has what it waits for at once");
    let answered = load.answers();
    eventually("more answers", async || (load.answers() > answered + 200).then_some(())).await;
    assert!(load.stop().await > 200);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_speaks_over_tls_what_the_endpoint_chooses() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create(ClusterId::random()).unwrap();
    let server = issue(&authority, 1);
    let both = tls(&authority, &server, &["h2", "http/1.1"]);
    let old = tls(&authority, &server, &["http/1.1"]);
    let (new, old) = (
        SecureBackend::start("new", Some(both)).await,
        SecureBackend::start("old", Some(old)).await,
    );
    let path = |name: &str| directory.path().join(name).display().to_string();
    place(directory.path(), &[("ca.pem", authority.certificate_pem())]);
    place_client(directory.path(), &issue(&authority, 2));
    let tls = format!(
        "serverName: {}, caFile: {}, certificateFile: {}, privateKeyFile: {}",
        server.name,
        path("ca.pem"),
        path("client.pem"),
        path("client.key")
    );
    let port = free_port();
    let mut plane = Plane::with(
        &(http_listener(port)
            + &service(new.port, &tls, "  protocol: Auto\n")
            + &route("r", "h.example", &to("s"))),
    )
    .await;
    let check = "  healthCheck: { by: Envoy, http: { path: /healthz }, interval: 100ms }\n  failover: { \
                 panicThresholdPercent: 0 }\n";
    for (backend, protocol, version) in [
        (&new, "Auto", "HTTP/2.0"),
        (&old, "Auto", "HTTP/1.1"),
        (&new, "HTTP2", "HTTP/2.0"),
        (&new, "HTTP1", "HTTP/1.1"),
    ] {
        for check in ["", check] {
            let more = format!("  protocol: {protocol}\n{check}");
            plane.apply(&service(backend.port, &tls, &more)).await;
            eventually(&format!("{version} by {more}"), async || {
                let answer = get(port, "h.example", "/").await;
                let spoken =
                    (answer.status == 200).then(|| answer.json()["version"].to_string())?;
                (spoken.trim_matches('"') == version).then_some(())
            })
            .await;
        }
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_names_the_field_of_a_missing_authority_file() {
    let port = free_port();
    let mut plane = Plane::start().await;
    let revision = plane.publish(
        &(http_listener(port)
            + &service(9, "serverName: a.example, caFile: /nonexistent/ca.pem", "")
            + &route("r", "h.example", &to("s"))),
    );
    let refusals = plane.refused(revision).await;
    let [refusal] = refusals.as_slice() else { panic!("{refusals:?}") };
    assert_eq!(refusal.object, Some("Service/default/s".parse().unwrap()));
    assert_eq!(refusal.field, "spec.tls.caFile", "{refusal:?}");
    // What has nothing to do with it goes on, this route included.
    assert_eq!(answers(port, 503).await.status, 503);
    plane.stop().await;
}
