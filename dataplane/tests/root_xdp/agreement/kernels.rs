//! The kernel of BPF and the one on the host, with the same maps.

use aya::maps::{Array, Map, MapData, PerCpuArray};
use dataplane::xdp::{
    mapping::Mapping,
    plan::L4Plan,
    program,
    vlans::{Vlan, Vlans},
};
use ebpf_common::{
    filter::{
        CHUNK_RECORDS, FILTER_SLOTS,
        rates::{FILTER_SPENT_MAP, SOURCES_MAP},
    },
    host::{Cpu, Own, Sizes, Tables, frame::Guard},
    layout::{
        Address, CLAIMS_MAP, CONFIG_MAP, CONNECTIONS_MAP, COUNTER_WORDS, COUNTERS_MAP,
        CPU_ENDPOINTS_MAP, ENDPOINTS_MAP, ENDPOINTS_MAX, FLOWS_MAP, Hop, Record, STATS_MAP,
        STATS_WORDS, Tuple, link, stat,
    },
    path::Sent,
    siphash::Key,
    verdict::Reason,
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::{Pid, gettid},
};
use std::{net::IpAddr, os::fd::AsFd as _};

use super::{Disagree, clock::Clock, configurations::Configuration};
use crate::{
    naive::{
        Outcome, Verdict,
        network::{Network, NextHop, VLAN},
    },
    support::{
        bench::{Bench, DROP, PASS, TX},
        namespaces,
    },
};

/// XDP verdict (include/uapi/linux/bpf.h).
const REDIRECT: u32 = 4;
/// Room for the few flows of a sequence.
const FLOWS: u32 = 1 << 13;
const CONNECTIONS: u32 = 1 << 12;
const RECORDS: u32 = 1 + 2 * (1 << 13);
/// Slots of services whose counters are compared.
const SLOTS: u32 = 16;
/// Numbers of endpoints whose counters are compared, from 1.
const ENDPOINTS: u32 = 64;
/// What the kernel does not run a program on: less than an Ethernet header.
const LEAST: usize = 14;

/// Verdicts that the sequences must have led to.
pub(super) const COMMON: [&str; 19] = [
    "sent",
    "dropped: backend_pending",
    "dropped: cookie_refused",
    "dropped: filtered",
    "dropped: hop_limit",
    "dropped: no_checksum",
    "dropped: no_neighbour",
    "dropped: no_route",
    "dropped: not_on_link",
    "dropped: rate_limited",
    "passed: draining",
    "passed: fragment",
    "passed: ip_options",
    "passed: malformed",
    "passed: no_backend",
    "passed: not_ip",
    "passed: not_service",
    "passed: not_transport",
    "redirected",
];

/// Names a verdict.
pub(super) fn name(outcome: &Outcome, near: u32) -> String {
    match outcome.verdict {
        Verdict::Pass(reason) => format!("passed: {}", reason.name()),
        Verdict::Drop(reason) => format!("dropped: {}", reason.name()),
        Verdict::Out(interface) if interface != near => "redirected".to_owned(),
        Verdict::Out(_) => "sent".to_owned(),
    }
}

/// An interface that frames come in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ingress {
    Near,
    Far,
}

/// What became of a frame in the kernel, which gives the action only.
pub(super) struct Ran {
    action: u32,
    frame: Vec<u8>,
    ingress: u32,
}

impl Disagree for Ran {
    fn disagrees(&self, host: &Outcome) -> Option<String> {
        let expected = match host.verdict {
            Verdict::Pass(_) => PASS,
            Verdict::Drop(_) => DROP,
            Verdict::Out(interface) if interface == self.ingress => TX,
            Verdict::Out(_) => REDIRECT,
        };
        (self.action != expected || self.frame != host.frame).then(|| {
            format!(
                "kernel action {}\n{}\nhost {:?}\n{}",
                self.action,
                hex::encode(&self.frame),
                host.verdict,
                hex::encode(&host.frame)
            )
        })
    }
}

