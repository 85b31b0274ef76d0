//! Three namespaces in a row, and the engine in the middle one.

use std::time::{Duration, Instant};

use dataplane::xdp::{Engine, PinFolder, Settings, detach};
use ebpf_common::qos::{CREDIT_COUNTERS, Way};
use model::listener::{Forwarding, Protocol};

use crate::{
    support::{
        objects::{Balanced, addresses, desired_with},
        row::Row,
    },
    traffic,
};

/// Ports of the services: one whose datagrams are counted, and one that sends them back.
pub(crate) const SINK_PORT: u16 = 80;
pub(crate) const PRIORITY_PORT: u16 = 81;

/// Names the priority of workers: `usual` in place of `realtime`.
const WORKER_PRIORITY: &str = "MARCHPROXY_BENCH_WORKER_PRIORITY";

pub(crate) struct Network {
    pub(crate) row: Row,
    pub(crate) engine: Engine,
    pins: PinFolder,
    revision: u64,
}

impl Network {
    pub(crate) fn new() -> Self {
        let row = Row::new();
        let pins = PinFolder::new("/sys/fs/bpf", &format!("bench-qos-{}", std::process::id()));
        let pins = pins.expect("a folder's name");
        let mut settings = Settings::new(vec!["nc".to_owned(), "n0".to_owned()], pins.clone());
        if let Ok(name) = std::env::var(WORKER_PRIORITY) {
            settings.worker_priority = name.parse().unwrap();
        }
        row.node.enter();
        let engine = Engine::open(settings).expect("the kernel takes the program");
        let mut network = Self { row, engine, pins, revision: 0 };
        network.apply("");
        network.engine.resolve_neighbours();
        network.warm_up();
        network
    }

    /// Puts policies in force.
    pub(crate) fn apply(&mut self, policies: &str) {
        self.revision += 1;
        let service = |name, port, endpoint| Balanced {
            name,
            protocol: Protocol::Udp,
            address: None,
            port,
            forwarding: Forwarding::Nat,
            endpoints: addresses(&[endpoint]),
        };
        let services = [
            service("sink", SINK_PORT, "10.2.0.2:8000"),
            service("echo", PRIORITY_PORT, "10.2.0.2:8001"),
        ];
        self.row.node.enter();
        self.engine.reconcile(&desired_with(self.revision, &services, policies)).unwrap();
        assert_eq!(self.engine.problems(), Vec::<String>::new());
    }

    /// Returns the counters of packets to a service's endpoint.
    pub(crate) fn ingress(&mut self, service: &str) -> [u64; CREDIT_COUNTERS] {
        let limiters = self.engine.statistics().unwrap().limiters;
        let own = |one: &&_| {
            let one: &dataplane::xdp::statistics::LimiterCounters = one;
            one.way == Way::Ingress && one.listener.ends_with(service)
        };
        limiters.iter().find(own).map_or([0; CREDIT_COUNTERS], |one| one.words)
    }

    /// Waits until both ways are known.
    fn warm_up(&self) {
        let echo = traffic::echo(&self.row.endpoint);
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let trips =
                traffic::round_trips(&self.row.client, PRIORITY_PORT, Duration::from_millis(50));
            if trips.lost == 0 && !trips.times.is_empty() {
                break;
            }
            assert!(Instant::now() < until, "no datagram comes back");
            traffic::pause(Duration::from_millis(50));
        }
        echo.stop();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _gone = detach(&self.pins);
    }
}

/// A policy for a service.
pub(crate) fn policy(service: &str, fields: &str) -> String {
    format!(
        "kind: QoSPolicy\nmetadata: {{ name: {service} }}\n\
         spec: {{ listeners: [{{ name: {service} }}], {fields} }}\n"
    )
}
