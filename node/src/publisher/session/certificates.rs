//! What a data plane is sent of issued certificates: all of them, then each that is issued, a few at a time
//! between all else that it is told.
//!
//! A node that a rollout holds back is sent those that were issued for what its configuration asks for, and
//! the others when it is reached: until then it shows what it has.

use std::{collections::BTreeSet, mem};

use consensus::{Batch, Consistency, View};
use model::{Kind, ObjectKey, Revision, Snapshot};
use runtime::push::ToPlane;

use super::{Publisher, SessionEnd, Writer};
use crate::{
    control::{
        SnapshotError,
        store::{CERTIFICATES, CHALLENGES, configuration_revision, named_key, named_of},
    },
    issuing::{self, Place, Record, acme},
};

/// Sent before anything else has its turn: some milliseconds.
const AT_A_TIME: usize = 8;

/// Those that a data plane is yet to be sent.
#[derive(Default)]
pub(super) struct Certificates {
    waiting: BTreeSet<ObjectKey>,
    /// Those that its configuration does not ask for yet.
    withheld: BTreeSet<ObjectKey>,
    /// Its configuration, while that is not the newest.
    held: Option<Snapshot>,
}

impl Certificates {
    /// Whether one waits.
    pub(super) fn wait(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Has some sent, as they are by then.
    pub(super) fn add(&mut self, issued: Vec<ObjectKey>) {
        self.waiting.extend(issued);
    }

    /// Has all sent.
    pub(super) async fn add_all(&mut self, publisher: &Publisher) -> Result<(), SessionEnd> {
        let view = view(publisher).await?;
        let all = view.scan(CERTIFICATES);
        let all = all.filter_map(|(at, _)| named_of(CERTIFICATES, Kind::Certificate, at));
        self.waiting.extend(all);
        Ok(())
    }

    /// The data plane has got another configuration, which may ask for what was withheld.
    pub(super) fn moved(&mut self) {
        self.held = None;
        self.waiting.append(&mut self.withheld);
    }

    /// Sends some of those that wait to a data plane that has the configuration of a revision.
    pub(super) async fn send_some(
        &mut self,
        publisher: &Publisher,
        writer: &mut Writer,
        position: Revision,
    ) -> Result<(), SessionEnd> {
        let view = view(publisher).await?;
        let is_held = configuration_revision(&view) != position;
        if is_held && self.held.is_none() {
            // One that is not kept any more is not known to ask for anything.
            self.held = publisher.configuration.read_at(position).ok();
        }
        let rest = match self.waiting.iter().nth(AT_A_TIME).cloned() {
            Some(next) => self.waiting.split_off(&next),
            None => BTreeSet::new(),
        };
        for key in mem::replace(&mut self.waiting, rest) {
            let Some(stored) = view.get(&named_key(CERTIFICATES, &key)) else { continue };
            // What its configuration asks for is issued: it is the same for all.
            let record = Record::read(&stored.value);
            let asks = |held: &Snapshot| {
                record.as_ref().is_ok_and(|it| issuing::asks_for(&view, held, &key, it))
            };
            if is_held && !self.held.as_ref().is_some_and(asks) {
                self.withheld.insert(key);
                continue;
            }
            let place = Place {
                key: publisher.certificates.cluster_key(),
                cluster: publisher.cluster.as_str(),
            };
            match record.and_then(|record| record.material(&place, key.clone())) {
                Ok(material) => writer.send(&ToPlane::Certificate(material)).await?,
                // The leader issues it anew; the others go on.
                Err(error) => {
                    tracing::error!(certificate = %key, %error, "not sent to data planes");
                }
            }
        }
        Ok(())
    }
}

/// Lists the certificates that were issued in a batch.
pub(super) fn in_batch(batch: &Batch) -> Vec<ObjectKey> {
    let issued = batch.events.iter().filter(|event| event.current.is_some());
    issued.filter_map(|event| named_of(CERTIFICATES, Kind::Certificate, &event.key)).collect()
}

/// Tells whether a batch changes what authorities are answered.
pub(super) fn asks_otherwise(batch: &Batch) -> bool {
    batch.events.iter().any(|event| event.key.starts_with(CHALLENGES))
}

/// Tells whether authorities are answered something.
pub(super) async fn are_challenges(publisher: &Publisher) -> Result<bool, SessionEnd> {
    Ok(view(publisher).await?.scan(CHALLENGES).next().is_some())
}

/// Sends what authorities are answered.
pub(super) async fn challenges(
    publisher: &Publisher,
    writer: &mut Writer,
) -> Result<(), SessionEnd> {
    let challenges = acme::answers(&view(publisher).await?);
    writer.send(&ToPlane::Challenges { challenges }).await
}

async fn view(publisher: &Publisher) -> Result<View, SessionEnd> {
    Ok(publisher.consensus.read(Consistency::Stale).await.map_err(SnapshotError::from)?)
}