/// Both kernels.
pub(super) struct Kernels {
    bench: Bench,
    maps: Maps,
    network: Network,
    tables: Tables,
    /// The host's one CPU, while it handles no frame.
    own: Option<Own>,
    clock: Clock,
    revision: u64,
    frames: u64,
    /// The kernel's statistics less the host's, as the sequence began.
    offset: Words,
}

/// The statistics, and the counters of services and of endpoints.
type Words = ([u64; STATS_WORDS], [Vec<[u64; COUNTER_WORDS]>; 2]);

/// The kernel's maps that the host takes over, or that begin anew with each sequence.
struct Maps {
    config: Mapping,
    endpoints: Mapping,
    connections: Mapping,
    claims: Mapping,
    /// What rules of filters have spent, and the sources that they tell apart.
    rules: Mapping,
    sources: Mapping,
    flows: Array<MapData, [u64; 8]>,
    stats: PerCpuArray<MapData, [u64; STATS_WORDS]>,
    counters: PerCpuArray<MapData, [u64; COUNTER_WORDS]>,
    cpu_endpoints: PerCpuArray<MapData, [u64; 8]>,
}

impl Kernels {
    pub(super) fn new() -> Self {
        // What the kernel keeps by CPU is one CPU's.
        let mut cpu = CpuSet::new();
        cpu.set(0).unwrap();
        sched_setaffinity(Pid::from_raw(0), &cpu).unwrap();
        let mut bench = Bench::with(&[], |settings| {
            settings.flows = FLOWS;
            settings.connections = CONNECTIONS;
            settings.records = RECORDS;
        });
        for line in Network::lines() {
            namespaces::run(&line);
        }
        let index = |name: &str| nix::net::if_::if_nametoindex(name).unwrap();
        let (near, far) = (bench.ifindex, index("w0"));
        let vlan = Vlan {
            name: "v0.200".to_owned(),
            below: near,
            below_name: "v0".to_owned(),
            number: VLAN,
        };
        let vlans: Vlans = [(index("v0.200"), vlan)].into_iter().collect();
        vlans.write(bench.engine.program().vlans().unwrap()).unwrap();
        bench.engine.program().take_vlans().unwrap();
        bench.engine.ways_changed().unwrap();
        let addresses = ["10.0.0.1", "fd00::1", "10.8.0.1", "fd08::1", "10.7.0.1", "fd07::1"];
        let network = Network { near, far, local: addresses.map(|it| it.parse().unwrap()).into() };
        let clock = Clock::new();
        let routes = network.clone();
        let mut tables = Tables::new(
            Sizes {
                flow_buckets: FLOWS / 8,
                claim_buckets: program::Sizes::new(FLOWS, CONNECTIONS).claim_buckets,
                endpoints: ENDPOINTS_MAX as u32,
            },
            clock.ticks_per_second(),
            Box::new(move |flow: &Tuple| routes.way(ip(&flow.destination)).map(|hop| of_hop(&hop))),
        );
        tables.set_vlans(true);
        let words = bench.engine.program().handshakes().unwrap().get(&0, 0).unwrap();
        tables.set_cookie_key(Key([words[0], words[1]]));
        let maps = Maps::new(&bench);
        let own = Some(Own::new(tables.sizes()));
        let offset = ([0; STATS_WORDS], Default::default());
        namespaces::run(&format!("chrt --reset-on-fork --fifo --pid 1 {}", gettid()));
        let (revision, frames) = (1, 0);
        Self { bench, maps, network, tables, own, clock, revision, frames, offset }
    }

    pub(super) fn ticks_per_second(&self) -> u32 {
        self.clock.ticks_per_second()
    }

    pub(super) fn network(&self) -> Network {
        self.network.clone()
    }

    pub(super) fn interface(&self, ingress: Ingress) -> u32 {
        match ingress {
            Ingress::Near => self.network.near,
            Ingress::Far => self.network.far,
        }
    }

