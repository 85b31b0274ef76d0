//! Mistakes in QoS policies, and what their defaults are.

use model::{Kind, Snapshot, plan_apply, plan_delete, qos_policy::Dscp};

use crate::checking::{check_errors, check_spec, objects, snapshot};

#[track_caller]
fn policy(fields: &str, expected: &[&str]) {
    check_spec("QoSPolicy", &format!("{{ listeners: [{{ name: a }}], {fields} }}"), expected);
}

#[test]
fn fields() {
    policy("dscp: EF", &[]);
    policy("egress: { bandwidthMbps: 100000, burstKB: 1000000 }, ecn: Mark, excess: Drop", &[]);
    check_spec("QoSPolicy", "{ dscp: 7 }", &["spec.listeners: is missing"]);
    policy(
        "class: P4, latencyLimit: 2s, weight: 101, ecn: Set, excess: Wait, scope: node, dscp: AF14",
        &[
            "spec.class = \"P4\": is not known",
            "spec.latencyLimit = \"2s\": is too long",
            "spec.weight = 101: is out of range",
            "spec.ecn = \"Set\": is not known",
            "spec.excess = \"Wait\": is not known",
            "spec.scope = \"node\": is not known",
            "spec.dscp = \"AF14\": is not known",
        ],
    );
    policy(
        "ingress: { burstKB: 9 }, egress: { bandwidthMbps: 0, rate: 1 }, latencyLimit: 50us",
        &[
            "spec.ingress.bandwidthMbps: is missing",
            "spec.ingress.burstKB = 9: is out of range",
            "spec.egress.bandwidthMbps = 0: is out of range",
            "spec.egress.rate = 1: is not a known field",
            "spec.latencyLimit = \"50us\": is too short",
        ],
    );
    policy("dscp: 64", &["spec.dscp = 64: is out of range"]);
    policy("dscp: '46'", &["spec.dscp = \"46\": is text"]);
}

#[test]
fn what_contradicts_itself() {
    policy(
        "class: P0, weight: 5, dscp: EF",
        &["spec.weight = 5: is for classes that go by weight, not for P0"],
    );
    policy(
        "ingress: { bandwidthMbps: 1000, burstKB: 1249 }",
        &["spec.ingress.burstKB = 1249: is less than 10 ms of 1000 Mbit/s"],
    );
    policy("ingress: { bandwidthMbps: 1000, burstKB: 1250 }", &[]);
    policy(
        "dscp: EF, ecn: Mark",
        &["spec.ecn = \"Mark\": marks what comes near a limit, and there is none"],
    );
    policy(
        "class: P1",
        &["spec = {\"class\":\"P1\",\"listeners\":[{\"name\":\"a\"}]}: \
           limits nothing and marks nothing"],
    );
    policy(
        "dscp: EF, scope: Cluster",
        &["spec.scope = \"Cluster\": says who shares a limit, and there is none"],
    );
}

#[test]
fn what_is_not_said_has_a_default() {
    let spec = |fields: &str| {
        let text = format!(
            "kind: QoSPolicy\nmetadata: {{ name: a }}\nspec: {{ listeners: [{{ name: a }}], {fields} }}\n"
        );
        objects(&text)[0].to_value()["spec"].clone()
    };
    let plain = spec("dscp: 0, ingress: { bandwidthMbps: 1 }, egress: { bandwidthMbps: 1000 }");
    let expected = serde_json::json!({
        "listeners": [{ "name": "a", "namespace": "default" }],
        "class": "P2", "latencyLimit": "20ms", "weight": 10, "excess": "Queue", "scope": "Node",
        "dscp": "CS0", "ecn": "Preserve",
        "ingress": { "bandwidthMbps": 1, "burstKB": 16 },
        "egress": { "bandwidthMbps": 1000, "burstKB": 2500 },
    });
    assert_eq!(plain, expected);
    let first = spec("dscp: 45, class: P0");
    assert_eq!(first["weight"], serde_json::Value::Null);
    assert_eq!((&first["latencyLimit"], &first["dscp"]), (&"1ms".into(), &45.into()));
}

#[test]
fn code_points_have_the_values_of_their_rfcs() {
    let value = |name: &str| {
        let known = Dscp::NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, dscp)| dscp.value())
    };
    assert_eq!(value("EF"), Some(0b101_110));
    for class in 1..=4u8 {
        for drop in 1..=3u8 {
            assert_eq!(value(&format!("AF{class}{drop}")), Some(class << 3 | drop << 1));
        }
    }
    for class in 0..=7u8 {
        assert_eq!(value(&format!("CS{class}")), Some(class << 3));
    }
    assert_eq!(Dscp::NAMES.len(), 1 + 12 + 8);
}

#[test]
fn the_kind_is_read_in_singular_and_plural() {
    for text in ["QoSPolicy", "qospolicy", "qospolicies", "QOSPOLICYS"] {
        assert_eq!(text.parse(), Ok(Kind::QosPolicy), "{text}");
    }
    assert!("qospolic".parse::<Kind>().is_err());
}

fn listener(name: &str, port: u16, more: &str) -> String {
    format!(
        "kind: Listener\nmetadata: {{ name: {name} }}\nspec: {{ protocol: TCP, port: {port}, \
         address: 192.0.2.1{more} }}\n---\n"
    )
}

