//! The program's counters, read from the kernel and published as metrics.

use std::sync::Once;

use ebpf_common::{
    layout::{COUNTER_WORDS, STATS_WORDS, counter, stat},
    qos::{CREDIT_COUNTERS, Way, counter as limited},
    verdict::{Action, Reason},
};
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::filter::RuleCounters;

/// Counters of one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerCounters {
    /// The listener, `kind/namespace/name`.
    pub listener: String,
    /// Its words, summed over the CPUs; indices are those of [`mod@counter`].
    pub words: [u64; COUNTER_WORDS],
}

/// Counters of a limiter's direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimiterCounters {
    /// The policy, `kind/namespace/name`.
    pub policy: String,
    /// The listener, `kind/namespace/name`.
    pub listener: String,
    /// The direction.
    pub way: Way,
    /// Its words, summed over the CPUs; indices are those of [`mod@limited`].
    pub words: [u64; CREDIT_COUNTERS],
}

/// How many endpoints there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointCounts {
    /// Those of the listeners carried that get new flows.
    pub active: usize,
    /// Those that keep the flows that they have and get no new ones.
    pub draining: usize,
    /// Those of all services that start slowly.
    pub starting: usize,
}

/// What the program has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Generation in force.
    pub generation: u64,
    /// Configuration revision of that generation.
    pub revision: u64,
    /// Generation that each CPU last saw; 0 for a CPU that has seen no packet.
    pub generations_seen: Vec<u64>,
    /// The words of the statistics, summed over the CPUs.
    pub words: [u64; STATS_WORDS],
    /// The endpoints.
    pub endpoints: EndpointCounts,
    /// The listeners that are carried.
    pub listeners: Vec<ListenerCounters>,
    /// The limiters of QoS policies.
    pub limiters: Vec<LimiterCounters>,
    /// The rules of packet filters.
    pub filtered: Vec<RuleCounters>,
    /// Interfaces with the mode that they run the program in.
    pub interfaces: Vec<(String, &'static str)>,
}

impl Statistics {
    /// Returns how many packets were not forwarded for a reason.
    #[must_use]
    pub fn count(&self, reason: Reason) -> u64 {
        self.words[reason as usize]
    }

    /// Returns how many packets were forwarded.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.words[stat::TRANSMITTED] + self.words[stat::REDIRECTED]
    }
}

/// Sums a word-wise array over the CPUs.
#[must_use]
pub fn sum<const N: usize>(cpus: &[[u64; N]]) -> [u64; N] {
    let mut total = [0u64; N];
    for cpu in cpus {
        for (total, word) in total.iter_mut().zip(cpu) {
            *total = total.wrapping_add(*word);
        }
    }
    total
}

