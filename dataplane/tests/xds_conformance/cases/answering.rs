//! Acknowledgements and refusals, nonces and versions.

use super::Setup;
use crate::stream::Stream;

pub(super) async fn one_in_flight(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.subscribe(setup.kind, &["A", "B"]).await;
    let first = setup.hears(&["A", "B"], 1).await;
    for version in 2..20 {
        setup.target.set(setup.kind, &["A"], version);
    }
    setup.stream.acknowledge(&first).await;
    let expected: &[&str] = if setup.is_whole() { &["A", "B"] } else { &["A"] };
    setup.brings(expected, 19).await;
    setup.is_quiet("B", &["A", "B"], 20).await;
}

pub(super) async fn refused(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.subscribe(setup.kind, &["A", "B"]).await;
    setup.brings(&["A", "B"], 1).await;
    setup.target.set(setup.kind, &["A"], 2);
    let whole: &[&str] = &["A", "B"];
    let expected: &[&str] = if setup.is_whole() { whole } else { &["A"] };
    let heard = setup.hears(expected, 2).await;
    setup.stream.refuse(&heard).await;
    // Another resource is sent, and the refused version is not.
    setup.target.set(setup.kind, &["B"], 3);
    let expected: &[&str] = if setup.is_whole() { whole } else { &["B"] };
    setup.brings(expected, 3).await;
    setup.is_quiet("A", whole, 3).await;
}

pub(super) async fn refused_of_many(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.subscribe(setup.kind, &["A", "B", "C"]).await;
    let heard = setup.hears(&["A", "B"], 1).await;
    setup.stream.refuse(&heard).await;
    // The parts come one after the other; the client takes none that holds A.
    let mut taken = Vec::new();
    loop {
        let heard = setup.stream.hear().await;
        if heard.resources.contains("A") {
            setup.stream.refuse(&heard).await;
        } else {
            setup.stream.acknowledge(&heard).await;
            taken.extend(heard.resources);
        }
        if taken.contains(&"B".to_owned()) {
            break;
        }
    }
    setup.target.set(setup.kind, &["C"], 2);
    loop {
        let heard = setup.stream.hear().await;
        if heard.resources.contains("A") {
            setup.stream.refuse(&heard).await;
        } else {
            setup.stream.acknowledge(&heard).await;
            if heard.resources.contains("C") {
                break;
            }
        }
    }
}

pub(super) async fn stale(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.subscribe(setup.kind, &["A"]).await;
    let first = setup.hears(&["A"], 1).await;
    setup.stream.subscribe_under(setup.kind, &["B"], "no-such-nonce").await;
    setup.target.set(setup.kind, &["A"], 2);
    // Nothing comes until the first one is answered: then both do.
    setup.stream.acknowledge(&first).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let heard = setup.stream.hear().await;
        setup.stream.acknowledge(&heard).await;
        assert!(!heard.resources.is_empty());
        seen.extend(heard.resources.into_iter().filter(|_| heard.version == "2"));
        seen.sort();
        seen.dedup();
    }
    assert_eq!(seen, ["A", "B"]);
    setup.is_quiet("B", &["A", "B"], 2).await;
}

pub(super) async fn unchanged(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.subscribe(setup.kind, &["A", "B"]).await;
    setup.brings(&["A", "B"], 1).await;
    for revision in 2..10 {
        setup.target.publish(revision);
    }
    setup.is_quiet("A", &["A", "B"], 10).await;
}

pub(super) async fn resumed(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.target.set(setup.kind, &["C"], 2);
    let channel = setup.target.connect().await;
    setup.stream = Stream::open(&channel, setup.variant, setup.kind).await;
    let has = [("A", "1"), ("B", "0"), ("C", "2")];
    setup.stream.resume(setup.kind, &["A", "B", "C"], &has).await;
    setup.brings(&["B"], 2).await;
    setup.is_quiet("A", &[], 2).await;
}