    /// Empties the tables of both.
    pub(super) fn forget(&mut self) {
        self.tables.forget();
        self.maps.forget();
        // The key stays; nothing is half open.
        let mut shakes = self.bench.engine.program().handshakes().unwrap();
        let mut words = shakes.get(&0, 0).unwrap();
        words[2..].fill(0);
        shakes.set(0, words, 0).unwrap();
        // After a sequence that was given up the kernel has counted a frame more.
        self.offset = self.difference();
    }

    /// Puts a configuration in force in both.
    pub(super) fn apply(&mut self, configuration: &Configuration) -> L4Plan {
        self.revision += 1;
        let mut desired = configuration.desired.clone();
        desired.config.set_revision(model::Revision(self.revision));
        let plan = self.bench.engine.reconcile(&desired).unwrap();
        let unfiltered = self.bench.engine.unfiltered();
        assert_eq!(unfiltered, None);
        self.tables.set_config(self.maps.config.records());
        self.tables.set_endpoints(self.maps.endpoints.records());
        let filter = self.filter();
        self.tables.set_filter(filter);
        // Those of rules that come anew have been set to nothing.
        self.tables.set_rules_spent(self.maps.rules.records());
        plan
    }

    /// Copies the packet filter in force, by the slots of its map.
    fn filter(&mut self) -> Vec<Vec<Record>> {
        let map = self.bench.engine.program().filter().unwrap();
        let records = |slot: u32| {
            let inner = map.get(&slot, 0).ok()?;
            let mapping = Mapping::new(inner.fd().as_fd(), CHUNK_RECORDS).unwrap();
            Some(mapping.records().to_vec())
        };
        let Some(front) = records(0) else { return Vec::new() };
        let mut slots = vec![front];
        slots.extend((1..FILTER_SLOTS as u32).map(|slot| records(slot).unwrap_or_default()));
        slots
    }

    /// Runs both on a frame, and tells at which tick; nothing where that has ended meanwhile. The
    /// kernel runs on no frame that is shorter than an Ethernet header.
    pub(super) fn run(
        &mut self,
        frame: &[u8],
        ingress: Ingress,
    ) -> Option<(Option<Ran>, Outcome, u64)> {
        let interface = self.interface(ingress);
        let ticks = self.clock.steady();
        let kernel = (frame.len() >= LEAST).then(|| {
            let ((action, frame), _) = self.bench.run_on(frame, interface, 1);
            Ran { action, frame, ingress: interface }
        });
        if self.clock.ticks() != ticks {
            return None;
        }
        self.tables.set_ticks(ticks);
        let mut cpu = Cpu::with(&self.tables, self.own.take().expect("it handles no frame"));
        self.frames += 1;
        let guard = if self.frames.is_multiple_of(2) { Guard::Before } else { Guard::Behind };
        let verdict = match cpu.run(frame, interface, guard) {
            Ok(Sent::Back) => Verdict::Out(interface),
            Ok(Sent::On(other)) => Verdict::Out(other),
            Ok(Sent::Later) => unreachable!("no worker is there"),
            Err(reason) => Verdict::of(reason),
        };
        let host = Outcome { verdict, tag: None, frame: cpu.frame() };
        if kernel.is_none() {
            // Frames that only the host sees are not in the kernel's statistics.
            if let Verdict::Pass(reason) | Verdict::Drop(reason) = verdict {
                self.offset.0[reason as usize] = self.offset.0[reason as usize].wrapping_sub(1);
            }
        }
        self.own = Some(cpu.into_own());
        Some((kernel, host, ticks))
    }

    /// Names the reasons that one of both has counted more often than the other.
    pub(super) fn counted_otherwise(&self) -> String {
        let difference = less(self.difference().0, self.offset.0);
        let named = |reason: &&Reason| difference[**reason as usize] != 0;
        let more = |reason: &Reason| {
            format!("{} {:+}", reason.name(), difference[*reason as usize].cast_signed())
        };
        Reason::ALL.iter().filter(named).map(more).collect::<Vec<_>>().join(", ")
    }

