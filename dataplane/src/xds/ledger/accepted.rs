//! The versions that Envoy accepted last (pure).
//!
//! **Invariant.** What an accepted version needs is kept with it, also when an Envoy that starts was
//! told to drop that before it got the version: should the next version be refused, this one stands
//! in, and gets what it needs.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::l7::{Resource, ResourceId, ResourceType, is_requirement};

/// Accepted versions by resource.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    versions: HashMap<ResourceId, Arc<Resource>>,
    /// How many of them need a resource.
    needed: HashMap<ResourceId, usize>,
    /// Those that Envoy dropped and that are needed.
    dropped: BTreeSet<ResourceId>,
}

impl Accepted {
    /// Returns the version of a resource.
    pub(super) fn get(&self, id: &ResourceId) -> Option<&Arc<Resource>> {
        self.versions.get(id)
    }

    /// Walks over the resources that Envoy has not dropped since.
    pub(super) fn ids(&self) -> impl Iterator<Item = &ResourceId> {
        self.versions.keys().filter(|id| !self.dropped.contains(*id))
    }

    /// Notes that Envoy took a version.
    pub(super) fn insert(&mut self, id: ResourceId, resource: Arc<Resource>) {
        for need in needs(&resource) {
            *self.needed.entry(need).or_default() += 1;
        }
        self.dropped.remove(&id);
        if let Some(before) = self.versions.insert(id, resource) {
            self.release(&before);
        }
    }

    /// Notes that Envoy dropped a resource.
    pub(super) fn remove(&mut self, id: &ResourceId) {
        if !self.versions.contains_key(id) {
            return;
        }
        if self.needed.contains_key(id) {
            self.dropped.insert(id.clone());
        } else if let Some(resource) = self.versions.remove(id) {
            self.release(&resource);
        }
    }

    fn release(&mut self, resource: &Resource) {
        for need in needs(resource) {
            let Some(count) = self.needed.get_mut(&need) else { continue };
            *count -= 1;
            if *count == 0 {
                self.needed.remove(&need);
                if self.dropped.remove(&need) {
                    self.remove(&need);
                }
            }
        }
    }
}

impl Accepted {
    /// Lists what a resource cannot do without, with what its clusters cannot.
    pub(super) fn all_needs(&self, resource: &Resource) -> Vec<ResourceId> {
        let mut all: Vec<ResourceId> = needs(resource).collect();
        let clusters = all.iter().filter(|need| need.kind == ResourceType::Cluster);
        let clusters = clusters.filter_map(|cluster| self.get(cluster));
        let of_clusters: Vec<ResourceId> = clusters.flat_map(|cluster| needs(cluster)).collect();
        all.extend(of_clusters);
        all
    }
}

/// Lists what a resource cannot do without.
pub(super) fn needs(resource: &Resource) -> impl Iterator<Item = ResourceId> {
    let clusters = resource.clusters.iter().flat_map(|cluster| {
        use ResourceType::{Cluster, Endpoints, ExtensionConfig};
        let kinds: &[ResourceType] = match is_requirement(cluster) {
            true => &[ExtensionConfig],
            false => &[Cluster, Endpoints],
        };
        kinds.iter().map(|kind| ResourceId { kind: *kind, name: cluster.clone() })
    });
    let own = resource.wants.iter().filter(|want| {
        use ResourceType::{Endpoints, ExtensionConfig, Secret};
        matches!(want.kind, Secret | Endpoints | ExtensionConfig)
    });
    clusters.chain(own.cloned())
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::Any;
    use model::{Kind, ObjectKey};

    use super::*;

    fn resource(name: &str, clusters: &[&str]) -> Arc<Resource> {
        Arc::new(Resource {
            name: name.into(),
            version: "1".into(),
            body: Any::default(),
            clusters: clusters.iter().map(|cluster| (*cluster).into()).collect(),
            wants: Vec::new(),
            object: ObjectKey::new(Kind::HttpRoute, "default", "r"),
            origins: Vec::new(),
        })
    }

    #[test]
    fn what_is_dropped_is_kept_while_it_is_needed_and_no_longer() {
        let scope = |name: &str| ResourceId::new(ResourceType::ScopedRoute, name);
        let cluster = ResourceId::new(ResourceType::Cluster, "c");
        let mut accepted = Accepted::default();
        accepted.insert(cluster.clone(), resource("c", &[]));
        for name in ["s", "t"] {
            accepted.insert(scope(name), resource(name, &["c"]));
        }
        accepted.insert(scope("s"), resource("s", &["c"]));
        accepted.remove(&cluster);
        accepted.remove(&scope("t"));
        assert!(accepted.get(&cluster).is_some(), "the first one needs it");
        accepted.insert(scope("s"), resource("s", &["d"]));
        assert!(accepted.get(&cluster).is_none(), "nothing does");

        // What Envoy has is kept, needed or not, and one that came back was not dropped.
        accepted.insert(cluster.clone(), resource("c", &[]));
        accepted.insert(scope("s"), resource("s", &["c"]));
        accepted.remove(&cluster);
        accepted.insert(cluster.clone(), resource("c", &[]));
        accepted.remove(&scope("s"));
        assert!(accepted.get(&cluster).is_some());
        accepted.remove(&cluster);
        assert!(accepted.versions.is_empty() && accepted.needed.is_empty());
        assert!(accepted.dropped.is_empty());
    }
}
