//! Reads of one object and of lists, fresh and stale, of the leader and of a follower.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::api::Api;
use lab::latency::Latencies;

use super::{Arguments, Row, Site};
use crate::progress::step;

/// Answers a second that reads of one object must reach.
const RATE_MIN: f64 = 10_000.0;

pub(super) fn measure(site: &Site, arguments: &Arguments) -> Result<Vec<Row>> {
    let one = "/v1/objects/services/default/s0";
    let list = "/v1/objects/listeners";
    let all = "/v1/objects/services";
    let cases = [
        ("one object, stale, a follower", site.follower, one, "stale", Some(RATE_MIN)),
        ("one object, linearizable, the leader", site.leader, one, "linearizable", Some(RATE_MIN)),
        (
            "one object, linearizable, a follower",
            site.follower,
            one,
            "linearizable",
            Some(RATE_MIN),
        ),
        ("a list of 1, stale, a follower", site.follower, list, "stale", None),
        ("a list of all services, linearizable, leader", site.leader, all, "linearizable", None),
    ];
    let mut rows = Vec::with_capacity(cases.len());
    for (case, node, path, consistency, rate_min) in cases {
        let path = format!("{path}?consistency={consistency}");
        let apis = (0..arguments.connections)
            .map(|_| site.cluster.api(node))
            .collect::<Result<Vec<_>>>()?;
        let row = step(case, |_| Ok(closed_loop(case, apis, arguments.seconds, &path, rate_min)))?;
        rows.push(row);
    }
    Ok(rows)
}

fn closed_loop(case: &str, apis: Vec<Api>, seconds: u64, path: &str, rate_min: Option<f64>) -> Row {
    let all = Mutex::new((Latencies::default(), 0_u64, 0_u64));
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for mut api in apis {
            let all = &all;
            scope.spawn(move || {
                let (mut latencies, mut good, mut bad) = (Latencies::default(), 0, 0);
                while Instant::now() < end {
                    let sent = Instant::now();
                    match api.send("GET", path, "") {
                        Ok(answer) if answer.head.status == 200 => good += 1,
                        _ => bad += 1,
                    }
                    latencies.add(sent.elapsed());
                }
                let mut all = all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                all.0.merge(&latencies);
                all.1 += good;
                all.2 += bad;
            });
        }
    });
    let (latencies, good, failures) =
        all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Row {
        case: case.to_owned(),
        rate: rate(good, begin.elapsed()),
        latency: latencies.percentiles(),
        failures,
        rate_min,
        p99_max_ms: None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
