//! One resource of Envoy's configuration: name, version, encoded content, and what it hangs on.

use std::{fmt, sync::Arc};

use envoy_types::pb::google::protobuf::Any;
use model::ObjectKey;

use super::{names, origin::Origin};

/// The kinds of resources, in the order in which new ones must reach Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// `Cluster` (CDS): how a service is reached.
    Cluster,
    /// `ClusterLoadAssignment` (EDS): its endpoints.
    Endpoints,
    /// `Secret` (SDS): a certificate of an HTTPS listener.
    Secret,
    /// `TypedExtensionConfig` (ECDS): a filter's configuration, which changes without its listener.
    ExtensionConfig,
    /// `Listener` (LDS).
    Listener,
    /// `RouteConfiguration` (RDS): all routes of a listener, for clients without scopes.
    Route,
    /// `ScopedRouteConfiguration` (SRDS), with its `RouteConfiguration` inside.
    ScopedRoute,
}

impl ResourceType {
    /// All kinds, in the order of their making.
    pub const ALL: [Self; 7] = [
        Self::Cluster,
        Self::Endpoints,
        Self::Secret,
        Self::ExtensionConfig,
        Self::Listener,
        Self::Route,
        Self::ScopedRoute,
    ];
    /// How many kinds there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns the type URL that Envoy subscribes to.
    #[must_use]
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::ExtensionConfig => {
                "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
            }
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::ScopedRoute => {
                "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
            }
        }
    }

    /// Returns the kind's number in versions: it stays when kinds are put in between.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Cluster => 0,
            Self::Endpoints => 1,
            Self::Secret => 2,
            Self::Listener => 3,
            Self::ScopedRoute => 4,
            Self::ExtensionConfig => 5,
            Self::Route => 6,
        }
    }

    /// Tells whether a first request that names nothing asks for all resources of the kind.
    #[must_use]
    pub fn has_legacy_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener | Self::ScopedRoute)
    }

    /// Tells whether a response of the state-of-the-world protocol holds all that there is, so that
    /// what is missing is gone.
    #[must_use]
    pub fn is_sent_whole(self) -> bool {
        self.has_legacy_wildcard()
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
            Self::ExtensionConfig => "TypedExtensionConfig",
            Self::Listener => "Listener",
            Self::Route => "RouteConfiguration",
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

    /// Tells whether the resource holds a secret itself, and no path of a file.
    #[must_use]
    pub fn is_confidential(&self) -> bool {
        self.kind == ResourceType::Secret && names::is_of_session(&self.name)
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
    /// after it went; and so the requirements of tokens that it names.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn kinds_stand_in_the_order_of_their_making_and_have_numbers_of_their_own() {
        for (index, kind) in ResourceType::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(ResourceType::of_type_url(kind.type_url()), Some(kind));
        }
        let codes: BTreeSet<u8> = ResourceType::ALL.into_iter().map(ResourceType::code).collect();
        assert_eq!(codes.len(), ResourceType::COUNT);
    }
}
