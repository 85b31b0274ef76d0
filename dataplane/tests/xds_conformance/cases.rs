//! The cases, by name, with the variants and types that have them.

mod answering;
mod ordering;
mod subscribing;
mod unsubscribing;

use std::{collections::BTreeSet, pin::Pin};

use dataplane::l7::ResourceType::{
    self, Cluster, Endpoints, ExtensionConfig, Listener, Route, ScopedRoute, Secret,
};
use tonic::transport::Channel;

use crate::{
    stream::{
        Heard, Stream,
        Variant::{self, DeltaAggregated, DeltaSeparate, StateAggregated, StateSeparate},
    },
    target::Target,
};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) variants: &'static [Variant],
    pub(crate) kinds: &'static [ResourceType],
    pub(crate) run: fn(Setup) -> Pin<Box<dyn Future<Output = ()>>>,
}

const ALL: &[Variant] = &[StateSeparate, StateAggregated, DeltaSeparate, DeltaAggregated];
const DELTA: &[Variant] = &[DeltaSeparate, DeltaAggregated];
const STATE: &[Variant] = &[StateSeparate, StateAggregated];
const AGGREGATED: &[Variant] = &[StateAggregated, DeltaAggregated];

const EVERY: &[ResourceType] =
    &[Cluster, Endpoints, Secret, ExtensionConfig, Listener, Route, ScopedRoute];
/// Those that have a wildcard, and whose state is sent whole.
const WHOLE: &[ResourceType] = &[Cluster, Listener, ScopedRoute];
/// Those that are asked for by name, and of which what changed is sent.
const PARTS: &[ResourceType] = &[Endpoints, Secret, ExtensionConfig, Route];
/// Those whose removal is told by itself; others leave with what asked for them.
const REMOVABLE: &[ResourceType] = &[Cluster, Endpoints, Listener, Route, ScopedRoute];
const ONE: &[ResourceType] = &[Cluster];
const ENDPOINTS: &[ResourceType] = &[Endpoints];

macro_rules! cases {
    ($($name:literal: $variants:ident, $kinds:ident, $module:ident::$run:ident;)*) => {
        pub(crate) const CASES: &[Case] = &[$(Case {
            name: $name,
            variants: $variants,
            kinds: $kinds,
            run: |setup| Box::pin($module::$run(setup)),
        }),*];
    };
}

cases! {
    // Subscribing.
    "a wildcard brings all in one response": ALL, WHOLE, subscribing::wildcard;
    "a wildcard brings what changes": ALL, WHOLE, subscribing::wildcard_update;
    "a wildcard brings what is added": ALL, WHOLE, subscribing::wildcard_add;
    "a wildcard of nothing is answered": ALL, WHOLE, subscribing::wildcard_of_nothing;
    "an explicit wildcard brings all": ALL, WHOLE, subscribing::explicit_wildcard;
    "an empty first request is no wildcard": STATE, PARTS, subscribing::no_wildcard;
    "names bring these and no others": ALL, EVERY, subscribing::names;
    "names bring what changes": ALL, EVERY, subscribing::names_update;
    "a missing name is sent when it is created": ALL, EVERY, subscribing::created;
    "one name after the other": ALL, EVERY, subscribing::one_by_one;
    "a missing name is told at once": DELTA, EVERY, subscribing::missing;
    "a removal is told, and what comes again is sent": DELTA, REMOVABLE, subscribing::removed;
    "a removal is told by absence": STATE, WHOLE, subscribing::absent;
    "types share an aggregated stream": AGGREGATED, ONE, subscribing::two_types;
    "a fetch brings names or all": STATE, EVERY, subscribing::fetched;
    // Unsubscribing.
    "some names end": ALL, EVERY, unsubscribing::some;
    "all names end": ALL, EVERY, unsubscribing::all;
    "a name that is subscribed again is sent again": ALL, EVERY, unsubscribing::again;
    "the first name ends a legacy wildcard": ALL, WHOLE, unsubscribing::legacy_wildcard;
    "an explicit wildcard ends and names stay": ALL, WHOLE, unsubscribing::explicit_wildcard;
    // Answers, nonces and versions.
    "a response in flight holds the next one": ALL, EVERY, answering::one_in_flight;
    "what is refused is not sent again until it changes": ALL, EVERY, answering::refused;
    "a refused one holds nothing else": ALL, EVERY, answering::refused_of_many;
    "a stale nonce answers nothing, and its subscriptions count": ALL, EVERY, answering::stale;
    "an unchanged world sends nothing": ALL, EVERY, answering::unchanged;
    "a reconnection brings what differs": DELTA, EVERY, answering::resumed;
    // Order.
    "endpoints and clusters precede what routes to them": ALL, ONE, ordering::make_before_break;
    "a cluster goes after what routed to it": ALL, ONE, ordering::break_after_make;
    "a client without clusters is not held up": ALL, ONE, ordering::no_clusters;
    "a stream that ends leaves the others": ALL, ENDPOINTS, ordering::one_of_two_ends;
}

/// A server, a connection and a stream of one type.
pub(crate) struct Setup {
    pub(crate) target: Target,
    pub(crate) channel: Channel,
    pub(crate) variant: Variant,
    pub(crate) kind: ResourceType,
    pub(crate) stream: Stream,
}

impl Setup {
    pub(crate) async fn start(variant: Variant, kind: ResourceType) -> Self {
        let target = Target::start().await;
        let channel = target.connect().await;
        let stream = Stream::open(&channel, variant, kind).await;
        Self { target, channel, variant, kind, stream }
    }

    /// Whether a response holds all that there is of this setup's type.
    fn is_whole(&self) -> bool {
        !self.variant.is_delta() && WHOLE.contains(&self.kind)
    }

    /// Hears resources of a version and takes them.
    async fn brings(&mut self, names: &[&str], version: u64) -> Heard {
        let heard = self.hears(names, version).await;
        self.stream.acknowledge(&heard).await;
        heard
    }

    /// Hears resources of a version.
    async fn hears(&mut self, names: &[&str], version: u64) -> Heard {
        let heard = self.stream.hear().await;
        let expected: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(heard.kind, self.kind);
        assert_eq!((&heard.resources, &heard.version), (&expected, &version.to_string()));
        heard
    }

    /// Checks that nothing is said beyond what was heard: of the next changes of `name`, each brings
    /// one response, and nothing comes before. The second is sent after the answer to the first was
    /// taken, so what that answer, or any before it, brings about would be seen.
    async fn is_quiet(&mut self, name: &str, all: &[&str], version: u64) {
        for version in [version + 100, version + 101] {
            self.target.set(self.kind, &[name], version);
            let expected: &[&str] = if self.is_whole() { all } else { &[name] };
            self.brings(expected, version).await;
        }
    }
}
