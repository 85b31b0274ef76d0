//! What QoS policies keep: each service's bandwidth, and the round trips of P0 beside a P3 that
//! sends more than it may. `cargo xtask bench qos` runs it. Needs root.
//!
//! ```text
//! client ── nc [node: XDP, workers on nc and n0] n0 ── endpoint
//! ```
//! All of it is UDP through full NAT, on veth. Senders and receivers have a real-time priority as workers
//! have by default, so that what is measured is the node's doing and not what else the host does.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot be made ends by panicking")]

#[path = "../../tests/root_xdp/support"]
mod support {
    pub(crate) mod namespaces;
    pub(crate) mod objects;
    pub(crate) mod row;
}

mod network;
mod traffic;

use std::{process::ExitCode, time::Duration};

use ebpf_common::qos::{Way, counter};
use network::{Network, PRIORITY_PORT, SINK_PORT};
use serde_json::{Value, json};
use traffic::{Came, RoundTrips, Sending};

/// How long bandwidth is measured, and round trips.
const SPAN: Duration = Duration::from_secs(10);
/// Bytes of a datagram's IP packet.
const PACKET: u64 = 1_400;
/// The rates of which as many are measured as the link carries.
const RATES_MBPS: [u32; 7] = [1, 10, 100, 250, 500, 1_000, 2_500];
/// Names the rates to measure in place of these, with commas between.
const RATES: &str = "MARCHPROXY_BENCH_MBPS";
/// How much more than its rate a service is sent.
const DEMAND: f64 = 1.2;
/// The rate of P3 beside which P0 is timed.
const BESIDE_MBPS: u32 = 100;
/// Part of a bandwidth that it may be off by, and how much longer P0's round trips may take.
const BANDWIDTH_BAR: f64 = 0.02;
const ROUND_TRIP_BAR: f64 = 2.0;

