//! Filters that would cut a cluster off from itself, or their writer from the API.

use model::{
    Snapshot,
    cluster::NodeAddresses,
    lockout::{Protected, cut_off},
};

use crate::checking::snapshot;

fn node(name: &str, ip: &str) -> NodeAddresses {
    let socket = |port: u16| format!("{ip}:{port}").parse().expect("an address and port");
    NodeAddresses {
        name: name.to_owned(),
        api: socket(7800),
        raft: socket(7801),
        push: socket(7802),
        zone: String::new(),
    }
}

fn protected() -> Protected {
    Protected {
        members: vec![node("a", "10.0.0.1"), node("b", "10.0.0.2")],
        caller: Some((
            "192.0.2.9".parse().expect("an address"),
            "10.0.0.1:7800".parse().expect("an address and port"),
        )),
    }
}

fn filter(rules: &str) -> Snapshot {
    snapshot(&format!(
        "kind: PacketFilter\nmetadata: {{ name: edge }}\nspec: {{ rules: [{rules}] }}\n"
    ))
}

#[track_caller]
fn check(base: &Snapshot, rules: &str, expected: &[&str]) {
    let errors = cut_off(base, &filter(rules), &protected());
    assert!(errors.iter().all(|error| error.remedy.contains("--force")));
    let found: Vec<String> =
        errors.iter().map(|error| format!("{}: {}", error.path, error.message)).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_cuts_nobody_off_is_let_through() {
    let none = Snapshot::default();
    check(&none, "{ action: Deny, sources: [203.0.113.0/24] }", &[]);
    check(&none, "{ action: Deny, ports: [80, 7799, 7803-32767] }", &[]);
    check(&none, "{ action: Deny, protocol: UDP, ports: [7800, 7801] }", &[]);
    check(&none, "{ action: Deny, destinations: [10.0.0.3] }", &[]);
    check(
        &none,
        "{ action: Allow, sources: [10.0.0.0/24] }, { action: Allow, protocol: TCP, ports: [7800] }, \
         { action: Deny }",
        &[],
    );
}

#[test]
fn members_and_the_caller_are_named_with_the_rule_that_cuts_them_off() {
    let none = Snapshot::default();
    check(
        &none,
        "{ action: Allow, sources: [203.0.113.1] }, { action: Deny, sources: [10.0.0.2] }",
        &["spec.rules[1]: would cut off node b on the way to the API port of a: from 10.0.0.2 to \
           TCP port 7800 of 10.0.0.1"],
    );
    check(
        &none,
        "{ action: Deny, protocol: UDP, ports: [7802], destinations: [10.0.0.1] }",
        &[
            "spec.rules[0]: would cut off node b on the way to the push port of a: from 10.0.0.2 to \
           UDP port 7802 of 10.0.0.1",
        ],
    );
    check(
        &none,
        "{ action: Allow, sources: [10.0.0.0/24] }, { action: Deny, sources: [192.0.2.0/24] }",
        &[
            "spec.rules[1]: would cut off you on the way to the API: from 192.0.2.9 to TCP port 7800 \
           of 10.0.0.1",
        ],
    );
}

#[test]
fn answers_to_the_nodes_own_connections_count_too() {
    let rules = "{ action: Allow, ports: [7800-7802] }, { action: Deny, ports: [40000-50000] }";
    check(
        &Snapshot::default(),
        rules,
        &[
            "spec.rules[1]: would cut off answers of node a to b: from 10.0.0.1 to TCP port 40000 \
             of 10.0.0.2",
            "spec.rules[1]: would cut off answers of node b to a: from 10.0.0.2 to TCP port 40000 \
             of 10.0.0.1",
        ],
    );
}

#[test]
fn what_was_cut_off_before_does_not_stand_in_the_way() {
    let base = filter("{ action: Deny, sources: [10.0.0.2] }");
    check(&base, "{ action: Deny, sources: [10.0.0.2, 203.0.113.0/24] }", &[]);
    check(
        &base,
        "{ action: Deny, sources: [10.0.0.2] }, { action: Deny, sources: [192.0.2.9] }",
        &[
            "spec.rules[1]: would cut off you on the way to the API: from 192.0.2.9 to TCP port 7800 \
           of 10.0.0.1",
        ],
    );
}

#[test]
fn a_limit_that_is_too_small_for_the_cluster_cuts_it_off() {
    let none = Snapshot::default();
    let rate = |packets: u32, per: &str| {
        format!("{{ action: Rate, rate: {{ packetsPerSecond: {packets}, per: {per} }} }}")
    };
    // Each sender has a limit of its own.
    check(&none, &rate(5_000, "Source"), &[]);
    let caller = "spec.rules[0]: would limit to 4999 packets a second you on the way to the API: \
                  from 192.0.2.9 to TCP port 7800 of 10.0.0.1";
    let node = |name: &str, other: &str, from: u8, to: u8| {
        format!(
            "spec.rules[0]: would limit to 4999 packets a second node {name} on the way to the API \
             port of {other}: from 10.0.0.{from} to TCP port 7800 of 10.0.0.{to}"
        )
    };
    check(&none, &rate(4_999, "Source"), &[&node("a", "b", 1, 2), &node("b", "a", 2, 1), caller]);
    // Both nodes and the caller share one.
    check(&none, &rate(15_000, "Rule"), &[]);
    let errors = cut_off(&none, &filter(&rate(14_999, "Rule")), &protected());
    assert_eq!(errors.len(), 3);
    assert!(errors[0].remedy.contains("write at least 15000"), "{errors:?}");
    // The nodes are one source by that.
    let of_24 = "Source, prefixLengthV4: 24";
    check(&none, &rate(10_000, of_24), &[]);
    assert_eq!(cut_off(&none, &filter(&rate(9_999, of_24)), &protected()).len(), 2);
    // What is not about them, or comes after a rule that lets them through, limits nobody.
    check(&none, "{ action: Rate, rate: { packetsPerSecond: 1, per: Rule }, ports: [80] }", &[]);
    check(&none, &format!("{{ action: Allow }}, {}", rate(1, "Rule")), &[]);
}

#[test]
fn a_rule_behind_a_limit_that_is_large_enough_still_cuts_off() {
    check(
        &Snapshot::default(),
        "{ action: Rate, rate: { packetsPerSecond: 100000, per: Rule } }, \
         { action: Deny, sources: [192.0.2.9] }",
        &[
            "spec.rules[1]: would cut off you on the way to the API: from 192.0.2.9 to TCP port 7800 \
           of 10.0.0.1",
        ],
    );
}
