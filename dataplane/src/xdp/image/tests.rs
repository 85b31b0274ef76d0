//! A reader of its own finds in the records what was put into the image, however it got there.

use std::net::SocketAddr;

use ebpf_common::{
    hash,
    layout::{EntryKey, MAGLEV_PER_RECORD, PORTS_START, Record, TCP},
    qos::{Limit, Way, flag},
};
use model::{
    Kind, ObjectKey, QosPolicy,
    listener::Forwarding,
    qos_policy::{Dscp, Ecn, Excess, LimitScope, RateLimit, TrafficClass},
};
use proptest::prelude::*;

use super::*;
use crate::xdp::{
    maglev,
    qos::Policy,
    record::{read_slots, to_backend, to_entry, to_limits, to_maglev, to_ports, to_treatments},
    slots::Slot,
};

fn backends(first: usize, count: usize, v6: bool) -> Vec<Weighted> {
    (first..first + count)
        .map(|n| {
            let ip: IpAddr = if v6 {
                format!("fd00::{n:x}").parse().unwrap()
            } else {
                format!("10.9.{}.{}", n >> 8, n & 255).parse().unwrap()
            };
            Weighted { address: SocketAddr::new(ip, 8000), weight: 1 + n as u64 % 5 }
        })
        .collect()
}

fn frontend(n: usize) -> Frontend {
    Frontend {
        address: (!n.is_multiple_of(3))
            .then(|| format!("10.8.{}.{}", n >> 8, n & 255).parse().unwrap()),
        port: 1000 + n as u16,
        protocol: if n.is_multiple_of(2) { TCP } else { UDP },
    }
}

fn carried(n: usize, first: usize, count: usize) -> Arc<Carried> {
    Arc::new(Carried {
        services: Vec::new(),
        listener: ObjectKey::new(Kind::Listener, "default", format!("l{n}")),
        frontend: frontend(n),
        forwarding: Forwarding::Nat,
        syn_cookies: if n.is_multiple_of(4) { SynCookies::Always } else { SynCookies::Never },
        v4: backends(first, count, false),
        v6: backends(first, count / 2, true),
        policy: policy(n, count),
    })
}

/// Services that may have a policy: fewer than there are limiters.
const POLICIES: usize = 60;

/// No policy, limits of one way or both, or a mark alone.
fn policy(n: usize, count: usize) -> Option<Policy> {
    let limit = |mbps| RateLimit { bandwidth_mbps: mbps, burst_kb: 16 };
    let kind = (n + count) % 4;
    let spec = QosPolicy {
        listeners: Vec::new(),
        class: TrafficClass::P2,
        latency_limit: TrafficClass::P2.latency_limit(),
        weight: None,
        ingress: (kind == 1).then(|| limit(1 + n as u32)),
        egress: (kind <= 2).then(|| limit(2 + count as u32)),
        excess: Excess::Drop,
        dscp: (kind >= 2).then(|| Dscp::new(n as u8 % 64).unwrap()),
        ecn: if n.is_multiple_of(2) { Ecn::Mark } else { Ecn::Preserve },
        scope: LimitScope::Node,
    };
    let key = ObjectKey::new(Kind::QosPolicy, "default", format!("p{}", n % 5));
    (kind != 0 && n < POLICIES).then(|| Policy { key, spec: Arc::new(spec) })
}

