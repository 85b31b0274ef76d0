//! What a data plane is sent of modules: which ones the store has, and those that it lacks, part by part,
//! between everything else. Held back or not, every node is sent them, before a configuration names them
//! there.

use std::collections::{BTreeSet, VecDeque};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use consensus::{Batch, Consistency, View};
use model::{ModuleId, Snapshot};
use runtime::push::{ModulePart, ToPlane};

use super::{Publisher, SessionEnd, Writer};
use crate::{
    control::{SnapshotError, store::MODULES},
    modules,
};

/// Tells whether a batch changes which modules there are.
pub(super) fn in_batch(batch: &Batch) -> bool {
    batch.events.iter().any(|event| event.key.starts_with(MODULES))
}

/// What is yet to be sent.
pub(super) struct Outgoing {
    held: BTreeSet<ModuleId>,
    told: Option<BTreeSet<ModuleId>>,
    queue: VecDeque<ModuleId>,
    /// The next part of the first in the queue.
    part: u32,
}

impl Outgoing {
    /// Begins with a data plane that has some.
    pub(super) fn new(held: Vec<ModuleId>) -> Self {
        // Who has none need not be told that there is none.
        let told = held.is_empty().then(BTreeSet::new);
        Self { held: held.into_iter().collect(), told, queue: VecDeque::new(), part: 0 }
    }

    /// Tells which ones there are, if that is news, and queues those that are missing: those that
    /// `config` runs first.
    pub(super) async fn look(
        &mut self,
        publisher: &Publisher,
        writer: &mut Writer,
    ) -> Result<(), SessionEnd> {
        let view = view(publisher).await?;
        self.look_at(publisher, writer, &view).await
    }

    /// The same, of a view.
    pub(super) async fn look_at(
        &mut self,
        publisher: &Publisher,
        writer: &mut Writer,
        view: &View,
    ) -> Result<(), SessionEnd> {
        let stored = modules::stored(view);
        if self.told.as_ref() == Some(&stored) {
            return Ok(());
        }
        let config = publisher.configuration.in_view(view)?;
        self.plan(&stored, &config);
        let message = ToPlane::Modules { stored: stored.iter().copied().collect() };
        self.told = Some(stored);
        writer.send(&message).await
    }

    fn plan(&mut self, stored: &BTreeSet<ModuleId>, config: &Snapshot) {
        let under_way = self.queue.front().copied().filter(|id| stored.contains(id));
        if under_way.is_none() {
            self.part = 0;
        }
        // What the store has not, the client may have removed.
        self.held.retain(|id| stored.contains(id));
        let lacks = |id: &&ModuleId| !self.held.contains(*id) && under_way != Some(**id);
        let mut missing: Vec<_> = stored.iter().filter(lacks).copied().collect();
        missing.sort_by_key(|id| !names(config, id));
        self.queue = under_way.into_iter().chain(missing).collect();
    }

    /// Tells whether a configuration names a module that is yet to be sent.
    pub(super) fn lacks_of(&self, config: &Snapshot) -> bool {
        self.queue.iter().any(|id| names(config, id))
    }

    /// Tells whether there is something to send.
    pub(super) fn is_under_way(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Sends a part; returns whether a module is whole with it.
    pub(super) async fn send(
        &mut self,
        publisher: &Publisher,
        writer: &mut Writer,
    ) -> Result<bool, SessionEnd> {
        let Some(module) = self.queue.front().copied() else { return Ok(false) };
        let view = view(publisher).await?;
        let found = modules::record(&view, module)
            .and_then(|(_, record)| Some((record, modules::part(&view, module, self.part)?)));
        let Some((record, bytes)) = found else {
            // It was removed; what the store has is looked at with that batch.
            self.next();
            return Ok(true);
        };
        let part = ModulePart {
            module,
            part: self.part,
            parts: record.parts,
            data: STANDARD.encode(bytes),
        };
        writer.send(&ToPlane::ModulePart(part)).await?;
        self.part += 1;
        if self.part < record.parts {
            return Ok(false);
        }
        self.held.insert(module);
        self.next();
        metrics::counter!("marchproxy_push_modules_total").increment(1);
        Ok(true)
    }

    fn next(&mut self) {
        self.queue.pop_front();
        self.part = 0;
    }
}

async fn view(publisher: &Publisher) -> Result<View, SessionEnd> {
    Ok(publisher.consensus.read(Consistency::Stale).await.map_err(SnapshotError::from)?)
}

fn names(config: &Snapshot, id: &ModuleId) -> bool {
    config.filter_modules().any(|(_, module)| module.sha256 == *id)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn id(n: u8) -> ModuleId {
        ModuleId([n; 32])
    }

    #[test]
    fn what_is_named_goes_first_and_what_is_under_way_goes_on() {
        let yaml = format!(
            "kind: FilterModule\nmetadata: {{ name: a }}\nspec: {{ targetRefs: [{{ kind: Listener, \
             name: a }}], sha256: {} }}\n",
            id(7)
        );
        let mut config = Snapshot::default();
        for object in model::parse::parse_documents(&yaml).unwrap() {
            config.put(Arc::new(object));
        }
        let mut outgoing = Outgoing::new(vec![id(2), id(9)]);
        outgoing.plan(&[id(1), id(2), id(3), id(7)].into(), &config);
        assert_eq!(outgoing.queue, [id(7), id(1), id(3)]);
        assert!(outgoing.lacks_of(&config));
        assert_eq!(outgoing.held, [id(2)].into(), "what the store has not is not counted on");

        // The first is sent, of the second a part.
        outgoing.held.insert(id(7));
        outgoing.next();
        outgoing.part = 2;
        assert!(!outgoing.lacks_of(&config));
        outgoing.plan(&[id(0), id(1), id(7)].into(), &config);
        assert_eq!((&outgoing.queue, outgoing.part), (&[id(1), id(0)].into(), 2));
        // It is removed and comes back: from its beginning.
        outgoing.plan(&[id(0), id(7)].into(), &config);
        assert_eq!((&outgoing.queue, outgoing.part), (&[id(0)].into(), 0));
    }
}
