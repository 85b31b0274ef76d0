//! One resource of Envoy's configuration: name, version, encoded content, and what it hangs on.

use std::{fmt, sync::Arc};

use envoy_types::pb::google::protobuf::Any;
use model::ObjectKey;

use super::origin::Origin;

/// The kinds of resources, in the order in which new ones must reach Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// `Cluster` (CDS): how a service is reached.
    Cluster,
    /// `ClusterLoadAssignment` (EDS): its endpoints.
    Endpoints,
    /// `Secret` (SDS): the certificate of an HTTPS listener.
    Secret,
    /// `Listener` (LDS).
    Listener,
    /// `ScopedRouteConfiguration` (SRDS), with its `RouteConfiguration` inside.
    ScopedRoute,
}

impl ResourceType {
    /// All kinds, in the order of their making.
    pub const ALL: [Self; 5] =
        [Self::Cluster, Self::Endpoints, Self::Secret, Self::Listener, Self::ScopedRoute];

    /// Returns the type URL that Envoy subscribes to.
    #[must_use]
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::ScopedRoute => {
                "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
            }
        }
    }

    /// Finds the kind of a type URL.
    #[must_use]
    pub fn of_type_url(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == type_url)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cluster => "Cluster",
            Self::Endpoints => "ClusterLoadAssignment",
            Self::Secret => "Secret",
            Self::Listener => "Listener",
            Self::ScopedRoute => "ScopedRouteConfiguration",
        })
    }
}

/// What identifies a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    /// The kind.
    pub kind: ResourceType,
    /// The name, unique for its kind.
    pub name: Arc<str>,
}

impl ResourceId {
    /// Makes an identity of its parts.
    pub fn new(kind: ResourceType, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// One resource. Immutable and shared; encoded once.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its name.
    pub name: Arc<str>,
    /// A hash of what it was made of.
    pub version: Arc<str>,
    /// Its encoding.
    pub body: Any,
    /// The clusters that it sends traffic to, which must be warm before it arrives and may go only
    /// after it went.
    pub clusters: Vec<Arc<str>>,
    /// What Envoy subscribes to once it has accepted this.
    pub wants: Vec<ResourceId>,
    /// The object that it stands for.
    pub object: ObjectKey,
    /// Which object and field each part came from that Envoy might refuse.
    pub origins: Vec<Origin>,
}

/// Resources are equal when their versions are: encodings may differ in the order of map entries.
impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.version == other.version
            && self.clusters == other.clusters
            && self.wants == other.wants
            && self.object == other.object
            && self.origins == other.origins
    }
}