/// Checks what is done to the packets of a service; returns its limiter's number.
fn check_policy(
    records: &[Record],
    header: &Header,
    entry: &Entry,
    policy: Option<&Policy>,
) -> u16 {
    let egress = if entry.slot < header.egress_slots {
        let record = &records[(header.egress_start + entry.slot / 8) as usize];
        to_treatments(record).slots[(entry.slot % 8) as usize]
    } else {
        Treatment::default()
    };
    let Some(policy) = policy else {
        assert_eq!((entry.treatment, egress), Default::default());
        return 0;
    };
    let spec = &policy.spec;
    let number = entry.treatment.limiter;
    assert_ne!(number, 0);
    for (way, treatment, limit) in
        [(Way::Ingress, entry.treatment, spec.ingress), (Way::Egress, egress, spec.egress)]
    {
        if limit.is_none() && spec.dscp.is_none() {
            assert_eq!(treatment.flags, 0);
            continue;
        }
        assert_eq!(treatment.limiter, number);
        assert_eq!(treatment.has(flag::DSCP), spec.dscp.is_some());
        assert_eq!(treatment.dscp, spec.dscp.map_or(0, Dscp::value));
        assert_eq!(treatment.has(flag::LIMITED), limit.is_some());
        assert_eq!(treatment.has(flag::ECN), limit.is_some() && spec.ecn == Ecn::Mark);
        let Some(limit) = limit else { continue };
        let found = to_limits(&records[treatment.limits as usize]).ways[way as usize];
        assert_eq!(found, Limit::new(limit.bytes_per_s(), limit.burst_bytes(), 250, 2));
    }
    number
}

fn node(last: u8) -> NodeView {
    NodeView {
        local: [format!("10.0.0.{last}"), "fd00::1".to_owned()]
            .into_iter()
            .map(|ip| ip.parse().unwrap())
            .collect(),
        source_v4: Some(format!("10.0.0.{last}").parse().unwrap()),
        source_v6: None,
        listen: None,
    }
}

/// The lookup as the kernel does it.
fn find(records: &[Record], key: EntryKey) -> Option<Entry> {
    let header = to_header(&records[0]);
    let hash = hash::entry(&key, header.seed);
    [hash as u32, (hash >> 32) as u32].into_iter().find_map(|half| {
        let entry = to_entry(&records[(header.table_start + (half & header.table_mask)) as usize]);
        (entry.key == key).then_some(entry)
    })
}

fn check_pool(records: &[Record], pool: &Pool, backends: &[Weighted]) {
    let table = maglev::table(backends);
    assert_eq!(pool.maglev_size as usize, table.len());
    for (index, number) in table.iter().enumerate() {
        let record = &records[pool.maglev_start as usize + index / MAGLEV_PER_RECORD as usize];
        assert_eq!(to_maglev(record).backends[index % MAGLEV_PER_RECORD as usize], *number);
    }
    for (number, backend) in backends.iter().enumerate() {
        let found = to_backend(&records[pool.backends_start as usize + number]);
        assert_eq!(found.address, backend.address.ip().into());
        assert_eq!(found.port_be, backend.address.port().to_be());
    }
}

/// What the image should hold: slot and endpoints of each service.
type Model = BTreeMap<Frontend, (u32, Option<Arc<Carried>>)>;

