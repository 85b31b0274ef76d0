//! Which routes attach where, so that a change touches only what it concerns.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Kind, ObjectKey,
    rate_limit::TargetRef,
    route::{HttpRoute, Reference},
};

/// A listener's key by a route's reference.
pub(super) fn listener_key(reference: &Reference) -> ObjectKey {
    ObjectKey::new(Kind::Listener, reference.namespace.as_str(), reference.name.as_str())
}

/// The policies that a route refers to, some perhaps twice.
fn policies(route: &HttpRoute) -> impl Iterator<Item = ObjectKey> {
    route.rules.iter().filter_map(|rule| {
        let policy = rule.filters.auth.as_ref()?;
        Some(ObjectKey::new(Kind::AuthPolicy, policy.namespace.as_str(), policy.name.as_str()))
    })
}

/// A set of (listener, host).
pub(super) type Hosts = BTreeSet<(ObjectKey, String)>;

/// The routes by listener and host.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    http: BTreeMap<ObjectKey, BTreeMap<String, BTreeSet<ObjectKey>>>,
    /// TCP, UDP and TLS routes by listener.
    l4: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// HTTP routes by the policies that they refer to.
    policies: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// Limits of requests and modules by the listeners and routes that they are for.
    targeting: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
}

impl Index {
    /// Adds (`present`) or removes an HTTP route; notes the hosts that it concerns.
    pub(super) fn http(
        &mut self,
        key: &ObjectKey,
        route: &HttpRoute,
        present: bool,
        touched: &mut Hosts,
    ) {
        for policy in policies(route) {
            let routes = self.policies.entry(policy.clone()).or_default();
            if present {
                routes.insert(key.clone());
            } else {
                routes.remove(key);
            }
            if routes.is_empty() {
                self.policies.remove(&policy);
            }
        }
        for reference in &route.listeners {
            let listener = listener_key(reference);
            for host in &route.hosts {
                let hosts = self.http.entry(listener.clone()).or_default();
                let routes = hosts.entry(host.clone()).or_default();
                if present {
                    routes.insert(key.clone());
                } else {
                    routes.remove(key);
                }
                if routes.is_empty() {
                    hosts.remove(host);
                }
                touched.insert((listener.clone(), host.clone()));
            }
            if self.http.get(&listener).is_some_and(BTreeMap::is_empty) {
                self.http.remove(&listener);
            }
        }
    }

    /// Adds (`present`) or removes a TCP, UDP or TLS route; notes the listeners that it concerns.
    pub(super) fn l4(
        &mut self,
        key: &ObjectKey,
        listeners: &[Reference],
        present: bool,
        touched: &mut BTreeSet<ObjectKey>,
    ) {
        for reference in listeners {
            let listener = listener_key(reference);
            let routes = self.l4.entry(listener.clone()).or_default();
            if present {
                routes.insert(key.clone());
            } else {
                routes.remove(key);
            }
            if routes.is_empty() {
                self.l4.remove(&listener);
            }
            touched.insert(listener);
        }
    }

    /// Adds (`present`) or removes a limit of requests or a module; notes what it is for.
    pub(super) fn targeting(
        &mut self,
        key: &ObjectKey,
        targets: &[TargetRef],
        present: bool,
        touched: &mut BTreeSet<ObjectKey>,
    ) {
        for target in targets.iter().map(TargetRef::key) {
            let limits = self.targeting.entry(target.clone()).or_default();
            if present {
                limits.insert(key.clone());
            } else {
                limits.remove(key);
            }
            if limits.is_empty() {
                self.targeting.remove(&target);
            }
            touched.insert(target);
        }
    }

    /// Walks over the limits of requests and the modules that are for a listener or route.
    pub(super) fn targeted_by<'a>(
        &'a self,
        target: &ObjectKey,
    ) -> impl Iterator<Item = &'a ObjectKey> + use<'a> {
        self.targeting.get(target).into_iter().flatten()
    }

    /// Walks over the HTTP routes that refer to a policy.
    pub(super) fn referring(&self, policy: &ObjectKey) -> impl Iterator<Item = &ObjectKey> {
        self.policies.get(policy).into_iter().flatten()
    }

    /// Walks over the hosts of a listener.
    pub(super) fn hosts(
        &self,
        listener: &ObjectKey,
    ) -> impl Iterator<Item = (&str, &BTreeSet<ObjectKey>)> {
        self.http.get(listener).into_iter().flatten().map(|(host, keys)| (host.as_str(), keys))
    }

    /// Walks over the wildcard hosts of a listener: they sort together, before all letters.
    pub(super) fn wildcards(
        &self,
        listener: &ObjectKey,
    ) -> impl Iterator<Item = (&str, &BTreeSet<ObjectKey>)> {
        self.http
            .get(listener)
            .into_iter()
            .flat_map(|hosts| hosts.range("*".to_owned()..))
            .map(|(host, keys)| (host.as_str(), keys))
            .take_while(|(host, _)| super::names::is_wildcard(host))
    }

    /// Walks over the routes of a host.
    pub(super) fn routes(
        &self,
        listener: &ObjectKey,
        host: &str,
    ) -> impl Iterator<Item = &ObjectKey> {
        self.http.get(listener).and_then(|hosts| hosts.get(host)).into_iter().flatten()
    }

    /// Walks over the TCP, UDP and TLS routes of a listener.
    pub(super) fn l4_routes(&self, listener: &ObjectKey) -> impl Iterator<Item = &ObjectKey> {
        self.l4.get(listener).into_iter().flatten()
    }
}
