//! `cargo xtask bench propagation`: three nodes, real Envoy and XDP, one new service at a time.
//!
//! A trial applies one new host (L7) or port (L4) through a follower's API over a keep-alive HTTPS
//! connection, and counts from the moment the API's answer was read to the moment the first
//! request that sees the new configuration was answered, on each node. As root in network
//! namespaces; without root L7 on loopback only.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::api::Api;
use lab::latency::{Latencies, Percentiles};
use lab::serve::{Protocol, Server};
use lab::{Cluster, Instance, Loopback, Network, Place, Plan, Programs, documents};
use serde::Serialize;

use super::watch_http::HttpWatch;
use super::watch_udp::UdpWatch;
use crate::progress::{Step, step};
use crate::workspace::target;
use crate::{build, setup};

const WEB_PORT: u16 = 8080;
const BACKEND_PORT: u16 = 9000;
/// First port of the L4 services that are there from the start; those of the trials follow.
const L4_PORT: u16 = 10_000;
/// Pace of the polls on each connection, and of the datagrams.
const POLL: Duration = Duration::from_millis(1);
/// Objects in one apply while the base is loaded.
const LOAD_BATCH: usize = 500;
const LOAD_MAX: Duration = Duration::from_secs(300);
const SEEN_MAX: Duration = Duration::from_secs(10);

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many services there are already; one measurement for each number
    #[arg(long, value_delimiter = ',', default_value = "10,1000,10000")]
    services: Vec<usize>,
    /// New services applied one after the other in each measurement
    #[arg(long, default_value_t = 100)]
    trials: usize,
    /// Keep-alive connections polling each node
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// L7, L4 or both
    #[arg(long, value_delimiter = ',', default_value = "l7,l4")]
    layers: Vec<Layer>,
    /// Measures the dev build (for working on this command)
    #[arg(long)]
    dev: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Layer {
    /// HTTP hosts through Envoy
    L7,
    /// UDP ports through XDP
    L4,
}

/// One row of the table.
#[derive(Debug, Serialize)]
struct Row {
    layer: Layer,
    services: usize,
    trials: usize,
    /// API's answer to first request that sees it; one sample a trial and node.
    propagation: Percentiles,
    /// The same, the last of the three nodes in each trial.
    all_nodes: Percentiles,
    /// From sending the apply to the API's answer.
    apply: Percentiles,
    /// Real distance of two polls of one connection.
    poll: Percentiles,
    /// HTTP answers by status.
    statuses: BTreeMap<u16, u64>,
    /// Answers other than 200 and 404, and requests without an answer.
    other: u64,
    /// Which engine carried it, as the nodes report.
    engines: Vec<String>,
    /// The bar for p99, in milliseconds.
    bar_ms: Option<f64>,
    held: bool,
}