fn check(records: &[Record], model: &Model, last: u8) {
    let mut entries = 0;
    let mut limiters = BTreeSet::new();
    let header = to_header(&records[0]);
    for (frontend, (slot, carried)) in model {
        let entry = find(records, service_key(frontend)).expect("the service");
        assert_eq!((entry.slot, entry.draining), (*slot, u8::from(carried.is_none())));
        let policy = carried.as_ref().and_then(|carried| carried.policy.as_ref());
        let limiter = check_policy(records, &header, &entry, policy);
        assert!(limiter == 0 || limiters.insert(limiter), "a limiter is one service's");
        let [v4, v6] = carried.as_ref().map_or([&[][..]; 2], |c| [&c.v4[..], &c.v6[..]]);
        check_pool(records, &entry.v4, v4);
        check_pool(records, &entry.v6, v6);
        let udp = frontend.protocol == UDP;
        for backend in v4.iter().chain(v6) {
            let key = backend_key(*slot, frontend.protocol, backend.address);
            assert_eq!(find(records, key).is_some(), udp);
            entries += usize::from(udp);
        }
        entries += 1;
    }
    for local in node(last).local {
        assert!(find(records, local_key(local)).is_some());
        entries += 1;
    }
    let any_address = model.keys().filter(|frontend| frontend.address.is_none()).count();
    assert_eq!(header.any_address as usize, any_address);
    let mut ports = [0u64; 1 << 10];
    for port in model.keys().map(|frontend| frontend.port).chain(SNAT_PORT_FIRST..=SNAT_PORT_LAST) {
        ports[usize::from(port) / 64] |= 1 << (port % 64);
    }
    let part =
        |number: usize| to_ports(&records[PORTS_START as usize + number / 8]).ports[number % 8];
    assert!((0..ports.len()).all(|number| part(number) == ports[number]));
    let start = header.table_start as usize;
    let found = records[start..=start + header.table_mask as usize]
        .iter()
        .filter(|record| to_entry(record).key.kind != 0)
        .count();
    assert_eq!(found, entries, "nothing is left of what went");
    assert!(found * 2 <= header.table_mask as usize + 1, "at most half full");
    let mut slots: Vec<Slot> = read_slots(records).into_iter().map(|(slot, _)| slot).collect();
    slots.sort_by_key(|slot| slot.frontend);
    let wanted: Vec<Slot> = model
        .iter()
        .map(|(frontend, (slot, carried))| Slot {
            frontend: *frontend,
            slot: *slot,
            draining: carried.is_none(),
        })
        .collect();
    assert_eq!(slots, wanted);
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, usize, usize),
    Drain(usize),
    Remove(usize),
    Node(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..60usize, 0..4usize, 0..12usize).prop_map(|(n, first, count)| Step::Put(n, first, count)),
        1 => (0..60usize).prop_map(Step::Drain),
        2 => (0..60usize).prop_map(Step::Remove),
        1 => (1..4u8).prop_map(Step::Node),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_image_holds_what_was_put_last(steps in prop::collection::vec(step(), 1..160)) {
        let (mut image, mut model, mut last) = (Image::default(), Model::new(), 1);
        let now = Instant::now();
        image.set_node(&node(last));
        for step in steps {
            match step {
                Step::Put(n, first, count) => {
                    let what = carried(n, first, count);
                    image.put(frontend(n), n as u32, Some(what.clone()), now);
                    model.insert(frontend(n), (n as u32, Some(what)));
                }
                Step::Drain(n) => {
                    if let Some((slot, carried)) = model.get_mut(&frontend(n)) {
                        *carried = None;
                        image.put(frontend(n), *slot, None, now);
                    }
                }
                Step::Remove(n) => {
                    model.remove(&frontend(n));
                    image.remove(&frontend(n), now);
                }
                Step::Node(ip) => {
                    last = ip;
                    image.set_node(&node(last));
                }
            }
            image.stamp(42, 3);
            check(image.sheet().records(), &model, last);
        }
        let header = to_header(image.sheet().get(0));
        prop_assert_eq!((header.generation, header.revision), (42, 3));
        for frontend in model.keys() {
            image.remove(frontend, now);
        }
        prop_assert!(image.pools.is_empty() && image.services.is_empty());
        prop_assert_eq!(image.treatments.egress(), (0, 0));
        prop_assert_eq!(image.treatments.limiters().iter().count(), 0);
    }
}

#[test]
fn a_change_of_one_service_among_thousands_writes_few_records() {
    const SERVICES: usize = 4_000;
    let now = Instant::now();
    let mut image = Image::default();
    image.set_node(&node(1));
    for n in 0..SERVICES {
        image.put(frontend(n), n as u32, Some(carried(n, n, 4)), now);
    }
    image.stamp(1, 1);
    let _everything = image.sheet().take_lacking(0);
    image.put(frontend(7), 7, Some(carried(7, 7, 5)), now);
    image.stamp(2, 2);
    let super::super::sheet::Lacking::Some(written) = image.sheet().take_lacking(0) else {
        panic!("everything")
    };
    assert!(written.len() < 100, "{} records", written.len());
}

