//! Sessions against a model of Envoy, in virtual time: random changes, refusals, restarts and
//! reconnections, after each of which the model checks what must hold.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    },
    google::{
        protobuf::{Struct, Value, value},
        rpc::Status,
    },
};
use model::{ObjectKey, Revision, Snapshot};
use proptest::prelude::*;

use super::*;
use crate::{
    l7::{Compiler, Input, Settings},
    xds::{cluster_use::LINGER, ledger::RETRY_INTERVAL},
};

type Version = (ResourceType, String, String);

/// Envoy, as far as the protocol goes.
#[derive(Default)]
struct Model {
    held: [BTreeMap<String, String>; 5],
    asked: [bool; 5],
    names: [BTreeSet<String>; 5],
    outbox: VecDeque<DeltaDiscoveryRequest>,
    /// What it will refuse, and what it was told alone and refused.
    bad: BTreeSet<Version>,
    refused_alone: BTreeSet<Version>,
    /// The same, before the refusal has been heard.
    unheard: BTreeSet<Version>,
    /// Refuses whole responses (a broken protobuf rule), instead of the bad resources only.
    whole: bool,
    /// Does not listen on what it accepts until it is told to.
    slow_to_open: bool,
    /// What it took last; another version ends a refusal.
    accepted: BTreeMap<(ResourceType, String), String>,
    starts: usize,
    last: Vec<Version>,
    resources: usize,
}

/// A session, its Envoy and what flows between them.
struct Pair {
    now: Instant,
    config: Snapshot,
    compiler: Compiler,
    ledger: Ledger,
    /// What of the ledger is on disk.
    saved: Standing,
    session: Session,
    envoy: Model,
    known: HashMap<Version, Arc<Resource>>,
    answered: Option<Answer>,
}

impl Model {
    /// Connects: with what it has, when it has something.
    fn connect(&mut self) {
        self.outbox.clear();
        self.unheard.clear();
        self.asked = Default::default();
        for kind in [ResourceType::Cluster, ResourceType::Listener] {
            self.ask(kind, vec!["*".into()], vec![]);
        }
        for kind in [ResourceType::Endpoints, ResourceType::Secret, ResourceType::ScopedRoute] {
            let names: Vec<String> = self.names[kind as usize].iter().cloned().collect();
            if !names.is_empty() {
                self.ask(kind, names, vec![]);
            }
        }
    }

    fn ask(&mut self, kind: ResourceType, subscribe: Vec<String>, unsubscribe: Vec<String>) {
        // Of collections it tells no versions.
        let initial = if self.asked[kind as usize] || kind == ResourceType::ScopedRoute {
            HashMap::new()
        } else {
            self.held[kind as usize].clone().into_iter().collect()
        };
        let node = (self.asked == [false; 5]).then(|| self.node());
        self.asked[kind as usize] = true;
        self.outbox.push_back(DeltaDiscoveryRequest {
            node,
            type_url: kind.type_url().into(),
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            initial_resource_versions: initial,
            ..Default::default()
        });
    }

    fn node(&self) -> Node {
        let kind = Some(value::Kind::StringValue(self.starts.to_string()));
        let fields = HashMap::from([(INSTANCE_FIELD.to_owned(), Value { kind })]);
        Node { metadata: Some(Struct { fields }), ..Default::default() }
    }

