//! Strategies for GRPCRoutes.

use proptest::{collection::btree_map, option, prelude::*};
use serde_json::{Value, json};

use crate::{
    generate::{
        Optional, Raw, backends, duration, edits, fault, hosts, object, references, regex, retries,
        with,
    },
    generate_policy,
};

pub(crate) fn grpc_route() -> Raw {
    // Distinct by what is called, so that no match stands twice.
    let matches = btree_map(method(), option::of(headers()), 1..6);
    let spec = (references(3), hosts(), matches, proptest::collection::vec(forwarding(), 5))
        .prop_map(|(listeners, hosts, matches, rules)| {
            let rules: Vec<Value> = matches
                .into_iter()
                .zip(rules)
                .map(|((method, headers), rule)| {
                    let method: Value = serde_json::from_str(&method).expect("it is JSON");
                    let condition = with(json!({ "method": method }), [("headers", headers)]);
                    with(rule, [("matches", Some(json!([condition])))])
                })
                .collect();
            json!({ "listeners": listeners, "hosts": hosts, "rules": rules })
        });
    object("GRPCRoute", spec)
}

/// What is called, as JSON text, which has an order.
fn method() -> BoxedStrategy<String> {
    let name = |exact: &'static str| {
        prop_oneof![
            exact.prop_map(|name| json!({ "exact": name })),
            regex().prop_map(|regex| json!({ "regex": regex })),
        ]
    };
    let (service, method) =
        (name("[a-z]{1,3}(\\.[A-Z][a-z_0-9]{0,4}){0,2}"), name("[A-Z][a-zA-Z0-9_]{0,6}"));
    prop_oneof![
        (service.clone(), option::of(method.clone())).prop_map(|(service, method)| with(
            json!({ "service": service }),
            [("method", method)]
        )),
        method.prop_map(|method| json!({ "method": method })),
    ]
    .prop_map(|value| value.to_string())
    .boxed()
}

fn headers() -> Raw {
    "[!-~]{1,8}".prop_map(|value| json!([{ "name": "x-team", "exact": value }])).boxed()
}

fn forwarding() -> Raw {
    let auth = option::of("[a-c]").prop_map(|name| name.map(|name| json!({ "name": name })));
    let edits = (option::of(edits()), option::of(edits()));
    let times = (option::of(duration(10_000..20_000)), option::of(duration(1..20_000)));
    let more = (option::of(retries()), option::of(fault()), auth, option::of(any::<bool>()));
    (backends(), edits, times, more, generate_policy::policies())
        .prop_map(|(backends, (request, response), (timeout, most), more, policies)| {
            let (retries, fault, auth, grpc_web) = more;
            let fields: [Optional; 9] = [
                ("backends", Some(backends)),
                ("requestHeaders", request),
                ("responseHeaders", response),
                ("timeout", timeout),
                ("grpcTimeoutHeaderMax", most),
                ("retries", retries),
                ("fault", fault),
                ("auth", auth),
                ("grpcWeb", grpc_web.map(Value::from)),
            ];
            with(policies, fields)
        })
        .boxed()
}
