//! What of the ledger outlives the process: the refusals that stand, and what stands in for what
//! they refuse (pure; on disk it is `lkg`'s).
//!
//! What is confidential is not kept: a configuration that has it makes it again.
//!
//! **Invariant.** To an Envoy that starts, a ledger that is [restored](Ledger::restore) withholds
//! and offers the same as the one that this was taken of. Ordinary changes of the configuration
//! change nothing here, so that they cost no write.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use model::Refusal;

use super::{Ledger, Refused, Retry};
use crate::l7::{Resource, ResourceId, ResourceType, World};

/// What is to be known after a cold start, by resource: those that are refused, and what the
/// accepted versions of these need, which are clusters with their endpoints, and certificates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing(pub BTreeMap<ResourceId, Kept>);

/// What is kept of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// The refused versions, the oldest first; empty where the resource is only needed.
    pub refused: Vec<RefusedVersion>,
    /// The version that was accepted last, if there is any.
    pub accepted: Option<Arc<Resource>>,
}

/// A version that Envoy refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedVersion {
    /// The version.
    pub version: Arc<str>,
    /// Why.
    pub refusal: Refusal,
}

impl Standing {
    /// Tells whether `new` says the same where it matters: of what is only needed, the accepted
    /// version does not while the configuration has one, which is offered.
    fn still_says(&self, new: &Self, world: &World) -> bool {
        self.0.len() == new.0.len()
            && self.0.iter().zip(&new.0).all(|((old_id, old), (id, new))| {
                let matters = !new.refused.is_empty() || world.get(id.kind, &id.name).is_none();
                old_id == id
                    && old.refused == new.refused
                    && (!matters || old.accepted == new.accepted)
            })
    }
}

impl Ledger {
    /// Begins with what stood when the process before ended.
    #[must_use]
    pub fn restore(now: Instant, standing: &Standing) -> Self {
        let mut ledger = Self::default();
        for (id, kept) in &standing.0 {
            let refused =
                kept.refused.iter().cloned().map(|RefusedVersion { version, refusal }| Refused {
                    version,
                    refusal,
                    retry: Retry::of(id.kind, now),
                    times: 1,
                });
            if !kept.refused.is_empty() {
                ledger.refused.insert(id.clone(), refused.collect());
            }
            if let Some(accepted) = &kept.accepted {
                ledger.accepted.insert(id.clone(), accepted.clone());
            }
        }
        ledger.repin();
        ledger
    }

    /// Returns what stands when that is to be saved in place of `saved`.
    pub(in crate::xds) fn news(&self, saved: &Standing, world: &World) -> Option<Standing> {
        let standing = self.standing();
        (!saved.still_says(&standing, world)).then_some(standing)
    }

    fn standing(&self) -> Standing {
        let mut standing = Standing::default();
        for (id, refused) in &self.refused {
            let refused = refused.iter().map(|refused| RefusedVersion {
                version: refused.version.clone(),
                refusal: refused.refusal.clone(),
            });
            // What is confidential is not kept on the disk.
            let accepted = self.accepted.get(id).filter(|_| !id.is_confidential()).cloned();
            standing.0.insert(id.clone(), Kept { refused: refused.collect(), accepted });
        }
        for id in &self.pinned {
            if let Some(accepted) = self.accepted.get(id).filter(|_| !id.is_confidential()) {
                standing.0.entry(id.clone()).or_default().accepted = Some(accepted.clone());
            }
        }
        standing
    }

    /// Ends the refusals of what the configuration has no more, whenever that went. A listener
    /// that is held back is not gone; its next retry tells.
    pub(in crate::xds) fn lift_gone(&mut self, world: &World) {
        let before = self.refused.len();
        self.refused.retain(|id, _| {
            let held_back = id.kind == ResourceType::Listener && world.waiting.is_some();
            held_back || world.get(id.kind, &id.name).is_some()
        });
        if self.refused.len() != before {
            self.repin();
        }
    }
}

#[cfg(test)]
mod tests;