fn policy_for(name: &str, listener: &str, more: &str) -> String {
    format!(
        "kind: QoSPolicy\nmetadata: {{ name: {name} }}\nspec: {{ listeners: [{{ name: {listener} \
         }}], {more} }}\n---\n"
    )
}

#[test]
fn a_listener_has_one_policy() {
    let base = snapshot(&(listener("a", 1, "") + &policy_for("gold", "a", "dscp: EF")));
    let second = objects(&policy_for("red", "a", "dscp: 7"));
    check_errors(
        plan_apply(&base, second).map(|_| ()),
        &["spec.listeners[0].name = \"a\": names a listener that QoSPolicy/default/gold is for"],
    );
    // The one that comes is named also when it is the first by name.
    let first = objects(&policy_for("blue", "a", "dscp: 7"));
    check_errors(
        plan_apply(&base, first).map(|_| ()),
        &["spec.listeners[0].name = \"a\": names a listener that QoSPolicy/default/gold is for"],
    );
}

#[test]
fn xdp_must_be_allowed_to_carry_the_listener() {
    let absent = objects(&policy_for("gold", "a", "dscp: EF"));
    check_errors(
        plan_apply(&Snapshot::default(), absent).map(|_| ()),
        &["spec.listeners[0].name = \"a\": refers to Listener/default/a, which does not exist"],
    );
    let http = listener("a", 1, "").replace("TCP", "HTTP");
    check_errors(
        plan_apply(&snapshot(&http), objects(&policy_for("gold", "a", "dscp: EF"))).map(|_| ()),
        &["spec.listeners[0].name = \"a\": refers to Listener/default/a, which speaks HTTP"],
    );
    let envoy = listener("a", 1, ", engine: envoy");
    check_errors(
        plan_apply(&snapshot(&envoy), objects(&policy_for("gold", "a", "dscp: EF"))).map(|_| ()),
        &["spec.listeners[0].name = \"a\": names Listener/default/a, which Envoy carries"],
    );
    let base = snapshot(&(listener("a", 1, "") + &policy_for("gold", "a", "dscp: EF")));
    check_errors(
        plan_apply(&base, objects(&envoy)).map(|_| ()),
        &[
            "spec.engine = \"envoy\": is Envoy, which does not do what QoSPolicy/default/gold asks for",
        ],
    );
}

#[test]
fn answers_that_the_node_never_sees_are_not_limited() {
    let limit = "egress: { bandwidthMbps: 5 }";
    let direct = listener("a", 1, ", forwarding: GUE");
    check_errors(
        plan_apply(&snapshot(&direct), objects(&policy_for("gold", "a", limit))).map(|_| ()),
        &["spec.egress: limits the answers of Listener/default/a, whose endpoints answer clients \
           directly"],
    );
    let base = snapshot(&(listener("a", 1, "") + &policy_for("gold", "a", limit)));
    check_errors(
        plan_apply(&base, objects(&direct)).map(|_| ()),
        &["spec.forwarding = \"GUE\": lets endpoints answer clients directly, and \
           QoSPolicy/default/gold limits their answers (egress)"],
    );
    let ingress = objects(&policy_for("gold", "a", "ingress: { bandwidthMbps: 5 }"));
    check_errors(plan_apply(&snapshot(&direct), ingress).map(|_| ()), &[]);
}

#[test]
fn a_listener_that_a_policy_names_stays() {
    let base = snapshot(&(listener("a", 1, "") + &policy_for("gold", "a", "dscp: EF")));
    check_errors(
        plan_delete(&base, &["Listener/default/a".parse().expect("a key")]).map(|_| ()),
        &[": is removed, and still referred to by QoSPolicy/default/gold (spec.listeners[0])"],
    );
    let http = objects(&listener("a", 1, "").replace("TCP", "HTTP"));
    check_errors(
        plan_apply(&base, http).map(|_| ()),
        &["spec.protocol = \"HTTP\": does not fit what attaches to it: \
           QoSPolicy/default/gold (spec.listeners[0])"],
    );
}

#[test]
fn all_policies_together_have_a_bound_of_listeners() {
    let listeners = |names: std::ops::Range<u32>| {
        names.map(|n| format!("{{ name: l{n} }}")).collect::<Vec<_>>().join(", ")
    };
    let policy = |name: usize, names| {
        format!(
            "kind: QoSPolicy\nmetadata: {{ name: p{name:02} }}\nspec: {{ listeners: [{}], dscp: EF }}\n---\n",
            listeners(names)
        )
    };
    let mut text: String = (0..1_001).map(|n| listener(&format!("l{n}"), n + 1, "")).collect();
    for n in 0..20u32 {
        text += &policy(n as usize, n * 50..(n + 1) * 50);
    }
    let base = snapshot(&text);
    check_errors(plan_apply(&base, objects(&policy(3, 150..200))).map(|_| ()), &[]);
    check_errors(
        plan_apply(&base, objects(&policy(20, 1_000..1_001))).map(|_| ()),
        &["spec.listeners: makes 1001 listeners of all policies together"],
    );
}