    fn take(&mut self, response: &DeltaDiscoveryResponse, known: &HashMap<Version, Arc<Resource>>) {
        let kind = ResourceType::of_type_url(&response.type_url).unwrap();
        self.resources += response.resources.len();
        let version = |one: &pb::Resource| (kind, one.name.clone(), one.version.clone());
        self.last = response.resources.iter().map(version).collect();
        let bad: Vec<Version> = response
            .resources
            .iter()
            .map(version)
            .filter(|version| self.bad.contains(version))
            .collect();
        let alone = response.resources.len() + response.removed_resources.len() == 1;
        for bad in &bad {
            assert!(!self.refused_alone.contains(bad), "{bad:?} was refused and is sent again");
            if alone {
                self.unheard.insert(bad.clone());
            }
        }
        let take_some = bad.is_empty() || !self.whole;
        for one in response.resources.iter().filter(|_| take_some) {
            if bad.contains(&version(one)) {
                continue;
            }
            self.held[kind as usize].insert(one.name.clone(), one.version.clone());
            let before = self.accepted.insert((kind, one.name.clone()), one.version.clone());
            if before.as_ref() != Some(&one.version) {
                self.refused_alone.retain(|refused| (refused.0, &refused.1) != (kind, &one.name));
            }
            let resource = &known[&version(one)];
            for want in &resource.wants {
                let name = match want.kind {
                    ResourceType::ScopedRoute => {
                        format!("{}/*", want.name.rsplit_once('/').unwrap().0)
                    }
                    _ => want.name.to_string(),
                };
                if self.names[want.kind as usize].insert(name.clone()) {
                    self.ask(want.kind, vec![name], vec![]);
                }
            }
        }
        for name in response.removed_resources.iter().filter(|_| take_some) {
            self.refused_alone.retain(|refused| (refused.0, &refused.1) != (kind, name));
            let held = self.held[kind as usize].remove(name);
            let gone = held.and_then(|held| known.get(&(kind, name.clone(), held)).cloned());
            for want in gone.iter().flat_map(|gone| &gone.wants) {
                let path = want.name.rsplit_once('/').unwrap().0.to_owned() + "/";
                let (name, held) = (want.name.to_string(), &mut self.held[want.kind as usize]);
                let name = if want.kind == ResourceType::ScopedRoute {
                    held.retain(|name, _| !name.starts_with(&path));
                    path + "*"
                } else {
                    held.remove(&name);
                    name
                };
                self.names[want.kind as usize].remove(&name);
                self.ask(want.kind, vec![], vec![name]);
            }
        }
        let named = if self.whole { String::new() } else { format!("{bad:?}") };
        self.outbox.push_back(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: (!bad.is_empty())
                .then(|| Status { message: format!("no: {named}"), ..Default::default() }),
            ..Default::default()
        });
    }
}

impl Pair {
    fn new() -> Self {
        let compiler = Compiler::new(Settings::default());
        let mut pair = Self {
            now: Instant::now(),
            config: Snapshot::default(),
            session: Session::new(compiler.world().clone()),
            compiler,
            ledger: Ledger::default(),
            saved: Standing::default(),
            envoy: Model::default(),
            known: HashMap::new(),
            answered: None,
        };
        pair.put("kind: Listener\nmetadata: { name: web }\nspec: { protocol: HTTP, port: 80 }");
        pair.publish();
        pair.envoy.connect();
        pair.settle();
        pair
    }

    fn put(&mut self, yaml: &str) {
        for object in model::parse::parse_documents(yaml).unwrap() {
            self.config.put(Arc::new(object));
        }
    }

    fn service(&mut self, n: u8, port: u16, balancing: &str) {
        self.put(&format!(
            "kind: Service\nmetadata: {{ name: s{n} }}\nspec: {{ loadBalancing: {balancing}, \
             endpoints: [{{ address: 10.0.0.1, port: {port} }}] }}"
        ));
    }

    fn route(&mut self, n: u8, service: u8, prefix: u8) {
        self.put(&format!(
            "kind: HTTPRoute\nmetadata: {{ name: r{n} }}\nspec:\n  listeners: [{{ name: web }}]\n  \
             hosts: [h{n}.example]\n  rules:\n    - matches: [{{ path: {{ prefix: /p{prefix} }} }}]\n      \
             backends: [{{ service: {{ name: s{service} }} }}]"
        ));
    }

    fn publish(&mut self) -> Revision {
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
        // What is taken away and put back is tried again.
        self.envoy.refused_alone.retain(|(kind, name, _)| world.get(*kind, name).is_some());
        self.session.set_world(world);
        revision
    }

