//! What a slice does with answers, late ones, and none.

use super::*;

const LIMIT: QuotaLimit = QuotaLimit { requests: 1_000, interval_ms: 1_000, burst: 100 };
const KEY: QuotaKey = QuotaKey([1; 16]);
const OWNER: Reach = Reach { owner: true, nodes: 4 };
const ALONE: Reach = Reach { owner: false, nodes: 4 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn leased(granted: u32, left: i64, wait_ms: u32) -> Said {
    Said::Leased { granted, left, wait_ms, next_ms: 0, office: 7 }
}

/// Lets so many requests come at a time; returns how many pass at once.
fn come(slice: &mut Slice, requests: u32, reach: Reach, now: Duration) -> u32 {
    let mut passed = 0;
    for _ in 0..requests {
        slice.came(now);
        if matches!(slice.verdict(reach, now), Verdict::Pass | Verdict::PassAlone) {
            slice.pass(now);
            passed += 1;
        }
    }
    passed
}

#[test]
fn what_is_leased_passes_until_it_ends_and_what_is_left_goes_back() {
    let mut slice = Slice::new(LIMIT, ms(0));
    slice.came(ms(0));
    assert_eq!(slice.verdict(OWNER, ms(0)), Verdict::Ask);
    let answer = slice.wait();
    assert!(slice.begins_to_ask(ms(0)) && !slice.begins_to_ask(ms(1)), "one at a time");
    assert_eq!(slice.ask(KEY, ms(0)).want, 1);
    slice.answered(leased(10, 90, 0), ms(1));
    slice.waited();
    assert!(answer.has_changed().is_err(), "who waits is woken");
    assert_eq!(come(&mut slice, 3, OWNER, ms(2)), 3);
    assert_eq!((slice.left(), slice.ends()), (97, Some(ms(501))));
    // A later lease does not prolong it.
    slice.answered(leased(2, 88, 0), ms(400));
    assert_eq!(slice.verdict(OWNER, ms(501)), Verdict::Pass);
    assert!(slice.begins_to_ask(ms(501)));
    let ask = slice.ask(KEY, ms(501));
    assert_eq!((ask.want, ask.returned), (0, 7));
    assert_eq!(ask.heard, Some(Heard { office: 7, left: 88, age_ms: 101 }));
    slice.answered(leased(0, 95, 0), ms(502));
    assert_eq!(slice.verdict(OWNER, ms(900)), Verdict::Ask, "all is over");
    assert!(slice.begins_to_ask(ms(900)));
    assert_eq!(slice.ask(KEY, ms(900)).returned, 2);
}

#[test]
fn what_another_owner_gave_is_used_but_does_not_go_back() {
    let mut slice = Slice::new(LIMIT, ms(0));
    slice.answered(leased(5, 90, 0), ms(0));
    let other = Said::Leased { granted: 1, left: 9, wait_ms: 0, next_ms: 0, office: 8 };
    slice.answered(other, ms(10));
    assert_eq!(come(&mut slice, 3, OWNER, ms(20)), 3);
    assert!(slice.begins_to_ask(ms(600)));
    assert_eq!(slice.ask(KEY, ms(600)).returned, 1, "of the one that is there now");
}

#[test]
fn an_owner_that_has_no_more_is_asked_again_when_it_has() {
    let mut slice = Slice::new(LIMIT, ms(0));
    slice.came(ms(0));
    let one = Said::Leased { granted: 1, left: 0, wait_ms: 25, next_ms: 90, office: 7 };
    slice.answered(one, ms(0));
    assert_eq!(come(&mut slice, 1, OWNER, ms(1)), 1);
    assert_eq!(slice.verdict(OWNER, ms(5)), Verdict::Refuse(ms(85)), "till one comes back");
    assert_eq!(slice.verdict(OWNER, ms(25)), Verdict::Ask, "some may have been returned");
}

#[test]
fn more_is_asked_for_before_it_runs_out_where_requests_are_many() {
    let mut slice = Slice::new(LIMIT, ms(0));
    slice.answered(leased(60, 40, 0), ms(0));
    assert_eq!(come(&mut slice, 20, OWNER, ms(10)), 20);
    assert!(!slice.begins_to_ask(ms(10)), "40 are left, 20 came in a window");
    assert_eq!(come(&mut slice, 31, OWNER, ms(20)), 31);
    assert!(slice.begins_to_ask(ms(20)));
    assert_eq!(slice.ask(KEY, ms(20)).want, 51 - 9);
    // One that comes once in a while is asked for by itself.
    let mut slice = Slice::new(LIMIT, ms(0));
    slice.answered(leased(1, 0, 0), ms(0));
    come(&mut slice, 1, OWNER, ms(0));
    assert!(!slice.begins_to_ask(ms(0)));
    // No more at once than the limit allows.
    come(&mut slice, 5_000, OWNER, ms(1));
    assert!(slice.begins_to_ask(ms(1)));
    assert_eq!(slice.ask(KEY, ms(1)).want, 100);
}

#[test]
fn alone_it_has_its_share_and_owes_what_passed() {
    let mut slice = Slice::new(LIMIT, ms(0));
    assert_eq!(come(&mut slice, 50, ALONE, ms(0)), 25, "a quarter of what may come at once");
    let Verdict::RefuseAlone(wait) = slice.verdict(ALONE, ms(0)) else { panic!("it is used up") };
    assert_eq!(wait, ms(4), "a quarter of the rate");
    assert_eq!(come(&mut slice, 50, ALONE, ms(40)), 10);
    // The owner is there again; 10 have come back.
    assert!(slice.begins_to_ask(ms(40)));
    let ask = slice.ask(KEY, ms(40));
    assert_eq!((ask.spent, ask.heard), (25, None));
    // Nobody has heard that, so it is said again.
    slice.answered(Said::Alone, ms(40));
    assert!(!slice.begins_to_ask(ms(50)) && slice.begins_to_ask(ms(290)));
    assert_eq!(slice.ask(KEY, ms(290)).spent, 0, "it has come back meanwhile");
    slice.answered(leased(5, 0, 25), ms(300));
    assert_eq!(come(&mut slice, 50, OWNER, ms(300)), 5);
    // It is gone: its share of what was left, which was nothing, and what has come back since.
    assert_eq!(come(&mut slice, 50, ALONE, ms(340)), 10);
}

#[test]
fn what_was_said_and_not_answered_is_owed_still() {
    let mut slice = Slice::new(QuotaLimit { requests: 1, ..LIMIT }, ms(0));
    assert_eq!(come(&mut slice, 50, ALONE, ms(0)), 25);
    for unheard in [Slice::lost as fn(&mut Slice), |slice| slice.answered(Said::Alone, ms(0))] {
        assert!(slice.begins_to_ask(ms(250)));
        assert_eq!(slice.ask(KEY, ms(250)).spent, 24);
        unheard(&mut slice);
    }
}

#[test]
fn where_one_is_left_one_passes_alone() {
    let limit = QuotaLimit { requests: 1, interval_ms: 3_600_000, burst: 5 };
    let mut slice = Slice::new(limit, ms(0));
    slice.answered(leased(0, 4, 0), ms(0));
    assert_eq!(come(&mut slice, 5, ALONE, ms(1)), 1);
}

#[test]
fn an_owner_that_nobody_reaches_is_not_asked_for_a_moment() {
    let mut slice = Slice::new(LIMIT, ms(0));
    slice.came(ms(0));
    slice.answered(Said::Alone, ms(0));
    assert_eq!(slice.verdict(OWNER, ms(249)), Verdict::PassAlone);
    let _answer = slice.wait();
    assert!(!slice.begins_to_ask(ms(249)) && slice.begins_to_ask(ms(250)));
    assert_eq!(slice.verdict(OWNER, ms(250)), Verdict::Ask);
    // Nobody waits for one that is slow.
    slice.late(ms(300));
    assert_eq!(slice.verdict(OWNER, ms(1_299)), Verdict::PassAlone);
    assert_eq!(slice.verdict(OWNER, ms(1_300)), Verdict::Ask);
    // An answer that never comes is not waited for for ever.
    assert!(!slice.begins_to_ask(ms(2_249)) && slice.begins_to_ask(ms(2_250)));
}

#[test]
fn it_may_be_forgotten_when_the_limit_is_full_again() {
    let mut slice = Slice::new(QuotaLimit { requests: 1, ..LIMIT }, ms(0));
    slice.answered(leased(1, 0, 0), ms(0));
    assert_ne!(slice.worth(ms(100_001)), 0, "something is left of it");
    slice.pass(ms(1));
    assert_ne!(slice.worth(ms(100_000)), 0);
    assert_eq!(slice.worth(ms(100_001)), 0);
    let newer = Slice::new(LIMIT, ms(10));
    assert!(newer.worth(ms(20)) > slice.worth(ms(20)));
}
