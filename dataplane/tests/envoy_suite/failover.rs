//! Priorities and panic.

use model::EndpointId;

use crate::{
    backend::Backend,
    client::get,
    plane::{Plane, eventually, free_port, http_listener, route, to},
};

fn id(backend: &Backend) -> EndpointId {
    EndpointId {
        service: "Service/default/s".parse().unwrap(),
        address: ([127, 0, 0, 1], backend.port).into(),
    }
}

/// Says which backends answer, when all of twenty requests are answered by backends.
async fn answering(port: u16) -> Option<String> {
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let answer = get(port, "h.example", "/").await;
        if answer.status != 200 {
            return None;
        }
        names.insert(answer.backend());
    }
    Some(names.into_iter().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_goes_to_the_next_priority_while_the_first_is_down_and_back() {
    let backends =
        [Backend::start("a").await, Backend::start("b").await, Backend::start("c").await];
    let [a, b, c] = &backends;
    let port = free_port();
    let service = |more: &str| {
        format!(
            "---\nkind: Service\nmetadata: {{ name: s }}\nspec:\n  endpoints:\n    - {{ address: \
             127.0.0.1, port: {} }}\n    - {{ address: 127.0.0.1, port: {} }}\n    - {{ address: \
             127.0.0.1, port: {}, priority: 1 }}\n  failover: {{ {more} }}\n",
            a.port, b.port, c.port
        )
    };
    // So much trusted that half of the first priority carries all.
    let config = http_listener(port)
        + &service("overprovisioningPercent: 200")
        + &route("r", "h.example", &to("s"));
    let mut plane = Plane::with(&config).await;
    let becomes = async |names: &str| {
        eventually(names, async || (answering(port).await? == *names).then_some(())).await;
    };
    becomes("ab").await;
    plane.unhealthy([id(a)]);
    becomes("b").await;
    plane.unhealthy([id(a), id(b)]);
    becomes("c").await;
    plane.unhealthy([]);
    becomes("ab").await;
    // By Envoy's own factor, half of the first priority is trusted with 70 %.
    plane.apply(&service("")).await;
    plane.unhealthy([id(a)]);
    becomes("bc").await;
    plane.unhealthy([id(a), id(b), id(c)]);
    becomes("ab").await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_disregards_health_below_the_panic_threshold_that_is_set() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let port = free_port();
    let service = |percent: u32| {
        format!(
            "---\nkind: Service\nmetadata: {{ name: s }}\nspec:\n  endpoints: [{{ address: 127.0.0.1, \
             port: {} }}, {{ address: 127.0.0.1, port: {} }}]\n  failover: {{ panicThresholdPercent: \
             {percent} }}\n",
            a.port, b.port
        )
    };
    let config = http_listener(port) + &service(60) + &route("r", "h.example", &to("s"));
    let mut plane = Plane::with(&config).await;
    plane.unhealthy([id(&a)]);
    // Half is less than 60 %: both.
    eventually("panic", async || (answering(port).await? == "ab").then_some(())).await;
    let revision = plane.publish(&service(50));
    plane.applied(revision).await;
    plane.unhealthy([id(&a)]);
    eventually("no panic", async || (answering(port).await? == "b").then_some(())).await;
    // Never: who has nobody healthy answers 503.
    plane.apply(&service(0)).await;
    plane.unhealthy([id(&a), id(&b)]);
    eventually("nobody", async || (get(port, "h.example", "/").await.status == 503).then_some(()))
        .await;
    plane.stop().await;
}
