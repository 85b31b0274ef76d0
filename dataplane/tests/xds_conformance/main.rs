//! The protocol as a client sees it: each case over real gRPC, in each form that it has.
//!
//! The cases are those of the public test harness for control planes (github.com/ii/xds-test-harness:
//! subscribing, unsubscribing, delta), written anew, and those that it has no words for: refusals, stale
//! nonces, what is in flight, versions at a reconnection, the order of types.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod adapter;
mod cases;
mod stream;
mod target;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use cases::{CASES, Setup};
use stream::Variant;

/// Runs all cases that a variant has, for all their types; tells all that fail.
async fn run(variant: Variant) {
    let mut failed = Vec::new();
    let mut passed = 0;
    for case in CASES.iter().filter(|case| case.variants.contains(&variant)) {
        for kind in case.kinds {
            let name = format!("{variant:?} {kind}: {}", case.name);
            let setup = Setup::start(variant, *kind).await;
            match AssertUnwindSafe((case.run)(setup)).catch_unwind().await {
                Ok(()) => passed += 1,
                Err(_) => failed.push(name),
            }
        }
    }
    println!("{variant:?}: {passed} passed, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn state_of_the_world_over_separate_streams_conforms() {
    run(Variant::StateSeparate).await;
}

#[tokio::test]
async fn state_of_the_world_over_the_aggregated_stream_conforms() {
    run(Variant::StateAggregated).await;
}

#[tokio::test]
async fn delta_over_separate_streams_conforms() {
    run(Variant::DeltaSeparate).await;
}

#[tokio::test]
async fn delta_over_the_aggregated_stream_conforms() {
    run(Variant::DeltaAggregated).await;
}
