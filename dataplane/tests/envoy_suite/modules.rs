//! Modules act on requests and answers, whichever way the route is found, and are replaced, fail and are
//! missed without harm to anything but what they are for.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use model::ModuleId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    backend::Backend,
    client::{Answer, Client, get, send},
    load::Load,
    plane::{DEADLINE, Plane, eventually, free_port, http_listener, route, service, to},
    wasm::{self, filter},
};

/// Hosts that find their route by a scope, by the script for capitals, by that for wildcards, and by
/// both.
const HOSTS: [&str; 4] = ["a.example", "A.Example", "x.w.example", "X.W.example"];
/// The routes of the hosts above.
const ROUTES: &str = "{ kind: HTTPRoute, name: exact }, { kind: HTTPRoute, name: wild }";
const WILD: &str = "{ kind: HTTPRoute, name: wild }";

fn config(port: u16, backend: &Backend) -> String {
    http_listener(port)
        + &service("a", &[backend.port])
        + &route("exact", "a.example", &to("a"))
        + &route("wild", "*.w.example", &to("a"))
        + &route("free", "free.example", &to("a"))
}

fn module(name: &str, targets: &str, id: ModuleId, fields: &str) -> String {
    format!(
        "---\nkind: FilterModule\nmetadata: {{ name: {name} }}\nspec: {{ targetRefs: [{targets}], \
         sha256: {id}, {fields} }}\n"
    )
}