/// Publishes what was counted.
pub fn publish(statistics: &Statistics) {
    describe();
    for reason in Reason::ALL {
        let name = match reason.action() {
            Action::Pass => "marchproxy_xdp_passed_packets_total",
            Action::Drop => "marchproxy_xdp_dropped_packets_total",
        };
        counter!(name, "reason" => reason.name()).absolute(statistics.count(reason));
    }
    for (way, word) in [("transmit", stat::TRANSMITTED), ("redirect", stat::REDIRECTED)] {
        counter!("marchproxy_xdp_forwarded_packets_total", "way" => way)
            .absolute(statistics.words[word]);
    }
    counter!("marchproxy_xdp_ports_reused_total").absolute(statistics.words[stat::PORTS_REUSED]);
    counter!("marchproxy_xdp_udp_flows_moved_total").absolute(statistics.words[stat::FLOWS_MOVED]);
    counter!("marchproxy_xdp_icmp_errors_forwarded_total")
        .absolute(statistics.words[stat::ERRORS_FORWARDED]);
    counter!("marchproxy_xdp_too_big_told_total").absolute(statistics.words[stat::TOO_BIG_TOLD]);
    for (event, word) in [("sent", stat::COOKIES_SENT), ("accepted", stat::COOKIES_ACCEPTED)] {
        counter!("marchproxy_xdp_syn_cookies_total", "event" => event)
            .absolute(statistics.words[word]);
    }
    counter!("marchproxy_xdp_syn_cookies_total", "event" => "refused")
        .absolute(statistics.count(Reason::CookieRefused));
    for (reason, word) in [("ring_full", stat::EVENTS_LOST), ("held_back", stat::EVENTS_HELD_BACK)]
    {
        counter!("marchproxy_xdp_flow_events_lost_total", "reason" => reason)
            .absolute(statistics.words[word]);
    }
    for RuleCounters { rule, dropped, displaced } in &statistics.filtered {
        counter!("marchproxy_xdp_filter_dropped_packets_total", "rule" => rule.clone())
            .absolute(*dropped);
        counter!("marchproxy_xdp_filter_displaced_sources_total", "rule" => rule.clone())
            .absolute(*displaced);
    }
    statistics.limiters.iter().for_each(publish_limiter);
    for listener in &statistics.listeners {
        let name = || listener.listener.clone();
        for (direction, packets, bytes) in [
            ("in", counter::PACKETS_IN, counter::BYTES_IN),
            ("out", counter::PACKETS_OUT, counter::BYTES_OUT),
        ] {
            counter!("marchproxy_xdp_listener_packets_total",
                "listener" => name(), "direction" => direction)
            .absolute(listener.words[packets]);
            counter!("marchproxy_xdp_listener_bytes_total",
                "listener" => name(), "direction" => direction)
            .absolute(listener.words[bytes]);
        }
        counter!("marchproxy_xdp_listener_connections_total", "listener" => name())
            .absolute(listener.words[counter::CONNECTIONS]);
    }
    let endpoints = statistics.endpoints;
    for (state, count) in [
        ("active", endpoints.active),
        ("draining", endpoints.draining),
        ("starting", endpoints.starting),
    ] {
        gauge!("marchproxy_xdp_endpoints", "state" => state).set(count as f64);
    }
    gauge!("marchproxy_xdp_generation").set(statistics.generation as f64);
    gauge!("marchproxy_xdp_revision").set(statistics.revision as f64);
    for (cpu, seen) in statistics.generations_seen.iter().enumerate() {
        gauge!("marchproxy_xdp_generation_seen", "cpu" => cpu.to_string()).set(*seen as f64);
    }
    for (interface, current) in &statistics.interfaces {
        for mode in ["native", "generic", "none"] {
            gauge!("marchproxy_xdp_mode", "interface" => interface.clone(), "mode" => mode)
                .set(if mode == *current { 1.0 } else { 0.0 });
        }
    }
}

fn publish_limiter(limiter: &LimiterCounters) {
    let direction = match limiter.way {
        Way::Ingress => "in",
        Way::Egress => "out",
    };
    let labels = |what: (&'static str, &'static str)| {
        [
            ("policy", limiter.policy.clone()),
            ("listener", limiter.listener.clone()),
            ("direction", direction.to_owned()),
            (what.0, what.1.to_owned()),
        ]
    };
    for (verdict, packets, bytes) in [
        ("passed", limited::PASSED_PACKETS, limited::PASSED_BYTES),
        ("over", limited::OVER_PACKETS, limited::OVER_BYTES),
    ] {
        counter!("marchproxy_xdp_qos_packets_total", &labels(("verdict", verdict)))
            .absolute(limiter.words[packets]);
        counter!("marchproxy_xdp_qos_bytes_total", &labels(("verdict", verdict)))
            .absolute(limiter.words[bytes]);
    }
    counter!("marchproxy_xdp_qos_packets_total", &labels(("verdict", "waiting")))
        .absolute(limiter.words[limited::WAITING_PACKETS]);
    for (mark, packets) in [("dscp", limited::DSCP_PACKETS), ("ce", limited::CE_PACKETS)] {
        counter!("marchproxy_xdp_qos_marked_packets_total", &labels(("mark", mark)))
            .absolute(limiter.words[packets]);
    }
}

