//! Every feature of `HTTPRoute`, by real requests.

use std::time::{Duration, Instant};

use model::EndpointId;

use crate::{
    backend::Backend,
    client::{get, send},
    plane::{Plane, eventually, free_port, http_listener, route, service, to},
};

#[tokio::test(flavor = "multi_thread")]
async fn envoy_hosts_exact_before_wildcard_and_unknown_is_404() {
    let (a, b, c) = (
        Backend::start("exact").await,
        Backend::start("wild").await,
        Backend::start("deeper").await,
    );
    let port = free_port();
    let config = http_listener(port)
        + &service("exact", &[a.port])
        + &service("wild", &[b.port])
        + &service("deeper", &[c.port])
        + &route(
            "exact",
            "shop.example",
            "    - matches: [{ path: { prefix: /a } }]\n      backends: [{ service: { name: exact } }]",
        )
        + &route("wild", "*.shop.example", &to("wild"))
        + &route("deeper", "*.eu.shop.example", &to("deeper"))
        + &route("exact-below-wild", "www.shop.example", &to("exact"));
    let mut plane = Plane::with(&config).await;
    let check = async |host: &str, target: &str, expected: Result<&str, u16>| {
        let answer = get(port, host, target).await;
        match expected {
            Ok(backend) => assert_eq!(answer.backend(), backend, "{host}{target}"),
            Err(status) => assert_eq!(answer.status, status, "{host}{target}"),
        }
        if expected.is_ok() {
            let seen = answer.json()["headers"]["host"].as_str().unwrap().to_owned();
            assert_eq!(seen, host.to_lowercase(), "the backend sees the client's host");
        }
    };
    check("shop.example", "/a", Ok("exact")).await;
    check("shop.example", "/b", Err(404)).await;
    check(&format!("shop.example:{port}"), "/a", Ok("exact")).await;
    check("SHOP.example", "/a", Ok("exact")).await;
    check("www.shop.example", "/", Ok("exact")).await;
    check("x.shop.example", "/", Ok("wild")).await;
    check("X.Shop.Example", "/", Ok("wild")).await;
    check("x.shop.example:99", "/", Ok("wild")).await;
    check("x.y.shop.example", "/", Ok("wild")).await;
    check("x.eu.shop.example", "/", Ok("deeper")).await;
    check("other.example", "/", Err(404)).await;
    check("example", "/", Err(404)).await;
    check("*", "/", Err(404)).await;
    check("10.0.0.1", "/", Err(404)).await;

    // A host for everything, added and taken away.
    plane.apply(&route("all", "*", &to("deeper"))).await;
    check("other.example", "/", Ok("deeper")).await;
    check("x.shop.example", "/", Ok("wild")).await;
    check("shop.example", "/b", Err(404)).await;
    let revision = plane.remove(&["HTTPRoute/default/all"]);
    plane.applied(revision).await;
    check("other.example", "/", Err(404)).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_the_same_host_on_two_listeners_has_two_tables() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let (one, two) = (free_port(), free_port());
    let other = route("other", "shop.example", &to("b")).replace("{ name: web }", "{ name: two }");
    let config = http_listener(one)
        + "---\n"
        + &http_listener(two).replace("name: web", "name: two")
        + &service("a", &[a.port])
        + &service("b", &[b.port])
        + &route("r", "shop.example", &to("a"))
        + &other;
    let plane = Plane::with(&config).await;
    assert_eq!(get(one, "shop.example", "/").await.backend(), "a");
    assert_eq!(get(two, "shop.example", "/").await.backend(), "b");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_matches_by_path_method_header_and_query() {
    let names = ["all", "exact", "prefix", "longer", "regex", "post", "header", "absent", "query"];
    let mut backends = Vec::new();
    let port = free_port();
    let mut config = http_listener(port);
    for name in names {
        let backend = Backend::start(name).await;
        config += &service(name, &[backend.port]);
        backends.push(backend);
    }
    let rule = |matches: &str, name: &str| {
        format!("    - matches: [{matches}]\n      backends: [{{ service: {{ name: {name} }} }}]\n")
    };
    let rules = [
        to("all") + "\n",
        rule("{ path: { prefix: /p } }", "prefix"),
        rule("{ path: { prefix: /p/longer } }", "longer"),
        rule("{ path: { exact: /p/longer/exact } }", "exact"),
        rule(r#"{ path: { regex: "/r[0-9]+" } }"#, "regex"),
        rule("{ path: { prefix: /m }, method: POST }", "post"),
        rule(
            "{ path: { prefix: /h }, headers: [{ name: x-a, exact: one }, { name: x-b, regex: \"t.o\" }] }",
            "header",
        ),
        rule("{ path: { prefix: /n }, headers: [{ name: x-a, present: false }] }", "absent"),
        rule("{ path: { prefix: /q }, query: [{ name: k, exact: v }] }", "query"),
    ];
    config += &route("r", "shop.example", &rules.concat());
    let plane = Plane::with(&config).await;
    let check = async |method: &str, target: &str, headers: &[(&str, &str)], expected: &str| {
        let answer = send(port, method, "shop.example", target, headers).await;
        assert_eq!(answer.backend(), expected, "{method} {target} {headers:?}");
    };
    check("GET", "/", &[], "all").await;
    check("GET", "/p", &[], "prefix").await;
    check("GET", "/p/x", &[], "prefix").await;
    check("GET", "/px", &[], "all").await;
    check("GET", "/p/longer/x", &[], "longer").await;
    check("GET", "/p/longer/exact", &[], "exact").await;
    check("GET", "/p/longer/exact?a=b", &[], "exact").await;
    check("GET", "/r12", &[], "regex").await;
    check("GET", "/r12/x", &[], "all").await;
    check("POST", "/m", &[], "post").await;
    check("GET", "/m", &[], "all").await;
    check("GET", "/h", &[("x-a", "one"), ("x-b", "two")], "header").await;
    check("GET", "/h", &[("x-a", "one")], "all").await;
    check("GET", "/h", &[("x-a", "one"), ("x-b", "twoo")], "all").await;
    check("GET", "/n", &[], "absent").await;
    check("GET", "/n", &[("x-a", "1")], "all").await;
    check("GET", "/q?k=v&z=1", &[], "query").await;
    check("GET", "/q?k=w", &[], "all").await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_edits_rewrites_redirects_and_answers() {
    let a = Backend::start("a").await;
    let port = free_port();
    let rules = "
    - matches: [{ path: { prefix: /edit } }]
      backends: [{ service: { name: a } }]
      requestHeaders:
        set: [{ name: x-set, value: \"100%\" }]
        add: [{ name: x-add, value: two }]
        remove: [x-gone]
      responseHeaders:
        set: [{ name: x-old, value: new }]
        add: [{ name: x-more, value: yes }]
        remove: [x-from]
    - matches: [{ path: { prefix: /old } }]
      backends: [{ service: { name: a } }]
      rewrite: { path: /new, host: inside.example }
    - matches: [{ path: { prefix: /root } }]
      backends: [{ service: { name: a } }]
      rewrite: { path: / }
    - matches: [{ path: { exact: /one } }]
      backends: [{ service: { name: a } }]
      rewrite: { path: /other }
    - matches: [{ path: { prefix: /moved } }]
      redirect: { scheme: https, host: new.example, path: /there, status: 301 }
    - matches: [{ path: { prefix: /path } }]
      redirect: { path: /elsewhere }
    - matches: [{ path: { exact: /ping } }]
      directResponse: { status: 203, body: pong }"
        .replace("value: yes", "value: \"yes\"");
    let config = http_listener(port) + &service("a", &[a.port]) + &route("r", "h.example", &rules);
    let plane = Plane::with(&config).await;

    let headers = [("x-set", "client"), ("x-add", "one"), ("x-gone", "here")];
    let answer = send(port, "GET", "h.example", "/edit", &headers).await;
    let seen = &answer.json()["headers"];
    assert_eq!(seen["x-set"], "100%");
    assert_eq!(seen["x-add"], "one,two");
    assert!(seen.get("x-gone").is_none(), "{seen}");
    assert_eq!(answer.header("x-old"), "new");
    assert_eq!(answer.header("x-more"), "yes");
    assert_eq!(answer.header("x-from"), "");

    let target = async |target: &str| {
        let answer = get(port, "h.example", target).await;
        let json = answer.json();
        (json["target"].as_str().unwrap().to_owned(), json["headers"]["host"].clone())
    };
    assert_eq!(target("/old").await, ("/new".into(), "inside.example".into()));
    assert_eq!(target("/old/x?q=1").await.0, "/new/x?q=1");
    assert_eq!(target("/root").await.0, "/");
    assert_eq!(target("/root/x/y?q=/root").await.0, "/x/y?q=/root");
    assert_eq!(target("/one").await, ("/other".into(), "h.example".into()));

    let moved = get(port, "h.example", "/moved/x").await;
    assert_eq!(
        (moved.status.as_u16(), moved.header("location")),
        (301, "https://new.example/there")
    );
    let host = format!("h.example:{port}");
    let moved = get(port, &host, "/path").await;
    let location = format!("http://{host}/elsewhere");
    assert_eq!((moved.status.as_u16(), moved.header("location")), (302, location.as_str()));
    let pong = get(port, "h.example", "/ping").await;
    assert_eq!((pong.status.as_u16(), &pong.body[..]), (203, &b"pong"[..]));
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_weights_timeouts_and_retries() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let c = Backend::start("c").await;
    let port = free_port();
    let rules = "
    - matches: [{ path: { prefix: /split } }]
      backends:
        - { service: { name: a }, weight: 80 }
        - { service: { name: b }, weight: 20 }
        - { service: { name: c }, weight: 0 }
    - matches: [{ path: { prefix: /slow } }]
      backends: [{ service: { name: a } }]
      timeout: 200ms
    - matches: [{ path: { prefix: /unlimited } }]
      backends: [{ service: { name: a } }]
    - matches: [{ path: { prefix: /retry } }]
      backends: [{ service: { name: c } }]
      retries: { attempts: 3, on: [5xx], backoff: 1ms }
    - matches: [{ path: { prefix: /dead } }]
      backends: [{ service: { name: dead } }]
      retries: { attempts: 3, on: [connect-failure] }";
    let config = http_listener(port)
        + &service("a", &[a.port])
        + &service("b", &[b.port])
        + &service("c", &[c.port])
        // Nobody listens at the first.
        + &service("dead", &[free_port(), a.port])
        + &route("r", "h.example", rules);
    let plane = Plane::with(&config).await;

    let mut counts = [0, 0];
    for _ in 0..400 {
        match get(port, "h.example", "/split").await.backend().as_str() {
            "a" => counts[0] += 1,
            "b" => counts[1] += 1,
            other => panic!("{other} has weight 0"),
        }
    }
    // 400 draws at 0.8: the standard deviation is 8.
    assert!((280..=360).contains(&counts[0]), "{counts:?}");

    let start = Instant::now();
    let slow = send(port, "GET", "h.example", "/slow", &[("x-delay-ms", "5000")]).await;
    assert_eq!(slow.status, 504);
    assert!(start.elapsed() < Duration::from_secs(3));
    let long = send(port, "GET", "h.example", "/unlimited", &[("x-delay-ms", "1000")]).await;
    assert_eq!(long.backend(), "a");

    let answer = send(port, "GET", "h.example", "/retry", &[("x-fail-first", "2")]).await;
    assert_eq!(answer.backend(), "c");
    assert_eq!(c.seen(), 3, "two failures, then the answer");
    for _ in 0..10 {
        assert_eq!(get(port, "h.example", "/dead").await.backend(), "a");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_answers_503_without_endpoints_and_500_without_a_service() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    let config = http_listener(port)
        + &service("none", &[])
        + &service("two", &[a.port, b.port])
        + &route("none", "none.example", &to("none"))
        + &route("two", "two.example", &to("two"))
        + &route("gone", "gone.example", &to("gone"));
    let mut plane = Plane::with(&config).await;
    assert_eq!(get(port, "none.example", "/").await.status, 503);
    assert_eq!(get(port, "gone.example", "/").await.status, 500);

    // An endpoint that fails gets nothing more; when all fail, all get traffic.
    let endpoint = |backend: &Backend| EndpointId {
        service: "Service/default/two".parse().unwrap(),
        address: ([127, 0, 0, 1], backend.port).into(),
    };
    plane.unhealthy([endpoint(&a)]);
    let only_b = async || {
        for _ in 0..20 {
            if get(port, "two.example", "/").await.backend() != "b" {
                return None;
            }
        }
        Some(())
    };
    eventually("the failing endpoint to be left out", only_b).await;
    plane.unhealthy([endpoint(&a), endpoint(&b)]);
    eventually("the panic", async || {
        (get(port, "two.example", "/").await.backend() == "a").then_some(())
    })
    .await;
    plane.stop().await;
}
