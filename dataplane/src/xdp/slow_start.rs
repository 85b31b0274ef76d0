//! Slow start: which endpoints have come into use, and how much of its weight each has by now.
//!
//! Pure: the time comes in. An endpoint is in use while it has a weight and counts as healthy; one
//! that comes into use starts slowly. What is in use when its service is seen for the first time, or
//! when the service first asks for slow start, has been in use before, so that a restart starts
//! nothing slowly. Weights change in `STEPS` steps, all services' on one grid of time, so that the
//! tables are made anew no more often than a step.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use model::{EndpointId, ObjectKey, Service, service::SlowStart};

/// Steps in a window: each moves a tenth of what the endpoint gets.
const STEPS: u32 = 10;
/// The shortest step: each is a new table and a grace period.
pub const STEP_MIN: Duration = Duration::from_secs(1);
/// A whole weight.
pub const WHOLE: u32 = 1_000;

/// The services that start endpoints slowly.
#[derive(Debug, Default)]
pub struct SlowStarts {
    /// Where the grid of steps begins: the first time seen.
    epoch: Option<Instant>,
    watched: BTreeMap<ObjectKey, Watched>,
    /// Those of them with an endpoint within its window.
    starting: BTreeSet<ObjectKey>,
    next: Option<Instant>,
}

#[derive(Debug)]
struct Watched {
    slow_start: SlowStart,
    /// The endpoints in use, with their start if that is not over.
    used: BTreeMap<SocketAddr, Option<Start>>,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    since: Instant,
    /// How much of its weight it has, of [`WHOLE`].
    share: u32,
}

impl SlowStarts {
    /// Takes over a service whose spec or health may have changed; `None` when it has gone.
    pub fn follow(
        &mut self,
        key: &ObjectKey,
        service: Option<&Service>,
        unhealthy: &BTreeSet<EndpointId>,
        now: Instant,
    ) {
        let Some((service, slow_start)) = service.and_then(|it| Some((it, it.slow_start?))) else {
            self.watched.remove(key);
            self.starting.remove(key);
            return;
        };
        let id = |address| EndpointId { service: key.clone(), address };
        let used = service
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.weight > 0)
            .map(|endpoint| SocketAddr::new(endpoint.address, endpoint.port))
            .filter(|address| !unhealthy.contains(&id(*address)));
        let old = self.watched.remove(key);
        let fresh =
            old.is_some().then(|| Start { since: now, share: share(&slow_start, Duration::ZERO) });
        let old = old.map(|old| old.used).unwrap_or_default();
        let used: BTreeMap<_, _> =
            used.map(|address| (address, old.get(&address).copied().unwrap_or(fresh))).collect();
        if used.values().any(Option::is_some) {
            self.starting.insert(key.clone());
        } else {
            self.starting.remove(key);
        }
        self.watched.insert(key.clone(), Watched { slow_start, used });
    }

    /// Moves on to `now`; returns the services of which an endpoint has another share than before.
    pub fn advance(&mut self, now: Instant) -> Vec<ObjectKey> {
        let epoch = *self.epoch.get_or_insert(now);
        let mut changed = Vec::new();
        let mut next: Option<Instant> = None;
        for key in self.starting.clone() {
            let Some(watched) = self.watched.get_mut(&key) else { continue };
            let step = step(&watched.slow_start);
            let at = floor(epoch, now, step);
            let (mut differs, mut goes_on) = (false, false);
            for slot in watched.used.values_mut() {
                let Some(start) = slot else { continue };
                let age = at.saturating_duration_since(start.since);
                let share = share(&watched.slow_start, age);
                differs |= share != start.share;
                start.share = share;
                if age >= watched.slow_start.window {
                    *slot = None;
                } else {
                    goes_on = true;
                }
            }
            if differs {
                changed.push(key.clone());
            }
            if goes_on {
                next = next.into_iter().chain([at + step]).min();
            } else {
                self.starting.remove(&key);
            }
        }
        self.next = next;
        changed
    }

    /// Returns how much of its weight an endpoint has, of [`WHOLE`].
    #[must_use]
    pub fn share(&self, service: &ObjectKey, endpoint: &SocketAddr) -> u32 {
        let start = self.watched.get(service).and_then(|it| it.used.get(endpoint)?.as_ref());
        start.map_or(WHOLE, |start| start.share)
    }

    /// Returns how many endpoints are within their window.
    #[must_use]
    pub fn count(&self) -> usize {
        let watched = self.starting.iter().filter_map(|key| self.watched.get(key));
        watched.map(|it| it.used.values().flatten().count()).sum()
    }

    /// Returns when the next step is due.
    #[must_use]
    pub fn next_step(&self) -> Option<Instant> {
        self.next
    }
}