fn describe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let packets = Unit::Count;
        describe_counter!(
            "marchproxy_xdp_passed_packets_total",
            packets,
            "Packets that XDP left to the kernel, by reason"
        );
        describe_counter!(
            "marchproxy_xdp_dropped_packets_total",
            packets,
            "Packets that XDP dropped, by reason"
        );
        describe_counter!(
            "marchproxy_xdp_forwarded_packets_total",
            packets,
            "Packets that XDP sent on, by way: out of the same interface or another; with those that \
             wait for it"
        );
        describe_counter!(
            "marchproxy_xdp_ports_reused_total",
            Unit::Count,
            "Connections that took the source port of one that had ended"
        );
        describe_counter!(
            "marchproxy_xdp_udp_flows_moved_total",
            Unit::Count,
            "UDP flows moved because their endpoint left the service"
        );
        describe_counter!(
            "marchproxy_xdp_icmp_errors_forwarded_total",
            packets,
            "ICMP errors forwarded to the endpoint or client of the flow that they are about"
        );
        describe_counter!(
            "marchproxy_xdp_too_big_told_total",
            packets,
            "Packets too big for the way of which XDP told the sender by ICMP"
        );
        describe_counter!(
            "marchproxy_xdp_syn_cookies_total",
            packets,
            "SYN cookies, by event: sent in answer to a SYN, accepted from a client whose connection begins \
             then, or refused"
        );
        describe_counter!(
            "marchproxy_xdp_listener_packets_total",
            packets,
            "Packets from (in) and to (out) clients of a listener"
        );
        describe_counter!(
            "marchproxy_xdp_listener_bytes_total",
            Unit::Bytes,
            "IP bytes from (in) and to (out) clients of a listener"
        );
        describe_counter!(
            "marchproxy_xdp_listener_connections_total",
            Unit::Count,
            "Connections and UDP flows begun at a listener"
        );
        describe_counter!(
            "marchproxy_xdp_filter_dropped_packets_total",
            packets,
            "Packets that a rule of a packet filter dropped"
        );
        describe_counter!(
            "marchproxy_xdp_filter_displaced_sources_total",
            Unit::Count,
            "Sources under a rule's rate that made way for others before they had saved up a whole burst"
        );
        describe_counter!(
            "marchproxy_xdp_flow_events_lost_total",
            Unit::Count,
            "Packets that were to be told of and were not, by reason: no room in the ring, or held back \
             since the CPU had told of as many as it may"
        );
        describe_counter!(
            "marchproxy_xdp_qos_packets_total",
            packets,
            "Packets of a listener under a QoS policy, by direction and verdict: passed, waiting, or over \
             the limit and dropped"
        );
        describe_counter!(
            "marchproxy_xdp_qos_bytes_total",
            Unit::Bytes,
            "IP bytes of a listener under a QoS policy, by direction and verdict"
        );
        describe_counter!(
            "marchproxy_xdp_qos_marked_packets_total",
            packets,
            "Packets that a QoS policy marked, by direction and mark: code point (dscp) or congestion (ce)"
        );
        describe_gauge!(
            "marchproxy_xdp_endpoints",
            Unit::Count,
            "Endpoints of XDP's listeners, by state: active, draining (weight 0), starting (slow start)"
        );
        describe_gauge!(
            "marchproxy_xdp_generation",
            Unit::Count,
            "Generation of the XDP maps in force"
        );
        describe_gauge!(
            "marchproxy_xdp_revision",
            Unit::Count,
            "Configuration revision that the XDP maps were made from"
        );
        describe_gauge!(
            "marchproxy_xdp_generation_seen",
            Unit::Count,
            "Generation that a CPU's last packet to a port of some listener saw; 0 before its first"
        );
        describe_gauge!(
            "marchproxy_xdp_mode",
            Unit::Count,
            "1 for the mode that an interface runs XDP in"
        );
    });
}
