//! The format against its fixture, and every truncation and bit flip of a journal.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn cluster() -> ClusterId {
    "0123456789abcdef".parse().unwrap()
}

fn service(name: &str, port: u16) -> Arc<Object> {
    let value = json!({
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"endpoints": [{"address": "192.0.2.1", "port": port}]},
    });
    Arc::new(object_from_value(&value).unwrap_or_else(|errors| panic!("{errors}")))
}

fn states() -> Vec<Snapshot> {
    let mut first = Snapshot::default();
    first.put(service("a", 80));
    first.put(service("b", 80));
    first.set_revision(Revision(5));
    let mut second = first.clone();
    second.put(service("b", 81));
    second.put(service("c", 80));
    second.set_revision(Revision(7));
    let mut third = second.clone();
    third.remove(&service("a", 80).key());
    third.set_revision(Revision(8));
    vec![first, second, third]
}

fn journal() -> (Vec<u8>, Vec<Snapshot>) {
    let states = states();
    let mut bytes = encode_base(&cluster(), &states[0]);
    bytes.extend(encode_delta(&states[0], &states[1]));
    bytes.extend(encode_delta(&states[1], &states[2]));
    (bytes, states)
}

#[test]
fn a_whole_journal_gives_its_last_state() {
    let (bytes, states) = journal();
    let replayed = replay(&bytes, &cluster());
    assert_eq!(replayed.damage, None);
    assert_eq!(replayed.config.as_ref(), states.last());
}

#[test]
fn format_1_is_read_as_it_was_written() {
    let fixture = include_bytes!("../../../testdata/last-known-good-v1");
    let replayed = replay(fixture, &cluster());
    assert_eq!(replayed.damage, None);
    let config = replayed.config.unwrap();
    assert_eq!(config.revision(), Revision(8));
    let names: Vec<&str> = config.objects().map(|(key, _)| key.name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
}

#[test]
fn every_truncation_gives_a_state_that_was_in_force() {
    let (bytes, states) = journal();
    let mut seen = [false; 4];
    for length in 0..bytes.len() {
        let replayed = replay(&bytes[..length], &cluster());
        match replayed.config {
            None => seen[0] = true,
            Some(config) => {
                let at = states.iter().position(|state| *state == config).expect("a known state");
                seen[at + 1] = true;
            }
        }
    }
    assert_eq!(seen, [true, true, true, false]);
}

#[test]
fn a_journal_of_another_cluster_or_format_gives_nothing() {
    let (bytes, _) = journal();
    let replayed = replay(&bytes, &ClusterId::random());
    assert!(replayed.config.is_none());
    assert!(matches!(replayed.damage, Some(Damage::OtherCluster { .. })));
    for bytes in [&b""[..], b"x", b"\x02\0\0\0\0\0\0\0{}", &[0xff; 64]] {
        let replayed = replay(bytes, &cluster());
        assert!(replayed.config.is_none() && replayed.damage.is_some(), "{bytes:?}");
    }
}

#[test]
fn a_gap_between_records_ends_the_replay_before_it() {
    let states = states();
    let mut bytes = encode_base(&cluster(), &states[0]);
    bytes.extend(encode_delta(&states[1], &states[2]));
    let replayed = replay(&bytes, &cluster());
    assert_eq!(replayed.config.as_ref(), Some(&states[0]));
    assert!(matches!(replayed.damage, Some(Damage::Record { .. })));
}

proptest! {
    #[test]
    fn a_flipped_bit_never_gives_a_state_that_was_not_in_force(
        index in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let (mut bytes, states) = journal();
        let at = index.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let replayed = replay(&bytes, &cluster());
        prop_assert!(replayed.damage.is_some());
        if let Some(config) = replayed.config {
            prop_assert!(states.contains(&config));
        }
    }
}