    /// Moves one message; tells whether there was one.
    fn step(&mut self) -> bool {
        let mut moved = true;
        if let Some(response) = self.session.poll_response(self.now, &mut self.ledger) {
            self.envoy.take(&response, &self.known);
            self.check();
        } else if let Some(request) = self.envoy.outbox.pop_front() {
            if request.error_detail.is_some() {
                // Of this type: the answer for another one may still be under way, and get lost.
                let kind = ResourceType::of_type_url(&request.type_url).unwrap();
                let heard = self.envoy.unheard.extract_if(.., |unheard| unheard.0 == kind);
                // What went from the configuration before the refusal came is tried again as well.
                let world = self.compiler.world();
                let stands = heard.filter(|(kind, name, _)| world.get(*kind, name).is_some());
                self.envoy.refused_alone.extend(stands);
            }
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

    /// Tells the session what Envoy listens on.
    fn listen(&mut self) {
        if let Some(asked) = self.session.opening() {
            let held = &self.envoy.held[ResourceType::Listener as usize];
            self.session.handle_listening(asked, &held.keys().cloned().collect());
        }
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the session does not come to rest");
    }

    /// A new stream; Envoy has forgotten all when it was `restarted`.
    fn reconnect(&mut self, restarted: bool) {
        if restarted {
            self.envoy.held = Default::default();
            self.envoy.names = Default::default();
            self.envoy.starts += 1;
        }
        self.session = Session::new(self.compiler.world().clone());
        self.answered = None;
        self.envoy.connect();
    }

    /// Another data plane, with another Envoy, that knows what is on disk.
    fn start_cold(&mut self) {
        self.ledger = Ledger::restore(self.now, &self.saved);
        self.reconnect(true);
    }

    /// What Envoy routes to is there, with its endpoints.
    fn check(&self) {
        let held = &self.envoy.held;
        for kind in [ResourceType::Listener, ResourceType::ScopedRoute] {
            for (name, version) in &held[kind as usize] {
                let resource = &self.known[&(kind, name.clone(), version.clone())];
                for cluster in &resource.clusters {
                    let bad = self.envoy.bad.iter().any(|bad| bad.1 == **cluster);
                    for kind in [ResourceType::Cluster, ResourceType::Endpoints] {
                        assert!(
                            bad || held[kind as usize].contains_key(&**cluster),
                            "{name} goes to {cluster}, which has no {kind}"
                        );
                    }
                }
            }
        }
    }

    /// At rest Envoy has what is wanted, or the last accepted of what it refused.
    fn check_at_rest(&self) {
        let world = self.compiler.world();
        for kind in ResourceType::ALL {
            let held = &self.envoy.held[kind as usize];
            for (name, resource) in world.of_kind(kind) {
                let version = (kind, name.to_string(), resource.version.to_string());
                let has = held.get(&**name);
                if self.envoy.bad.contains(&version) {
                    assert_ne!(has, Some(&version.2), "{name} was refused");
                    let last =
                        self.ledger.accepted(kind, name).map(|last| last.version.to_string());
                    assert_eq!(has, last.as_ref(), "{name} is what was accepted last");
                } else if kind != ResourceType::Endpoints
                    || self.envoy.held[ResourceType::Cluster as usize].contains_key(&**name)
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

    fn world_has_bad(&self) -> bool {
        self.envoy.bad.iter().any(|(kind, name, version)| {
            self.compiler.world().get(*kind, name).is_some_and(|one| *one.version == **version)
        })
    }
}

#[derive(Clone, Debug)]
enum Action {
    Service(u8, u16, bool),
    RemoveService(u8),
    Route(u8, u8, u8),
    RemoveRoute(u8),
    Publish,
    Steps(u8),
    /// The next version of a route or service is one that Envoy refuses.
    Poison(u8, bool),
    Whole(bool),
    Reconnect(bool),
    StartCold,
    Wait,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0..4u8, 1..5u16, any::<bool>()).prop_map(|(n, port, b)| Action::Service(n, port, b)),
        2 => (0..4u8).prop_map(Action::RemoveService),
        6 => (0..4u8, 0..4u8, 0..3u8).prop_map(|(n, service, p)| Action::Route(n, service, p)),
        2 => (0..4u8).prop_map(Action::RemoveRoute),
        6 => Just(Action::Publish),
        8 => (1..20u8).prop_map(Action::Steps),
        2 => (0..4u8, any::<bool>()).prop_map(|(n, route)| Action::Poison(n, route)),
        1 => any::<bool>().prop_map(Action::Whole),
        1 => any::<bool>().prop_map(Action::Reconnect),
        1 => Just(Action::StartCold),
        1 => Just(Action::Wait),
    ]
}

/// Services that routes refer to are there: validation sees to it.
fn keep_references(pair: &mut Pair) {
    let used: BTreeSet<ObjectKey> = pair
        .config
        .http_routes()
        .flat_map(|(_, route)| &route.rules)
        .filter_map(|rule| match &rule.action {
            model::route::HttpAction::Forward { backends, .. } => Some(&backends[0].service.name),
            _ => None,
        })
        .map(|name| ObjectKey::new(model::Kind::Service, "default", name.as_str()))
        .collect();
    for key in used {
        if pair.config.get(&key).is_none() {
            let n: u8 = key.name[1..].parse().unwrap();
            pair.service(n, 9, "RoundRobin");
        }
    }
}

fn run(actions: Vec<Action>) {
    let mut pair = Pair::new();
    for action in actions {
        match action {
            Action::Service(n, port, maglev) => {
                pair.service(n, port, if maglev { "Maglev" } else { "RoundRobin" });
            }
            Action::RemoveService(n) => {
                pair.config.remove(&format!("Service/default/s{n}").parse().unwrap());
            }
            Action::Route(n, service, prefix) => pair.route(n, service, prefix),
            Action::RemoveRoute(n) => {
                pair.config.remove(&format!("HTTPRoute/default/r{n}").parse().unwrap());
            }
            Action::Publish => {
                keep_references(&mut pair);
                pair.publish();
            }
            Action::Steps(count) => {
                for _ in 0..count {
                    pair.step();
                }
            }
            Action::Poison(n, route) => {
                keep_references(&mut pair);
                let mut compiler = pair.compiler.clone();
                compiler.update(Input { config: pair.config.clone(), ..Input::default() });
                let (kind, suffix) = if route {
                    (ResourceType::ScopedRoute, format!("/h{n}.example"))
                } else {
                    (ResourceType::Cluster, format!("/s{n}"))
                };
                let poisoned = compiler.world().of_kind(kind).find(|(name, resource)| {
                    let version = (kind, name.to_string(), resource.version.to_string());
                    // What Envoy took once it takes again.
                    name.ends_with(&suffix) && !pair.known.contains_key(&version)
                });
                if let Some((name, resource)) = poisoned {
                    let version = (kind, name.to_string(), resource.version.to_string());
                    pair.envoy.bad.insert(version);
                }
            }
            Action::Whole(whole) => pair.envoy.whole = whole,
            Action::Reconnect(restarted) => pair.reconnect(restarted),
            Action::StartCold => pair.start_cold(),
            Action::Wait => pair.now += LINGER + Duration::from_secs(1),
        }
    }
    keep_references(&mut pair);
    pair.publish();
    pair.settle();
    pair.check_at_rest();
    // What is gone goes, after its time.
    for _ in 0..2 {
        pair.now += LINGER + Duration::from_secs(1);
        pair.settle();
    }
    pair.check_at_rest();
    // A stream that breaks at rest costs nothing.
    let before = pair.envoy.resources;
    pair.reconnect(false);
    pair.settle();
    assert_eq!(
        pair.envoy.resources, before,
        "a reconnection sends nothing again: {:?}",
        pair.envoy.last
    );
    pair.check_at_rest();
    // A new Envoy gets what was accepted.
    pair.reconnect(true);
    pair.settle();
    pair.check_at_rest();
    // So does one of a new data plane, which knows no more than what is on disk.
    let (held, answered) = (pair.envoy.held.clone(), pair.answered.clone());
    pair.start_cold();
    pair.settle();
    pair.check_at_rest();
    assert_eq!(pair.envoy.held, held);
    assert_eq!(pair.answered, answered);
}

/// Cases where `PROPTEST_CASES` does not say how many.
const CASES: u32 = 300;

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|count| count.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(CASES),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn envoy_always_has_what_it_routes_to_and_ends_with_what_is_wanted(
        actions in proptest::collection::vec(action(), 0..60),
    ) {
        run(actions);
    }
}

fn urls(pair: &mut Pair) -> Vec<(ResourceType, usize, usize)> {
    let mut order = Vec::new();
    loop {
        if let Some(response) = pair.session.poll_response(pair.now, &mut pair.ledger) {
            let kind = ResourceType::of_type_url(&response.type_url).unwrap();
            order.push((kind, response.resources.len(), response.removed_resources.len()));
            pair.envoy.take(&response, &pair.known);
        } else if let Some(request) = pair.envoy.outbox.pop_front() {
            pair.session.handle_request(pair.now, &request, &mut pair.ledger);
        } else {
            return order;
        }
    }
}

#[test]
fn what_is_new_goes_cluster_endpoints_route_and_leaves_in_reverse() {
    let mut pair = Pair::new();
    pair.service(1, 1, "RoundRobin");
    pair.route(1, 1, 1);
    pair.publish();
    use ResourceType::{Cluster, Endpoints, ScopedRoute};
    assert_eq!(urls(&mut pair), [(Cluster, 1, 0), (Endpoints, 1, 0), (ScopedRoute, 1, 0)]);
    pair.config.remove(&"Service/default/s1".parse().unwrap());
    pair.config.remove(&"HTTPRoute/default/r1".parse().unwrap());
    pair.publish();
    assert_eq!(urls(&mut pair), [(ScopedRoute, 0, 1)], "the cluster lingers");
    assert_eq!(pair.session.next_timeout(&pair.ledger), Some(pair.now + LINGER));
    pair.now += LINGER;
    assert_eq!(urls(&mut pair), [(Cluster, 0, 1)]);
    assert_eq!(pair.session.next_timeout(&pair.ledger), None);
}

#[test]
fn a_changed_cluster_gets_its_endpoints_again() {
    let mut pair = Pair::new();
    pair.service(1, 1, "RoundRobin");
    pair.publish();
    pair.settle();
    pair.service(1, 1, "Maglev");
    pair.publish();
    use ResourceType::{Cluster, Endpoints};
    assert_eq!(urls(&mut pair), [(Cluster, 1, 0), (Endpoints, 1, 0)]);
}

#[test]
fn changes_in_flight_are_coalesced_and_answered_for() {
    let mut pair = Pair::new();
    pair.service(1, 1, "RoundRobin");
    pair.publish();
    pair.settle();
    for port in 2..100 {
        pair.service(1, port, "RoundRobin");
        pair.publish();
        if port == 2 {
            let response = pair.session.poll_response(pair.now, &mut pair.ledger).unwrap();
            pair.envoy.take(&response, &pair.known);
        } else {
            assert!(pair.session.poll_response(pair.now, &mut pair.ledger).is_none());
        }
    }
    let before = pair.envoy.resources;
    pair.settle();
    assert_eq!(pair.envoy.resources - before, 1);
    assert_eq!(pair.answered.as_ref().map(|answer| answer.revision), Some(pair.config.revision()));
}

#[test]
fn a_missing_name_is_answered_at_once_and_a_name_asked_again_is_sent_again() {
    let mut pair = Pair::new();
    pair.service(1, 1, "RoundRobin");
    pair.publish();
    pair.settle();
    let ask = |pair: &mut Pair, name: &str| {
        pair.envoy.ask(ResourceType::Endpoints, vec![name.into()], vec![]);
        urls(pair)
    };
    assert_eq!(ask(&mut pair, "default/none"), [(ResourceType::Endpoints, 0, 1)]);
    assert_eq!(ask(&mut pair, "default/s1"), [(ResourceType::Endpoints, 1, 0)]);
}

#[test]
fn a_stale_nonce_acknowledges_nothing_but_its_subscriptions_count() {
    let mut pair = Pair::new();
    pair.service(1, 1, "RoundRobin");
    pair.publish();
    let response = pair.session.poll_response(pair.now, &mut pair.ledger).unwrap();
    let stale = DeltaDiscoveryRequest {
        type_url: ResourceType::Endpoints.type_url().into(),
        response_nonce: "0".into(),
        resource_names_subscribe: vec!["default/s1".into()],
        ..Default::default()
    };
    pair.session.handle_request(pair.now, &stale, &mut pair.ledger);
    let second = pair.session.poll_response(pair.now, &mut pair.ledger).unwrap();
    assert_eq!(second.resources[0].name, "default/s1");
    let stale = DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: "0".into(),
        ..Default::default()
    };
    pair.session.handle_request(pair.now, &stale, &mut pair.ledger);
    pair.service(2, 1, "RoundRobin");
    pair.publish();
    assert!(pair.session.poll_response(pair.now, &mut pair.ledger).is_none(), "still in flight");
}

#[test]
fn a_listener_is_answered_for_when_it_is_listened_on() {
    let mut pair = Pair::new();
    pair.envoy.slow_to_open = true;
    let put = |pair: &mut Pair, port: u16| {
        pair.put(&format!(
            "kind: Listener\nmetadata: {{ name: new }}\nspec: {{ protocol: HTTP, port: {port} }}"
        ));
        pair.publish()
    };
    let answered = |pair: &mut Pair| {
        if let Some(answer) = pair.session.poll_answer(&pair.ledger) {
            pair.answered = Some(answer);
        }
        pair.answered.as_ref().map(|answer| answer.revision)
    };
    let first = put(&mut pair, 81);
    pair.settle();
    assert!(answered(&mut pair) < Some(first));
    let asked = pair.session.opening().expect("it opens");
    pair.session.handle_listening(asked, &["default/web".to_owned()].into());
    assert!(answered(&mut pair) < Some(first), "another one listens");
    pair.listen();
    assert_eq!(answered(&mut pair), Some(first));
    assert_eq!(pair.session.opening(), None);

    // What was asked before a change was accepted tells nothing of the change.
    let second = put(&mut pair, 82);
    pair.settle();
    pair.session.handle_listening(asked, &["default/new".to_owned()].into());
    assert_eq!(answered(&mut pair), Some(first));
    pair.listen();
    assert_eq!(answered(&mut pair), Some(second));

    // What stood before a listener is answered for meanwhile, and one that goes is not waited for.
    pair.service(1, 1, "RoundRobin");
    let third = pair.publish();
    put(&mut pair, 83);
    pair.settle();
    assert_eq!(answered(&mut pair), Some(third));
    pair.config.remove(&"Listener/default/new".parse().unwrap());
    let last = pair.publish();
    pair.settle();
    assert_eq!(answered(&mut pair), Some(last));
}

#[test]
fn a_refused_response_of_many_finds_the_culprit() {
    for whole in [false, true] {
        let mut pair = Pair::new();
        pair.envoy.whole = whole;
        for n in 0..20 {
            pair.service(n, 1, "RoundRobin");
            pair.route(n, n, 1);
        }
        pair.publish();
        pair.settle();
        for n in 0..20 {
            pair.route(n, n, 2);
        }
        let mut compiler = pair.compiler.clone();
        compiler.update(Input { config: pair.config.clone(), ..Input::default() });
        let (name, resource) = compiler
            .world()
            .of_kind(ResourceType::ScopedRoute)
            .find(|(name, _)| name.ends_with("/h7.example"))
            .unwrap();
        let bad = (ResourceType::ScopedRoute, name.to_string(), resource.version.to_string());
        pair.envoy.bad.insert(bad);
        pair.publish();
        pair.settle();
        pair.check_at_rest();
        let refusals = &pair.answered.as_ref().unwrap().refusals;
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].object, Some("HTTPRoute/default/r7".parse().unwrap()));
    }
}

