//! A revision is applied when connections are taken, not when the words were understood.

use tokio::net::TcpStream;

use crate::{
    backend::Backend,
    client::{Client, get},
    plane::{Plane, free_port, route, service, to},
};

/// Listeners made, one after the other.
const LISTENERS: usize = 50;
/// Envoys started, each with its first listener.
const STARTS: usize = 5;

fn named(name: &str, port: u16) -> String {
    format!(
        "---\nkind: Listener\nmetadata: {{ name: {name} }}\nspec: {{ protocol: HTTP, port: {port} }}\n"
    )
}

/// A listener with a route of its own.
fn listener(name: &str, port: u16) -> String {
    let route = route(name, &format!("{name}.example"), &to("a"));
    named(name, port) + &route.replace("name: web", &format!("name: {name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_listens_on_every_new_listener_that_is_applied() {
    let a = Backend::start("a").await;
    let mut plane = Plane::with(&service("a", &[a.port])).await;
    for i in 0..LISTENERS {
        let (name, port) = (format!("l{i}"), free_port());
        plane.apply(&listener(&name, port)).await;
        let mut client =
            Client::connect(port).await.unwrap_or_else(|| panic!("{name} refuses connections"));
        let answer = client.get(&format!("{name}.example"), "/").await.expect("an answer");
        assert_eq!(answer.backend(), "a");
    }
    // A listener that moves to another port, too.
    for _ in 0..LISTENERS {
        let port = free_port();
        plane.apply(&named("l0", port)).await;
        assert_eq!(get(port, "l0.example", "/").await.backend(), "a");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_listens_when_its_first_configuration_is_applied() {
    let a = Backend::start("a").await;
    for _ in 0..STARTS {
        let port = free_port();
        let plane = Plane::with(&(service("a", &[a.port]) + &listener("web", port))).await;
        TcpStream::connect(("127.0.0.1", port)).await.expect("the first try succeeds");
        assert_eq!(get(port, "web.example", "/").await.backend(), "a");
        plane.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_listens_on_an_announced_address_that_another_node_has_by_now() {
    let listener = |announce: &str| {
        format!(
            "kind: Listener\nmetadata: {{ name: web }}\nspec: {{ protocol: HTTP, port: 80, address: \
             192.0.2.77{announce} }}\n"
        )
    };
    let mut plane = Plane::start().await;
    // An address that no host here has: no port can be opened there the usual way.
    let revision = plane.publish(&listener(""));
    let refusals = plane.refused(revision).await;
    assert!(refusals[0].message.contains("192.0.2.77"), "{refusals:?}");
    plane.stop().await;
    Plane::with(&listener(", announce: L2")).await.stop().await;
}
