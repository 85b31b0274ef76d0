//! A node in a namespace of its own whose program is run on single packets.
//!
//! Interface `v0` (02:00:00:00:00:01) has the node's addresses; clients and backends are
//! permanent neighbours there: 02:00:00:00:00:NN for the address that ends in NN.

use std::{
    mem::transmute,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use aya::{
    maps::{HashMap, Map, MapData},
    programs::{TestRun as _, TestRunOptions},
};
use dataplane::xdp::{Engine, PinFolder, Settings, detach};
use ebpf_common::{
    layout::{CONNECTIONS_MAP, Connection, Hop, Tuple},
    rewrite::translation,
    state::SEEN,
};

use crate::{
    namespaces::Namespace,
    objects::{Balanced, desired},
    packets::{ACK, Frame, TCP},
};

/// XDP verdicts (include/uapi/linux/bpf.h).
pub(crate) const DROP: u32 = 1;
pub(crate) const PASS: u32 = 2;
pub(crate) const TX: u32 = 3;
pub(crate) const REDIRECT: u32 = 4;

const LOOPBACK: u32 = 1;

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) pins: PinFolder,
    settings: Settings,
    ifindex: u32,
    _namespace: Namespace,
}

impl Bench {
    pub(crate) fn new(all: &[Balanced]) -> Self {
        let namespace = Namespace::new("p");
        namespace.enter();
        let setup = [
            "ip link add v0 address 02:00:00:00:00:01 type veth peer name v1",
            "ip link set v0 up",
            "ip link set v1 up",
            "ip addr add 10.0.0.1/24 dev v0",
            "ip addr add fd00::1/64 dev v0 nodad",
        ];
        for line in setup {
            crate::namespaces::run(line);
        }
        for n in [21, 22, 23, 24, 100] {
            for ip in [format!("10.0.0.{n}"), format!("fd00::{n}")] {
                crate::namespaces::run(&format!(
                    "ip neigh replace {ip} lladdr 02:00:00:00:00:{n:02x} dev v0 nud permanent"
                ));
            }
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("test-{}-{number}", std::process::id());
        let pins = PinFolder::new("/sys/fs/bpf", &instance).unwrap();
        let settings = Settings {
            interfaces: vec!["v0".to_owned()],
            pins: pins.clone(),
            addresses: dataplane::xdp::addresses::Fixed::default(),
        };
        let mut engine = Engine::open(settings.clone())
            .unwrap_or_else(|error| panic!("{error:?} (root? see `cargo xtask setup`)"));
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
        let spare = PinFolder::new("/sys/fs/bpf", "test-spare").unwrap();
        let other = Settings { pins: spare.clone(), ..self.settings.clone() };
        drop(std::mem::replace(&mut self.engine, Engine::open(other).unwrap()));
        self.engine = Engine::open(self.settings.clone()).unwrap();
        detach(&spare).unwrap();
    }

    /// Runs the program on a frame that came in by `v0`.
    pub(crate) fn run(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        self.run_on(frame, self.ifindex, 1).0
    }

    /// Runs the program on a frame that came in by the loopback interface.
    pub(crate) fn run_from_loopback(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        self.run_on(frame, LOOPBACK, 1).0
    }

    fn run_on(&mut self, frame: &[u8], ifindex: u32, repeat: u32) -> ((u32, Vec<u8>), Duration) {
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

    /// Waits until entries are due for their refresh, by the kernel's coarse clock.
    pub(crate) fn wait_for_refresh(&self) {
        let (start, deadline) = (coarse_s(), Instant::now() + Duration::from_secs(5));
        while coarse_s() <= start {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }

    /// Puts a connection into the table whose packets stay as they are, but for the hop limit: the
    /// kernel does not restore a frame between the repeats of a run, so a flow that is really
    /// translated would be measured once and then be another.
    fn insert_identity(&mut self, flow: &Frame) {
        let map = MapData::from_pin(self.pins.map(CONNECTIONS_MAP)).expect("the pinned map");
        let map = Map::from_map_data(map).expect("a known kind of map");
        let mut map: HashMap<_, [u8; 40], [u8; 76]> = map.try_into().expect("the layout");
        let tuple = Tuple {
            source: flow.source.ip().into(),
            destination: flow.destination.ip().into(),
            source_port_be: flow.source.port().to_be(),
            destination_port_be: flow.destination.port().to_be(),
            protocol: flow.protocol,
            padding: [0; 3],
        };
        let mut connection = translation(&tuple, &tuple);
        connection.hop = Hop { ifindex: self.ifindex, mtu: 1500, ..Hop::default() };
        connection.own = SEEN;
        connection.peer = SEEN;
        connection.refreshed_s = coarse_s() as u32;
        connection.generation = self.engine.generation() as u32;
        // SAFETY: both are integers without padding, of the sizes named.
        let (key, value) = unsafe {
            (transmute::<Tuple, [u8; 40]>(tuple), transmute::<Connection, [u8; 76]>(connection))
        };
        map.insert(key, value, 0).expect("room in the table");
    }

    /// Measures what packets cost, net of the loop's floor: the mean of 200 repeats, the median of
    /// many such runs.
    pub(crate) fn costs(&mut self, flows: &[Frame]) -> Vec<String> {
        const RUNS: usize = 2_001;
        const REPEAT: u32 = 200;
        let mut lines = Vec::new();
        let mut floor = 0;
        let passed = |port: u16| {
            let mut frame = Frame::new(TCP, "10.0.0.100:40000", "10.0.0.1:9999");
            frame.destination.set_port(port);
            frame.bytes()
        };
        for (name, frame) in [
            ("floor: not IP", vec![0; 64]),
            ("for no service, passed", passed(9_999)),
            ("to the SNAT range, of no connection, passed", passed(61_001)),
        ] {
            let cost = self.median(RUNS, |bench| bench.run_on(&frame, bench.ifindex, REPEAT).1);
            if floor == 0 {
                floor = cost;
                lines.push(format!("{name}: {cost} ns (subtracted below)"));
            } else {
                lines.push(format!("{name}: {} ns", cost - floor));
            }
        }
        for flow in flows {
            let tcp_flags = if flow.protocol == TCP { ACK } else { 0 };
            let flow = Frame { tcp_flags, hop_limit: 255, ..flow.clone() };
            let frame = flow.bytes();
            let cost = self.median(RUNS, |bench| {
                bench.insert_identity(&flow);
                let ((verdict, _), time) = bench.run_on(&frame, bench.ifindex, REPEAT);
                assert_eq!(verdict, TX);
                time
            });
            let name = if flow.protocol == TCP { "TCP" } else { "UDP" };
            lines.push(format!(
                "{name} established, one flow, {} -> {}: {} ns",
                flow.source,
                flow.destination,
                cost - floor
            ));
        }
        lines
    }

    fn median(&mut self, runs: usize, mut run: impl FnMut(&mut Self) -> Duration) -> u128 {
        let mut all: Vec<u128> = (0..runs).map(|_| run(self).as_nanos()).collect();
        all.sort_unstable();
        all[runs / 2]
    }
}

/// The kernel's coarse clock, which the program uses, in seconds.
fn coarse_s() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one time there.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    assert_eq!(failed, 0);
    time.tv_sec
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _gone = detach(&self.pins);
    }
}
