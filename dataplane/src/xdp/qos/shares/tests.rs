//! Shares of a plan's limits, and what is said of them.

use std::{sync::Arc, time::Duration};

use ebpf_common::{layout::TCP, qos::CREDIT_COUNTERS};
use model::{listener::Forwarding, shares::Share};
use runtime::push::ShareGrant;

use super::*;
use crate::xdp::{plan::Frontend, qos::Policy};

fn key(direction: Direction) -> ShareKey {
    ShareKey {
        policy: "QoSPolicy/default/gold".parse().unwrap(),
        listener: "Listener/default/web".parse().unwrap(),
        direction,
    }
}

fn plan(scope: &str) -> L4Plan {
    let text = format!(
        "kind: QoSPolicy\nmetadata: {{ name: gold }}\nspec: {{ listeners: [{{ name: web }}], \
         ingress: {{ bandwidthMbps: 8 }}, egress: {{ bandwidthMbps: 80 }}, scope: {scope} }}\n"
    );
    let object = model::parse::parse_documents(&text).unwrap().remove(0);
    let model::Spec::QosPolicy(spec) = object.spec else { panic!("a policy") };
    let frontend = Frontend { address: None, port: 80, protocol: TCP };
    let carried = Carried {
        listener: key(Direction::In).listener,
        frontend,
        forwarding: Forwarding::Nat,
        services: Vec::new(),
        v4: Vec::new(),
        v6: Vec::new(),
        policy: Some(Policy { key: key(Direction::In).policy, spec: Arc::new(spec) }),
        syn_cookies: model::listener::SynCookies::default(),
    };
    let mut plan = L4Plan::default();
    plan.carried.insert(frontend, Arc::new(carried));
    plan
}

#[test]
fn a_node_has_what_it_was_lent_or_a_tenth_and_only_of_limits_that_are_shared() {
    let now = Instant::now();
    assert!(in_force(&plan("Node"), None, now).is_empty());
    let plan = plan("Cluster");
    let tenths = [(key(Direction::In), 100_000), (key(Direction::Out), 1_000_000)];
    assert_eq!(in_force(&plan, None, now), tenths.into());
    let lent = |bytes_per_s| {
        let share = Share { key: key(Direction::In), bytes_per_s, alone: 333_333 };
        Loan::new(ShareGrant { shares: vec![share], lease_ms: 1_000, ..Default::default() }, now)
    };
    let share = |bytes_per_s, after| {
        let all = in_force(&plan, Some(&lent(bytes_per_s)), now + Duration::from_secs(after));
        all[&key(Direction::In)]
    };
    assert_eq!((share(700_000, 0), share(700_000, 1)), (700_000, 333_333));
    assert_eq!(share(u64::MAX, 0), 1_000_000, "never more than the limit");
}

#[test]
fn what_is_said_is_what_went_through_since_the_last_look() {
    let mut meter = ShareMeter::default();
    let start = Instant::now();
    let shares: InForce = [(key(Direction::In), 5_000)].into();
    let mut uses = |seconds: u64, passed, over, waiting| {
        let mut words = [0; CREDIT_COUNTERS];
        words[counter::PASSED_BYTES] = passed;
        words[counter::OVER_PACKETS] = over;
        words[counter::WAITING_PACKETS] = waiting;
        let of = |way, words| LimiterCounters {
            policy: "QoSPolicy/default/gold".to_owned(),
            listener: "Listener/default/web".to_owned(),
            way,
            words,
        };
        let counters = [of(Way::Egress, [9; CREDIT_COUNTERS]), of(Way::Ingress, words)];
        let now = start + Duration::from_secs(seconds);
        let said = meter.uses(&shares, &counters, None, now).uses.remove(0);
        assert_eq!((said.key.direction, said.share), (Direction::In, 5_000));
        (said.used, said.wants_more)
    };
    assert_eq!(uses(0, 1_000, 7, 0), (0, false), "what was before is not known");
    assert_eq!(uses(2, 9_000, 7, 0), (4_000, false));
    assert_eq!(uses(3, 9_100, 8, 0), (100, true));
    assert_eq!(uses(4, 9_100, 8, 1), (0, true));
    assert_eq!(uses(5, 300, 0, 0), (300, false), "it begins anew");
}
