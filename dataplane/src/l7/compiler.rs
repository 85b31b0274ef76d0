//! The translation as a whole, kept up to date by differences.
//!
//! One changed object costs the resources that it concerns, not the number of objects: routes are
//! indexed by listener and host, and every other resource concerns one object.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use imbl::OrdMap;
use model::{
    AcmeChallenge, EndpointId, FilterModule, Kind, Listener, ModuleFile, Object, ObjectKey,
    Snapshot, Spec, listener::EngineChoice, rate_limit::TargetRef, route::Reference,
};

use super::{
    ResourceType, cluster, endpoints, filters,
    index::{Hosts, Index, listener_key},
    listener::{self, challenge_chain},
    names, quiet,
    resource::{Resource, ResourceId},
    secret, session_secrets, table,
    world::{ResourceDelta, World},
};
use crate::{
    secret_files::SecretFiles,
    xdp::{Placement, placement::differing},
};

/// Where distributions keep the authorities that they trust, in one file: Debian, Red Hat, SUSE,
/// Alpine.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What does not change while the data plane runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address that listeners with `*` take: `::` (IPv4 too) where the node has IPv6.
    pub any_address: IpAddr,
    /// The file with the authorities that this system trusts.
    pub system_roots: PathBuf,
    /// Where certificates lie that were issued for the cluster.
    pub certificates: PathBuf,
    /// Where the files of modules lie.
    pub modules: PathBuf,
    /// Whether Envoy is there for traffic: otherwise it opens no port and asks no endpoint.
    pub opens_ports: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            any_address: Ipv6Addr::UNSPECIFIED.into(),
            system_roots: SYSTEM_ROOTS[0].into(),
            certificates: PathBuf::new(),
            modules: PathBuf::new(),
            opens_ports: true,
        }
    }
}

impl Settings {
    /// Those of this host: with the file of the authorities that its system trusts; the first name
    /// where there is none, so that a refusal names it.
    #[must_use]
    pub fn of_host(any_address: IpAddr) -> Self {
        Self { any_address, system_roots: system_roots().to_owned(), ..Self::default() }
    }
}

/// Returns the file with the authorities that the system of this host trusts.
#[must_use]
pub fn system_roots() -> &'static Path {
    let found = SYSTEM_ROOTS.into_iter().map(Path::new).find(|path| path.is_file());
    found.unwrap_or(Path::new(SYSTEM_ROOTS[0]))
}

/// What is translated. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The configuration.
    pub config: Snapshot,
    /// Endpoints that get nothing new.
    pub unhealthy: Arc<BTreeSet<EndpointId>>,
    /// The files of modules that are there.
    pub modules: Arc<BTreeSet<ModuleFile>>,
    /// TCP and UDP listeners that XDP decided on; those that it carries are not Envoy's.
    pub placements: OrdMap<ObjectKey, Placement>,
    /// TCP and UDP listeners on which XDP is yet to decide: new ones are held back.
    pub undecided: Arc<BTreeSet<ObjectKey>>,
    /// What the files hold that policies name.
    pub secret_files: SecretFiles,
}

/// Translates configurations, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    settings: Settings,
    input: Input,
    index: Index,
    world: World,
}

/// What an update has to make again.
#[derive(Default)]
struct Affected {
    clusters: BTreeSet<ObjectKey>,
    endpoints: BTreeSet<ObjectKey>,
    listeners: BTreeSet<ObjectKey>,
    hosts: Hosts,
    policies: BTreeSet<ObjectKey>,
    /// The policies whose secrets may be others.
    sessions: BTreeSet<ObjectKey>,
}

