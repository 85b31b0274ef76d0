//! How many requests pass, whichever way their route is found.

use std::time::{Duration, Instant};

use crate::{
    backend::Backend,
    client::{Answer, send},
    plane::{Plane, eventually, free_port, http_listener, route, service, to},
};

/// Hosts that find their route by a scope, by the script for capitals, by that for wildcards, and by
/// both.
const HOSTS: [&str; 4] = ["a.example", "A.Example", "x.w.example", "X.W.example"];

fn config(port: u16, backend: &Backend) -> String {
    http_listener(port).replace("HTTP, ", "HTTP, http: { trustedHops: 1 }, ")
        + &service("a", &[backend.port])
        + &route("exact", "a.example", &to("a"))
        + &route("wild", "*.w.example", &to("a"))
        + &route("free", "free.example", &to("a"))
}

fn limit(name: &str, fields: &str) -> String {
    format!("---\nkind: RateLimit\nmetadata: {{ name: {name} }}\nspec: {{ {fields} }}\n")
}

/// The routes of the hosts above.
const ROUTES: &str =
    "targetRefs: [{ kind: HTTPRoute, name: exact }, { kind: HTTPRoute, name: wild }]";

/// Asks until it is refused; returns how often it passed, and the refusal.
async fn spend(port: u16, host: &str, headers: &[(&str, &str)]) -> (usize, Answer) {
    for passed in 0..100 {
        let answer = send(port, "GET", host, "/", headers).await;
        if answer.status != 200 {
            return (passed, answer);
        }
    }
    panic!("{host} is not limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_lets_so_many_requests_of_each_value_of_a_header_pass() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let fields = format!("{ROUTES}, requests: 3, interval: 1h, per: {{ header: X-User }}");
    let mut plane = Plane::with(&(config(port, &backend) + &limit("each", &fields))).await;
    // The hosts with capitals are those before them.
    for host in ["a.example", "x.w.example"] {
        for user in ["one", "two"] {
            let (passed, refusal) = spend(port, host, &[("x-user", user)]).await;
            assert_eq!((passed, refusal.status.as_u16()), (3, 429), "{host} {user}");
            assert_eq!(refusal.header("retry-after"), "1200");
            assert_eq!(refusal.header("x-ratelimit-limit"), "3");
            assert_eq!(refusal.header("x-ratelimit-remaining"), "0");
        }
        let (passed, _) = spend(port, host, &[]).await;
        assert_eq!(passed, 3, "{host}: those without it are counted together");
    }
    let seen = backend.seen();
    for host in HOSTS {
        assert_eq!(spend(port, host, &[("x-user", "one")]).await.0, 0, "{host}");
    }
    assert_eq!(backend.seen(), seen, "the service sees nothing that is refused");
    for _ in 0..10 {
        let answer = send(port, "GET", "free.example", "/", &[("x-user", "one")]).await;
        assert_eq!((answer.backend(), answer.header("x-ratelimit-limit")), ("a".into(), ""));
    }
    // What callers of gRPC are told is resource-exhausted.
    let grpc = [("x-user", "one"), ("content-type", "application/grpc")];
    let told = send(port, "GET", "a.example", "/", &grpc).await;
    assert_eq!((told.status.as_u16(), told.header("grpc-status")), (200, "8"));

    for line in [
        "marchproxy_envoy_rate_limit_requests_total{policy=\"default/each\",outcome=\"passed\"} 18",
        "marchproxy_envoy_rate_limit_requests_total{policy=\"default/each\",outcome=\"limited\"} 11",
    ] {
        // Envoy is read every 15 s.
        eventually(line, async || {
            plane.life.series.borrow().lines().any(|found| found == line).then_some(())
        })
        .await;
    }

    let revision = plane.remove(&["RateLimit/default/each"]);
    plane.applied(revision).await;
    for host in HOSTS {
        assert_eq!(send(port, "GET", host, "/", &[("x-user", "one")]).await.backend(), "a");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_limit_of_a_listener_counts_each_client_and_lets_more_pass_in_time() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let fields = "targetRefs: [{ kind: Listener, name: web }], requests: 4, interval: 2s, burst: 6, \
                  per: Client";
    let mut plane = Plane::with(&(config(port, &backend) + &limit("clients", fields))).await;
    let client = |address: &'static str| [("x-forwarded-for", address)];
    for host in ["a.example", "x.w.example", "free.example"] {
        for one in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            let start = Instant::now();
            let (passed, refusal) = spend(port, host, &client(one)).await;
            // Half a second is one more.
            let late = usize::try_from(start.elapsed().as_millis() / 500).unwrap() + 1;
            assert!((6..=6 + late).contains(&passed), "{host} {one}: {passed}");
            assert_eq!((refusal.status.as_u16(), refusal.header("retry-after")), (429, "1"));
        }
        // The same /64.
        let (passed, _) = spend(port, host, &client("2001:db8::2")).await;
        assert!(passed <= 2, "{host}: {passed}");
    }
    spend(port, "a.example", &client("192.0.2.1")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (passed, _) = spend(port, "a.example", &client("192.0.2.1")).await;
    assert!((4..=5).contains(&passed), "an interval lets 4 pass: {passed}");

    // The narrower one decides, where there are several.
    let one = limit("one", &format!("{ROUTES}, requests: 1, interval: 24h"));
    plane.apply(&one).await;
    let (passed, refusal) = spend(port, "a.example", &client("192.0.2.9")).await;
    assert_eq!((passed, refusal.header("retry-after")), (1, "86400"));
    assert_eq!(spend(port, "a.example", &client("192.0.2.10")).await.0, 0, "of all together");
    assert!(spend(port, "free.example", &client("192.0.2.9")).await.0 >= 6);
    plane.stop().await;
}
