//! Prints the cost of one change among 10,000 services and 10,000 routes.
//!
//! `cargo run --release -p model --example plan_cost`

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Object, Snapshot, parse, plan_apply};
use serde_json::json;

const SERVICES: usize = 10_000;

fn object(value: &serde_json::Value) -> Object {
    parse::object_from_value(value).unwrap_or_else(|errors| panic!("{errors}"))
}

fn service(n: usize, port: u16) -> Object {
    object(&json!({
        "kind": "Service",
        "metadata": { "name": format!("s{n}") },
        "spec": { "endpoints": [{ "address": "10.0.0.1", "port": port }] },
    }))
}

fn route(n: usize, path: &str) -> Object {
    object(&json!({
        "kind": "HTTPRoute",
        "metadata": { "name": format!("r{n}") },
        "spec": {
            "listeners": [{ "name": "web" }],
            "hosts": [format!("h{n}.example"), "*"],
            "rules": [{
                "matches": [{ "path": { "prefix": format!("{path}{n}") } }],
                "backends": [{ "service": { "name": format!("s{n}") } }],
            }],
        },
    }))
}

/// Returns the shortest of a few runs, since other work on the machine only makes one longer.
fn shortest(mut run: impl FnMut()) -> Duration {
    let once = |()| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    [(); 7].map(once).into_iter().min().expect("there are runs")
}

fn main() {
    let mut base = Snapshot::default();
    base.put(Arc::new(object(&json!({
        "kind": "Listener",
        "metadata": { "name": "web" },
        "spec": { "protocol": "HTTP", "port": 80 },
    }))));
    for n in 0..SERVICES {
        base.put(Arc::new(service(n, 80)));
        base.put(Arc::new(route(n, "/")));
    }
    let changes = [
        ("service", service(5_000, 81)),
        ("route", route(5_000, "/new")),
        ("listener", {
            object(&json!({
                "kind": "Listener",
                "metadata": { "name": "web" },
                "spec": { "protocol": "HTTP", "port": 81 },
            }))
        }),
    ];
    for (what, change) in changes {
        let took = shortest(|| {
            let plan = plan_apply(&base, vec![change.clone()]);
            assert_eq!(plan.unwrap_or_else(|errors| panic!("{errors}")).puts.len(), 1);
        });
        println!("{what}: {took:?}");
    }
    let took = shortest(|| {
        let keys = ["Service/default/s7".parse().expect("a key")];
        assert!(model::plan_delete(&base, &keys).is_err());
    });
    println!("delete: {took:?}");
}
