//! Callers that send their next request when they have the answer to the one before.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lab::api::Api;
use lab::latency::{Latencies, Percentiles};

/// What came of it.
pub(super) struct Outcome {
    /// Good answers a second.
    pub(super) rate: f64,
    pub(super) latency: Percentiles,
    /// Other answers, and requests without one.
    pub(super) failures: u64,
}

/// Has each caller `ask`, by its number and turn, again and again for some seconds; that tells
/// whether the answer was a good one.
pub(super) fn run(
    apis: Vec<Api>,
    seconds: u64,
    ask: impl Fn(&mut Api, usize, usize) -> bool + Sync,
) -> Outcome {
    let all = Mutex::new((Latencies::default(), 0_u64, 0_u64));
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for (caller, mut api) in apis.into_iter().enumerate() {
            let (all, ask) = (&all, &ask);
            scope.spawn(move || {
                let (mut latencies, mut good, mut bad) = (Latencies::default(), 0, 0);
                for turn in 0.. {
                    let sent = Instant::now();
                    if sent >= end {
                        break;
                    }
                    if ask(&mut api, caller, turn) {
                        good += 1;
                    } else {
                        bad += 1;
                    }
                    latencies.add(sent.elapsed());
                }
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                all.0.merge(&latencies);
                all.1 += good;
                all.2 += bad;
            });
        }
    });
    let (latencies, good, failures) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    Outcome { rate: rate(good, begin.elapsed()), latency: latencies.percentiles(), failures }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
