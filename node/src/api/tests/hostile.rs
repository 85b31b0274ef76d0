//! Bodies, queries and paths that nobody should send: an error below 500, and the node goes on.

use http::Method;
use proptest::{prelude::*, test_runner::TestRunner};

use super::harness::{Node, SHOP};
use crate::api::routes::{Input, operations};

/// Cases of each property; each is a request over TLS.
const CASES: u32 = 200;

/// The shop with a few bytes replaced, moved or cut.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits =
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0usize..40), 1..6);
    edits.prop_map(|edits| {
        let mut text = SHOP.as_bytes().to_vec();
        for (at, byte, cut) in edits {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, [byte]);
        }
        text
    })
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => mutated(),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => "[\\[\\]{}:,\"a0 \\n&*!|>-]{0,80}".prop_map(String::into_bytes),
        1 => Just("[".repeat(100_000).into_bytes()),
        1 => Just("a: &a [*a, *a]\n".repeat(50).into_bytes()),
    ]
}

#[test]
fn no_body_query_or_path_makes_the_node_fail() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let node = runtime.block_on(Node::start());
    let posts: Vec<&str> = operations()
        .iter()
        // What takes no body is an order to the data plane, which does not run here.
        .filter(|it| it.method == Method::POST && it.input != Input::Nothing)
        .map(|operation| operation.path)
        .collect();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) };
    let inputs = (prop::sample::select(posts), bodies(), "[a-zA-Z0-9%&=.]{0,30}");
    TestRunner::new(config.clone())
        .run(&inputs, |(path, body, query)| {
            let text = String::from_utf8_lossy(&body).into_owned();
            let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
            let raw = runtime.block_on(node.post(&uri, body));
            prop_assert!(raw.status.as_u16() < 500, "{} to {uri} with {text:?}", raw.status);
            if !raw.status.is_success() {
                prop_assert!(raw.json()["code"].is_string());
            }
            Ok(())
        })
        .unwrap();
    let inputs =
        ("(/v1/(objects|history|tokens|nodes|acks))?[/a-zA-Z0-9%.~-]{0,40}", any::<bool>());
    TestRunner::new(config)
        .run(&inputs, |(path, delete)| {
            let path = format!("/{}", path.trim_start_matches('/'));
            let method = if delete { Method::DELETE } else { Method::GET };
            let token = Some(node.admin.as_str());
            let raw = runtime.block_on(node.call(method, &path, token, &[], ""));
            prop_assert!(raw.status.as_u16() < 500, "{} to {path}", raw.status);
            Ok(())
        })
        .unwrap();
    let healthy = runtime.block_on(node.get("/v1/status"));
    assert_eq!(healthy.status, 200);
    runtime.block_on(node.stop());
}
