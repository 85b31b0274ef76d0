//! Applies of one changed service: one after the other, and by several callers at once.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::api::Api;
use lab::latency::Latencies;

use super::{Arguments, Row, Site, reads::rate, service};
use crate::progress::step;

/// Callers that write at once; each changes a service of its own.
const CALLERS: usize = 8;

pub(super) fn measure(site: &Site, arguments: &Arguments) -> Result<Vec<Row>> {
    let callers = CALLERS.min(arguments.services);
    [
        ("applies of one service, leader, 1 caller".to_owned(), site.leader, 1),
        ("applies of one service, follower, 1 caller".to_owned(), site.follower, 1),
        (format!("applies of one service, leader, {callers} callers"), site.leader, callers),
    ]
    .into_iter()
    .map(|(case, node, callers)| {
        let apis = (0..callers).map(|_| site.cluster.api(node)).collect::<Result<Vec<_>>>()?;
        step(case.clone(), |_| Ok(closed_loop(site, case, apis, arguments.seconds)))
    })
    .collect()
}

fn closed_loop(site: &Site, case: String, apis: Vec<Api>, seconds: u64) -> Row {
    let all = Mutex::new((Latencies::default(), 0_u64, 0_u64));
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for (index, mut api) in apis.into_iter().enumerate() {
            let all = &all;
            scope.spawn(move || {
                let (mut latencies, mut good, mut bad) = (Latencies::default(), 0, 0);
                for turn in 0.. {
                    let sent = Instant::now();
                    if sent >= end {
                        break;
                    }
                    // Never the weight of before, so that each apply writes a revision.
                    match api.apply(&service(site, index, 2 + turn % 2)) {
                        Ok(_) => good += 1,
                        Err(_) => bad += 1,
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
        case,
        rate: rate(good, begin.elapsed()),
        latency: latencies.percentiles(),
        failures,
        rate_min: None,
        p99_max_ms: None,
    }
}