/// What the service was sent in a header.
fn seen(answer: &Answer, header: &str) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["headers"][header].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_the_sample_filter_acts_whichever_way_the_route_is_found() {
    let path = std::env::var_os("MARCHPROXY_WASM_FILTER").map_or_else(
        || {
            let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
            target.join("wasm-filter/wasm32-unknown-unknown/release/wasm_filter.wasm")
        },
        PathBuf::from,
    );
    let code = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask wasm`", path.display()));
    let backend = Backend::start("a").await;
    let port = free_port();
    let mut plane = Plane::with(&config(port, &backend)).await;
    let id = plane.keep(&code);
    let wanted = "configuration: { header: X-Greeting, value: hello, refuse: [/private] }";
    plane.apply(&module("greets", ROUTES, id, wanted)).await;
    for host in HOSTS {
        let answer = get(port, host, "/shop").await;
        assert_eq!(
            (seen(&answer, "x-greeting"), answer.header("x-greeting")),
            ("hello".into(), "hello")
        );
        let before = backend.seen();
        let refused = get(port, host, "/private/x?y=1").await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body[..]),
            (403, &b"this path is private\n"[..])
        );
        assert_eq!(backend.seen(), before, "{host}: what is refused reaches no service");
        assert_eq!(get(port, host, "/privateer").await.backend(), "a");
    }
    assert_eq!(seen(&get(port, "free.example", "/private").await, "x-greeting"), "");

    // With what it cannot be configured with, what is in force stays, and the object is named.
    let revision = plane.publish(&module("greets", ROUTES, id, "configuration: { header: x-a }"));
    let refusals = plane.refused(revision).await;
    for refusal in &refusals {
        assert_eq!(refusal.object, Some("FilterModule/default/greets".parse().unwrap()));
        assert_eq!(refusal.field, "spec.sha256", "{refusal:?}");
    }
    assert_eq!(get(port, "a.example", "/private").await.status, 403);

    let other = "configuration: { header: x-greeting, value: bye }";
    plane.apply(&module("greets", ROUTES, id, other)).await;
    eventually("the other value", async || {
        let answer = get(port, "a.example", "/private").await;
        (answer.status == 200 && answer.header("x-greeting") == "bye").then_some(())
    })
    .await;
    let revision = plane.remove(&["FilterModule/default/greets"]);
    plane.applied(revision).await;
    eventually("no module", async || {
        get(port, "x.w.example", "/").await.header("x-greeting").is_empty().then_some(())
    })
    .await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_runs_modules_in_their_order_behind_what_lets_requests_in() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let mut plane = Plane::with(&config(port, &backend)).await;
    // Each adds to the same header.
    let [one, two] = ["1", "2"].map(|value| plane.keep(&wasm::adds("x-seen", value)));
    let limit = "---\nkind: RateLimit\nmetadata: { name: few }\nspec: { targetRefs: [{ kind: HTTPRoute, \
                 name: exact }], requests: 3, interval: 1h }\n";
    plane
        .apply(
            &(module("m-a", "{ kind: HTTPRoute, name: exact }", two, "order: 9")
                + &module(
                    "m-b",
                    &format!("{WILD}, {{ kind: Listener, name: web }}"),
                    one,
                    "order: 5",
                )
                + limit),
        )
        .await;
    for _ in 0..3 {
        let answer = get(port, "a.example", "/").await;
        assert_eq!(seen(&answer, "x-seen"), "1,2");
        let answered = answer.headers.get_all("x-answered");
        assert_eq!(answered.iter().collect::<Vec<_>>(), ["2", "1"]);
    }
    // The module that is for listener and route runs once.
    for host in ["free.example", "x.w.example"] {
        assert_eq!(seen(&get(port, host, "/").await, "x-seen"), "1", "{host}");
    }
    // What a limit refuses, no module sees.
    let refused = get(port, "a.example", "/").await;
    assert_eq!((refused.status.as_u16(), refused.header("x-answered")), (429, ""));
    plane.stop().await;
}

/// Envoy goes on behind the filter that kept something back.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_module_sees_the_whole_body_behind_one_that_kept_it_back() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let mut plane = Plane::with(&config(port, &backend)).await;
    let [first, second] =
        [wasm::keeps_back(), wasm::refuses_bodies_of(10)].map(|code| plane.keep(&code));
    let web = "{ kind: Listener, name: web }";
    let modules =
        module("m-a", web, first, "order: 1") + &module("m-b", ROUTES, second, "order: 2");
    plane.apply(&modules).await;
    for host in HOSTS {
        // The service answers when all has come.
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\nx-delay-ms: 500\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        for (end, expected) in [("5\r\nworld\r\n0\r\n\r\n", 418), ("3\r\nyou\r\n0\r\n\r\n", 200)] {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            stream.write_all(format!("{head}5\r\nhello\r\n").as_bytes()).await.unwrap();
            // In another read of Envoy's.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.write_all(end.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            let status = std::str::from_utf8(&answer[9..]).unwrap();
            assert_eq!(status, expected.to_string(), "{host}");
        }
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_replaces_a_module_without_a_failed_request_or_a_drained_listener() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let mut plane = Plane::with(&config(port, &backend)).await;
    let ids: Vec<_> =
        (0..20).map(|n| plane.keep(&wasm::adds("x-version", &n.to_string()))).collect();
    plane.apply(&module("it", ROUTES, ids[0], "")).await;
    let mut kept = Client::connect(port).await.unwrap();
    kept.get("a.example", "/").await.unwrap();
    let load = Load::start(port, "a.example", 2);
    let changed = async |plane: &Plane| {
        plane.statistic("listener_manager.listener_modified").await.unwrap()
            + plane.statistic("listener_manager.listener_added").await.unwrap()
    };
    let listeners = changed(&plane).await;
    for (n, id) in ids.iter().enumerate().skip(1) {
        plane.apply(&module("it", ROUTES, *id, "")).await;
        let replaced = async {
            while seen(&get(port, "a.example", "/").await, "x-version") != n.to_string() {}
        };
        tokio::time::timeout(DEADLINE, replaced).await.expect("the new one acts");
    }
    assert_eq!(changed(&plane).await, listeners, "no listener changed");
    assert_eq!(seen(&kept.get("a.example", "/").await.unwrap(), "x-version"), "19");
    assert!(load.stop().await > 100);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_module_that_traps_fails_closed_and_open_where_that_is_confirmed() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let mut plane = Plane::with(&config(port, &backend)).await;
    let id = plane.keep(&filter(&format!(
        "{} (func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32)
           (if (call $asks (i32.const 300)) (then unreachable)) (i32.const 0))",
        wasm::asks("x-crash")
    )));
    plane.apply(&module("it", ROUTES, id, "")).await;
    let crash = [("x-crash", "1")];
    for host in HOSTS {
        assert_eq!(get(port, host, "/").await.backend(), "a", "{host}");
        let before = backend.seen();
        let failed = send(port, "GET", host, "/", &crash).await;
        assert_eq!((failed.status.as_u16(), backend.seen()), (503, before), "{host}");
        // One that crashes does not take the route away.
        eventually("another machine", async || {
            (get(port, host, "/").await.status == 200).then_some(())
        })
        .await;
    }
    assert_eq!(send(port, "GET", "free.example", "/", &crash).await.backend(), "a");
    let name = "marchproxy_envoy_module_reloads_total{module=\"default/it\",outcome=\"success\"} ";
    // Envoy is read every 15 s.
    eventually(name, async || {
        let series = plane.life.series.borrow();
        let reloads = series.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        // One a crash, at least.
        reloads.filter(|reloads| *reloads >= 4)
    })
    .await;

    plane.apply(&module("it", ROUTES, id, "onFailure: Open, allowUnchecked: true")).await;
    eventually("failing open", async || {
        (send(port, "GET", "a.example", "/", &crash).await.status == 200).then_some(())
    })
    .await;
    for host in HOSTS {
        assert_eq!(send(port, "GET", host, "/", &crash).await.backend(), "a", "{host}");
        assert_eq!(get(port, host, "/").await.backend(), "a", "{host}");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_greedy_module_is_stopped_at_its_limit() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let mut plane = Plane::with(&config(port, &backend)).await;
    // Takes 6 MiB, once, or fails as programs do that get no memory.
    let id = plane.keep(&filter(
        "(global $took (mut i32) (i32.const 0))
         (func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32)
           (if (i32.eqz (global.get $took)) (then
             (if (i32.eq (memory.grow (i32.const 96)) (i32.const -1)) (then unreachable))
             (global.set $took (i32.const 1))))
           (i32.const 0))",
    ));
    for (limit, status) in [(8, 200), (6, 503), (7, 200), (1, 503)] {
        plane.apply(&module("it", ROUTES, id, &format!("memoryLimitMib: {limit}"))).await;
        let first = async {
            loop {
                let answer = get(port, "a.example", "/").await;
                if answer.status == status {
                    return;
                }
            }
        };
        tokio::time::timeout(DEADLINE, first).await.unwrap_or_else(|_| panic!("{limit} MiB"));
    }
    assert_eq!(get(port, "free.example", "/").await.backend(), "a");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_a_module_that_has_not_come_is_never_passed_over() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let mut plane = Plane::with(&config(port, &backend)).await;
    let code = wasm::adds("x-seen", "1");
    let id = runtime::filter_code::sha256(&code);
    plane.apply(&module("it", ROUTES, id, "onFailure: Open, allowUnchecked: true")).await;
    for host in HOSTS {
        let answer = get(port, host, "/").await;
        assert_eq!(answer.status, 503, "{host}: {answer:?}");
        assert_eq!(&answer.body[..], b"a module is not there yet\n");
    }
    assert_eq!(get(port, "free.example", "/").await.backend(), "a");
    assert_eq!(backend.seen(), 1);
    plane.keep(&code);
    plane.modules_came();
    for host in HOSTS {
        eventually("the module", async || {
            let answer = get(port, host, "/").await;
            (answer.status == 200 && seen(&answer, "x-seen") == "1").then_some(())
        })
        .await;
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_no_module_moves_a_request_to_another_route_or_reaches_out() {
    let backend = Backend::start("a").await;
    let port = free_port();
    let rules = "    - { matches: [{ headers: [{ name: x-role, exact: staff }] }], directResponse: { \
                 status: 200, body: secret } }\n    - { backends: [{ service: { name: a } }] }";
    let config = http_listener(port)
        + &service("a", &[backend.port])
        + &route("exact", "a.example", rules)
        + &route("wild", "*.w.example", rules);
    let mut plane = Plane::with(&config).await;
    let id = plane.keep(&wasm::adds("x-role", "staff"));
    plane.apply(&module("it", "{ kind: Listener, name: web }", id, "")).await;
    for host in HOSTS {
        let answer = get(port, host, "/").await;
        assert_eq!(answer.status, 503, "{host}: {answer:?}");
        assert!(answer.body.starts_with(b"a module moved the request"), "{host}");
    }
    assert_eq!(backend.seen(), 0);

    // A call of a service is refused to it, and told by its result.
    let calls = plane.keep(&filter(
        "(import \"env\" \"proxy_http_call\"
           (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
         (import \"env\" \"proxy_send_local_response\"
           (func $answer (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
         (data (i32.const 400) \"default/a\")
         (func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32)
           (drop (call $answer
             (i32.add (i32.const 200) (call $call (i32.const 400) (i32.const 9) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
               (i32.const 1000) (i32.const 600)))
             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
             (i32.const -1)))
           (i32.const 1))",
    ));
    plane.apply(&module("it", "{ kind: Listener, name: web }", calls, "")).await;
    eventually("the answer of the other", async || {
        // 10 is what the ABI says of an internal failure.
        (get(port, "a.example", "/").await.status == 210).then_some(())
    })
    .await;
    assert_eq!(backend.seen(), 0);
    plane.stop().await;
}
