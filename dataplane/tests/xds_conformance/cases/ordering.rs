//! The order of types, over one stream and over several of one connection.

use dataplane::l7::ResourceType::{self, Cluster, Endpoints, Listener, Route};

use super::Setup;
use crate::stream::{Heard, Stream};

/// A client's streams: one for all types, or one for each.
struct Client {
    streams: Vec<(ResourceType, Stream)>,
    aggregated: bool,
}

impl Client {
    async fn open(setup: &Setup, kinds: &[ResourceType]) -> Self {
        let aggregated = setup.variant.is_aggregated();
        let mut streams = Vec::new();
        let opened = if aggregated { &kinds[..1] } else { kinds };
        for kind in opened {
            streams.push((*kind, Stream::open(&setup.channel, setup.variant, *kind).await));
        }
        Self { streams, aggregated }
    }

    fn of(&mut self, kind: ResourceType) -> &mut Stream {
        let aggregated = self.aggregated;
        let found = self.streams.iter_mut().find(|(one, _)| aggregated || *one == kind);
        &mut found.unwrap().1
    }

    /// Hears one resource of a type, or none.
    async fn hears(&mut self, kind: ResourceType, names: &[&str]) -> Heard {
        let heard = self.of(kind).hear().await;
        assert_eq!(heard.kind, kind);
        assert_eq!(heard.resources.iter().map(String::as_str).collect::<Vec<_>>(), names);
        heard
    }

    async fn takes(&mut self, kind: ResourceType, names: &[&str]) -> Heard {
        let heard = self.hears(kind, names).await;
        self.of(kind).acknowledge(&heard).await;
        heard
    }
}

const KINDS: [ResourceType; 4] = [Cluster, Endpoints, Listener, Route];

/// Brings a client to a cluster with endpoints and a route to it.
async fn settled(setup: &mut Setup) -> Client {
    let mut client = Client::open(setup, &KINDS).await;
    setup.target.set(Cluster, &["a"], 1);
    setup.target.set(Endpoints, &["a"], 1);
    setup.target.stage(Route, "r", "a", 1);
    setup.target.publish(1);
    client.of(Cluster).wildcard(Cluster).await;
    client.takes(Cluster, &["a"]).await;
    client.of(Endpoints).subscribe(Endpoints, &["a"]).await;
    client.takes(Endpoints, &["a"]).await;
    client.of(Listener).wildcard(Listener).await;
    client.takes(Listener, &[]).await;
    client.of(Route).subscribe(Route, &["r"]).await;
    client.takes(Route, &["r"]).await;
    client
}

pub(super) async fn make_before_break(mut setup: Setup) {
    let mut client = settled(&mut setup).await;
    setup.target.set(Cluster, &["b"], 1);
    setup.target.set(Endpoints, &["b"], 1);
    setup.target.stage(Route, "r", "b", 2);
    setup.target.publish(2);
    let whole = !setup.variant.is_delta();
    let cluster = client.hears(Cluster, if whole { &["a", "b"] } else { &["b"] }).await;
    client.of(Cluster).acknowledge(&cluster).await;
    client.of(Endpoints).subscribe(Endpoints, &["b"]).await;
    let endpoints = client.hears(Endpoints, &["b"]).await;
    // The route is held until this is answered: a change of it in between is all that comes.
    setup.target.stage(Route, "r", "b", 3);
    setup.target.publish(3);
    client.of(Endpoints).acknowledge(&endpoints).await;
    let route = client.takes(Route, &["r"]).await;
    assert_eq!(route.version, "3");
}

pub(super) async fn break_after_make(mut setup: Setup) {
    let mut client = settled(&mut setup).await;
    setup.target.set(Cluster, &["b"], 1);
    setup.target.set(Endpoints, &["b"], 1);
    let whole = !setup.variant.is_delta();
    client.takes(Cluster, if whole { &["a", "b"] } else { &["b"] }).await;
    client.of(Endpoints).subscribe(Endpoints, &["b"]).await;
    client.takes(Endpoints, &["b"]).await;
    setup.target.stage(Route, "r", "b", 2);
    setup.target.remove(Cluster, "a", 2);
    let route = client.hears(Route, &["r"]).await;
    // The cluster goes when the route is taken, and not before: it is at its old place in this.
    setup.target.set(Cluster, &["b"], 3);
    let cluster = client.takes(Cluster, if whole { &["a", "b"] } else { &["b"] }).await;
    assert_eq!(cluster.version, "3");
    assert!(cluster.removed.is_empty());
    // A changed cluster warms until it hears of its endpoints, and asks for none.
    client.takes(Endpoints, &["b"]).await;
    client.of(Route).acknowledge(&route).await;
    let gone = client.takes(Cluster, if whole { &["b"] } else { &[] }).await;
    assert!(whole || gone.removed.contains("a"));
}

pub(super) async fn no_clusters(mut setup: Setup) {
    setup.target.set(Cluster, &["a"], 1);
    setup.target.stage(Listener, "l", "a", 1);
    setup.target.publish(1);
    let mut client = Client::open(&setup, &[Listener]).await;
    client.of(Listener).wildcard(Listener).await;
    client.takes(Listener, &["l"]).await;
}

pub(super) async fn one_of_two_ends(mut setup: Setup) {
    setup.target.set(Endpoints, &["a", "b"], 1);
    setup.stream.subscribe(Endpoints, &["a"]).await;
    setup.hears(&["a"], 1).await;
    // The first stream ends with a response in flight, for which the second one would wait.
    let mut second = Stream::open(&setup.channel, setup.variant, Endpoints).await;
    second.subscribe(Endpoints, &["b"]).await;
    drop(setup.stream);
    for version in [1, 2, 3] {
        setup.target.set(Endpoints, &["a", "b"], version);
        let heard = second.hear().await;
        assert_eq!(heard.resources.iter().map(String::as_str).collect::<Vec<_>>(), ["b"]);
        second.acknowledge(&heard).await;
    }
}