    /// Compares all that both have counted since the last time.
    pub(super) fn compare_statistics(&mut self, place: &str) {
        let difference = self.difference();
        assert_eq!(difference, self.offset, "kernel less host, {place}");
    }

    fn difference(&self) -> Words {
        let own = self.own.as_ref().expect("it handles no frame");
        let stats = sum(&self.maps.stats, 0);
        let mut stats = less(stats, own.stats());
        // Set, not counted: the last generation seen, and what is noted; nobody is told by the host.
        stats[stat::GENERATION..stat::ERRORS_FORWARDED].fill(0);
        let counters = (0..SLOTS)
            .map(|slot| less(sum(&self.maps.counters, slot), own.counters(slot)))
            .collect();
        let endpoints = (1..ENDPOINTS)
            .map(|number| {
                let kernel = sum(&self.maps.cpu_endpoints, number);
                let counters = kernel.first_chunk().expect("the counters come first");
                less(*counters, own.endpoint_counters(number as u16))
            })
            .collect();
        (stats, [counters, endpoints])
    }
}

fn less<const N: usize>(one: [u64; N], other: [u64; N]) -> [u64; N] {
    std::array::from_fn(|word| one[word].wrapping_sub(other[word]))
}

fn sum<const N: usize>(map: &PerCpuArray<MapData, [u64; N]>, index: u32) -> [u64; N]
where
    [u64; N]: aya::Pod,
{
    let cpus = map.get(&index, 0).unwrap();
    std::array::from_fn(|word| cpus.iter().fold(0u64, |sum, cpu| sum.wrapping_add(cpu[word])))
}

impl Maps {
    fn new(bench: &Bench) -> Self {
        let pinned = |name: &str| MapData::from_pin(bench.pins.map(name)).unwrap();
        // In units of records.
        let mapped = |name: &str| {
            let map = pinned(name);
            let info = map.info().unwrap();
            let bytes = info.max_entries() as usize * info.value_size() as usize;
            Mapping::new(map.fd().as_fd(), bytes / size_of::<Record>()).unwrap()
        };
        Self {
            config: mapped(CONFIG_MAP),
            endpoints: mapped(ENDPOINTS_MAP),
            connections: mapped(CONNECTIONS_MAP),
            claims: mapped(CLAIMS_MAP),
            rules: mapped(FILTER_SPENT_MAP),
            sources: mapped(SOURCES_MAP),
            flows: Map::Array(pinned(FLOWS_MAP)).try_into().unwrap(),
            stats: Map::PerCpuArray(pinned(STATS_MAP)).try_into().unwrap(),
            counters: Map::PerCpuArray(pinned(COUNTERS_MAP)).try_into().unwrap(),
            cpu_endpoints: Map::PerCpuArray(pinned(CPU_ENDPOINTS_MAP)).try_into().unwrap(),
        }
    }

    fn forget(&mut self) {
        let filters = [&mut self.rules, &mut self.sources];
        for table in [&mut self.connections, &mut self.claims].into_iter().chain(filters) {
            let empty = vec![Record::EMPTY; table.len()];
            table.fill(0, &empty);
        }
        for bucket in 0..FLOWS / 8 {
            self.flows.set(bucket, [0; 8], 0).unwrap();
        }
    }
}

fn ip(address: &Address) -> IpAddr {
    let octets: Vec<u8> = address.words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let v6 = std::net::Ipv6Addr::from(<[u8; 16]>::try_from(octets).unwrap());
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

fn of_hop(hop: &NextHop) -> Hop {
    let words =
        |it: [u8; 6]| std::array::from_fn(|n| u16::from_ne_bytes([it[2 * n], it[2 * n + 1]]));
    Hop {
        ifindex: hop.interface,
        mtu: hop.mtu.unwrap_or(0),
        destination: words(hop.to),
        source: words(hop.from),
        link: if hop.gateway { link::GATEWAY } else { 0 }
            | hop.vlan.map_or(0, |vlan| link::TAGGED | vlan),
    }
}
