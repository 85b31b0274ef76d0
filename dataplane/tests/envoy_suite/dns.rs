//! Endpoints that are found by name, from a DNS server of our own (RFC 1035).

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::net::UdpSocket;

use crate::{
    backend::Backend,
    client::get,
    plane::{Plane, eventually, free_port, http_listener, route, to},
};

/// Answers each question for an IPv4 address with what it is told, for a second; not at all when it
/// is told nothing.
struct Names {
    port: u16,
    addresses: Arc<Mutex<Option<Vec<Ipv4Addr>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Names {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Names {
    async fn start(addresses: Option<&[Ipv4Addr]>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let addresses = Arc::new(Mutex::new(addresses.map(<[_]>::to_vec)));
        let told = addresses.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let Some(addresses) = told.lock().unwrap().clone() else { continue };
                let _ = socket.send_to(&answer(&buffer[..length], &addresses), from).await;
            }
        });
        Self { port, addresses, task }
    }

    fn tell(&self, addresses: &[Ipv4Addr]) {
        *self.addresses.lock().unwrap() = Some(addresses.to_vec());
    }
}

/// Makes the answer to a message with one question.
fn answer(question: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let is_a = question[end - 4..end - 2] == [0, 1];
    let addresses = if is_a { addresses } else { &[] };
    let mut message = question[..2].to_vec();
    // A response with recursion; one question, so many answers, nothing else.
    message.extend([0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    message.extend(&question[12..end]);
    for address in addresses {
        // The name asked for, A, IN, one second, four bytes.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        message.extend(address.octets());
    }
    message
}

const A: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const B: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

fn service(names: &Names, port: u16, more: &str, beside: &str) -> String {
    format!(
        "---\nkind: Service\nmetadata: {{ name: s }}\nspec:\n  dns: {{ name: shop.internal, port: {port}, \
         refreshInterval: 1s, resolvers: [{{ address: 127.0.0.1, port: {} }}]{more} }}\n{beside}",
        names.port
    )
}

/// Two backends at other addresses and the same port.
async fn backends() -> (Backend, Backend, u16) {
    let a = Backend::start_at("a", SocketAddr::from((A, 0))).await;
    let b = Backend::start_at("b", SocketAddr::from((B, a.port))).await;
    let port = a.port;
    (a, b, port)
}

async fn becomes(port: u16, names: &str) {
    eventually(names, async || {
        let mut found = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let answer = get(port, "h.example", "/").await;
            if answer.status != 200 {
                return None;
            }
            found.insert(answer.backend());
        }
        (found.into_iter().collect::<String>() == *names).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_follows_the_addresses_of_a_name() {
    let (a, _b, at) = backends().await;
    let names = Names::start(Some(&[A])).await;
    let port = free_port();
    let config =
        http_listener(port) + &service(&names, at, "", "") + &route("r", "h.example", &to("s"));
    let mut plane = Plane::with(&config).await;
    // The route came when the name was resolved.
    assert_eq!(get(port, "h.example", "/").await.backend(), "a");
    names.tell(&[B]);
    becomes(port, "b").await;
    names.tell(&[A, B]);
    becomes(port, "ab").await;

    // As ways to the same thing, the first one is taken.
    plane.apply(&service(&names, at, ", discovery: Logical, respectTTL: false", "")).await;
    names.tell(&[B, A]);
    becomes(port, "b").await;
    names.tell(&[A]);
    becomes(port, "a").await;

    // With checks of Envoy's, an address that answers badly is left out.
    names.tell(&[A, B]);
    let check = "  healthCheck: { by: Envoy, http: { path: /healthz }, interval: 100ms, \
                 unhealthyThreshold: 1, healthyThreshold: 1 }\n";
    plane.apply(&service(&names, at, "", check)).await;
    becomes(port, "ab").await;
    a.fail(true);
    becomes(port, "b").await;

    // Endpoints in its place, and the name again.
    plane.apply(&crate::plane::service("s", &[at])).await;
    plane.apply(&service(&names, at, "", "")).await;
    a.fail(false);
    becomes(port, "ab").await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_answers_503_for_a_name_without_addresses_and_takes_other_changes_meanwhile() {
    let (_a, _b, at) = backends().await;
    let names = Names::start(Some(&[])).await;
    let port = free_port();
    let config =
        http_listener(port) + &service(&names, at, "", "") + &route("r", "h.example", &to("s"));
    let mut plane = Plane::with(&config).await;
    assert_eq!(get(port, "h.example", "/").await.status, 503);
    let other = Backend::start("other").await;
    plane
        .apply(&(crate::plane::service("o", &[other.port]) + &route("o", "o.example", &to("o"))))
        .await;
    assert_eq!(get(port, "o.example", "/").await.backend(), "other");
    names.tell(&[A]);
    becomes(port, "a").await;
    // And without any again.
    names.tell(&[]);
    eventually("no endpoint", async || {
        (get(port, "h.example", "/").await.status == 503).then_some(())
    })
    .await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_other_changes_soon_though_no_name_server_answers() {
    let (_a, _b, at) = backends().await;
    let names = Names::start(None).await;
    let (port, other) = (free_port(), Backend::start("other").await);
    let mut plane = Plane::with(&http_listener(port)).await;
    plane.publish(&(service(&names, at, "", "") + &route("r", "h.example", &to("s"))));
    let begun = std::time::Instant::now();
    plane
        .apply(&(crate::plane::service("o", &[other.port]) + &route("o", "o.example", &to("o"))))
        .await;
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
    assert_eq!(get(port, "o.example", "/").await.backend(), "other");
    names.tell(&[A]);
    becomes(port, "a").await;
    plane.stop().await;
}