#[test]
fn what_envoy_has_counts_as_accepted_though_its_answer_was_lost() {
    run(vec![
        Action::Route(0, 2, 0),
        Action::Poison(2, false),
        Action::Service(2, 1, true),
        Action::Publish,
        Action::Steps(1),
        Action::Reconnect(false),
        Action::Service(2, 1, false),
    ]);
}

#[test]
fn what_stands_in_gets_clusters_that_a_new_envoy_never_had() {
    run(vec![
        Action::Route(3, 1, 0),
        Action::Publish,
        Action::Steps(7),
        Action::RemoveService(1),
        Action::Reconnect(true),
        Action::Route(3, 2, 0),
        Action::Poison(3, true),
    ]);
}

#[test]
fn a_route_whose_answer_was_lost_is_removed_all_the_same() {
    run(vec![
        Action::Route(0, 0, 0),
        Action::Publish,
        Action::Service(1, 1, false),
        Action::Steps(2),
        Action::Route(3, 0, 0),
        Action::Publish,
        Action::Steps(5),
        Action::Reconnect(false),
        Action::RemoveRoute(3),
    ]);
}

#[test]
fn a_cluster_that_lingers_keeps_its_endpoints() {
    run(vec![
        Action::Route(2, 0, 0),
        Action::Publish,
        Action::Route(2, 1, 0),
        Action::Steps(6),
        Action::Service(0, 1, true),
        Action::Publish,
        Action::Steps(1),
        Action::RemoveService(0),
    ]);
}

