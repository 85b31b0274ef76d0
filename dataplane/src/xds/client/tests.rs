//! Random subscriptions, worlds, refusals and broken streams, over both wires, against what a naive
//! client must have in the end: of what it subscribes to, what the world has.

mod reference;

use std::{collections::BTreeMap, time::Instant};

use model::{Kind, ObjectKey, Revision};
use proptest::prelude::*;

use self::reference::Reference;
use super::{Client, StreamId, Wire};
use crate::{
    l7::{
        Resource,
        ResourceType::{self, Cluster, Endpoints, Listener, Route},
        World,
    },
    xds::{ledger::Ledger, sm::Session},
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// The streams: what each asks for. The last two share two types.
const STREAMS: [[ResourceType; 2]; 3] =
    [[Cluster, Endpoints], [Listener, Route], [Route, Endpoints]];

#[derive(Clone, Debug)]
enum Action {
    /// A resource gets a version; one that clients refuse when bad.
    Set(usize, usize, bool),
    Remove(usize, usize),
    /// A stream subscribes to these names and no others; to all when there are none and it may.
    Subscribe(usize, usize, [bool; 4]),
    Steps(u8),
    /// A stream breaks, and another one takes its place.
    Break(usize),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0..4usize, 0..4usize, proptest::bool::weighted(0.15))
            .prop_map(|(kind, name, bad)| Action::Set(kind, name, bad)),
        2 => (0..4usize, 0..4usize).prop_map(|(kind, name)| Action::Remove(kind, name)),
        6 => (0..3usize, 0..2usize, any::<[bool; 4]>())
            .prop_map(|(stream, kind, names)| Action::Subscribe(stream, kind, names)),
        8 => (1..6u8).prop_map(Action::Steps),
        1 => (0..3usize).prop_map(Action::Break),
    ]
}

/// A client of ours and the references at the other ends of its streams.
struct Exchange {
    now: Instant,
    client: Client,
    ledger: Ledger,
    resources: BTreeMap<(ResourceType, &'static str), (u64, bool)>,
    revision: u64,
    references: Vec<Reference>,
    next: StreamId,
}

impl Exchange {
    fn new(wires: [bool; 3]) -> Self {
        let session = Session::new(World::default()).without_linger();
        let mut exchange = Self {
            now: Instant::now(),
            client: Client::new(session),
            ledger: Ledger::default(),
            resources: BTreeMap::new(),
            revision: 0,
            references: Vec::new(),
            next: 0,
        };
        for delta in wires {
            let wire = if delta { Wire::Delta } else { Wire::StateOfTheWorld };
            let reference = exchange.open(wire);
            exchange.references.push(reference);
        }
        exchange
    }

    fn open(&mut self, wire: Wire) -> Reference {
        self.next += 1;
        self.client.open(self.next, wire);
        Reference::new(self.next, wire)
    }

    fn act(&mut self, action: Action) {
        const KINDS: [ResourceType; 4] = [Cluster, Endpoints, Listener, Route];
        match action {
            Action::Set(kind, name, bad) => {
                self.revision += 1;
                self.resources.insert((KINDS[kind], NAMES[name]), (self.revision, bad));
                self.publish();
            }
            Action::Remove(kind, name) => {
                self.revision += 1;
                self.resources.remove(&(KINDS[kind], NAMES[name]));
                self.publish();
            }
            Action::Subscribe(stream, kind, names) => {
                let names = NAMES.iter().zip(names).filter(|(_, named)| *named);
                let names = names.map(|(name, _)| (*name).to_owned()).collect();
                self.references[stream].subscribe(STREAMS[stream][kind], names);
            }
            Action::Steps(count) => {
                for _ in 0..count {
                    self.step();
                }
            }
            Action::Break(stream) => {
                let broken = &self.references[stream];
                let (id, wire) = (broken.id, broken.wire);
                self.client.close(self.now, id, &mut self.ledger);
                self.references[stream] = self.open(wire);
            }
        }
    }

    fn publish(&mut self) {
        let all = self.resources.iter().map(|((kind, name), (version, bad))| {
            let version = if *bad { format!("bad {version}") } else { version.to_string() };
            (*kind, resource(*kind, name, &version))
        });
        self.client.set_world(World::of_resources(Revision(self.revision), all));
    }

    /// Moves one message; tells whether there was one.
    fn step(&mut self) -> bool {
        if let Some((id, sent)) = self.client.poll(self.now, &mut self.ledger) {
            let reference = self.references.iter_mut().find(|reference| reference.id == id);
            reference.expect("responses go to streams that are open").take(sent);
            return true;
        }
        let asking = self.references.iter_mut().find(|reference| !reference.outbox.is_empty());
        let Some(asking) = asking else { return false };
        let request = asking.outbox.pop_front().unwrap();
        self.client.handle_request(self.now, asking.id, request, &mut self.ledger);
        true
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the client does not come to rest");
    }

    fn check(&self) {
        for (reference, kinds) in self.references.iter().zip(STREAMS) {
            for kind in kinds {
                for name in NAMES {
                    let has = reference.has(kind, name);
                    let world = self.resources.get(&(kind, name));
                    let Some((version, bad)) =
                        world.filter(|_| reference.is_subscribed(kind, name))
                    else {
                        assert!(has.is_none() || reference.is_silent_about(kind), "{kind} {name}");
                        continue;
                    };
                    if *bad {
                        assert!(has.is_none_or(|has| !has.starts_with("bad")), "{kind} {name}");
                    } else {
                        assert_eq!(has, Some(version.to_string().as_str()), "{kind} {name}");
                    }
                }
            }
        }
    }
}

/// A resource that carries its version where the state of the world shows it.
fn resource(kind: ResourceType, name: &str, version: &str) -> Resource {
    Resource {
        name: name.into(),
        version: version.into(),
        body: reference::body(kind, name, version),
        clusters: Vec::new(),
        wants: Vec::new(),
        object: ObjectKey::new(Kind::Service, "default", "none"),
        origins: Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn each_stream_ends_with_what_the_world_has_of_its_subscriptions(
        wires in any::<[bool; 3]>(),
        actions in proptest::collection::vec(action(), 0..60),
    ) {
        let mut exchange = Exchange::new(wires);
        for action in actions {
            exchange.act(action);
        }
        exchange.settle();
        exchange.check();
        // At rest a world that is equal brings nothing.
        exchange.publish();
        prop_assert!(exchange.client.poll(exchange.now, &mut exchange.ledger).is_none());
    }
}
