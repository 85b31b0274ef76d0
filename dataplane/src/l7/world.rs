//! All resources of one revision, and what changed from one to the next.

use std::{collections::BTreeSet, sync::Arc};

use imbl::{OrdMap, ordmap::DiffItem};
use model::{Refusal, Revision};

use super::resource::{Resource, ResourceId, ResourceType};

/// All resources of one revision. Cloning costs O(1); streams share it.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The revision of the configuration that it was made of.
    pub revision: Revision,
    /// The oldest revision of which a listener is held back, so that it is not applied.
    pub waiting: Option<Revision>,
    /// What is refused of the revision as a whole, when another configuration stands in for it.
    pub withheld: Option<Refusal>,
    /// What of it nobody can do because a file of this node is not there or not fit.
    pub lacking: Arc<[Refusal]>,
    kinds: [OrdMap<Arc<str>, Arc<Resource>>; ResourceType::COUNT],
}

impl World {
    /// Makes a world of resources that no configuration stands behind: for other control planes, and
    /// for tests of the protocol.
    pub fn of_resources(
        revision: Revision,
        resources: impl IntoIterator<Item = (ResourceType, Resource)>,
    ) -> Self {
        let mut world = Self { revision, ..Self::default() };
        for (kind, resource) in resources {
            let name = resource.name.clone();
            world.set(kind, &name, Some(resource));
        }
        world
    }

    /// Returns a resource.
    #[must_use]
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.kinds[kind as usize].get(name)
    }

    /// Walks over the resources of a kind, ordered by name.
    pub fn of_kind(&self, kind: ResourceType) -> impl Iterator<Item = (&Arc<str>, &Arc<Resource>)> {
        self.kinds[kind as usize].iter()
    }

    /// Walks over the resources of a kind whose names start with `prefix`, ordered by name.
    pub fn with_prefix<'a>(
        &'a self,
        kind: ResourceType,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Resource>)> {
        self.kinds[kind as usize]
            .range::<_, str>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix))
    }

    /// Returns how many resources of a kind there are.
    #[must_use]
    pub fn len(&self, kind: ResourceType) -> usize {
        self.kinds[kind as usize].len()
    }

    /// Lists what differs in `new`; costs the number of differences when `new` was made from `self`.
    #[must_use]
    pub fn diff(&self, new: &Self) -> Vec<ResourceId> {
        let mut touched = Vec::new();
        for kind in ResourceType::ALL {
            let (old, new) = (&self.kinds[kind as usize], &new.kinds[kind as usize]);
            touched.extend(old.diff(new).map(|item| {
                let (DiffItem::Add(name, _)
                | DiffItem::Remove(name, _)
                | DiffItem::Update { new: (name, _), .. }) = item;
                ResourceId { kind, name: name.clone() }
            }));
        }
        touched
    }

    /// Sets or removes a resource; tells whether its content is another one than before.
    pub(crate) fn set(
        &mut self,
        kind: ResourceType,
        name: &str,
        resource: Option<Resource>,
    ) -> bool {
        let map = &mut self.kinds[kind as usize];
        let old = map.get(name).map(|resource| &resource.version);
        match resource {
            None => map.remove(name).is_some(),
            Some(resource) => {
                let changed = old != Some(&resource.version);
                // Equal versions may still differ in provenance (which object a line came from).
                map.insert(resource.name.clone(), Arc::new(resource));
                changed
            }
        }
    }
}

/// Which resources one update added, changed or removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceDelta {
    /// The revision that it leads to.
    pub revision: Revision,
    /// What is new, different or gone; the world says which.
    pub touched: BTreeSet<ResourceId>,
}
