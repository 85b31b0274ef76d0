//! One stream of a client, in any of the forms: it subscribes, hears and answers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use dataplane::l7::ResourceType;
use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::{
            cluster::v3::cluster_discovery_service_client::ClusterDiscoveryServiceClient as Cds,
            discovery::v3::{
                self as pb,
                aggregated_discovery_service_client::AggregatedDiscoveryServiceClient as Ads,
            },
            endpoint::v3::endpoint_discovery_service_client::EndpointDiscoveryServiceClient as Eds,
            extension::v3::extension_config_discovery_service_client::ExtensionConfigDiscoveryServiceClient as Ecds,
            listener::v3::listener_discovery_service_client::ListenerDiscoveryServiceClient as Lds,
            route::v3::{
                route_discovery_service_client::RouteDiscoveryServiceClient as Rds,
                scoped_routes_discovery_service_client::ScopedRoutesDiscoveryServiceClient as Srds,
            },
            secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient as Sds,
        },
    },
    google::rpc::Status,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use crate::target::name;

/// Nothing here takes longer unless it is broken.
const DEADLINE: Duration = Duration::from_secs(10);

/// Requests on their way; no case has more open.
const REQUESTS: usize = 16;

/// The forms of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    StateSeparate,
    StateAggregated,
    DeltaSeparate,
    DeltaAggregated,
}

impl Variant {
    pub(crate) fn is_delta(self) -> bool {
        matches!(self, Self::DeltaSeparate | Self::DeltaAggregated)
    }

    pub(crate) fn is_aggregated(self) -> bool {
        matches!(self, Self::StateAggregated | Self::DeltaAggregated)
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) kind: ResourceType,
    pub(crate) version: String,
    pub(crate) nonce: String,
    pub(crate) resources: BTreeSet<String>,
    pub(crate) removed: BTreeSet<String>,
}

enum Wire {
    Delta(mpsc::Sender<pb::DeltaDiscoveryRequest>, Streaming<pb::DeltaDiscoveryResponse>),
    State(mpsc::Sender<pb::DiscoveryRequest>, Streaming<pb::DiscoveryResponse>),
}

pub(crate) struct Stream {
    wire: Wire,
    /// Who it is, until it has said so: the first message alone does.
    node: Option<Node>,
    /// State of the world: what is subscribed to, and the last nonce, by type.
    names: BTreeMap<ResourceType, BTreeSet<String>>,
    nonces: BTreeMap<ResourceType, String>,
    heard: BTreeSet<String>,
}

impl Stream {
    /// Opens a stream that is `kind`'s where the variant has separate ones.
    pub(crate) async fn open(channel: &Channel, variant: Variant, kind: ResourceType) -> Self {
        let kind = (!variant.is_aggregated()).then_some(kind);
        let wire = if variant.is_delta() {
            let (requests, receiver) = mpsc::channel(REQUESTS);
            Wire::Delta(requests, delta(channel.clone(), kind, ReceiverStream::new(receiver)).await)
        } else {
            let (requests, receiver) = mpsc::channel(REQUESTS);
            Wire::State(requests, state(channel.clone(), kind, ReceiverStream::new(receiver)).await)
        };
        Self {
            wire,
            node: Some(Node { id: "test".into(), ..Default::default() }),
            names: BTreeMap::new(),
            nonces: BTreeMap::new(),
            heard: BTreeSet::new(),
        }
    }

    /// Asks for all, in the old way: a first request that names nothing.
    pub(crate) async fn wildcard(&mut self, kind: ResourceType) {
        self.subscribe(kind, &[]).await;
    }

    pub(crate) async fn subscribe(&mut self, kind: ResourceType, names: &[&str]) {
        let nonce = self.nonces.get(&kind).cloned().unwrap_or_default();
        self.subscribe_under(kind, names, &nonce).await;
    }

    /// Subscribes in a request that answers a given nonce.
    pub(crate) async fn subscribe_under(
        &mut self,
        kind: ResourceType,
        names: &[&str],
        nonce: &str,
    ) {
        let added = names.iter().map(|name| (*name).to_owned());
        self.names.entry(kind).or_default().extend(added);
        self.request(kind, Change { subscribe: names, ..Change::default() }, nonce, None).await;
    }

    pub(crate) async fn unsubscribe(&mut self, kind: ResourceType, names: &[&str]) {
        let subscribed = self.names.entry(kind).or_default();
        subscribed.retain(|name| !names.contains(&name.as_str()));
        if subscribed.is_empty() && matches!(self.wire, Wire::State(..)) {
            // An empty list would do as well here; this is what the public harness sends.
            subscribed.insert(String::new());
        }
        let nonce = self.nonces.get(&kind).cloned().unwrap_or_default();
        self.request(kind, Change { unsubscribe: names, ..Change::default() }, &nonce, None).await;
    }

    /// Delta: connects again with what it has.
    pub(crate) async fn resume(
        &mut self,
        kind: ResourceType,
        names: &[&str],
        versions: &[(&str, &str)],
    ) {
        let change = Change { subscribe: names, versions, ..Change::default() };
        self.request(kind, change, "", None).await;
    }

    pub(crate) async fn acknowledge(&mut self, heard: &Heard) {
        self.request(heard.kind, Change::default(), &heard.nonce, None).await;
    }

    pub(crate) async fn refuse(&mut self, heard: &Heard) {
        let refusal = Status { message: "no".into(), ..Default::default() };
        self.request(heard.kind, Change::default(), &heard.nonce, Some(refusal)).await;
    }