impl Compiler {
    /// Makes a compiler whose world is empty.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Returns the resources of the last input.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Translates `input`; returns what differs from before.
    pub fn update(&mut self, input: Input) -> ResourceDelta {
        let affected = self.affected(&input);
        self.input = input;
        self.world.revision = self.input.config.revision();
        let mut touched = BTreeSet::new();
        self.services(&affected, &mut touched);
        self.tokens(&affected.policies, &mut touched);
        self.sessions(&affected.sessions, &mut touched);
        self.listeners(&affected.listeners, &mut touched);
        self.scopes(&affected.hosts, &mut touched);
        let revision = self.world.revision;
        let holds = self.input.undecided.iter().any(|key| self.is_held_back(key));
        self.world.waiting = holds.then(|| self.world.waiting.unwrap_or(revision));
        ResourceDelta { revision: self.world.revision, touched }
    }

    /// Finds what the differences concern, and brings the index up to date.
    fn affected(&mut self, input: &Input) -> Affected {
        let mut affected = Affected::default();
        let mut policies = Vec::new();
        let mut targeted = BTreeSet::new();
        for change in self.input.config.diff(&input.config) {
            let Some((old, new)) = change.of_spec() else { continue };
            let key = change.key();
            // The old one leaves the index before the new one enters it.
            for (object, present) in [(old, false), (new, true)] {
                let Some(object) = object else { continue };
                match &object.spec {
                    Spec::Service(_) => {
                        affected.clusters.insert(key.clone());
                    }
                    Spec::HttpRoute(route) => {
                        self.index.http(&key, route, present, &mut affected.hosts);
                    }
                    Spec::GrpcRoute(route) => {
                        self.index.http(&key, route.as_http(), present, &mut affected.hosts);
                    }
                    Spec::TcpRoute(route) | Spec::UdpRoute(route) => {
                        self.index.l4(&key, &route.listeners, present, &mut affected.listeners);
                    }
                    Spec::TlsRoute(route) => {
                        self.index.l4(&key, &route.listeners, present, &mut affected.listeners);
                    }
                    Spec::Listener(_) => {
                        affected.listeners.insert(key.clone());
                    }
                    Spec::AuthPolicy(_) => policies.push(key.clone()),
                    Spec::RateLimit(limit) => {
                        self.index.targeting(&key, &limit.target_refs, present, &mut targeted);
                    }
                    Spec::FilterModule(module) => {
                        self.index.targeting(&key, &module.target_refs, present, &mut targeted);
                    }
                    Spec::Certificate(_) => {
                        affected.listeners.extend(showing(&input.config, &key));
                    }
                    Spec::PacketFilter(_)
                    | Spec::PrefixList(_)
                    | Spec::QosPolicy(_)
                    | Spec::RolloutPolicy(_)
                    | Spec::Issuer(_) => {}
                }
            }
            if key.kind == Kind::Listener && is_http(old) != is_http(new) {
                let hosts = self.index.hosts(&key);
                let hosts: Vec<_> = hosts.map(|(host, _)| (key.clone(), host.to_owned())).collect();
                affected.hosts.extend(hosts);
                affected.hosts.insert((key.clone(), "*".to_owned()));
            }
        }
        affected.policies.extend(policies.iter().cloned());
        affected.sessions.extend(policies.iter().cloned());
        if self.input.secret_files != input.secret_files {
            let all = input.config.of_kind(Kind::AuthPolicy);
            affected.sessions.extend(all.map(|(key, _)| key.clone()));
        }
        if !Arc::ptr_eq(&self.input.modules, &input.modules) {
            let came = |module: &FilterModule| {
                let file = module.file();
                self.input.modules.contains(&file) != input.modules.contains(&file)
            };
            let came = input.config.filter_modules().filter(|(_, module)| came(module));
            targeted.extend(came.flat_map(|(_, it)| it.target_refs.iter().map(TargetRef::key)));
        }
        let (listeners, targeted): (Vec<_>, Vec<_>) =
            targeted.into_iter().partition(|target| target.kind == Kind::Listener);
        for listener in listeners {
            let hosts = self.index.hosts(&listener);
            affected.hosts.extend(hosts.map(|(host, _)| (listener.clone(), host.to_owned())));
        }
        let referring = policies.iter().flat_map(|policy| self.index.referring(policy));
        for route in referring.chain(&targeted) {
            let Some(route) = input.config.http_route(route) else { continue };
            for listener in route.listeners.iter().map(listener_key) {
                let hosts = route.hosts.iter().map(|host| (listener.clone(), host.clone()));
                affected.hosts.extend(hosts);
            }
        }
        if self.input.config.acme_challenges() != input.config.acme_challenges() {
            let listeners = input.config.listeners().filter(|(_, it)| it.protocol.is_http());
            affected.listeners.extend(listeners.map(|(key, _)| key.clone()));
        }
        if !Arc::ptr_eq(&self.input.unhealthy, &input.unhealthy) {
            let flapped = self.input.unhealthy.symmetric_difference(&input.unhealthy);
            affected.endpoints.extend(flapped.map(|endpoint| endpoint.service.clone()));
        }
        affected.listeners.extend(differing(&self.input.placements, &input.placements).cloned());
        if !Arc::ptr_eq(&self.input.undecided, &input.undecided) {
            let decided = self.input.undecided.symmetric_difference(&input.undecided);
            affected.listeners.extend(decided.cloned());
        }
        affected
    }

