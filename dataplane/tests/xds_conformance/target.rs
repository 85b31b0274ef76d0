//! The server under test, and what it has: resources by type and name, at settable versions.

use std::{collections::BTreeMap, net::Ipv4Addr};

use dataplane::{
    l7::{Resource, ResourceId, ResourceType, World},
    xds::Server,
};
use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::Cluster,
            core::v3::TypedExtensionConfig,
            endpoint::v3::ClusterLoadAssignment,
            listener::v3::Listener,
            route::v3::{RouteConfiguration, ScopedRouteConfiguration},
        },
        extensions::transport_sockets::tls::v3::Secret,
    },
    google::protobuf::Any,
};
use model::{Kind, ObjectKey, Revision};
use prost::{Message, Name};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tonic::transport::{Channel, Endpoint};

/// A resource: its version, and the clusters that it sends traffic to.
type Content = (u64, Vec<String>);

pub(crate) struct Target {
    worlds: watch::Sender<Option<World>>,
    resources: BTreeMap<(ResourceType, String), Content>,
    endpoint: Endpoint,
    serving: JoinHandle<()>,
}

impl Target {
    pub(crate) async fn start() -> Self {
        let (worlds, receiver) = watch::channel(None);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(receiver).without_linger();
        let serving = tokio::spawn(async move { server.serve(listener).await.unwrap() });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self { worlds, resources: BTreeMap::new(), endpoint, serving }
    }

    pub(crate) async fn connect(&self) -> Channel {
        self.endpoint.connect().await.unwrap()
    }

    /// Sets resources at one version, and publishes.
    pub(crate) fn set(&mut self, kind: ResourceType, names: &[&str], version: u64) {
        for name in names {
            self.resources.insert((kind, (*name).to_owned()), (version, Vec::new()));
        }
        self.publish(version);
    }

    /// Sets a resource that sends traffic to a cluster; does not publish.
    pub(crate) fn stage(&mut self, kind: ResourceType, name: &str, cluster: &str, version: u64) {
        self.resources.insert((kind, name.to_owned()), (version, vec![cluster.to_owned()]));
    }

    pub(crate) fn remove(&mut self, kind: ResourceType, name: &str, version: u64) {
        assert!(self.resources.remove(&(kind, name.to_owned())).is_some());
        self.publish(version);
    }

    pub(crate) fn publish(&mut self, version: u64) {
        let all = self.resources.iter().map(|((kind, name), (version, clusters))| {
            let resource = Resource {
                name: name.as_str().into(),
                version: version.to_string().into(),
                body: body(*kind, name),
                clusters: clusters.iter().map(|cluster| cluster.as_str().into()).collect(),
                wants: wants(*kind, name),
                object: ObjectKey::new(Kind::Service, "default", "none"),
                origins: Vec::new(),
            };
            (*kind, resource)
        });
        self.worlds.send_replace(Some(World::of_resources(Revision(version), all)));
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What a client asks for once it has a resource: a cluster's endpoints.
fn wants(kind: ResourceType, name: &str) -> Vec<ResourceId> {
    let endpoints = || ResourceId { kind: ResourceType::Endpoints, name: name.into() };
    (kind == ResourceType::Cluster).then(endpoints).into_iter().collect()
}

fn any(message: &impl Name) -> Any {
    fn url<M: Name>(_: &M) -> String {
        M::type_url()
    }
    Any { type_url: url(message), value: message.encode_to_vec() }
}

fn body(kind: ResourceType, name: &str) -> Any {
    let name = name.to_owned();
    match kind {
        ResourceType::Cluster => any(&Cluster { name, ..Default::default() }),
        ResourceType::Endpoints => {
            any(&ClusterLoadAssignment { cluster_name: name, ..Default::default() })
        }
        ResourceType::Secret => any(&Secret { name, ..Default::default() }),
        ResourceType::ExtensionConfig => any(&TypedExtensionConfig { name, ..Default::default() }),
        ResourceType::Listener => any(&Listener { name, ..Default::default() }),
        ResourceType::Route => any(&RouteConfiguration { name, ..Default::default() }),
        ResourceType::ScopedRoute => any(&ScopedRouteConfiguration { name, ..Default::default() }),
    }
}

/// Reads the name of a resource that [`body`] made.
pub(crate) fn name(body: &Any) -> String {
    let value = body.value.as_slice();
    match ResourceType::of_type_url(&body.type_url).unwrap() {
        ResourceType::Cluster => Cluster::decode(value).unwrap().name,
        ResourceType::Endpoints => ClusterLoadAssignment::decode(value).unwrap().cluster_name,
        ResourceType::Secret => Secret::decode(value).unwrap().name,
        ResourceType::ExtensionConfig => TypedExtensionConfig::decode(value).unwrap().name,
        ResourceType::Listener => Listener::decode(value).unwrap().name,
        ResourceType::Route => RouteConfiguration::decode(value).unwrap().name,
        ResourceType::ScopedRoute => ScopedRouteConfiguration::decode(value).unwrap().name,
    }
}
