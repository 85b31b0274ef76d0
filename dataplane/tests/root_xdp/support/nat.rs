//! What the tests of full NAT need beside the bench: its clock, its connection table, and costs.

use std::{
    mem::transmute,
    time::{Duration, Instant},
};

use aya::maps::{HashMap, Map, MapData};
use ebpf_common::{
    layout::{CONNECTIONS_MAP, Connection, Hop, Tuple},
    rewrite::translation,
    state::SEEN,
};

use crate::support::{
    bench::{Bench, TX},
    packets::{ACK, Frame, TCP},
};

const LOOPBACK: u32 = 1;

impl Bench {
    /// Runs the program on a frame that came in by the loopback interface.
    pub(crate) fn run_from_loopback(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        self.run_on(frame, LOOPBACK, 1).0
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