    fn services(&mut self, affected: &Affected, touched: &mut BTreeSet<ResourceId>) {
        let Input { config, unhealthy, .. } = &self.input;
        for key in affected.clusters.union(&affected.endpoints) {
            let service = config.service(&key.namespace, &key.name);
            let name = names::plain(key);
            let assignment = service
                .filter(|service| service.dns.is_none())
                .map(|service| endpoints::assignment(key, service, unhealthy));
            if self.world.set(ResourceType::Endpoints, &name, assignment) {
                touched.insert(ResourceId::new(ResourceType::Endpoints, name.as_str()));
            }
            if affected.clusters.contains(key) {
                let cluster = service.map(|service| match cluster::cluster(key, service) {
                    cluster if self.settings.opens_ports => cluster,
                    cluster => quiet::without_questions(cluster, service),
                });
                if self.world.set(ResourceType::Cluster, &name, cluster) {
                    touched.insert(ResourceId::new(ResourceType::Cluster, name.as_str()));
                }
                let roots = &self.settings.system_roots;
                for (name, secret) in cluster::tls::secrets(key, service, roots) {
                    if self.world.set(ResourceType::Secret, &name, secret) {
                        touched.insert(ResourceId::new(ResourceType::Secret, name));
                    }
                }
            }
        }
    }

    /// Translates what policies require of tokens.
    fn tokens(&mut self, policies: &BTreeSet<ObjectKey>, touched: &mut BTreeSet<ResourceId>) {
        let kind = ResourceType::ExtensionConfig;
        let Self { input: Input { config, .. }, settings, world, .. } = self;
        let name = filters::jwt::NAME;
        if world.get(kind, name).is_none() && world.set(kind, name, Some(filters::jwt::base())) {
            touched.insert(ResourceId::new(kind, name));
        }
        for key in policies {
            let policy = config.auth_policy(&key.namespace, &key.name);
            let required = policy.and_then(|policy| {
                filters::jwt::requirement_of(key, policy, settings.opens_ports) //
            });
            let prefix = filters::jwt::requirements_of(&names::plain(key));
            let before: Vec<_> =
                world.with_prefix(kind, &prefix).map(|(name, _)| name.clone()).collect();
            for name in before {
                if required.as_ref().is_none_or(|required| required.name != name) {
                    world.set(kind, &name, None);
                    touched.insert(ResourceId::new(kind, name));
                }
            }
            let Some(required) = required else { continue };
            let name = required.name.clone();
            if world.set(kind, &name, Some(required)) {
                touched.insert(ResourceId::new(kind, name));
            }
        }
    }

