//! A session, its Envoy and what flows between them, message by message, with what must hold after
//! each one and at rest.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use envoy_types::pb::envoy::{
    config::core::v3 as core, extensions::filters::http::jwt_authn::v3 as jwt,
    service::discovery::v3 as pb,
};
use model::{Revision, Snapshot};
use prost::Message as _;

use super::{
    envoy::{Model, Version},
    told::Told,
};
use crate::{
    l7::{Compiler, Input, Resource, ResourceType, Settings, TOKENS, is_requirement},
    xds::{
        answer::Answer,
        ledger::{Ledger, Standing},
        sm::Session,
    },
};

/// A session and its Envoy, in virtual time.
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) config: Snapshot,
    pub(super) compiler: Compiler,
    pub(super) ledger: Ledger,
    /// What of the ledger is on disk.
    pub(super) saved: Standing,
    pub(super) session: Session,
    pub(super) envoy: Model,
    pub(super) told: Told,
    pub(super) known: HashMap<Version, Arc<Resource>>,
    pub(super) answered: Option<Answer>,
}

impl Pair {
    pub(super) fn new() -> Self {
        let compiler = Compiler::new(Settings::default());
        let mut pair = Self {
            now: Instant::now(),
            config: Snapshot::default(),
            session: Session::new(compiler.world().clone()),
            compiler,
            ledger: Ledger::default(),
            saved: Standing::default(),
            envoy: Model::default(),
            told: Told::default(),
            known: HashMap::new(),
            answered: None,
        };
        pair.put("kind: Listener\nmetadata: { name: web }\nspec: { protocol: HTTP, port: 80 }");
        pair.publish();
        pair.envoy.connect();
        pair.settle();
        pair
    }

    pub(super) fn put(&mut self, yaml: &str) {
        for object in model::parse::parse_documents(yaml).unwrap() {
            self.config.put(Arc::new(object));
        }
    }

    pub(super) fn service(&mut self, n: u8, port: u16, balancing: &str) {
        self.put(&format!(
            "kind: Service\nmetadata: {{ name: s{n} }}\nspec: {{ loadBalancing: {balancing}, \
             endpoints: [{{ address: 10.0.0.1, port: {port} }}] }}"
        ));
    }

    /// A service whose cluster waits for secrets too.
    pub(super) fn encrypted(&mut self, n: u8, file: u16) {
        self.put(&format!(
            "kind: Service\nmetadata: {{ name: s{n} }}\nspec: {{ endpoints: [{{ address: 10.0.0.1, \
             port: 1 }}], tls: {{ serverName: a.example, certificateFile: /c{file}.pem, \
             privateKeyFile: /k.pem }} }}"
        ));
    }

    /// A service whose cluster waits for no endpoints.
    pub(super) fn by_name(&mut self, n: u8) {
        self.put(&format!(
            "kind: Service\nmetadata: {{ name: s{n} }}\nspec: {{ dns: {{ name: a.example, port: 1 }} }}"
        ));
    }

    pub(super) fn route(&mut self, n: u8, service: u8, prefix: u8) {
        self.put(&format!(
            "kind: HTTPRoute\nmetadata: {{ name: r{n} }}\nspec:\n  listeners: [{{ name: web }}]\n  \
             hosts: [h{n}.example]\n  rules:\n    - matches: [{{ path: {{ prefix: /p{prefix} }} }}]\n      \
             backends: [{{ service: {{ name: s{service} }} }}]"
        ));
    }

    pub(super) fn publish(&mut self) -> Revision {
        let revision = Revision(self.config.revision().0 + 1);
        self.config.set_revision(revision);
        self.compiler.update(Input { config: self.config.clone(), ..Input::default() });
        let world = self.compiler.world().clone();
        for kind in ResourceType::ALL {
            for (name, resource) in world.of_kind(kind) {
                let version = (kind, name.to_string(), resource.version.to_string());
                self.known.insert(version, resource.clone());
            }
        }
        self.told.configure(&world);
        self.session.set_world(world);
        revision
    }

