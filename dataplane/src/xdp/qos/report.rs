//! What is said of policies: which are not in force, and what they do otherwise than asked (pure).

use model::{ObjectKey, QosPolicy, Refusal, Snapshot, qos_policy::Excess, route::Reference};

use crate::xdp::placement::{L4Placement, NotCarried, Placement};

/// Returns the policies for listeners that XDP does not carry, though traffic comes to them: nobody
/// else limits it.
#[must_use]
pub fn refusals(config: &Snapshot, placement: &L4Placement) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (key, policy) in config.qos_policies() {
        for (index, listener) in listeners(policy).enumerate() {
            let Some(Placement::NotCarried(reason)) = placement.listeners.get(&listener) else {
                continue;
            };
            if matches!(reason, NotCarried::NoRoute | NotCarried::NoEndpoint) {
                continue;
            }
            refusals.push(Refusal {
                object: Some(key.clone()),
                field: format!("spec.listeners[{index}]"),
                resource: String::new(),
                message: format!(
                    "it does nothing for {listener}, which XDP does not carry: {reason}"
                ),
            });
        }
    }
    refusals
}

/// Says of policies in force what they do otherwise than asked: `problems` are those of the workers
/// that make packets wait.
#[must_use]
pub fn notes(config: &Snapshot, placement: &L4Placement, problems: &[String]) -> Vec<String> {
    let in_force = |policy: &QosPolicy| {
        listeners(policy)
            .any(|listener| placement.listeners.get(&listener) == Some(&Placement::Carried))
    };
    let waits = |policy: &QosPolicy| {
        policy.excess == Excess::Queue && (policy.ingress.is_some() || policy.egress.is_some())
    };
    config
        .qos_policies()
        .filter(|(_, policy)| waits(policy) && in_force(policy))
        .flat_map(|(key, _)| problems.iter().map(move |problem| format!("{key}: {problem}")))
        .collect()
}

fn listeners(policy: &QosPolicy) -> impl Iterator<Item = ObjectKey> {
    policy.listeners.iter().map(|Reference { namespace, name }| {
        ObjectKey::new(model::Kind::Listener, namespace.as_str(), name.as_str())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::AckState;

    use super::*;
    use crate::xdp::judge;

    const POLICIES: &str = "
kind: QoSPolicy
metadata: { name: gold }
spec: { listeners: [{ name: a }, { name: b }], ingress: { bandwidthMbps: 5 } }
---
kind: QoSPolicy
metadata: { name: red }
spec: { listeners: [{ name: c }], ingress: { bandwidthMbps: 5 }, excess: Drop }
---
kind: QoSPolicy
metadata: { name: marks }
spec: { listeners: [{ name: d }], dscp: EF }
";

    fn config() -> Snapshot {
        let mut config = Snapshot::default();
        for object in model::parse::parse_documents(POLICIES).expect("valid") {
            config.put(Arc::new(object));
        }
        config
    }

    fn placement(listeners: &[(&str, Placement)]) -> L4Placement {
        let key = |name: &str| ObjectKey::new(model::Kind::Listener, "default", name);
        L4Placement {
            listeners: listeners.iter().map(|(name, at)| (key(name), at.clone())).collect(),
            ..L4Placement::default()
        }
    }

    #[test]
    fn a_policy_for_what_xdp_does_not_carry_is_refused() {
        let unavailable = NotCarried::Unavailable { reason: "no CAP_BPF".to_owned() };
        let placement = placement(&[
            ("a", Placement::Carried),
            ("b", Placement::NotCarried(unavailable)),
            ("c", Placement::NotCarried(NotCarried::NoRoute)),
        ]);
        let report = judge::report(&config(), &placement, &[], true, None);
        let AckState::Refused { refusals } = report.ack else { panic!("{report:?}") };
        let told: Vec<_> = refusals
            .iter()
            .map(|refusal| (refusal.object.as_ref().expect("named").name.as_str(), &*refusal.field))
            .collect();
        assert_eq!(told, [("gold", "spec.listeners[1]")]);
        assert!(refusals[0].message.ends_with("no CAP_BPF"));
    }

    #[test]
    fn who_wants_packets_to_wait_is_told_why_they_do_not() {
        let all = ["a", "b", "c", "d"].map(|name| (name, Placement::Carried));
        let problems = ["worker of eth0 queue 0: it failed".to_owned()];
        let told = notes(&config(), &placement(&all), &problems);
        assert_eq!(told, ["QoSPolicy/default/gold: worker of eth0 queue 0: it failed"]);
        assert!(notes(&config(), &placement(&all), &[]).is_empty());
        assert!(notes(&config(), &placement(&[]), &problems).is_empty());
    }
}
