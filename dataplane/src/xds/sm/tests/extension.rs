//! A filter's configuration: it waits for its clusters, follows its listener, and leaves with it.

use std::time::Instant;

use envoy_types::pb::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    google::{protobuf::Any, rpc::Status},
};
use model::{Kind, ObjectKey, Revision};

use crate::{
    l7::{
        Resource, ResourceId,
        ResourceType::{self, Cluster, Endpoints, ExtensionConfig, Listener},
        World,
    },
    xds::{ledger::Ledger, sm::Session},
};

fn resource(name: &str, version: &str, clusters: &[&str], wants: &[ResourceId]) -> Resource {
    Resource {
        name: name.into(),
        version: version.into(),
        body: Any::default(),
        clusters: clusters.iter().map(|cluster| (*cluster).into()).collect(),
        wants: wants.to_vec(),
        object: ObjectKey::new(Kind::Listener, "default", "web"),
        origins: Vec::new(),
    }
}

/// A listener with a filter whose configuration is at `version`, and sends to `cluster`.
fn world(revision: u64, version: &str, cluster: &str) -> World {
    let filter = ResourceId::new(ExtensionConfig, "filter");
    let endpoints = ResourceId::new(Endpoints, cluster);
    World::of_resources(
        Revision(revision),
        [
            (Cluster, resource(cluster, "1", &[], &[endpoints])),
            (Endpoints, resource(cluster, "1", &[], &[])),
            (ExtensionConfig, resource("filter", version, &[cluster], &[])),
            (Listener, resource("web", "1", &[], &[filter])),
        ],
    )
}

struct Stream {
    now: Instant,
    session: Session,
    ledger: Ledger,
}

impl Stream {
    fn ask(&mut self, kind: ResourceType, names: &[&str]) {
        let resource_names_subscribe = names.iter().map(|name| (*name).to_owned()).collect();
        self.request(
            kind,
            DeltaDiscoveryRequest { resource_names_subscribe, ..Default::default() },
        );
    }

    fn request(&mut self, kind: ResourceType, request: DeltaDiscoveryRequest) {
        let request = DeltaDiscoveryRequest { type_url: kind.type_url().into(), ..request };
        self.session.handle_request(self.now, &request, &mut self.ledger);
    }

    fn next(&mut self) -> Option<(ResourceType, DeltaDiscoveryResponse)> {
        let response = self.session.poll_delta(self.now, &mut self.ledger)?;
        Some((ResourceType::of_type_url(&response.type_url).unwrap(), response))
    }

    fn answer(&mut self, kind: ResourceType, nonce: String, refusal: Option<&str>) {
        let error_detail =
            refusal.map(|message| Status { message: message.to_owned(), ..Default::default() });
        let request =
            DeltaDiscoveryRequest { response_nonce: nonce, error_detail, ..Default::default() };
        self.request(kind, request);
    }

    /// Takes what comes; returns the kinds with how many came and went.
    fn take_all(&mut self) -> Vec<(ResourceType, usize, usize)> {
        let mut taken = Vec::new();
        while let Some((kind, response)) = self.next() {
            taken.push((kind, response.resources.len(), response.removed_resources.len()));
            self.answer(kind, response.nonce, None);
        }
        taken
    }
}

/// A stream whose Envoy has the first world.
fn settled() -> Stream {
    let session = Session::new(world(1, "1", "a"));
    let mut stream = Stream { now: Instant::now(), session, ledger: Ledger::default() };
    stream.ask(Cluster, &["*"]);
    stream.ask(Endpoints, &["a"]);
    stream.ask(Listener, &["*"]);
    assert_eq!(stream.take_all(), [(Cluster, 1, 0), (Endpoints, 1, 0), (Listener, 1, 0)]);
    // Envoy asks for it once it has taken the listener.
    stream.ask(ExtensionConfig, &["filter"]);
    assert_eq!(stream.take_all(), [(ExtensionConfig, 1, 0)]);
    stream
}

#[test]
fn it_changes_without_its_listener_and_after_its_clusters() {
    let mut stream = settled();
    stream.session.set_world(world(2, "2", "b"));
    assert_eq!(stream.take_all(), [(Cluster, 1, 0)], "the endpoints were not asked for yet");
    stream.ask(Endpoints, &["b"]);
    assert_eq!(stream.take_all(), [(Endpoints, 1, 0), (ExtensionConfig, 1, 0)]);
}

#[test]
fn it_is_not_removed_while_its_listener_may_be_there() {
    let mut stream = settled();
    let cluster = [(Cluster, resource("a", "1", &[], &[ResourceId::new(Endpoints, "a")]))];
    stream.session.set_world(World::of_resources(Revision(2), cluster));
    assert_eq!(stream.take_all(), [(Listener, 0, 1)]);
}

#[test]
fn a_refused_one_keeps_the_one_before_and_its_cluster() {
    let mut stream = settled();
    stream.session.set_world(world(2, "bad", "a"));
    let (kind, response) = stream.next().unwrap();
    assert_eq!(kind, ExtensionConfig);
    stream.answer(kind, response.nonce, Some("no"));
    assert_eq!(stream.take_all(), []);
    let refusals = stream.ledger.refusals(&world(2, "bad", "a"));
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].resource, "TypedExtensionConfig filter");
    // What stands in needs its cluster, though the configuration has it no more.
    stream.session.set_world(world(3, "bad", "b"));
    stream.now += crate::xds::cluster_use::LINGER * 2;
    let gone: usize = stream.take_all().into_iter().map(|(_, _, gone)| gone).sum();
    assert_eq!(gone, 0);
}
