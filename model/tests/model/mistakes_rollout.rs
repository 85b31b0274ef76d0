//! Mistakes in rollout policies.

use model::{Snapshot, plan_apply};

use crate::checking::{check_errors, check_spec, objects};

#[test]
fn rollout_policies() {
    let check = |spec: &str, expected: &[&str]| check_spec("RolloutPolicy", spec, expected);
    check("{ steps: [{ nodes: [edge-1] }, { percent: 50, hold: 1h }] }", &[]);
    check(
        "{ steps: [{ percent: 1 }], gates: { errors: { maxPercent: 0 }, latency: { p99: 1s } } }",
        &[],
    );
    check("{}", &["spec.steps: is missing"]);
    check(
        "{ steps: [], gates: { errors: { maxPercent: 101, minRequests: 0 }, latency: {}, loss: 1 } }",
        &[
            "spec.gates.errors.maxPercent = 101: is out of range",
            "spec.gates.errors.minRequests = 0: is out of range",
            "spec.gates.latency.p99: is missing",
            "spec.gates.loss = 1: is not a known field",
            "spec.steps = []: is empty",
        ],
    );
    check("{ steps: [{ percent: 1 }], gates: { drops: {} } }", &[]);
    check(
        "{ steps: [{ percent: 1 }], gates: { drops: { maxPercent: 100, minPackets: 0, minRequests: 1 } } }",
        &[
            "spec.gates.drops.maxPercent = 100: is out of range",
            "spec.gates.drops.minPackets = 0: is out of range",
            "spec.gates.drops.minRequests = 1: is not a known field",
        ],
    );
    check(
        "{ steps: [{}, { nodes: [a], percent: 2 }, { nodes: [a, a] }, { percent: 100, hold: 1ms }] }",
        &[
            "spec.steps[0] = {}: names no nodes",
            "spec.steps[1] = {\"nodes\":[\"a\"],\"percent\":2}: has both nodes and percent",
            "spec.steps[2].nodes[1] = \"a\": stands in the list twice",
            "spec.steps[3].hold = \"1ms\": is too short",
            "spec.steps[3].percent = 100: is out of range",
        ],
    );
}

#[test]
fn a_cluster_has_one_policy() {
    let policy = |name: &str| {
        format!(
            "kind: RolloutPolicy\nmetadata: {{ name: {name} }}\nspec: {{ steps: [{{ percent: 9 }}] }}\n---\n"
        )
    };
    let apply = |text: &str| plan_apply(&Snapshot::default(), objects(text));
    check_errors(apply(&policy("a")).map(|_| ()), &[]);
    check_errors(
        apply(&(policy("a") + &policy("b"))).map(|_| ()),
        &[
            ": is a second policy beside RolloutPolicy/default/a",
            ": is a second policy beside RolloutPolicy/default/b",
        ],
    );
}
