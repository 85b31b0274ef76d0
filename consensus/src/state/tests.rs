//! `apply` against simple models.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::apply::{Outcome, apply, apply_nothing};
use super::image::{Assembly, describe, rows};
use super::{Published, State};
use crate::errors::Compacted;
use crate::ids::Revision;
use crate::limits::{HISTORY_REVISIONS_MAX, SESSION_TTL_MS, SESSIONS_MAX, SESSIONS_MIN};
use crate::pb::storage::{Image, LogId};
use crate::transaction::{Compare, Op, RequestId, Transaction};

fn transaction(request: u128, compare: Vec<Compare>, ops: Vec<Op>) -> Transaction {
    let (actor, message) = ("a".to_owned(), "m".to_owned());
    Transaction { request: RequestId(request), actor, message, compare, ops }
}

fn put(key: &str, value: impl Into<Bytes>) -> Op {
    Op::Put { key: key.to_owned(), value: value.into() }
}

fn key() -> impl Strategy<Value = String> {
    (0..3_u8, 0..4_u8).prop_map(|(kind, name)| format!("{kind}/{name}"))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (key(), prop::collection::vec(any::<u8>(), 0..8))
            .prop_map(|(key, value)| Op::Put { key, value: value.into() }),
        1 => key().prop_map(|key| Op::Delete { key }),
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    let revision = || prop::option::of((0..60_u64).prop_map(Revision));
    prop_oneof![
        (key(), revision()).prop_map(|(key, revision)| Compare::KeyRevision { key, revision }),
        (0..3_u8, 0..60_u64).prop_map(|(kind, revision)| Compare::PrefixAtMost {
            prefix: format!("{kind}/"),
            revision: Revision(revision),
        }),
    ]
}

/// A few request ids, so that some repeat.
fn entry() -> impl Strategy<Value = (u64, Transaction)> {
    let ops = prop::collection::vec(op(), 0..5);
    let compare = prop::collection::vec(compare(), 0..2);
    (0..1000_u64, 0..40_u128, compare, ops).prop_map(|(time, request, compare, mut ops)| {
        let mut seen = std::collections::BTreeSet::new();
        ops.retain(|op| seen.insert(op.key().to_owned()));
        (time, transaction(request, compare, ops))
    })
}

fn through_rows(state: &State) -> State {
    let applied = Some(LogId { term: 1, index: state.revision.0 });
    let mut image = Image { applied, ..Image::default() };
    describe(state, &mut image);
    let mut assembly = Assembly::default();
    // Any order will do.
    let mut all: Vec<_> = rows(state).collect();
    all.reverse();
    for row in all {
        assembly.add(row).unwrap();
    }
    assembly.finish(&image).unwrap()
}

/// The same rules on a plain map, without sharing a line with `apply`.
#[derive(Default)]
struct Naive {
    values: BTreeMap<String, (Vec<u8>, u64)>,
    touched: BTreeMap<String, u64>,
    done: BTreeMap<u128, u64>,
}

impl Naive {
    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::KeyRevision { key, revision } => {
                self.values.get(key).map(|v| v.1) == revision.map(|r| r.0)
            }
            Compare::PrefixAtMost { prefix, revision } => {
                !self.touched.iter().any(|(key, at)| key.starts_with(prefix) && *at > revision.0)
            }
        }
    }

    /// Returns the revision that the request led to.
    fn apply(&mut self, index: u64, transaction: &Transaction) -> Option<u64> {
        if let Some(first) = self.done.get(&transaction.request.0) {
            return Some(*first);
        }
        if !transaction.compare.iter().all(|c| self.holds(c)) {
            return None;
        }
        for op in &transaction.ops {
            match op {
                Op::Put { key, value } => {
                    self.values.insert(key.clone(), (value.to_vec(), index));
                    self.touched.insert(key.clone(), index);
                }
                Op::Delete { key } => {
                    if self.values.remove(key).is_some() {
                        self.touched.insert(key.clone(), index);
                    }
                }
            }
        }
        self.done.insert(transaction.request.0, index);
        Some(index)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn apply_is_what_a_plain_map_does(entries in prop::collection::vec(entry(), 1..60)) {
        let mut state = State::default();
        let mut naive = Naive::default();
        let mut time = 0;
        for (index, (stamp, transaction)) in (1..).zip(&entries) {
            let (outcome, changes) = apply(&mut state, index, *stamp, transaction);
            let expected = naive.apply(index, transaction);
            match outcome {
                Outcome::Committed(c) => prop_assert_eq!(Some(c.revision.0), expected),
                Outcome::Conflict { .. } => {
                    prop_assert_eq!(None, expected);
                    prop_assert!(changes.batch.is_none() && changes.session.is_none());
                }
                other => prop_assert!(false, "{:?}", other),
            }
            let values: BTreeMap<String, (Vec<u8>, u64)> = state.objects.iter()
                .map(|(k, v)| (k.to_string(), (v.value.to_vec(), v.mod_revision.0))).collect();
            prop_assert_eq!(&values, &naive.values);
            prop_assert!(state.time_ms >= time, "log time went back");
            time = state.time_ms;
        }
    }

    #[test]
    fn members_agree_whichever_way_they_got_there(
        entries in prop::collection::vec(entry(), 1..60),
        restart in any::<prop::sample::Index>(),
    ) {
        let mut all = State::default();
        let mut restarted = State::default();
        let restart = restart.index(entries.len());
        for (at, (index, (stamp, transaction))) in (1..).zip(&entries).enumerate() {
            if at == restart {
                restarted = through_rows(&restarted);
            }
            let one = apply(&mut all, index, *stamp, transaction);
            let other = apply(&mut restarted, index, *stamp, transaction);
            prop_assert_eq!(one, other);
        }
        prop_assert_eq!(all, restarted);
    }

    #[test]
    fn read_at_shows_each_past_revision(entries in prop::collection::vec(entry(), 1..60)) {
        let mut state = State::default();
        let mut past = vec![state.publish().view];
        for (index, (stamp, transaction)) in (1..).zip(&entries) {
            apply(&mut state, index, *stamp, transaction);
            past.push(state.publish().view);
        }
        let published: Published = state.publish();
        for view in past {
            let found = published.read_at(view.revision()).unwrap();
            prop_assert_eq!(found.objects, view.objects);
        }
        let ahead = Revision(entries.len() as u64 + 1);
        let applied = state.revision;
        prop_assert_eq!(published.read_at(ahead).unwrap_err(), Compacted::Future { applied });
    }
}

