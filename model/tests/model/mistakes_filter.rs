//! Mistakes in packet filters and lists of prefixes.

use model::{Snapshot, plan_apply, plan_delete};

use crate::checking::{check_errors, check_spec, objects, snapshot};

#[track_caller]
fn list(prefixes: &str, expected: &[&str]) {
    check_spec("PrefixList", &format!("{{ prefixes: {prefixes} }}"), expected);
}

#[track_caller]
fn rule(rule: &str, expected: &[&str]) {
    check_spec("PacketFilter", &format!("{{ rules: [{rule}] }}"), expected);
}

#[test]
fn prefixes() {
    list("[]", &[]);
    list("[0.0.0.0/0, '::/0', 192.0.2.1, '2001:db8::1']", &[]);
    list(
        "[203.0.113.7/24, '2001:db8::1/64', 10.0.0.0/33, '::/129']",
        &[
            "spec.prefixes[0] = \"203.0.113.7/24\": has bits set behind its length",
            "spec.prefixes[1] = \"2001:db8::1/64\": has bits set behind its length",
            "spec.prefixes[2] = \"10.0.0.0/33\": has a length above 32",
            "spec.prefixes[3] = \"::/129\": has a length above 128",
        ],
    );
    list(
        "[10.0.0.0/, 10.0.0.0/08, 10/8, shop.example, 7, '::ffff:10.0.0.0/104']",
        &[
            "spec.prefixes[0] = \"10.0.0.0/\": has no whole number behind the /",
            "spec.prefixes[1] = \"10.0.0.0/08\": has no whole number behind the /",
            "spec.prefixes[2] = \"10/8\": is not an address with the length of a prefix",
            "spec.prefixes[3] = \"shop.example\": is not an address with the length of a prefix",
            "spec.prefixes[4] = 7: is a number",
            "spec.prefixes[5] = \"::ffff:10.0.0.0/104\": is an IPv4 prefix written as IPv6",
        ],
    );
    check_spec("PrefixList", "{}", &["spec.prefixes: is missing"]);
    check_spec(
        "PrefixList",
        "{ prefixes: [], prefix: [] }",
        &["spec.prefix = []: is not a known field"],
    );
}

#[test]
fn host_bits_are_refused_with_what_was_meant() {
    let input = "kind: PrefixList\nmetadata: { name: a }\nspec: { prefixes: [203.0.113.7/24] }\n";
    let errors = model::parse::parse_documents(input).expect_err("host bits").0;
    assert_eq!(errors[0].remedy, "write 203.0.113.0/24, or 203.0.113.7/32 for the one address");
}

#[test]
fn a_list_is_kept_in_order_without_what_it_says_twice() {
    let written = "kind: PrefixList\nmetadata: { name: a }\nspec: { prefixes: ['2001:db8::/32', \
                   10.1.0.0/16, 10.0.0.0/8, 9.9.9.9, 9.9.9.9/32, '2001:db8:1::/48', 10.255.0.0/24] }\n";
    let kept = objects(written)[0].to_value();
    assert_eq!(
        kept["spec"]["prefixes"],
        serde_json::json!(["9.9.9.9/32", "10.0.0.0/8", "2001:db8::/32"])
    );
}