fn main() -> ExitCode {
    // Cargo runs the targets of benches as tests too.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let mut network = Network::new();
    let link = ceiling(&mut network);
    println!("the link carries {link:.0} Mbit/s of such packets, unlimited");
    let mut held = true;
    let mut rates = Vec::new();
    let named = std::env::var(RATES).ok();
    let chosen: Vec<u32> = named.map_or_else(
        || RATES_MBPS.into_iter().filter(|mbps| f64::from(*mbps) * DEMAND < link).collect(),
        |named| named.split(',').map(|mbps| mbps.parse().unwrap()).collect(),
    );
    for mbps in chosen {
        rates.push(bandwidth(&mut network, mbps, &mut held));
    }
    let classes = beside(&mut network, &mut held);
    if let Some(path) = std::env::var_os("MARCHPROXY_BENCH_JSON") {
        let found =
            json!({ "link_mbps": link, "bandwidth": rates, "classes": classes, "held": held });
        std::fs::write(path, serde_json::to_vec_pretty(&found).unwrap()).unwrap();
    }
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Sends as fast as may be; returns the Mbit/s that come.
fn ceiling(network: &mut Network) -> f64 {
    network.apply("");
    let sink = traffic::sink(&network.row.endpoint, Duration::from_secs(2), 0);
    let sending = Sending::start(&network.row.client, SINK_PORT, PACKET, f64::INFINITY);
    let came = sink.join().unwrap();
    sending.stop();
    mbps(&came)
}

fn mbps(came: &Came) -> f64 {
    came.packets as f64 * PACKET as f64 * 8.0 / came.span.as_secs_f64() / 1e6
}

/// Measures the bandwidth of a service that is sent more than it may have.
fn bandwidth(network: &mut Network, limit: u32, held: &mut bool) -> Value {
    network.apply(&network::policy(
        "sink",
        &format!("ingress: {{ bandwidthMbps: {limit} }}, latencyLimit: 100ms"),
    ));
    // Behind the burst, 20 ms of the bandwidth and at least 16 KB, and what is before it in the
    // sender's first second.
    let behind = (u64::from(limit) * 125_000 / 50).max(16_000) / PACKET * 8;
    let sink = traffic::sink(&network.row.endpoint, SPAN, behind);
    let demand = f64::from(limit) * 1e6 / 8.0 * DEMAND;
    let sending = Sending::start(&network.row.client, SINK_PORT, PACKET, demand);
    let came = sink.join().unwrap();
    let sent = sending.stop();
    let found = mbps(&came);
    let off = found / f64::from(limit) - 1.0;
    let good = off.abs() <= BANDWIDTH_BAR && came.overtaken == 0;
    *held &= good;
    println!(
        "{limit:>5} Mbit/s: {found:.3} came ({:+.2} %), {} overtaken, {sent} sent: {}",
        off * 100.0,
        came.overtaken,
        if good { "held" } else { "missed" }
    );
    json!({ "limit_mbps": limit, "came_mbps": found, "off": off, "overtaken": came.overtaken,
        "held": good })
}

/// Times P0's round trips alone and beside P3.
fn beside(network: &mut Network, held: &mut bool) -> Value {
    let policies = [
        network::policy("echo", "ingress: { bandwidthMbps: 100 }, class: P0"),
        network::policy(
            "sink",
            &format!("ingress: {{ bandwidthMbps: {BESIDE_MBPS} }}, class: P3, ecn: Mark"),
        ),
    ];
    network.apply(&policies.join("---\n"));
    let echo = traffic::echo(&network.row.endpoint);
    let idle = traffic::round_trips(&network.row.client, PRIORITY_PORT, SPAN);
    let sink = traffic::sink(&network.row.endpoint, SPAN + Duration::from_secs(1), 0);
    let demand = f64::from(BESIDE_MBPS) * 1e6 / 8.0 * DEMAND;
    let sending = Sending::start(&network.row.client, SINK_PORT, PACKET, demand);
    traffic::pause(Duration::from_secs(1));
    let busy = traffic::round_trips(&network.row.client, PRIORITY_PORT, SPAN);
    let came = sink.join().unwrap();
    let sent = sending.stop();
    echo.stop();
    // The workers tell five times a second.
    traffic::pause(Duration::from_millis(500));
    let view = network.engine.waiting();
    let lanes: Vec<Value> = view
        .lanes
        .iter()
        .map(|lane| {
            let dropped: u64 = lane.tally.dropped.iter().sum();
            json!({ "policy": lane.policy, "sent": lane.tally.sent, "marked": lane.tally.marked,
                "dropped": dropped })
        })
        .collect();
    let classes: Vec<Value> = view
        .classes
        .iter()
        .map(|class| {
            println!(
                "      {:?} waited {:?} / {:?} / {:?} (p50 / p99 / p99.9) of {:?}",
                class.class, class.waited[0], class.waited[1], class.waited[2], class.limit
            );
            json!({ "class": class.class, "limit_s": class.limit.as_secs_f64(),
                "waited_s": class.waited.map(|time| time.as_secs_f64()) })
        })
        .collect();
    let over = network.ingress("echo")[counter::OVER_PACKETS];
    let ratio = busy.quantile(990).as_secs_f64() / idle.quantile(990).as_secs_f64();
    let marks_first =
        came.first_mark.is_some_and(|mark| came.first_loss.is_none_or(|loss| mark < loss));
    let no_loss = busy.lost == 0 && over == 0;
    let good = ratio <= ROUND_TRIP_BAR && no_loss && marks_first;
    *held &= good;
    println!("P0 alone:      {idle}");
    println!("P0 beside P3:  {busy}; p99 is {ratio:.2} times that of before");
    println!(
        "P3: {sent} sent, {} came, {} marked, first mark at {:?}, first loss at {:?}: {}",
        came.packets,
        came.marked,
        came.first_mark,
        came.first_loss,
        if good { "held" } else { "missed" }
    );
    json!({ "p0_alone": times(&idle), "p0_beside_p3": times(&busy), "p99_ratio": ratio,
        "p3_sent": sent, "p3_came": came.packets, "p3_marked": came.marked,
        "first_mark": came.first_mark, "first_loss": came.first_loss, "p0_over_limit": over,
        "lanes": lanes, "classes": classes, "direction": format!("{:?}", Way::Ingress),
        "held": good })
}

fn times(trips: &RoundTrips) -> Value {
    let micros = |thousandths| trips.quantile(thousandths).as_secs_f64() * 1e6;
    json!({ "count": trips.times.len(), "lost": trips.lost, "p50_us": micros(500),
        "p99_us": micros(990), "p999_us": micros(999) })
}