#[test]
fn a_cluster_stays_while_a_route_in_doubt_may_go_to_it() {
    run(vec![
        Action::Service(0, 1, false),
        Action::RemoveRoute(0),
        Action::Service(1, 3, true),
        Action::Route(0, 0, 0),
        Action::Publish,
        Action::Steps(8),
        Action::Reconnect(false),
        Action::RemoveService(0),
        Action::Route(0, 1, 0),
        Action::Service(1, 1, true),
        Action::Publish,
        Action::Steps(2),
        Action::Wait,
        Action::Service(1, 1, false),
    ]);
}

#[test]
fn a_cluster_stays_until_the_collections_of_before_were_asked_for() {
    run(vec![
        Action::Service(0, 1, false),
        Action::Service(1, 1, false),
        Action::Route(0, 0, 0),
        Action::Publish,
        Action::Steps(19),
        Action::Steps(19),
        Action::Reconnect(false),
        Action::RemoveService(0),
        Action::Route(0, 1, 0),
        Action::Publish,
        Action::Steps(3),
        Action::Wait,
    ]);
}

#[test]
fn a_listener_that_stands_in_keeps_its_certificate() {
    for cold in [false, true] {
        let mut pair = Pair::new();
        let put = |pair: &mut Pair, spec: &str| {
            pair.put(&format!("kind: Listener\nmetadata: {{ name: shop }}\nspec: {spec}"));
        };
        put(
            &mut pair,
            "{ protocol: HTTPS, port: 443, tls: { certificateFile: /a, privateKeyFile: /b } }",
        );
        pair.publish();
        pair.settle();
        put(&mut pair, "{ protocol: HTTP, port: 444 }");
        let mut compiler = pair.compiler.clone();
        compiler.update(Input { config: pair.config.clone(), ..Input::default() });
        let second = compiler.world().get(ResourceType::Listener, "default/shop").unwrap();
        let bad = (ResourceType::Listener, second.name.to_string(), second.version.to_string());
        pair.envoy.bad.insert(bad);
        pair.publish();
        pair.settle();
        if cold {
            pair.start_cold();
        } else {
            pair.reconnect(true);
        }
        pair.settle();
        for kind in [ResourceType::Listener, ResourceType::Secret] {
            assert!(pair.envoy.held[kind as usize].contains_key("default/shop"), "{kind}");
        }
    }
}

