//! Access logs: what a line holds, which requests have one, and where they go.

use std::path::Path;

use serde_json::Value;

use crate::{
    backend::Backend,
    client::{get, send},
    plane::{Plane, eventually, free_port, route, service, to},
};

fn listener(port: u16, logs: &str) -> String {
    format!(
        "kind: Listener\nmetadata: {{ name: web }}\nspec: {{ protocol: HTTP, port: {port}, accessLogs: \
         [{logs}] }}\n"
    )
}

/// Waits until a file has so many lines of JSON.
async fn lines(path: &Path, count: usize) -> Vec<Value> {
    eventually("lines of the access log", async || {
        let text = std::fs::read_to_string(path).ok()?;
        let lines: Vec<Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>().ok()?;
        (lines.len() >= count).then_some(lines)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_line_tells_of_request_route_service_and_client_and_of_no_secret() {
    let backend = Backend::start("a").await;
    let directory = tempfile::tempdir().unwrap();
    let (all, bad) = (directory.path().join("all.log"), directory.path().join("bad.log"));
    let port = free_port();
    let logs = format!(
        "{{ file: {}, headers: {{ shop: X-Shop }} }}, {{ file: {}, minStatus: 400 }}",
        all.display(),
        bad.display()
    );
    let config = listener(port, &logs)
        + &service("a", &[backend.port])
        + &route("r", "shop.example", &to("a"));
    let plane = Plane::with(&config).await;
    let headers = [
        ("x-shop", "seven \"7\""),
        ("authorization", "Bearer secret-word"),
        ("cookie", "secret-word"),
        ("user-agent", "test"),
    ];
    let answer = send(port, "GET", "shop.example", "/cart?x=1", &headers).await;
    assert_eq!(answer.status, 200);
    assert_eq!(get(port, "nobody.example", "/").await.status, 404);

    let found = lines(&all, 2).await;
    let line = &found[0];
    let expected = [
        ("method", Value::from("GET")),
        ("host", "shop.example".into()),
        ("path", "/cart?x=1".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("route", "default/r#0.0".into()),
        ("service", "default/a".into()),
        ("endpoint", format!("127.0.0.1:{}", backend.port).into()),
        ("listener", "default/web".into()),
        ("user_agent", "test".into()),
        ("shop", "seven \"7\"".into()),
    ];
    for (name, value) in expected {
        assert_eq!(line[name], value, "{name} in {line}");
    }
    for name in ["time", "client", "request_id", "duration_ms", "bytes_sent"] {
        assert!(!line[name].is_null(), "{name} in {line}");
    }
    assert!(!line.to_string().contains("secret-word"), "{line}");
    assert_eq!(found[1]["status"], 404, "{}", found[1]);
    let found = lines(&bad, 1).await;
    assert_eq!(found.len(), 1, "only what is 400 or above: {found:?}");
    assert_eq!(found[0]["status"], 404);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_collector_gets_logs_by_otlp() {
    let collector = crate::collector::Collector::start().await;
    let backend = Backend::start("a").await;
    let port = free_port();
    let config = listener(port, "{ otlp: { service: { name: logs } } }")
        + &service("logs", &[collector.port])
        + &service("a", &[backend.port])
        + &route("r", "shop.example", &to("a"));
    let plane = Plane::with(&config).await;
    assert_eq!(get(port, "shop.example", "/told").await.status, 200);
    let body = eventually("a batch of logs", async || collector.bodies().pop()).await;
    // Protobuf keeps texts as they are.
    let text = String::from_utf8_lossy(&body.1);
    assert_eq!(body.0, "/v1/logs");
    for word in ["/told", "default/r#0.0", "default/a", "shop.example"] {
        assert!(text.contains(word), "{word} in {text:?}");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_share_of_requests_is_logged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("some.log");
    let port = free_port();
    let logs = format!("{{ file: {}, samplePercent: 50 }}", path.display());
    let plane = Plane::with(&listener(port, &logs)).await;
    for _ in 0..400 {
        get(port, "nobody.example", "/").await;
    }
    // Fewer than 120 or more than 280 of 400 happens once in 10^15.
    let found = lines(&path, 120).await.len();
    assert!(found <= 280, "{found} of 400");
    plane.stop().await;
}