#[test]
fn rules() {
    rule("{ action: Deny }", &[]);
    rule("{ action: Allow, protocol: TCP, ports: [80, '443', 8000-8999] }", &[]);
    check_spec("PacketFilter", "{}", &["spec.rules: is missing"]);
    check_spec("PacketFilter", "{ rules: [] }", &["spec.rules = []: is empty"]);
    check_spec(
        "PacketFilter",
        "{ priority: 1001, rules: [{ action: Deny }] }",
        &["spec.priority = 1001: is out of range"],
    );
    rule(
        "{ action: Drop, protocol: ICMP, source: 10.0.0.0/8, sources: [] }",
        &[
            "spec.rules[0].action = \"Drop\": is not known",
            "spec.rules[0].protocol = \"ICMP\": is not known",
            "spec.rules[0].source = \"10.0.0.0/8\": is not a known field",
            "spec.rules[0].sources = []: is empty",
        ],
    );
    rule(
        "{ ports: [0, 80-79, a, 1-, 070, 90-100, 100, 1.5] }",
        &[
            "spec.rules[0].action: is missing",
            "spec.rules[0].ports[0] = 0: is out of range",
            "spec.rules[0].ports[1] = \"80-79\": ends before it begins",
            "spec.rules[0].ports[2] = \"a\": is not a range of ports",
            "spec.rules[0].ports[3] = \"1-\": is not a range of ports",
            "spec.rules[0].ports[4] = \"070\": is not a range of ports",
            "spec.rules[0].ports[6] = 100: overlaps ports before it in the list",
            "spec.rules[0].ports[7] = 1.5: is not a whole number",
        ],
    );
    rule(
        "{ action: Deny, sourceLists: [{ name: a }, { name: a, namespace: default }] }",
        &["spec.rules[0].sourceLists[1] = {\"name\":\"a\",\"namespace\":\"default\"}: \
           stands in the list twice"],
    );
}

#[test]
fn rates() {
    let check = |rate: &str, expected: &[&str]| {
        rule(&format!("{{ action: Rate, rate: {rate} }}"), expected);
    };
    check("{ packetsPerSecond: 1, per: Rule }", &[]);
    check("{ packetsPerSecond: 10000000, burst: 100000, per: Rule }", &[]);
    check(
        "{ packetsPerSecond: 500, burst: 5, per: Source, prefixLengthV4: 1, prefixLengthV6: 128 }",
        &[],
    );
    check(
        "{}",
        &["spec.rules[0].rate.packetsPerSecond: is missing", "spec.rules[0].rate.per: is missing"],
    );
    check(
        "{ packetsPerSecond: 0, burst: 0, per: Node, prefixLengthV4: 33, prefixLengthV6: 0 }",
        &[
            "spec.rules[0].rate.packetsPerSecond = 0: is out of range",
            "spec.rules[0].rate.burst = 0: is out of range",
            "spec.rules[0].rate.per = \"Node\": is not known",
            "spec.rules[0].rate.prefixLengthV4 = 33: is out of range",
            "spec.rules[0].rate.prefixLengthV6 = 0: is out of range",
        ],
    );
    check(
        "{ packetsPerSecond: 10000001, per: Rule, bps: 1 }",
        &[
            "spec.rules[0].rate.packetsPerSecond = 10000001: is out of range",
            "spec.rules[0].rate.bps = 1: is not a known field",
        ],
    );
    check(
        "{ packetsPerSecond: 501, burst: 5, per: Rule }",
        &["spec.rules[0].rate.burst = 5: is less than 10 ms of 501 packets a second"],
    );
    check(
        "{ packetsPerSecond: 500, per: Rule, prefixLengthV6: 48 }",
        &["spec.rules[0].rate.prefixLengthV6 = 48: tells sources apart"],
    );
    rule("{ action: Rate }", &["spec.rules[0].rate: is missing"]);
    rule(
        "{ action: Deny, rate: { packetsPerSecond: 500, per: Rule } }",
        &["spec.rules[0].rate = {\"packetsPerSecond\":500,\"per\":\"Rule\"}: \
           is for rules with action: Rate"],
    );
}

#[test]
fn a_rate_is_kept_with_its_defaults() {
    let kept = |rate: &str| {
        let written = format!(
            "kind: PacketFilter\nmetadata: {{ name: a }}\n\
             spec: {{ rules: [{{ action: Rate, rate: {rate} }}] }}\n"
        );
        objects(&written)[0].to_value()["spec"]["rules"][0].clone()
    };
    assert_eq!(
        kept("{ packetsPerSecond: 10, per: Source }"),
        serde_json::json!({ "action": "Rate", "rate": { "packetsPerSecond": 10, "burst": 20,
            "per": "Source", "prefixLengthV4": 32, "prefixLengthV6": 64 } })
    );
    assert_eq!(
        kept("{ packetsPerSecond: 5001, per: Rule }"),
        serde_json::json!({ "action": "Rate", "rate": { "packetsPerSecond": 5001, "burst": 501,
            "per": "Rule" } })
    );
}

