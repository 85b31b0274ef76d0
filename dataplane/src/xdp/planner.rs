//! Keeps the plan in step with what is desired, at the cost of what changed (pure).
//!
//! Invariant: the plan is a function of the last desired state alone; by how many steps it was
//! reached does not show, but for endpoints that start slowly. Of listeners with the same frontend the first by key is carried, and of
//! more than [`CARRIED_MAX`] the first by key are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use ebpf_common::layout::SERVICES_MAX;
use model::{
    EndpointId, Kind, ObjectKey, QosPolicy, Snapshot, Spec,
    route::{L4Route, Reference},
};

use super::{
    placement::{NotCarried, Placement},
    plan::{Carried, Frontend, Grounds, L4Plan, NodeView, carry},
    qos::Policy,
    slow_start::SlowStarts,
};

/// Listeners that are carried at a time. The other half of the slots is for those being drained.
pub const CARRIED_MAX: usize = SERVICES_MAX / 2;

/// The planner.
#[derive(Debug, Default)]
pub struct Planner {
    config: Snapshot,
    unhealthy: Arc<BTreeSet<EndpointId>>,
    node: NodeView,
    starts: SlowStarts,
    /// Routes by the listeners that they attach to.
    routes: Index,
    /// Routes by the services that they lead to.
    users: Index,
    /// Policies by the listeners that they are for.
    policies: Index,
    /// What each listener that could be carried asks for.
    asked: BTreeMap<ObjectKey, Frontend>,
    /// The listeners that ask for a frontend; the first one gets it.
    contenders: BTreeMap<Frontend, BTreeMap<ObjectKey, Arc<Carried>>>,
    /// Whether more listeners could be carried than are.
    over: bool,
    plan: L4Plan,
}

type Index = BTreeMap<ObjectKey, BTreeSet<ObjectKey>>;

