//! A whole configuration at one revision, and the difference between two.

use std::{collections::BTreeSet, sync::Arc};

use imbl::{OrdMap, OrdSet, ordmap::DiffItem};

use crate::{
    auth_policy::AuthPolicy,
    certificate::{AcmeChallenge, Certificate, Issued, Issuer},
    filter_module::FilterModule,
    key::{Kind, ObjectKey},
    listener::Listener,
    object::{Object, Spec},
    packet_filter::{PacketFilter, PrefixList},
    qos_policy::QosPolicy,
    rate_limit::RateLimit,
    revision::Revision,
    rollout_policy::RolloutPolicy,
    route::{GrpcRoute, HttpRoute, L4Route, TlsRoute},
    service::Service,
};

/// All objects of a revision. Cloning costs O(1), a change O(log n).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    revision: Revision,
    objects: OrdMap<ObjectKey, Arc<Object>>,
    /// Each host of an HTTPRoute or GRPCRoute with that route: what stands twice is found without a walk.
    hosts: OrdSet<(Arc<str>, ObjectKey)>,
}

/// What happened to one object between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It came.
    Added(Arc<Object>),
    /// It changed.
    Modified {
        /// As it was.
        old: Arc<Object>,
        /// As it is.
        new: Arc<Object>,
    },
    /// It went.
    Removed(Arc<Object>),
}

/// An object before and after a change; none where it was not there.
pub type BeforeAfter<'a> = (Option<&'a Arc<Object>>, Option<&'a Arc<Object>>);

impl Change {
    /// Returns the object as it was and as it is; `None` when no more than its metadata changed,
    /// which concerns no engine.
    #[must_use]
    pub fn of_spec(&self) -> Option<BeforeAfter<'_>> {
        match self {
            Self::Added(object) => Some((None, Some(object))),
            Self::Removed(object) => Some((Some(object), None)),
            Self::Modified { old, new } if old.spec == new.spec => None,
            Self::Modified { old, new } => Some((Some(old), Some(new))),
        }
    }

    /// Returns which object.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Added(object) | Self::Removed(object) | Self::Modified { new: object, .. } => {
                object.key()
            }
        }
    }
}

/// Returns the hosts of an HTTPRoute or GRPCRoute.
fn hosts_of(object: &Object) -> &[String] {
    object.spec.http_route().map_or(&[], |route| &route.hosts)
}

impl Snapshot {
    /// Returns the revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Sets the revision.
    pub fn set_revision(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// Returns how many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Tells whether there are no objects.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Adds or replaces an object.
    pub fn put(&mut self, object: Arc<Object>) {
        let key = object.key();
        let hosts = hosts_of(&object);
        let old = self.objects.insert(key.clone(), Arc::clone(&object));
        let before = old.as_deref().map(hosts_of).unwrap_or_default();
        if before != hosts {
            self.forget_hosts(&key, before);
            for host in hosts {
                self.hosts.insert((host.as_str().into(), key.clone()));
            }
        }
    }

    /// Removes an object; tells whether it was there.
    pub fn remove(&mut self, key: &ObjectKey) -> bool {
        let Some(object) = self.objects.remove(key) else { return false };
        self.forget_hosts(key, hosts_of(&object));
        true
    }

    fn forget_hosts(&mut self, key: &ObjectKey, hosts: &[String]) {
        for host in hosts {
            self.hosts.remove(&(host.as_str().into(), key.clone()));
        }
    }

    /// Walks over the HTTPRoutes and GRPCRoutes of a host.
    pub fn routes_of_host<'a>(
        &'a self,
        host: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a HttpRoute)> {
        let first = (Arc::from(host), ObjectKey::new(Kind::Listener, "", ""));
        let routes = self.hosts.range(first..).take_while(move |(known, _)| **known == *host);
        routes.filter_map(|(_, key)| Some((key, self.http_route(key)?)))
    }