/// Returns how much of its weight an endpoint of this age has, of [`WHOLE`]; Envoy's formula
/// (`SlowStartConfig` in envoy/config/cluster/v3/cluster.proto).
#[must_use]
pub fn share(slow_start: &SlowStart, age: Duration) -> u32 {
    if age >= slow_start.window {
        return WHOLE;
    }
    let passed = age.as_secs_f64() / slow_start.window.as_secs_f64();
    let grown = passed.powf(100.0 / f64::from(slow_start.aggression_percent));
    let least = slow_start.min_weight_percent * WHOLE / 100;
    // Within 0 to WHOLE.
    least.max((grown * f64::from(WHOLE)) as u32)
}

fn step(slow_start: &SlowStart) -> Duration {
    (slow_start.window / STEPS).max(STEP_MIN)
}

/// Returns the last point of the grid that is not after `now`.
fn floor(epoch: Instant, now: Instant, step: Duration) -> Instant {
    let passed = now.saturating_duration_since(epoch);
    let within = passed.as_nanos() % step.as_nanos();
    // Less than a step of an hour's tenth.
    now - Duration::from_nanos(within as u64)
}

#[cfg(test)]
mod tests {
    use model::{Kind, service::Endpoint};

    use super::*;

    const SLOW: SlowStart = SlowStart {
        window: Duration::from_secs(30),
        aggression_percent: 100,
        min_weight_percent: 10,
    };

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 80))
    }

    fn key() -> ObjectKey {
        ObjectKey::new(Kind::Service, "default", "s")
    }

    fn service(slow_start: Option<SlowStart>, endpoints: &[(u8, u32)]) -> Service {
        let endpoint = |(n, weight): &(u8, u32)| Endpoint {
            weight: *weight,
            ..Endpoint::new(at(*n)) //
        };
        Service { slow_start, ..Service::of(endpoints.iter().map(endpoint).collect()) }
    }

    struct Watch {
        starts: SlowStarts,
        start: Instant,
    }

    impl Watch {
        fn new() -> Self {
            Self { starts: SlowStarts::default(), start: Instant::now() }
        }

        fn follow(&mut self, second: f64, service: &Service, sick: &[u8]) {
            let id = |n: &u8| EndpointId { service: key(), address: at(*n) };
            let now = self.start + Duration::from_secs_f64(second);
            self.starts.follow(&key(), Some(service), &sick.iter().map(id).collect(), now);
        }

        fn advance(&mut self, second: f64) -> bool {
            !self.starts.advance(self.start + Duration::from_secs_f64(second)).is_empty()
        }

        fn shares(&self) -> [u32; 3] {
            [1, 2, 3].map(|n| self.starts.share(&key(), &at(n)))
        }
    }

    #[test]
    fn the_share_grows_by_the_formula_from_the_least_to_the_whole() {
        let share_at = |slow: &SlowStart, s: u64| share(slow, Duration::from_secs(s));
        assert_eq!(
            [0, 3, 6, 15, 29, 30, 99].map(|s| share_at(&SLOW, s)),
            [100, 100, 200, 500, 966, 1000, 1000]
        );
        let fast = SlowStart { aggression_percent: 200, min_weight_percent: 1, ..SLOW };
        assert_eq!([0, 3, 15].map(|s| share_at(&fast, s)), [10, 316, 707], "the square root");
        let late = SlowStart { aggression_percent: 50, min_weight_percent: 1, ..SLOW };
        assert_eq!([0, 3, 15].map(|s| share_at(&late, s)), [10, 10, 250], "the square");
    }

    #[test]
    fn what_is_there_at_first_has_its_whole_weight_and_what_comes_starts_slowly() {
        let mut watch = Watch::new();
        watch.follow(0.0, &service(Some(SLOW), &[(1, 1), (2, 1)]), &[]);
        assert!(!watch.advance(0.0));
        assert_eq!((watch.shares(), watch.starts.next_step()), ([1000; 3], None));
        watch.follow(1.0, &service(Some(SLOW), &[(1, 1), (2, 1), (3, 1)]), &[]);
        watch.advance(1.0);
        assert_eq!((watch.shares(), watch.starts.count()), ([1000, 1000, 100], 1));
        assert_eq!(watch.starts.next_step(), Some(watch.start + Duration::from_secs(3)));
        let mut changes = 0;
        for tenth in 10..500 {
            changes += u32::from(watch.advance(f64::from(tenth) / 10.0));
        }
        assert!((8..=10).contains(&changes), "{changes} tables");
        assert_eq!((watch.shares(), watch.starts.next_step()), ([1000; 3], None));
    }

    #[test]
    fn an_endpoint_that_was_sick_or_without_weight_starts_slowly_again() {
        for (mended, sick) in [((2, 1), &[2u8][..]), ((2, 0), &[][..])] {
            let whole = service(Some(SLOW), &[(1, 1), (2, 1)]);
            let mut watch = Watch::new();
            watch.follow(0.0, &whole, &[]);
            watch.advance(0.0);
            watch.follow(1.0, &service(Some(SLOW), &[(1, 1), mended]), sick);
            assert!(!watch.advance(1.0));
            watch.follow(2.0, &whole, &[]);
            watch.advance(2.0);
            assert_eq!(watch.shares(), [1000, 100, 1000]);
            // The other's health changes nothing of it.
            watch.follow(20.0, &whole, &[1]);
            assert!(watch.advance(20.0));
            assert_eq!(watch.shares()[1], 533);
        }
    }

    #[test]
    fn a_service_that_begins_to_ask_starts_nothing_slowly_and_one_that_ends_to_ask_ends_all() {
        let mut watch = Watch::new();
        watch.follow(0.0, &service(None, &[(1, 1)]), &[]);
        watch.follow(1.0, &service(Some(SLOW), &[(1, 1), (2, 1)]), &[]);
        watch.advance(1.0);
        assert_eq!(watch.shares(), [1000; 3]);
        watch.follow(2.0, &service(Some(SLOW), &[(1, 1), (2, 1), (3, 1)]), &[]);
        assert_eq!(watch.shares(), [1000, 1000, 100]);
        watch.follow(3.0, &service(None, &[(1, 1), (2, 1), (3, 1)]), &[]);
        assert!(!watch.advance(3.0));
        assert_eq!((watch.shares(), watch.starts.count()), ([1000; 3], 0));
    }

    #[test]
    fn endpoints_that_come_one_by_one_share_the_steps() {
        let mut watch = Watch::new();
        watch.follow(0.0, &service(Some(SLOW), &[(1, 1)]), &[]);
        watch.advance(0.0);
        watch.follow(0.5, &service(Some(SLOW), &[(1, 1), (2, 1)]), &[]);
        watch.follow(1.7, &service(Some(SLOW), &[(1, 1), (2, 1), (3, 1)]), &[]);
        let times: Vec<u32> = (17..400).filter(|t| watch.advance(f64::from(*t) / 10.0)).collect();
        assert!(times.iter().all(|tenth| tenth % 30 == 0), "{times:?}");
    }
}