/// Steps until Envoy has heard of a route's next version and its answer is under way.
fn send_route(pair: &mut Pair, n: u8) {
    let sent = |pair: &Pair| {
        let scopes = &pair.session.kinds[ResourceType::ScopedRoute as usize];
        let in_flight = scopes.in_flight.iter().flat_map(|in_flight| &in_flight.items);
        in_flight.into_iter().any(|item| item.name.ends_with(&format!("/h{n}.example")))
    };
    while !sent(pair) {
        assert!(pair.step(), "it is never sent");
    }
}

/// Marks the version of a route that is published next as one that Envoy refuses.
fn poison_route(pair: &mut Pair, n: u8) {
    let mut compiler = pair.compiler.clone();
    compiler.update(Input { config: pair.config.clone(), ..Input::default() });
    let world = compiler.world();
    let mut scopes = world.of_kind(ResourceType::ScopedRoute);
    let (name, resource) =
        scopes.find(|(name, _)| name.ends_with(&format!("/h{n}.example"))).unwrap();
    let bad = (ResourceType::ScopedRoute, name.to_string(), resource.version.to_string());
    pair.envoy.bad.insert(bad);
}

/// An Envoy that has the first version of a route to s0 and refused a second one, to s1, on
/// another stream; both streams broke before its answer was heard.
fn twice_in_doubt() -> Pair {
    let mut pair = Pair::new();
    pair.service(0, 1, "RoundRobin");
    pair.service(1, 1, "RoundRobin");
    pair.route(0, 0, 0);
    pair.publish();
    send_route(&mut pair, 0);
    pair.reconnect(false);
    pair.route(0, 1, 0);
    poison_route(&mut pair, 0);
    pair.publish();
    send_route(&mut pair, 0);
    pair
}

