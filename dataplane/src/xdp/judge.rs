//! What is told to others: the placement for Envoy and the report for the ledger (pure).

use std::collections::BTreeMap;

use model::{AckState, Engine, EngineReport, Refusal, Snapshot, listener::EngineChoice};

use super::{
    engine::Attachment,
    placement::{L4Placement, NotCarried, Placement},
    plan::L4Plan,
};

/// The placement when there is no XDP at all.
#[must_use]
pub fn unavailable(config: &Snapshot, reason: &str) -> L4Placement {
    let listeners = config
        .listeners()
        .filter(|(_, listener)| !listener.protocol.is_http())
        .map(|(key, _)| {
            let reason = NotCarried::Unavailable { reason: reason.to_owned() };
            (key.clone(), Placement::NotCarried(reason))
        })
        .collect();
    L4Placement { revision: Some(config.revision()), listeners, summary: reason.to_owned() }
}

/// The placement of a plan, given how the interfaces stand.
///
/// One interface without the program is enough for nothing to count as carried: clients or
/// endpoints there would not be served. Envoy listens then too, and gets what XDP does not see.
#[must_use]
pub fn placement(
    config: &Snapshot,
    plan: &L4Plan,
    attachments: &BTreeMap<String, Attachment>,
) -> L4Placement {
    let missing: Vec<String> = attachments
        .iter()
        .filter_map(|(name, attachment)| {
            attachment.as_ref().err().map(|reason| format!("interface {name}: {reason}"))
        })
        .collect();
    if attachments.is_empty() {
        return unavailable(config, "no interface is given to XDP");
    }
    if !missing.is_empty() {
        return unavailable(config, &missing.join("; "));
    }
    let modes: Vec<String> = attachments
        .iter()
        .filter_map(|(name, attachment)| {
            attachment.as_ref().ok().map(|mode| format!("{name}: {mode}"))
        })
        .collect();
    L4Placement {
        revision: Some(plan.revision),
        listeners: plan.placements.clone(),
        summary: modes.join("; "),
    }
}

/// The report: refused where a listener insists on XDP and cannot have it.
#[must_use]
pub fn report(
    config: &Snapshot,
    placement: &L4Placement,
    notes: &[String],
    installed: bool,
) -> EngineReport {
    let mut refusals = Vec::new();
    for (key, listener) in config.listeners() {
        if listener.engine == EngineChoice::Xdp
            && let Some(reason) = placement.reason(key)
        {
            refusals.push(Refusal {
                object: Some(key.clone()),
                field: "spec.engine".to_owned(),
                resource: String::new(),
                message: reason.to_string(),
            });
        }
    }
    let ack = if !refusals.is_empty() {
        AckState::Refused { refusals }
    } else if installed {
        AckState::Applied
    } else {
        AckState::Unavailable { reason: placement.summary.clone() }
    };
    let notes = std::iter::once(placement.summary.clone()).chain(notes.iter().cloned()).collect();
    EngineReport { engine: Engine::Xdp, revision: config.revision(), ack, notes }
}
