//! What is told to others: the placement for Envoy and the report for the ledger (pure).

use std::collections::BTreeMap;

use model::{AckState, Engine, EngineReport, Refusal, Revision, Snapshot, listener::EngineChoice};

use super::{
    engine::Attachment,
    placement::{L4Placement, NotCarried, Placement},
    plan::L4Plan,
    qos,
};

/// Why there is no XDP where nobody wants it.
pub const NOT_ASKED_FOR: &str = "XDP is not asked for: no --xdp interface is given";

/// The placement when there is no XDP at all.
#[must_use]
pub fn unavailable(config: &Snapshot, reason: &str) -> L4Placement {
    let listeners = config
        .listeners()
        .filter(|(_, listener)| listener.protocol.is_l4())
        .map(|(key, _)| {
            let reason = NotCarried::Unavailable { reason: reason.to_owned() };
            (key.clone(), Placement::NotCarried(reason))
        })
        .collect();
    L4Placement {
        revision: Some(config.revision()),
        listeners,
        summary: reason.to_owned(),
        deciding: false,
    }
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
        return unavailable(config, NOT_ASKED_FOR);
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
        deciding: true,
    }
}

/// The report: refused where a listener insists on XDP and cannot have it, and where packets should
/// be filtered, which nobody else does.
#[must_use]
pub fn report(
    config: &Snapshot,
    placement: &L4Placement,
    notes: &[String],
    installed: bool,
    unfiltered: Option<&str>,
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
    for ((key, _), reason) in config.packet_filters().zip(unfiltered.into_iter().cycle()) {
        refusals.push(Refusal {
            object: Some(key.clone()),
            field: "spec.rules".to_owned(),
            resource: String::new(),
            message: format!("packets are not filtered by it: {reason}"),
        });
    }
    refusals.extend(qos::report::refusals(config, placement));
    let ack = if !refusals.is_empty() {
        AckState::Refused { refusals }
    } else if installed {
        AckState::Applied
    } else {
        AckState::Unavailable { reason: placement.summary.clone() }
    };
    // A reason that is told already is not told again as a note.
    let told = match &ack {
        AckState::Unavailable { reason } => *reason == placement.summary,
        AckState::Refused { refusals } => {
            refusals.iter().any(|refusal| refusal.message.ends_with(&placement.summary))
        }
        AckState::Applied | AckState::Pending => false,
    };
    let summary = (!told).then(|| placement.summary.clone());
    let notes = summary.into_iter().chain(notes.iter().cloned()).collect();
    EngineReport { notes, ..EngineReport::new(Engine::Xdp, config.revision(), ack) }
}

/// The report while the program is being loaded for the first time: not an answer yet, so that who
/// waits for answers waits for this one.
#[must_use]
pub fn undecided(revision: Revision) -> EngineReport {
    let notes = vec![L4Placement::undecided().summary];
    EngineReport { notes, ..EngineReport::new(Engine::Xdp, revision, AckState::Pending) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn config(engine: &str) -> Snapshot {
        let yaml = format!(
            "kind: Listener\nmetadata: {{ name: l4 }}\nspec: {{ protocol: TCP, port: 80, engine: \
             {engine} }}\n"
        );
        let mut config = Snapshot::default();
        for object in model::parse::parse_documents(&yaml).unwrap() {
            config.put(Arc::new(object));
        }
        config.set_revision(Revision(3));
        config
    }

    #[test]
    fn a_reason_is_told_once() {
        for engine in ["auto", "xdp"] {
            let config = config(engine);
            let placement = unavailable(&config, NOT_ASKED_FOR);
            let report = report(&config, &placement, &[], false, Some(NOT_ASKED_FOR));
            let told = format!("{report:?}").matches(NOT_ASKED_FOR).count();
            assert_eq!(told, 1, "{report:?}");
        }
    }

    #[test]
    fn the_mode_is_a_note_of_what_is_applied() {
        let config = config("auto");
        let attachments =
            BTreeMap::from([("v0".to_owned(), Ok(super::super::program::Mode::Native))]);
        let plan = L4Plan { revision: Revision(3), ..L4Plan::default() };
        let placement = placement(&config, &plan, &attachments);
        assert!(placement.deciding, "listeners to come are for it to decide");
        let report = report(&config, &placement, &["a note".to_owned()], true, None);
        assert_eq!(report.ack, AckState::Applied);
        assert_eq!(report.notes, ["v0: native", "a note"]);
    }

    #[test]
    fn a_filter_that_is_not_in_force_is_refused() {
        let mut config = config("auto");
        let yaml =
            "kind: PacketFilter\nmetadata: { name: f }\nspec: { rules: [{ action: Deny }] }\n";
        for object in model::parse::parse_documents(yaml).unwrap() {
            config.put(Arc::new(object));
        }
        let placement = unavailable(&config, NOT_ASKED_FOR);
        let AckState::Refused { refusals } =
            report(&config, &placement, &[], false, Some(NOT_ASKED_FOR)).ack
        else {
            panic!("not refused");
        };
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].object, Some("PacketFilter/default/f".parse().unwrap()));
        assert!(refusals[0].message.contains(NOT_ASKED_FOR));
        assert_eq!(report(&config, &placement, &[], true, None).ack, AckState::Applied);
    }

    #[test]
    fn until_the_first_attempt_nothing_is_decided_and_afterwards_all_is() {
        let config = config("auto");
        let key = config.listeners().next().unwrap().0.clone();
        assert!(L4Placement::undecided().is_undecided(&key));
        assert!(!unavailable(&config, "no CAP_BPF").is_undecided(&key));
        assert!(!L4Placement::default().is_undecided(&key), "without XDP nobody waits for it");
        assert_eq!(undecided(Revision(3)).ack, AckState::Pending);
    }
}
