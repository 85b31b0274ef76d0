//! Every message in every state, and runs against a model server.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn cluster() -> ClusterId {
    "0123456789abcdef".parse().unwrap()
}

fn welcome() -> ToPlane {
    ToPlane::Welcome { cluster: cluster(), node: NodeId(1) }
}

fn start(revision: u64, objects_total: usize) -> ToPlane {
    ToPlane::SnapshotStart { revision: Revision(revision), objects_total }
}

fn chunk(objects: usize) -> ToPlane {
    ToPlane::SnapshotChunk { objects: vec![json!({}); objects] }
}

fn end(revision: u64) -> ToPlane {
    ToPlane::SnapshotEnd { revision: Revision(revision) }
}

fn delta(from: u64, to: u64) -> ToPlane {
    ToPlane::Delta { from: Revision(from), to: Revision(to), puts: vec![], deletes: vec![] }
}

fn follower(prelude: &[ToPlane]) -> Follower {
    let mut follower = Follower::new(cluster(), Some(Revision(10)));
    for message in prelude {
        let _ = follower.receive(message.clone());
    }
    follower
}

/// The whole transition table: what each message leads to in each state.
#[test]
fn every_message_in_every_state() {
    let messages = || {
        vec![
            ("welcome", welcome()),
            ("start", start(12, 1)),
            ("chunk", chunk(1)),
            ("end", end(12)),
            ("delta", delta(10, 11)),
            ("health", ToPlane::Health(HealthUpdate::default())),
            ("announce", ToPlane::Announce(Grant::default())),
            ("ledger", ToPlane::Ledger { reports: vec![] }),
            ("ping", ToPlane::Ping),
            ("goodbye", ToPlane::Goodbye { reason: "later".to_owned() }),
            ("removed", ToPlane::Removed { node: NodeId(1) }),
        ]
    };
    let goodbye = ToPlane::Goodbye { reason: String::new() };
    #[rustfmt::skip]
    let table: [(&str, Vec<ToPlane>, [&str; 11]); 5] = [
        //                                                       welcome      start        chunk        end          delta        health       announce     ledger       ping          goodbye   removed
        ("greeting",  vec![],                                   ["following", "closed",    "closed",    "closed",    "closed",    "closed",    "closed",    "closed",    "greeting",   "closed", "closed"]),
        ("following", vec![welcome()],                          ["closed",    "loading",   "closed",    "closed",    "following", "following", "following", "closed",    "following",  "closed", "closed"]),
        ("loading",   vec![welcome(), start(12, 1)],            ["closed",    "closed",    "loading",   "closed",    "closed",    "loading",   "loading",   "closed",    "loading",    "closed", "closed"]),
        ("loading",   vec![welcome(), start(12, 1), chunk(1)],  ["closed",    "closed",    "closed",    "following", "closed",    "loading",   "loading",   "closed",    "loading",    "closed", "closed"]),
        ("closed",    vec![welcome(), goodbye],                 ["closed",    "closed",    "closed",    "closed",    "closed",    "closed",    "closed",    "closed",    "closed",     "closed", "closed"]),
    ];
    for (state, prelude, expected) in table {
        for ((name, message), expected) in messages().into_iter().zip(expected) {
            let mut follower = follower(&prelude);
            assert_eq!(follower.state.name(), state);
            let result = follower.receive(message);
            assert_eq!(follower.state.name(), expected, "{name} while {state}: {result:?}");
            let left = matches!(result, Ok(Command::Leave { .. }));
            assert_eq!(result.is_err() || left, expected == "closed", "{name} while {state}");
        }
    }
}

#[test]
fn a_delta_is_taken_only_when_it_reaches_back_to_what_is_held() {
    let check = |message, expected: Result<Option<u64>, ()>| {
        let mut follower = follower(&[welcome()]);
        let result = follower.receive(message);
        let got = match &result {
            Ok(Command::Change { revision, .. }) => Ok(Some(revision.0)),
            Ok(Command::Wait) => Ok(None),
            Ok(other) => panic!("{other:?}"),
            Err(_) => Err(()),
        };
        assert_eq!(got, expected, "{result:?}");
        assert_eq!(follower.held().unwrap().0, got.ok().flatten().unwrap_or(10));
        result.err()
    };
    check(delta(10, 11), Ok(Some(11)));
    check(delta(10, 40), Ok(Some(40)));
    check(delta(3, 12), Ok(Some(12)));
    check(delta(3, 10), Ok(None));
    check(delta(3, 4), Ok(None));
    assert!(!check(delta(11, 12), Err(())).unwrap().keeps_resume());
    assert!(check(delta(10, 9), Err(())).unwrap().keeps_resume());
}

#[test]
fn a_client_that_holds_nothing_takes_no_delta_but_one_from_the_beginning() {
    let mut follower = Follower::new(cluster(), None);
    follower.receive(welcome()).unwrap();
    assert!(matches!(follower.receive(delta(1, 2)), Err(ProtocolError::Gap { .. })));
}