    /// Moves one message; tells whether there was one.
    pub(super) fn step(&mut self) -> bool {
        let mut moved = true;
        if let Some(response) = self.session.poll_delta(self.now, &mut self.ledger) {
            self.take(&response);
        } else if let Some(request) = self.envoy.outbox.pop_front() {
            self.told.hear(&request, self.compiler.world());
            self.session.handle_request(self.now, &request, &mut self.ledger);
        } else {
            moved = false;
        }
        if !self.envoy.slow_to_open {
            self.listen();
        }
        if let Some(standing) = self.session.standing(&self.ledger, &self.saved) {
            self.saved = standing;
        }
        if let Some(answer) = self.session.poll_answer(&self.ledger) {
            self.answered = Some(answer);
        }
        moved
    }

    /// A route that demands a token.
    pub(super) fn guarded(&mut self, n: u8, service: u8, policy: u8) {
        self.put(&format!(
            "kind: HTTPRoute\nmetadata: {{ name: r{n} }}\nspec:\n  listeners: [{{ name: web }}]\n  \
             hosts: [h{n}.example]\n  rules:\n    - backends: [{{ service: {{ name: s{service} }} }}]\n      \
             auth: {{ name: p{policy} }}"
        ));
    }

    /// A policy that demands a token.
    pub(super) fn policy(&mut self, n: u8, issuer: u8) {
        self.put(&format!(
            "kind: AuthPolicy\nmetadata: {{ name: p{n} }}\nspec: {{ jwt: {{ providers: [{{ name: a, issuer: \
             i{issuer}, jwks: {{ file: /k }} }}] }} }}"
        ));
    }

    /// Lets Envoy hear a response.
    pub(super) fn take(&mut self, response: &pb::DeltaDiscoveryResponse) {
        for sent in &response.resources {
            // What is joined by the session is in no world.
            if sent.name == TOKENS {
                let base =
                    self.compiler.world().get(ResourceType::ExtensionConfig, TOKENS).unwrap();
                let version: Arc<str> = sent.version.as_str().into();
                let body = sent.resource.clone().unwrap();
                let joined = Resource { version, body, ..(**base).clone() };
                let kind = ResourceType::ExtensionConfig;
                self.known.insert((kind, sent.name.clone(), sent.version.clone()), joined.into());
            }
        }
        self.told.send(response);
        self.envoy.take(response, &self.known);
        self.check();
    }

    /// Tells the session what Envoy listens on.
    pub(super) fn listen(&mut self) {
        if let Some(asked) = self.session.opening() {
            let held = &self.envoy.held[ResourceType::Listener as usize];
            self.session.handle_listening(asked, &held.keys().cloned().collect());
        }
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the session does not come to rest");
    }

    /// A new stream; Envoy has forgotten all when it was `restarted`.
    pub(super) fn reconnect(&mut self, restarted: bool) {
        if restarted {
            self.envoy.held = Default::default();
            self.envoy.names = Default::default();
            self.envoy.starts += 1;
        }
        self.session = Session::new(self.compiler.world().clone());
        self.answered = None;
        self.told.connect();
        self.envoy.connect();
    }

    /// Another data plane, with another Envoy, that knows what is on disk.
    pub(super) fn start_cold(&mut self) {
        self.ledger = Ledger::restore(self.now, &self.saved);
        self.told.start_cold();
        self.reconnect(true);
    }

    /// What Envoy routes to is there, and was with its endpoints and secrets when the route came. (A
    /// cluster that changes waits for those of its new version while that of before serves.)
    pub(super) fn check(&self) {
        let held = &self.envoy.held;
        for kind in [ResourceType::Listener, ResourceType::ScopedRoute] {
            for (name, version) in &held[kind as usize] {
                let key = (kind, name.clone(), version.clone());
                let came = self.envoy.last.contains(&key);
                for cluster in &self.known[&key].clusters {
                    if is_requirement(cluster) {
                        assert!(
                            self.requires(cluster),
                            "{name} names {cluster}, which is not there"
                        );
                        continue;
                    }
                    let bad = self.envoy.bad.iter().any(|bad| bad.1 == **cluster);
                    let version = held[ResourceType::Cluster as usize].get(&**cluster);
                    assert!(
                        bad || version.is_some(),
                        "{name} goes to {cluster}, which is not there"
                    );
                    let Some(version) = version.filter(|_| came) else { continue };
                    let key = (ResourceType::Cluster, cluster.to_string(), version.clone());
                    for want in &self.known[&key].wants {
                        let gone = self.ledger.wanted(self.compiler.world(), want.kind, &want.name);
                        assert!(
                            bad || gone.is_none()
                                || held[want.kind as usize].contains_key(&*want.name),
                            "{name} goes to {cluster}, which has no {want}"
                        );
                    }
                }
            }
        }
    }