impl Planner {
    /// Brings the plan up to date; returns the frontends of which something differs.
    pub fn update(
        &mut self,
        config: &Snapshot,
        unhealthy: &Arc<BTreeSet<EndpointId>>,
        node: &NodeView,
        now: Instant,
    ) -> BTreeSet<Frontend> {
        let mut listeners = BTreeSet::new();
        let mut services = BTreeSet::new();
        self.follow_config(config, &mut listeners, &mut services);
        if !Arc::ptr_eq(&self.unhealthy, unhealthy) {
            let flapped = self.unhealthy.symmetric_difference(unhealthy);
            services.extend(flapped.map(|endpoint| endpoint.service.clone()));
            self.unhealthy = unhealthy.clone();
        }
        if self.node != *node {
            self.node = node.clone();
            listeners.extend(config.listeners().map(|(key, _)| key.clone()));
        }
        for key in &services {
            let service = config.service(&key.namespace, &key.name);
            self.starts.follow(key, service, unhealthy, now);
        }
        services.extend(self.starts.advance(now));
        for service in &services {
            for route in self.users.get(service).into_iter().flatten() {
                listeners.extend(attachments(&self.config, route));
            }
        }
        let mut touched = BTreeSet::new();
        for listener in listeners {
            self.judge(&listener, &mut touched);
        }
        self.plan.revision = config.revision();
        self.settle(touched)
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &L4Plan {
        &self.plan
    }

    /// Returns the endpoints that start slowly; [`Self::update`] is due at their next step.
    #[must_use]
    pub fn starts(&self) -> &SlowStarts {
        &self.starts
    }

    /// Returns the view of the node that the plan was made with.
    #[must_use]
    pub fn node(&self) -> &NodeView {
        &self.node
    }

    /// Takes over a configuration; notes the listeners and services that it concerns.
    fn follow_config(
        &mut self,
        config: &Snapshot,
        listeners: &mut BTreeSet<ObjectKey>,
        services: &mut BTreeSet<ObjectKey>,
    ) {
        for change in self.config.diff(config) {
            let Some((old, new)) = change.of_spec() else { continue };
            let key = change.key();
            match key.kind {
                Kind::Listener => drop(listeners.insert(key)),
                Kind::Service => drop(services.insert(key)),
                Kind::TcpRoute | Kind::UdpRoute => {
                    for (object, present) in [(old, false), (new, true)] {
                        let Some(route) = object.and_then(|object| l4_route(&object.spec)) else {
                            continue;
                        };
                        for reference in &route.listeners {
                            let listener = named(Kind::Listener, reference);
                            mark(&mut self.routes, &listener, &key, present);
                            listeners.insert(listener);
                        }
                        for backend in &route.backends {
                            let service = named(Kind::Service, &backend.service);
                            mark(&mut self.users, &service, &key, present);
                        }
                    }
                }
                Kind::QosPolicy => {
                    for (object, present) in [(old, false), (new, true)] {
                        let policy = object.and_then(|object| qos_policy(&object.spec));
                        for reference in policy.into_iter().flat_map(|policy| &policy.listeners) {
                            let listener = named(Kind::Listener, reference);
                            mark(&mut self.policies, &listener, &key, present);
                            listeners.insert(listener);
                        }
                    }
                }
                Kind::HttpRoute
                | Kind::GrpcRoute
                | Kind::TlsRoute
                | Kind::AuthPolicy
                | Kind::PacketFilter
                | Kind::PrefixList
                | Kind::RateLimit
                | Kind::FilterModule
                | Kind::RolloutPolicy
                | Kind::Certificate
                | Kind::Issuer => {}
            }
        }
        self.config = config.clone();
    }

    /// Decides anew on one listener; notes the frontends that it asked and asks for.
    fn judge(&mut self, key: &ObjectKey, touched: &mut BTreeSet<Frontend>) {
        if let Some(frontend) = self.asked.remove(key) {
            if let Some(contenders) = self.contenders.get_mut(&frontend) {
                contenders.remove(key);
                if contenders.is_empty() {
                    self.contenders.remove(&frontend);
                }
            }
            touched.insert(frontend);
        }
        self.plan.placements.remove(key);
        self.plan.notes.remove(key);
        let listener = self.config.listener(&key.namespace, &key.name);
        let Some(listener) = listener.filter(|listener| listener.protocol.is_l4()) else {
            return;
        };
        let route = self.routes.get(key).and_then(BTreeSet::first);
        let route = route.and_then(|route| l4_route(&self.config.get(route)?.spec));
        let backends = route.map(|route| route.backends.as_slice());
        let grounds = Grounds {
            config: &self.config,
            unhealthy: &self.unhealthy,
            node: &self.node,
            starts: &self.starts,
        };
        let mut notes = Vec::new();
        match carry(key, listener, backends, grounds, &mut notes) {
            Ok(mut carried) => {
                carried.policy = self.policy(key);
                let frontend = carried.frontend;
                touched.insert(frontend);
                self.asked.insert(key.clone(), frontend);
                let contenders = self.contenders.entry(frontend).or_default();
                contenders.insert(key.clone(), Arc::new(carried));
            }
            Err(reason) => {
                self.plan.placements.insert(key.clone(), Placement::NotCarried(reason));
            }
        }
        if !notes.is_empty() {
            self.plan.notes.insert(key.clone(), notes);
        }
    }

    /// Returns the policy for a listener; of several, which validation refuses, the first by key.
    fn policy(&self, listener: &ObjectKey) -> Option<Policy> {
        let key = self.policies.get(listener)?.first()?;
        let spec = Arc::new(qos_policy(&self.config.get(key)?.spec)?.clone());
        Some(Policy { key: key.clone(), spec })
    }

    /// Gives each frontend to the first that asks for it; returns those of which something differs.
    fn settle(&mut self, mut touched: BTreeSet<Frontend>) -> BTreeSet<Frontend> {
        let over = self.contenders.len() > CARRIED_MAX;
        if over || self.over {
            touched.extend(self.contenders.keys());
        }
        self.over = over;
        let last = over.then(|| self.last_carried());
        touched.retain(|frontend| {
            let contenders = self.contenders.get(frontend).into_iter().flatten();
            let mut winner = None;
            for (key, carried) in contenders {
                let placement = match winner {
                    Some(other) => {
                        Placement::NotCarried(NotCarried::Taken { other: ObjectKey::clone(other) })
                    }
                    None if last.as_ref().is_some_and(|last| key > last) => {
                        Placement::NotCarried(NotCarried::TooManyListeners { max: CARRIED_MAX })
                    }
                    None => {
                        winner = Some(&carried.listener);
                        Placement::Carried
                    }
                };
                self.plan.placements.insert(key.clone(), placement);
            }
            let wanted = winner.map(|key| self.contenders[frontend][key].clone());
            if self.plan.carried.get(frontend) == wanted.as_ref() {
                return false;
            }
            match wanted {
                Some(carried) => self.plan.carried.insert(*frontend, carried),
                None => self.plan.carried.remove(frontend),
            };
            true
        });
        touched
    }

    /// Returns the last listener, by key, for which there is room.
    fn last_carried(&self) -> ObjectKey {
        let mut first: Vec<&ObjectKey> =
            self.contenders.values().filter_map(|all| all.keys().next()).collect();
        let (_, last, _) = first.select_nth_unstable(CARRIED_MAX - 1);
        last.clone()
    }
}

fn l4_route(spec: &Spec) -> Option<&L4Route> {
    match spec {
        Spec::TcpRoute(route) | Spec::UdpRoute(route) => Some(route),
        _ => None,
    }
}

fn qos_policy(spec: &Spec) -> Option<&QosPolicy> {
    match spec {
        Spec::QosPolicy(policy) => Some(policy),
        _ => None,
    }
}

/// Returns the listeners that a route attaches to.
fn attachments(config: &Snapshot, route: &ObjectKey) -> Vec<ObjectKey> {
    let route = config.get(route).and_then(|object| l4_route(&object.spec));
    let references = route.into_iter().flat_map(|route| &route.listeners);
    references.map(|reference| named(Kind::Listener, reference)).collect()
}

fn named(kind: Kind, reference: &Reference) -> ObjectKey {
    ObjectKey::new(kind, reference.namespace.as_str(), reference.name.as_str())
}

fn mark(index: &mut Index, of: &ObjectKey, route: &ObjectKey, present: bool) {
    let routes = index.entry(of.clone()).or_default();
    if present {
        routes.insert(route.clone());
    } else {
        routes.remove(route);
    }
    if routes.is_empty() {
        index.remove(of);
    }
}

#[cfg(test)]
#[path = "planner/tests.rs"]
mod tests;