#[test]
fn a_doubt_lasts_over_more_than_one_broken_stream() {
    let mut pair = twice_in_doubt();
    pair.reconnect(false);
    pair.config.remove(&"Service/default/s0".parse().unwrap());
    pair.route(0, 1, 1);
    pair.service(1, 1, "Maglev");
    pair.publish();
    // All is asked for, and the route waits for the endpoints of its cluster.
    while !pair.session.clusters.is_complete() {
        assert!(pair.step());
    }
    pair.now += LINGER + Duration::from_secs(1);
    pair.settle();
    pair.check_at_rest();
}

#[test]
fn what_was_in_doubt_before_a_refusal_stands_in() {
    let mut pair = twice_in_doubt();
    pair.settle();
    pair.check_at_rest();
    pair.config.remove(&"Service/default/s0".parse().unwrap());
    pair.publish();
    pair.settle();
    pair.now += LINGER + Duration::from_secs(1);
    pair.settle();
    pair.check_at_rest();
}

#[test]
fn a_new_stream_is_answered_for_when_its_collections_were_asked_for() {
    let mut pair = Pair::new();
    pair.service(0, 1, "RoundRobin");
    pair.route(0, 0, 0);
    pair.publish();
    pair.settle();
    pair.reconnect(false);
    pair.route(0, 0, 1);
    let revision = pair.publish();
    let has_it = |pair: &Pair| {
        let world = pair.compiler.world();
        world.of_kind(ResourceType::ScopedRoute).all(|(name, resource)| {
            let held = &pair.envoy.held[ResourceType::ScopedRoute as usize];
            held.get(&**name).is_some_and(|version| **version == *resource.version)
        })
    };
    let answered = |pair: &mut Pair| {
        pair.session.poll_answer(&pair.ledger).is_some_and(|answer| answer.revision == revision)
    };
    while let Some(request) = pair.envoy.outbox.pop_front() {
        pair.session.handle_request(pair.now, &request, &mut pair.ledger);
        pair.listen();
        while let Some(response) = pair.session.poll_response(pair.now, &mut pair.ledger) {
            pair.envoy.take(&response, &pair.known);
        }
        assert!(!answered(&mut pair) || has_it(&pair), "answered for too early");
    }
    assert!(has_it(&pair));
}