/// Runs the command.
///
/// # Errors
/// When the measurement cannot be made.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(
        arguments.trials > 0 && arguments.connections > 0,
        "--trials and --connections start at 1"
    );
    setup::install(&setup::Arguments::without_tests());
    let profile = if arguments.dev { build::Profile::Dev } else { build::Profile::Release };
    let programs =
        Programs { marchproxy: build::marchproxy(profile)?, envoy: setup::envoy_binary() };
    let root = nix::unistd::geteuid().is_root();
    let mut rows = Vec::new();
    for layer in &arguments.layers {
        if *layer == Layer::L4 && !root {
            eprintln!("left out: L4 (XDP in network namespaces needs root)");
            continue;
        }
        for services in &arguments.services {
            rows.push(measure(arguments, &programs, *layer, *services, root)?);
        }
    }
    print(&rows, root);
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join("propagation.json");
    let report = serde_json::json!({
        "profile": format!("{profile:?}").to_lowercase(),
        "place": if root { "network namespaces" } else { "loopback" },
        "poll_interval_ms": POLL.as_secs_f64() * 1e3,
        "rows": rows,
    });
    fs::write(&path, serde_json::to_vec_pretty(&report)?)?;
    println!("\nwritten to {}", path.display());
    Ok(if rows.iter().all(|row| row.held) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where a measurement runs.
struct Site {
    cluster: Cluster,
    client: Place,
    backend: SocketAddr,
    _server: Server,
    _instance: Instance,
}

fn measure(
    arguments: &Arguments,
    programs: &Programs,
    layer: Layer,
    services: usize,
    root: bool,
) -> Result<Row> {
    let name = format!("{layer:?}, {services} services");
    let site = step(format!("{name}: forming a cluster"), |_| build_site(programs, layer, root))?;
    let follower = (site.cluster.leader()? + 1) % site.cluster.members.len();
    let mut api = site.cluster.api(follower)?;
    step(format!("{name}: loading"), |step| load(&site, &mut api, layer, services, step))?;
    let step = Step::begin(format!("{name}: {} trials", arguments.trials));
    let row = match layer {
        Layer::L7 => l7(arguments, &site, &mut api, services, &step),
        Layer::L4 => l4(arguments, &site, &mut api, services, &step),
    }?;
    step.done(format!(
        "p50 {:.1} ms, p99 {:.1} ms",
        row.propagation.p50_ms, row.propagation.p99_ms
    ));
    Ok(row)
}

fn build_site(programs: &Programs, layer: Layer, root: bool) -> Result<Site> {
    let instance = Instance::new()?;
    let protocol = if layer == Layer::L7 { Protocol::Http } else { Protocol::Udp };
    let (mut cluster, client, place, backend) = if root {
        let network = Network::build(&instance, Plan::two_clouds())?;
        let cluster = Cluster::in_network(&instance, programs, &network)?;
        let backend = SocketAddr::new(network.plan().find("backend-a1")?.v4.into(), BACKEND_PORT);
        (cluster, network.place("client")?, network.place("backend-a1")?, backend)
    } else {
        let net = Loopback::own();
        let cluster = Cluster::on_loopback(&instance, programs, net, 3);
        (cluster, Place::Here, Place::Here, net.at(100, BACKEND_PORT))
    };
    let server = Server::start(&place, "backend", protocol, backend)?;
    cluster.form()?;
    cluster.settle()?;
    Ok(Site { cluster, client, backend, _server: server, _instance: instance })
}

/// The documents of service number `index`.
fn one(layer: Layer, index: usize, backend: SocketAddr) -> Result<String> {
    let name = format!("s{index}");
    let service = documents::service(&name, &[backend]);
    Ok(match layer {
        Layer::L7 => service + &documents::http_route(&name, "web", &host(index), &name),
        Layer::L4 => {
            documents::listener(&name, "UDP", l4_port(index)?)
                + &documents::l4_route("UDP", &name, &name, &name)
                + &service
        }
    })
}

fn host(index: usize) -> String {
    format!("h{index}.bench.example")
}

fn l4_port(index: usize) -> Result<u16> {
    let port = usize::from(L4_PORT) + index;
    u16::try_from(port).with_context(|| format!("no port left for L4 service {index}"))
}

fn load(site: &Site, api: &mut Api, layer: Layer, services: usize, step: &Step) -> Result<()> {
    let since = Instant::now();
    let mut revision = 0;
    if layer == Layer::L7 {
        revision = api.apply(&documents::http_listener("web", WEB_PORT))?.0;
    }
    let per_service = if layer == Layer::L7 { 2 } else { 3 };
    let batch = LOAD_BATCH / per_service;
    for start in (0..services).step_by(batch) {
        let mut text = String::new();
        for index in start..services.min(start + batch) {
            text += &one(layer, index, site.backend)?;
        }
        revision = api.apply(&text)?.0;
        step.note(format!("{} of {services}", services.min(start + batch)));
    }
    site.cluster.wait_applied(revision, since, LOAD_MAX).map(drop)
}

fn l7(
    arguments: &Arguments,
    site: &Site,
    api: &mut Api,
    services: usize,
    step: &Step,
) -> Result<Row> {
    let targets: Vec<SocketAddr> =
        site.cluster.members.iter().map(|member| member.listener(WEB_PORT)).collect();
    let watch = HttpWatch::start(&site.client, &targets, arguments.connections, POLL)?;
    let mut samples = Samples::default();
    for trial in 0..arguments.trials {
        let index = services + trial;
        watch.expect(&host(index))?;
        let documents = one(Layer::L7, index, site.backend)?;
        let start = Instant::now();
        let (_, answered) = api.apply(&documents)?;
        samples.add(start, answered, &watch.seen(SEEN_MAX)?);
        step.note(trial + 1);
    }
    let (statuses, failures, poll) = watch.counts();
    let good: u64 = [200, 404].iter().filter_map(|status| statuses.get(status)).sum();
    let other = statuses.values().sum::<u64>() - good + failures;
    samples.row(Layer::L7, services, arguments.trials, site, |row| {
        row.statuses = statuses;
        row.other = other;
        row.poll = poll;
    })
}

fn l4(
    arguments: &Arguments,
    site: &Site,
    api: &mut Api,
    services: usize,
    step: &Step,
) -> Result<Row> {
    let targets: Vec<IpAddr> =
        site.cluster.members.iter().map(|member| member.settings().address).collect();
    let watch = UdpWatch::start(&site.client, &targets, POLL)?;
    let mut samples = Samples::default();
    for trial in 0..arguments.trials {
        let index = services + trial;
        watch.expect(l4_port(index)?);
        let documents = one(Layer::L4, index, site.backend)?;
        let start = Instant::now();
        let (_, answered) = api.apply(&documents)?;
        samples.add(start, answered, &watch.seen(SEEN_MAX)?);
        step.note(trial + 1);
    }
    samples.row(Layer::L4, services, arguments.trials, site, |row| {
        let milliseconds = POLL.as_secs_f64() * 1e3;
        row.poll = Percentiles { p50_ms: milliseconds, ..Percentiles::default() };
    })
}

#[derive(Debug, Default)]
struct Samples {
    nodes: Latencies,
    last: Latencies,
    apply: Latencies,
}

impl Samples {
    fn add(&mut self, start: Instant, answered: Instant, seen: &[Instant]) {
        self.apply.add(answered - start);
        let mut last = Duration::ZERO;
        for seen in seen {
            // A node may serve it before the answer has come back: that is zero, not negative.
            let propagation = seen.saturating_duration_since(answered);
            self.nodes.add(propagation);
            last = last.max(propagation);
        }
        self.last.add(last);
    }

    fn row(
        self,
        layer: Layer,
        services: usize,
        trials: usize,
        site: &Site,
        fill: impl FnOnce(&mut Row),
    ) -> Result<Row> {
        let status = site.cluster.status(0)?;
        let engines = status
            .engines()
            .map(|(node, engine, report)| {
                format!("node {node}: {engine} {} {}", report["state"], report["notes"])
            })
            .collect();
        let mut row = Row {
            layer,
            services,
            trials,
            propagation: self.nodes.percentiles(),
            all_nodes: self.last.percentiles(),
            apply: self.apply.percentiles(),
            poll: Percentiles::default(),
            statuses: BTreeMap::new(),
            other: 0,
            engines,
            bar_ms: bar(services),
            held: false,
        };
        fill(&mut row);
        row.held = row.other == 0 && row.bar_ms.is_none_or(|bar| row.propagation.p99_ms < bar);
        Ok(row)
    }
}

/// p99 under 50 ms up to 1,000 services and under 100 ms up to 10,000.
fn bar(services: usize) -> Option<f64> {
    match services {
        0..=1_000 => Some(50.0),
        1_001..=10_000 => Some(100.0),
        _ => None,
    }
}

fn print(rows: &[Row], root: bool) {
    println!(
        "\nAPI's answer -> first request that sees the change, {}; polled every {} ms\n",
        if root { "in network namespaces" } else { "on loopback" },
        POLL.as_millis()
    );
    println!(
        "layer  services  trials  p50 ms  p99 ms  max ms  all-nodes p99  apply p50  poll p50  not 200/404  bar"
    );
    for row in rows {
        let bar = row.bar_ms.map_or(String::new(), |bar| format!("< {bar:.0}"));
        println!(
            "{:<5} {:>9} {:>7} {:>7.2} {:>7.2} {:>7.2} {:>14.2} {:>10.2} {:>9.2} {:>12}  {bar} {}",
            format!("{:?}", row.layer),
            row.services,
            row.trials,
            row.propagation.p50_ms,
            row.propagation.p99_ms,
            row.propagation.max_ms,
            row.all_nodes.p99_ms,
            row.apply.p50_ms,
            row.poll.p50_ms,
            row.other,
            if row.held { "held" } else { "MISSED" }
        );
    }
}
