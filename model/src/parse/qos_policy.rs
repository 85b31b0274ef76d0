//! Reads the spec of a `QoSPolicy`.

use serde_json::Value;

use super::{
    backend::listeners,
    reader::{Fields, Node, Read},
    scalar::{duration, text, whole, word},
};
use crate::{
    limits::{
        MAX_BANDWIDTH_MBPS, MAX_BURST_KB, MAX_LATENCY, MAX_QOS_WEIGHT, MIN_BURST_KB, MIN_BURST_MS,
        MIN_LATENCY,
    },
    qos_policy::{Dscp, Ecn, Excess, LimitScope, QosPolicy, RateLimit, TrafficClass},
};

const DEFAULT_WEIGHT: u32 = 10;
/// A burst that nobody chose, in milliseconds of the bandwidth: two of the coarsest ticks.
const DEFAULT_BURST_MS: u32 = 20;
/// The least burst that nobody chose: some ten packets.
const DEFAULT_BURST_KB: u32 = 16;

const CLASSES: [(&str, TrafficClass); 4] = [
    ("P0", TrafficClass::P0),
    ("P1", TrafficClass::P1),
    ("P2", TrafficClass::P2),
    ("P3", TrafficClass::P3),
];
const EXCESSES: [(&str, Excess); 2] = [("Queue", Excess::Queue), ("Drop", Excess::Drop)];
const ECNS: [(&str, Ecn); 2] = [("Preserve", Ecn::Preserve), ("Mark", Ecn::Mark)];
const SCOPES: [(&str, LimitScope); 2] =
    [("Node", LimitScope::Node), ("Cluster", LimitScope::Cluster)];

pub(super) fn qos_policy(node: &Node<'_>, namespace: &str) -> Read<QosPolicy> {
    let fields = node.fields()?;
    let listeners =
        fields.required("listeners", "a list of {name: …}", |node| listeners(node, namespace));
    let class = fields.or("class", TrafficClass::default(), |node| word(node, &CLASSES));
    let latency_limit =
        fields.optional("latencyLimit", |node| duration(node, MIN_LATENCY, MAX_LATENCY));
    let weight = fields.optional("weight", |node| whole(node, 1..=MAX_QOS_WEIGHT));
    let ingress = fields.optional("ingress", rate_limit);
    let egress = fields.optional("egress", rate_limit);
    let excess = fields.or("excess", Excess::default(), |node| word(node, &EXCESSES));
    let dscp = fields.optional("dscp", dscp);
    let ecn = fields.or("ecn", Ecn::default(), |node| word(node, &ECNS));
    let scope = fields.or("scope", LimitScope::default(), |node| word(node, &SCOPES));
    let fits = weight_fits(&fields, class).and(does_something(&fields, ecn, scope));
    let known = fields.finish();
    let class = class?;
    let weight = weight?;
    let policy = QosPolicy {
        listeners: listeners?,
        class,
        latency_limit: latency_limit?.unwrap_or_else(|| class.latency_limit()),
        weight: (class != TrafficClass::P0).then(|| weight.unwrap_or(DEFAULT_WEIGHT)),
        ingress: ingress?,
        egress: egress?,
        excess: excess?,
        dscp: dscp?,
        ecn: ecn?,
        scope: scope?,
    };
    fits.and(known).map(|()| policy)
}

fn weight_fits(fields: &Fields<'_>, class: Read<TrafficClass>) -> Read<()> {
    if class == Ok(TrafficClass::P0) && fields.has("weight") {
        let remedy = "remove it, or write class: P1, P2 or P3";
        return Err(fields.error("weight", "is for classes that go by weight, not for P0", remedy));
    }
    Ok(())
}

/// Refuses a policy that has no effect.
fn does_something(fields: &Fields<'_>, ecn: Read<Ecn>, scope: Read<LimitScope>) -> Read<()> {
    let limited = fields.has("ingress") || fields.has("egress");
    if !limited && ecn == Ok(Ecn::Mark) {
        let remedy = "add ingress or egress, or remove it";
        return Err(fields.error(
            "ecn",
            "marks what comes near a limit, and there is none",
            remedy,
        ));
    }
    if !limited && scope == Ok(LimitScope::Cluster) {
        let remedy = "add ingress or egress, or remove it";
        return Err(fields.error("scope", "says who shares a limit, and there is none", remedy));
    }
    if !limited && !fields.has("dscp") {
        let remedy = "add ingress, egress or dscp";
        return Err(fields.node().error("limits nothing and marks nothing", remedy));
    }
    Ok(())
}

fn rate_limit(node: &Node<'_>) -> Read<RateLimit> {
    let fields = node.fields()?;
    let wanted = format!("Mbit/s, 1 to {MAX_BANDWIDTH_MBPS}");
    let bandwidth =
        fields.required("bandwidthMbps", &wanted, |node| whole(node, 1..=MAX_BANDWIDTH_MBPS));
    let burst = fields.optional("burstKB", |node| whole(node, MIN_BURST_KB..=MAX_BURST_KB));
    let known = fields.finish();
    let (bandwidth_mbps, burst) = (bandwidth?, burst?);
    let least = RateLimit::kb_in(bandwidth_mbps, MIN_BURST_MS);
    if burst.is_some_and(|burst| burst < least) {
        let message = format!("is less than {MIN_BURST_MS} ms of {bandwidth_mbps} Mbit/s");
        let remedy = format!("write at least {least}, or a lower bandwidth");
        return Err(fields.error("burstKB", message, remedy));
    }
    let burst_kb = burst.unwrap_or_else(|| {
        RateLimit::kb_in(bandwidth_mbps, DEFAULT_BURST_MS).max(DEFAULT_BURST_KB)
    });
    known.map(|()| RateLimit { bandwidth_mbps, burst_kb })
}

fn dscp(node: &Node<'_>) -> Read<Dscp> {
    if let Value::String(_) = node.value() {
        if text(node)?.parse::<u8>().is_ok_and(|number| number < 64) {
            return Err(node.error("is text", "write the number without quotes"));
        }
        return word(node, &Dscp::NAMES);
    }
    let number = whole(node, 0..=63)?;
    Ok(u8::try_from(number).ok().and_then(Dscp::new).expect("the range is that of a code point"))
}