#[test]
fn what_was_sent_before_a_lost_refusal_is_settled() {
    run(vec![
        Action::Route(2, 2, 0),
        Action::Route(0, 0, 0),
        Action::Reconnect(true),
        Action::Publish,
        Action::Steps(4),
        Action::Reconnect(false),
        Action::Route(2, 0, 0),
        Action::Poison(2, true),
        Action::Steps(7),
        Action::Reconnect(false),
        Action::Publish,
    ]);
}

#[test]
fn what_a_refused_response_may_have_brought_stands_in() {
    run(vec![
        Action::Service(1, 1, false),
        Action::Poison(1, false),
        Action::Route(0, 3, 0),
        Action::Publish,
        Action::Service(3, 1, true),
        Action::Steps(1),
        Action::Poison(3, false),
        Action::Service(0, 1, false),
    ]);
}

#[test]
fn a_refusal_that_was_lost_behind_another_one_is_asked_for_again() {
    run(vec![
        Action::Route(0, 2, 0),
        Action::RemoveService(0),
        Action::Publish,
        Action::Route(2, 2, 0),
        Action::Service(0, 1, false),
        Action::Route(0, 3, 0),
        Action::Poison(2, true),
        Action::Steps(3),
        Action::Poison(3, false),
        Action::Publish,
        Action::Steps(7),
        Action::Reconnect(false),
    ]);
}

#[test]
fn a_refusal_heard_after_its_removal_is_over_when_it_is_put_back() {
    run(vec![
        Action::Service(3, 1, false),
        Action::Poison(3, false),
        Action::Route(0, 2, 0),
        Action::Reconnect(true),
        Action::Service(0, 1, false),
        Action::Publish,
        Action::Steps(12),
        Action::RemoveService(3),
        Action::Publish,
        Action::Service(3, 1, false),
        Action::Steps(6),
    ]);
}

#[test]
fn a_refusal_heard_after_its_removal_is_over_though_the_response_was_refused_whole() {
    run(vec![
        Action::Route(1, 3, 0),
        Action::Poison(3, false),
        Action::Service(3, 1, false),
        Action::Service(0, 1, false),
        Action::Publish,
        Action::Whole(true),
        Action::RemoveService(3),
        Action::Reconnect(false),
        Action::Route(1, 0, 0),
        Action::Steps(6),
        Action::Publish,
        Action::Steps(6),
        Action::Service(3, 1, false),
    ]);
}

#[test]
fn a_refused_listener_is_tried_again_in_time_and_alone() {
    let mut pair = Pair::new();
    pair.put("kind: Listener\nmetadata: { name: taken }\nspec: { protocol: HTTP, port: 81 }");
    let mut compiler = pair.compiler.clone();
    compiler.update(Input { config: pair.config.clone(), ..Input::default() });
    let resource = compiler.world().get(ResourceType::Listener, "default/taken").unwrap();
    let bad = (ResourceType::Listener, resource.name.to_string(), resource.version.to_string());
    pair.envoy.bad.insert(bad);
    let revision = pair.publish();
    pair.settle();
    assert_eq!(pair.answered.as_ref().map(|answer| answer.refusals.len()), Some(1));

    // It is refused again, which is no news; nothing is sent in between.
    for _ in 0..2 {
        assert_eq!(pair.session.next_timeout(&pair.ledger), Some(pair.now + RETRY_INTERVAL));
        let sent = pair.envoy.resources;
        pair.now += RETRY_INTERVAL / 2;
        pair.settle();
        assert_eq!(pair.envoy.resources, sent);
        pair.now += RETRY_INTERVAL / 2;
        pair.envoy.refused_alone.clear();
        pair.answered = None;
        pair.settle();
        assert_eq!(pair.envoy.resources, sent + 1);
        assert_eq!(pair.answered, None);
    }

    // Its port is free at last; a stream that breaks in between harms nothing.
    pair.envoy.bad.clear();
    pair.envoy.refused_alone.clear();
    pair.now += RETRY_INTERVAL;
    assert!(pair.session.poll_response(pair.now, &mut pair.ledger).is_some());
    pair.reconnect(false);
    pair.settle();
    pair.check_at_rest();
    assert_eq!(pair.answered, Some(Answer { revision, refusals: vec![] }));
    assert_eq!(pair.session.next_timeout(&pair.ledger), None);
}