#[test]
fn snapshots_are_taken_whole_or_not_at_all() {
    let run = |messages: &[ToPlane]| {
        let mut follower = follower(&[welcome()]);
        let mut last = Ok(Command::Wait);
        for message in messages {
            last = follower.receive(message.clone());
        }
        (last, follower.held().unwrap().0)
    };
    assert!(matches!(
        run(&[start(12, 3), chunk(2), chunk(1), end(12)]),
        (Ok(Command::Replace { objects, .. }), 12) if objects.len() == 3
    ));
    assert!(matches!(run(&[start(12, 0), end(12)]), (Ok(Command::Replace { .. }), 12)));
    assert!(matches!(run(&[start(10, 0), end(10)]), (Ok(Command::Replace { .. }), 10)));
    let refused = [
        vec![start(9, 0)],
        vec![start(12, 3), chunk(2), end(12)],
        vec![start(12, 3), chunk(4)],
        vec![start(12, 1), chunk(1), end(13)],
        vec![start(12, MAX_OBJECTS + 1)],
    ];
    for messages in refused {
        let (result, held) = run(&messages);
        assert!(result.is_err(), "{messages:?}");
        assert_eq!(held, 10, "{messages:?}");
    }
}

#[test]
fn a_server_of_another_cluster_is_left() {
    let mut follower = Follower::new(cluster(), None);
    let welcome = ToPlane::Welcome { cluster: ClusterId::random(), node: NodeId(1) };
    assert!(matches!(follower.receive(welcome), Err(ProtocolError::OtherCluster { .. })));
}

#[test]
fn hello_offers_what_is_held_unless_everything_is_wanted() {
    let plane = || PlaneInfo { version: String::new(), host: String::new(), pid: 1 };
    let resume =
        |follower: &Follower, everything| match follower.hello(plane(), everything, Vec::new()) {
            FromPlane::Hello { resume, .. } => resume,
            other => panic!("{other:?}"),
        };
    assert_eq!(resume(&follower(&[]), false).unwrap().revision, Revision(10));
    assert_eq!(resume(&follower(&[]), true), None);
    assert_eq!(resume(&Follower::new(cluster(), None), false), None);
}

/// A history of writes: at each revision one key gets that revision's number, or goes.
fn state_at(history: &[(u8, bool)], revision: usize) -> BTreeMap<u8, usize> {
    let mut state = BTreeMap::new();
    for (index, (key, put)) in history[..revision].iter().enumerate() {
        if *put {
            state.insert(*key, index + 1)
        } else {
            state.remove(key)
        };
    }
    state
}

fn delta_of(history: &[(u8, bool)], from: usize, to: usize) -> ToPlane {
    let end = state_at(history, to);
    let mut touched: Vec<u8> = history[from..to].iter().map(|(key, _)| *key).collect();
    touched.sort_unstable();
    touched.dedup();
    let (puts, deletes): (Vec<u8>, Vec<u8>) = touched.iter().partition(|k| end.contains_key(k));
    ToPlane::Delta {
        from: Revision(from as u64),
        to: Revision(to as u64),
        puts: puts.iter().map(|key| json!([key, end[key]])).collect(),
        deletes: deletes
            .iter()
            .map(|key| ObjectKey::new(model::Kind::Service, "default", key.to_string()))
            .collect(),
    }
}

proptest! {
    /// Whatever deltas and snapshots a server sends, in any order and overlap: the state a client
    /// builds from the commands is exactly the history's state at the revision it holds.
    #[test]
    fn what_is_handed_out_is_always_a_state_of_the_history(
        history in prop::collection::vec((0u8..5, any::<bool>()), 1..20),
        steps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()), 0..20),
    ) {
        let mut follower = Follower::new(cluster(), None);
        follower.receive(welcome()).unwrap();
        let mut state: BTreeMap<u8, usize> = BTreeMap::new();
        let number = |value: &Value, at: usize| value[at].as_u64().unwrap();
        for (a, b, snapshot) in steps {
            let (a, b) = (a.index(history.len() + 1), b.index(history.len() + 1));
            let (from, to) = (a.min(b), a.max(b));
            let before = follower.held();
            let messages = if snapshot {
                let objects: Vec<_> =
                    state_at(&history, to).iter().map(|(k, v)| (json!([k, v]), 1)).collect();
                super::super::snapshot_messages(Revision(to as u64), objects)
            } else {
                vec![delta_of(&history, from, to)]
            };
            for message in messages {
                match follower.receive(message) {
                    Ok(Command::Replace { objects, .. }) => {
                        state = objects.iter().map(|o| (number(o, 0) as u8, number(o, 1) as usize)).collect();
                    }
                    Ok(Command::Change { puts, deletes, .. }) => {
                        for put in &puts {
                            state.insert(number(put, 0) as u8, number(put, 1) as usize);
                        }
                        for key in deletes {
                            state.remove(&key.name.parse().unwrap());
                        }
                    }
                    Ok(_) => {}
                    Err(_) => {
                        // What the shell does: connect anew with what it holds.
                        follower = Follower::new(cluster(), follower.held());
                        follower.receive(welcome()).unwrap();
                        break;
                    }
                }
            }
            prop_assert!(follower.held() >= before, "went back");
            let held = follower.held().map_or(0, |revision| revision.0 as usize);
            prop_assert_eq!(&state, &state_at(&history, held));
        }
    }
}