    async fn request(
        &mut self,
        kind: ResourceType,
        change: Change<'_>,
        nonce: &str,
        error_detail: Option<Status>,
    ) {
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (node, type_url) = (self.node.take(), kind.type_url().to_owned());
        let response_nonce = nonce.to_owned();
        match &self.wire {
            Wire::Delta(requests, _) => {
                let versions = change.versions.iter();
                let request = pb::DeltaDiscoveryRequest {
                    node,
                    type_url,
                    resource_names_subscribe: strings(change.subscribe),
                    resource_names_unsubscribe: strings(change.unsubscribe),
                    initial_resource_versions: versions
                        .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
                        .collect::<HashMap<_, _>>(),
                    response_nonce,
                    error_detail,
                    ..Default::default()
                };
                requests.send(request).await.unwrap();
            }
            Wire::State(requests, _) => {
                let names = self.names.get(&kind).into_iter().flatten();
                let request = pb::DiscoveryRequest {
                    node,
                    type_url,
                    resource_names: names.cloned().collect(),
                    response_nonce,
                    error_detail,
                    ..Default::default()
                };
                requests.send(request).await.unwrap();
            }
        }
    }

    /// Waits for a response; no two have one nonce.
    pub(crate) async fn hear(&mut self) -> Heard {
        let heard = tokio::time::timeout(DEADLINE, self.next()).await.expect("a response in time");
        assert!(self.heard.insert(heard.nonce.clone()), "nonce {} again", heard.nonce);
        self.nonces.insert(heard.kind, heard.nonce.clone());
        heard
    }

    async fn next(&mut self) -> Heard {
        match &mut self.wire {
            Wire::Delta(_, responses) => {
                let response = responses.message().await.unwrap().expect("the stream is open");
                Heard {
                    kind: ResourceType::of_type_url(&response.type_url).unwrap(),
                    version: response.system_version_info,
                    nonce: response.nonce,
                    resources: response.resources.into_iter().map(|one| one.name).collect(),
                    removed: response.removed_resources.into_iter().collect(),
                }
            }
            Wire::State(_, responses) => {
                let response = responses.message().await.unwrap().expect("the stream is open");
                Heard {
                    kind: ResourceType::of_type_url(&response.type_url).unwrap(),
                    version: response.version_info,
                    nonce: response.nonce,
                    resources: response.resources.iter().map(name).collect(),
                    removed: BTreeSet::new(),
                }
            }
        }
    }
}

#[derive(Default)]
struct Change<'a> {
    subscribe: &'a [&'a str],
    unsubscribe: &'a [&'a str],
    versions: &'a [(&'a str, &'a str)],
}

async fn delta(
    channel: Channel,
    kind: Option<ResourceType>,
    requests: ReceiverStream<pb::DeltaDiscoveryRequest>,
) -> Streaming<pb::DeltaDiscoveryResponse> {
    use ResourceType as T;
    let opened = match kind {
        None => Ads::new(channel).delta_aggregated_resources(requests).await,
        Some(T::Cluster) => Cds::new(channel).delta_clusters(requests).await,
        Some(T::Endpoints) => Eds::new(channel).delta_endpoints(requests).await,
        Some(T::Secret) => Sds::new(channel).delta_secrets(requests).await,
        Some(T::ExtensionConfig) => Ecds::new(channel).delta_extension_configs(requests).await,
        Some(T::Listener) => Lds::new(channel).delta_listeners(requests).await,
        Some(T::Route) => Rds::new(channel).delta_routes(requests).await,
        Some(T::ScopedRoute) => Srds::new(channel).delta_scoped_routes(requests).await,
    };
    opened.unwrap().into_inner()
}

async fn state(
    channel: Channel,
    kind: Option<ResourceType>,
    requests: ReceiverStream<pb::DiscoveryRequest>,
) -> Streaming<pb::DiscoveryResponse> {
    use ResourceType as T;
    let opened = match kind {
        None => Ads::new(channel).stream_aggregated_resources(requests).await,
        Some(T::Cluster) => Cds::new(channel).stream_clusters(requests).await,
        Some(T::Endpoints) => Eds::new(channel).stream_endpoints(requests).await,
        Some(T::Secret) => Sds::new(channel).stream_secrets(requests).await,
        Some(T::ExtensionConfig) => Ecds::new(channel).stream_extension_configs(requests).await,
        Some(T::Listener) => Lds::new(channel).stream_listeners(requests).await,
        Some(T::Route) => Rds::new(channel).stream_routes(requests).await,
        Some(T::ScopedRoute) => Srds::new(channel).stream_scoped_routes(requests).await,
    };
    opened.unwrap().into_inner()
}

/// Fetches by the unary method of a type.
pub(crate) async fn fetch(channel: Channel, kind: ResourceType, names: &[&str]) -> Heard {
    use ResourceType as T;
    let resource_names = names.iter().map(|name| (*name).to_owned()).collect();
    let request = pb::DiscoveryRequest { resource_names, ..Default::default() };
    let fetched = match kind {
        T::Cluster => Cds::new(channel).fetch_clusters(request).await,
        T::Endpoints => Eds::new(channel).fetch_endpoints(request).await,
        T::Secret => Sds::new(channel).fetch_secrets(request).await,
        T::ExtensionConfig => Ecds::new(channel).fetch_extension_configs(request).await,
        T::Listener => Lds::new(channel).fetch_listeners(request).await,
        T::Route => Rds::new(channel).fetch_routes(request).await,
        T::ScopedRoute => Srds::new(channel).fetch_scoped_routes(request).await,
    };
    let response = fetched.unwrap().into_inner();
    Heard {
        kind: ResourceType::of_type_url(&response.type_url).unwrap(),
        version: response.version_info,
        nonce: response.nonce,
        resources: response.resources.iter().map(name).collect(),
        removed: BTreeSet::new(),
    }
}
