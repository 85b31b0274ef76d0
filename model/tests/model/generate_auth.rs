//! Policies for who may send requests.

use proptest::{option, prelude::*, sample::subsequence};
use serde_json::{Value, json};

pub(crate) fn policy() -> impl Strategy<Value = Value> {
    prop_oneof![
        basic().prop_map(|basic| json!({ "basic": basic })),
        external().prop_map(|external| json!({ "external": external })),
        (basic(), external())
            .prop_map(|(basic, external)| json!({ "basic": basic, "external": external })),
    ]
}

fn basic() -> impl Strategy<Value = Value> {
    option::of("x-[a-z]{1,5}").prop_map(|header| {
        let mut basic = json!({ "usersFile": "/etc/users" });
        if let Some(header) = header {
            basic["userHeader"] = header.into();
        }
        basic
    })
}

fn external() -> impl Strategy<Value = Value> {
    let headers = || subsequence(vec!["x-a", "x-b", "x-c"], 0..3);
    ("[a-c]", option::of("/[a-z]{1,5}"), headers(), headers(), any::<bool>()).prop_map(
        |(name, prefix, request, upstream, open)| {
            let mut external = json!({ "service": { "name": name }, "requestHeaders": request,
                "upstreamHeaders": upstream });
            if let Some(prefix) = prefix {
                external["pathPrefix"] = prefix.into();
            }
            if open {
                external["onFailure"] = "Allow".into();
                external["allowUnchecked"] = true.into();
            }
            external
        },
    )
}