#[test]
fn what_is_put_again_as_it_was_is_no_change() {
    let now = Instant::now();
    let mut image = Image::default();
    image.set_node(&node(1));
    image.put(frontend(1), 1, Some(carried(1, 0, 4)), now);
    image.stamp(1, 1);
    image.sheet().settled();
    image.put(frontend(1), 1, Some(carried(1, 0, 4)), now);
    image.set_node(&node(1));
    assert!(!image.is_changed());
}

fn direct(backends: Vec<Weighted>) -> Option<Arc<Carried>> {
    let carried = carried(1, 0, 0);
    let forwarding = Forwarding::Ipip;
    Some(Arc::new(Carried { v4: backends, forwarding, ..Carried::clone(&carried) }))
}

fn entry(image: &mut Image) -> Entry {
    image.stamp(1, 1);
    find(image.sheet().records(), service_key(&frontend(1))).expect("the service")
}

/// The numbers of the endpoints that a pool leads to.
fn numbers(image: &mut Image, pool: Pool) -> Vec<u16> {
    let length = pool.maglev_size.div_ceil(MAGLEV_PER_RECORD) as usize;
    let records = &image.sheet().records()[pool.maglev_start as usize..][..length];
    let all = records.iter().flat_map(|record| to_maglev(record).backends);
    let distinct: BTreeSet<u16> = all.take(pool.maglev_size as usize).collect();
    distinct.into_iter().collect()
}

#[test]
fn backends_of_full_nat_have_numbers_to_be_counted_by() {
    let now = Instant::now();
    let mut image = Image::default();
    image.set_node(&node(1));
    image.put(frontend(1), 0, Some(carried(1, 0, 3)), now);
    let pool = entry(&mut image).v4;
    let records = &image.sheet().records()[pool.backends_start as usize..][..3];
    let numbers: Vec<u16> = records.iter().map(|record| to_backend(record).number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    image.remove(&frontend(1), now);
    assert!(image.pools.is_empty());
}

#[test]
fn a_service_that_is_not_nat_keeps_what_it_had_before_for_a_while() {
    let now = Instant::now();
    let mut image = Image::default();
    image.set_node(&node(1));
    assert!(frontend(1).address.is_some_and(|address| address.is_ipv4()));
    image.put(frontend(1), 0, direct(backends(0, 3, false)), now);
    let first = entry(&mut image);
    assert_eq!(first.forwarding, forwarding::IPIP);
    assert_eq!(first.v6, Pool::default(), "nothing was before");
    assert_eq!(numbers(&mut image, first.v4), [1, 2, 3]);

    image.put(frontend(1), 0, direct(backends(1, 3, false)), now);
    let second = entry(&mut image);
    assert_eq!(second.v6, first.v4);
    assert_eq!(numbers(&mut image, second.v4), [2, 3, 4], "an endpoint keeps its number");

    let later = now + DRAIN / 2;
    image.put(frontend(1), 0, direct(backends(1, 3, false)), later);
    assert_eq!(entry(&mut image), second, "no change of endpoints");
    image.put(frontend(1), 0, direct(backends(2, 3, false)), later);
    let third = entry(&mut image);
    assert_eq!(third.v6, second.v4, "the last ones count");

    assert_eq!(image.next_forgetting(), Some(now + DRAIN));
    image.forget_before(now + DRAIN);
    assert_eq!(entry(&mut image), third, "the time of the last change counts");
    image.forget_before(later + DRAIN);
    assert_eq!(entry(&mut image), Entry { v6: Pool::default(), ..third });
    assert_eq!(image.next_forgetting(), None);
    image.put(frontend(1), 0, None, later);
    let draining = entry(&mut image);
    assert_eq!((draining.draining, draining.forwarding), (1, forwarding::IPIP));
    image.remove(&frontend(1), later);
    assert!(image.pools.is_empty());
}
