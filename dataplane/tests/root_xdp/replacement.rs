//! Configurations are swapped and programs replaced while established flows of every way of
//! forwarding and both families go on: each packet of a flow becomes the same, byte for byte, and
//! every packet that goes in comes out. Needs root.

mod flows;
mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};

use self::{
    flows::Flows,
    wire::{Far, Wire},
};
use crate::support::{bench::Bench, environment, objects::desired_with};

/// Flows, swaps and replacements in the suite; those of the whole proof are a hundred thousand, a
/// thousand and fifty.
const FLOWS: u64 = 20_000;
const SWAPS: u64 = 60;
const REPLACEMENTS: u64 = 3;
const FLOWS_VARIABLE: &str = "MARCHPROXY_REPLACEMENT_FLOWS";
const SWAPS_VARIABLE: &str = "MARCHPROXY_REPLACEMENT_SWAPS";
const REPLACEMENTS_VARIABLE: &str = "MARCHPROXY_REPLACEMENT_PROGRAMS";
/// The least that packets go on between two changes.
const PAUSE: u64 = 2_000;

#[test]
fn root_no_flow_moves_and_no_packet_is_lost_in_swaps_and_replacements_under_load() {
    let flows = environment::number(FLOWS_VARIABLE).unwrap_or(FLOWS);
    let swaps = environment::number(SWAPS_VARIABLE).unwrap_or(SWAPS);
    let replacements = environment::number(REPLACEMENTS_VARIABLE).unwrap_or(REPLACEMENTS);
    let mut bench = Bench::with(&[], |settings| settings.connections = 1 << 19);
    let _far = Far::new();
    let mut random = StdRng::seed_from_u64(4);
    let mut revision = 2;
    bench.engine.reconcile(&desired_with(revision, &[], &flows::all(&mut random))).unwrap();

    let wire = Wire::open("v1");
    let flows = Flows::establish(&wire, flows);
    let (stop, passed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = {
        let (stop, passed) = (stop.clone(), passed.clone());
        std::thread::spawn(move || flows.go_on(&wire, &stop, &passed))
    };
    let go_on = |packets: u64| {
        let until = passed.load(Ordering::SeqCst) + packets;
        let deadline = Instant::now() + Duration::from_secs(30);
        while passed.load(Ordering::SeqCst) < until && !load.is_finished() {
            assert!(Instant::now() < deadline, "packets go on");
            std::thread::yield_now();
        }
    };
    let start = Instant::now();
    let mut replaced = 0;
    for swap in 0..swaps {
        revision += 1;
        let text = flows::some(&mut random);
        bench.engine.reconcile(&desired_with(revision, &[], &text)).unwrap();
        go_on(PAUSE);
        // Spread evenly between the swaps.
        while replaced * swaps < (swap + 1) * replacements {
            bench.replace();
            revision += 1;
            bench.engine.reconcile(&desired_with(revision, &[], &text)).unwrap();
            replaced += 1;
            go_on(PAUSE);
        }
        if load.is_finished() {
            break;
        }
    }
    let took = start.elapsed();
    stop.store(true, Ordering::SeqCst);
    let report = load.join().expect("the load goes on to the end");
    let statistics = bench.engine.statistics().unwrap();
    println!(
        "{} flows, {swaps} swaps, {replaced} replacements in {took:?}: {} packets in, {} out, {} moved",
        report.flows, report.sent, report.received, report.moved
    );
    assert_eq!(report.moved, 0, "{:?}", report.example);
    assert_eq!(report.received, report.sent, "lost: {:?}", statistics.words);
    assert!(report.rounds >= 1, "each flow had a packet under way");
}