    /// Makes the secrets of policies that demand sessions, and notes which of them lack theirs.
    fn sessions(&mut self, policies: &BTreeSet<ObjectKey>, touched: &mut BTreeSet<ResourceId>) {
        if policies.is_empty() {
            return;
        }
        let Self { input: Input { config, secret_files, .. }, world, .. } = self;
        let mut lacking = world.lacking.to_vec();
        lacking.retain(|refusal| !refusal.object.as_ref().is_some_and(|it| policies.contains(it)));
        for key in policies {
            let policy = config.auth_policy(&key.namespace, &key.name);
            let wanted = policy.and_then(|policy| policy.oidc.as_deref());
            let mut made = [None, None];
            match wanted.map(|wanted| session_secrets::secrets(key, wanted, secret_files)) {
                Some(Ok(secrets)) => made = secrets.map(Some),
                Some(Err(refusal)) => lacking.push(*refusal),
                None => {}
            }
            let policy = names::plain(key);
            let names = [names::client_secret(&policy), names::session_key(&policy)];
            for (name, secret) in names.into_iter().zip(made) {
                if world.set(ResourceType::Secret, &name, secret) {
                    touched.insert(ResourceId::new(ResourceType::Secret, name));
                }
            }
        }
        lacking.sort_by(|a, b| a.object.cmp(&b.object));
        world.lacking = lacking.into();
    }

    fn listeners(&mut self, keys: &BTreeSet<ObjectKey>, touched: &mut BTreeSet<ResourceId>) {
        for key in keys {
            let spec = self.input.config.listener(&key.namespace, &key.name);
            let spec = spec.filter(|spec| self.is_ours(key, spec));
            let routes = self.index.l4_routes(key).filter_map(|key| self.input.config.get(key));
            let routes: Vec<&Object> = routes.map(|object| &**object).collect();
            let any = self.settings.any_address;
            let challenges = self.input.config.acme_challenges();
            let listener =
                spec.and_then(|spec| listener::listener(key, spec, any, &routes, &challenges));
            let http3 = spec.and_then(|spec| listener::http3(key, spec, any));
            let tls = spec.and_then(|spec| spec.tls.as_ref());
            let Self { settings, input, .. } = &*self;
            let issued = &settings.certificates;
            let mut secrets =
                tls.map(|tls| secret::secrets(key, tls, &input.config, issued)).unwrap_or_default();
            if tls.is_some() && challenges.contains(&AcmeChallenge::TlsAlpn01) {
                secrets.push(challenge_chain::secret(key, issued));
            }
            for (name, listener) in [(names::plain(key), listener), (names::http3(key), http3)] {
                let listener = match listener {
                    Some(listener) if !self.settings.opens_ports => {
                        Some(quiet::without_port(listener))
                    }
                    listener => listener,
                };
                if self.world.set(ResourceType::Listener, &name, listener) {
                    touched.insert(ResourceId::new(ResourceType::Listener, name));
                }
            }
            self.secrets(&names::certificates(key), secrets, touched);
        }
    }

    /// Makes the secrets of a listener, whose names start with `prefix`, those that are given.
    fn secrets(
        &mut self,
        prefix: &str,
        secrets: Vec<Resource>,
        touched: &mut BTreeSet<ResourceId>,
    ) {
        let before = self.world.with_prefix(ResourceType::Secret, prefix);
        let mut wanted: BTreeMap<Arc<str>, Option<Resource>> =
            before.map(|(name, _)| (name.clone(), None)).collect();
        wanted.extend(secrets.into_iter().map(|secret| (secret.name.clone(), Some(secret))));
        for (name, secret) in wanted {
            if self.world.set(ResourceType::Secret, &name, secret) {
                touched.insert(ResourceId::new(ResourceType::Secret, name));
            }
        }
    }