#[test]
fn the_history_is_bounded_and_says_where_it_starts() {
    let mut state = State::default();
    let count = HISTORY_REVISIONS_MAX as u64 + 25;
    for index in 1..=count {
        let ops = vec![put("k", index.to_string())];
        let (_, changes) = apply(&mut state, index, 0, &transaction(index.into(), vec![], ops));
        let dropped: Vec<u64> = changes.dropped.iter().map(|r| r.0).collect();
        let expected = index.checked_sub(HISTORY_REVISIONS_MAX as u64).filter(|i| *i > 0);
        assert_eq!(dropped, Vec::from_iter(expected));
    }
    assert_eq!(state.floor, Revision(25));
    let published = state.publish();
    let below = Compacted::Below { floor: Revision(25) };
    assert_eq!(published.batches(Revision(24), 1), Err(below));
    assert_eq!(published.read_at(Revision(24)).unwrap_err(), below);
    assert_eq!(published.batches(Revision(25), 1).unwrap()[0].revision, Revision(26));
    assert_eq!(published.read_at(Revision(25)).unwrap().get("k").unwrap().value, "25");
    // A comparison with a revision below the floor cannot be decided, so it does not hold.
    let compare = Compare::PrefixAtMost { prefix: "z".to_owned(), revision: Revision(3) };
    let late = transaction(0, vec![compare], vec![]);
    let (outcome, _) = apply(&mut state, count + 1, 0, &late);
    assert!(matches!(outcome, Outcome::CompareCompacted { .. }), "{outcome:?}");
    assert_eq!(through_rows(&state), state);
}

#[test]
fn large_values_push_old_revisions_out() {
    let mut state = State::default();
    let value = Bytes::from(vec![0; 1024 * 1024]);
    for index in 1..=40 {
        let ops = (0..4).map(|n| put(&n.to_string(), value.clone())).collect();
        apply(&mut state, index, 0, &transaction(index.into(), vec![], ops));
    }
    assert!(state.history_bytes <= crate::limits::HISTORY_BYTES_MAX);
    assert!(state.history.len() < 20 && !state.history.is_empty(), "{}", state.history.len());
}

#[test]
fn requests_are_forgotten_by_log_time_but_never_all_at_once() {
    let mut state = State::default();
    let mut index = 0;
    let mut request = |state: &mut State, time_ms| {
        index += 1;
        apply(state, index, time_ms, &transaction(index.into(), vec![], vec![]));
    };
    for _ in 0..SESSIONS_MIN + 500 {
        request(&mut state, 1000);
    }
    assert_eq!(state.sessions.len(), SESSIONS_MIN + 500);
    // A leader whose clock is an hour ahead.
    request(&mut state, 1000 + 4 * SESSION_TTL_MS);
    assert_eq!(state.sessions.len(), SESSIONS_MIN);
    for _ in 0..SESSIONS_MAX {
        request(&mut state, 0);
    }
    assert_eq!(state.sessions.len(), SESSIONS_MAX);
    assert_eq!(state.session_order.len(), SESSIONS_MAX);
}

#[test]
fn an_entry_without_a_transaction_only_moves_the_revision() {
    let mut state = State::default();
    apply(&mut state, 1, 5, &transaction(1, vec![], vec![put("k", "v")]));
    let before = state.clone();
    apply_nothing(&mut state, 2);
    assert_eq!(state, State { revision: Revision(2), ..before });
}
