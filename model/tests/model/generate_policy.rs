//! Generates what a rule with backends may say beyond them.

use proptest::{option, prelude::*};
use serde_json::{Value, json};

use crate::generate::{Raw, duration, path, with};

/// What else a rule with backends may say.
pub(crate) fn policies() -> Raw {
    let cookie = ("[a-z]{1,5}", option::of(1..1_000u32), option::of(path())).prop_map(
        |(name, ttl, path)| {
            let path = path.filter(|path| !path.contains(';')).map(Value::from);
            let ttl = ttl.map(|seconds| json!(format!("{seconds}s")));
            with(json!({ "name": name }), [("ttl", ttl), ("path", path)])
        },
    );
    let header = "[xX]-[a-z]{1,4}";
    let affinity = prop_oneof![
        header.prop_map(|name| json!({ "header": name })),
        cookie.clone().prop_map(|cookie| json!({ "cookie": cookie })),
        "[a-z]{1,5}".prop_map(|name| json!({ "query": name })),
    ];
    let session = prop_oneof![
        header.prop_map(|name| json!({ "header": name })),
        cookie.prop_map(|cookie| json!({ "cookie": cookie })),
    ];
    let mirror = option::of(1..=100u32).prop_map(|percent| {
        let percent = percent.map(Value::from);
        json!([with(json!({ "service": { "name": "copy" } }), [("percent", percent)])])
    });
    let times = (option::of(duration(1..10_000)), option::of(duration(1..10_000)));
    (option::of(affinity), option::of(session), option::of(mirror), times)
        .prop_map(|(affinity, session, mirrors, (idle, most))| {
            with(
                json!({}),
                [
                    ("affinity", affinity),
                    ("sessionPersistence", session),
                    ("mirrors", mirrors),
                    ("streamIdleTimeout", idle),
                    ("maxStreamDuration", most),
                ],
            )
        })
        .boxed()
}
