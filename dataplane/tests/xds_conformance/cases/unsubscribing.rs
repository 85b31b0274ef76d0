//! What is subscribed to no more is sent no more.

use super::Setup;

pub(super) async fn some(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B", "C", "D"], 1);
    setup.stream.subscribe(setup.kind, &["A", "B", "C"]).await;
    setup.brings(&["A", "B", "C"], 1).await;
    setup.stream.unsubscribe(setup.kind, &["B", "C"]).await;
    setup.stream.subscribe(setup.kind, &["D"]).await;
    let expected: &[&str] = if setup.is_whole() { &["A", "D"] } else { &["D"] };
    setup.brings(expected, 1).await;
    setup.target.set(setup.kind, &["B", "C"], 2);
    setup.is_quiet("A", &["A", "D"], 2).await;
}

pub(super) async fn all(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B", "C"], 1);
    setup.stream.subscribe(setup.kind, &["A", "B"]).await;
    setup.brings(&["A", "B"], 1).await;
    setup.stream.unsubscribe(setup.kind, &["A", "B"]).await;
    // Once this is answered, the end of the others is known to be heard.
    setup.stream.subscribe(setup.kind, &["C"]).await;
    setup.brings(&["C"], 1).await;
    setup.target.set(setup.kind, &["A"], 2);
    setup.is_quiet("C", &["C"], 2).await;
}

pub(super) async fn again(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.subscribe(setup.kind, &["A", "B"]).await;
    setup.brings(&["A", "B"], 1).await;
    setup.stream.unsubscribe(setup.kind, &["B"]).await;
    setup.stream.subscribe(setup.kind, &["B"]).await;
    let expected: &[&str] = if setup.is_whole() { &["A", "B"] } else { &["B"] };
    setup.brings(expected, 1).await;
    setup.is_quiet("A", &["A", "B"], 1).await;
}

pub(super) async fn legacy_wildcard(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.wildcard(setup.kind).await;
    setup.brings(&["A", "B"], 1).await;
    setup.stream.subscribe(setup.kind, &["A"]).await;
    setup.brings(&["A"], 1).await;
    setup.target.set(setup.kind, &["B"], 2);
    setup.is_quiet("A", &["A"], 2).await;
}

pub(super) async fn explicit_wildcard(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.subscribe(setup.kind, &["*", "A"]).await;
    setup.brings(&["A", "B"], 1).await;
    setup.stream.unsubscribe(setup.kind, &["*"]).await;
    setup.stream.subscribe(setup.kind, &["Z"]).await;
    // The name that is missing is told, so the end of the wildcard is known to be heard.
    let expected: &[&str] = if setup.is_whole() { &["A"] } else { &[] };
    setup.brings(expected, 1).await;
    setup.target.set(setup.kind, &["B"], 2);
    setup.is_quiet("A", &["A"], 2).await;
}
