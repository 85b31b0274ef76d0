//! Which client a new stream belongs to.
//!
//! Streams of one connection are one client's, so that types are ordered over them. Two streams of
//! one connection that would ask for the same whole (two aggregated ones, or two for all clusters or
//! all listeners) are not: the later one is of a client that begins anew, as after a broken stream.
//! Streams of different connections are different clients, each ordered for itself.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use super::{
    client::Wire,
    driver::{Input, Streams},
};
use crate::l7::ResourceType;

/// Inputs on their way to a client. Its requests wait in their streams beyond that.
const INPUTS_QUEUED_MAX: usize = 64;

/// Clients at a time. The node's Envoy is one, and two while one takes over from another; beyond
/// dozens somebody opens connections and forgets them.
const CLIENTS_MAX: usize = 64;

/// The clients that take further streams, by connection.
#[derive(Debug, Default)]
pub(super) struct Registry {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: HashMap<u64, Current>,
    /// Clients that are driven.
    live: usize,
    clients: u64,
    streams: u64,
}

#[derive(Debug)]
struct Current {
    client: u64,
    inputs: mpsc::Sender<Input>,
    aggregated: bool,
    whole: [bool; ResourceType::COUNT],
}

impl State {
    fn forget(&mut self, connection: u64, client: u64) {
        if self.current.get(&connection).is_some_and(|current| current.client == client) {
            self.current.remove(&connection);
        }
    }
}

/// Where a new stream's requests go.
pub(super) struct Joined {
    pub(super) stream: u64,
    pub(super) inputs: mpsc::Sender<Input>,
    /// A client that begins with this stream, to be driven.
    pub(super) new: Option<NewClient>,
}

/// A client that is to be driven.
pub(super) struct NewClient {
    pub(super) connection: u64,
    pub(super) client: u64,
    pub(super) inputs: mpsc::Receiver<Input>,
}

impl Registry {
    /// Adds a stream of a type, or an aggregated one; nothing when its client is overrun, or would be
    /// one too many.
    pub(super) fn join(
        &self,
        connection: u64,
        kind: Option<ResourceType>,
        wire: Wire,
        streams: Streams,
    ) -> Option<Joined> {
        let mut state = self.lock();
        state.streams += 1;
        let stream = state.streams;
        let mut new = None;
        let fits = state.current.get(&connection).is_some_and(|current| match kind {
            _ if current.inputs.is_closed() => false,
            None => !current.aggregated,
            Some(kind) => !current.whole[kind as usize],
        });
        if !fits && state.live >= CLIENTS_MAX {
            return None;
        }
        if !fits {
            state.live += 1;
            state.clients += 1;
            let client = state.clients;
            let (inputs, receiver) = mpsc::channel(INPUTS_QUEUED_MAX);
            let current = Current { client, inputs, aggregated: false, whole: Default::default() };
            state.current.insert(connection, current);
            new = Some(NewClient { connection, client, inputs: receiver });
        }
        let current = state.current.get_mut(&connection)?;
        match kind {
            None => current.aggregated = true,
            Some(kind) => current.whole[kind as usize] = kind.has_legacy_wildcard(),
        }
        current.inputs.try_send(Input::Opened(stream, wire, streams)).ok()?;
        Some(Joined { stream, inputs: current.inputs.clone(), new })
    }

    /// Ends a client without streams, unless one has joined meanwhile; tells whether it ended.
    pub(super) fn leave(
        &self,
        connection: u64,
        client: u64,
        inputs: &mut mpsc::Receiver<Input>,
    ) -> bool {
        let mut state = self.lock();
        if !inputs.is_empty() {
            return false;
        }
        inputs.close();
        state.forget(connection, client);
        true
    }

    /// Notes that a client ended, with its streams or without them.
    pub(super) fn forget(&self, connection: u64, client: u64) {
        let mut state = self.lock();
        state.live = state.live.saturating_sub(1);
        state.forget(connection, client);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(registry: &Registry, connection: u64, kind: Option<ResourceType>) -> Option<Joined> {
        let (streams, _) = mpsc::channel(1);
        registry.join(connection, kind, Wire::Delta, streams)
    }

    #[test]
    fn streams_of_a_connection_are_one_clients_unless_two_ask_for_the_same_whole() {
        use ResourceType::{Cluster, Endpoints, Listener};
        let registry = Registry::default();
        let mut clients = Vec::new();
        let mut is_new = |connection, kind| {
            let joined = join(&registry, connection, kind).unwrap();
            let new = joined.new.is_some();
            clients.extend(joined.new);
            new
        };
        assert!(is_new(1, Some(Cluster)));
        assert!(!is_new(1, Some(Listener)) && !is_new(1, None), "types of their own");
        assert!(!is_new(1, Some(Endpoints)) && !is_new(1, Some(Endpoints)), "parts");
        assert!(is_new(2, Some(Cluster)), "another connection");
        assert!(is_new(1, Some(Cluster)), "all clusters again");
        assert!(is_new(1, Some(Cluster)) && is_new(2, Some(Cluster)));
        assert!(is_new(3, None) && is_new(3, None), "two aggregated ones");
    }

    #[test]
    fn a_client_that_ended_takes_no_streams_and_there_are_not_too_many() {
        let registry = Registry::default();
        let mut first = join(&registry, 1, None).unwrap().new.unwrap();
        assert!(
            !registry.leave(1, first.client, &mut first.inputs),
            "its stream is yet to be heard"
        );
        drop(first);
        let mut clients =
            vec![join(&registry, 1, Some(ResourceType::Cluster)).unwrap().new.unwrap()];
        registry.forget(1, 1);
        for connection in 2..=CLIENTS_MAX as u64 {
            clients.push(join(&registry, connection, None).unwrap().new.unwrap());
        }
        assert!(join(&registry, 1000, None).is_none());
        registry.forget(2, 3);
        assert!(join(&registry, 1000, None).is_some());
    }
}
