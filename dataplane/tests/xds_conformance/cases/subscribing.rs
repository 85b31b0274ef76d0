//! What a subscription brings.

use std::collections::BTreeSet;

use dataplane::l7::ResourceType;

use super::Setup;
use crate::stream::fetch;

pub(super) async fn wildcard(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B", "C"], 1);
    setup.stream.wildcard(setup.kind).await;
    setup.brings(&["A", "B", "C"], 1).await;
    setup.is_quiet("A", &["A", "B", "C"], 1).await;
}

pub(super) async fn wildcard_update(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B", "C"], 1);
    setup.stream.wildcard(setup.kind).await;
    setup.brings(&["A", "B", "C"], 1).await;
    setup.target.set(setup.kind, &["A"], 2);
    let expected: &[&str] = if setup.is_whole() { &["A", "B", "C"] } else { &["A"] };
    setup.brings(expected, 2).await;
    setup.is_quiet("B", &["A", "B", "C"], 2).await;
}

pub(super) async fn wildcard_add(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B", "C"], 1);
    setup.stream.wildcard(setup.kind).await;
    setup.brings(&["A", "B", "C"], 1).await;
    setup.target.set(setup.kind, &["D"], 2);
    let expected: &[&str] = if setup.is_whole() { &["A", "B", "C", "D"] } else { &["D"] };
    setup.brings(expected, 2).await;
    setup.is_quiet("D", &["A", "B", "C", "D"], 2).await;
}

pub(super) async fn wildcard_of_nothing(mut setup: Setup) {
    setup.target.publish(1);
    setup.stream.wildcard(setup.kind).await;
    setup.brings(&[], 1).await;
    setup.is_quiet("A", &["A"], 1).await;
}

pub(super) async fn explicit_wildcard(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.subscribe(setup.kind, &["*"]).await;
    setup.brings(&["A", "B"], 1).await;
    setup.is_quiet("A", &["A", "B"], 1).await;
}

pub(super) async fn no_wildcard(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.subscribe(setup.kind, &[]).await;
    setup.stream.subscribe(setup.kind, &["A"]).await;
    setup.brings(&["A"], 1).await;
    setup.is_quiet("A", &["A"], 1).await;
}

pub(super) async fn names(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B", "C", "D"], 1);
    setup.stream.subscribe(setup.kind, &["B", "D"]).await;
    setup.brings(&["B", "D"], 1).await;
    setup.target.set(setup.kind, &["A"], 2);
    setup.is_quiet("B", &["B", "D"], 2).await;
}

pub(super) async fn names_update(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B", "C", "D"], 1);
    setup.stream.subscribe(setup.kind, &["B", "D"]).await;
    let first = setup.brings(&["B", "D"], 1).await;
    setup.target.set(setup.kind, &["B"], 2);
    let expected: &[&str] = if setup.is_whole() { &["B", "D"] } else { &["B"] };
    let second = setup.brings(expected, 2).await;
    assert_ne!(first.nonce, second.nonce);
    setup.is_quiet("D", &["B", "D"], 2).await;
}

pub(super) async fn created(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.subscribe(setup.kind, &["A", "Z"]).await;
    setup.brings(&["A"], 1).await;
    setup.target.set(setup.kind, &["Z"], 2);
    let expected: &[&str] = if setup.is_whole() { &["A", "Z"] } else { &["Z"] };
    setup.brings(expected, 2).await;
    setup.is_quiet("A", &["A", "Z"], 2).await;
}

pub(super) async fn one_by_one(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B", "C"], 1);
    setup.stream.subscribe(setup.kind, &["A"]).await;
    setup.brings(&["A"], 1).await;
    setup.stream.subscribe(setup.kind, &["B"]).await;
    let expected: &[&str] = if setup.is_whole() { &["A", "B"] } else { &["B"] };
    setup.brings(expected, 1).await;
    setup.is_quiet("A", &["A", "B"], 1).await;
}

pub(super) async fn missing(mut setup: Setup) {
    setup.target.set(setup.kind, &["A"], 1);
    setup.stream.subscribe(setup.kind, &["A", "Z"]).await;
    let heard = setup.brings(&["A"], 1).await;
    assert_eq!(heard.removed, BTreeSet::from(["Z".to_owned()]));
    setup.is_quiet("A", &[], 1).await;
}

pub(super) async fn removed(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.subscribe(setup.kind, &["A", "B"]).await;
    setup.brings(&["A", "B"], 1).await;
    setup.target.remove(setup.kind, "B", 2);
    let heard = setup.brings(&[], 2).await;
    assert_eq!(heard.removed, BTreeSet::from(["B".to_owned()]));
    setup.target.set(setup.kind, &["B"], 3);
    setup.brings(&["B"], 3).await;
    setup.is_quiet("B", &[], 3).await;
}

pub(super) async fn absent(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 1);
    setup.stream.wildcard(setup.kind).await;
    setup.brings(&["A", "B"], 1).await;
    setup.target.remove(setup.kind, "B", 2);
    setup.brings(&["A"], 2).await;
    setup.target.remove(setup.kind, "A", 3);
    setup.brings(&[], 3).await;
    setup.is_quiet("A", &["A"], 3).await;
}

pub(super) async fn two_types(mut setup: Setup) {
    setup.target.set(ResourceType::Cluster, &["A", "B"], 1);
    setup.target.set(ResourceType::Listener, &["A", "B"], 1);
    setup.stream.subscribe(ResourceType::Cluster, &["B"]).await;
    setup.brings(&["B"], 1).await;
    setup.stream.subscribe(ResourceType::Listener, &["B"]).await;
    setup.kind = ResourceType::Listener;
    setup.brings(&["B"], 1).await;
    setup.is_quiet("B", &["B"], 1).await;
    setup.kind = ResourceType::Cluster;
    setup.is_quiet("B", &["B"], 200).await;
}

pub(super) async fn fetched(mut setup: Setup) {
    setup.target.set(setup.kind, &["A", "B"], 7);
    for (names, expected) in
        [(&[][..], &["A", "B"][..]), (&["B", "Z"], &["B"]), (&["*"], &["A", "B"])]
    {
        let heard = fetch(setup.channel.clone(), setup.kind, names).await;
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!((heard.kind, heard.version.as_str()), (setup.kind, "7"));
        assert_eq!(heard.resources, expected);
    }
}