    fn scopes(&mut self, hosts: &Hosts, touched: &mut BTreeSet<ResourceId>) {
        let mut with_wildcards = BTreeSet::new();
        for (listener, host) in hosts {
            if names::is_wildcard(host) {
                with_wildcards.insert(listener);
                continue;
            }
            let scope = self.serves_http(listener).then(|| {
                let routes = self.attached(listener, self.index.routes(listener, host));
                table::scope(self.ground(), listener, host, &routes)
            });
            let name = names::scope(listener, host);
            if self.world.set(ResourceType::ScopedRoute, &name, scope.flatten()) {
                touched.insert(ResourceId::new(ResourceType::ScopedRoute, name));
            }
        }
        for listener in with_wildcards {
            let scope = self.serves_http(listener).then(|| {
                let hosts: Vec<_> = self
                    .index
                    .wildcards(listener)
                    .map(|(host, keys)| (host, self.attached(listener, keys)))
                    .collect();
                table::wildcards(self.ground(), listener, &hosts)
            });
            let name = names::wildcards(listener);
            if self.world.set(ResourceType::ScopedRoute, &name, scope) {
                touched.insert(ResourceId::new(ResourceType::ScopedRoute, name));
            }
        }
    }

    fn attached<'a>(
        &'a self,
        listener: &'a ObjectKey,
        keys: impl IntoIterator<Item = &'a ObjectKey>,
    ) -> Vec<table::Attached<'a>> {
        let config = &self.input.config;
        let limits = |target: &'a ObjectKey| {
            self.index.targeted_by(target).filter_map(move |key| {
                Some(filters::Limit { key, limit: config.rate_limit(key)?, target })
            })
        };
        let attached = |key: &'a ObjectKey| {
            let route = config.http_route(key)?;
            let limits = limits(listener).chain(limits(key)).collect();
            let modules = self.modules([listener, key]);
            Some(table::Attached { key, route, limits, modules })
        };
        keys.into_iter().filter_map(attached).collect()
    }

    /// Lists the modules that are for a listener or one of its routes, in their order.
    fn modules(&self, targets: [&ObjectKey; 2]) -> Vec<filters::Module<'_>> {
        let Input { config, modules, .. } = &self.input;
        let keys: BTreeSet<_> =
            targets.into_iter().flat_map(|target| self.index.targeted_by(target)).collect();
        let module = |key| {
            let wanted = config.filter_module(key)?;
            Some(filters::Module { key, wanted, is_there: modules.contains(&wanted.file()) })
        };
        let mut found: Vec<_> = keys.into_iter().filter_map(module).collect();
        found.sort_by_key(|module| (module.wanted.order, module.key));
        found
    }

    fn ground(&self) -> table::Ground<'_> {
        table::Ground { config: &self.input.config, modules: &self.settings.modules }
    }

    fn serves_http(&self, listener: &ObjectKey) -> bool {
        self.input
            .config
            .listener(&listener.namespace, &listener.name)
            .is_some_and(|spec| spec.protocol.is_http())
    }

    fn is_ours(&self, key: &ObjectKey, spec: &Listener) -> bool {
        !spec.protocol.is_l4()
            || match spec.engine {
                EngineChoice::Envoy => true,
                EngineChoice::Xdp => false,
                EngineChoice::Auto => {
                    self.input.placements.get(key) != Some(&Placement::Carried)
                        && !self.is_held_back(key)
                }
            }
    }

    /// Tells whether a listener waits for XDP's decision; one that Envoy runs already does not.
    fn is_held_back(&self, key: &ObjectKey) -> bool {
        self.input.undecided.contains(key)
            && self.world.get(ResourceType::Listener, &names::plain(key)).is_none()
    }
}

/// Lists the listeners that show a certificate: few have one, and seldom it changes.
fn showing(config: &Snapshot, certificate: &ObjectKey) -> Vec<ObjectKey> {
    let is = |named: &Reference| {
        named.namespace == certificate.namespace && named.name == certificate.name
    };
    let shows = |listener: &Listener| listener.tls.iter().flat_map(|tls| &tls.certificates).any(is);
    let listeners = config.listeners().filter(|(_, listener)| shows(listener));
    listeners.map(|(key, _)| key.clone()).collect()
}

fn is_http(object: Option<&Arc<Object>>) -> bool {
    object.is_some_and(|object| match &object.spec {
        Spec::Listener(listener) => listener.protocol.is_http(),
        _ => false,
    })
}

#[cfg(test)]
#[path = "compiler_tests.rs"]
mod tests;
