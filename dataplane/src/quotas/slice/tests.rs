use super::*;

const LIMIT: QuotaLimit = QuotaLimit { requests: 1_000, interval_ms: 1_000, burst: 100 };
const KEY: QuotaKey = QuotaKey([1; 16]);
const OWNER: Reach = Reach { owner: true, nodes: 4 };
const ALONE: Reach = Reach { owner: false, nodes: 4 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn leased(granted: u32, left: i64, wait_ms: u32) -> Said {
    Said::Leased { granted, left, wait_ms, office: 7 }
}

/// Lets so many requests come at a time; returns how many pass at once.
fn come(slice: &mut Slice, requests: u32, reach: Reach, now: Duration) -> u32 {
    let mut passed = 0;
    for _ in 0..requests {
        slice.came(now);
        if slice.verdict(reach, now) == Verdict::Pass {
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
    assert_eq!(slice.ask(KEY, ms(0)).unwrap().want, 1);
    slice.answered(leased(10, 90, 0), ms(1));
    slice.waited();
    assert!(answer.has_changed().is_err(), "who waits is woken");
    assert_eq!(come(&mut slice, 3, OWNER, ms(2)), 3);
    assert_eq!((slice.left(), slice.ends()), (97, Some(ms(501))));
    assert_eq!(slice.verdict(OWNER, ms(501)), Verdict::Ask, "it is over");
    let ask = slice.ask(KEY, ms(501)).unwrap();
    assert_eq!((ask.want, ask.returned), (0, 7));
    assert_eq!(ask.heard, Some(Heard { office: 7, left: 90, age_ms: 500 }));
    assert_eq!(slice.ends(), None);
    assert_eq!(slice.ask(KEY, ms(502)), None, "nothing is left to say");
}

#[test]
fn an_owner_that_has_no_more_is_asked_again_when_it_has() {
    let mut slice = Slice::new(LIMIT, ms(0));
    slice.came(ms(0));
    slice.answered(leased(1, 0, 25), ms(0));
    assert_eq!(come(&mut slice, 1, OWNER, ms(1)), 1);
    assert_eq!(slice.verdict(OWNER, ms(5)), Verdict::Refuse(ms(20)));
    assert_eq!(slice.verdict(OWNER, ms(25)), Verdict::Ask);
}

#[test]
fn more_is_asked_for_before_it_runs_out_where_requests_are_many() {
    let mut slice = Slice::new(LIMIT, ms(0));
    slice.answered(leased(60, 40, 0), ms(0));
    assert_eq!(come(&mut slice, 20, OWNER, ms(10)), 20);
    assert!(!slice.runs_out(ms(10)), "40 are left, 20 came in a window");
    assert_eq!(come(&mut slice, 31, OWNER, ms(20)), 31);
    assert!(slice.runs_out(ms(20)));
    assert_eq!(slice.ask(KEY, ms(20)).unwrap().want, 51 - 9);
    // One that comes once in a while is asked for by itself.
    let mut slice = Slice::new(LIMIT, ms(0));
    slice.answered(leased(1, 0, 0), ms(0));
    come(&mut slice, 1, OWNER, ms(0));
    assert!(!slice.runs_out(ms(0)));
    // No more at once than the limit allows.
    come(&mut slice, 5_000, OWNER, ms(1));
    assert_eq!(slice.ask(KEY, ms(1)).unwrap().want, 100);
}

#[test]
fn alone_it_has_its_share_and_owes_what_passed() {
    let mut slice = Slice::new(LIMIT, ms(0));
    assert_eq!(come(&mut slice, 50, ALONE, ms(0)), 25, "a quarter of what may come at once");
    let Verdict::Refuse(wait) = slice.verdict(ALONE, ms(0)) else { panic!("nothing is left") };
    assert_eq!(wait, ms(4), "a quarter of the rate");
    assert_eq!(come(&mut slice, 50, ALONE, ms(40)), 10);
    assert!(slice.owes());
    // The owner is there again.
    let ask = slice.ask(KEY, ms(40)).unwrap();
    assert_eq!((ask.spent, ask.heard), (35, None));
    slice.answered(leased(5, 0, 25), ms(41));
    assert_eq!(come(&mut slice, 50, OWNER, ms(41)), 5);
    // It is gone: its share of what was left, which was nothing, and what has come back since.
    assert_eq!(come(&mut slice, 50, ALONE, ms(81)), 10);
}

#[test]
fn an_owner_that_nobody_reaches_is_not_asked_for_a_moment() {
    let mut slice = Slice::new(LIMIT, ms(0));
    slice.came(ms(0));
    slice.answered(Said::Alone, ms(0));
    assert_eq!(slice.verdict(OWNER, ms(249)), Verdict::Pass);
    assert!(!slice.begins_to_ask(ms(249)) && slice.begins_to_ask(ms(250)));
    assert_eq!(slice.verdict(OWNER, ms(250)), Verdict::Ask);
    // An answer that never comes is not waited for for ever.
    assert!(!slice.begins_to_ask(ms(2_249)) && slice.begins_to_ask(ms(2_250)));
}

#[test]
fn it_may_be_forgotten_when_the_limit_is_full_again() {
    let mut slice = Slice::new(QuotaLimit { requests: 1, ..LIMIT }, ms(0));
    slice.came(ms(0));
    slice.answered(leased(1, 0, 0), ms(0));
    assert_ne!(slice.worth(ms(100_001)), 0, "something is left of it");
    slice.pass(ms(1));
    assert_ne!(slice.worth(ms(100_000)), 0);
    assert_eq!(slice.worth(ms(100_001)), 0);
    let mut newer = Slice::new(LIMIT, ms(0));
    newer.came(ms(10));
    assert!(newer.worth(ms(20)) > slice.worth(ms(20)));
}
