//! A reader of its own finds in the records what the plan says.

use std::{collections::BTreeSet, net::SocketAddr};

use ebpf_common::layout::{TCP, UDP};
use model::{Kind, ObjectKey, Revision};
use proptest::prelude::*;

use super::*;
use crate::xdp::{plan::Carried, slots::Slots};

fn backends(count: usize, v6: bool) -> Vec<Weighted> {
    (0..count)
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

fn sample(services: usize, per_service: usize) -> L4Plan {
    let carried = (0..services)
        .map(|n| Carried {
            listener: ObjectKey::new(Kind::Listener, "default", format!("l{n}")),
            frontend: Frontend {
                address: (n % 3 > 0)
                    .then(|| format!("10.8.{}.{}", n >> 8, n & 255).parse().unwrap()),
                port: 1000 + n as u16,
                protocol: if n % 2 == 0 { TCP } else { UDP },
            },
            v4: backends(per_service, false),
            v6: backends(per_service / 2, true),
        })
        .collect();
    L4Plan { revision: Revision(3), carried, ..L4Plan::default() }
}

fn node() -> NodeView {
    NodeView {
        local: BTreeSet::from(["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]),
        source_v4: Some("10.0.0.1".parse().unwrap()),
        source_v6: None,
        listen: None,
    }
}

/// The lookup as the kernel does it.
fn find(records: &[Record], key: EntryKey) -> Option<Entry> {
    let header = read_header(&records[0]);
    let hash = hash::entry(&key, header.seed);
    [hash as u32, (hash >> 32) as u32].into_iter().find_map(|half| {
        let record = records[(header.table_start + (half & header.table_mask)) as usize];
        // SAFETY: both are 64 bytes; an entry is integers without padding.
        let entry = unsafe { transmute::<Record, Entry>(record) };
        (entry.key == key).then_some(entry)
    })
}

fn check_pool(records: &[Record], pool: &Pool, backends: &[Weighted]) {
    let table = maglev::table(backends);
    assert_eq!(pool.maglev_size as usize, table.len());
    for (index, number) in table.iter().enumerate() {
        let record = records[pool.maglev_start as usize + index / MAGLEV_PER_RECORD as usize];
        // SAFETY: both are 64 bytes; the layout is integers without padding.
        let part = unsafe { transmute::<Record, MaglevRecord>(record) };
        assert_eq!(part.backends[index % MAGLEV_PER_RECORD as usize], *number);
    }
    for (number, backend) in backends.iter().enumerate() {
        // SAFETY: as above.
        let found =
            unsafe { transmute::<Record, Backend>(records[pool.backends_start as usize + number]) };
        assert_eq!(found.address, backend.address.ip().into());
        assert_eq!(found.port_be, backend.address.port().to_be());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_service_backend_and_address_is_found(services in 0..200usize, per in 0..12usize) {
        let plan = sample(services, per);
        let (slots, _) = Slots::default().assign(&plan, std::time::Instant::now());
        let mut records = build(&plan, &slots, &node(), &mut MaglevCache::default());
        stamp(&mut records, 42);
        prop_assert_eq!(read_header(&records[0]).generation, 42);
        prop_assert_eq!(read_header(&records[0]).revision, 3);
        for slot in &slots {
            let carried = plan.carried.iter().find(|c| c.frontend == slot.frontend).unwrap();
            let entry = find(&records, service_key(&slot.frontend)).expect("the service");
            prop_assert_eq!(entry.slot, slot.slot);
            check_pool(&records, &entry.v4, &carried.v4);
            check_pool(&records, &entry.v6, &carried.v6);
            for backend in carried.v4.iter().chain(&carried.v6) {
                prop_assert!(find(&records, backend_key(slot, backend)).is_some());
            }
        }
        for local in node().local {
            prop_assert!(find(&records, local_key(local)).is_some());
        }
        prop_assert!(find(&records, local_key("10.0.0.2".parse().unwrap())).is_none());
        let mut read = read_slots(&records);
        read.sort_by_key(|slot| slot.frontend);
        prop_assert_eq!(read, slots);
    }
}

#[test]
fn an_unchanged_service_keeps_its_maglev_table_without_computing_it() {
    let plan = sample(3, 4);
    let (slots, _) = Slots::default().assign(&plan, std::time::Instant::now());
    let mut cache = MaglevCache::default();
    let first = build(&plan, &slots, &node(), &mut cache);
    let kept: Vec<Arc<Vec<u16>>> = cache.0.values().cloned().collect();
    let second = build(&plan, &slots, &node(), &mut cache);
    assert_eq!(first, second);
    assert!(cache.0.values().all(|table| kept.iter().any(|old| Arc::ptr_eq(old, table))));
}
