//! A node in a namespace of its own whose program is run on single packets.
//!
//! Interface `v0` (02:00:00:00:00:01) has the node's addresses; clients and backends are
//! permanent neighbours there: 02:00:00:00:00:NN for the address that ends in NN.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use aya::programs::{TestRun as _, TestRunOptions};
use dataplane::xdp::{Engine, PinFolder, Settings, detach};
use ebpf_common::layout::{CONFIG_RECORDS, FLOWS};

use crate::support::{
    namespaces::Namespace,
    objects::{Balanced, desired},
};

/// XDP verdicts (include/uapi/linux/bpf.h).
pub(crate) const DROP: u32 = 1;
pub(crate) const PASS: u32 = 2;
pub(crate) const TX: u32 = 3;
pub(crate) const REDIRECT: u32 = 4;

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) pins: PinFolder,
    settings: Settings,
    pub(crate) ifindex: u32,
    _namespace: Namespace,
}

impl Bench {
    pub(crate) fn new(all: &[Balanced]) -> Self {
        Self::with_tables(all, FLOWS, CONFIG_RECORDS as u32)
    }

    /// A node that tells of one of so many packets.
    pub(crate) fn telling_of(sampling: u32, all: &[Balanced]) -> Self {
        Self::with(all, |settings| settings.sampling = sampling)
    }

    /// A node with tables for that many flows and records.
    pub(crate) fn with_tables(all: &[Balanced], flows: u32, records: u32) -> Self {
        Self::with(all, |settings| {
            settings.flows = flows;
            settings.records = records;
        })
    }

    /// A node whose settings are changed before it begins.
    pub(crate) fn with(all: &[Balanced], change: impl FnOnce(&mut Settings)) -> Self {
        let namespace = Namespace::new("p");
        namespace.enter();
        let setup = [
            "ip link add v0 address 02:00:00:00:00:01 type veth peer name v1",
            // The far end sends nothing by itself, which would be counted.
            "sysctl -qw net.ipv6.conf.v1.disable_ipv6=1",
            "ip link set v0 up",
            "ip link set v1 up",
            "ip addr add 10.0.0.1/24 dev v0",
            "ip addr add fd00::1/64 dev v0 nodad",
        ];
        for line in setup {
            crate::support::namespaces::run(line);
        }
        for n in [21, 22, 23, 24, 100] {
            for ip in [format!("10.0.0.{n}"), format!("fd00::{n}")] {
                crate::support::namespaces::run(&format!(
                    "ip neigh replace {ip} lladdr 02:00:00:00:00:{n:02x} dev v0 nud permanent"
                ));
            }
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("test-{}-{number}", std::process::id());
        let pins = PinFolder::new("/sys/fs/bpf", &instance).unwrap();
        let mut settings = Settings::new(vec!["v0".to_owned()], pins.clone());
        change(&mut settings);
        let mut engine = Engine::open(settings.clone()).unwrap_or_else(|error| {
            let _gone = detach(&pins);
            panic!("{error:?} (root? see `cargo xtask setup`)")
        });
        engine.reconcile(&desired(1, all)).unwrap();
        let attached: Vec<_> = engine.attachments().values().cloned().collect();
        assert_eq!(attached, [Ok(dataplane::xdp::program::Mode::Native)]);
        let ifindex = nix::net::if_::if_nametoindex("v0").unwrap();
        Self { engine, pins, settings, ifindex, _namespace: namespace }
    }

    pub(crate) fn apply(&mut self, revision: u64, all: &[Balanced]) {
        self.engine.reconcile(&desired(revision, all)).unwrap();
    }

    /// Ends the engine as a process's end would, and starts another.
    pub(crate) fn restart(&mut self) {
        let spare =
            PinFolder::new("/sys/fs/bpf", &format!("test-spare-{}", std::process::id())).unwrap();
        let other = Settings { pins: spare.clone(), ..self.settings.clone() };
        drop(std::mem::replace(&mut self.engine, Engine::open(other).unwrap()));
        self.engine = Engine::open(self.settings.clone()).unwrap();
        detach(&spare).unwrap();
    }

    /// Starts another engine beside this one, which it takes the place of with its programs.
    pub(crate) fn replace(&mut self) {
        self.engine = Engine::open(self.settings.clone()).unwrap();
    }

    /// Runs the program on a frame that came in by `v0`.
    pub(crate) fn run(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        self.run_on(frame, self.ifindex, 1).0
    }

    pub(crate) fn run_on(
        &mut self,
        frame: &[u8],
        ifindex: u32,
        repeat: u32,
    ) -> ((u32, Vec<u8>), Duration) {
        let mut out = vec![0; frame.len() + 256];
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress.
        let context: Vec<u8> = [0, frame.len() as u32, 0, ifindex, 0, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let result = self
            .engine
            .program()
            .xdp()
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ctx_in: Some(&context),
                repeat,
                ..TestRunOptions::default()
            })
            .unwrap_or_else(|error| panic!("a frame of {} bytes: {error:?}", frame.len()));
        out.truncate(result.data_size_out as usize);
        ((result.return_value, out), result.duration)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _gone = detach(&self.pins);
    }
}
