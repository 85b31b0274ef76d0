//! What Envoy answers to a response, and the search for the culprit in one that it refused: those
//! that its message names stand alone, the rest is halved, until a response of one is refused.

use std::{sync::Arc, time::Instant};

use envoy_types::pb::envoy::service::discovery::v3 as pb;

use super::{Held, InFlight, Item, Session};
use crate::{
    l7::{Resource, ResourceType},
    xds::ledger::Ledger,
};

impl Session {
    pub(super) fn acknowledge(
        &mut self,
        now: Instant,
        kind: ResourceType,
        request: &pb::DeltaDiscoveryRequest,
        ledger: &mut Ledger,
    ) {
        let state = &mut self.kinds[kind as usize];
        let Some(in_flight) =
            state.in_flight.take_if(|in_flight| in_flight.nonce == request.response_nonce)
        else {
            return;
        };
        match &request.error_detail {
            None => self.accepted(now, kind, in_flight, ledger),
            Some(error) => self.refused(now, kind, in_flight, &error.message, ledger),
        }
    }

    fn accepted(
        &mut self,
        now: Instant,
        kind: ResourceType,
        in_flight: InFlight,
        ledger: &mut Ledger,
    ) {
        for Item { name, since, sent, before, joined } in in_flight.items {
            let known = ledger.accepted(kind, &name).cloned();
            if let Some(before) = &before {
                self.clusters.drop(&before.clusters, now);
            }
            let Some(resource) = sent else {
                if kind == ResourceType::Listener {
                    self.opening.remove(&name);
                }
                for want in known.iter().flat_map(|known| &known.wants) {
                    self.awaited.remove(want);
                }
                ledger.forget(kind, &name);
                continue;
            };
            for want in known.iter().flat_map(|known| &known.wants) {
                if !resource.wants.contains(want) {
                    self.awaited.remove(want);
                }
            }
            let held = Held {
                version: Some(resource.version.clone()),
                clusters: resource.clusters.clone(),
            };
            if kind == ResourceType::Listener {
                self.opens(&name, since);
            }
            self.kinds[kind as usize].held.insert(name.clone(), held);
            ledger.accept(&self.world, kind, &resource);
            if let Some(joined) = &joined {
                self.granted(joined, ledger);
            }
            for want in &resource.wants {
                if !self.kinds[want.kind as usize].subscriptions.covers(&want.name) {
                    self.awaited.insert(want.clone(), since);
                } else {
                    self.mark(want.kind, &want.name, since, false);
                }
            }
        }
    }

    fn refused(
        &mut self,
        now: Instant,
        kind: ResourceType,
        in_flight: InFlight,
        message: &str,
        ledger: &mut Ledger,
    ) {
        let alone = in_flight.items.len() == 1;
        let mut names = Vec::with_capacity(in_flight.items.len());
        let mut found = false;
        for item in in_flight.items {
            if kind == ResourceType::ExtensionConfig
                && self.refused_requirements(now, &item, message, ledger)
            {
                let sent = item.sent.as_ref();
                self.clusters.drop(sent.map_or(&[], |sent| &sent.clusters), now);
                ledger.not_taken(kind, &item.name, sent);
                continue;
            }
            let Item { name, since, sent, before, joined } = item;
            // Envoy notes a secret before it reads the files, and takes it for known when it comes
            // again: sent once more, alone, it would be accepted unread.
            let is_it = kind == ResourceType::Secret
                && sent.as_ref().is_some_and(|sent| names_a_file(sent, message));
            found |= is_it;
            if alone || is_it {
                if let Some(resource) = &sent {
                    self.clusters.drop(&resource.clusters, now);
                    ledger.refuse(now, kind, resource, message);
                }
                // It has what it had; where that is open, what stands in is sent once more, or
                // its removal where nothing does.
                let stand_in = ledger.stand_in(kind, &name).cloned();
                let open = stand_in.is_some() || ledger.is_in_doubt(kind, &name);
                // What stands in may need clusters that this Envoy never had.
                for cluster in stand_in.iter().flat_map(|stand_in| &stand_in.clusters) {
                    self.mark(ResourceType::Cluster, cluster, since, false);
                    self.mark(ResourceType::Endpoints, cluster, since, false);
                }
                let state = &mut self.kinds[kind as usize];
                match before {
                    Some(before) if before.version.is_some() || open => {
                        state.held.insert(name.clone(), before);
                    }
                    before => {
                        self.clusters.drop(&before.unwrap_or_default().clusters, now);
                        state.held.remove(&name);
                    }
                }
                self.mark(kind, &name, since, false);
            } else {
                names.push(name.clone());
                self.doubt(kind, Item { name, since, sent, before, joined });
            }
        }
        let parts = match found {
            // What it had not come to yet.
            true if !names.is_empty() => vec![names],
            false if !alone => suspects(names, message),
            _ => Vec::new(),
        };
        self.kinds[kind as usize].suspects.extend(parts);
    }

    /// Gives up the wait for an answer that will not come, because its stream is gone.
    pub(in crate::xds) fn abandon(&mut self, kind: ResourceType) {
        let in_flight = self.kinds[kind as usize].in_flight.take();
        for item in in_flight.into_iter().flat_map(|in_flight| in_flight.items) {
            self.doubt(kind, item);
        }
    }

    /// Notes that the client may have taken an item or not, so whatever either refers to must stay.
    fn doubt(&mut self, kind: ResourceType, item: Item) {
        let Item { name, since, sent, before, .. } = item;
        let mut clusters = before.map(|before| before.clusters).unwrap_or_default();
        clusters.extend(sent.iter().flat_map(|sent| sent.clusters.iter().cloned()));
        self.kinds[kind as usize].held.insert(name.clone(), Held { version: None, clusters });
        self.mark(kind, &name, since, false);
    }
}

/// Tells whether a message speaks of one of a secret's files.
fn names_a_file(secret: &Resource, message: &str) -> bool {
    secret.origins.iter().any(|origin| message.contains(&origin.text))
}

/// Divides a refused response: those that the message names stand alone, the rest is halved.
fn suspects(names: Vec<Arc<str>>, message: &str) -> Vec<Vec<Arc<str>>> {
    let (named, mut rest): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| message.contains(&**name));
    let found = !named.is_empty();
    let mut parts: Vec<Vec<Arc<str>>> = named.into_iter().map(|name| vec![name]).collect();
    if !found {
        let second = rest.split_off(rest.len() / 2);
        parts.push(second);
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}