    /// Returns an object.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// Returns a service.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        match &self.get(&ObjectKey::new(Kind::Service, namespace, name))?.spec {
            Spec::Service(service) => Some(service),
            _ => None,
        }
    }

    /// Returns a listener.
    #[must_use]
    pub fn listener(&self, namespace: &str, name: &str) -> Option<&Listener> {
        match &self.get(&ObjectKey::new(Kind::Listener, namespace, name))?.spec {
            Spec::Listener(listener) => Some(listener),
            _ => None,
        }
    }

    /// Returns a list of prefixes.
    #[must_use]
    pub fn prefix_list(&self, namespace: &str, name: &str) -> Option<&PrefixList> {
        match &self.get(&ObjectKey::new(Kind::PrefixList, namespace, name))?.spec {
            Spec::PrefixList(list) => Some(list),
            _ => None,
        }
    }

    /// Returns an authentication policy.
    #[must_use]
    pub fn auth_policy(&self, namespace: &str, name: &str) -> Option<&AuthPolicy> {
        match &self.get(&ObjectKey::new(Kind::AuthPolicy, namespace, name))?.spec {
            Spec::AuthPolicy(policy) => Some(policy),
            _ => None,
        }
    }

    /// Returns a certificate.
    #[must_use]
    pub fn certificate(&self, namespace: &str, name: &str) -> Option<&Certificate> {
        match &self.get(&ObjectKey::new(Kind::Certificate, namespace, name))?.spec {
            Spec::Certificate(certificate) => Some(certificate),
            _ => None,
        }
    }

    /// Walks over the certificates that are issued, ordered by key.
    pub fn issued_certificates(&self) -> impl Iterator<Item = (&ObjectKey, &Issued)> {
        self.of_kind(Kind::Certificate).filter_map(|(key, object)| match &object.spec {
            Spec::Certificate(certificate) => Some((key, certificate.issued()?)),
            _ => None,
        })
    }

    /// Returns an issuer.
    #[must_use]
    pub fn issuer(&self, namespace: &str, name: &str) -> Option<&Issuer> {
        match &self.get(&ObjectKey::new(Kind::Issuer, namespace, name))?.spec {
            Spec::Issuer(issuer) => Some(issuer),
            _ => None,
        }
    }

    /// Returns how authorities that are asked by ACME may convince themselves.
    #[must_use]
    pub fn acme_challenges(&self) -> BTreeSet<AcmeChallenge> {
        let challenge = |(_, object): (_, &Arc<Object>)| match &object.spec {
            Spec::Issuer(issuer) => Some(issuer.acme()?.challenge),
            _ => None,
        };
        self.of_kind(Kind::Issuer).filter_map(challenge).collect()
    }

    /// Returns a limit of requests.
    #[must_use]
    pub fn rate_limit(&self, key: &ObjectKey) -> Option<&RateLimit> {
        match &self.get(key)?.spec {
            Spec::RateLimit(limit) => Some(limit),
            _ => None,
        }
    }

    /// Returns the rollout policy, where there is one.
    #[must_use]
    pub fn rollout_policy(&self) -> Option<&RolloutPolicy> {
        self.of_kind(Kind::RolloutPolicy).find_map(|(_, object)| match &object.spec {
            Spec::RolloutPolicy(policy) => Some(policy),
            _ => None,
        })
    }

    /// Returns an HTTPRoute, or what a GRPCRoute means; none when the key is of another kind.
    #[must_use]
    pub fn http_route(&self, key: &ObjectKey) -> Option<&HttpRoute> {
        self.get(key)?.spec.http_route()
    }

    /// Walks over all objects, ordered by key.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<Object>)> {
        self.objects.iter()
    }

    /// Walks over the objects of one kind, ordered by key.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Arc<Object>)> {
        self.objects
            .range(ObjectKey::new(kind, "", "")..)
            .take_while(move |(key, _)| key.kind == kind)
    }

    /// Walks over the listeners.
    pub fn listeners(&self) -> impl Iterator<Item = (&ObjectKey, &Listener)> {
        self.of_kind(Kind::Listener).filter_map(|(key, object)| match &object.spec {
            Spec::Listener(listener) => Some((key, listener)),
            _ => None,
        })
    }

    /// Walks over the HTTPRoutes, and over what the GRPCRoutes mean.
    pub fn http_routes(&self) -> impl Iterator<Item = (&ObjectKey, &HttpRoute)> {
        [Kind::HttpRoute, Kind::GrpcRoute]
            .into_iter()
            .flat_map(|kind| self.of_kind(kind))
            .filter_map(|(key, object)| Some((key, object.spec.http_route()?)))
    }

    /// Walks over the GRPCRoutes.
    pub fn grpc_routes(&self) -> impl Iterator<Item = (&ObjectKey, &GrpcRoute)> {
        self.of_kind(Kind::GrpcRoute).filter_map(|(key, object)| match &object.spec {
            Spec::GrpcRoute(route) => Some((key, route)),
            _ => None,
        })
    }

    /// Walks over the TLSRoutes.
    pub fn tls_routes(&self) -> impl Iterator<Item = (&ObjectKey, &TlsRoute)> {
        self.of_kind(Kind::TlsRoute).filter_map(|(key, object)| match &object.spec {
            Spec::TlsRoute(route) => Some((key, route)),
            _ => None,
        })
    }

    /// Walks over the TCP and UDP routes.
    pub fn l4_routes(&self) -> impl Iterator<Item = (&ObjectKey, &L4Route)> {
        [Kind::TcpRoute, Kind::UdpRoute].into_iter().flat_map(|kind| self.of_kind(kind)).filter_map(
            |(key, object)| match &object.spec {
                Spec::TcpRoute(route) | Spec::UdpRoute(route) => Some((key, route)),
                _ => None,
            },
        )
    }

    /// Walks over the services.
    pub fn services(&self) -> impl Iterator<Item = (&ObjectKey, &Service)> {
        self.of_kind(Kind::Service).filter_map(|(key, object)| match &object.spec {
            Spec::Service(service) => Some((key, &**service)),
            _ => None,
        })
    }

    /// Walks over the packet filters.
    pub fn packet_filters(&self) -> impl Iterator<Item = (&ObjectKey, &PacketFilter)> {
        self.of_kind(Kind::PacketFilter).filter_map(|(key, object)| match &object.spec {
            Spec::PacketFilter(filter) => Some((key, filter)),
            _ => None,
        })
    }

    /// Walks over the lists of prefixes.
    pub fn prefix_lists(&self) -> impl Iterator<Item = (&ObjectKey, &PrefixList)> {
        self.of_kind(Kind::PrefixList).filter_map(|(key, object)| match &object.spec {
            Spec::PrefixList(list) => Some((key, list)),
            _ => None,
        })
    }

    /// Walks over the QoS policies.
    pub fn qos_policies(&self) -> impl Iterator<Item = (&ObjectKey, &QosPolicy)> {
        self.of_kind(Kind::QosPolicy).filter_map(|(key, object)| match &object.spec {
            Spec::QosPolicy(policy) => Some((key, policy)),
            _ => None,
        })
    }

    /// Returns where and how a module runs.
    #[must_use]
    pub fn filter_module(&self, key: &ObjectKey) -> Option<&FilterModule> {
        match &self.get(key)?.spec {
            Spec::FilterModule(module) => Some(module),
            _ => None,
        }
    }

    /// Walks over where and how modules run.
    pub fn filter_modules(&self) -> impl Iterator<Item = (&ObjectKey, &FilterModule)> {
        self.of_kind(Kind::FilterModule).filter_map(|(key, object)| match &object.spec {
            Spec::FilterModule(module) => Some((key, module)),
            _ => None,
        })
    }

    /// Walks over the limits of requests.
    pub fn rate_limits(&self) -> impl Iterator<Item = (&ObjectKey, &RateLimit)> {
        self.of_kind(Kind::RateLimit).filter_map(|(key, object)| match &object.spec {
            Spec::RateLimit(limit) => Some((key, limit)),
            _ => None,
        })
    }

    /// Lists what changed from `self` to `new`, ordered by key.
    ///
    /// Costs the number of changes, not of objects, when `new` was made from `self`.
    #[must_use]
    pub fn diff(&self, new: &Self) -> Vec<Change> {
        self.objects
            .diff(&new.objects)
            .map(|item| match item {
                DiffItem::Add(_, object) => Change::Added(object.clone()),
                DiffItem::Remove(_, object) => Change::Removed(object.clone()),
                DiffItem::Update { old: (_, old), new: (_, new) } => {
                    Change::Modified { old: old.clone(), new: new.clone() }
                }
            })
            .collect()
    }
}
