//! Answers to one node and to several.

use proptest::prelude::*;

use super::*;
use crate::quotas::QuotaKey;

const LIMIT: QuotaLimit = QuotaLimit { requests: 1_000, interval_ms: 1_000, burst: 100 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn ask(want: u32) -> Ask {
    Ask { key: QuotaKey([1; 16]), limit: LIMIT, want, returned: 0, spent: 0, heard: None }
}

fn said(owner: &mut Owner, node: u64, ask: &Ask, now: Duration) -> (u32, i64, u32) {
    let answer = owner.answer(NodeId(node), ask, now);
    assert_eq!(answer.key, ask.key);
    let Said::Leased { granted, left, wait_ms, office, .. } = answer.said else {
        panic!("an owner is there")
    };
    assert_eq!(office, 5);
    (granted, left, wait_ms)
}

#[test]
fn nodes_get_what_they_want_while_it_is_there_and_their_part_when_it_is_scarce() {
    let mut owner = Owner::new(5);
    assert_eq!(said(&mut owner, 1, &ask(30), ms(0)), (30, 70, 0));
    assert_eq!(said(&mut owner, 2, &ask(30), ms(0)), (30, 40, 0));
    // All want 120 of 40.
    assert_eq!(said(&mut owner, 3, &ask(60), ms(0)), (20, 20, 25));
    assert_eq!(said(&mut owner, 1, &ask(30), ms(0)), (5, 15, 25));
    // Who has not asked for a while has no part.
    assert_eq!(said(&mut owner, 3, &ask(60), ms(500)), (60, 40, 0));
    // The last goes out whole.
    let mut owner = Owner::new(5);
    said(&mut owner, 1, &ask(99), ms(0));
    assert_eq!(said(&mut owner, 2, &ask(1), ms(0)), (1, 0, 0));
    assert_eq!(said(&mut owner, 2, &ask(1), ms(0)), (0, 0, 25));
}

#[test]
fn a_pause_is_until_there_is_one_more_and_never_so_long_that_something_is_lost() {
    let slow = Ask { limit: QuotaLimit { requests: 2, ..LIMIT }, ..ask(100) };
    let mut owner = Owner::new(5);
    said(&mut owner, 1, &slow, ms(0));
    assert_eq!(said(&mut owner, 1, &slow, ms(0)), (0, 0, 500));
    // Others may return some before.
    let slower =
        Ask { limit: QuotaLimit { requests: 1, interval_ms: 60_000, burst: 100 }, ..ask(100) };
    let mut owner = Owner::new(5);
    said(&mut owner, 1, &slower, ms(0));
    assert_eq!(said(&mut owner, 1, &slower, ms(0)), (0, 0, 1_000));
    let fast = Ask { limit: QuotaLimit { burst: 1, ..LIMIT }, ..ask(10) };
    let mut owner = Owner::new(5);
    assert_eq!(said(&mut owner, 1, &fast, ms(0)), (1, 0, 1));
    let small = Ask { limit: QuotaLimit { burst: 4, ..LIMIT }, ..ask(10) };
    let mut owner = Owner::new(5);
    assert_eq!(said(&mut owner, 1, &small, ms(0)), (4, 0, 2));
}

#[test]
fn what_goes_back_is_for_others_unless_another_owner_gave_it() {
    let mut owner = Owner::new(5);
    said(&mut owner, 1, &ask(100), ms(0));
    let heard = |office| Some(Heard { office, left: 0, age_ms: 0 });
    let back = |office| Ask { returned: 7, heard: heard(office), ..ask(0) };
    assert_eq!(said(&mut owner, 1, &back(4), ms(0)), (0, 0, 0));
    assert_eq!(said(&mut owner, 1, &back(5), ms(0)), (0, 7, 0));
    // What passed without it counts too.
    assert_eq!(said(&mut owner, 1, &Ask { spent: 50, ..ask(0) }, ms(0)), (0, -43, 0));
}

#[test]
fn an_owner_that_takes_over_begins_with_the_least_that_nodes_heard() {
    let heard = |left, age_ms| Ask { heard: Some(Heard { office: 4, left, age_ms }), ..ask(0) };
    let mut owner = Owner::new(5);
    assert_eq!(said(&mut owner, 1, &heard(10, 30), ms(1_000)).1, 40, "30 have come back");
    assert_eq!(said(&mut owner, 2, &heard(60, 0), ms(1_000)).1, 40);
    assert_eq!(said(&mut owner, 2, &heard(-20, 10), ms(1_000)).1, -10);
    // What was heard long ago says nothing.
    assert_eq!(said(&mut owner, 3, &heard(-100, 10_000), ms(2_000)).1, 100);
    assert_eq!(said(&mut owner, 3, &heard(0, u64::MAX), ms(2_000)).1, 100);
    // It has forgotten what it said itself.
    let own = Ask { heard: Some(Heard { office: 5, left: 3, age_ms: 0 }), ..ask(0) };
    let mut owner = Owner::new(5);
    assert_eq!(said(&mut owner, 1, &own, ms(0)).1, 3);
    assert_eq!(said(&mut owner, 1, &own, ms(10)).1, 13, "it knows better now");
}

proptest! {
    #[test]
    fn together_nodes_get_no_more_than_the_limit_and_lose_nothing(
        burst in 1_u32..200,
        steps in prop::collection::vec((1_u64..4, 0_u64..40, 1_u32..400), 1..200),
    ) {
        let ask = |want| Ask { limit: QuotaLimit { burst, ..LIMIT }, ..ask(want) };
        let mut owner = Owner::new(5);
        let (mut now, mut granted) = (ms(0), 0_u64);
        for (node, pause, want) in steps {
            now += ms(pause);
            let (got, left, wait) = said(&mut owner, node, &ask(want), now);
            granted += u64::from(got);
            prop_assert!(got <= want);
            prop_assert!(granted <= u64::from(burst) + now.as_millis() as u64);
            prop_assert_eq!(wait == 0, got == want);
            prop_assert!(got > 0 || left < 1, "what there is goes out");
        }
    }
}
