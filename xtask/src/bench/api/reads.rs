//! Reads of one object and of lists, fresh and stale, of the leader and of a follower.

use anyhow::Result;
use lab::api::Api;

use super::{Arguments, Row, Site, closed_loop};
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
        let is_good = |api: &mut Api, _: usize, _: usize| {
            api.send("GET", &path, "").is_ok_and(|answer| answer.head.status == 200)
        };
        let outcome = step(case, |_| Ok(closed_loop::run(apis, arguments.seconds, is_good)))?;
        rows.push(Row::new(case, outcome, rate_min));
    }
    Ok(rows)
}
