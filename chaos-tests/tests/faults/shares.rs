//! A limit that the nodes share: it follows the traffic from node to node, and is one limit.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chaos_tests::{LIMIT, in_namespaces};
use lab::{Cluster, Instance, Network, Place, Plan, Programs, documents};

const BACKEND: &str = "backend-a1";
const BACKEND_PORT: u16 = 9002;
const PORT: u16 = 7100;
/// The limit, in bytes a second.
const RATE: f64 = 1_000_000.0;
/// UDP payload; with its headers an IP packet has 1,000 bytes.
const PAYLOAD: usize = 972;
const PACKET: u64 = 1_000;
/// Packets a second to each node: twice what the limit lets through.
const EACH: u32 = 2_000;
/// How long arrivals are counted.
const WINDOW: Duration = Duration::from_secs(4);
/// Of the limit: bursts, packets in a window's ends, and a machine that other tests have too.
const ABOUT: std::ops::RangeInclusive<f64> = 0.85..=1.15;

struct Stage {
    cluster: Cluster,
    client: Place,
    network: Network,
    came: Arc<AtomicU64>,
    _sink: JoinHandle<()>,
}

#[test]
fn root_a_limit_of_the_cluster_follows_the_traffic_and_survives_the_leader() {
    in_namespaces(play);
}

fn play(instance: &Instance) -> Result<()> {
    let mut stage = build(instance)?;
    stage.cluster.form()?;
    stage.cluster.settle()?;
    stage.cluster.apply(1, &configuration(&stage)?)?;

    let first = stage.send(&[0])?;
    stage.wait_for_about("the one node in use has nearly all of it")?;
    drop(first);
    let second = stage.send(&[1])?;
    stage.wait_for_about("the share has moved with the traffic")?;
    drop(second);
    let all = stage.send(&[0, 1, 2])?;
    stage.wait_for_about("three nodes share it")?;

    let leader = stage.cluster.leader()?;
    stage.cluster.members[leader].kill_control();
    let without = stage.rate();
    ensure!(without <= *ABOUT.end(), "{without:.2} of the limit while nobody leads");
    stage.wait_for_about("another leader lends, and what the one before lent has ended")?;
    stage.cluster.members[leader].restart()?;
    let after = stage.rate();
    ensure!(after <= *ABOUT.end(), "{after:.2} of the limit as a node comes back");
    stage.wait_for_about("all are back")?;
    drop(all);
    Ok(())
}

fn build(instance: &Instance) -> Result<Stage> {
    let network = Network::build(instance, Plan::two_clouds())?;
    let came = Arc::new(AtomicU64::new(0));
    let backend = SocketAddr::new(network.plan().find(BACKEND)?.addresses()[0], BACKEND_PORT);
    let counted = Arc::clone(&came);
    let sink = network.place(BACKEND)?.spawn("sink", move || {
        let socket = UdpSocket::bind(backend).expect("the port");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let mut buffer = [0; 2_048];
        // Until the test alone has the count.
        while Arc::strong_count(&counted) > 1 {
            if socket.recv(&mut buffer).is_ok_and(|length| length == PAYLOAD) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    })?;
    let cluster = Cluster::in_network(instance, &Programs::find()?, &network)?;
    let client = network.place("client")?;
    Ok(Stage { cluster, client, network, came, _sink: sink })
}

fn configuration(stage: &Stage) -> Result<String> {
    let backend = SocketAddr::new(stage.network.plan().find(BACKEND)?.addresses()[0], BACKEND_PORT);
    Ok(documents::listener("udp", "UDP", PORT)
        + &documents::l4_route("UDP", "udp", "udp", "udp")
        + &documents::service("udp", &[backend])
        + "---\nkind: QoSPolicy\nmetadata: { name: gold }\nspec:\n  listeners: [{ name: udp }]\n  \
           ingress: { bandwidthMbps: 8, burstKB: 40 }\n  excess: Drop\n  scope: Cluster\n")
}

/// Sends until it is dropped.
struct Sending {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Stage {
    /// Sends to some nodes, by their indices.
    fn send(&self, nodes: &[usize]) -> Result<Sending> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut sending = Sending { stop: Arc::clone(&stop), threads: Vec::new() };
        for node in nodes {
            let name = format!("node-{}", node + 1);
            let target = SocketAddr::new(self.network.plan().find(&name)?.addresses()[0], PORT);
            let stop = Arc::clone(&stop);
            let thread = self.client.spawn("sender", move || {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
                let (start, mut sent) = (Instant::now(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let due = (start.elapsed().as_secs_f64() * f64::from(EACH)) as u64;
                    // What a busy machine has missed is not made up for.
                    sent = sent.max(due.saturating_sub(200));
                    for _ in sent..due {
                        // A node that is being restarted may refuse.
                        let _ = socket.send_to(&[7; PAYLOAD], target);
                    }
                    sent = due;
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            })?;
            sending.threads.push(thread);
        }
        Ok(sending)
    }

    /// Counts what comes for a while; returns its share of the limit.
    fn rate(&self) -> f64 {
        let (before, start) = (self.came.load(Ordering::Relaxed), Instant::now());
        std::thread::park_timeout(WINDOW);
        let packets = self.came.load(Ordering::Relaxed) - before;
        (packets * PACKET) as f64 / start.elapsed().as_secs_f64() / RATE
    }

    /// Waits until what comes is about the limit; it must never be much more.
    fn wait_for_about(&self, what: &str) -> Result<()> {
        let until = Instant::now() + LIMIT;
        loop {
            let rate = self.rate();
            ensure!(rate <= *ABOUT.end(), "{what}: {rate:.2} of the limit");
            if ABOUT.contains(&rate) {
                return Ok(());
            }
            (Instant::now() < until).then_some(()).with_context(|| format!("{what}: {rate:.2}"))?;
        }
    }
}