#[test]
fn all_filters_together_have_a_bound_of_rates() {
    let filter = |name: &str, rates: usize| {
        let rate = "{ action: Rate, rate: { packetsPerSecond: 1, per: Rule } }";
        let rules = vec![rate; rates].join(", ");
        format!(
            "kind: PacketFilter\nmetadata: {{ name: {name} }}\n\
             spec: {{ rules: [{{ action: Deny }}, {rules}] }}\n---\n"
        )
    };
    let base = snapshot(&filter("a", 5));
    check_errors(plan_apply(&base, objects(&filter("b", 3))).map(|_| ()), &[]);
    check_errors(
        plan_apply(&base, objects(&filter("b", 4))).map(|_| ()),
        &["spec.rules = 4: makes 9 rules with a rate of all filters together"],
    );
}

const LISTED: &str = "kind: PrefixList\nmetadata: { name: bad }\nspec: { prefixes: [192.0.2.0/24] }\n\
                      ---\nkind: PacketFilter\nmetadata: { name: edge }\nspec: { rules: [{ action: \
                      Deny, sourceLists: [{ name: bad }] }] }\n";

#[test]
fn lists_that_rules_refer_to_are_there_and_stay() {
    check_errors(plan_apply(&Snapshot::default(), objects(LISTED)).map(|_| ()), &[]);
    check_errors(
        plan_apply(&Snapshot::default(), objects(LISTED).split_off(1)).map(|_| ()),
        &["spec.rules[0].sourceLists[0].name = \"bad\": refers to PrefixList/default/bad, \
           which does not exist"],
    );
    check_errors(
        plan_delete(&snapshot(LISTED), &["PrefixList/default/bad".parse().expect("a key")])
            .map(|_| ()),
        &[": is removed, and still referred to by PacketFilter/default/edge \
           (spec.rules[0].sourceLists[0])"],
    );
}

#[test]
fn all_filters_together_have_a_bound_of_rules() {
    let filter = |name: &str, rules: usize| {
        let rules = vec!["{ action: Deny }"; rules].join(", ");
        format!(
            "kind: PacketFilter\nmetadata: {{ name: {name} }}\nspec: {{ rules: [{rules}] }}\n---\n"
        )
    };
    let base = snapshot(&filter("a", 40));
    check_errors(plan_apply(&base, objects(&filter("b", 24))).map(|_| ()), &[]);
    check_errors(
        plan_apply(&base, objects(&filter("b", 25))).map(|_| ()),
        &["spec.rules = 25: makes 65 rules of all filters together"],
    );
}

#[test]
fn all_lists_together_have_a_bound_of_prefixes() {
    let list = |n: u32| {
        let prefixes: Vec<String> = (0..65_536u32)
            .map(|i| std::net::Ipv4Addr::from_bits((n << 16 | i) << 4).to_string() + "/28")
            .collect();
        serde_json::json!({ "kind": "PrefixList", "metadata": { "name": format!("l{n}") },
            "spec": { "prefixes": prefixes } })
    };
    let object = |n| model::parse::object_from_value(&list(n)).expect("a valid list");
    let mut base = Snapshot::default();
    for n in 0..16 {
        base.put(std::sync::Arc::new(object(n)));
    }
    let one = "kind: PrefixList\nmetadata: { name: more }\nspec: { prefixes: ['::/0'] }\n";
    check_errors(plan_apply(&base, objects(one)).map(|_| ()), &[]);
    check_errors(
        plan_apply(&base, objects(&one.replace("'::/0'", "192.0.2.0/24"))).map(|_| ()),
        &["spec.prefixes: makes 1048577 IPv4 prefixes of all lists and rules together"],
    );
}
