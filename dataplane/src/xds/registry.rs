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

/// The clients that take further streams, by connection.
#[derive(Debug, Default)]
pub(super) struct Registry {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: HashMap<u64, Current>,
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
    /// Adds a stream of a type, or an aggregated one; nothing when its client is overrun.
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
        if !fits {
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
        self.lock().forget(connection, client);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