    /// Tells whether Envoy knows a requirement.
    fn requires(&self, requirement: &str) -> bool {
        let kind = ResourceType::ExtensionConfig;
        let Some(version) = self.envoy.held[kind as usize].get(TOKENS) else { return false };
        let joined = &self.known[&(kind, TOKENS.to_owned(), version.clone())];
        let config = core::TypedExtensionConfig::decode(joined.body.value.as_slice()).unwrap();
        let filter = jwt::JwtAuthentication::decode(&*config.typed_config.unwrap().value).unwrap();
        filter.requirement_map.contains_key(requirement)
    }

    /// At rest Envoy knows the requirements of the configuration, and no others.
    fn check_requirements(&self) {
        let kind = ResourceType::ExtensionConfig;
        let Some(version) = self.envoy.held[kind as usize].get(TOKENS) else { return };
        let joined = &self.known[&(kind, TOKENS.to_owned(), version.clone())];
        let config = core::TypedExtensionConfig::decode(joined.body.value.as_slice()).unwrap();
        let filter = jwt::JwtAuthentication::decode(&*config.typed_config.unwrap().value).unwrap();
        let known = filter.requirement_map.keys().map(String::as_str);
        let known: BTreeSet<&str> = known.filter(|name| is_requirement(name)).collect();
        let world = self.compiler.world().of_kind(kind).map(|(name, _)| &**name);
        let wanted: BTreeSet<&str> = world.filter(|name| is_requirement(name)).collect();
        // What stands in for a refused version still names its own.
        assert!(wanted.is_subset(&known), "{wanted:?} {known:?}");
        assert!(self.world_has_bad() || wanted == known, "{wanted:?} {known:?}");
    }

    /// At rest Envoy has what is wanted, or the last accepted of what it refused.
    pub(super) fn check_at_rest(&self) {
        self.check_requirements();
        let world = self.compiler.world();
        for kind in ResourceType::ALL {
            let held = &self.envoy.held[kind as usize];
            for (name, resource) in world.of_kind(kind) {
                if kind == ResourceType::ExtensionConfig {
                    continue;
                }
                let version = (kind, name.to_string(), resource.version.to_string());
                let has = held.get(&**name);
                if self.envoy.bad.contains(&version) {
                    assert_ne!(has, Some(&version.2), "{name} was refused");
                    let last =
                        self.ledger.accepted(kind, name).map(|last| last.version.to_string());
                    assert_eq!(has, last.as_ref(), "{name} is what was accepted last");
                } else if !matches!(
                    kind,
                    ResourceType::Endpoints | ResourceType::Secret | ResourceType::ExtensionConfig
                ) || self.envoy.names[kind as usize].contains(&**name)
                {
                    assert_eq!(has, Some(&version.2), "{kind} {name}");
                }
            }
            if kind == ResourceType::ScopedRoute || kind == ResourceType::Listener {
                for name in held.keys() {
                    assert!(world.get(kind, name).is_some(), "{name} should be gone");
                }
            }
        }
        let answer = self.answered.as_ref().expect("an answer");
        assert_eq!(answer.revision, world.revision);
        assert_eq!(answer.refusals.is_empty(), !self.world_has_bad());
    }

    /// What was left to linger is gone: Envoy has clusters of the configuration, and of what stands in.
    pub(super) fn check_gone(&self) {
        let (world, held) = (self.compiler.world(), &self.envoy.held);
        let used: BTreeSet<&str> = [ResourceType::Listener, ResourceType::ScopedRoute]
            .into_iter()
            .flat_map(|kind| {
                held[kind as usize].iter().map(move |(name, version)| (kind, name, version))
            })
            .flat_map(|(kind, name, version)| {
                &self.known[&(kind, name.clone(), version.clone())].clusters
            })
            .map(|cluster| &**cluster)
            .collect();
        for name in held[ResourceType::Cluster as usize].keys() {
            let wanted = world.get(ResourceType::Cluster, name).is_some();
            assert!(wanted || used.contains(&**name), "{name} is left behind");
        }
    }

    pub(super) fn world_has_bad(&self) -> bool {
        self.envoy.bad.iter().any(|(kind, name, version)| {
            self.compiler.world().get(*kind, name).is_some_and(|one| *one.version == **version)
        })
    }
}
